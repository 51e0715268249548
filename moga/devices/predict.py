"""Times of blocks predicted from those of other blocks: a regression on work and traffic.

Gaussian-process regression (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning",
section 2.2) of log(ms): a line in the features, and a smooth departure from it that vanishes far
from all timed blocks. On EfficientNet-X's blocks it errs by half as much as the line alone, which
took 5x5 convolutions for a third slower than they are.

This is no roofline of a data sheet (`moga.devices.roofline` is): it knows nothing of the hardware
but the blocks that were timed on it.
"""

import dataclasses
import itertools
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
_LINES: Final = (3.0, 30.0)
_DEPARTURES: Final = (0.5, 2.0)
_LENGTHS: Final = (2.0, 4.0, 8.0, 16.0)
_NOISES: Final = (0.001, 0.005, 0.02)
_SEARCHED: Final = 300
"""Blocks at most from which the scales are found; all are used for the prediction."""
_MOST: Final = 2000
_CHUNK: Final = 1 << 12


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
    shapes = np.log([_shape(block) for block in blocks])
    logs = np.log(raw[:, :6])
    operations = np.eye(len(_NUMBER))[raw[:, 9].astype(np.int64)]
    return np.hstack([logs, logs[:, :3] ** 2 / 20, shapes, raw[:, 6:9], operations])


def _shape(block: Block) -> tuple[int, ...]:
    hidden = block.hidden_channels or block.in_channels
    groups = block.groups if block.groups < block.in_channels else 1
    return block.kernel, block.in_channels, hidden, block.out_channels, groups, block.stride


@dataclasses.dataclass(frozen=True)
class _Kernel:
    """How alike two blocks' log(ms) are: standardised features, (n, f) and (m, f) -> (n, m).

    Args:
        line: variance of the line's slopes.
        departure: variance of the departure from it.
        length: over which the departure changes.
        noise: variance of one block's own.
    """

    line: float
    departure: float
    length: float
    noise: float

    def __call__(
        self, first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        inner = first @ second.T
        squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * inner
        near = np.exp(-np.maximum(squares, 0) / (2 * self.length**2))
        return np.asarray(self.line / first.shape[1] * inner + self.departure * near)


@dataclasses.dataclass(frozen=True)
class BlockRegression:
    """Gaussian-process regression of log(ms) on features of blocks; made by `fit`.

    Args:
        mean: of each feature over the timed blocks, shape (features,).
        scale: standard deviation of each, 1 where it does not vary, shape (features,).
        timed: standardised features of the timed blocks, shape (blocks, features).
        weights: of the timed blocks in a prediction, shape (blocks,).
        intercept: mean of log(ms).
        kernel: how alike blocks are.
        left_out: log(measured / predicted from the others) of each block that it rests on.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    timed: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float
    kernel: _Kernel
    left_out: Mapping[Block, float]

    @property
    def error(self) -> float:
        """Standard deviation of log(ms) for a block that was left out; 0.2 is about 20 %."""
        return float(np.sqrt(np.mean(np.square(list(self.left_out.values())))))

    @property
    def blocks(self) -> int:
        """How many blocks it rests on."""
        return len(self.timed)

    @classmethod
    def fit(cls, values: Mapping[Block, Latency]) -> "BlockRegression":
        """Fit to timed blocks, to 2,000 at most; the scales are those of least leave-one-out error.

        Raises:
            UsageError: fewer than `FEWEST` blocks that take any time.
        """
        known = {block: value.ms for block, value in values.items() if value.ms > 0}
        if len(known) < FEWEST:
            raise UsageError(
                f"{len(known)} blocks are timed, too few to predict the others from; at least "
                f"{FEWEST} are needed: give more seconds"
            )
        chosen = _spread_out(len(known), _MOST)
        listed = list(known)
        blocks = [listed[index] for index in chosen]
        ms = np.array([known[block] for block in blocks])
        raw = _matrix(blocks)
        mean, scale = raw.mean(axis=0), raw.std(axis=0)
        scale[scale < 1e-9] = 1.0
        timed = (raw - mean) / scale
        target = np.log(ms)
        intercept = float(target.mean())
        target -= intercept
        few = _spread_out(len(target), _SEARCHED)
        kernels = itertools.starmap(
            _Kernel, itertools.product(_LINES, _DEPARTURES, _LENGTHS, _NOISES)
        )
        kernel = min(
            kernels, key=lambda one: np.square(_left_out(one, timed[few], target[few])[0]).mean()
        )
        off, weights = _left_out(kernel, timed, target)
        left_out = dict(zip(blocks, off.tolist(), strict=True))
        return cls(mean, scale, timed, weights, intercept, kernel, left_out)

    def __call__(self, blocks: Iterable[Block]) -> NDArray[np.float64]:
        """Return milliseconds a block: n blocks -> (n,)."""
        listed = list(blocks)
        found = np.empty(len(listed))
        for start in range(0, len(listed), _CHUNK):
            part = (_matrix(listed[start : start + _CHUNK]) - self.mean) / self.scale
            found[start : start + _CHUNK] = self.kernel(part, self.timed) @ self.weights
        return np.exp(found + self.intercept)


def _spread_out(n: int, most: int) -> NDArray[np.int64]:
    """Return up to `most` positions of n, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _left_out(
    kernel: _Kernel, timed: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each block's departure from the others (section 5.4.2 there), and the weights."""
    covariance = kernel(timed, timed)
    covariance[np.diag_indices(len(target))] += kernel.noise
    inverse = np.linalg.inv(covariance)
    weights = inverse @ target
    return weights / np.diag(inverse), weights
