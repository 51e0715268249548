"""Times of blocks predicted from those of other blocks: a small regression on work and traffic.

This is no roofline of a data sheet (`moga.devices.roofline` is): it knows nothing of the hardware
but the blocks that were timed on it.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moga.devices.base import Latency
from moga.errors import UsageError
from moga.network import OPERATIONS, Block
from moga.networks.count import convolutions

__all__ = ["FEWEST", "BlockRegression"]

FEWEST: Final = 12
"""Timed blocks below which nothing is predicted."""

_SMALL: Final = 1e3  # multiply-adds and values below this cost nothing that can be seen
_NUMBER: Final[Mapping[str, int]] = {name: number for number, name in enumerate(OPERATIONS)}
_PENALTIES: Final = (0.01, 0.1, 1.0, 10.0)


def _raw(block: Block) -> tuple[float, ...]:
    """Return dense work, grouped work, values moved, weights, kernels, side; flags; operation."""
    parts = convolutions(block)
    dense = grouped = weights = 0
    values = block.in_channels * block.height * block.width * block.batch_factor
    for part in parts:
        dense, grouped = (
            (dense + part.macs, grouped) if part.groups == 1 else (dense, grouped + part.macs)
        )
        values += part.values
        weights += part.params
    swish = block.activation in ("swish", "hswish")
    flags = (block.se_channels > 0, block.stride > 1, swish)
    work = (_SMALL + dense, _SMALL + grouped, values, _SMALL + weights)
    return (*work, 1 + len(parts), block.height, *flags, _NUMBER[block.operation])


def _matrix(blocks: Sequence[Block]) -> NDArray[np.float64]:
    """Return the features of n blocks: logarithms, some squared, flags, and one-hot operation."""
    raw = np.array([_raw(block) for block in blocks], dtype=np.float64)
    logs = np.log(raw[:, :6])
    operations = np.eye(len(_NUMBER))[raw[:, 9].astype(np.int64)]
    return np.hstack([logs, logs[:, :3] ** 2 / 20, raw[:, 6:9], operations])


@dataclasses.dataclass(frozen=True)
class BlockRegression:
    """Ridge regression of log(ms) on features of blocks; made by `fit`.

    Args:
        mean: of each feature over the timed blocks, shape (features,).
        scale: standard deviation of each, 1 where it does not vary, shape (features,).
        weights: shape (features,).
        intercept: mean of log(ms).
        error: standard deviation of log(ms) for a block that was left out; 0.2 is about 20 %.
        blocks: how many were timed.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float
    error: float
    blocks: int

    @classmethod
    def fit(cls, values: Mapping[Block, Latency]) -> "BlockRegression":
        """Fit to timed blocks; the penalty is the one of least leave-one-out error.

        Raises:
            UsageError: fewer than `FEWEST` blocks that take any time.
        """
        timed = {block: value.ms for block, value in values.items() if value.ms > 0}
        if len(timed) < FEWEST:
            raise UsageError(
                f"{len(timed)} blocks are timed, too few to predict the others from; at least "
                f"{FEWEST} are needed: give more seconds"
            )
        raw = _matrix(list(timed))
        mean, scale = raw.mean(axis=0), raw.std(axis=0)
        scale[scale < 1e-9] = 1.0
        design = (raw - mean) / scale
        target = np.log(list(timed.values()))
        intercept = float(target.mean())
        fits = [_ridge(design, target - intercept, penalty) for penalty in _PENALTIES]
        error, weights = min(fits, key=lambda fit: fit[0])
        return cls(mean, scale, weights, intercept, error, len(timed))

    def __call__(self, blocks: Iterable[Block]) -> NDArray[np.float64]:
        """Return milliseconds a block: n blocks -> (n,)."""
        listed = list(blocks)
        if not listed:
            return np.empty(0)
        design = (_matrix(listed) - self.mean) / self.scale
        return np.asarray(np.exp(design @ self.weights + self.intercept))


def _ridge(
    design: NDArray[np.float64], target: NDArray[np.float64], penalty: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the leave-one-out error and the weights; the error by the hat matrix's diagonal."""
    gram = design.T @ design + penalty * np.eye(design.shape[1])
    inverse = np.linalg.solve(gram, design.T)
    weights = inverse @ target
    leverage = np.minimum(np.einsum("ij,ji->i", design, inverse) + 1 / len(target), 0.95)
    left_out = (target - design @ weights) / (1 - leverage)
    return float(np.sqrt(np.mean(left_out**2))), weights
