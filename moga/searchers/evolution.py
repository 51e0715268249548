"""Regularised evolution: a queue of genomes, of which the oldest dies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Genomes, Observations, Problem
from moga.pareto import nondominated_ranks
from moga.searchers.arguments import check_integer, check_word
from moga.searchers.base import BaseSearcher, Opening
from moga.searchers.preselection import Preselection
from moga.spaces.base import mutate, sample_uniform

__all__ = ["RegularizedEvolution"]


class RegularizedEvolution(BaseSearcher):
    """Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search".

        first population, then again and again (arXiv 1802.01548, Algorithm 1):
        sample S of the population -> the best of them, mutated -> evaluation elsewhere
        -> append; the oldest dies

    The paper has one objective. With several, "the best of them" is ours: by default one of the
    sample that no other dominates, those with fewer dominating members in the population first, and
    among equals the one that is best by a randomly weighted Chebyshev distance (weights uniform on
    the simplex times the objectives' own; costs scaled to the population's range). With
    ``best="scalar"`` the Chebyshev distance alone decides, which draws a new direction for every
    child. Both are the paper's tournament where there is one objective.

    The paper mutates one gene (or, one time in twenty, none: here nothing is evaluated twice).
    Genomes outside the limits lose against all within; among them the smaller violation wins.

    Args:
        problem: what is searched.
        rng: consumed.
        population: P in the paper, 100 there.
        sample: S in the paper, 25 there.
        best: "dominance" or "scalar".
        start: "uniform" as in the paper, "sobol", or a list of genomes, which "sobol" fills up.
        oversample: how many children are made for each that is offered, where costs are known
            without an evaluation (`moga.searchers.preselection`); 1: no pre-selection.

    Raises:
        UsageError: a population below 2, a sample outside 1..population, another word.
        InvalidGenome: genomes in `start` that are out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        population: int = 100,
        sample: int = 25,
        best: str = "dominance",
        start: str | Sequence[Sequence[int]] | Genomes = "uniform",
        oversample: int = 8,
    ) -> None:
        check_integer("population", population, 2)
        check_integer("sample", sample, 1, population)
        check_word("best", best, ("dominance", "scalar"))
        super().__init__(problem, rng)
        self.population, self.sample, self.best = population, sample, best
        self.preselection = Preselection(problem, oversample)
        self.opening = Opening.of(problem, start, population, rng)
        self.genomes = self._stack([])
        self.costs = np.empty((0, len(problem.objectives)))
        self.violations = np.empty(0)

    def _ask(self, n: int, attempt: int) -> Genomes:
        if len(first := self.opening.take(n, self.foreign)):
            return first
        if not len(self.genomes):
            return sample_uniform(self.sizes, n, self.rng)
        children = self.genomes[self._tournaments(n * self.preselection.oversample)]
        for _ in range(attempt + 1):
            children = mutate(children, self.sizes, self.rng, rate=0.0)  # exactly one gene
        return self.preselection.choose(self, children, n)

    def _tournaments(self, n: int) -> NDArray[np.int64]:
        """Return the rows of n winners, each of a sample of its own."""
        size = min(self.sample, len(self.genomes))
        drawn = self.rng.random((n, len(self.genomes))).argsort(axis=1)[:, :size]
        distance = self._distances(n)
        distance = np.take_along_axis(distance, drawn, axis=1)
        first = self._ranks()[drawn]
        if self.best == "scalar":
            first = np.where(self.violations[drawn] > 0, first, 0)
        order = np.lexsort((distance, first), axis=1)[:, 0]
        return drawn[np.arange(n), order]

    def _ranks(self) -> NDArray[np.int64]:
        """Return ranks of the population: fronts, then in order of violation."""
        ranks = np.zeros(len(self.genomes), dtype=np.int64)
        inside = self.violations == 0
        if inside.any():
            ranks[inside] = nondominated_ranks(self.costs[inside])
        order = np.unique(self.violations[~inside], return_inverse=True)[1]
        ranks[~inside] = len(self.genomes) + order
        return ranks

    def _distances(self, n: int) -> Costs:
        """Return Chebyshev distances to the ideal in n random directions, shape (n, population)."""
        inside = self.violations == 0
        if not inside.any():
            return np.zeros((n, len(self.genomes)))
        low, high = self.costs[inside].min(axis=0), self.costs[inside].max(axis=0)
        scaled = (self.costs - low) / np.where(high > low, high - low, 1.0)
        weights = self.rng.dirichlet(np.ones(len(low)), size=n) * self.problem.weights
        return np.asarray(np.nan_to_num((weights[:, None] * scaled).max(axis=2), nan=np.inf))

    def _tell(self, observations: Observations) -> None:
        self.preselection.learn(observations)
        last = slice(-self.population, None)
        self.genomes = np.concatenate([self.genomes, observations.genomes])[last]
        self.costs = np.concatenate([self.costs, observations.costs])[last]
        self.violations = np.concatenate([self.violations, observations.violations])[last]

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "opening": self.opening.state_dict(),
            "genomes": self.genomes,
            "costs": self.costs,
            "violations": self.violations,
            "preselection": self.preselection.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.opening.load_state_dict(state["opening"])
        self.genomes = np.array(state["genomes"], dtype=np.int64)
        self.costs = np.array(state["costs"], dtype=np.float64)
        self.violations = np.array(state["violations"], dtype=np.float64)
        self.preselection.load_state_dict(state["preselection"])
