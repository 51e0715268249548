"""FBNet's space: nine operations in each of 22 layers on a fixed skeleton.

Wu et al. 2019, "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search" (CVPR 2019, arXiv 1812.03443), Tables 1 and 2. 9^22, about 1e21 genomes.

"skip" passes its input on where a layer keeps width and size. Where a layer changes them nothing
can be passed on, and the paper does not say what happens; as in the authors' code, it is then a 1x1
convolution with the layer's stride, norm and ReLU. The last convolution is 1984 wide as in the
authors' code for 224 pixels.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Final

import numpy as np

from moga.contracts import Gene, Genomes
from moga.network import Block
from moga.spaces.base import Blocks, Slot, Space
from moga.spaces.parts import check_classes, check_resolution, classifier, convolution, fixed

__all__ = ["OPERATIONS", "FBNetSpace"]

OPERATIONS: Final = (
    *("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6"),
    *("k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip"),
)
"""The nine operations of Table 2; k: kernel, e: expansion, g: groups of both 1x1 convolutions."""

_MEANING: Final = {
    name: (int(name[1]), int(name[4]), 2 if name.endswith("g2") else 1) for name in OPERATIONS[:-1]
}
_STAGES: Final = (
    *((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2)),
    *((112, 4, 1), (184, 4, 2), (352, 1, 1)),
)
"""(output channels, layers, stride of the first layer), Table 1."""
_STEM: Final = 16
_HEAD: Final = 1984
_SMALL_HEAD: Final = 1504
_FULL_STRIDE_FROM: Final = 64
_EPS: Final = 1e-5
_conv: Final = partial(convolution, norm_eps=_EPS)


class FBNetSpace(Space):
    """The 22-layer space of FBNet.

    Args:
        resolution: side of the (square) input image in pixels; the paper's is 224. Below 64 the
            first convolution and the second stage have stride 1 and the head is 1504 wide: the
            setting for 32 pixels under which HW-NAS-Bench (Li et al. 2021) measured this space.
        num_classes: classes of the last layer.

    Raises:
        UsageError: a value that makes no network.

    Example:
        >>> space = FBNetSpace()
        >>> space.size == 9**22
        True
    """

    name = "fbnet"

    def __init__(self, resolution: int = 224, num_classes: int = 1000) -> None:
        self.resolution = check_resolution(resolution)
        self.num_classes = check_classes(num_classes)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Resolution and classes."""
        return {"resolution": self.resolution, "num_classes": self.num_classes}

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One gene a layer, over `OPERATIONS`."""
        count = sum(layers for _, layers, _ in _STAGES)
        names = [f"layer_{i}" for i in range(count)]
        return tuple(Gene(name, name, "categorical", OPERATIONS) for name in names)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The stem, 22 layers, and the head."""
        small = self.resolution < _FULL_STRIDE_FROM
        stem = _conv(3, _STEM, self.resolution, kernel=3, stride=1 if small else 2)
        slots = [Slot("stem", (), (), partial(fixed, ((stem, 1),)))]
        channels, side = _STEM, stem.out_size[0]
        for number, (out, layers, step) in enumerate(_STAGES):
            for layer in range(layers):
                stride = 1 if layer or (small and number == 1) else step
                blocks = partial(_layer, channels=channels, out=out, side=side, stride=stride)
                index = len(slots) - 1
                slots.append(Slot(f"layer_{index}", (index,), (OPERATIONS,), blocks))
                channels, side = out, -(-side // stride)
        wide = _SMALL_HEAD if small else _HEAD
        head = _head(channels, wide, side, self.num_classes)
        return (*slots, Slot("head", (), (), partial(fixed, head)))

    def canonical(self, genomes: Genomes) -> Genomes:
        """Move skips behind the other operations of a stage: (n, genes) -> (n, genes).

        Layers of a stage but its first are alike, so that a skip leaves the same network wherever
        it stands among them.
        """
        genomes = np.array(genomes, dtype=np.int64)
        skip = OPERATIONS.index("skip")
        start = 0
        for _, layers, _ in _STAGES:
            alike = genomes[:, start + 1 : start + layers]
            order = np.argsort(alike == skip, axis=1, kind="stable")
            genomes[:, start + 1 : start + layers] = np.take_along_axis(alike, order, axis=1)
            start += layers
        return genomes


def _layer(operation: str, *, channels: int, out: int, side: int, stride: int) -> Blocks:
    same = stride == 1 and channels == out
    if operation == "skip":
        return () if same else ((_conv(channels, out, side, stride=stride), 1),)
    kernel, expansion, groups = _MEANING[operation]
    block = Block(
        operation="mbconv",
        in_channels=channels,
        out_channels=out,
        height=side,
        width=side,
        kernel=kernel,
        stride=stride,
        hidden_channels=channels * expansion,
        groups=groups,
        activation="relu",
        norm_eps=_EPS,
        shortcut="identity" if same else "none",
    )
    return ((block, 1),)


def _head(channels: int, wide: int, side: int, num_classes: int) -> Blocks:
    conv = _conv(channels, wide, side)
    return tuple((block, 1) for block in (conv, *classifier(wide, side, num_classes)))
