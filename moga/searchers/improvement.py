"""Expected hypervolume improvement: exact for independent normal costs, one to three of them.

What a new point adds to the hypervolume is the part of its box that no point of the front covers.
That region is cut into boxes, once a front; then, with Psi_d(t) = E[max(t - f_d, 0)],

    EHVI(x) = sum over boxes, product over d of (Psi_d(upper) - Psi_d(lower))

(Emmerich 2005; Yang et al. 2019, "Efficient computation of expected hypervolume improvement"). A
cost that is known is a normal one without deviation: Psi_d(t) = max(t - f_d, 0), no special case.
"""

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from moga.contracts import Costs
from moga.pareto.dominance import nondominated

__all__ = ["MOST_OBJECTIVES", "boxes", "expected_improvement", "expected_volume"]

MOST_OBJECTIVES: Final = 3
"""Boxes grow with the front to the power of objectives - 1."""


def expected_improvement(
    level: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return E[max(level - f, 0)] of normal f, elementwise (broadcast); deviations may be 0."""
    gap = level - mean
    safe = np.where(deviation > 0, deviation, 1.0)
    z = gap / safe
    density = np.exp(-0.5 * z * z) * (1 / np.sqrt(2 * np.pi))
    return np.where(deviation > 0, gap * ndtr(z) + safe * density, np.maximum(gap, 0.0))


def boxes(
    front: Costs, reference: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.float64]]]:
    """Cut what the front does not dominate, before the reference, into boxes.

    Args:
        front: shape (n, objectives), one to three.
        reference: shape (objectives,).

    Returns:
        Lower and upper corners, each (boxes, objectives), as indices into the levels; and the
        levels of each objective in rising order, from -inf to the reference.
    """
    inside = front[(front < reference).all(axis=1)]
    inside = inside[nondominated(inside)] if len(inside) else inside
    levels = [
        np.array([-np.inf, *np.unique(inside[:, d]), reference[d]]) for d in range(len(reference))
    ]
    ranks = np.stack([np.searchsorted(levels[d], inside[:, d]) for d in range(len(levels))], axis=1)
    tops = np.array([len(level) - 1 for level in levels])
    corners = np.array(_cut(ranks, tops), dtype=np.int64).reshape(-1, 2, len(levels))
    return corners[:, 0], corners[:, 1], levels


def _cut(ranks: NDArray[np.int64], tops: NDArray[np.int64]) -> list[list[list[int]]]:
    """Return (lower, upper) of boxes: slabs along the first objective, then the same within each.

    Within a slab, the points at or below its lower side cover; they alone matter.
    """
    if len(tops) == 1:
        top = int(ranks[:, 0].min()) if len(ranks) else int(tops[0])
        return [[[0], [top]]]
    found = []
    sides = np.unique(np.concatenate([[0], ranks[:, 0], [tops[0]]]))
    for lower, upper in itertools.pairwise(sides):
        covering = ranks[ranks[:, 0] <= lower][:, 1:]
        for low, high in _cut(_lowest(covering), tops[1:]):
            found.append([[int(lower), *low], [int(upper), *high]])
    return found


def _lowest(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    return ranks[nondominated(ranks)] if len(ranks) else ranks


def expected_volume(
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    front: Costs,
    reference: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the expected hypervolume improvement of n candidates, shape (n,).

    Args:
        mean: shape (n, objectives).
        deviation: shape (n, objectives), 0 where a cost is known.
        front: shape (m, objectives).
        reference: shape (objectives,).
    """
    lower, upper, levels = boxes(front, reference)
    parts = []
    for d, level in enumerate(levels):
        psi = np.zeros((len(level), len(mean)))
        psi[1:] = expected_improvement(level[1:, None], mean[:, d], deviation[:, d])
        parts.append((psi, lower[:, d], upper[:, d]))
    total = np.zeros(len(mean))
    step = max(1, 2_000_000 // max(len(mean), 1))
    for start in range(0, len(lower), step):
        rows = slice(start, start + step)
        product = np.ones((len(lower[rows]), len(mean)))
        for psi, low, high in parts:
            product *= psi[high[rows]] - psi[low[rows]]
        total += product.sum(axis=0)
    return total
