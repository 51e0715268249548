"""What spaces of convolutional networks share: checks, fixed parts, the classifier."""

from moga.errors import UsageError
from moga.network import Block
from moga.spaces.base import Blocks

__all__ = [
    "check_classes",
    "check_resolution",
    "classifier",
    "convolution",
    "fixed",
    "linear",
    "pooling",
]


def check_resolution(resolution: int, smallest: int = 8) -> int:
    """Return the side of the input image after checking it.

    Raises:
        UsageError: no integer, or smaller than `smallest`.
    """
    if not isinstance(resolution, int) or resolution < smallest:
        raise UsageError(
            f"resolution is {resolution!r}; give an integer of {smallest} pixels or more"
        )
    return resolution


def check_classes(num_classes: int) -> int:
    """Return the number of classes after checking it.

    Raises:
        UsageError: no integer, or smaller than 1.
    """
    if not isinstance(num_classes, int) or num_classes < 1:
        raise UsageError(f"num_classes is {num_classes!r}; give 1 or more")
    return num_classes


def fixed(blocks: Blocks) -> Blocks:
    """Return the blocks: the function of a slot that reads no genes."""
    return blocks


def convolution(
    channels: int,
    out: int,
    side: int,
    *,
    norm_eps: float,
    kernel: int = 1,
    stride: int = 1,
    activation: str = "relu",
    padding: str = "symmetric",
) -> Block:
    """Return a convolution with norm and activation on a square image."""
    return Block(
        operation="conv",
        in_channels=channels,
        out_channels=out,
        height=side,
        width=side,
        kernel=kernel,
        stride=stride,
        activation=activation,
        padding=padding,
        norm_eps=norm_eps,
    )


def classifier(channels: int, side: int, num_classes: int) -> tuple[Block, Block]:
    """Return global average pooling and the last fully connected layer."""
    return pooling(channels, side), linear(channels, num_classes)


def pooling(channels: int, side: int) -> Block:
    """Return global average pooling of a square image."""
    return Block(
        operation="pool", in_channels=channels, out_channels=channels, height=side, width=side
    )


def linear(channels: int, num_classes: int) -> Block:
    """Return a fully connected layer with bias."""
    return Block(
        operation="linear",
        in_channels=channels,
        out_channels=num_classes,
        height=1,
        width=1,
        bias=True,
    )
