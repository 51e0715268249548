"""Non-dominated sets, ranks and hypervolume, over moocore; lower costs are better throughout.

A row dominates another where it is nowhere worse and somewhere better. Rows that hold nan or
infinity have failed: they are dropped first and are never on a front. Equal rows do not dominate
each other: all copies of a non-dominated row are non-dominated.
"""

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from moga.contracts import Costs
from moga.errors import UsageError

__all__ = ["as_costs", "hypervolume", "nondominated", "nondominated_ranks"]


def as_costs(costs: ArrayLike) -> Costs:
    """Return costs as an array of shape (n, objectives).

    Raises:
        UsageError: another shape, or no objectives.
    """
    array = np.asarray(costs, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UsageError(f"costs must have the shape (n, objectives); got {array.shape}")
    return array


def nondominated(costs: ArrayLike) -> NDArray[np.bool_]:
    """Return which rows no other row dominates, shape (n,); failed rows are False.

    Raises:
        UsageError: costs of another shape than (n, objectives).
    """
    array = as_costs(costs)
    valid = _valid(array)
    mask = np.zeros(len(array), dtype=bool)
    if valid.any():
        mask[valid] = moocore.is_nondominated(array[valid], keep_weakly=True)
    return mask


def nondominated_ranks(costs: ArrayLike) -> NDArray[np.int64]:
    """Return the front of each row, shape (n,): 0 where nothing dominates it, 1 where only such do.

    Failed rows get n, which is more than any rank, so that they sort last.

    Raises:
        UsageError: costs of another shape than (n, objectives).
    """
    array = as_costs(costs)
    ranks = np.full(len(array), len(array), dtype=np.int64)
    valid = _valid(array)
    if valid.any():
        ranks[valid] = moocore.pareto_rank(array[valid])
    return ranks


def _valid(costs: Costs) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(costs).all(axis=1))


def hypervolume(
    costs: ArrayLike, reference: Sequence[float], ideal: Sequence[float] | None = None
) -> float:
    """Return the volume that is dominated by the rows and lies before the reference point.

    Args:
        costs: shape (n, objectives).
        reference: a cost for each objective; rows that are not better in every one add nothing.
        ideal: where given, the share of the box between it and the reference, from 0 to 1; what
            lies beyond the ideal counts as if on its border.

    Raises:
        UsageError: points of another length, not finite, or an ideal that is not better than the
            reference in every objective.
    """
    array = as_costs(costs)
    corner = _point("reference", reference, array.shape[1])
    array = array[_valid(array)]
    if ideal is None:
        return _volume(array, corner)
    best = _point("ideal", ideal, array.shape[1])
    if not (best < corner).all():
        raise UsageError(
            f"the ideal point {best.tolist()} must be below the reference {corner.tolist()} "
            "in every objective"
        )
    scaled = np.maximum((array - best) / (corner - best), 0.0)
    return _volume(scaled, np.ones(len(corner)))


def _volume(costs: Costs, corner: NDArray[np.float64]) -> float:
    inside = costs[(costs < corner).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=corner)) if len(inside) else 0.0


def _point(name: str, values: Sequence[float], objectives: int) -> NDArray[np.float64]:
    point = np.asarray(values, dtype=np.float64)
    if point.shape != (objectives,) or not np.isfinite(point).all():
        raise UsageError(
            f"the {name} point must be {objectives} finite costs, one an objective; got {values!r}"
        )
    return point
