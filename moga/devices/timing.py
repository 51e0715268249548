"""How blocks and networks are timed: shuffled rounds, steadied and trimmed.

1. Everything is built once.
2. Warm-ups: all run a few times in turn.
3. Rounds: each round runs everything once, in a new random order. Blocks timed one after another
   would find their weights in the caches, and their sum fall 17-22 % below the whole network.
4. A round's speed is the median, over all that ran in it, of the time relative to each one's own
   median. Times are divided by it and stand for the quieter moments (`steady`, ours): other
   programs and the clock frequency slow all that runs in a round alike.
5. A time is the mean without a tenth at either end (GENet's protocol), with its standard error.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Progress
from moga.devices.base import Latency
from moga.devices.engines.base import Engine
from moga.errors import UsageError
from moga.network import Block, Network

__all__ = [
    "PROTOCOL",
    "Sampling",
    "Subject",
    "TimesRounds",
    "measure",
    "steady",
    "summarise",
    "time_rounds",
    "trimmed_mean",
]

PROTOCOL: Final = 2
"""Number of the protocol above; values timed by another are never reused."""

_DRIFT_WORTH_A_NOTE: Final = 0.05
_ENOUGH_FOR_SPEED: Final = 8
_QUIET: Final = 0.25

Subject = Block | Network
"""What can be timed."""


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
            "seconds": (0 <= self.seconds < math.inf, "0 or more, and finite"),
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


@runtime_checkable
class TimesRounds(Protocol):
    """The capability of an engine to carry out all rounds itself, such as in another process."""

    def time_rounds(
        self,
        subjects: Sequence[Subject],
        sampling: Sampling,
        rng: np.random.Generator,
        progress: Progress,
        phase: str,
    ) -> NDArray[np.float64]:
        """Do as the function `time_rounds` does."""


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
    if isinstance(engine, TimesRounds):
        return engine.time_rounds(subjects, sampling, rng, progress, phase)
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


def summarise(
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
    subjects: Sequence[Subject],
    sampling: Sampling,
    rng: np.random.Generator,
    progress: Progress,
    *,
    phase: str = "measure networks end to end",
) -> list[Latency]:
    """Time networks (or blocks) in shuffled rounds: one latency each, in order.

    Raises:
        MeasurementFailed: one cannot be built or run.
    """
    if not subjects:
        return []
    times = time_rounds(engine, subjects, sampling, rng=rng, progress=progress, phase=phase)
    return summarise(times, sampling, engine.batch, progress)[0]
