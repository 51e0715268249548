"""Do paths of a supernet differ by more than the choice of validation images explains?"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["paired_test"]


def paired_test(correct: NDArray[np.bool_]) -> float:
    """Return the p-value of Cochran's Q test: all paths are right equally often.

    Every path is judged on the same images, so differences between images cancel out; images that
    all paths get right, or wrong, say nothing and drop out. Cochran 1950, "The comparison of
    percentages in matched samples", Biometrika 37, eq. for Q; chi-squared with paths - 1 degrees of
    freedom.

    Args:
        correct: shape (paths, images): whether a path classifies an image rightly.

    Returns:
        The p-value; 1 where no image tells any two paths apart.

    Raises:
        ValueError: fewer than two paths, or no image.
    """
    if correct.ndim != 2 or len(correct) < 2 or correct.shape[1] < 1:
        raise ValueError(f"expected (paths >= 2, images >= 1), got shape {correct.shape}")
    paths = len(correct)
    of_path, of_image = correct.sum(axis=1), correct.sum(axis=0)
    disagreement = float((of_image * (paths - of_image)).sum())
    if disagreement == 0:
        return 1.0
    between = float(((of_path - of_path.mean()) ** 2).sum())
    statistic = paths * (paths - 1) * between / disagreement
    return float(stats.chi2.sf(statistic, paths - 1))
