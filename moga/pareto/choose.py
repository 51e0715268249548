"""Choosing a few members of a front: at equal distance, under budgets, at the knee."""

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from moga.contracts import Costs
from moga.errors import UsageError
from moga.pareto.dominance import as_costs, nondominated

__all__ = ["equal_distance", "knee", "under_budgets"]


def equal_distance(costs: ArrayLike, k: int) -> NDArray[np.int64]:
    """Return k members at equal distance along the front, fastest first.

    Chu, Zhang, Xu 2020, MoGA (arXiv 1908.01314), section 4.4, take "K networks at equal distance
    along the front" and leave open what distance is for three objectives. Ours is the arc length
    along the front's projection on accuracy and latency, both normalised to 0..1: what the
    projection itself dominates is dropped, and of equal points the first is kept. Both ends are
    chosen; one member alone (k = 1) is the one in the middle. Members are distinct; where there are
    k or fewer, all are chosen.

    Args:
        costs: shape (n, 2): the cost of accuracy, then of latency. Failed rows are dropped.
        k: how many.

    Returns:
        Rows of `costs`, in order of latency.

    Raises:
        UsageError: costs of another shape, or k below 1.

    Example:
        >>> equal_distance([[-90, 9.0], [-80, 5.0], [-79, 5.1], [-70, 1.0]], k=3).tolist()
        [3, 1, 0]
    """
    array = as_costs(costs)
    if array.shape[1] != 2:
        raise UsageError(
            f"equal distance is measured along two costs, accuracy and latency; got "
            f"{array.shape[1]} columns"
        )
    if k < 1:
        raise UsageError(f"k is {k}; choose 1 or more members")
    rows = np.flatnonzero(nondominated(array))
    if len(rows):
        rows = rows[moocore.is_nondominated(array[rows], keep_weakly=False)]
    rows = rows[np.argsort(array[rows, 1], kind="stable")]
    if len(rows) <= k:
        return rows
    steps = np.linalg.norm(np.diff(_normalised(array[rows]), axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    targets = along[-1] * (np.linspace(0, 1, k) if k > 1 else np.array([0.5]))
    return rows[_nearest_distinct(along, targets)]


def _nearest_distinct(
    along: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return increasing positions whose summed distance to increasing targets is the least.

    Each member is met by each target in turn (dynamic programming over their table), because the
    nearest ones taken one by one could leave nothing for a later target.
    """
    distance = np.abs(along[None, :] - targets[:, None])
    best = np.full_like(distance, np.inf)
    best[0] = distance[0]
    for row in range(1, len(targets)):
        best[row, 1:] = distance[row, 1:] + np.minimum.accumulate(best[row - 1, :-1])
    chosen, limit = [], len(along)
    for row in reversed(best):
        limit = int(np.argmin(row[:limit]))
        chosen.append(limit)
    return np.array(chosen[::-1], dtype=np.int64)


def under_budgets(costs: ArrayLike, column: int, budgets: Sequence[float]) -> list[int | None]:
    """Return for each budget the row with the best first objective that keeps it.

    Equal ones are told apart by the limited cost, then by the order of rows.

    Args:
        costs: shape (n, objectives). Failed rows are dropped.
        column: which cost the budgets limit.
        budgets: the largest cost allowed, in the unit of that column.

    Returns:
        A row for each budget, None where no row keeps it.

    Raises:
        UsageError: costs of another shape, or no such column.
    """
    array = as_costs(costs)
    if not 0 <= column < array.shape[1]:
        raise UsageError(f"column is {column}; these costs have columns 0 to {array.shape[1] - 1}")
    rows = np.flatnonzero(np.isfinite(array).all(axis=1))
    rows = rows[np.lexsort((array[rows, column], array[rows, 0]))]
    kept = (rows[array[rows, column] <= budget] for budget in budgets)
    return [int(within[0]) if len(within) else None for within in kept]


def knee(costs: ArrayLike) -> int:
    """Return the row where the front bends most: where giving up a little gains the most.

    It is the member farthest below the plane through the ends of the front, every objective
    normalised to 0..1 over the front: the least sum of normalised costs. For two objectives this is
    the greatest distance from the chord (Das 1999, "On characterizing the knee of the Pareto curve
    based on Normal-Boundary Intersection").

    Args:
        costs: shape (n, objectives). Failed and dominated rows are dropped; of equals the first
            counts.

    Raises:
        UsageError: costs of another shape, or no valid row.
    """
    array = as_costs(costs)
    rows = np.flatnonzero(nondominated(array))
    if not len(rows):
        raise UsageError("a knee needs at least one valid row of costs; got none")
    return int(rows[np.argmin(_normalised(array[rows]).sum(axis=1))])


def _normalised(costs: Costs) -> Costs:
    extent = np.ptp(costs, axis=0)
    return np.asarray((costs - costs.min(axis=0)) / np.where(extent > 0, extent, 1.0))
