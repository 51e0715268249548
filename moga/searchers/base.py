"""The bookkeeping that every searcher needs, once: what was seen, what failed, what is left."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes, Observations, Problem, Searcher, is_count
from moga.errors import Exhausted, FormatError, InvalidGenome, UsageError
from moga.searchers.arguments import check_genomes
from moga.spaces.base import mutate, sample_sobol, sample_uniform

__all__ = ["BaseSearcher", "Opening", "starting_genomes"]

_ROUNDS: Final = 8
"""How often the method itself is asked again for what turned out to be seen already."""

_DRAWS: Final = 64
"""How many batches of mutated random genomes are drawn in a large space before giving up."""

_ENUMERABLE: Final = 200_000
"""Spaces up to this size are enumerated when proposals run dry."""


class BaseSearcher(Searcher):
    """A searcher whose subclass writes only `_ask` and `_tell`.

    No genome is offered twice in a run, nor one that was told. Where the method repeats itself, it
    is asked again a few times; then a small space (at most 200,000 genomes) gives what is left of
    it in random order, and a large one mutated random genomes. `Exhausted` says that nothing is
    left. What an `ask` costs does not depend on how much was seen, but for the one enumeration.

    Args:
        problem: what is searched.
        rng: consumed; the only source of randomness.

    Attributes:
        failures: how many evaluations failed.
        foreign: how many exact results came of genomes that others asked for.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.problem, self.rng = problem, rng
        self.sizes = problem.sizes
        self._seen: dict[bytes, bool] = {}
        self._left: Genomes | None = None
        self.failures = 0
        self.foreign = 0

    @property
    def seen(self) -> int:
        """How many genomes were asked for or told."""
        return len(self._seen)

    def ask(self, n: int) -> Genomes:
        """Return (m, genes) new genomes, m <= n; m == 0 means: tell me more first.

        Raises:
            Exhausted: every genome of the space was offered or told.
            UsageError: n below 1.
            InvalidGenome: the method proposed what is no genome.
        """
        if not is_count(n, 1):
            raise UsageError(f"asked for {n!r} genomes; ask for 1 or more")
        found: list[NDArray[np.int64]] = []
        for attempt in range(_ROUNDS):
            proposed = self._ask(int(n) - len(found), attempt)
            proposed = check_genomes(f"what {type(self).__name__} proposed", proposed, self.problem)
            if not len(proposed):
                return self._stack(found)
            found += self._new(proposed)
            if len(found) == n:
                return self._stack(found)
        found += self._remaining(int(n) - len(found))
        if not found:
            raise Exhausted(f"nothing is left to propose after {self.seen} genomes of the space")
        return self._stack(found)

    def unseen(self, genomes: Genomes) -> Genomes:
        """Return the canonical forms that were never offered or told, each once, in order."""
        canonical = np.asarray(self.problem.canonical(genomes), dtype=np.int64)
        new = {key: row for row, key in enumerate(self._keys(canonical)) if key not in self._seen}
        return canonical[sorted(new.values())]

    def tell(self, observations: Observations) -> None:
        """Learn what became of genomes, asked for here or elsewhere.

        Three kinds of rows are marked as seen and kept from the method, so that none can rank as
        good: failed ones (nan costs), bounds, and repeats of what was told. A row that breaks a
        limit is passed on even where its costs are unknown, for its violation says enough.

        Raises:
            InvalidGenome: genomes or costs of another shape than the problem's.
        """
        self._check(observations)
        violated = observations.violations > 0
        exact = ~observations.bounded & (
            violated | (~observations.failed & (observations.violations == 0))
        )
        self.failures += int((observations.failed & ~violated).sum())
        genomes = self.problem.canonical(observations.genomes)
        fresh = np.zeros(len(observations), dtype=bool)
        for row, key in enumerate(self._keys(genomes)):
            self.foreign += bool(exact[row]) and key not in self._seen
            fresh[row] = exact[row] and not self._seen.get(key, False)
            self._seen[key] = self._seen.get(key, False) or bool(exact[row])
        if fresh.any():
            self._tell(_select(observations, genomes, fresh))

    @abstractmethod
    def _ask(self, n: int, attempt: int) -> Genomes:
        """Propose (m, genes) genomes, m of any size; repeats are removed by the caller.

        Args:
            n: how many are needed.
            attempt: 0, then 1, 2, ... where earlier proposals had been seen already.
        """

    @abstractmethod
    def _tell(self, observations: Observations) -> None:
        """Learn from rows that are exact, told for the first time, and in canonical form.

        Costs are finite, or nan where `violations` is above 0.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            "sizes": self.sizes,
            "objectives": len(self.problem.objectives),
            "rng": self.rng.bit_generator.state,
            "seen": self._unpack(b"".join(self._seen)),
            "told": np.fromiter(self._seen.values(), dtype=bool, count=len(self._seen)),
            "left": self._left if self._left is not None else self._stack([]),
            "enumerated": self._left is not None,
            "failures": self.failures,
            "foreign": self.foreign,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes or objectives, or of another
                random generator.
        """
        of = np.asarray(state["sizes"]).tolist(), int(state["objectives"])
        if of != (expected := (self.sizes.tolist(), len(self.problem.objectives))):
            raise FormatError(
                f"a searcher's state over genes of {expected[0]} values and {expected[1]} "
                f"objectives was expected; got one over genes of {of[0]} and {of[1]} objectives"
            )
        seen = np.asarray(state["seen"], dtype=np.int64).reshape(-1, len(self.sizes))
        if (name := state["rng"]["bit_generator"]) != self.rng.bit_generator.state["bit_generator"]:
            raise FormatError(f"the state holds random numbers of {name}; give a generator of it")
        self.rng.bit_generator.state = state["rng"]
        told = np.asarray(state["told"], dtype=bool)
        self._seen = dict(zip(self._keys(seen), told.tolist(), strict=True))
        self._left = np.array(state["left"], dtype=np.int64) if state["enumerated"] else None
        self.failures = int(state["failures"])
        self.foreign = int(state["foreign"])

    def _check(self, observations: Observations) -> None:
        expected = (len(self.sizes), len(self.problem.objectives))
        got = (observations.genomes.shape[-1], observations.costs.shape[-1])
        if got != expected:
            raise InvalidGenome(
                f"told of genomes with {got[0]} genes and {got[1]} costs; this problem has "
                f"{expected[0]} genes and {expected[1]} objectives"
            )

    def _new(self, proposed: Genomes) -> list[NDArray[np.int64]]:
        """Mark and return the rows that were never seen, in canonical form."""
        canonical = np.asarray(self.problem.canonical(proposed), dtype=np.int64)
        new = []
        for key, row in zip(self._keys(canonical), canonical, strict=True):
            if key not in self._seen:
                self._seen[key] = False
                new.append(row)
        return new

    def _remaining(self, n: int) -> list[NDArray[np.int64]]:
        """Return up to n unseen genomes without the method's help."""
        if math.prod(self.sizes.tolist()) <= _ENUMERABLE:
            return self._enumerated(n)
        found: list[NDArray[np.int64]] = []
        for _ in range(_DRAWS):
            drawn = mutate(
                sample_uniform(self.sizes, n - len(found), self.rng), self.sizes, self.rng
            )
            found += self._new(drawn)
            if len(found) == n:
                break
        return found

    def _enumerated(self, n: int) -> list[NDArray[np.int64]]:
        if self._left is None:
            count = math.prod(self.sizes.tolist())
            order = self.rng.permutation(count)
            self._left = np.stack(np.unravel_index(order, self.sizes.tolist()), axis=1)
        found: list[NDArray[np.int64]] = []
        taken = 0
        while len(found) < n and taken < len(self._left):
            block = self._left[taken : taken + n - len(found)]
            taken += len(block)
            found += self._new(block)
        self._left = self._left[taken:]
        return found

    def _keys(self, genomes: Genomes) -> list[bytes]:
        packed = np.ascontiguousarray(genomes, dtype="<i4")
        rows: list[bytes] = packed.view(f"V{4 * len(self.sizes)}").ravel().tolist()
        return rows

    def _unpack(self, keys: bytes) -> Genomes:
        return np.frombuffer(keys, dtype="<i4").reshape(-1, len(self.sizes)).astype(np.int64)

    def _stack(self, rows: list[NDArray[np.int64]]) -> Genomes:
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.sizes))


class Opening:
    """What a searcher asks before it has learned anything: what a user gave, then a filling.

    Each result that others brought (`BaseSearcher.foreign`) makes one of the filling needless: a
    searcher that joins others need not draw a first population of its own. What was given is asked
    in any case.

    Args:
        genomes: what is to be asked, shape (m, genes).
        given: how many of them, from the first on, a user gave.
    """

    def __init__(self, genomes: Genomes, given: int = 0) -> None:
        self.genomes, self.given = genomes, given

    @classmethod
    def of(
        cls,
        problem: Problem,
        start: str | Sequence[Sequence[int]] | Genomes,
        n: int,
        rng: np.random.Generator,
    ) -> "Opening":
        """Return what `starting_genomes` gives; it raises the same."""
        genomes = starting_genomes(problem, start, n, rng)
        return cls(genomes, 0 if isinstance(start, str) else len(start))

    def take(self, n: int, foreign: int) -> Genomes:
        """Take out up to n genomes, shape (m, genes); m is 0 where nothing is left to ask."""
        left = len(self.genomes) - foreign
        m = max(min(n, max(left, self.given)), 0)
        first, self.genomes = self.genomes[:m], self.genomes[m:]
        self.given = max(self.given - m, 0)
        return first

    def state_dict(self) -> dict[str, Any]:
        """Return what is left."""
        return {"genomes": self.genomes, "given": self.given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        genomes = np.array(state["genomes"], dtype=np.int64)
        self.genomes = genomes.reshape(-1, self.genomes.shape[1])
        self.given = int(state["given"])


def starting_genomes(
    problem: Problem,
    start: str | Sequence[Sequence[int]] | Genomes,
    n: int,
    rng: np.random.Generator,
) -> Genomes:
    """Return what a searcher asks first, shape (n or more, genes).

    Args:
        problem: what is searched.
        start: "sobol", "uniform", or genomes, which come first and are filled up by "sobol".
        n: how many are needed.
        rng: consumed.

    Raises:
        UsageError: another word.
        InvalidGenome: genomes of another length, or out of range.
    """
    if isinstance(start, str):
        if start not in ("sobol", "uniform"):
            raise UsageError(f"start is {start!r}; give 'sobol' or 'uniform', or a list of genomes")
        draw = sample_sobol if start == "sobol" else sample_uniform
        return draw(problem.sizes, n, rng)
    given = check_genomes("start", start, problem)
    filling = sample_sobol(problem.sizes, max(n - len(given), 0), rng)
    return np.concatenate([given, filling])


def _select(observations: Observations, genomes: Genomes, rows: NDArray[np.bool_]) -> Observations:
    return Observations(
        genomes=np.asarray(genomes[rows], dtype=np.int64),
        costs=np.where(np.isfinite(costs := observations.costs[rows]), costs, np.nan),
        violations=observations.violations[rows],
        spread=observations.spread[rows],
        bounded=observations.bounded[rows],
        fidelity=observations.fidelity[rows],
    )
