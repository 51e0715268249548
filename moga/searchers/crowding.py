"""Weighted crowding distance, and the survival that uses it."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs

__all__ = ["survive", "weighted_crowding"]


def weighted_crowding(
    costs: Costs, weights: NDArray[np.float64], ranges: NDArray[np.float64], **_: Any
) -> NDArray[np.float64]:
    """Return the crowding distance of each member of a front, shape (n,); larger is lonelier.

    For each objective the gap between the two neighbours, divided by the objective's range and
    multiplied with its weight, summed over objectives; the first and last member along any
    objective get infinity, so that they are kept. After Chu, Zhang, Xu 2020, MoGA (arXiv
    1908.01314), section 4.2, Eq. 5, as we recall it: we had the paper's introduction, not its
    formulas. Equal weights give Deb et al. 2002, section III-B, times a constant.

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

    pymoo's survival sorts into fronts; those that survive whole it leaves in the order of the rows,
    so that they are sorted by crowding here. Infeasible rows come in order of their violation,
    whatever their costs. Rows must not have failed: pymoo would rank nan above what is dominated.

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
    from pymoo.core.population import Population
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
    from pymoo.operators.survival.rank_and_crowding.metrics import FunctionalDiversity

    feasible = np.flatnonzero(violations == 0)
    infeasible = np.flatnonzero(violations > 0)
    infeasible = infeasible[np.argsort(violations[infeasible], kind="stable")]
    rows, rank, crowding = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    if len(feasible):
        chosen = costs[feasible]
        distance = partial(weighted_crowding, weights=weights, ranges=np.ptp(chosen, axis=0))
        # unwrapped, a function would get the front without duplicates, and they a distance of 0
        crowded = FunctionalDiversity(distance, filter_out_duplicates=False)
        members = Population.new(F=chosen)
        kept = RankAndCrowding(crowding_func=crowded).do(
            _UNCONSTRAINED, members, n_survive=n, random_state=rng, return_indices=True
        )
        rows = feasible[kept]
        rank = members[kept].get("rank").astype(np.int64)
        crowding = members[kept].get("crowding").astype(np.float64)
        order = np.lexsort((-crowding, rank))
        rows, rank, crowding = rows[order], rank[order], crowding[order]
    behind = infeasible[: n - len(rows)]
    last = int(rank.max(initial=-1)) + 1
    return (
        np.concatenate([rows, behind]),
        np.concatenate([rank, last + np.arange(len(behind))]),
        np.concatenate([crowding, np.zeros(len(behind))]),
    )


class _Unconstrained:
    """All that pymoo's survival asks of a problem: feasibility is settled before it is called."""

    def has_constraints(self) -> bool:
        return False


_UNCONSTRAINED = _Unconstrained()
