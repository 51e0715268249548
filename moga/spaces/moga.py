"""MoGA's space: 12 choices in each of 14 layers on MobileNetV3-Large's skeleton.

Chu, Zhang, Xu 2020, "MoGA: Searching Beyond MobileNetV3" (arXiv 1908.01314), Tables 1 and 2; blocks
as in the authors' published classes. 12^14, about 1.28e15 networks.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Final

from moga.contracts import Gene
from moga.errors import UsageError
from moga.network import Block
from moga.networks.families import make_divisible
from moga.spaces.base import Blocks, Slot, Space
from moga.spaces.parts import (
    check_classes,
    check_resolution,
    convolution,
    fixed,
    linear,
    pooling,
)

__all__ = ["CHOICES", "MoGASpace"]

CHOICES: Final = tuple((e, k, se) for e in (3, 6) for k in (3, 5, 7) for se in (False, True))
"""(expansion, kernel, squeeze-and-excitation), in the paper's order 0..11."""

_LAYERS: Final = (
    *((24, 2, "relu"), (24, 1, "relu")),
    *((40, 2, "relu"), (40, 1, "relu"), (40, 1, "relu")),
    *((80, 2, "hswish"), (80, 1, "hswish"), (80, 1, "hswish"), (80, 1, "hswish")),
    *((112, 1, "hswish"), (112, 1, "hswish")),
    *((160, 2, "hswish"), (160, 1, "hswish"), (160, 1, "hswish")),
)
"""(output channels, stride, activation) of the 14 searched layers at width 1."""

_EPS: Final = 1e-5
_FULL_STRIDE_FROM: Final = 32
_FULL_WIDTH_FROM: Final = 64
_SMALL_WIDTH: Final = 0.35


class MoGASpace(Space):
    """The 14-layer space of MoGA, with resolution and width of your choice.

    Args:
        resolution: side of the (square) input image in pixels; the paper's is 224.
        width: what all channel counts are multiplied with, rounded to multiples of 8 as in
            MobileNet (the paper searches at 1 only; at 1 no width changes). None: 1 from 64
            pixels on, .35 below, for small images on small machines. That too is ours.
        num_classes: classes of the last layer.
        stem_stride: stride of the first convolution: the paper's 2 or, for small images, 1.
            None: 2 from 32 pixels on, 1 below. At 32 pixels stride 1 costs 3.4 times the MACs
            (4.2 against 1.2 million at width 0.35) and 2.3 times the training time, while at
            stride 2 a supernet learns the bundled photographs well; the last three layers then
            see one pixel, where kernels of all sizes compute the same.

    Raises:
        UsageError: a value that makes no network.

    Example:
        >>> space = MoGASpace()
        >>> space.size == 12**14
        True
        >>> len(space.decode([0] * 14))
        20
    """

    name = "moga"

    def __init__(
        self,
        resolution: int = 224,
        width: float | None = None,
        num_classes: int = 1000,
        stem_stride: int | None = None,
    ) -> None:
        self.resolution = check_resolution(resolution)
        self.num_classes = check_classes(num_classes)
        if width is None:
            width = 1.0 if resolution >= _FULL_WIDTH_FROM else _SMALL_WIDTH
        if not isinstance(width, int | float) or not 0.05 <= width <= 8:
            raise UsageError(f"width is {width!r}; give a multiplier between 0.05 and 8")
        if stem_stride not in (None, 1, 2):
            raise UsageError(f"stem_stride is {stem_stride!r}; give 1, 2 or None")
        self.width = float(width)
        self.stem_stride = stem_stride or (2 if resolution >= _FULL_STRIDE_FROM else 1)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Resolution, width, classes and the stem's stride."""
        return {
            "resolution": self.resolution,
            "width": self.width,
            "num_classes": self.num_classes,
            "stem_stride": self.stem_stride,
        }

    @property
    def default_objectives(self) -> tuple[str, ...]:
        """MoGA section 4.2: weights .4, .4, .2, and *more* parameters are better."""
        return ("accuracy*.4", "latency*.4", "params:max*.2")

    @property
    def default_evaluator(self) -> str:
        """A one-shot supernet (section 4.1)."""
        return "supernet"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One gene a layer, over `CHOICES`."""
        return tuple(
            Gene(f"layer_{i}", f"layer_{i}", "categorical", CHOICES, (2, 3, 2))
            for i in range(len(_LAYERS))
        )

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The stem, 14 layers, and the head."""
        stem = self._stem()
        slots = [Slot("stem", (), (), partial(fixed, stem))]
        channels, size = stem[-1][0].out_channels, stem[-1][0].out_size[0]
        for index, (base, stride, activation) in enumerate(_LAYERS):
            out = self._scale(base)
            layer = partial(
                _layer,
                channels=channels,
                out=out,
                size=size,
                stride=stride,
                activation=activation,
            )
            slots.append(Slot(f"layer_{index}", (index,), (CHOICES,), layer))
            channels, size = out, -(-size // stride)
        slots.append(Slot("head", (), (), partial(fixed, self._head(channels, size))))
        return tuple(slots)

    def _scale(self, channels: int) -> int:
        return make_divisible(channels * self.width)

    def _stem(self) -> Blocks:
        width, first = self._scale(16), self.resolution
        conv = convolution(
            3,
            width,
            first,
            kernel=3,
            stride=self.stem_stride,
            activation="hswish",
            norm_eps=_EPS,
        )
        size = conv.out_size[0]
        separable = Block(
            operation="dsconv",
            in_channels=width,
            out_channels=width,
            height=size,
            width=size,
            kernel=3,
            activation="relu",
            norm_eps=_EPS,
        )
        return ((conv, 1), (separable, 1))

    def _head(self, channels: int, size: int) -> Blocks:
        wide, hidden = self._scale(960), self._scale(1280)
        conv = convolution(channels, wide, size, activation="hswish", norm_eps=_EPS)
        dense = Block(
            operation="conv",
            in_channels=wide,
            out_channels=hidden,
            height=1,
            width=1,
            activation="hswish",
        )
        last = linear(hidden, self.num_classes)
        return tuple((block, 1) for block in (conv, pooling(wide, size), dense, last))


def _layer(
    choice: tuple[int, int, bool],
    *,
    channels: int,
    out: int,
    size: int,
    stride: int,
    activation: str,
) -> Blocks:
    expansion, kernel, squeeze_excite = choice
    hidden = channels * expansion
    block = Block(
        operation="mbconv",
        in_channels=channels,
        out_channels=out,
        height=size,
        width=size,
        kernel=kernel,
        stride=stride,
        hidden_channels=hidden,
        se_channels=hidden // 4 if squeeze_excite else 0,
        se_gate="hard_sigmoid" if squeeze_excite else "sigmoid",
        activation=activation,
        norm_eps=_EPS,
        shortcut="identity" if stride == 1 and channels == out else "none",
    )
    return ((block, 1),)
