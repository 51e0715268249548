"""Local search: mutates members of the front. Nothing simpler is as hard to beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moga.contracts import Genomes, Observations, Problem
from moga.pareto import nondominated
from moga.searchers.arguments import check_integer
from moga.searchers.base import BaseSearcher, Opening
from moga.searchers.preselection import Preselection
from moga.spaces.base import mutate, sample_uniform

__all__ = ["LocalSearch"]


class LocalSearch(BaseSearcher):
    """Mutates members of the front, each with equal chance: a baseline that is hard to beat.

        first genomes, then again and again:
        a member of the front -> one mutation -> pre-selection -> evaluation elsewhere -> front

    A randomised Pareto local search, after Paquete, Chiarandini, Stuetzle 2004 ("Pareto local
    optimum sets in the biobjective traveling salesman problem"): theirs visits every neighbour of a
    member in turn; this one draws members and neighbours, and a mutation changes each gene with
    probability 1 / genes, at least one. Where all that came is outside the limits, the genome with
    the smallest violation is mutated. Where that gives only genomes that are known, they are
    mutated again and again, so that it leaves the neighbourhood. All this is ours.

    Args:
        problem: what is searched.
        rng: consumed.
        initial: how many genomes are asked before anything is mutated.
        start: "sobol", "uniform", or a list of genomes, which "sobol" fills up to `initial`.
        oversample: how many mutants are made for each that is offered, where costs are known
            without an evaluation (`moga.searchers.preselection`); 1: no pre-selection.

    Raises:
        UsageError: numbers below 1, another start.
        InvalidGenome: genomes in `start` that are out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        initial: int = 20,
        start: str | Sequence[Sequence[int]] | Genomes = "sobol",
        oversample: int = 8,
    ) -> None:
        check_integer("initial", initial)
        super().__init__(problem, rng)
        self.preselection = Preselection(problem, oversample, np.ones(len(problem.objectives)))
        self.opening = Opening.of(problem, start, initial, rng)
        self.front = self._stack([])
        self.costs = np.empty((0, len(problem.objectives)))
        self.violation = np.inf

    def _ask(self, n: int, attempt: int) -> Genomes:
        if len(first := self.opening.take(n, self.foreign)):
            return first
        if not len(self.front):
            return sample_uniform(self.sizes, n, self.rng)
        m = n * self.preselection.oversample
        mutants = self.front[self.rng.integers(len(self.front), size=m)]
        for _ in range(attempt + 1):
            mutants = mutate(mutants, self.sizes, self.rng)
        return self.preselection.choose(self, mutants, n)

    def _tell(self, observations: Observations) -> None:
        self.preselection.learn(observations)
        best = float(observations.violations.min())
        if best < self.violation:  # what was there is farther outside the limits than this
            self.violation = best
            self.front, self.costs = self.front[:0], self.costs[:0]
        rows = observations.violations == self.violation
        genomes = np.concatenate([self.front, observations.genomes[rows]])
        costs = np.concatenate([self.costs, observations.costs[rows]])
        if self.violation > 0:
            self.front, self.costs = genomes, costs
            return
        kept = nondominated(costs)
        self.front, self.costs = genomes[kept], costs[kept]

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "opening": self.opening.state_dict(),
            "front": self.front,
            "costs": self.costs,
            "violation": self.violation if np.isfinite(self.violation) else None,
            "preselection": self.preselection.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.opening.load_state_dict(state["opening"])
        self.front = np.array(state["front"], dtype=np.int64)
        self.costs = np.array(state["costs"], dtype=np.float64)
        self.violation = np.inf if state["violation"] is None else float(state["violation"])
        self.preselection.load_state_dict(state["preselection"])
