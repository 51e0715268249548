"""The conformance suite of searchers: what every one must do, as tests that anybody can run.

Write a class of pytest's that derives from `SearcherConformance` and says how yours is made:

    from moga.testing.searchers import SearcherConformance

    class TestMine(SearcherConformance):
        def make(self, problem, rng):
            return Mine(problem, rng, population=8)

Each test is small; a searcher that thinks long sets `rounds` and `batch` lower. Nothing here needs
a space, a device or Ray.
"""

import copy
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moga.contracts import (
    Costs,
    Gene,
    Genomes,
    Objective,
    Observations,
    Problem,
    Searcher,
    parse_objective,
)
from moga.errors import Exhausted, FormatError, UsageError

__all__ = ["SearcherConformance", "make_problem", "true_costs"]

_OBJECTIVES = ("accuracy", "latency", "params")
_MANY = 1000
_IDLE = 200
"""Empty asks in a row after which a searcher that was told everything counts as stuck."""


def make_problem(
    sizes: tuple[int, ...] = (4, 3, 5, 2, 4, 3),
    objectives: int = 2,
    *,
    known: bool = True,
    groups: int = 3,
) -> Problem:
    """Return a small problem whose costs `true_costs` knows.

    Args:
        sizes: number of values of each gene; they take turns to be ordinal and categorical.
        objectives: 1 to 3: accuracy, latency, params.
        known: whether all but accuracy are known without an evaluation.
        groups: into how many groups the genes fall.
    """
    kinds = ("ordinal", "categorical")
    genes = tuple(
        Gene(f"g{i}", f"group{i * groups // len(sizes)}", kinds[i % 2], tuple(range(size)))  # type: ignore[arg-type]
        for i, size in enumerate(sizes)
    )
    goals: tuple[Objective, ...] = tuple(map(parse_objective, _OBJECTIVES[:objectives]))

    def look_up(genomes: Genomes) -> Costs:
        costs = true_costs(genomes, objectives)
        costs[:, : 1 if known else None] = np.nan
        return costs

    return Problem(genes, (0,) * len(sizes), goals, lambda genomes: genomes, look_up)


def true_costs(genomes: Genomes, objectives: int = 2) -> Costs:
    """Return costs of genomes, shape (n, objectives): what helps accuracy costs time."""
    weights = np.arange(1, genomes.shape[1] + 1, dtype=np.float64)
    accuracy = 20 + (genomes * weights[::-1]).sum(axis=1) + (genomes[:, 0] == genomes[:, -1])
    latency = 1 + (genomes * weights).sum(axis=1) / 10
    params = 100 + (genomes**2).sum(axis=1)
    return np.stack([-accuracy, latency, params.astype(np.float64)], axis=1)[:, :objectives]


class SearcherConformance:
    """Derive a class of tests from it and write `make`.

    Attributes:
        rounds: how many batches most tests ask for.
        batch: how many genomes a batch has.
        objectives: the numbers of objectives that the searcher can work with.
        work_rounds: how many batches are asked before and while work is counted: enough to see a
            first population through, so more than 10 where that has more than 50 genomes; or 0 to
            leave that test out (say why, in the searcher's docstring).
        uses_known: whether costs that are known without an evaluation change what is asked.
    """

    rounds: ClassVar[int] = 6
    batch: ClassVar[int] = 5
    objectives: ClassVar[tuple[int, ...]] = (2, 3)
    work_rounds: ClassVar[int] = 10
    uses_known: ClassVar[bool] = True

    def make(self, problem: Problem, rng: np.random.Generator) -> Searcher:
        """Return the searcher under test."""
        raise NotImplementedError("derive a class and write `make(self, problem, rng)`")

    def _made(self, seed: int = 0, **options: Any) -> Searcher:
        return self.make(make_problem(**options), np.random.default_rng(seed))

    def test_genomes_are_integers_in_range_and_never_repeat(self) -> None:
        """Every batch is (m, genes) of integers, m <= n, within the sizes, each genome once."""
        for objectives in self.objectives:
            for known in (True, False):
                problem = make_problem(objectives=objectives, known=known)
                searcher = self.make(problem, np.random.default_rng(1))
                seen = [_asked(searcher, self.batch, problem) for _ in range(1)]
                for _ in range(self.rounds):
                    searcher.tell(_told(seen[-1], objectives))
                    seen.append(_asked(searcher, self.batch, problem))
                everything = np.concatenate(seen)
                _check_distinct(everything)

    def test_ask_returns_no_more_than_was_asked_for(self) -> None:
        """M <= n, whatever n: a large one, one, and a middle one."""
        searcher, problem = self._made(), make_problem()
        for n in (11, 1, 4):
            genomes = _asked(searcher, n, problem)
            searcher.tell(_told(genomes))

    def test_same_generator_same_genomes(self) -> None:
        """A search follows from its generator; another generator gives another search."""
        first, second, other = (self._search(self._made(seed)) for seed in (3, 3, 4))
        assert first.tolist() == second.tolist(), "the same generator gave other genomes"
        assert first.tolist() != other.tolist(), "another generator gave the same genomes"

    def test_what_is_known_is_used(self) -> None:
        """With costs that are known, other genomes are asked for than without them."""
        pair = [self._made(5, known=known) for known in (True, False)]
        for _ in range(10 * self.rounds):
            given, hidden = (searcher.ask(self.batch) for searcher in pair)
            if given.tolist() != hidden.tolist():
                assert self.uses_known, "costs that are known change what is asked"
                return
            for searcher in pair:
                searcher.tell(_told(given))
        assert not self.uses_known, "costs that are known change nothing of what is asked"

    def test_state_goes_through_json_and_continues_where_it_was(self) -> None:
        """Continuing after `load_state_dict` equals going on without interruption."""
        for known in (True, False):
            searcher = self._made(5, known=known)
            self._search(searcher)
            outstanding = searcher.ask(self.batch)
            loaded = self._made(99, known=known)
            loaded.load_state_dict(_through_json(searcher.state_dict()))
            for both in (searcher, loaded):
                both.tell(_told(outstanding))
            assert self._search(searcher).tolist() == self._search(loaded).tolist(), (
                "after load_state_dict other genomes are asked than without it"
            )

    def test_state_of_a_problem_of_known_costs_goes_through_json(self) -> None:
        """The same where every cost is known without an evaluation."""
        problem = dataclasses.replace(make_problem(), known=true_costs)
        try:
            searcher = self.make(problem, np.random.default_rng(5))
        except UsageError:
            return  # a searcher may refuse such a problem
        self._search(searcher)
        loaded = self.make(problem, np.random.default_rng(99))
        loaded.load_state_dict(_through_json(searcher.state_dict()))
        assert self._search(searcher).tolist() == self._search(loaded).tolist(), (
            "after load_state_dict other genomes are asked than without it"
        )

    def test_state_of_another_problem_is_refused(self) -> None:
        """A state over genes of other sizes, or of other objectives, raises `FormatError`."""
        searcher = self._made(5)
        self._search(searcher)
        state = searcher.state_dict()
        others = [make_problem((4, 3, 5, 2, 4, 4))]
        others += [make_problem(objectives=n) for n in self.objectives if n != 2]
        for other in others:
            loaded = self.make(other, np.random.default_rng(5))
            try:
                loaded.load_state_dict(state)
            except FormatError:
                continue
            raise AssertionError(f"the state of another problem was taken, for one of {other}")

    def test_state_does_not_change_when_the_search_goes_on(self) -> None:
        """What `state_dict` returned is a snapshot; asking for it changes nothing."""
        searcher, twin = self._made(6), self._made(6)
        self._search(searcher)
        self._search(twin)
        state = searcher.state_dict()
        before = _through_json(state)
        same = self._search(searcher).tolist() == self._search(twin).tolist()
        assert same, "to ask for the state changes what is asked next"
        assert _equal(_through_json(state), before), "the state changed when the search went on"

    def test_failures_and_bounds_are_taken_and_not_proposed_again(self) -> None:
        """Failed rows, bounds and rows outside limits may come in any mixture, even alone."""
        searcher, problem = self._made(7), make_problem()
        seen = []
        for number in range(self.rounds):
            genomes = _asked(searcher, self.batch, problem)
            seen.append(genomes)
            searcher.tell(_troubled(genomes, number))
        _check_distinct(np.concatenate(seen))

    def test_failures_and_broken_limits_attract_nothing(self) -> None:
        """Where one value of a gene always fails, and another breaks a limit, others are asked too.

        A searcher that takes a failure for a cost of 0, or overlooks violations, asks for little
        else. What breaks the limit has the best costs of all.
        """
        searcher, problem = self._made(16), make_problem()
        asked = []
        for _ in range(4 * self.rounds):
            genomes = _asked(searcher, self.batch, problem)
            asked.append(genomes[:, 0])
            costs = true_costs(genomes)
            costs[genomes[:, 0] == 1] = np.nan
            costs[genomes[:, 0] == 2] -= 50
            told = Observations.exact(genomes, costs)
            violations = np.where(genomes[:, 0] == 2, 1.0, 0.0)
            searcher.tell(dataclasses.replace(told, violations=violations))
        late = np.concatenate(asked[len(asked) // 2 :])
        share = float(np.mean((late == 1) | (late == 2)))
        assert share <= 0.7, (
            f"{100 * share:.0f} % of what is asked fails or breaks a limit, as all did before that "
            "has those values of the first gene; it would be half without learning anything"
        )

    def test_search_goes_on_where_everything_fails(self) -> None:
        """A searcher that has learned nothing still proposes."""
        searcher, problem = self._made(8), make_problem()
        for _ in range(self.rounds):
            genomes = _asked(searcher, self.batch, problem)
            searcher.tell(Observations.exact(genomes, np.full((len(genomes), 2), np.nan)))

    def test_several_asks_before_tells_in_any_order(self) -> None:
        """Batches may be outstanding together, and come back in another order and grouping."""
        searcher, problem = self._made(9), make_problem()
        seen: list[Genomes] = []
        for _ in range(3):
            waiting = [_asked(searcher, self.batch, problem, wait=True) for _ in range(3)]
            together = np.concatenate(waiting[::-1])
            seen += waiting
            searcher.tell(_told(together[:1]))
            searcher.tell(_told(together[1:]))
        _check_distinct(np.concatenate(seen))

    def test_genomes_of_others_are_learned_and_not_proposed(self) -> None:
        """Whoever asked: what was told is not offered."""
        problem = make_problem((2, 2, 3))
        searcher = self.make(problem, np.random.default_rng(10))
        every = _every(problem)
        theirs, ours = every[::2], every[1::2]
        searcher.tell(_told(theirs))
        found = _exhaust(searcher, self.batch)
        _check_all(found, ours)

    def test_small_space_is_offered_once_and_then_exhausted(self) -> None:
        """Every genome of a small space is offered; then `Exhausted` is raised."""
        for sizes in ((2, 2, 3), (7,), (1, 3, 1)):
            problem = make_problem(sizes)
            searcher = self.make(problem, np.random.default_rng(11))
            found = _exhaust(searcher, self.batch)
            _check_all(found, _every(problem))

    def test_genomes_of_one_network_are_offered_once(self) -> None:
        """Proposals are in the problem's canonical form."""

        def fold(genomes: Genomes) -> Genomes:
            return np.where(genomes[:, :1] == 0, genomes * [1, 0, 1], genomes)

        problem = dataclasses.replace(make_problem((2, 3, 2)), canonical=fold)
        searcher = self.make(problem, np.random.default_rng(12))
        found = _exhaust(searcher, self.batch)
        _check_all(found, np.unique(fold(_every(problem)), axis=0))

    def test_limits_are_lived_with(self) -> None:
        """Rows that break a limit may have no costs; the search goes on, and without repeats."""
        for allowed in (3.0, 0.0):  # few genomes are within the limits, then none
            searcher, problem = self._made(13), make_problem()
            seen = []
            for _ in range(self.rounds):
                genomes = _asked(searcher, self.batch, problem)
                seen.append(genomes)
                costs = true_costs(genomes)
                violations = np.maximum(costs[:, 1] - allowed, 0.0)
                costs[violations > 0, 0] = np.nan
                told = Observations.exact(genomes, costs)
                searcher.tell(dataclasses.replace(told, violations=violations))
            _check_distinct(np.concatenate(seen))

    def test_arguments_are_not_changed(self) -> None:
        """What a searcher is told stays the caller's."""
        searcher, problem = self._made(14), make_problem()
        for _ in range(self.rounds):
            genomes = _asked(searcher, self.batch, problem)
            told = _told(genomes)
            before = copy.deepcopy(told)
            searcher.tell(told)
            for field in dataclasses.fields(told):
                left, right = getattr(told, field.name), getattr(before, field.name)
                same = np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
                assert same, f"tell changed the {field.name} that it was given"

    def test_work_of_an_ask_does_not_grow_with_history(self) -> None:
        """Calls of Python functions an ask and tell: late ones make no more than twice early ones.

        Calls are counted rather than seconds, so that the test is the same on every machine.
        """
        if not self.work_rounds:
            return
        problem = make_problem((6,) * 10)
        searcher = self.make(problem, np.random.default_rng(15))

        def go_on() -> None:
            for _ in range(self.work_rounds):
                genomes = _asked(searcher, self.batch, problem)
                searcher.tell(_told(genomes))

        go_on()  # the beginning is another matter: first populations
        early = _calls(go_on)
        for _ in range(3):
            go_on()
        late = _calls(go_on)
        assert late <= 2 * early, f"{early} calls at first, {late} later"

    def _search(self, searcher: Searcher) -> Genomes:
        """Ask and tell for some rounds; return all that was proposed."""
        seen = []
        for _ in range(self.rounds):
            genomes = searcher.ask(self.batch)
            seen.append(genomes)
            searcher.tell(_told(genomes))
        return np.concatenate(seen)


def _told(genomes: Genomes, objectives: int = 2) -> Observations:
    return Observations.exact(genomes, true_costs(genomes, objectives))


def _troubled(genomes: Genomes, number: int) -> Observations:
    """Return observations with a failure, a bound and a violation among them; some all failed."""
    told = _told(genomes)
    rows = np.arange(len(genomes))
    costs = np.where((rows % 4 == 1)[:, None] | (number % 3 == 1), np.nan, told.costs)
    bounded = rows % 4 == 2
    return dataclasses.replace(
        told,
        costs=costs,
        bounded=bounded,
        fidelity=np.where(bounded, 0.5, 1.0),
        violations=np.where(rows % 4 == 3, 0.5, 0.0),
    )


def _asked(searcher: Searcher, n: int, problem: Problem, *, wait: bool = False) -> Genomes:
    """Ask, and check the form of what came; nothing may come with `wait` alone."""
    genomes = searcher.ask(n)
    assert isinstance(genomes, np.ndarray), f"ask returned {type(genomes).__name__}"
    assert genomes.dtype == np.int64, f"genomes are {genomes.dtype}, not int64"
    assert genomes.ndim == 2, f"genomes have the shape {genomes.shape}, not (n, genes)"
    expected = len(problem.genes)
    assert genomes.shape[1] == expected, f"{genomes.shape[1]} genes; the problem has {expected}"
    assert len(genomes) <= n, f"{len(genomes)} genomes; {n} were asked for"
    assert wait or len(genomes), "nothing was proposed, though nothing is outstanding"
    assert ((genomes >= 0) & (genomes < problem.sizes)).all(), f"out of range: {genomes}"
    return genomes


def _check_distinct(genomes: Genomes) -> None:
    distinct = len(np.unique(genomes, axis=0))
    assert distinct == len(genomes) > 0, f"of {len(genomes)} proposals {distinct} are distinct"


def _check_all(found: Genomes, expected: Genomes) -> None:
    """Check that each of some genomes was offered, once, and no other."""
    got, wanted = ({tuple(row) for row in rows.tolist()} for rows in (found, expected))
    assert not got - wanted, f"offered, though it may not be: {sorted(got - wanted)}"
    assert not wanted - got, f"never offered: {sorted(wanted - got)}"
    assert len(found) == len(expected), f"{len(found)} proposals of {len(expected)} genomes"


def _exhaust(searcher: Searcher, n: int) -> Genomes:
    """Ask and tell until nothing is left; return all that was offered."""
    found: list[Genomes] = []
    idle = 0
    while idle < _IDLE:
        try:
            genomes = searcher.ask(n)
        except Exhausted:
            return np.concatenate(found)
        idle = 0 if len(genomes) else idle + 1
        found.append(genomes)
        assert sum(map(len, found)) < _MANY, "more genomes are offered than there are"
        searcher.tell(_told(genomes))
    raise AssertionError("the searcher neither proposes nor says that nothing is left")


def _every(problem: Problem) -> Genomes:
    return np.stack(np.unravel_index(np.arange(problem.sizes.prod()), problem.sizes), axis=1)


def _through_json(state: Any) -> Any:
    """Write arrays as lists and read all back: what is no JSON value or array is refused."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            assert value.dtype.kind in "biuf", f"an array of {value.dtype} in the state"
            return {"__array__": value.tolist(), "dtype": value.dtype.str, "shape": value.shape}
        if isinstance(value, Mapping):
            assert all(isinstance(key, str) for key in value), f"keys are no texts: {list(value)}"
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    def back(value: dict[str, Any]) -> Any:
        if "__array__" not in value:
            return value
        array: NDArray[Any] = np.array(value["__array__"], dtype=value["dtype"])
        return array.reshape(value["shape"])

    return json.loads(json.dumps(plain(state)), object_hook=back)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_equal(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second or (first != first and second != second))  # noqa: PLR0124 - nan


def _calls(work: Callable[[], None]) -> int:
    """Return how many calls of Python functions some work makes."""
    count = 0

    def tick(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
