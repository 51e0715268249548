"""Latency with its provenance, and what a device is."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Progress, is_count, is_number
from moga.errors import UsageError
from moga.network import Network
from moga.spaces.base import Space, sample_uniform
from moga.spaces.cost import CostTable

__all__ = [
    "PROVENANCES",
    "Device",
    "Latency",
    "Measures",
    "Provenance",
    "TimesBeside",
    "check_batch",
    "method_text",
    "noise_grid",
    "of_batch",
    "spread_percent",
    "standard_errors",
    "with_noise",
]

Provenance = Literal["measured", "table", "fitted", "roofline", "imported"]
"""measured: timed here; table: a sum of blocks' times, or looked up; fitted: from end-to-end times
of other networks; roofline: from operations and bytes; imported: another program's table."""

PROVENANCES: Final[tuple[str, ...]] = get_args(Provenance)
_SAMPLE: Final = 256
_SURE: Final = 0.05
"""The quantile of networks' standard errors that a table's noise grid is near."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one batch takes, how sure that is, and how it is known.

    Args:
        ms: milliseconds a batch; positive and finite, 0 for what costs nothing.
        spread: standard error of `ms` in milliseconds; None where it was not measured.
        count: timings that `ms` summarises; 0 where none was taken here.
        provenance: one of `PROVENANCES`.
        batch: images a batch.

    Raises:
        ValueError: no number or one out of range, or no such provenance.
    """

    ms: float
    spread: float | None = None
    count: int = 0
    provenance: Provenance = "measured"
    batch: int = 1

    def __post_init__(self) -> None:
        if not (is_number(self.ms) and self.ms >= 0):
            raise ValueError(f"a latency is {self.ms!r} ms; expected a finite number, 0 or more")
        if self.spread is not None and not (is_number(self.spread) and self.spread >= 0):
            raise ValueError(f"a latency's spread is {self.spread!r}; expected 0 or more, or None")
        if not (is_count(self.count) and is_count(self.batch, 1)):
            raise ValueError(
                f"a latency has count {self.count!r} and batch {self.batch!r}; "
                "expected integers of 0 or more, and 1 or more"
            )
        if self.provenance not in PROVENANCES:
            raise ValueError(
                f"provenance {self.provenance!r}; expected one of {', '.join(PROVENANCES)}"
            )

    @property
    def unit(self) -> str:
        """The unit of `ms` and `spread`."""
        return "ms a batch"

    def __str__(self) -> str:
        if self.spread is None:
            return f"{self.ms:.4g} ms ({self.provenance}; spread not measured)"
        return f"{self.ms:.4g} ± {self.spread:.2g} ms ({self.provenance})"


@runtime_checkable
class Device(Protocol):
    """Hardware x engine x precision x batch.

    It stands here and not in `moga.contracts`, because it speaks of spaces and cost tables.
    """

    @property
    def name(self) -> str:
        """What users call it: ``cpu``, ``pixel3``."""

    def latency(self, network: Network) -> Latency:
        """Return the latency of one network.

        Raises:
            UsageError: a network that this device knows nothing of.
            MeasurementFailed: it could not be built or timed.
        """

    def table(self, space: Space, progress: Progress) -> CostTable:
        """Return the latency of every network of a space, in ms, with noise grid and provenance.

        Raises:
            UsageError: a space that this device knows nothing of.
            MeasurementFailed: a block could not be built or timed.
        """


@runtime_checkable
class Measures(Protocol):
    """The capability of a device to time whole networks end to end; tables alone lack it."""

    def measure(self, networks: Sequence[Network], progress: Progress) -> list[Latency]:
        """Return one measured latency a network, in order.

        Raises:
            MeasurementFailed: one could not be built or timed.
        """


@runtime_checkable
class TimesBeside(Protocol):
    """The capability of a device to time whole networks in the same rounds as a table's blocks."""

    def table_beside(
        self, space: Space, networks: Sequence[Network], progress: Progress | None = None
    ) -> tuple[CostTable, list[Latency]]:
        """Return a table, and one latency a network, in order; none where it was not possible.

        Raises:
            UsageError: a space that this device knows nothing of.
            MeasurementFailed: a block or network could not be built or timed.
        """


def check_batch(batch: int) -> int:
    """Return images a batch.

    Raises:
        UsageError: not an integer of 1 or more.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch is {batch!r}; give an integer of 1 or more")
    return batch


def noise_grid(step: float) -> float:
    """Round a noise level to the nearest of 1, 2, 5 times a power of ten; 0 stays 0.

    Raises:
        ValueError: a negative or infinite step.

    Example:
        >>> noise_grid(0.0137), noise_grid(0.004), noise_grid(0)
        (0.01, 0.005, 0.0)
    """
    if not (math.isfinite(step) and step >= 0):
        raise ValueError(f"a noise level is {step}; expected a finite number, 0 or more")
    if step == 0:
        return 0.0
    power = math.floor(math.log10(step))
    near = [float(f"{digit}e{power}") for digit in (1, 2, 5, 10)]
    return min(near, key=lambda grid: abs(math.log(grid / step)))


def standard_errors(latencies: Sequence[Latency]) -> NDArray[np.float64]:
    """Return standard errors in ms, shape (n,); nan where they were not measured."""
    return np.array([math.nan if one.spread is None else one.spread for one in latencies])


def with_noise(table: CostTable) -> CostTable:
    """Return a latency table with the noise grid that its spread gives, and the spread said.

    The grid is near the standard error that one random network in twenty stays below, for a grid
    must not join what repetitions can tell apart, and short times vary less. The provenance gets
    `spread_percent`. No grid where the spread was not measured.
    """
    ms, errors = _sampled(table)
    grid = noise_grid(float(np.quantile(errors, _SURE))) if len(errors) else 0.0
    provenance = {**table.provenance, "spread_percent": _percent(ms, errors)}
    return dataclasses.replace(table, grid=grid, provenance=provenance)


def of_batch(batch: int) -> dict[str, Any]:
    """Return what the provenance of every latency table says of its unit: ms a batch, of how many.

    Example:
        >>> of_batch(64)
        {'unit': 'ms a batch', 'batch': 64}
    """
    return {"unit": "ms a batch", "batch": batch}


def method_text(provenance: Mapping[str, Any]) -> str:
    """Return how a table is known, with the share of its blocks that was predicted.

    Example:
        >>> method_text({"method": "measured", "blocks": 126, "blocks_predicted": 102})
        'measured, 81 % of blocks predicted'
        >>> method_text({"method": "measured", "blocks": 126})
        'measured'
    """
    method = str(provenance.get("method", "not recorded"))
    if not (predicted := provenance.get("blocks_predicted")):
        return method
    percent = 100 * predicted / provenance["blocks"]
    share = "over 99" if 99.5 <= percent < 100 else "under 1" if percent < 0.5 else f"{percent:.0f}"
    return f"{method}, {share} % of blocks predicted"


def spread_percent(table: CostTable) -> float | None:
    """Return the median standard error of a table's networks, in percent of each one's latency.

    None where it was not measured.
    """
    return _percent(*_sampled(table))


def _percent(ms: NDArray[np.float64], errors: NDArray[np.float64]) -> float | None:
    return 100 * float(np.median(errors / ms)) if len(errors) else None


def _sampled(table: CostTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latencies and standard errors of random networks, of those whose error is known."""
    genomes = sample_uniform(table.space.sizes, _SAMPLE, np.random.default_rng(0))
    errors = table.standard_error(genomes)
    known = np.isfinite(errors) & table.uncertain
    return table(genomes)[known], errors[known]
