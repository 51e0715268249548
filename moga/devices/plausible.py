"""What no device does: bounds on times and speeds, and times that are of another unit than others.

Speeds are in 10^9 multiply-adds a second. Calibrations have a bound of their own, what the data
sheet lets expect (`moga.devices.roofline`).

Units that were mixed unsaid are found without knowing which rows are wrong, for a fit to all rows
would bend to the mixture: what differs by a factor of 1,000 looks alike modulo 1,000. So times are
fitted by a power of the work, least absolute deviations of log(ms) modulo log(1,000), which s, ms
and us all obey at once. Only then the thousands are counted, and most rows are taken to be right.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moga.errors import FormatError
from moga.network import Block, Network
from moga.networks.count import count_bytes, count_macs

__all__ = [
    "LEAST_MS",
    "check_speed",
    "check_units",
    "speed",
    "speed_caution",
]

Array = NDArray[np.float64]

LEAST_MS: Final = 1e-4
"""No device launches a block's kernels in a tenth of a microsecond."""
_MOST_GMACS_PER_S: Final = 1e7
"""Ten times what the fastest accelerators do at their lowest precision."""
_USUAL_GMACS_PER_S: Final = (0.01, 1e6)
"""From a microcontroller of some ten megahertz to the fastest accelerators' peak."""

_UNIT: Final = math.log(1e3)
_FAR: Final = math.log(100.0)
"""How far off, as a logarithm, a time is of another unit. Correct ones are off by up to 17 times:
46 sets of networks (FBNet's and NAS-Bench-201's, 23 devices each) and 6 of blocks (CPU, phone)."""
_AS_WELL: Final = 1.5
"""How many times what is off modulo a unit may be off without, where there is no mixture: a power
that is right for some rows alone may take others for another unit (4 to 12 blocks of GENet's)."""
_POWERS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the work: 0 where launches take all the time, 1 where computing does."""
_NEAREST: Final = 5
_FAR_OF_NEAREST: Final = math.log(30.0)
"""How far off the nearest ones a time is of another unit, whatever the power of the work."""
_OFFSETS: Final = 200
"""Rows at most through which the fitted power is tried to pass."""
_MOVING: Final = 10
"""Multiply-adds that take as long as moving a number, about."""
_LEAST_WORK: Final = 1e3
"""Multiply-adds below which work cannot be seen."""


def speed(macs: float, ms: float) -> float:
    """Return the multiply-adds that were done in milliseconds as 10^9 of them a second.

    Example:
        >>> speed(macs=5e9, ms=2.5)
        2000.0
    """
    return macs / 1e6 / ms


def check_speed(macs: float, ms: float, where: str, subject: str) -> None:
    """Refuse a time in which no device does so much.

    Args:
        macs: multiply-adds that were done, of the whole batch.
        ms: milliseconds in which they were done, above 0.
        where: file and row, for the message.
        subject: what was timed, in a few words.

    Raises:
        FormatError: more than 1e16 multiply-adds a second, naming the row.
    """
    gmacs = speed(macs, ms)
    if gmacs > _MOST_GMACS_PER_S:
        raise FormatError(
            f"{where}: {ms:g} ms for {subject} would be {1e9 * gmacs:.1g} multiply-adds a second, "
            "more than any device does; is the unit right?"
        )


def speed_caution(gmacs_per_s: float) -> str:
    """Say that times give a speed that no device has; "" where they do not.

    Example:
        >>> speed_caution(5.4)
        ''
    """
    low, high = _USUAL_GMACS_PER_S
    if low <= gmacs_per_s <= high:
        return ""
    less = gmacs_per_s < low
    return (
        f"{gmacs_per_s:.2g} gmacs per s is {'less' if less else 'more'} than any device does "
        f"({low:g} to {high:g}): the times are too {'long' if less else 'short'}; are they in "
        "milliseconds a batch, and is the batch right?"
    )


def check_units(
    subjects: Sequence[Block] | Sequence[Network],
    ms: Sequence[float],
    places: Sequence[str],
    batch: int = 1,
) -> None:
    """Refuse times that are far from those of others with as much work, as of another unit.

    The unit of most is taken to be right. A cell that passes nothing on may be as fast as it likes:
    an engine drops all that leads to it (two of NAS-Bench-201's phones take a 3,000th).

    Args:
        subjects: n blocks, or n networks, of one space.
        ms: above 0, a batch, shape (n,).
        places: where each time stands, for the message, shape (n,).
        batch: images a batch.

    Raises:
        FormatError: such a time, naming the first one's place, what it is and should be about.
    """
    passes = np.array([_passes(subject) for subject in subjects], dtype=bool)
    if not passes.any():
        return
    work = np.log([_work(subject, batch) for subject in subjects])
    off = _off(work, np.log(ms), passes)
    far = np.flatnonzero((off > _FAR) | (passes & (off < -_FAR)))
    if len(far):
        first, what = far[0], "blocks" if isinstance(subjects[0], Block) else "networks"
        subject = f" for {subjects[first]}" if what == "blocks" else ""
        expected = math.exp(math.log(ms[first]) - off[first])
        raise FormatError(
            f"{places[first]}: {ms[first]:g} ms{subject}, where by the other {what} one with as "
            f"much work takes about {expected:.2g} ms; {len(far)} of "
            f"{len(ms)} times are so far off. Are they in another unit? Give all in milliseconds "
            "(latency_ms), or correct these rows"
        )


def _off(work: Array, time: Array, used: NDArray[np.bool_]) -> Array:
    """Return what log times are off by from a power of the work, fitted to those used: (n,)."""
    fitted = [_fit(work, time, used, power) for power in _POWERS]
    cost, off = min(fitted, key=lambda one: one[0])
    far = used & (np.abs(off) > _FAR)
    if _beyond(work, time, far, used & ~far):
        return off
    for _, other in fitted:  # one unit that explains all about as well is no mixture
        plain = np.abs(other[used])
        if plain.max() <= _FAR and plain.sum() <= _AS_WELL * cost:
            return other
    return off


def _beyond(work: Array, time: Array, rows: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Return whether any of some rows is far off whatever the power of the work, from 0 to 1.

    A row of far more or less work than all others bends the power to itself. It is compared with
    those of the others that are nearest in work, by the middle one of what it is off by.
    """
    compared = np.flatnonzero(others)
    for row in np.flatnonzero(rows) if len(compared) else ():
        gaps = work[row] - work[compared]
        near = np.argsort(np.abs(gaps), kind="stable")[:_NEAREST]
        gap, step = gaps[near], time[row] - time[compared[near]]
        off = step - np.clip(step, np.minimum(gap, 0), np.maximum(gap, 0))
        if abs(np.median(off)) > _FAR_OF_NEAREST:
            return True
    return False


def _fit(work: Array, time: Array, used: NDArray[np.bool_], power: float) -> tuple[float, Array]:
    """Fit modulo a unit; return the sum of what is off modulo that, and what is off without."""
    left = time - power * work
    kept = left[used]
    tried = kept[np.unique(np.linspace(0, len(kept) - 1, min(len(kept), _OFFSETS)).astype(int))]
    away = kept - tried[:, None]
    away -= _UNIT * np.round(away / _UNIT)
    costs = np.abs(away).sum(axis=1)
    left -= tried[np.argmin(costs)]
    units, rows = np.unique(np.round(left[used] / _UNIT), return_counts=True)
    return float(costs.min()), left - _UNIT * units[np.argmax(rows)]


def _work(subject: Block | Network, batch: int) -> float:
    blocks = (subject,) if isinstance(subject, Block) else tuple(subject)
    read = sum(one.in_channels * one.height * one.width * one.batch_factor for one in blocks)
    moved = batch * read + count_bytes(blocks, batch=batch, item=1)
    return _LEAST_WORK + batch * count_macs(blocks) + _MOVING * moved


def _passes(subject: Block | Network) -> bool:
    """Return whether what comes out depends on what goes in: not so of a cell without a path."""
    if not isinstance(subject, Block):
        return all(map(_passes, subject))
    if not subject.edges:
        return True
    a, b, ab, out, a_out, b_out = (edge != "none" for edge in subject.edges)
    return out or (a and a_out) or (b and b_out) or (a and ab and b_out)
