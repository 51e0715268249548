import numpy as np
import pytest
from scipy import optimize

from moga.devices.leastsquares import least_squares


def decay(x, noise=0.0):
    """Residuals of an exponential with an offset, and weak priors; x: log of three parameters."""
    time = np.linspace(0, 4, 40)
    rate, scale, offset = np.exp(x)
    seen = 3 * np.exp(-1.7 * time) + 0.2 + noise * np.sin(37 * time)
    return np.concatenate([(scale * np.exp(-rate * time) + offset - seen) / 0.05, x / 3])


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("start", [(0, 0, 0), (3, -4, 2), (-5, 5, -5)])
def test_it_finds_what_scipy_finds(start, noise):
    def residuals(x):
        return decay(x, noise)

    expected = optimize.least_squares(residuals, np.array(start, float), xtol=1e-12, ftol=1e-12).x
    assert least_squares(residuals, np.array(start, float)) == pytest.approx(expected, abs=1e-5)


def test_a_step_too_far_is_not_taken():
    def residuals(x):
        return np.concatenate([np.log(np.exp(800 * x) / 2), x / 1e3])  # overflows above .89

    assert least_squares(residuals, np.array([0.88])) == pytest.approx(np.log(2) / 800, rel=1e-6)


def test_at_the_minimum_it_stays():
    assert least_squares(lambda x: x - 1, np.ones(3)).tolist() == [1, 1, 1]
    assert least_squares(lambda x: np.append(x, 1.0), np.zeros(1)).tolist() == [0]


def test_rosenbrock_s_valley_is_followed_to_its_end():
    def valley(x):
        return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    assert least_squares(valley, np.array([-1.2, 1.0])) == pytest.approx([1, 1])
