"""One speed: times that were taken at different times, brought to the speed of the first.

A machine is not as fast today as yesterday. What was timed before and is timed again beside the new
says how much slower it has become; the new times are divided by that.
"""

import dataclasses
import math
from collections.abc import Container, Mapping
from typing import Final

from moga.contracts import Progress
from moga.devices.base import Latency
from moga.devices.timing import Subject

__all__ = [
    "PROBES",
    "REFRESH",
    "WORTH_A_CAUTION",
    "at_stored_speed",
    "change_text",
    "how_much_slower",
    "note_change",
    "scaled",
]

PROBES: Final = 7
"""Blocks that tell the machine's speed, where no whole network does."""

WORTH_A_CAUTION: Final = 0.1
"""A bias, and a change of the machine's speed, that is not to be passed over; relative."""

REFRESH: Final = "If that lasts, have all timed again (refresh=true, of the device)"


def scaled(latency: Latency, factor: float) -> Latency:
    """Return a latency and its standard error times a factor."""
    error = None if latency.spread is None else latency.spread * factor
    return dataclasses.replace(latency, ms=latency.ms * factor, spread=error)


def how_much_slower(now: Mapping[Subject, Latency], before: Mapping[Subject, Latency]) -> float:
    """Return what all of `before` takes now, relative to then; 1 where there is nothing of it.

    The sum tells it, and not the median: the smallest blocks' times say little of the machine.
    """
    usual = math.fsum(latency.ms for latency in before.values())
    return max(math.fsum(now[one].ms for one in before), 1e-9) / usual if usual else 1.0


def note_change(progress: Progress, drift: float) -> None:
    """Say that the machine is another than when the values were stored, if it is by far."""
    if abs(drift) > WORTH_A_CAUTION:
        progress.note(
            f"{change_text(drift)} than when the stored blocks were timed; the new times are "
            f"brought to the speed of those. {REFRESH}."
        )


def change_text(drift: float) -> str:
    """Say how much more time the machine takes: .25 is 25 % more."""
    return f"The machine takes {abs(100 * drift):.0f} % {'more' if drift > 0 else 'less'} time"


def at_stored_speed(
    timed: Mapping[Subject, Latency], slower: float, *, besides: Container[Subject] = ()
) -> dict[Subject, Latency]:
    """Return times as of a machine that is not slower, without those of what is `besides`."""
    return {
        one: scaled(latency, 1 / slower) for one, latency in timed.items() if one not in besides
    }
