import numpy as np
import pytest

from moga.spaces.moga import MoGASpace


@pytest.fixture(scope="module")
def space():
    return MoGASpace(resolution=32, width=0.35, num_classes=10)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
