"""The operations of blocks and networks, as a framework runs them one by one. No torch.

An `Operation` is one call of a framework: a convolution, a norm, an activation, an addition. What
an engine makes of them (which it fuses, which it runs as several kernels) is the engine's matter:
`moga.devices.kernels`. `moga.networks.watch` gives the same list for any torch module.

A channel shuffle counts as one copy, NAS-Bench-201's "none" as one element-wise operation.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from moga.network import Block
from moga.networks.count import Convolution, convolutions, stacked_convolutions
from moga.networks.stack import BlockStack

__all__ = ["KINDS", "Operation", "operations", "stacked_operations"]

KINDS: Final = (
    "conv",  # a convolution or linear layer
    "bias",  # the addition of a convolution's bias
    "norm",  # batch norm
    "relu",  # ReLU, ReLU6, clamps
    "swish",
    "hswish",
    "sigmoid",
    "hard_sigmoid",
    "add",  # two tensors of one shape
    "scale",  # a tensor times one number a channel: squeeze-and-excitation's gate
    "reduce",  # global pooling
    "window",  # local pooling
    "copy",  # padding, concatenation, shuffles, space-to-batch
    "other",  # anything else that goes element by element
)
"""Kinds of operations."""


class Operation(NamedTuple):
    """One operation, for one input image.

    Args:
        kind: one of `KINDS`.
        read: numbers read, but for weights.
        written: numbers written.
        weights: numbers read once a batch.
        macs: multiply-adds.
        positions: pixels written, of all images that stand for one.
        channels: channels written.
        groups: groups of channels of a convolution.
    """

    kind: str
    read: int
    written: int
    weights: int = 0
    macs: int = 0
    positions: int = 0
    channels: int = 0
    groups: int = 1


_ACTIVATION_KINDS: Final = {"relu6": "relu"}


@lru_cache(maxsize=1 << 18)
def operations(block: Block) -> tuple[Operation, ...]:
    """Return the operations of a block, in the order in which its torch module runs them."""
    return tuple(_PARTS[block.operation](block, convolutions(block)))


def stacked_operations(stack: BlockStack) -> tuple[Operation, ...]:
    """Return the operations of a stack, in order: numbers are arrays where blocks differ."""
    return tuple(_PARTS[stack.operation](stack, stacked_convolutions(stack)))


def _activate(kind: str, values: int) -> Iterator[Operation]:
    if kind != "none":
        yield Operation(_ACTIVATION_KINDS.get(kind, kind), values, values)


def _convolve(
    block: Block, conv: Convolution, activation: str, *, padded: bool = False
) -> Iterator[Operation]:
    """One of the block's convolutions with what follows it: bias, norm and activation."""
    positions = conv.out_size[0] * conv.out_size[1] * conv.images
    read = conv.in_channels * conv.in_size[0] * conv.in_size[1] * conv.images
    out = conv.out_channels * positions
    weights = conv.out_channels * (conv.in_channels // conv.groups) * conv.kernel**2
    if padded and _pads(block):
        wide = conv.in_channels * conv.images * _padded_pixels(block)
        yield Operation("copy", read, wide)
        read = wide
    yield Operation(
        "conv", read, out, weights, conv.macs, positions, conv.out_channels, conv.groups
    )
    if conv.bias and block.operation != "linear":  # a linear layer's product adds it itself
        yield Operation("bias", out, out, conv.out_channels)
    if conv.norm:
        yield Operation("norm", out, out, 2 * conv.out_channels)
    yield from _activate(activation, out)


def _pads(block: Block) -> bool:
    """Whether padding is a copy of its own.

    TensorFlow's is asymmetric where a stride or an even kernel has it so, which torch's
    convolutions are not able to do.
    """
    return block.padding == "same" and (block.stride > 1 or block.kernel % 2 == 0)


def _padded_pixels(block: Block) -> int:
    """Return the pixels of an image after such a padding."""
    rows, columns = (
        side + beyond * (beyond > 0)
        for side, out in zip((block.height, block.width), block.out_size, strict=True)
        for beyond in [(out - 1) * block.stride + block.kernel - side]
    )
    return rows * columns


def _excite(block: Block, convs: Sequence[Convolution], channels: int) -> Iterator[Operation]:
    if not convs:
        return
    reduction, expansion = convs
    positions = block.out_size[0] * block.out_size[1] * block.batch_factor
    gates, values = channels * block.batch_factor, channels * positions
    yield Operation("reduce", values, gates)
    yield from _convolve(block, reduction, block.se_activation or block.activation)
    yield from _convolve(block, expansion, block.se_gate)
    yield Operation("scale", values + gates, values)


def _leaving(block: Block) -> int:
    """Numbers that leave a block for one input image."""
    rows, columns = block.out_size
    return block.out_channels * rows * columns * block.out_batch_factor


def _added(block: Block) -> Iterator[Operation]:
    if block.shortcut != "none":
        yield Operation("add", 2 * _leaving(block), _leaving(block))


def _conv(block: Block, convs: Sequence[Convolution]) -> Iterator[Operation]:
    yield from _convolve(block, convs[0], block.activation, padded=True)
    yield from _added(block)


def _inverted(block: Block, convs: Sequence[Convolution]) -> Iterator[Operation]:
    """mbconv, fused_mbconv and dsconv: expansion, spatial convolution, SE, projection."""
    hidden = block.in_channels if block.operation == "dsconv" else block.hidden_channels
    if block.operation == "mbconv":
        yield from _convolve(block, convs[0], block.activation)
        if block.groups > 1:
            values = hidden * block.height * block.width * block.batch_factor
            yield Operation("copy", values, values)
        convs = convs[1:]
    spatial, *excitation, projection = convs
    yield from _convolve(block, spatial, block.activation, padded=True)
    yield from _excite(block, excitation, hidden)
    yield from _convolve(block, projection, "none")
    yield from _added(block)


def _genet(block: Block, convs: Sequence[Convolution]) -> Iterator[Operation]:
    spatial = 0 if block.operation == "xx" else 1
    last = spatial + 1
    if spatial:
        yield from _convolve(block, convs[0], block.activation)
    yield from _convolve(block, convs[spatial], block.activation, padded=True)
    yield from _convolve(block, convs[last], "none")
    if block.shortcut == "conv":
        yield from _convolve(block, convs[last + 1], "none")
    yield from _added(block)
    yield from _activate(block.activation, _leaving(block))


def _reshape(block: Block, _convs: Sequence[Convolution]) -> Iterator[Operation]:
    values = _leaving(block)
    yield Operation("copy", values, values)


def _cell201(block: Block, convs: Sequence[Convolution]) -> Iterator[Operation]:
    values, at = _leaving(block), 0
    kinds = {"avgpool3x3": "window", "none": "other"}
    for number, edge in enumerate(block.edges):
        if edge.startswith("conv"):
            yield Operation("relu", values, values)
            yield from _convolve(block, convs[at], "none")
            at += 1
        elif edge in kinds:
            yield Operation(kinds[edge], values, values)
        if number in {2, 4, 5}:  # a node's second and third edge are added to its first
            yield Operation("add", 2 * values, values)


def _residual201(block: Block, convs: Sequence[Convolution]) -> Iterator[Operation]:
    entering = block.in_channels * block.height * block.width * block.batch_factor
    middle = _leaving(block)
    shortcut = block.shortcut == "conv"
    if shortcut:
        pooled = entering // block.stride**2
        yield Operation("window", entering, pooled)
        yield from _convolve(block, convs[2], "none")
    yield Operation("relu", entering, entering)
    yield from _convolve(block, convs[0], "none")
    yield Operation("relu", middle, middle)
    yield from _convolve(block, convs[1], "none")
    yield Operation("add", 2 * middle, middle)


def _norm_act(block: Block, _convs: Sequence[Convolution]) -> Iterator[Operation]:
    values = _leaving(block)
    yield Operation("norm", values, values, 2 * block.out_channels)
    yield from _activate(block.activation, values)


def _pool(block: Block, _convs: Sequence[Convolution]) -> Iterator[Operation]:
    values = block.in_channels * block.height * block.width * block.batch_factor
    yield Operation("reduce", values, _leaving(block))


def _linear(block: Block, convs: Sequence[Convolution]) -> Iterator[Operation]:
    yield from _convolve(block, convs[0], "none")


_PARTS: Final[dict[str, Callable[[Block, Sequence[Convolution]], Iterator[Operation]]]] = {
    "conv": _conv,
    "dsconv": _inverted,
    "mbconv": _inverted,
    "fused_mbconv": _inverted,
    "xx": _genet,
    "bl": _genet,
    "dw": _genet,
    "space_to_batch": _reshape,
    "batch_to_space": _reshape,
    "cell201": _cell201,
    "residual201": _residual201,
    "norm_act": _norm_act,
    "pool": _pool,
    "linear": _linear,
}
