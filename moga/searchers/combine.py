"""Combining choices of super-blocks whose scores and latencies add up, by dynamic programming."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["added_area", "best_combinations", "undominated"]


def best_combinations(
    latencies: Sequence[NDArray[np.float64]], scores: Sequence[NDArray[np.float64]], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the combinations of one choice a group that are best within some latency.

    Group by group, every combination so far is joined with every choice of the next, and only those
    are kept than which no faster one scores as well: whatever follows adds the same to both. That
    is exact as long as at most `most` are left; of more, the best score in each of `most` equal
    intervals of latency is kept, so that a sum of latencies is exact, but a combination may be
    missed by one that is slower by an interval a group.

    Args:
        latencies: for each group, what each of its choices adds, shape (choices,).
        scores: the same for the score; higher is better.
        most: how many combinations are kept.

    Returns:
        The combinations, by rising latency and score: the choice of each group, shape (n, groups);
        their latencies, shape (n,); their scores, shape (n,).
    """
    picked = np.zeros((1, 0), dtype=np.int64)
    latency, score = np.zeros(1), np.zeros(1)
    for own_latency, own_score in zip(latencies, scores, strict=True):
        own = undominated(own_latency, own_score)
        total = (latency[:, None] + own_latency[own]).ravel()
        worth = (score[:, None] + own_score[own]).ravel()
        kept = _thinned(total, undominated(total, worth), most)
        before, choice = np.divmod(kept, len(own))
        picked = np.column_stack([picked[before], own[choice]])
        latency, score = total[kept], worth[kept]
    return picked, latency, score


def undominated(latency: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return rows that score more than all faster ones, by rising latency, shape (m,)."""
    order = np.lexsort((-score, latency))
    ordered = score[order]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(ordered)[:-1]])
    return np.asarray(order[ordered > before])


def _thinned(latency: NDArray[np.float64], rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Keep the best-scoring row in each interval of latency, where there are too many rows."""
    if len(rows) <= most:
        return rows
    low, high = latency[rows[0]], latency[rows[-1]]
    interval = np.minimum((latency[rows] - low) / (high - low) * (most - 1), most - 2).astype(int)
    # rows rise in score, so the last of an interval is its best; the fastest row stays as well
    last = np.append(interval[1:] != interval[:-1], True)
    last[0] = True
    return np.asarray(rows[last])


def added_area(
    points: NDArray[np.float64], front: NDArray[np.float64], corner: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the area that each point alone would add to what a front dominates, shape (n,).

    Args:
        points: shape (n, 2); lower is better.
        front: shape (m, 2), dominated members and none at all included.
        corner: shape (2,), where the area ends.
    """
    steps = front[undominated(front[:, 0], -front[:, 1])]
    starts = np.concatenate([[-np.inf], steps[:, 0]])
    ends = np.minimum(np.concatenate([steps[:, 0], [np.inf]]), corner[0])
    tops = np.minimum(np.concatenate([[np.inf], steps[:, 1]]), corner[1])
    width = np.maximum(ends - np.maximum(starts, points[:, :1]), 0.0)
    return np.asarray((width * np.maximum(tops - points[:, 1:], 0.0)).sum(axis=1))
