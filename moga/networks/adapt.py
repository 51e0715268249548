"""Networks for another image size, number of classes or of input channels; and feature levels."""

import dataclasses

from moga.errors import UsageError
from moga.network import Block, Network

__all__ = ["FeatureLevel", "adapt", "feature_levels"]


def adapt(
    network: Network,
    *,
    resolution: int | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
) -> Network:
    """Return a network with the same weights' shapes but for what is asked to change.

    Args:
        network: any; not changed.
        resolution: side of the (square) image in pixels; None keeps it.
        num_classes: outputs of the last block, which must be linear; None keeps it.
        in_channels: channels of the image; None keeps it.

    Raises:
        UsageError: a number below 1, or classes for a network without a linear layer at its end.
        InvalidBlock: the network cannot take such an image.
    """
    for name, value in (
        ("resolution", resolution),
        ("num_classes", num_classes),
        ("in_channels", in_channels),
    ):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UsageError(f"{name} is {value!r}; give an integer of 1 or more")
    first, *rest = network.blocks
    if in_channels is not None:
        first = dataclasses.replace(first, in_channels=in_channels)
    blocks = [first, *rest]
    if num_classes is not None:
        blocks[-1] = _classifier(blocks[-1], num_classes)
    return Network(tuple(_resized(blocks, resolution)))


def _classifier(last: Block, num_classes: int) -> Block:
    if last.operation != "linear":
        raise UsageError(
            f"num_classes is {num_classes}, but the network ends with a {last.operation!r} block; "
            "only a linear layer at its end can be given another number of classes"
        )
    return dataclasses.replace(last, out_channels=num_classes)


def _resized(blocks: list[Block], resolution: int | None) -> list[Block]:
    size = (blocks[0].height, blocks[0].width)
    if resolution is None or size == (resolution, resolution):
        return blocks
    size, found = (resolution, resolution), []
    for block in blocks:
        found.append(dataclasses.replace(block, height=size[0], width=size[1]))
        size = found[-1].out_size
    return found


@dataclasses.dataclass(frozen=True)
class FeatureLevel:
    """The last image of one size inside a network, before it shrinks further.

    Args:
        index: position of the block that gives it.
        channels: its channels.
        reduction: by how much strides shrank the input's sides up to there.
    """

    index: int
    channels: int
    reduction: int


def feature_levels(network: Network) -> tuple[FeatureLevel, ...]:
    """Return one level a reduction, in order, as a detector's backbone needs them.

    The head is no feature: a 1x1 convolution right before the pooling (960 channels in
    MobileNetV3, 1280 in GPUNet) is left out, where timm's MobileNetV3 and GENet include it. Images
    that space-to-batch has split are left out too.
    """
    levels: dict[int, FeatureLevel] = {}
    reduction, images = 1, network.blocks[0].batch_factor
    for index, block in enumerate(_backbone(network)):
        grows = block.operation == "batch_to_space"
        reduction = reduction // block.stride if grows else reduction * block.stride
        if block.out_batch_factor == images:
            levels[reduction] = FeatureLevel(index, block.out_channels, reduction)
    return tuple(levels[reduction] for reduction in sorted(levels))


def _backbone(network: Network) -> tuple[Block, ...]:
    operations = [block.operation for block in network]
    ends = [operations.index(name) for name in ("pool", "linear") if name in operations]
    end = min(ends, default=len(network))
    body = network.blocks[:end]
    last = body[-1] if body else None
    head = last is not None and (last.operation, last.kernel, last.stride) == ("conv", 1, 1)
    return body[:-1] if head and last is not None and last.shortcut == "none" else body
