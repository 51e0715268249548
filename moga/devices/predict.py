"""Times of blocks predicted from those of other blocks: a roofline fitted to them.

1. The roofline (`moga.devices.kernels.kernel_ms`): each of a block's kernels takes the smooth
   maximum of computing and moving data, and a launch. Its seven effective rates and times are the
   timed blocks' least squares of log(ms), with weak priors: no data sheet is needed, for peak and
   efficiency are one number here (`moga.devices.roofline` tells them apart).
2. What the timed blocks depart from it by, log(ms / roofline), is carried over to blocks alike by
   Gaussian-process regression (Rasmussen and Williams 2006, "Gaussian Processes for Machine
   Learning", section 2.2) on features of work, traffic and shape. It vanishes far from all timed
   blocks, where the roofline alone remains.

On four spaces' blocks, timed on a CPU, the roofline alone errs 1.4 to 2.5 times as much as both
from 200 timed blocks (root mean square of log). A regression whose mean is a line in the features
instead errs 1.5 to 3 times as much from 24 timed blocks, and 0.8 to 1.5 times from 200.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.devices.base import Latency
from moga.devices.kernels import RULES, KernelArrays, Rates, Rules, kernel_ms
from moga.devices.leastsquares import least_squares
from moga.devices.spacekernels import block_kernels
from moga.errors import UsageError
from moga.network import OPERATIONS, Block
from moga.networks.count import convolutions

__all__ = ["FEWEST", "BlockRoofline"]

FEWEST: Final = 12
"""Timed blocks below which nothing is predicted."""

_PRIORS: Final[Mapping[str, tuple[float, float]]] = {
    "dense": (50.0, 3.0),
    "depthwise": (5.0, 1.0),
    "grouped": (5.0, 1.0),
    "values": (5.0, 1.5),
    "wide": (2.0, 1.5),
    "idle": (1.0, 1.0),
    "launch": (0.005, 2.0),
}
"""Fields of `Rates`, and a launch in ms -> median, and standard deviation of the logarithm. All
rates are multiplied, and the launch is divided, by one number that brings the medians to the speed
of the timed blocks, so that only their ratios matter; these are a processor's."""
_ROOFLINE_NOISE: Final = 0.25
"""What a roofline leaves over, relative: weighs a block against the priors."""

_SMALL: Final = 1e3  # multiply-adds and values below this cost nothing that can be seen
_NUMBER: Final[Mapping[str, int]] = {name: number for number, name in enumerate(OPERATIONS)}
_DEPARTURES: Final = (0.03, 0.1, 0.5)
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
class _Roofline:
    """Milliseconds of blocks by their kernels; see `_PRIORS`.

    Args:
        rule: how the engine makes kernels of operations.
        batch: images a batch.
        rates: what the device does.
        launch: of each kernel, ms.
    """

    rule: Rules
    batch: int
    rates: Rates
    launch: float

    @classmethod
    def fit(
        cls, blocks: Sequence[Block], ms: NDArray[np.float64], rule: Rules, batch: int
    ) -> "_Roofline":
        """Fit to n blocks' times, (n,): least squares of their logarithms, and the priors."""
        kernels = _kernels(blocks, rule)
        median = np.log([median for median, _ in _PRIORS.values()])
        width = np.array([width for _, width in _PRIORS.values()])
        faster = np.array([{"launch": -1.0, "idle": 0.0}.get(name, 1.0) for name in _PRIORS])

        def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.log(cls._of(x, rule, batch).total(kernels) / ms))

        start = median + faster * np.median(residuals(median))
        found = least_squares(
            lambda x: np.concatenate([residuals(x) / _ROOFLINE_NOISE, (x - start) / width]), start
        )
        return cls._of(found, rule, batch)

    @classmethod
    def _of(cls, x: NDArray[np.float64], rule: Rules, batch: int) -> "_Roofline":
        *rates, launch = np.exp(x).tolist()
        return cls(rule, batch, Rates(*rates), launch)

    def total(self, kernels: KernelArrays) -> NDArray[np.float64]:
        """Return milliseconds of each owner of kernels."""
        return kernels.total(kernel_ms(kernels, self.batch, self.rates) + self.launch)

    def log_ms(self, blocks: Sequence[Block]) -> NDArray[np.float64]:
        """Return log(ms) of n blocks, (n,)."""
        return np.log(self.total(_kernels(blocks, self.rule)))


def _kernels(blocks: Sequence[Block], rule: Rules) -> KernelArrays:
    sizes = np.array([(block.height, block.width) for block in blocks], dtype=np.int64)
    return block_kernels(blocks, rule, np.arange(len(blocks)), (sizes[:, 0], sizes[:, 1]))


@dataclasses.dataclass(frozen=True)
class _Alike:
    """How alike two blocks' departures are: standardised features, (n, f) and (m, f) -> (n, m).

    Args:
        departure: variance of the departures from the roofline.
        length: over which they change.
        noise: variance of one block's own.
    """

    departure: float
    length: float
    noise: float

    def __call__(
        self, first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
        squares = np.maximum(squares - 2 * first @ second.T, 0)
        return np.asarray(self.departure * np.exp(-squares / (2 * self.length**2)))


@dataclasses.dataclass(frozen=True)
class BlockRoofline:
    """A roofline and the departures from it that blocks alike share; made by `fit`.

    Args:
        roofline: fitted to the timed blocks.
        mean: of each feature over the timed blocks, shape (features,).
        scale: standard deviation of each, 1 where it does not vary, shape (features,).
        timed: standardised features of the timed blocks, shape (blocks, features).
        weights: of the timed blocks in a departure, shape (blocks,).
        alike: how alike blocks are.
        left_out: log(measured / predicted from the others' departures) of each block that it rests
            on.
    """

    roofline: _Roofline
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    timed: NDArray[np.float64]
    weights: NDArray[np.float64]
    alike: _Alike
    left_out: Mapping[Block, float]

    @property
    def spread(self) -> float:
        """Relative standard error of one block: that of log(ms) of blocks that were left out."""
        return float(np.sqrt(np.mean(np.square(list(self.left_out.values())))))

    @property
    def error(self) -> float:
        """Mean absolute error, relative, of blocks that were left out."""
        return float(np.mean(np.abs(np.expm1(-np.array(list(self.left_out.values()))))))

    def provenance(self, predicted: int) -> dict[str, Any]:
        """Return what a table's provenance says of the blocks that this predicted: how many, how.

        Example: a table of which 3 blocks were predicted has ``blocks_predicted`` 3,
        ``predicted_by`` and ``prediction_error_percent``.
        """
        return {
            "blocks_predicted": predicted,
            "predicted_by": "a roofline fitted to the other blocks",
            "prediction_error_percent": 100 * self.error,
        }

    @property
    def blocks(self) -> int:
        """How many blocks it rests on."""
        return len(self.timed)

    @classmethod
    def fit(
        cls, values: Mapping[Block, Latency], rule: Rules = RULES["pytorch"]
    ) -> "BlockRoofline":
        """Fit to timed blocks, to 2,000 at most; the scales are those of least leave-one-out error.

        Args:
            values: the times, all of one batch.
            rule: how the engine that took them makes kernels of operations.

        Raises:
            UsageError: fewer than `FEWEST` blocks that take any time.
        """
        known = {block: value.ms for block, value in values.items() if value.ms > 0}
        if len(known) < FEWEST:
            raise UsageError(
                f"{len(known)} blocks took a time, too few to predict the others from; at least "
                f"{FEWEST} are needed: time more of them (a device that measures: more seconds)"
            )
        listed = list(known)
        blocks = [listed[index] for index in _spread_out(len(known), _MOST)]
        ms = np.array([known[block] for block in blocks])
        roofline = _Roofline.fit(blocks, ms, rule, values[blocks[0]].batch)
        departure = np.log(ms) - roofline.log_ms(blocks)
        raw = _matrix(blocks)
        mean, scale = raw.mean(axis=0), raw.std(axis=0)
        scale[scale < 1e-9] = 1.0
        timed = (raw - mean) / scale
        few = _spread_out(len(blocks), _SEARCHED)
        alike = min(
            itertools.starmap(_Alike, itertools.product(_DEPARTURES, _LENGTHS, _NOISES)),
            key=lambda one: np.square(_left_out(one, timed[few], departure[few])[0]).mean(),
        )
        off, weights = _left_out(alike, timed, departure)
        left_out = dict(zip(blocks, off.tolist(), strict=True))
        return cls(roofline, mean, scale, timed, weights, alike, left_out)

    def __call__(self, blocks: Iterable[Block]) -> NDArray[np.float64]:
        """Return milliseconds a block: n blocks -> (n,)."""
        listed = list(blocks)
        found = np.empty(len(listed))
        for start in range(0, len(listed), _CHUNK):
            part = listed[start : start + _CHUNK]
            features = (_matrix(part) - self.mean) / self.scale
            departure = self.alike(features, self.timed) @ self.weights
            found[start : start + _CHUNK] = self.roofline.log_ms(part) + departure
        return np.exp(found)


def _spread_out(n: int, most: int) -> NDArray[np.int64]:
    """Return up to `most` positions of n, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _left_out(
    alike: _Alike, timed: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each block's departure from the others (section 5.4.2 there), and the weights."""
    covariance = alike(timed, timed)
    covariance[np.diag_indices(len(target))] += alike.noise
    inverse = np.linalg.inv(covariance)
    weights = inverse @ target
    return weights / np.diag(inverse), weights
