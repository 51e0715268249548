"""A tiny space with images that fit it."""

import numpy as np
import pytest
from moga.spaces.moga import MoGASpace
from moga.supernets.data import Images, Subset


@pytest.fixture(scope="session")
def space():
    return MoGASpace(resolution=16, width=0.1, num_classes=3, stem_stride=2)


def coloured(n, rng):
    """Noise whose brightest channel is its class."""
    labels = rng.integers(0, 3, n)
    pixels = rng.integers(0, 160, (n, 16, 16, 3))
    pixels[np.arange(n), :, :, labels] += 90
    return Subset(pixels.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return Images("toy", ("a", "b", "c"), *(coloured(n, rng) for n in (48, 32, 40)))
