"""A tiny space with images that fit it."""

from functools import cached_property, partial

import numpy as np
import pytest

from moga.contracts import Gene
from moga.network import Block
from moga.spaces.base import Slot, Space
from moga.supernets.data import Images, Subset

CHOICES = ((3, 3, False), (3, 5, True), (6, 3, True), (6, 7, False))
LAYERS = ((2, 8), (1, 8), (2, 16))


def fixed(blocks):
    return tuple((block, 1) for block in blocks)


def layer(channels, out, size, stride, choice):
    expansion, kernel, se = choice
    shape = {"in_channels": channels, "out_channels": out, "height": size, "width": size}
    block = Block(
        operation="mbconv",
        **shape,
        kernel=kernel,
        stride=stride,
        hidden_channels=expansion * channels,
        se_channels=4 if se else 0,
        activation="relu",
        norm_eps=1e-5,
        shortcut="identity" if stride == 1 and channels == out else "none",
    )
    return ((block, 1),)


class TinySpace(Space):
    """Three layers of four choices on 16-pixel images."""

    name = "tiny"

    def __init__(self, width=1):
        self.width = width

    @property
    def arguments(self):
        return {"width": self.width}

    @cached_property
    def genes(self):
        return tuple(Gene(f"layer_{i}", f"layer_{i}", "categorical", CHOICES) for i in range(3))

    @cached_property
    def slots(self):
        channels, size = 8 * self.width, 8
        shape = {"in_channels": 3, "out_channels": channels, "height": 16, "width": 16}
        stem = Block(
            operation="conv", **shape, kernel=3, stride=2, activation="relu", norm_eps=1e-5
        )
        slots = [Slot("stem", (), (), partial(fixed, (stem,)))]
        for index, (stride, times) in enumerate(LAYERS):
            out = times * self.width
            blocks = partial(layer, channels, out, size, stride)
            slots.append(Slot(f"layer_{index}", (index,), (CHOICES,), blocks))
            channels, size = out, size // stride
        shape = {"in_channels": channels, "height": size, "width": size}
        pool = Block(operation="pool", out_channels=channels, **shape)
        shape = {"in_channels": channels, "height": 1, "width": 1}
        linear = Block(operation="linear", out_channels=3, bias=True, **shape)
        return (*slots, Slot("head", (), (), partial(fixed, (pool, linear))))


@pytest.fixture(scope="session")
def space():
    return TinySpace()


@pytest.fixture(scope="session")
def wider():
    return TinySpace(width=2)


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
