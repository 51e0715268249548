"""NSGA-II with weighted crowding and hierarchical mutation: MoGA's searcher."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes, Observations, Problem
from moga.searchers.arguments import check_integer, check_number, check_word
from moga.searchers.base import BaseSearcher, Opening, starting_genomes
from moga.searchers.crowding import survive
from moga.searchers.mutation import HierarchicalMutation, Rates
from moga.searchers.preselection import Preselection
from moga.spaces.base import sample_uniform

__all__ = ["NSGA2"]


class NSGA2(BaseSearcher):
    """Deb et al. 2002, as MoGA uses it (Chu, Zhang, Xu 2020, arXiv 1908.01314, section 4.2).

        first population, then again and again:
        tournament -> uniform crossover -> hierarchical mutation -> pre-selection
        -> evaluation elsewhere -> rank and weighted crowding of parents and offspring -> survivors

    `moga.searchers.crowding` has distance and survival (limits first: feasible before infeasible,
    those in order of their violation), `moga.searchers.mutation` the mutators and
    `moga.searchers.preselection` the choice among more children than are offered, each with what
    is established and what is ours.

    Works asynchronously. `ask` never waits: it breeds from the last survivors (before there are
    any, from what was told so far). In the mode "generational" the first generation ends when
    `population` results were told, the following ones when `offspring` were, in whatever grouping
    they came; so the same results in the same order give the same state. In the mode "steady"
    everything that is told competes with the survivors at once (mu + lambda with lambda as it
    comes): for workers of uneven speed, and for budgets of few populations.

    Ours, each because it needs fewer evaluations (docs/trials.md): generations of half a
    population, crossover gene by gene rather than at a single point, and that a child which is
    like one of its parents is always mutated, one that crossing made new at the rate of
    `Rates.mutation`, for no genome is evaluated twice. ``offspring=population`` gives Deb's.

    Args:
        problem: what is searched.
        rng: consumed.
        population: survivors, and results of the first generation.
        offspring: results of each following generation; half of the population if not given.
        crossover: probability that two parents cross; otherwise copies of them are mutated.
        rates: how often each mutator acts; a mapping gives those that differ from `Rates`.
        step: learning rate of the mutation's controller.
        start: "sobol" spreads the first population evenly; "uniform" draws it independently; a
            list of genomes (`space.encode(network)` gives that of a network) is asked first, and
            "sobol" fills the population up.
        mode: "generational" or "steady".
        oversample: how many children are bred for each that is offered, where costs are known
            without an evaluation; 1: no pre-selection.

    Raises:
        UsageError: a population below 4, offspring below 1, a probability outside 0..1, rates that
            `Rates` refuses, a negative step, another start or mode, an oversample below 1.
        InvalidGenome: genomes in `start` that are out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        population: int = 70,
        offspring: int | None = None,
        crossover: float = 0.9,
        rates: Rates | Mapping[str, float] | None = None,
        step: float = 0.1,
        start: str | Sequence[Sequence[int]] | Genomes = "sobol",
        mode: Literal["generational", "steady"] = "generational",
        oversample: int = 8,
    ) -> None:
        check_integer("population", population, 4)
        offspring = population // 2 if offspring is None else offspring
        check_integer("offspring", offspring)
        check_number("crossover", crossover, 0, 1)
        check_number("step", step, 0)
        check_word("mode", mode, ("generational", "steady"))
        super().__init__(problem, rng)
        self.population, self.offspring = population, offspring
        self.crossover, self.mode, self.start = crossover, mode, start
        rates = rates if isinstance(rates, Rates) else Rates.of(rates or {})
        self.mutation = HierarchicalMutation(problem, rates, step)
        self.preselection = Preselection(problem, oversample)
        self.survivors = _Members.none(problem)
        self.waiting = _Members.none(problem)  # results of a generation that is not complete
        self.begun = False  # whether the first generation was told
        self.opening: Opening | None = None
        starting_genomes(problem, start, 0, np.random.default_rng(0))  # refuse it now, not later

    def _ask(self, n: int, attempt: int) -> Genomes:  # noqa: ARG002 - every attempt is alike
        if self.opening is None:
            self.opening = Opening.of(self.problem, self.start, self.population, self.rng)
        if len(first := self.opening.take(n, self.foreign)):
            return first
        parents = self.survivors if len(self.survivors) else self._ranked(self.waiting)
        if len(parents) < 2:
            return sample_uniform(self.sizes, n, self.rng)
        children, crossed = self._crossed(parents, n * self.preselection.oversample)
        children = self.mutation.mutate(children, self.rng, crossed=crossed)
        return self.preselection.choose(self, children, n)

    def _crossed(self, parents: "_Members", n: int) -> tuple[Genomes, NDArray[np.bool_]]:
        """Return n children of parents that won a tournament, and which are like neither parent.

        What pymoo's uniform crossover does, on arrays: an object for each parent and child would
        take a third of an ask.
        """
        from pymoo.operators.selection.tournament import TournamentSelection
        from pymoo.util.misc import crossover_mask

        matings = TournamentSelection(func_comp=_winners).do(
            None, parents, -(-n // 2), 2, to_pop=False, random_state=self.rng
        )
        both = parents.genomes[matings]  # (matings, parents, genes)
        crosses = self.rng.random(len(matings)) < self.crossover
        swapped = np.zeros((len(matings), len(self.sizes)), dtype=np.bool_)
        if crosses.any():
            swapped = (self.rng.random(swapped.shape) < 0.5) & crosses[:, None]
        genomes = crossover_mask(both.swapaxes(0, 1), swapped).swapaxes(0, 1)
        crossed = (genomes[:, :, None] != both[:, None]).any(axis=3).all(axis=2)
        return genomes.reshape(2 * len(matings), -1)[:n], crossed.ravel()[:n]

    def _tell(self, observations: Observations) -> None:
        self.preselection.learn(observations)
        told = _Members.of(observations)
        if self.mode == "steady":
            self.survivors = self._ranked(self.survivors.joined(told))
        self.waiting = self.waiting.joined(told)
        while len(self.waiting) >= (n := self.offspring if self.begun else self.population):
            generation = self.waiting.taken(slice(None, n))
            self.waiting = self.waiting.taken(slice(n, None))
            self.begun = True
            if self.mode == "generational":
                self.survivors = self._ranked(self.survivors.joined(generation))
            self._learn(generation)

    def _ranked(self, members: "_Members") -> "_Members":
        """Return at most `population` of the members, with rank and crowding."""
        rows, rank, crowding = survive(
            members.costs, members.violations, self.problem.weights, self.population, self.rng
        )
        kept = members.taken(rows)
        kept.rank, kept.crowding = rank, crowding
        return kept

    def _learn(self, generation: "_Members") -> None:
        feasible = generation.violations == 0
        best = (self.survivors.rank == 0) & (self.survivors.violations == 0)
        if feasible.sum() > 1:
            self.mutation.learn(
                generation.genomes[feasible],
                generation.costs[feasible],
                self.survivors.genomes[best],
            )

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "opening": None if self.opening is None else self.opening.state_dict(),
            "survivors": self.survivors.state_dict(),
            "waiting": self.waiting.state_dict(),
            "begun": self.begun,
            "mutation": self.mutation.state_dict(),
            "preselection": self.preselection.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.opening = None
        if state["opening"] is not None:
            self.opening = Opening(self._stack([]))
            self.opening.load_state_dict(state["opening"])
        self.survivors = _Members(**{k: np.array(v) for k, v in state["survivors"].items()})
        self.waiting = _Members(**{k: np.array(v) for k, v in state["waiting"].items()})
        self.begun = bool(state["begun"])
        self.mutation.load_state_dict(state["mutation"])
        self.preselection.load_state_dict(state["preselection"])


class _Members:
    """Genomes with what selection needs to know of them, all of length n."""

    def __init__(
        self,
        genomes: Genomes,
        costs: NDArray[np.float64],
        violations: NDArray[np.float64],
        rank: NDArray[np.int64],
        crowding: NDArray[np.float64],
    ) -> None:
        self.genomes, self.costs, self.violations = genomes, costs, violations
        self.rank, self.crowding = rank, crowding

    @classmethod
    def of(cls, observations: Observations) -> "_Members":
        n = len(observations)
        empty = np.zeros(n, dtype=np.int64), np.zeros(n)
        return cls(observations.genomes, observations.costs, observations.violations, *empty)

    @classmethod
    def none(cls, problem: Problem) -> "_Members":
        genomes = np.empty((0, len(problem.genes)), dtype=np.int64)
        return cls.of(Observations.exact(genomes, np.empty((0, len(problem.objectives)))))

    def __len__(self) -> int:
        return len(self.genomes)

    def taken(self, rows: slice | NDArray[np.int64]) -> "_Members":
        return _Members(**{name: array[rows] for name, array in self.state_dict().items()})

    def joined(self, others: "_Members") -> "_Members":
        pairs = zip(self.state_dict().items(), others.state_dict().values(), strict=True)
        return _Members(**{name: np.concatenate([a, b]) for (name, a), b in pairs})

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def _winners(
    members: _Members, pairs: NDArray[np.int64], random_state: np.random.Generator, **_: Any
) -> NDArray[np.int64]:
    """Return the winner of each pair, shape (n, 1): lower rank, then larger crowding, then chance.

    Infeasible members have ranks behind all feasible ones, in order of their violation.
    """
    a, b = pairs.T
    rank, crowding = members.rank, members.crowding
    chance = random_state.random(len(pairs)) < 0.5
    tied = rank[a] == rank[b]
    lonelier = (crowding[a] > crowding[b]) | ((crowding[a] == crowding[b]) & chance)
    first = (rank[a] < rank[b]) | (tied & lonelier)
    winners: NDArray[np.int64] = np.where(first, a, b)
    return winners[:, None]
