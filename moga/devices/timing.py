"""How blocks and networks are timed: shuffled rounds, steadied and trimmed.

1. Everything is built once.
2. Warm-ups: a few rounds that do not count.
3. Rounds: each round times everything once, in a new random order. Blocks timed over and over
   would find their weights in the caches, and their sum fall 17-22 % below the whole network. Where
   the engine can hand what one block gives to the next, the order is that of random walks through
   the blocks (`moga.devices.walks`), so that a block also finds its input as it does in a network.
4. The machine's speed at a run is the median, over it and the 20 runs before and after it, of the
   time relative to each one's own median. Times are divided by it and stand for the quieter moments
   (`steady`, ours): other programs and the clock frequency slow down alike what runs meanwhile.
5. A time is the mean without a tenth at either end (GENet's protocol), with its standard error.
6. What a block costs the one that reads its output, beyond what others cost that one, is added to
   the block's own time (`after_effects`, ours): wide blocks leave colder caches behind.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Progress, is_count, is_number
from moga.devices.base import Latency
from moga.devices.engines.base import Engine, Feeds, Step
from moga.devices.walks import Succession, Walks
from moga.errors import UsageError
from moga.network import Block, Network

__all__ = [
    "PROTOCOL",
    "Rounds",
    "Sampling",
    "Subject",
    "TimesRounds",
    "after_effects",
    "measure",
    "steady",
    "summarise",
    "time_rounds",
    "trimmed_mean",
]

PROTOCOL: Final = 3
"""Number of the protocol above; values timed by another are never reused."""

_DRIFT_WORTH_A_NOTE: Final = 0.05
_CHUNK: Final = 1 << 16
_SWEEPS: Final = 10
_WINDOW: Final = 41
"""Runs around one, itself among them, whose median tells the machine's speed."""
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
        UsageError: no number or one out of range, naming the field.
    """

    rounds: int = 30
    seconds: float = 20.0
    most: int = 400
    warmups: int = 5
    trim: float = 0.1
    anchors: int = 6

    def __post_init__(self) -> None:
        checks = {
            "rounds": (is_count(self.rounds, 2), "2 or more"),
            "seconds": (is_number(self.seconds) and self.seconds >= 0, "0 or more, and finite"),
            "most": (
                is_count(self.most) and is_count(self.rounds) and self.most >= self.rounds,
                f"at least the {self.rounds} rounds",
            ),
            "warmups": (is_count(self.warmups, 1), "1 or more"),
            "trim": (is_number(self.trim) and 0 <= self.trim < 0.5, "0 or more, below .5"),
            "anchors": (is_count(self.anchors, 2), "2 or more"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise UsageError(f"sampling: {name} is {getattr(self, name)!r}; allowed: {allowed}")


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


class Rounds(NamedTuple):
    """What `time_rounds` found of n subjects.

    Args:
        ms: milliseconds, shape (rounds, n).
        order: how many of these runs came before, shape (rounds, n).
        before: the subject on whose output each was run, -1 where it was none, shape (rounds, n).
    """

    ms: NDArray[np.float64]
    order: NDArray[np.int64]
    before: NDArray[np.int64]


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
        *,
        successions: Sequence[Succession] = (),
    ) -> Rounds:
        """Do as the function `time_rounds` does."""


def time_rounds(
    engine: Engine,
    subjects: Sequence[Subject],
    sampling: Sampling,
    *,
    rng: np.random.Generator,
    progress: Progress,
    phase: str,
    successions: Sequence[Succession] = (),
) -> Rounds:
    """Time everything in shuffled rounds.

    Args:
        engine: runs it.
        subjects: n blocks and networks.
        sampling: how often.
        rng: gives the orders; consumed.
        progress: is told of each round.
        phase: what this is called there.
        successions: what may be run on what another gave, where the engine can hand it on.

    Raises:
        MeasurementFailed: one cannot be built or run.
    """
    if isinstance(engine, TimesRounds):
        return engine.time_rounds(subjects, sampling, rng, progress, phase, successions=successions)
    with engine.session():
        progress.phase(f"{phase}: build and warm up", len(subjects), "timed")
        steps = []
        for done, subject in enumerate(subjects, start=1):
            steps.append(_step(engine, subject))
            progress.advance(done)
        walks = Walks(len(steps), successions if isinstance(engine, Feeds) else ())
        begin = time.monotonic()
        for _ in range(sampling.warmups):
            _round(steps, walks, rng)
        a_round = (time.monotonic() - begin) / sampling.warmups
        affordable = int(sampling.seconds / max(a_round, 1e-9))
        rounds = min(max(affordable, sampling.rounds), sampling.most)
        progress.phase(phase, rounds, "rounds")
        found = []
        for index in range(rounds):
            found.append(_round(steps, walks, rng))
            progress.advance(index + 1)
    ms, order, before = (np.array(values) for values in zip(*found, strict=True))
    return Rounds(ms, order + len(steps) * np.arange(rounds)[:, None], before)


def _step(engine: Engine, subject: Subject) -> Step:
    if isinstance(engine, Feeds):
        return engine.step(subject)
    run = engine.prepare(subject)
    return lambda _: (run(), None)


def _round(steps: Sequence[Step], walks: Walks, rng: np.random.Generator) -> Rounds:
    """Run everything; return what became of each one's first run, shape (n,)."""
    times, turn = np.empty(len(steps)), 0
    order, before = np.empty((2, len(steps)), dtype=np.int64)
    for walk in walks.draw(rng):
        given, last = None, -1
        for index, first in walk:
            ms, given = steps[index](given)
            if first:
                times[index], order[index], before[index] = ms, turn, last
                turn += 1
            last = index
    return Rounds(times, order, before)


def steady(rounds: Rounds) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the machine's changing speed out of times.

    Returns:
        Times as of the lower quartile of the speeds, shape (rounds, n), and the relative time of
        each round, 1 where it is typical, shape (rounds,).
    """
    ms = rounds.ms
    sequence = np.argsort(rounds.order, axis=None)
    typical = np.median(ms, axis=0)
    for _ in range(2):  # the second time, what is typical is that of a steady machine
        relative = ms / np.maximum(typical, 1e-9)
        speed = np.empty(ms.size)
        speed[sequence] = _running_median(relative.ravel()[sequence])
        speed = np.maximum(speed.reshape(ms.shape), 1e-9)
        typical = np.median(ms / speed, axis=0)
    return ms / speed * np.quantile(speed, _QUIET), np.median(speed, axis=1)


def after_effects(
    ms: NDArray[np.float64], before: NDArray[np.int64], trim: float = 0.1
) -> NDArray[np.float64]:
    """Return what each of n subjects costs those that are run on its output, beyond the average.

    A time is taken to be the sum of what the one that ran takes and of an effect of the one before
    it; along a network, the effects so add up like the times. Each effect is shrunk by how far the
    effects differ beyond their noise (empirical Bayes), so that there are none where none is seen.

    Args:
        ms: times at one speed, shape (rounds, n).
        before: as of `Rounds`.
        trim: share left out at either end of a mean.

    Returns:
        Milliseconds, shape (n,).
    """
    effects = np.zeros(ms.shape[1])
    givers = [giver for giver in np.unique(before) if giver >= 0 and (before == giver).sum() > 1]
    runs = [np.nonzero(before == giver) for giver in givers]
    if len(givers) < 2:
        return effects
    for _ in range(_SWEEPS):
        own = trimmed_mean(ms - np.where(before >= 0, effects[before], 0.0), trim)[0]
        found = [trimmed_mean((ms - own)[run][:, None], trim) for run in runs]
        means = np.array([mean[0] for mean, _ in found])
        noise = np.array([error[0] for _, error in found]) ** 2
        true = max(means.var() - noise.mean(), 0.0)
        effects[givers] = means * true / np.maximum(true + noise, 1e-30)
    return effects


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each value and its neighbours, fewer of them at the ends."""
    half = min(_WINDOW, len(values)) // 2
    padded = np.pad(values, half, constant_values=np.nan)
    found = np.empty(len(values))
    for start in range(0, len(values), _CHUNK):
        part = padded[start : start + _CHUNK + 2 * half]
        windows = np.lib.stride_tricks.sliding_window_view(part, 2 * half + 1)
        found[start : start + len(windows)] = np.nanmedian(windows, axis=1)
    return found


def summarise(
    rounds: Rounds, sampling: Sampling, batch: int, progress: Progress
) -> tuple[list[Latency], float]:
    """Return one latency a column, and by how much the second half of the rounds was slower."""
    calm, speed = steady(rounds)
    half = len(speed) // 2
    drift = float(np.median(speed[half:]) / max(np.median(speed[:half]), 1e-9) - 1)
    if abs(drift) > _DRIFT_WORTH_A_NOTE:
        change = f"{abs(100 * drift):.0f} % {'more' if drift > 0 else 'less'}"
        progress.note(
            "The machine changed its speed while it was measured: the second half of the rounds "
            f"took {change} time. Other programs may be running; measure again when it is quiet."
        )
    effects = after_effects(calm, rounds.before, sampling.trim)
    given = np.where(rounds.before >= 0, effects[rounds.before], 0.0)
    means, errors = trimmed_mean(calm - given, sampling.trim)
    least = trimmed_mean(calm, sampling.trim)[0] / 2  # whatever a tiny block's effect
    means = np.maximum(means + effects, least)
    latencies = [
        Latency(float(mean), float(error), len(calm), "measured", batch)
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
    successions: Sequence[Succession] = (),
) -> list[Latency]:
    """Time networks (or blocks) in shuffled rounds: one latency each, in order.

    Raises:
        MeasurementFailed: one cannot be built or run.
    """
    if not subjects:
        return []
    rounds = time_rounds(
        engine,
        subjects,
        sampling,
        rng=rng,
        progress=progress,
        phase=phase,
        successions=successions,
    )
    return summarise(rounds, sampling, engine.batch, progress)[0]
