import numpy as np
import pytest
from scipy import stats

from moga.supernets.statistics import paired_test


def test_equals_a_textbook_value():
    # Three treatments of six subjects, counted by hand: totals 5, 2, 1; subjects 3, 1, 1, 2, 1, 0.
    correct = np.array([[1, 1, 1, 1, 1, 0], [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=bool)
    # Q = 3 * 2 * (sum of (G - 8/3)^2 = 26/3) / (3 * 8 - (9 + 1 + 1 + 4 + 1)) = 52 / 8
    assert paired_test(correct) == pytest.approx(stats.chi2.sf(6.5, 2))


def test_equal_paths_with_noise_are_not_told_apart_and_a_better_one_is():
    rng = np.random.default_rng(0)
    values = [paired_test(rng.random((50, 400)) < 0.6) for _ in range(100)]
    assert np.mean(np.array(values) < 0.05) < 0.15
    levels = np.linspace(0.5, 0.7, 50)[:, None]
    assert paired_test(rng.random((50, 400)) < levels) < 1e-6


def test_paths_that_agree_everywhere():
    assert paired_test(np.ones((3, 5), dtype=bool)) == 1.0


@pytest.mark.parametrize("shape", [(1, 5), (3, 0), (4,)])
def test_too_little_to_compare(shape):
    with pytest.raises(ValueError, match="expected \\(paths >= 2, images >= 1\\), got shape"):
        paired_test(np.ones(shape, dtype=bool))
