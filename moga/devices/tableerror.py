"""How wrong a latency table is: its sums beside whole networks, measured end to end."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes, Progress, Silent, is_count
from moga.devices.base import (
    Device,
    Latency,
    Measures,
    TimesBeside,
    spread_percent,
    standard_errors,
)
from moga.devices.profile import anchor_networks
from moga.devices.speed import REFRESH, WORTH_A_CAUTION, change_text
from moga.errors import UsageError
from moga.spaces.base import Space, sample_uniform
from moga.spaces.cost import CostTable

__all__ = ["TableError", "caution", "check_table", "checked_table", "table_error"]


@dataclasses.dataclass(frozen=True)
class TableError:
    """How a table's predictions differ from whole networks measured end to end.

    Args:
        predicted_ms: the table's, shape (n,).
        measured_ms: end to end, shape (n,).
        measured_spread_ms: standard errors of those, shape (n,); nan where not measured.
        drift: by how much the table's anchor networks are slower now than when it was built,
            relatively; None where the table has none.
    """

    predicted_ms: NDArray[np.float64]
    measured_ms: NDArray[np.float64]
    measured_spread_ms: NDArray[np.float64]
    drift: float | None = None

    @property
    def _relative(self) -> NDArray[np.float64]:
        return self.predicted_ms / self.measured_ms - 1

    @property
    def networks(self) -> int:
        """How many networks were compared."""
        return len(self.measured_ms)

    @property
    def mape(self) -> float:
        """Mean absolute error, relative to what was measured, in %."""
        return 100 * float(np.abs(self._relative).mean())

    @property
    def bias(self) -> float:
        """Mean error in %; above 0 where the table is too slow."""
        return 100 * float(self._relative.mean())

    @property
    def _relative_same_speed(self) -> NDArray[np.float64] | None:
        if self.drift is None:
            return None
        return self.predicted_ms * (1 + self.drift) / self.measured_ms - 1

    @property
    def mape_same_speed(self) -> float | None:
        """The MAPE, in %, had the machine the speed that it had when the table was built."""
        relative = self._relative_same_speed
        return None if relative is None else 100 * float(np.abs(relative).mean())

    @property
    def bias_same_speed(self) -> float | None:
        """The bias, in %, had the machine the speed that it had when the table was built."""
        relative = self._relative_same_speed
        return None if relative is None else 100 * float(relative.mean())

    @property
    def rmse_ms(self) -> float:
        """Root of the mean squared error, in ms."""
        return float(np.sqrt(np.mean((self.predicted_ms - self.measured_ms) ** 2)))

    @property
    def spearman(self) -> float:
        """Rank correlation of predicted and measured; nan where either is constant."""
        first, second = _ranks(self.predicted_ms), _ranks(self.measured_ms)
        first, second = first - first.mean(), second - second.mean()
        scale = math.sqrt(float(first @ first) * float(second @ second))
        return float(first @ second) / scale if scale else math.nan

    @property
    def noise(self) -> float:
        """Mean standard error of the measured times, in %: no table can be seen to be better."""
        return 100 * float((self.measured_spread_ms / self.measured_ms).mean())

    def __str__(self) -> str:
        many = "s" if self.networks != 1 else ""
        text = (
            f"{self.networks} network{many} end to end: MAPE {self.mape:.1f} %, "
            f"bias {self.bias:+.1f} %, RMSE {self.rmse_ms:.3g} ms"
        )
        if not math.isnan(self.spearman):
            text += f", Spearman {self.spearman:.3f}"
        if self.drift is not None:
            text += (
                f"; since the table was built, the machine's times changed by "
                f"{100 * self.drift:+.1f} %; with that taken out, MAPE {self.mape_same_speed:.1f} %"
            )
        return text


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])


def table_error(
    table: CostTable,
    device: Device,
    *,
    networks: int = 30,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> TableError:
    """Compare a latency table with random networks that the device measures end to end.

    Args:
        table: of the metric "latency".
        device: one that measures.
        networks: how many, at least 2.
        rng: draws them; consumed.
        progress: is told how far it is.

    Raises:
        UsageError: a device that cannot measure, another metric, too few networks.
        MeasurementFailed: a network cannot be built or run.
    """
    return check_table(table, device, _random(table.space, networks, rng), progress)


def _random(space: Space, networks: int, rng: np.random.Generator) -> Genomes:
    if not is_count(networks, 2):
        raise UsageError(
            f"networks is {networks!r}; give 2 or more, for one says neither how wrong a table is "
            "on average nor how well it ranks (check_table compares one with genomes of your own)"
        )
    return sample_uniform(space.sizes, networks, rng)


def _error(
    predicted_ms: NDArray[np.float64], measured: Sequence[Latency], drift: float | None = None
) -> TableError:
    return TableError(
        predicted_ms,
        measured_ms=np.array([latency.ms for latency in measured]),
        measured_spread_ms=standard_errors(measured),
        drift=drift,
    )


def checked_table(
    space: Space,
    device: Device,
    *,
    networks: int = 30,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[CostTable, TableError]:
    """Build a device's table and compare it with random networks.

    They are timed among the blocks where the device can do that, so that a machine which changes
    its speed changes both; otherwise after them, as `table_error` does.

    Args:
        space: of the table.
        device: one that measures.
        networks: how many, at least 2.
        rng: draws them; consumed.
        progress: is told how far it is.

    Raises:
        UsageError: as `table_error` and the device's table.
        MeasurementFailed: a block or network cannot be built or run.
    """
    genomes = _random(space, networks, rng)
    if isinstance(device, TimesBeside):
        chosen = [space.decode(genome) for genome in genomes]
        table, latencies = device.table_beside(space, chosen, progress)
        if latencies:
            return table, _error(table(genomes), latencies)
    else:
        table = device.table(space, progress or Silent())
    return table, check_table(table, device, genomes, progress)


def check_table(
    table: CostTable, device: Device, genomes: Genomes, progress: Progress | None = None
) -> TableError:
    """Compare a latency table with networks that the device measures end to end.

    The table's anchors are measured again among them, to tell the table's error from a machine that
    is faster or slower now; they do not count as networks.

    Args:
        table: of the metric "latency".
        device: one that measures.
        genomes: of the networks, at least 1, shape (n, genes).
        progress: is told how far it is.

    Raises:
        UsageError: a device that cannot measure, another metric, too few networks.
        MeasurementFailed: a network cannot be built or run.
    """
    if not isinstance(device, Measures):
        raise UsageError(
            f"the device {device.name!r} is known by a table alone and cannot measure networks; "
            "choose one that measures, such as cpu"
        )
    if table.metric != "latency":
        raise UsageError(f"expected a table of latency, got one of {table.metric}")
    networks = len(genomes)
    if networks < 1:
        raise UsageError("there is no network to measure; give one or more genomes")
    space = table.space
    chosen = [space.decode(genome) for genome in genomes]
    drawn = table.provenance.get("sampling", {}).get("anchors", 0)
    anchors = anchor_networks(space, drawn)
    latencies = device.measure([*chosen, *anchors], progress or Silent())
    drift = None
    if anchors:
        now = np.mean([latency.ms for latency in latencies[networks:]])
        drift = float(now / table.provenance["anchor_ms"] - 1)
    return _error(table(genomes), latencies[:networks], drift)


def caution(table: CostTable, error: TableError) -> str:
    """Say that a table is wrong by far more than its spread, and what to do; "" where it is not."""
    limit = max(100 * WORTH_A_CAUTION, 3 * (spread_percent(table) or 0.0))
    if abs(error.bias) <= limit:
        return ""
    if error.drift is not None and abs(error.bias_same_speed or 0.0) <= limit:
        return (
            f"{change_text(error.drift)} than when the table's blocks were timed, which is what "
            f"the latencies are off by; their order holds. {REFRESH}"
        )
    less = "less" if error.bias > 0 else "more"
    texts = [
        f"Whole networks take {less} than the sums of their blocks, by far more than the spread "
        "says: the latencies are not to be trusted, at most their order"
    ]
    if error.drift is None and (reused := table.provenance.get("blocks_reused")):
        texts.append(
            f"{reused} of {table.provenance['blocks']} blocks were timed in an earlier run; the "
            f"machine may have another speed now. {REFRESH}"
        )
    if table.provenance.get("blocks_predicted"):
        texts.append("Give more seconds, or have all blocks timed (missing=measure)")
    return ". ".join(texts)
