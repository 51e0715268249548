"""How blocks and networks are timed, how a latency table comes of it, and how wrong the table is.

The protocol, which `Sampling` sets:

1. Every *unique* block of a space is built once, and a few whole networks, the *anchors*, with it.
2. Warm-ups: all of them run a few times in turn.
3. Rounds: each round runs everything once, in a new random order. Blocks timed one after another
   would find their weights in the caches, and their sum fall 17-22 % below the whole network.
4. A round's speed is the median, over all that ran in it, of the time relative to each one's own
   median. Times are divided by it and stand for the quieter moments (`steady`, ours): other
   programs and the clock frequency slow all that runs in a round alike.
5. A block's time is the mean without a tenth at either end (GENet's protocol), with its standard
   error.
6. The anchors say what a network costs besides its blocks: the table's constant is the mean of what
   they took beyond the sum of theirs. Timed again later, they say whether the machine is as fast.

The assumption of a table, as in MoGA (section 3.2) and GPUNet (section 3.1), is that a network's
time is the sum of its blocks'; `table_error` tests it on networks that had no part in the table.
"""

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes, Progress, Silent
from moga.devices.base import Device, Latency, Measures, noise_grid
from moga.devices.engines.base import Engine
from moga.devices.store import ValueStore
from moga.errors import UsageError
from moga.network import Block, Network
from moga.spaces.base import Space, sample_uniform
from moga.spaces.cost import CostTable, slot_blocks

__all__ = [
    "PROTOCOL",
    "Sampling",
    "TableError",
    "anchor_networks",
    "check_table",
    "measure",
    "profile_space",
    "steady",
    "sum_blocks",
    "table_error",
    "time_rounds",
    "trimmed_mean",
    "unique_blocks",
]

PROTOCOL: Final = 1
"""Number of the protocol above; values timed by another are never reused."""

_MOST_BLOCKS: Final = 5000
_DRIFT_WORTH_A_NOTE: Final = 0.05
_GRID_SAMPLE: Final = 256
_ENOUGH_FOR_SPEED: Final = 8
_QUIET: Final = 0.25

Subject = Block | Network


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How often things are timed.

    Args:
        rounds: rounds at the least.
        seconds: further rounds while they fit in this time, as the warm-ups predict.
        most: rounds at the most.
        warmups: rounds that do not count.
        trim: share left out at either end; below .5.
        anchors: whole networks that are timed with a table's blocks.

    Raises:
        UsageError: a number out of range.
    """

    rounds: int = 30
    seconds: float = 20.0
    most: int = 400
    warmups: int = 5
    trim: float = 0.1
    anchors: int = 6

    def __post_init__(self) -> None:
        checks = {
            "rounds": (self.rounds >= 2, "2 or more"),
            "seconds": (self.seconds >= 0, "0 or more"),
            "most": (self.most >= self.rounds, f"at least the {self.rounds} rounds"),
            "warmups": (self.warmups >= 1, "1 or more"),
            "trim": (0 <= self.trim < 0.5, "0 or more, below .5"),
            "anchors": (self.anchors >= 2, "2 or more"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise UsageError(f"sampling: {name} is {getattr(self, name)}; allowed: {allowed}")


def trimmed_mean(
    times: NDArray[np.float64], trim: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard error of each column without `trim` of the rows at either end.

    The standard error is Tukey and McLaughlin's (1963), from the winsorised variance; it takes the
    rows as independent.

    Args:
        times: shape (rounds, n), at least two rounds.
        trim: share left out at either end.

    Returns:
        Two arrays of shape (n,).
    """
    ordered = np.sort(times, axis=0)
    rounds = len(ordered)
    cut = int(trim * rounds)
    inner = ordered[cut : rounds - cut]
    winsorised = np.clip(ordered, inner[0], inner[-1])
    error = winsorised.std(axis=0, ddof=1) / ((1 - 2 * cut / rounds) * math.sqrt(rounds))
    return inner.mean(axis=0), error


def time_rounds(
    engine: Engine,
    subjects: Sequence[Subject],
    sampling: Sampling,
    *,
    rng: np.random.Generator,
    progress: Progress,
    phase: str,
) -> NDArray[np.float64]:
    """Time everything in shuffled rounds.

    Args:
        engine: runs it.
        subjects: n blocks and networks.
        sampling: how often.
        rng: gives the orders; consumed.
        progress: is told of each round.
        phase: what this is called there.

    Returns:
        Milliseconds, shape (rounds, n).

    Raises:
        MeasurementFailed: one cannot be built or run.
    """
    with engine.session():
        progress.phase(f"{phase}: build and warm up", len(subjects), "timed")
        runs = []
        for done, subject in enumerate(subjects, start=1):
            runs.append(engine.prepare(subject))
            progress.advance(done)
        begin = time.monotonic()
        for _ in range(sampling.warmups):
            for run in runs:
                run()
        a_round = (time.monotonic() - begin) / sampling.warmups
        affordable = int(sampling.seconds / max(a_round, 1e-9))
        rounds = min(max(affordable, sampling.rounds), sampling.most)
        progress.phase(phase, rounds, "rounds")
        times = np.empty((rounds, len(runs)))
        for index in range(rounds):
            for which in rng.permutation(len(runs)):
                times[index, which] = runs[which]()
            progress.advance(index + 1)
    return times


def steady(times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the machine's changing speed out of times.

    With fewer than 8 columns a round's speed cannot be told from its columns' own noise: all rounds
    are then scaled alike, by the lower quartile of the speeds over their mean.

    Args:
        times: shape (rounds, n).

    Returns:
        Times as of the lower quartile of the speeds, shape (rounds, n), and the relative time of
        each round, 1 where it is typical, shape (rounds,).
    """
    typical = np.maximum(np.median(times, axis=0), 1e-9)
    speed = np.median(times / typical, axis=1)
    quiet = np.quantile(speed, _QUIET)
    if times.shape[1] < _ENOUGH_FOR_SPEED or speed.min() <= 0:
        return times * (quiet / max(trimmed_mean(speed[:, None])[0][0], 1e-9)), speed
    return times / speed[:, None] * quiet, speed


def _summarise(
    times: NDArray[np.float64], sampling: Sampling, batch: int, progress: Progress
) -> tuple[list[Latency], float]:
    """Return one latency a column, and by how much the second half of the rounds was slower."""
    calm, speed = steady(times)
    half = len(speed) // 2
    drift = float(np.median(speed[half:]) / max(np.median(speed[:half]), 1e-9) - 1)
    if abs(drift) > _DRIFT_WORTH_A_NOTE:
        change = f"{abs(100 * drift):.0f} % {'more' if drift > 0 else 'less'}"
        progress.note(
            "The machine changed its speed while it was measured: the second half of the rounds "
            f"took {change} time. Other programs may be running; measure again when it is quiet."
        )
    means, errors = trimmed_mean(calm, sampling.trim)
    latencies = [
        Latency(float(mean), float(error), len(times), "measured", batch)
        for mean, error in zip(means, errors, strict=True)
    ]
    return latencies, drift


def measure(
    engine: Engine,
    networks: Sequence[Network],
    sampling: Sampling,
    rng: np.random.Generator,
    progress: Progress,
) -> list[Latency]:
    """Time whole networks end to end in shuffled rounds: one latency a network, in order.

    Raises:
        MeasurementFailed: one cannot be built or run.
    """
    if not networks:
        return []
    times = time_rounds(
        engine, networks, sampling, rng=rng, progress=progress, phase="measure networks end to end"
    )
    return _summarise(times, sampling, engine.batch, progress)[0]


def unique_blocks(space: Space) -> list[Block]:
    """Return all blocks that a space's networks have, each once, in the order of the slots.

    Raises:
        UsageError: more than can be timed one by one.
    """
    found: dict[Block, None] = {}
    for slot in space.slots:
        for _, blocks in slot_blocks(slot):
            found.update((block, None) for block, _ in blocks)
            if len(found) > _MOST_BLOCKS:
                raise UsageError(
                    f"the space {space.spec} has more than {_MOST_BLOCKS} distinct blocks, too "
                    "many to time one by one; choose a device that has a table of it"
                )
    return list(found)


def anchor_networks(space: Space, n: int) -> list[Network]:
    """Return up to n distinct random networks, always the same for a space."""
    rng = np.random.default_rng(int(space.digest, 16))
    genomes = sample_uniform(space.sizes, n, rng)
    return list(dict.fromkeys(space.decode(genome) for genome in genomes))


def sum_blocks(
    space: Space, values: Mapping[Block, Latency]
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...]]:
    """Sum blocks' times over the entries of a space's slots.

    Returns:
        Milliseconds and standard errors, one array a slot; nan where no network has the entry.
    """
    arrays, spreads = [], []
    for slot in space.slots:
        array, spread = np.full(slot.shape, np.nan), np.full(slot.shape, np.nan)
        for index, blocks in slot_blocks(slot):
            array[index] = math.fsum(times * values[block].ms for block, times in blocks)
            errors = [times * (values[block].spread or 0.0) for block, times in blocks]
            spread[index] = math.hypot(*errors)
        arrays.append(array)
        spreads.append(spread)
    return tuple(arrays), tuple(spreads)


def _beyond_blocks(
    anchors: Iterable[Network], values: Mapping[Subject, Latency]
) -> NDArray[np.float64]:
    """Return what each anchor took beyond the sum of its blocks, in ms."""
    return np.array(
        [values[anchor].ms - math.fsum(values[block].ms for block in anchor) for anchor in anchors]
    )


def _time_missing(
    engine: Engine,
    blocks: Sequence[Block],
    anchors: Sequence[Network],
    known: Mapping[Subject, Latency],
    *,
    sampling: Sampling,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[dict[Subject, Latency], float | None]:
    """Time the blocks that are not known, with all anchors; return the new values and the drift."""
    missing: list[Subject] = [block for block in blocks if block not in known]
    if not missing and all(anchor in known for anchor in anchors):
        return {}, None
    subjects = [*missing, *anchors]
    times = time_rounds(
        engine, subjects, sampling, rng=rng, progress=progress, phase="time the blocks"
    )
    latencies, drift = _summarise(times, sampling, engine.batch, progress)
    return dict(zip(subjects, latencies, strict=True)), drift


def profile_space(
    space: Space,
    engine: Engine,
    *,
    device: str,
    store: ValueStore,
    sampling: Sampling | None = None,
    rng: np.random.Generator | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
) -> CostTable:
    """Build a device's latency table of a space by timing every unique block.

    Values that the store has from as many rounds are reused, whichever space they were timed for;
    new ones are added to it. The table's grid is the typical standard error of a network (the
    median over random genomes), rounded to 1, 2 or 5 times a power of ten. A block that stands in
    several slots counts there as if it were timed for each, so standard errors are slightly too
    small.

    Args:
        space: any space of at most 5,000 distinct blocks.
        engine: what runs the blocks.
        device: name for the provenance.
        store: values by block.
        sampling: how often each is timed.
        rng: gives the orders of the rounds; consumed. Default: fresh from the system.
        progress: is told how far it is.
        refresh: time everything again.

    Raises:
        UsageError: too many blocks.
        MeasurementFailed: a block cannot be built or run.
    """
    sampling, progress = sampling or Sampling(), progress or Silent()
    blocks, anchors = unique_blocks(space), anchor_networks(space, sampling.anchors)
    known: dict[Subject, Latency] = {}
    if not refresh:
        known = store.read([*blocks, *anchors], sampling.rounds)
    reused = sum(block in known for block in blocks)
    if reused:
        progress.note(
            f"{reused} of {len(blocks)} blocks were timed before on this machine; reused."
        )
    fresh, drift = _time_missing(
        engine,
        blocks,
        anchors,
        known,
        sampling=sampling,
        rng=rng or np.random.default_rng(),
        progress=progress,
    )
    if fresh:
        store.write(fresh)
    values = {**known, **fresh}
    beyond = _beyond_blocks(anchors, values)
    arrays, spread = sum_blocks(space, {block: values[block] for block in blocks})
    anchor_ms = float(np.mean([values[anchor].ms for anchor in anchors]))
    table = CostTable("latency", "ms", space, arrays, spread, constant=float(beyond.mean()))
    sample = sample_uniform(space.sizes, _GRID_SAMPLE, np.random.default_rng(0))
    provenance: dict[str, Any] = {
        "method": "measured",
        "device": device,
        "protocol": PROTOCOL,
        "sampling": dataclasses.asdict(sampling),
        "settings": dict(engine.settings),
        "blocks": len(blocks),
        "blocks_reused": reused,
        "rounds": min(value.count for value in values.values()),
        "anchors": len(anchors),
        "anchor_ms": anchor_ms,
        "constant_ms": table.constant,
        "constant_spread_ms": float(beyond.std(ddof=1) / math.sqrt(len(beyond)))
        if len(beyond) > 1
        else None,
        "drift": drift,
    }
    grid = noise_grid(float(np.median(table.standard_error(sample))))
    return dataclasses.replace(table, grid=grid, provenance=provenance)


@dataclasses.dataclass(frozen=True)
class TableError:
    """How a table's predictions differ from whole networks measured end to end.

    Args:
        predicted_ms: the table's, shape (n,).
        measured_ms: end to end, shape (n,).
        measured_spread_ms: standard errors of those, shape (n,).
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
    def mape_same_speed(self) -> float | None:
        """The MAPE, in %, had the machine the speed that it had when the table was built."""
        if self.drift is None:
            return None
        predicted = self.predicted_ms * (1 + self.drift)
        return 100 * float(np.abs(predicted / self.measured_ms - 1).mean())

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
        text = (
            f"{self.networks} networks end to end: MAPE {self.mape:.1f} %, "
            f"bias {self.bias:+.1f} %, RMSE {self.rmse_ms:.3g} ms, Spearman {self.spearman:.3f}"
        )
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
    genomes = sample_uniform(table.space.sizes, max(networks, 0), rng)
    return check_table(table, device, genomes, progress)


def check_table(
    table: CostTable, device: Device, genomes: Genomes, progress: Progress | None = None
) -> TableError:
    """Compare a latency table with networks that the device measures end to end.

    The table's anchors are measured again among them, to tell the table's error from a machine that
    is faster or slower now; they do not count as networks.

    Args:
        table: of the metric "latency".
        device: one that measures.
        genomes: of the networks, at least 2, shape (n, genes).
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
    if networks < 2:
        raise UsageError(f"networks is {networks}; give 2 or more")
    space = table.space
    chosen = [space.decode(genome) for genome in genomes]
    drawn = table.provenance.get("sampling", {}).get("anchors", 0)
    anchors = anchor_networks(space, drawn)
    latencies = device.measure([*chosen, *anchors], progress or Silent())
    drift = None
    if anchors:
        now = np.mean([latency.ms for latency in latencies[networks:]])
        drift = float(now / table.provenance["anchor_ms"] - 1)
    return TableError(
        predicted_ms=table(genomes),
        measured_ms=np.array([latency.ms for latency in latencies[:networks]]),
        measured_spread_ms=np.array([latency.spread or 0.0 for latency in latencies[:networks]]),
        drift=drift,
    )
