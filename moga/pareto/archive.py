"""The exact results of a run, and their front."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Genomes, Observations
from moga.errors import UsageError
from moga.pareto.dominance import hypervolume, nondominated

__all__ = ["Archive"]


class Archive:
    """All exact, usable results of one fidelity; knows its front at any time.

    Failed results, bounds, and results outside the limits are left out. The front is a set that
    does not depend on the order of insertion: equal costs do not dominate each other, so genomes
    that tie are all on it. The same genome with the same costs counts once.

    Args:
        objectives: number of cost columns.
        grid: a step for each cost column, 0 for none. Costs are rounded to its multiples before
            they are compared, so that differences below the noise of a device decide nothing.
        fidelity: the share of a full evaluation that all results have.

    Raises:
        UsageError: numbers that make no archive.

    Example:
        >>> archive = Archive(objectives=2)
        >>> archive.add(Observations.exact([[0], [1], [2]], [[1.0, 3.0], [2.0, 1.0], [2.0, 4.0]]))
        3
        >>> archive.front.tolist()
        [0, 1]
    """

    def __init__(
        self, objectives: int, grid: Sequence[float] | None = None, fidelity: float = 1.0
    ) -> None:
        if objectives < 1:
            raise UsageError(f"an archive needs 1 or more objectives; got {objectives}")
        self.grid = np.zeros(objectives) if grid is None else np.asarray(grid, dtype=np.float64)
        if (
            self.grid.shape != (objectives,)
            or not (np.isfinite(self.grid) & (self.grid >= 0)).all()
        ):
            raise UsageError(
                f"grid must be {objectives} steps of 0 or more, one an objective; got {grid!r}"
            )
        self.objectives, self.fidelity = objectives, fidelity
        self._genomes: list[NDArray[np.int64]] = []
        self._costs: list[NDArray[np.float64]] = []
        self._known: set[tuple[bytes, bytes]] = set()
        self._front = np.empty(0, dtype=np.int64)
        self._front_rounded = np.empty((0, objectives))

    def __len__(self) -> int:
        return len(self._genomes)

    @property
    def genomes(self) -> Genomes:
        """All genomes, in the order in which they were added, shape (n, genes); (0, 0) if none."""
        return np.stack(self._genomes) if self._genomes else np.empty((0, 0), dtype=np.int64)

    @property
    def costs(self) -> Costs:
        """Their costs as they came, not rounded, shape (n, objectives)."""
        return np.array(self._costs, dtype=np.float64).reshape(len(self), self.objectives)

    @property
    def front(self) -> NDArray[np.int64]:
        """Rows of the front, ordered by cost: the first objective first, then genome by genome.

        The order is a matter of costs and genomes alone, never of the order of insertion.
        """
        keys = [(*self._costs[row].tolist(), *self._genomes[row].tolist()) for row in self._front]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return self._front[order]

    def add(self, observations: Observations) -> int:
        """Take in what is exact, valid and within all limits; return how many results were new.

        What it costs grows with the front and with what is added, not with the archive.

        Raises:
            UsageError: another number of objectives, or results of another fidelity.
        """
        if observations.costs.shape[-1] != self.objectives:
            raise UsageError(
                f"the archive holds {self.objectives} costs a genome; got "
                f"{observations.costs.shape[-1]}"
            )
        rows = np.flatnonzero(observations.usable)
        self._check_fidelity(observations.fidelity[rows])
        fresh = [row for row in rows if self._is_new(observations, row)]
        if fresh:
            self._insert(observations.genomes[fresh], observations.costs[fresh])
        return len(fresh)

    def hypervolume(
        self, reference: Sequence[float], ideal: Sequence[float] | None = None
    ) -> float:
        """Return the hypervolume of the front (of rounded costs where there is a grid).

        See `moga.pareto.dominance.hypervolume`. It never falls when results are added.

        Raises:
            UsageError: points that do not fit.
        """
        return hypervolume(self._front_rounded, reference, ideal)

    def _check_fidelity(self, fidelity: NDArray[np.float64]) -> None:
        if (other := fidelity[fidelity != self.fidelity]).size:
            raise UsageError(
                f"the archive holds results of fidelity {self.fidelity:g}; got one of "
                f"{other[0]:g}. Keep one archive a fidelity: their costs do not compare"
            )

    def _is_new(self, observations: Observations, row: np.int64) -> bool:
        key = (
            observations.genomes[row].astype(np.int64).tobytes(),
            (observations.costs[row] + 0.0).tobytes(),  # -0.0 and 0.0 are one cost
        )
        if key in self._known:
            return False
        self._known.add(key)
        return True

    def _insert(self, genomes: Genomes, costs: Costs) -> None:
        rows = np.concatenate([self._front, np.arange(len(self), len(self) + len(genomes))])
        rounded = np.concatenate([self._front_rounded, self._rounded(costs)])
        self._genomes.extend(np.array(genomes, dtype=np.int64))
        self._costs.extend(np.array(costs, dtype=np.float64))
        kept = nondominated(rounded)
        self._front, self._front_rounded = rows[kept], rounded[kept]

    def _rounded(self, costs: Costs) -> Costs:
        step = np.where(self.grid > 0, self.grid, 1.0)
        return np.where(self.grid > 0, np.round(costs / step) * step, costs)
