"""Bayesian optimisation that models only what must be evaluated, and takes tables at their word.

    fit a Gaussian process to each unknown cost -> draw candidates -> improve them by mutation
    -> take the one of most expected hypervolume improvement, believe its mean, take the next

The improvement is exact (`moga.searchers.improvement`): a cost that `Problem.known` gives is a
normal one without deviation. Known costs are inputs of the process as well, because slow networks
tend to be accurate ones. What is ours: the two uses of known costs, and the search among
candidates.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Genomes, Observations, Problem
from moga.errors import UsageError
from moga.pareto.dominance import nondominated
from moga.searchers.arguments import check_integer
from moga.searchers.base import BaseSearcher, Opening
from moga.searchers.crowding import weighted_crowding
from moga.searchers.gaussian import Encoding, GaussianProcess, Hypers, Points, Prediction
from moga.searchers.improvement import MOST_OBJECTIVES, expected_volume
from moga.spaces.base import crossover, mutate, sample_sobol

__all__ = ["Bayes"]

_SAMPLE: Final = 512
"""Genomes that tell the range of known costs."""

_POOL: Final = 1200
_KEPT: Final = 200
"""Candidates drawn an ask, and how many of the best are kept after each round of mutation."""

_ROUNDS: Final = 2
_PENDING: Final = 64
"""Most genomes asked for and not told whose results are believed."""

_GROWTH: Final = 1.1
"""The processes are fitted anew when there are so many times more results."""


class Bayes(BaseSearcher):
    """Gaussian processes and exact expected hypervolume improvement, for one to three objectives.

    It seeks the whole front: weights of objectives play no part. Limits of objectives bound the
    volume that counts; limits on anything else are learned from nowhere but the archive, so that
    what breaks them is not on the front. The reference point is the worst of each cost, known or
    seen.

    What an ask costs grows with the number of results up to `cap`, and no further (but for sorting
    all of them once): the processes are fitted to the front and the latest results, `cap` in all,
    and the volume is that beyond at most `cap` members of the front.

    Args:
        problem: what is searched.
        rng: consumed.
        initial: how many genomes are asked before anything is modelled; default: two a gene, at
            most 20. Fewer leave some runs stuck for a hundred evaluations.
        start: "sobol", "uniform", or a list of genomes, which "sobol" fills up to `initial`.
        cap: most results that a process is fitted to, and most members of the front that count.

    Raises:
        UsageError: more than three objectives, numbers that make no search, another start.
        InvalidGenome: genomes in `start` that are out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        initial: int | None = None,
        start: str | Sequence[Sequence[int]] | Genomes = "sobol",
        cap: int = 300,
    ) -> None:
        if len(problem.objectives) > MOST_OBJECTIVES:
            raise UsageError(
                f"bayes works on 1 to {MOST_OBJECTIVES} objectives; this problem has "
                f"{len(problem.objectives)}. Use nsga2"
            )
        initial = min(2 * len(problem.genes), 20) if initial is None else initial
        check_integer("initial", initial)
        check_integer("cap", cap, 10)
        super().__init__(problem, rng)
        self.cap = cap
        self.sample = sample_sobol(self.sizes, _SAMPLE, rng)
        self._scale()
        self.opening = Opening.of(problem, start, initial, rng)
        self.genomes, self.pending = self._stack([]), self._stack([])
        self.costs = np.empty((0, len(problem.objectives)))
        self.feasible = np.empty(0, dtype=bool)
        self.hypers = [Hypers.start(self.encoding.dimensions)] * int((~self.known).sum())
        self.fitted = 0

    def ask(self, n: int) -> Genomes:
        """Return (m, genes) new genomes, m <= n, and remember them until they are told.

        Raises:
            Exhausted: every genome of the space was offered or told.
            UsageError: n below 1.
        """
        found = super().ask(n)
        self.pending = np.concatenate([self.pending, found])[-_PENDING:]
        return found

    def tell(self, observations: Observations) -> None:
        """Learn what became of genomes, asked for here or elsewhere.

        Raises:
            InvalidGenome: genomes or costs of another shape than the problem's.
        """
        super().tell(observations)
        told = set(self._keys(self.problem.canonical(observations.genomes)))
        open_ = [key not in told for key in self._keys(self.pending)]
        self.pending = self.pending[np.array(open_, dtype=bool)]

    def _ask(self, n: int, attempt: int) -> Genomes:
        if len(first := self.opening.take(n, self.foreign)):
            return first
        pool = self._candidates()
        if len(self.costs) < 4 or attempt or not len(pool):
            return self._anywhere(n)
        return self._chosen(n, pool)

    def _tell(self, observations: Observations) -> None:
        whole = ~observations.failed
        self.genomes = np.concatenate([self.genomes, observations.genomes[whole]])
        self.costs = np.concatenate([self.costs, observations.costs[whole]])
        self.feasible = np.concatenate([self.feasible, observations.violations[whole] == 0])

    def _chosen(self, n: int, pool: Genomes) -> Genomes:
        """Return the n candidates of most expected improvement, each given those before it."""
        processes, front, reference = self._processes(), self._front(), self._reference()
        for _ in range(_ROUNDS):
            outlook = self._outlook(processes, pool)
            best = pool[np.argsort(-outlook.value(front, reference), kind="stable")[:_KEPT]]
            pool = self._unseen(np.concatenate([best, self._varied(best[: _KEPT // 10])]))
        value = self._outlook(processes, pool).value(front, reference)
        pool = pool[np.argsort(-value, kind="stable")[:_KEPT]]
        pending = self._legal(self.pending)
        outlook = self._outlook(processes, np.concatenate([pending, pool]))
        for row in range(len(pending)):
            front = outlook.believed(row, front)
        rows: list[int] = []
        for _ in range(min(n, len(pool))):
            value = outlook.value(front, reference)
            value[: len(pending)] = value[rows] = -1.0
            rows.append(int(np.argmax(value)))
            front = outlook.believed(rows[-1], front)
        return outlook.genomes[rows]

    def _outlook(self, processes: list[GaussianProcess], genomes: Genomes) -> "_Outlook":
        known = self.problem.known(genomes)
        points = self.encoding(genomes, known[:, self.known])
        return _Outlook(
            genomes, known, np.asarray(~self.known), [p.predict(points) for p in processes]
        )

    def _processes(self) -> list[GaussianProcess]:
        """Return a process for each unknown cost, of the front and the latest results."""
        rows = np.arange(len(self.costs))
        if len(rows) > self.cap:
            latest = rows[::-1]
            first = np.concatenate([np.flatnonzero(nondominated(self.costs))[::-1], latest])
            kept = list(dict.fromkeys(first.tolist()))[: self.cap]
            rows = np.sort(np.array(kept))
        points: Points = self.encoding(self.genomes[rows], self.costs[rows][:, self.known])
        targets = self.costs[rows][:, ~self.known].T
        if len(self.costs) >= _GROWTH * self.fitted:
            self.fitted = len(self.costs)
            pairs = zip(targets, self.hypers, strict=True)
            self.hypers = [GaussianProcess.fit(points, target, h) for target, h in pairs]
        pairs = zip(targets, self.hypers, strict=True)
        return [GaussianProcess(points, target, h) for target, h in pairs]

    def _front(self) -> Costs:
        """Return the costs of the front; where it is larger than `cap`, of its loneliest."""
        costs = self.costs[self.feasible]
        front = costs[nondominated(costs)]
        if len(front) <= self.cap:
            return front
        crowding = weighted_crowding(front, np.ones(front.shape[1]), np.ptp(front, axis=0))
        return front[np.sort(np.argsort(-crowding, kind="stable")[: self.cap])]

    def _reference(self) -> NDArray[np.float64]:
        """Return the worst cost that counts: known or seen, or the limit where there is one."""
        worst = np.fmax(self.worst, self.costs.max(axis=0))
        margin = 0.01 * (worst - self.costs.min(axis=0))
        return np.asarray(np.minimum(worst + margin, self.limits))

    def _candidates(self) -> Genomes:
        """Draw unseen genomes: mutants and children of the front, and a part from everywhere."""
        genomes = self.genomes[self.feasible] if self.feasible.any() else self.genomes
        costs = self.costs[self.feasible] if self.feasible.any() else self.costs
        drawn = [self._anywhere(_POOL // 2)]
        if len(costs):
            front = genomes[nondominated(costs)]
            parents = front[self.rng.integers(len(front), size=_POOL // 4)]
            children = crossover(parents, self.rng.permutation(parents), self.rng)
            drawn += [self._mutated(parents, 1.5), self._mutated(children, 1.0)]
        return self._unseen(np.concatenate(drawn))

    def _anywhere(self, n: int) -> Genomes:
        # scipy's engine spawns a child of the generator, which is no part of the generator's state
        return sample_sobol(self.sizes, n, np.random.default_rng(self.rng.integers(2**63)))

    def _varied(self, genomes: Genomes) -> Genomes:
        return self._mutated(np.repeat(genomes, 15, axis=0), 1.0)

    def _mutated(self, genomes: Genomes, changes: float) -> Genomes:
        rate = min(changes / len(self.sizes), 1.0)
        return mutate(genomes, self.sizes, self.rng, rate=rate)

    def _unseen(self, genomes: Genomes) -> Genomes:
        """Return the rows that were never offered, each once, within the limits of known costs."""
        genomes = np.unique(self.problem.canonical(genomes), axis=0)
        new = [key not in self._seen for key in self._keys(genomes)]
        return self._legal(genomes[np.array(new, dtype=bool)])

    def _legal(self, genomes: Genomes) -> Genomes:
        """Return the rows whose known costs are numbers within the objectives' limits."""
        costs = self.problem.known(genomes)
        legal = ~np.isnan(costs[:, self.known]).any(axis=1)
        for column in np.flatnonzero(self.known):
            objective = self.problem.objectives[column]
            legal &= objective.violation(objective.sign * costs[:, column]) == 0
        return genomes[legal]

    def _scale(self) -> None:
        """Learn from the sample which costs are known and what their ranges are."""
        costs = self.problem.known(self.sample)
        self.known: NDArray[np.bool_] = np.asarray(~np.isnan(costs).any(axis=0))
        self.worst = np.where(self.known, costs.max(axis=0), -np.inf)
        self.encoding = Encoding(self.problem.genes, costs[:, self.known])
        self.limits = np.array(
            [o.upper if o.sign > 0 else -o.lower for o in self.problem.objectives]
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "sample": self.sample,
            "opening": self.opening.state_dict(),
            "genomes": self.genomes,
            "costs": self.costs,
            "feasible": self.feasible,
            "pending": self.pending,
            "hypers": [h.flat() for h in self.hypers],
            "fitted": self.fitted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.opening.load_state_dict(state["opening"])
        for name in ("sample", "genomes", "pending"):
            setattr(self, name, np.array(state[name], dtype=np.int64).reshape(-1, len(self.sizes)))
        self._scale()
        self.costs = np.array(state["costs"], dtype=np.float64).reshape(
            -1, len(self.problem.objectives)
        )
        self.feasible = np.array(state["feasible"], dtype=bool)
        self.hypers = [Hypers.of(np.asarray(flat)) for flat in state["hypers"]]
        self.fitted = int(state["fitted"])


class _Outlook:
    """What is expected of some genomes; believing in one changes it.

    Args:
        genomes: shape (n, genes).
        known: their known costs, shape (n, objectives).
        unknown: which columns are predicted, shape (objectives,).
        predictions: one for each of those columns.
    """

    def __init__(
        self,
        genomes: Genomes,
        known: Costs,
        unknown: NDArray[np.bool_],
        predictions: list[Prediction],
    ) -> None:
        self.genomes, self.predictions = genomes, predictions
        self.columns = np.flatnonzero(unknown)
        self.mean = np.array(known)
        for column, prediction in zip(self.columns, predictions, strict=True):
            self.mean[:, column] = prediction.mean

    def value(self, front: Costs, reference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected hypervolume improvement of each, shape (n,)."""
        deviation = np.zeros_like(self.mean)
        for column, prediction in zip(self.columns, self.predictions, strict=True):
            deviation[:, column] = prediction.deviation
        return expected_volume(self.mean, deviation, front, reference)

    def believed(self, row: int, front: Costs) -> Costs:
        """Take one for evaluated, with its mean costs; return the front with it."""
        for prediction in self.predictions:
            prediction.believe(row)
        joined = np.concatenate([front, self.mean[row : row + 1]])
        return joined[nondominated(joined)]
