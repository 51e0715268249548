"""GENet's space: the perturbations of a MasterNet of super-blocks.

Lin et al. 2020, "Neural Architecture Design for GPU-Efficient Networks" (arXiv 2006.14090), sections
4.1, 4.2 and 5, Tables 1 and 6. A super-block repeats one kind of block (XX: two full convolutions,
BL: a bottleneck around a full one, DW: an inverted bottleneck around a depthwise one); its first
block takes the stride and the change of width.

The paper gives ranges but no steps. Taken here: widths are the multiples of 16 channels (of 8 where
the MasterNet has fewer than 64) from half to twice the MasterNet's, depths the MasterNet's -2 to +2
but at least 1. The stem and the last convolution have a width gene as well, since the published
networks differ from their MasterNet in both; GENet-light's stem (13 channels) is narrower than half
of Net1's, so it lies outside, GENet-normal and -large lie inside.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

from moga.contracts import Gene, Genome
from moga.errors import UnknownName, UsageError
from moga.network import Block
from moga.spaces.base import Blocks, Slot, Space

__all__ = ["MASTERS", "RESOLUTIONS", "GENetSpace"]

RESOLUTIONS: Final = (192, 224, 256)
"""Sides of the input image in pixels."""


class _Master(NamedTuple):
    types: str
    depths: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]


_LATE = (2, 2, 2, 2, 2, 1)  # stride lists of Nets 2, 5, 8, 10, 15 by analogy: the source lacks one
_EARLY = (2, 2, 2, 2, 1, 2)
_FIVE = (2, 2, 2, 2, 2)
MASTERS: Final[Mapping[str, _Master]] = {
    "net1": _Master("xx xx bl dw dw", (1, 4, 8, 4, 2), (32, 64, 96, 512, 320, 320, 1280), _LATE),
    "net2": _Master("xx xx dw dw dw", (1, 4, 8, 4, 2), (32, 48, 64, 160, 320, 320, 1280), _LATE),
    "net3": _Master("xx xx dw dw", (1, 4, 8, 6), (32, 48, 64, 160, 320, 1280), _FIVE),
    "net4": _Master("xx bl bl dw", (1, 4, 8, 6), (32, 64, 256, 512, 320, 1280), _FIVE),
    "net5": _Master("xx bl dw dw dw", (1, 4, 8, 4, 2), (32, 32, 256, 144, 288, 288, 1280), _LATE),
    "net6": _Master("xx xx bl dw", (1, 4, 8, 6), (32, 64, 96, 512, 320, 1280), _FIVE),
    "net7": _Master("xx bl dw dw", (1, 4, 8, 6), (32, 32, 256, 144, 288, 1280), _FIVE),
    "net8": _Master("dw dw dw dw dw", (1, 4, 8, 4, 2), (32, 24, 64, 128, 256, 256, 1280), _LATE),
    "net9": _Master("xx xx dw dw dw", (1, 4, 4, 4, 4), (32, 48, 64, 160, 160, 320, 1280), _EARLY),
    "net10": _Master("dw dw dw dw", (1, 4, 8, 6), (32, 24, 64, 128, 256, 1280), _FIVE),
    "net11": _Master("xx xx dw dw dw", (1, 4, 6, 2, 4), (32, 48, 64, 160, 160, 320, 1280), _EARLY),
    "net12": _Master("xx xx bl bl dw", (1, 4, 6, 2, 4), (32, 64, 96, 512, 512, 320, 1280), _EARLY),
    "net13": _Master("xx xx bl bl dw", (1, 4, 4, 4, 4), (32, 64, 96, 512, 512, 320, 1280), _EARLY),
    "net14": _Master("xx bl dw dw dw", (1, 4, 6, 2, 4), (32, 32, 256, 144, 144, 288, 1280), _EARLY),
    "net15": _Master("xx xx bl bl bl", (1, 4, 8, 4, 2), (32, 64, 96, 512, 1024, 1024, 1280), _LATE),
    "net16": _Master("dw dw dw dw dw", (1, 4, 6, 2, 4), (32, 24, 64, 128, 128, 256, 1280), _EARLY),
    "net17": _Master("xx bl bl bl", (1, 4, 8, 6), (32, 64, 256, 512, 1024, 1280), _FIVE),
    "net18": _Master("xx xx bl bl bl", (1, 4, 6, 2, 4), (32, 64, 96, 512, 512, 1024, 1280), _EARLY),
    "net19": _Master("xx xx bl bl", (1, 4, 8, 6), (32, 64, 96, 512, 1024, 1280), _FIVE),
    "net20": _Master("xx xx bl bl bl", (1, 4, 4, 4, 4), (32, 64, 96, 512, 512, 1024, 1280), _EARLY),
}
"""The 20 manual networks of Table 6: types and depths of the super-blocks, channels from the stem to
the last convolution, and strides of the stem and the super-blocks."""

_RATIOS: Final = {"xx": (1.0,), "bl": (0.25, 0.5), "dw": (3.0, 6.0, 9.0)}
_MASTER_RATIO: Final = {"xx": 1.0, "bl": 0.25, "dw": 6.0}
_KERNELS: Final = (3, 5)
_MASTER_KERNEL: Final = 5
_EPS: Final = 1e-5


class GENetSpace(Space):
    """The perturbations of one of the 20 manual networks.

    Every super-block has three genes, one group: ``block``, a (type, kernel, ratio); ``width``; and
    ``depth``. The ratio is inner width / *output* width, of DW as of BL.

    Args:
        master: the MasterNet, a key of `MASTERS`; the paper's is Net1.
        types: "master" keeps the type of each super-block; "all" lets each be any (section 4.2
            perturbs the type as well, the published networks keep Net1's).
        resolution: side of the (square) input image in pixels; None: a gene over `RESOLUTIONS`, the
            last thing that the paper chooses. Given, the gene has this one value.
        num_classes: classes of the last layer.

    Raises:
        UnknownName: no such MasterNet.
        UsageError: a value that makes no network.

    Example:
        >>> space = GENetSpace()
        >>> [block.operation for block in space.decode(space.reference)][1:7]
        ['xx', 'xx', 'xx', 'xx', 'xx', 'bl']
    """

    name = "genet"

    def __init__(
        self,
        master: str = "net1",
        types: str = "master",
        resolution: int | None = None,
        num_classes: int = 1000,
    ) -> None:
        if str(master).lower() not in MASTERS:
            raise UnknownName("MasterNet", str(master), MASTERS)
        if types not in ("master", "all"):
            raise UsageError(f"types is {types!r}; give 'master' or 'all'")
        if resolution is not None and (not isinstance(resolution, int) or resolution < 8):
            raise UsageError(f"resolution is {resolution!r}; give 8 pixels or more, or None")
        if not isinstance(num_classes, int) or num_classes < 1:
            raise UsageError(f"num_classes is {num_classes!r}; give 1 or more")
        self.master, self.types = str(master).lower(), types
        self.resolution, self.num_classes = resolution, num_classes

    @property
    def arguments(self) -> Mapping[str, Any]:
        """MasterNet, types, resolution and classes."""
        return {
            "master": self.master,
            "types": self.types,
            "resolution": self.resolution,
            "num_classes": self.num_classes,
        }

    @cached_property
    def _kinds(self) -> list[str]:
        return MASTERS[self.master].types.split()

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Resolution, the stem's width, three genes a super-block, and the head's width."""
        net = MASTERS[self.master]
        resolutions = RESOLUTIONS if self.resolution is None else (self.resolution,)
        genes = [
            Gene("resolution", "resolution", "ordinal", resolutions),
            Gene("stem.width", "stem", "ordinal", _widths(net.channels[0])),
        ]
        for number, kind in enumerate(self._kinds):
            group = f"sb{number + 1}"
            kinds = (kind,) if self.types == "master" else tuple(_RATIOS)
            blocks = tuple((t, k, r) for t in kinds for k in _KERNELS for r in _RATIOS[t])
            factors = (len(_KERNELS), len(_RATIOS[kind])) if self.types == "master" else ()
            depth = net.depths[number]
            depths = tuple(range(max(1, depth - 2), depth + 3))
            genes += [
                Gene(f"{group}.block", group, "categorical", blocks, factors),
                Gene(f"{group}.width", group, "ordinal", _widths(net.channels[number + 1])),
                Gene(f"{group}.depth", group, "ordinal", depths),
            ]
        return (*genes, Gene("head.width", "head", "ordinal", _widths(net.channels[-1])))

    @property
    def reference(self) -> Genome:
        """The MasterNet: kernels of 5, ratios .25 and 6 (section 5); in the middle resolution.

        The paper does not say at which resolution the manual networks run.
        """
        net = MASTERS[self.master]
        values: list[Any] = [net.channels[0]]
        for number, kind in enumerate(self._kinds):
            block = (kind, _MASTER_KERNEL, _MASTER_RATIO[kind])
            values += [block, net.channels[number + 1], net.depths[number]]
        values.append(net.channels[-1])
        found = (gene.values.index(v) for gene, v in zip(self.genes[1:], values, strict=True))
        return ((len(self.genes[0]) - 1) // 2, *found)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The stem, two slots a super-block (its first block, and the others), and the head."""
        strides = MASTERS[self.master].strides
        slots = [self._slot("stem", ("resolution", "stem.width"), partial(_stem, strides[0]))]
        groups = ["stem", *(f"sb{number + 1}" for number in range(len(self._kinds)))]
        shrink = strides[0]
        for (before, group), stride in zip(pairwise(groups), strides[1:], strict=True):
            read = ("resolution", f"{group}.block", f"{group}.width")
            first = partial(_first, shrink=shrink, stride=stride)
            slots.append(self._slot(f"{group}.first", (*read, f"{before}.width"), first))
            shrink *= stride
            others = partial(_others, shrink=shrink)
            slots.append(self._slot(f"{group}.others", (*read, f"{group}.depth"), others))
        read = ("resolution", f"{groups[-1]}.width", "head.width")
        head = partial(_head, shrink=shrink, num_classes=self.num_classes)
        return (*slots, self._slot("head", read, head))

    def _slot(self, name: str, genes: tuple[str, ...], blocks: Any) -> Slot:
        names = [gene.name for gene in self.genes]
        positions = tuple(names.index(gene) for gene in genes)
        return Slot(name, positions, tuple(self.genes[i].values for i in positions), blocks)


def _widths(channels: int) -> tuple[int, ...]:
    """Return the widths from half to twice a width, in steps of 16 or, below 64 channels, 8."""
    step = 8 if channels < 64 else 16
    return tuple(range(-(-channels // 2 // step) * step, 2 * channels + 1, step))


def _side(resolution: int, shrink: int) -> int:
    return -(-resolution // shrink)


def _conv(channels: int, out: int, side: int, kernel: int, stride: int) -> Block:
    return Block(
        operation="conv",
        in_channels=channels,
        out_channels=out,
        height=side,
        width=side,
        kernel=kernel,
        stride=stride,
        activation="relu",
        norm_eps=_EPS,
    )


def _stem(stride: int, resolution: int, width: int) -> Blocks:
    return ((_conv(3, width, resolution, 3, stride), 1),)


@lru_cache(maxsize=4096)  # slots ask for a block again for each depth
def _block(kind: tuple[str, int, float], channels: int, out: int, side: int, stride: int) -> Block:
    operation, kernel, ratio = kind
    return Block(
        operation=operation,
        in_channels=channels,
        out_channels=out,
        height=side,
        width=side,
        kernel=kernel,
        stride=stride,
        hidden_channels=round(out * ratio),
        activation="relu",
        norm_eps=_EPS,
        shortcut="identity" if stride == 1 and channels == out else "conv",
    )


def _first(
    resolution: int,
    kind: tuple[str, int, float],
    width: int,
    channels: int,
    *,
    shrink: int,
    stride: int,
) -> Blocks:
    return ((_block(kind, channels, width, _side(resolution, shrink), stride), 1),)


def _others(
    resolution: int, kind: tuple[str, int, float], width: int, depth: int, *, shrink: int
) -> Blocks:
    if depth == 1:
        return ()
    return ((_block(kind, width, width, _side(resolution, shrink), 1), depth - 1),)


def _head(resolution: int, channels: int, width: int, *, shrink: int, num_classes: int) -> Blocks:
    side = _side(resolution, shrink)
    conv = _conv(channels, width, side, 1, 1)
    pool = Block(operation="pool", in_channels=width, out_channels=width, height=side, width=side)
    linear = Block(
        operation="linear",
        in_channels=width,
        out_channels=num_classes,
        height=1,
        width=1,
        bias=True,
    )
    return tuple((block, 1) for block in (conv, pool, linear))
