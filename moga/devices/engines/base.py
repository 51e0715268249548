"""What an engine is, and how one run is timed."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, runtime_checkable

from moga.network import Block, Network

__all__ = ["Clock", "Engine", "Feeds", "Run", "Step", "timed"]

Run = Callable[[], float]
"""Runs what was prepared once, to the end, and returns the milliseconds that it took."""

Step = Callable[[Any], tuple[float, Any]]
"""Runs what was prepared once on what is given, or on an input of its own where that is None;
returns milliseconds and the output."""

_NS_A_MS: Final = 1e6


class Engine(Protocol):
    """Runs blocks and networks at one precision and batch."""

    @property
    def batch(self) -> int:
        """Images a batch."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides a time, as JSON values: hardware, versions, threads, allocator."""

    def session(self) -> AbstractContextManager[None]:
        """Hold the settings (threads, modes) while runs are prepared and timed."""

    def prepare(self, subject: Block | Network) -> Run:
        """Build a block or a network with its input; call it within a `session`.

        Raises:
            MeasurementFailed: it cannot be built.
        """


@runtime_checkable
class Feeds(Protocol):
    """The capability of an engine to hand what one block gives to the next."""

    def step(self, subject: Block | Network) -> Step:
        """Build a block or a network with an input of its own; call it within a `session`.

        Raises:
            MeasurementFailed: it cannot be built.
        """


class Clock:
    """Reads time with little cost, less that cost.

    One thread is timed by its own CPU time: on a machine that others use as well, wall time
    contains the moments when they had the core, which strike long runs more often than short ones,
    so that the sum of blocks would fall below the whole. On an idle core the two agree. Several
    threads, and systems whose thread clock is coarser than a microsecond, are timed by the wall.

    Args:
        threads: threads that do the work.
    """

    def __init__(self, threads: int = 1) -> None:
        fine = time.get_clock_info("thread_time").resolution <= 1e-6
        self.name = "thread CPU time" if threads == 1 and fine else "wall time"
        self._read = time.thread_time_ns if threads == 1 and fine else time.perf_counter_ns
        empty = []
        for _ in range(1001):
            begin = self._read()
            empty.append(self._read() - begin)
        self._cost = statistics.median(empty)

    def ms(self, call: Callable[[], object]) -> float:
        """Call it once and return the milliseconds that it took, 0 or more."""
        read = self._read
        begin = read()
        call()
        return max(read() - begin - self._cost, 0) / _NS_A_MS


def timed(call: Callable[[], object], clock: Clock) -> Run:
    """Turn a call into a `Run`."""

    def run() -> float:
        return clock.ms(call)

    return run
