"""Nonlinear least squares of a few parameters, with numpy alone.

`scipy.optimize.least_squares` does the same. It is not used because blocks without a time are
predicted where others are being timed, on machines that have torch, timm and numpy only.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["least_squares"]

_MOST_STEPS: Final = 200
_GAIN: Final = 1e-12
"""Relative fall of the sum of squares below which the minimum is reached."""
_DAMPING: Final = 1e-3
"""The first damping, as a share of the largest entry of the normal equations' diagonal."""
_MOST_REFUSED: Final = 30
"""Steps that only grow the sum of squares, one after another: the last are below any rounding."""
_DIFFERENCE: Final = float(np.sqrt(np.finfo(float).eps))

Array = NDArray[np.float64]


def least_squares(residuals: Callable[[Array], Array], start: Array) -> Array:
    """Return the parameters of which the sum of squared residuals is least, near a start.

    Levenberg and Marquardt's method as Madsen, Nielsen and Tingleff 2004 give it ("Methods for
    non-linear least squares problems", algorithm 3.16): Gauss-Newton steps, damped the less the
    better the last one did what the linear model promised. The Jacobian is that of forward
    differences. The damping is the same for all parameters, which must be of like scale, such as
    logarithms.

    Args:
        residuals: parameters (p,) -> residuals (n,); every parameter must have an effect on some of
            them, as it has where there are priors.
        start: parameters (p,) at which all residuals are finite.

    Returns:
        Parameters, (p,).

    Example:
        >>> least_squares(lambda x: np.exp(x) - np.array([1.0, 2.0]), np.zeros(2)).round(6)
        array([0.      , 0.693147])
    """
    x, now, damping = start, residuals(start), 0.0
    for _ in range(_MOST_STEPS):
        jacobian, before = _jacobian(residuals, x, now), float(now @ now)
        gradient, normal = jacobian.T @ now, jacobian.T @ jacobian
        damping = damping or _DAMPING * float(normal.diagonal().max())
        growth = 2.0
        for _ in range(_MOST_REFUSED):
            step = -np.linalg.solve(normal + damping * np.eye(len(x)), gradient)
            with np.errstate(all="ignore"):  # a step too far: it is not taken
                there = residuals(x + step)
                after = float(there @ there)
            if after < before:
                break
            damping, growth = damping * growth, growth * 2
        else:
            return x
        gain = (before - after) / float(step @ (damping * step - gradient))
        damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
        x, now = x + step, there
        if before - after <= _GAIN * before:
            break
    return x


def _jacobian(residuals: Callable[[Array], Array], x: Array, now: Array) -> Array:
    """Return the derivatives of n residuals by p parameters, (n, p)."""
    steps = _DIFFERENCE * np.maximum(np.abs(x), 1.0)
    moved = x + np.diag(steps)
    return np.stack(
        [(residuals(one) - now) / step for one, step in zip(moved, steps, strict=True)], axis=1
    )
