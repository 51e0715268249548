"""GENet's space: the perturbations of a MasterNet of super-blocks.

Lin et al. 2020, "Neural Architecture Design for GPU-Efficient Networks" (arXiv 2006.14090),
sections 4.1, 4.2 and 5, Tables 1 and 6. A super-block repeats one kind of block (XX: two full
convolutions, BL: a bottleneck around a full one, DW: an inverted bottleneck around a depthwise
one); its first block takes the stride and the change of width.

The paper gives ranges but no steps. Taken here: widths are the multiples of 16 channels (of 8 where
the MasterNet has fewer than 64) from half to twice the MasterNet's, depths the MasterNet's -2 to +2
but at least 1. The stem and the last convolution have a width gene as well, since the published
networks differ from their MasterNet in both; GENet-light's stem (13 channels) is narrower than half
of Net1's, so it lies outside, GENet-normal and -large lie inside.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from typing import Any, Final

import numpy as np

from moga.contracts import Gene, Genome, Genomes
from moga.errors import UnknownName, UsageError
from moga.network import Block
from moga.networks.zoo import published
from moga.spaces.base import Blocks, Slot, Space
from moga.spaces.parts import check_classes, classifier, convolution

__all__ = ["MASTERS", "RESOLUTIONS", "GENetSpace"]

RESOLUTIONS: Final = (192, 224, 256)
"""Sides of the input image in pixels."""


MASTERS: Final = tuple(f"net{number}" for number in range(1, 21))
"""The 20 manual networks of Table 6."""

_RATIOS: Final = {"xx": (1.0,), "bl": (0.25, 0.5), "dw": (3.0, 6.0, 9.0)}
_KERNELS: Final = (3, 5)
_EPS: Final = 1e-5
_conv: Final = partial(convolution, norm_eps=_EPS)


class GENetSpace(Space):
    """The perturbations of one of the 20 manual networks.

    Every super-block has three genes, one group: ``block``, a (type, kernel, ratio); ``width``; and
    ``depth``. The ratio is inner width / *output* width, of DW as of BL.

    Args:
        master: the MasterNet, one of `MASTERS`; the paper's is Net1.
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
        check_classes(num_classes)
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
    def _rows(self) -> list[dict[str, Any]]:
        """The MasterNet's super-blocks with stem and last convolution, as published."""
        return list(published(f"genet_{self.master}").architecture["superblocks"])

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Resolution, the stem's width, three genes a super-block, and the head's width."""
        stem, *rows, head = self._rows
        resolutions = RESOLUTIONS if self.resolution is None else (self.resolution,)
        genes = [
            Gene("resolution", "resolution", "ordinal", resolutions),
            Gene("stem.width", "stem", "ordinal", _widths(stem["out"])),
        ]
        for number, row in enumerate(rows):
            group, depth = f"sb{number + 1}", row["repeats"]
            kinds = (row["type"],) if self.types == "master" else tuple(_RATIOS)
            blocks = tuple((t, k, r) for t in kinds for k in _KERNELS for r in _RATIOS[t])
            factors = (len(_KERNELS), len(_RATIOS[row["type"]])) if len(kinds) == 1 else ()
            depths = tuple(range(max(1, depth - 2), depth + 3))
            genes += [
                Gene(f"{group}.block", group, "categorical", blocks, factors),
                Gene(f"{group}.width", group, "ordinal", _widths(row["out"])),
                Gene(f"{group}.depth", group, "ordinal", depths),
            ]
        return (*genes, Gene("head.width", "head", "ordinal", _widths(head["out"])))

    @property
    def reference(self) -> Genome:
        """The MasterNet: kernels of 5, ratios .25 and 6 (section 5); in the middle resolution.

        The paper does not say at which resolution the manual networks run.
        """
        stem, *rows, head = self._rows
        values: list[Any] = [stem["out"]]
        for row in rows:
            values += [(row["type"], row["kernel"], row["ratio"]), row["out"], row["repeats"]]
        pairs = zip(self.genes[1:], [*values, head["out"]], strict=True)
        found = (gene.values.index(value) for gene, value in pairs)
        return ((len(self.genes[0]) - 1) // 2, *found)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The stem, two slots a super-block (its first block, and the others), and the head."""
        strides = [row["stride"] for row in self._rows[:-1]]
        slots = [self._slot("stem", ("resolution", "stem.width"), partial(_stem, strides[0]))]
        groups = ["stem", *(f"sb{number}" for number in range(1, len(strides)))]
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

    def canonical(self, genomes: Genomes) -> Genomes:
        """Give an earlier super-block as many layers as it may have: (n, genes) -> (n, genes).

        Where a super-block of stride 1 repeats the blocks of the one before it, only the sum of
        their depths counts: GENet-large's depths 5 and 4 are the same network as 6 and 3.
        """
        genomes = np.array(genomes, dtype=np.int64)
        for number, row in enumerate(self._rows[2:-1], start=2):
            if row["stride"] == 1:
                self._merge(genomes, f"sb{number - 1}", f"sb{number}")
        return genomes

    def _merge(self, genomes: Genomes, before: str, here: str) -> None:
        names = [gene.name for gene in self.genes]
        alike = np.ones(len(genomes), dtype=bool)
        for part in ("block", "width"):
            one, two = (names.index(f"{group}.{part}") for group in (before, here))
            places = {value: index for index, value in enumerate(self.genes[one].values)}
            same = np.array([places.get(value, -1) for value in self.genes[two].values])
            alike &= same[genomes[:, two]] == genomes[:, one]
        one, two = (names.index(f"{group}.depth") for group in (before, here))
        room = len(self.genes[one]) - 1 - genomes[:, one]
        moved = np.where(alike, np.minimum(room, genomes[:, two]), 0)
        genomes[:, one] += moved
        genomes[:, two] -= moved

    def _slot(self, name: str, genes: tuple[str, ...], blocks: Any) -> Slot:
        names = [gene.name for gene in self.genes]
        positions = tuple(names.index(gene) for gene in genes)
        values = tuple(self.genes[i].values for i in positions)
        return Slot(name, positions, values, blocks, side=0)  # the resolution


def _widths(channels: int) -> tuple[int, ...]:
    """Return the widths from half to twice a width, in steps of 16 or, below 64 channels, 8."""
    step = 8 if channels < 64 else 16
    return tuple(range(-(-channels // 2 // step) * step, 2 * channels + 1, step))


def _side(resolution: int, shrink: int) -> int:
    return -(-resolution // shrink)


def _stem(stride: int, resolution: int, width: int) -> Blocks:
    return ((_conv(3, width, resolution, kernel=3, stride=stride), 1),)


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
    conv = _conv(channels, width, side)
    return tuple((block, 1) for block in (conv, *classifier(width, side, num_classes)))
