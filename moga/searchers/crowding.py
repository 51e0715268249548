"""Weighted crowding distance, and the survival that uses it."""

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs
from moga.pareto import nondominated_ranks

__all__ = ["survive", "weighted_crowding"]


def weighted_crowding(
    costs: Costs, weights: NDArray[np.float64], ranges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the crowding distance of each member of a front, shape (n,); larger is lonelier.

    For each objective the gap between the two neighbours, divided by the objective's range and
    multiplied with its weight, summed over objectives; the first and last member along any
    objective get infinity, so that they are kept. After Chu, Zhang, Xu 2020, MoGA (arXiv
    1908.01314), section 4.2, Eq. 5; equal weights give Deb et al. 2002, section III-B, times a
    constant.

    The range is that of the *current population* (parents and offspring, the feasible ones), as in
    Deb 2002; pymoo normalises within the front, so its order of survivors can differ. An
    objective of range 0 tells nobody apart and adds nothing, not even boundaries; one of weight 0
    has no boundary points either: nothing is kept for what does not count. These two are ours.

    Args:
        costs: shape (n, objectives).
        weights: shape (objectives,), 0 or more; only ratios matter.
        ranges: shape (objectives,), largest minus smallest cost in the current population.
    """
    total = np.zeros(len(costs))
    for column, weight, extent in zip(costs.T, weights, ranges, strict=True):
        if extent <= 0 or weight <= 0:
            continue
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        total[order[1:-1]] += weight * (ordered[2:] - ordered[:-2]) / extent
        total[order[[0, -1]]] = np.inf
    return total


def survive(
    costs: Costs,
    violations: NDArray[np.float64],
    weights: NDArray[np.float64],
    n: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Choose who survives: feasible before infeasible, then rank, then weighted crowding.

    Whole fronts survive; of the front that does not fit, the loneliest. Infeasible rows come in
    order of their violation, whatever their costs (Deb 2002, section VI, with one sum for all
    limits). moocore does the sorting; pymoo's survival gives the same sets (a test compares them)
    in ten times as long, most of it for making an object of each member.

    Args:
        costs: shape (n, objectives); not used where infeasible.
        violations: shape (n,), 0 where feasible.
        weights: shape (objectives,).
        n: how many survive.
        rng: consumed where crowding ties.

    Returns:
        Rows of the survivors, best first; their rank (infeasible ones stand behind all ranks); and
        their crowding distance.
    """
    feasible = np.flatnonzero(violations == 0)
    infeasible = np.flatnonzero(violations > 0)
    infeasible = infeasible[np.argsort(violations[infeasible], kind="stable")]
    rows, rank, crowding = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    if len(feasible):
        kept, rank, crowding = _fronts(costs[feasible], weights, n, rng)
        rows = feasible[kept]
    behind = infeasible[: n - len(rows)]
    last = int(rank.max(initial=-1)) + 1
    return (
        np.concatenate([rows, behind]),
        np.concatenate([rank, last + np.arange(len(behind))]),
        np.concatenate([crowding, np.zeros(len(behind))]),
    )


def _fronts(
    costs: Costs, weights: NDArray[np.float64], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return rows, ranks and crowding of at most n of the rows, front by front."""
    ranks, ranges = nondominated_ranks(costs), np.ptp(costs, axis=0)
    rows, crowding = [], []
    missing = min(n, len(costs))
    number = 0
    while missing > 0:
        front = np.flatnonzero(ranks == number)
        distance = weighted_crowding(costs[front], weights, ranges)
        if len(front) > missing:
            order = np.lexsort((rng.random(len(front)), -distance))[:missing]
            front, distance = front[order], distance[order]
        rows.append(front)
        crowding.append(distance)
        missing -= len(front)
        number += 1
    kept = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return kept, ranks[kept], np.concatenate(crowding) if crowding else np.empty(0)
