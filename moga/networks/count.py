"""Parameters, MACs and bytes of blocks, counted from their fields alone.

Conventions, those of the published figures (`zoo.table` shows both):

- *params*: weights and biases of convolutions and linear layers, and two numbers a batch-norm
  channel.
- *macs*: multiply-adds of convolutions and linear layers of one image, one each; those inside
  squeeze-and-excitation count; bias, norm, activation and pooling do not.
- *bytes*: weights read once, and every convolution's input read and output written once.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

import numpy as np

from moga.network import Block
from moga.networks.stack import BlockStack

__all__ = [
    "COUNTERS",
    "Convolution",
    "convolutions",
    "count_bytes",
    "count_macs",
    "count_params",
    "stacked_convolutions",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution inside a block, as it costs.

    Args:
        in_channels: channels read.
        out_channels: channels written.
        kernel: side of the kernel.
        groups: groups of channels.
        in_size: rows and columns read.
        out_size: rows and columns written.
        norm: whether a batch norm follows.
        bias: whether it has a bias.
        images: how many images of this size stand for one input image.
    """

    in_channels: int
    out_channels: int
    kernel: int
    groups: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    norm: bool
    bias: bool
    images: int = 1

    @property
    def params(self) -> int:
        """Weights, bias, and two numbers a norm channel."""
        weights = self.out_channels * (self.in_channels // self.groups) * self.kernel**2
        return weights + self.out_channels * (2 * self.norm + self.bias)

    @property
    def macs(self) -> int:
        """Multiply-adds of one input image."""
        taps = self.out_channels * (self.in_channels // self.groups) * self.kernel**2
        return taps * self.out_size[0] * self.out_size[1] * self.images

    @property
    def values(self) -> int:
        """Activations read and written for one input image."""
        read = self.in_channels * self.in_size[0] * self.in_size[1]
        written = self.out_channels * self.out_size[0] * self.out_size[1]
        return (read + written) * self.images


def _squeeze_excite(block: Block, channels: int) -> Iterator[Convolution]:
    if np.any(block.se_channels):  # a stack's are an array
        one, images = (1, 1), block.batch_factor
        yield Convolution(channels, block.se_channels, 1, 1, one, one, False, True, images)
        yield Convolution(block.se_channels, channels, 1, 1, one, one, False, True, images)


def _conv(block: Block) -> Iterator[Convolution]:
    norm = block.norm_eps is not None
    size = (block.height, block.width)
    yield Convolution(
        block.in_channels,
        block.out_channels,
        block.kernel,
        block.groups,
        size,
        block.out_size,
        norm,
        block.bias,
        block.batch_factor,
    )


def _depthwise_then_project(block: Block, channels: int) -> Iterator[Convolution]:
    norm, images = block.norm_eps is not None, block.batch_factor
    before, after = (block.height, block.width), block.out_size
    yield Convolution(
        channels, channels, block.kernel, channels, before, after, norm, False, images
    )
    yield from _squeeze_excite(block, channels)
    out = block.out_channels
    yield Convolution(channels, out, 1, block.groups, after, after, norm, False, images)


def _dsconv(block: Block) -> Iterator[Convolution]:
    yield from _depthwise_then_project(block, block.in_channels)


def _mbconv(block: Block) -> Iterator[Convolution]:
    norm, size = block.norm_eps is not None, (block.height, block.width)
    hidden, images = block.hidden_channels, block.batch_factor
    yield Convolution(block.in_channels, hidden, 1, block.groups, size, size, norm, False, images)
    yield from _depthwise_then_project(block, hidden)


def _dense(
    block: Block, channels: tuple[int, int], kernel: int = 1, groups: int = 1, *, at: str = "after"
) -> Convolution:
    """One convolution of a block, `at` its entering size, its leaving size, or "across" both."""
    before, after = (block.height, block.width), block.out_size
    sizes = {"before": (before, before), "after": (after, after), "across": (before, after)}
    norm = block.norm_eps is not None
    return Convolution(*channels, kernel, groups, *sizes[at], norm, False, block.batch_factor)


def _fused_mbconv(block: Block) -> Iterator[Convolution]:
    hidden = block.hidden_channels
    yield _dense(block, (block.in_channels, hidden), block.kernel, at="across")
    yield from _squeeze_excite(block, hidden)
    yield _dense(block, (hidden, block.out_channels))


def _shortcut(block: Block) -> Iterator[Convolution]:
    if block.shortcut == "conv":
        yield _dense(block, (block.in_channels, block.out_channels), at="across")


def _xx(block: Block) -> Iterator[Convolution]:
    hidden = block.hidden_channels
    yield _dense(block, (block.in_channels, hidden), block.kernel, at="across")
    yield _dense(block, (hidden, block.out_channels), block.kernel)
    yield from _shortcut(block)


def _bottleneck(block: Block) -> Iterator[Convolution]:
    hidden = block.hidden_channels
    groups = hidden if block.operation == "dw" else 1
    yield _dense(block, (block.in_channels, hidden), at="before")
    yield _dense(block, (hidden, hidden), block.kernel, groups, at="across")
    yield _dense(block, (hidden, block.out_channels))
    yield from _shortcut(block)


def _cell201(block: Block) -> Iterator[Convolution]:
    size, kernels = (block.height, block.width), {"conv1x1": 1, "conv3x3": 3}
    width, norm = block.in_channels, block.norm_eps is not None
    for edge in block.edges:
        if edge in kernels:
            yield Convolution(width, width, kernels[edge], 1, size, size, norm, False)


def _residual201(block: Block) -> Iterator[Convolution]:
    width, norm = block.out_channels, block.norm_eps is not None
    before, after = (block.height, block.width), block.out_size
    yield Convolution(block.in_channels, width, 3, 1, before, after, norm, False)
    yield Convolution(width, width, 3, 1, after, after, norm, False)
    if block.shortcut == "conv":
        yield Convolution(block.in_channels, width, 1, 1, after, after, False, False)


def _linear(block: Block) -> Iterator[Convolution]:
    one = (1, 1)
    yield Convolution(block.in_channels, block.out_channels, 1, 1, one, one, False, block.bias)


def _nothing(_block: Block) -> Iterator[Convolution]:
    yield from ()


_PARTS: Final[dict[str, Callable[[Block], Iterator[Convolution]]]] = {
    "conv": _conv,
    "dsconv": _dsconv,
    "mbconv": _mbconv,
    "fused_mbconv": _fused_mbconv,
    "xx": _xx,
    "bl": _bottleneck,
    "dw": _bottleneck,
    "space_to_batch": _nothing,
    "batch_to_space": _nothing,
    "cell201": _cell201,
    "residual201": _residual201,
    "norm_act": _nothing,
    "pool": _nothing,
    "linear": _linear,
}


@lru_cache(maxsize=65536)
def convolutions(block: Block) -> tuple[Convolution, ...]:
    """Return every convolution (and linear layer, as a 1x1) of a block, in order."""
    return tuple(_PARTS[block.operation](block))


def stacked_convolutions(stack: BlockStack) -> tuple[Convolution, ...]:
    """Return the convolutions of a stack, in order: numbers are arrays where blocks differ."""
    return tuple(_PARTS[stack.operation](stack))


def count_params(blocks: Block | Iterable[Block]) -> int:
    """Count trainable parameters of a block, or of several (a `Network` is several)."""
    if not isinstance(blocks, Block):
        return sum(count_params(block) for block in blocks)
    norm = 2 * blocks.out_channels if blocks.operation == "norm_act" else 0
    return norm + sum(convolution.params for convolution in convolutions(blocks))


def count_macs(blocks: Block | Iterable[Block]) -> int:
    """Count multiply-adds of one image."""
    if not isinstance(blocks, Block):
        return sum(count_macs(block) for block in blocks)
    return sum(convolution.macs for convolution in convolutions(blocks))


def count_bytes(blocks: Block | Iterable[Block], *, batch: int = 1, item: int = 4) -> int:
    """Count bytes that must move through memory for one batch.

    Args:
        blocks: a block, or several.
        batch: images a batch.
        item: bytes a number: 4 for FP32, 2 for FP16, 1 for INT8.
    """
    if not isinstance(blocks, Block):
        return sum(count_bytes(block, batch=batch, item=item) for block in blocks)
    values = sum(convolution.values for convolution in convolutions(blocks))
    return item * (batch * values + count_params(blocks))


COUNTERS: Final[dict[str, Callable[[Block], int]]] = {"params": count_params, "macs": count_macs}
"""Additive metrics that follow from a block alone."""
