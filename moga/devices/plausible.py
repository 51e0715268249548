"""What no device does: bounds on times and speeds, by which a wrong unit is seen.

Speeds are in 10^9 multiply-adds a second. Calibrations have a bound of their own, what the data
sheet lets expect (`moga.devices.roofline`).
"""

from typing import Final

__all__ = ["LEAST_MS", "MOST_GMACS_PER_S", "speed", "speed_caution"]

LEAST_MS: Final = 1e-4
"""No device launches a block's kernels in a tenth of a microsecond."""
MOST_GMACS_PER_S: Final = 1e7
"""Ten times what the fastest accelerators do at their lowest precision."""
_USUAL_GMACS_PER_S: Final = (0.01, 1e6)
"""From a microcontroller of some ten megahertz to the fastest accelerators' peak."""


def speed(macs: float, ms: float) -> float:
    """Return the multiply-adds that were done in milliseconds as 10^9 of them a second.

    Example:
        >>> speed(macs=5e9, ms=2.5)
        2000.0
    """
    return macs / 1e6 / ms


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
