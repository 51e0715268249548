"""Several searchers over one archive: asks go to whoever has lately gained most hypervolume."""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga import registry
from moga.contracts import Costs, Genomes, Observations, Problem, Searcher
from moga.errors import Exhausted, FormatError, UsageError
from moga.pareto import hypervolume, nondominated
from moga.runtime.remote import Pending, RemoteSearcher, remote
from moga.searchers.arguments import check_genomes, check_integer
from moga.searchers.base import BaseSearcher
from moga.spaces.base import sample_uniform

__all__ = ["Portfolio"]

_DEFAULT: Final = (
    *("auto", "nsga2(population=20, mode=steady)"),
    *("local", "evolution(population=20, sample=5)"),
)
_TURN: Final = 10
"""Of so many asks, one goes to the member that was asked the longest ago, so that none is lost."""
_LEAD: Final = 2.0
"""How many times as much as the first member another must gain to be asked in its stead."""
_UNPROVEN: Final = 4
"""Results of the members' mean gain that each is taken to have besides its own."""


class Portfolio(BaseSearcher):
    """Asks several searchers, and tells each of them everything.

        a member is chosen -> it is asked -> evaluation elsewhere -> all members are told
        -> what the result added to the front is credited to the member that asked for it

    A bandit with a sliding window (Garivier and Moulines 2011). What a result gains is the
    hypervolume that it added, divided by what the last `window` results of all members added on
    the average: early results add the most, whoever proposed them. A member's gain is the mean over
    its last `window` results, and over four more that gained what all do on the average, for few
    results say little. Nine asks in ten go to the member with the largest gain, one to the member
    that was asked the longest ago. The first member's gain counts twice: list the one first that is
    best alone. It gets the random numbers that it would have alone, so that a portfolio of one is
    that one. The box in which hypervolume is measured spans what was seen so far and a tenth
    beyond. All of this but the window is ours. Members share first populations: see
    `moga.searchers.base.Opening`. By default `auto` is the first, so that a portfolio costs
    little beside the best single searcher where few evaluations can be had.

    With ``remote=True`` each member is a Ray actor, which reserves no CPU, and thinks ahead: its
    next genomes are asked for while others are evaluated, and whoever is not ready is passed over.
    So one that thinks for seconds never holds up the evaluators, and the genomes that are asked
    depend on the machines' timing: a run continues from its journal, but is not repeated by its
    seed.

    Args:
        problem: what is searched.
        rng: consumed by the first member; the others get children of it.
        searchers: names, texts such as ``"nsga2(population=20)"``, or factories
            ``(problem, rng) -> Searcher``.
        window: how many results of a member count, and of all for what is typical.
        remote: whether members run as Ray actors.

    Raises:
        UsageError: no searchers, a window below 1, or an argument that a member does not take.
        UnknownName: a member that does not exist.

    Example:
        ``Search(..., searcher="portfolio(searchers=[nsga2(population=20), local])")``
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        searchers: Sequence[Any] = _DEFAULT,
        window: int = 16,
        remote: bool = False,
    ) -> None:
        if isinstance(searchers, str) or not len(searchers):
            raise UsageError(f"searchers is {searchers!r}; give a list of one or more")
        check_integer("window", window)
        for spec in searchers:  # here and not in an actor, which says so at its first ask only
            if isinstance(spec, str):
                registry.parameters("searcher", spec)
        super().__init__(problem, rng)
        self.window, self.remote = window, remote
        self.names = [spec if isinstance(spec, str) else _named(spec) for spec in searchers]
        make = _remote if remote else _local
        self.members = [
            make(spec, problem, each)
            for spec, each in zip(searchers, [rng, *rng.spawn(len(searchers) - 1)], strict=True)
        ]
        self.gains: list[deque[float]] = [deque(maxlen=window) for _ in self.members]
        self.lately: deque[float] = deque(maxlen=window)
        self.turn, self.turns = 0, np.zeros(len(self.members), dtype=np.int64)
        self.owners: dict[bytes, int] = {}
        self.front = np.empty((0, len(problem.objectives)))
        self.box = np.array([np.full(len(problem.objectives), s) for s in (np.inf, -np.inf)])

    def _ask(self, n: int, attempt: int) -> Genomes:  # noqa: ARG002 - members see to repeats
        for _ in range(1 + self.remote):  # what waited when it was asked ahead knows more now
            waiting = False
            for member in self._order(n):
                try:
                    genomes = self.members[member].ask(n)
                except Exhausted:
                    continue
                source = f"what the member {self.names[member]} of the portfolio proposed"
                genomes = check_genomes(source, genomes, self.problem)
                if len(genomes):
                    return self._owned(genomes, member)
                waiting = True
            if not waiting:
                return sample_uniform(self.sizes, n, self.rng)
        return self._stack([])

    def _order(self, n: int) -> list[int]:
        """Return the members, the one to ask first; those that think are behind all others."""
        for each in self.members:
            each.prepare(n)
        self.turn += 1
        rates = self.rates()
        rates[0] *= _LEAD
        first = self.turns if self.turn % _TURN == 0 else -rates
        order = np.argsort(first, kind="stable")
        thinking = [self.members[member].thinking for member in order]
        if all(thinking):
            _Member.wait(self.members)
            thinking = [self.members[member].thinking for member in order]
        return [int(member) for member in order[np.argsort(thinking, kind="stable")]]

    def rates(self) -> NDArray[np.float64]:
        """Return what each member gains with a result, as a share of what all gain; sums to 1."""
        sums, counts = (np.array([float(of(gains)) for gains in self.gains]) for of in (sum, len))
        typical = sums.sum() / max(counts.sum(), 1)
        means = (_UNPROVEN * typical + sums) / (_UNPROVEN + counts)
        return means / means.sum() if typical > 0 else np.full(len(means), 1 / len(means))

    def _credit(self, member: int, added: float) -> None:
        """Note the hypervolume that a result of a member added."""
        self.lately.append(added)
        typical = sum(self.lately) / len(self.lately)
        self.gains[member].append(added / typical if typical > 0 else 0.0)

    def _owned(self, genomes: Genomes, member: int) -> Genomes:
        """Note who proposed what is new."""
        new = self.unseen(genomes)
        self.turns[member] = self.turn
        self.owners.update(dict.fromkeys(self._keys(new), member))
        return genomes

    def tell(self, observations: Observations) -> None:
        """Tell all members, and credit those that asked.

        Raises:
            InvalidGenome: genomes or costs of another shape than the problem's.
        """
        super().tell(observations)
        for key in self._keys(self.problem.canonical(observations.genomes)):
            owner = self.owners.pop(key, None)
            if owner is not None:  # failed, bounded or outside limits: it gained nothing
                self._credit(owner, 0.0)
        for member in self.members:
            member.tell(observations)

    def _tell(self, observations: Observations) -> None:
        inside = observations.violations == 0
        costs = observations.costs[inside]
        if not len(costs):
            return
        low, high = (
            np.minimum(self.box[0], costs.min(axis=0)),
            np.maximum(self.box[1], costs.max(axis=0)),
        )
        self.box = np.array([low, high])
        gained = self._gains(costs)
        for key, gain in zip(self._keys(observations.genomes[inside]), gained, strict=True):
            owner = self.owners.pop(key, None)
            if owner is not None:
                self._credit(owner, gain)
        joined = np.concatenate([self.front, costs])
        self.front = joined[nondominated(joined)]

    def _gains(self, costs: Costs) -> list[float]:
        """Return what each row adds to the front's hypervolume, one after another."""
        extent = np.where(self.box[1] > self.box[0], self.box[1] - self.box[0], 1.0)
        reference = [1.1] * costs.shape[1]
        front = (self.front - self.box[0]) / extent
        before, gained = hypervolume(front, reference), []
        for row in (costs - self.box[0]) / extent:
            if (front <= row).all(axis=1).any():
                gained.append(0.0)
                continue
            front = np.concatenate([front, row[None]])
            after = hypervolume(front, reference)
            gained.append(after - before)
            before = after
        return gained

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "members": [member.state_dict() for member in self.members],
            "gains": [list(gains) for gains in self.gains],
            "lately": list(self.lately),
            "turn": self.turn,
            "turns": self.turns.copy(),
            "owned": self._unpack(b"".join(self.owners)),
            "owners": list(self.owners.values()),
            "front": self.front,
            "box": np.nan_to_num(self.box, posinf=np.nan, neginf=np.nan),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes, or with other members.
        """
        super().load_state_dict(state)
        if len(state["members"]) != len(self.members):
            raise FormatError(
                f"the state of a portfolio of {len(self.members)} was expected; got "
                f"{len(state['members'])} members"
            )
        for member, its in zip(self.members, state["members"], strict=True):
            member.load_state_dict(its)
        self.gains = [deque(gains, maxlen=self.window) for gains in state["gains"]]
        self.lately = deque(state["lately"], maxlen=self.window)
        self.turn, self.turns = int(state["turn"]), np.array(state["turns"], dtype=np.int64)
        owned = self._keys(np.asarray(state["owned"], dtype=np.int64))
        self.owners = dict(zip(owned, map(int, state["owners"]), strict=True))
        self.front = np.array(state["front"], dtype=np.float64)
        box = np.array(state["box"], dtype=np.float64)
        empty = np.array([[np.inf], [-np.inf]]) + np.zeros_like(box)
        self.box = np.where(np.isnan(box), empty, box)


class _Member:
    """A searcher here: it is asked and told at once.

    Args:
        searcher: any.
    """

    thinking = False

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher

    @staticmethod
    def wait(members: "Sequence[_Member]") -> None:
        """Wait until a member does not think."""
        Pending.wait([m.pending for m in members if isinstance(m, _Remote) and m.pending])

    def prepare(self, n: int) -> None:
        """Begin to think about the next n genomes, where that is done elsewhere."""

    def ask(self, n: int) -> Genomes:
        return self.searcher.ask(n)

    def tell(self, observations: Observations) -> None:
        self.searcher.tell(observations)

    def state_dict(self) -> dict[str, Any]:
        return self.searcher.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.searcher.load_state_dict(state)


class _Remote(_Member):
    """A searcher in an actor, which is asked one batch ahead.

    Args:
        searcher: `moga.runtime.remote.remote` made it.
    """

    searcher: RemoteSearcher

    def __init__(self, searcher: RemoteSearcher) -> None:
        super().__init__(searcher)
        self.pending: Pending | None = None
        self.ahead: Genomes | None = None
        self.told: deque[Pending] = deque()

    @property
    def thinking(self) -> bool:  # type: ignore[override]
        """Whether the batch ahead is not there yet."""
        return self.pending is not None and not self.pending.ready

    def prepare(self, n: int) -> None:
        """Ask ahead where nothing is on its way.

        Raises:
            Exception: what the searcher raised when it was told something.
        """
        while self.told and self.told[0].ready:
            self.told.popleft().get()
        if self.pending is None and self.ahead is None:
            self.pending = self.searcher.later("ask", n)

    def ask(self, n: int) -> Genomes:
        """Return what was asked ahead, at most n, and ask ahead again.

        Nothing, where it waited for results when it was asked ahead: it is asked again, and has
        been told more by then.

        Raises:
            Exhausted: the searcher has nothing left.
        """
        genomes = self._arrived()
        if genomes is None:
            genomes = self.searcher.ask(n)
        genomes, rest = genomes[:n], genomes[n:]
        if len(rest):
            self.ahead = rest
        else:
            self.pending = self.searcher.later("ask", n)
        return genomes

    def _arrived(self) -> Genomes | None:
        pending, self.pending = self.pending, None
        ahead, self.ahead = self.ahead, None
        return ahead if pending is None else pending.get()

    def tell(self, observations: Observations) -> None:
        """Pass on what became of genomes, without waiting."""
        self.told.append(self.searcher.later("tell", observations))

    def state_dict(self) -> dict[str, Any]:
        """Return the searcher's state, and what it was asked ahead."""
        while self.told:
            self.told.popleft().get()
        try:
            self.ahead = self._arrived()
        except Exhausted:
            self.ahead = None
        ahead = [] if self.ahead is None else self.ahead.tolist()
        return {"searcher": self.searcher.state_dict(), "ahead": ahead}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.searcher.load_state_dict(state["searcher"])
        self.pending = None
        self.ahead = np.array(state["ahead"], dtype=np.int64) if len(state["ahead"]) else None


def _named(spec: Any) -> str:
    return str(getattr(spec, "__qualname__", type(spec).__qualname__))


def _build(spec: Any, problem: Problem, rng: np.random.Generator) -> Searcher:
    if isinstance(spec, str):
        searcher: Searcher = registry.create("searcher", spec, problem=problem, rng=rng)
    else:
        searcher = spec(problem, rng)
    return searcher


def _local(spec: Any, problem: Problem, rng: np.random.Generator) -> _Member:
    return _Member(_build(spec, problem, rng))


def _remote(spec: Any, problem: Problem, rng: np.random.Generator) -> _Member:
    return _Remote(remote(partial(_build, spec), problem, rng))
