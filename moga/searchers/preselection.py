"""Pre-selection: of more children than are offered, those that what is known speaks for."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Genomes, Observations, Problem
from moga.errors import FormatError
from moga.pareto import nondominated
from moga.searchers.arguments import check_integer
from moga.searchers.base import BaseSearcher
from moga.searchers.crowding import survive
from moga.searchers.gaussian import Encoding, GaussianProcess, Hypers

__all__ = ["Preselection"]

_MEMORY: Final = 200
"""Results that estimates are made from; it bounds what an ask costs."""

_STALE: Final = 10
"""Estimates are renewed when this many-th part of the memory is new."""


class Preselection:
    """Chooses children by their known costs and an optimistic estimate of the others.

    Each unknown cost is estimated by a Gaussian process over the genes (`moga.searchers.gaussian`,
    hyper-parameters as they start, never fitted: two random genomes correlate by about 1 / e), at
    its mean less one standard deviation. It knows up to 200 results, whoever asked for them: those
    on the front (100 at most), then the newest. Children and front are then sorted as survivors
    are, by rank and weighted crowding, and the first children are chosen.

    To judge offspring before they are evaluated is old (Jin 2011, "Surrogate-assisted evolutionary
    computation"); that the known costs enter exactly, and the estimate, is ours. Where no cost is
    known without an evaluation, or all are, nothing is pre-selected: a searcher is then the
    textbook's.

    Args:
        problem: what is searched; its `known` decides whether there is anything to do.
        oversample: how many children are bred for each that is offered; 1: no pre-selection.
        weights: of the objectives in the crowding, shape (objectives,); None: the problem's.

    Raises:
        UsageError: an oversample below 1.
    """

    def __init__(
        self, problem: Problem, oversample: int, weights: NDArray[np.float64] | None = None
    ) -> None:
        check_integer("oversample", oversample)
        self.problem = problem
        self.weights = problem.weights if weights is None else weights
        reference = np.asarray(problem.reference, dtype=np.int64)[None]
        self.hard = np.isnan(problem.known(reference)[0])
        useful = self.hard.any() and not self.hard.all()
        self.oversample = oversample if useful else 1
        self.encoding = Encoding(problem.genes, np.empty((1, 0)))
        self.genomes = np.empty((0, len(problem.genes)), dtype=np.int64)
        self.costs = np.empty((0, len(problem.objectives)))
        self._fresh = 0  # of the results, the newest, which estimates do not know yet
        self._processes: list[GaussianProcess] = []

    def learn(self, observations: Observations) -> None:
        """Remember exact results within the limits."""
        if self.oversample > 1:
            rows = observations.violations == 0
            self.genomes = np.concatenate([self.genomes, observations.genomes[rows]])
            self.costs = np.concatenate([self.costs, observations.costs[rows]])
            self._fresh += int(rows.sum())
            if len(self.genomes) > 4 * _MEMORY:  # nobody asks: a portfolio prefers another
                self._renew()

    def choose(self, searcher: BaseSearcher, children: Genomes, n: int) -> Genomes:
        """Return at most n of the children, the most promising first.

        Args:
            searcher: knows what was seen already, and gives the random numbers.
            children: shape (m, genes).
            n: how many are wanted.
        """
        if self.oversample == 1 or len(self.genomes) < 2:
            return children[:n]
        new = searcher.unseen(children)
        if len(new) <= n:
            return new if len(new) else children[:n]  # the caller sees that all are repeats
        # here and not in `learn`, so that it does not matter how results are grouped
        if self._fresh > len(self.genomes) // _STALE:
            self._renew()
        children = new
        costs = np.concatenate([self._estimates(children), self.costs[nondominated(self.costs)]])
        rows, *_ = survive(costs, np.zeros(len(costs)), self.weights, len(costs), searcher.rng)
        return children[rows[rows < len(children)][:n]]

    def _estimates(self, children: Genomes) -> Costs:
        costs = self.problem.known(children)
        points = self.encoding(children, np.empty((len(children), 0)))
        for column, process in zip(np.flatnonzero(self.hard), self._fitted(), strict=True):
            prediction = process.predict(points)
            costs[:, column] = prediction.mean - prediction.deviation
        return costs

    def _renew(self) -> None:
        """Forget what is too much; let the next estimates know all that is left."""
        if len(self.genomes) > _MEMORY:
            front = np.flatnonzero(nondominated(self.costs))[-_MEMORY // 2 :]
            others = np.setdiff1d(np.arange(len(self.genomes)), front)
            kept = np.sort(np.concatenate([front, others[len(front) - _MEMORY :]]))
            self.genomes, self.costs = self.genomes[kept], self.costs[kept]
        self._fresh, self._processes = 0, []

    def _fitted(self) -> list[GaussianProcess]:
        """Return a process for each unknown cost, over all results but the fresh ones."""
        if not self._processes:
            n = len(self.genomes) - self._fresh
            points = self.encoding(self.genomes[:n], np.empty((n, 0)))
            hypers = Hypers.start(len(self.problem.genes))
            self._processes = [
                GaussianProcess(points, values[:n], hypers) for values in self.costs[:, self.hard].T
            ]
        return self._processes

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered."""
        return {"genomes": self.genomes, "costs": self.costs, "fresh": self._fresh}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            FormatError: results of another problem.
        """
        genomes, costs = np.array(state["genomes"], np.int64), np.array(state["costs"], np.float64)
        shapes = (genomes.shape[1:], costs.shape[1:])
        if shapes != (self.genomes.shape[1:], self.costs.shape[1:]):
            raise FormatError(
                f"results of {self.genomes.shape[1]} genes and {self.costs.shape[1]} objectives "
                f"were expected; got the shapes {genomes.shape} and {costs.shape}"
            )
        self.genomes, self.costs, self._fresh = genomes, costs, int(state["fresh"])
        self._processes = []
