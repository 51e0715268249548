"""The tree of regions of LA-MCTS: good and bad samples, and a learned border between them.

    split: two clusters of the samples, good and bad, and a border between them; again in each
    -> select: from the root, the child of the larger upper confidence bound, down to a leaf
    -> backpropagate: the samples and rewards of the regions on the path

Wang, Fonseca, Tian 2020 (arXiv 2007.00708), sections 3.1 and 3.2, written from the paper. A node
stays whole where the border leaves a side with too few samples, or where the samples on the good
side of the border are not better than those on the other: then the border contradicts the clusters.
"""

import dataclasses
import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "Border", "Region", "backpropagate", "inside", "select"]

LEAST: Final = 4
"""Samples that each side of a border must have."""


@dataclasses.dataclass
class Region:
    """A node of the tree: the samples in it, and the border between its halves.

    Args:
        rows: its samples.
        visits: how many samples fell into it.
        total: the sum of their rewards.
        border: tells good (True) from bad; None at a leaf.
        good: the better half.
        bad: the other one.
    """

    rows: NDArray[np.int64]
    visits: int
    total: float
    border: "Border | None" = None
    good: "Region | None" = None
    bad: "Region | None" = None

    @classmethod
    def learned(
        cls,
        features: NDArray[np.float64],
        rewards: NDArray[np.float64],
        leaf: int,
        rng: np.random.Generator,
        rows: NDArray[np.int64] | None = None,
    ) -> "Region":
        """Return the tree over samples: (n, features) and rewards (n,); split down to `leaf`."""
        rows = np.arange(len(rewards)) if rows is None else rows
        region = cls(rows, len(rows), float(rewards[rows].sum()))
        if (
            len(rows) < leaf
            or (border := Border.between(features[rows], rewards[rows], rng)) is None
        ):
            return region
        side = border.predict(features[rows])
        region.border = border
        region.good = cls.learned(features, rewards, leaf, rng, rows[side])
        region.bad = cls.learned(features, rewards, leaf, rng, rows[~side])
        return region

    def bound(self, parent: "Region", exploration: float) -> float:
        """Return the upper confidence bound (section 3.2): mean + 2 C_p sqrt(2 log n_p / n)."""
        spread = np.sqrt(2 * np.log(max(parent.visits, 1)) / max(self.visits, 1))
        return float(self.total / max(self.visits, 1) + 2 * exploration * spread)


def select(root: Region, exploration: float) -> list[Region]:
    """Return the path from the root to the leaf of largest bounds."""
    path = [root]
    while (here := path[-1]).good is not None and here.bad is not None:
        bounds = [child.bound(here, exploration) for child in (here.good, here.bad)]
        path.append(here.good if bounds[0] >= bounds[1] else here.bad)
    return path


def backpropagate(path: list[Region], reward: float) -> None:
    """Count a sample in all regions of a path."""
    for region in path:
        region.visits += 1
        region.total += reward


def inside(path: list[Region], features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows lie on the path's side of every border."""
    rows = np.ones(len(features), dtype=bool)
    for region, child in itertools.pairwise(path):
        if region.border is not None and rows.any():
            side = region.border.predict(features[rows])
            rows[rows] = side == (child is region.good)
    return rows


@dataclasses.dataclass(frozen=True, eq=False)
class Border:
    """A support vector machine with a Gaussian kernel, which scikit-learn fitted.

    Its `predict` gives the same by one product of matrices, which is several times faster.

    Args:
        vectors: the support vectors, shape (m, features).
        weights: theirs, shape (m,); good is positive.
        offset: of the decision.
        gamma: the kernel is exp(-gamma |x - x'|^2).
    """

    vectors: NDArray[np.float64]
    weights: NDArray[np.float64]
    offset: float
    gamma: float

    @classmethod
    def learned(cls, features: NDArray[np.float64], good: NDArray[np.bool_]) -> "Border":
        """Fit to samples, (n, features) and (n,); gamma is 1 / (features x their variance)."""
        from sklearn.svm import SVC

        gamma = float(1 / (features.shape[1] * (features.var() or 1.0)))
        machine = SVC(kernel="rbf", gamma=gamma).fit(features, good)
        weights, offset = machine.dual_coef_[0], float(machine.intercept_[0])
        return cls(machine.support_vectors_, weights, offset, gamma)

    @classmethod
    def between(
        cls, features: NDArray[np.float64], rewards: NDArray[np.float64], rng: np.random.Generator
    ) -> "Border | None":
        """Return a border between good and bad samples, (n, features) and (n,); None: none."""
        from sklearn.cluster import KMeans

        if np.ptp(rewards) == 0:
            return None
        joined = np.column_stack([features, rewards / rewards.std()])
        seed = int(rng.integers(2**31 - 1))
        labels = KMeans(2, n_init=3, random_state=seed).fit_predict(joined)
        if len(np.unique(labels)) < 2:
            return None
        good = labels == int(rewards[labels == 1].mean() > rewards[labels == 0].mean())
        border = cls.learned(features, good)
        side = border.predict(features)
        if min(side.sum(), (~side).sum()) < LEAST:
            return None
        return border if rewards[side].mean() > rewards[~side].mean() else None

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows are on the good side, shape (n,)."""
        squares = (features**2).sum(axis=1)[:, None] + (self.vectors**2).sum(axis=1)
        squares -= 2 * (features @ self.vectors.T)
        return np.asarray(np.exp(-self.gamma * squares) @ self.weights + self.offset > 0)
