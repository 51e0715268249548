"""GPUNet's space: 41 integers over eight stages of convolutions, Fused-IRB and IRB.

Wang, Jin et al. 2022, "Searching the Deployable Convolution Neural Networks for GPUs" (CVPR 2022,
arXiv 2205.00841), Tables 1 and 2; blocks as in the authors' published builder. 3.6e23 genomes, not
the paper's 10^30. Stages 2 to 7 have 141,200 distinct blocks if images had one size a resolution;
the missing padding of stages 2 and 3 makes up to three sizes, and 232,921 distinct blocks in all.

What the paper leaves open, and what is taken here: the kernel (3) and the activation (swish) of
stage 0, which Table 1 lists but the 41 integers do not hold, are those of the released networks; so
is the width of the head, 1280 (Table 1 prints 1792). GPUNet-0 and GPUNet-1 lie outside Table 1's
filters; GPUNet-2 lies inside.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from typing import Any, Final, NamedTuple

import numpy as np

from moga.contracts import Gene, Genomes
from moga.errors import UsageError
from moga.network import Block
from moga.networks.families import make_divisible
from moga.spaces.base import Blocks, Derived, Slot, Space
from moga.spaces.parts import check_classes, classifier, convolution

__all__ = ["RESOLUTIONS", "GPUNetSpace"]

RESOLUTIONS: Final = tuple(range(224, 513, 32))
"""Sides of the input image in pixels, Table 1."""


class _Stage(NamedTuple):
    operation: str
    stride: int
    filters: tuple[int, ...]
    layers: tuple[int, ...]


_STEM_FILTERS: Final = (24, 32)
_KERNELS: Final = (3, 5)
_ACTIVATIONS: Final = ("relu", "swish")
_EXPANSIONS: Final = (2, 3, 4, 5, 6)
_STAGES: Final = {
    2: _Stage("fused_mbconv", 2, (32, 48, 64, 80), tuple(range(1, 9))),
    3: _Stage("fused_mbconv", 2, (48, 64, 80, 96, 112), tuple(range(1, 9))),
    4: _Stage("mbconv", 2, tuple(range(96, 193, 16)), tuple(range(1, 11))),
    5: _Stage("mbconv", 1, tuple(range(112, 225, 16)), tuple(range(16))),
    6: _Stage("mbconv", 2, tuple(range(128, 417, 32)), tuple(range(1, 16))),
    7: _Stage("mbconv", 1, tuple(range(256, 833, 64)), tuple(range(16))),
}
_OPTIONAL: Final = (5, 7)
_PARTS: Final = ("filters", "kernel", "expansion", "se", "activation", "layers")
_HEAD: Final = 1280
_EPS: Final = 1e-3
_SMALLEST: Final = 32


class GPUNetSpace(Space):
    """The eight-stage space of GPUNet.

    Args:
        resolution: side of the (square) input image in pixels; None: a gene over `RESOLUTIONS`, as
            in the paper. Given, the gene has this one value.
        num_classes: classes of the last layer.

    Raises:
        UsageError: a value that makes no network.

    Example:
        >>> space = GPUNetSpace()
        >>> len(space.genes), f"{space.size:.1e}"
        (41, '3.6e+23')
    """

    name = "gpunet"

    def __init__(self, resolution: int | None = None, num_classes: int = 1000) -> None:
        if resolution is not None and (not isinstance(resolution, int) or resolution < _SMALLEST):
            raise UsageError(
                f"resolution is {resolution!r}; give {_SMALLEST} pixels or more, or None for a gene"
            )
        check_classes(num_classes)
        self.resolution, self.num_classes = resolution, num_classes

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Resolution and classes."""
        return {"resolution": self.resolution, "num_classes": self.num_classes}

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The 41 integers in the order of Table 2."""
        resolutions = RESOLUTIONS if self.resolution is None else (self.resolution,)
        genes = [
            Gene("resolution", "resolution", "ordinal", resolutions),
            Gene("s0.filters", "s0", "ordinal", _STEM_FILTERS),
            Gene("s1.kernel", "s1", "ordinal", _KERNELS),
            Gene("s1.activation", "s1", "categorical", _ACTIVATIONS),
            Gene("s1.layers", "s1", "ordinal", (1, 2, 3, 4)),
        ]
        for number, stage in _STAGES.items():
            group = f"s{number}"
            genes += [
                Gene(f"{group}.filters", group, "ordinal", stage.filters),
                Gene(f"{group}.kernel", group, "ordinal", _KERNELS),
                Gene(f"{group}.expansion", group, "ordinal", _EXPANSIONS),
                Gene(f"{group}.se", group, "categorical", (False, True)),
                Gene(f"{group}.activation", group, "categorical", _ACTIVATIONS),
                Gene(f"{group}.layers", group, "ordinal", stage.layers),
            ]
        return tuple(genes)

    @cached_property
    def _position(self) -> Mapping[str, int]:
        return {gene.name: position for position, gene in enumerate(self.genes)}

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Stem, stage 1, two slots a stage (its first block, and the others), and the head."""
        base = ("resolution", "s0.filters")
        slots = [
            self._slot("stem", base, _stem),
            self._slot("s1", (*base, "s1.kernel", "s1.activation", "s1.layers"), _convolutions),
        ]
        for number in _STAGES:
            slots += self._stage_slots(number)
        head = partial(_head, num_classes=self.num_classes)
        read = (self._width_after(7), self._side_before(7))
        slots.append(self._slot("head", (), head, read, side=1))
        return tuple(slots)

    def _slot(
        self,
        name: str,
        genes: tuple[str, ...],
        blocks: Any,
        derived: tuple[Derived, ...] = (),
        *,
        side: int = 0,
    ) -> Slot:
        positions = tuple(self._position[gene] for gene in genes)
        return Slot(name, positions, self._values(positions), blocks, derived, side)

    def _values(self, positions: tuple[int, ...]) -> tuple[tuple[Any, ...], ...]:
        return tuple(self.genes[position].values for position in positions)

    def _derived(self, name: str, genes: tuple[str, ...], function: Any) -> Derived:
        positions = tuple(self._position[gene] for gene in genes)
        return Derived.of(name, positions, self._values(positions), function)

    def _stage_slots(self, number: int) -> list[Slot]:
        stage = _STAGES[number]
        genes = tuple(f"s{number}.{part}" for part in _PARTS)
        before, after = self._side_before(number), self._side_before(number + stage.stride - 1)
        first = partial(_first, operation=stage.operation, stride=stage.stride)
        derived = [self._width_after(number - 1), before]
        if number in _OPTIONAL:
            derived.append(self._derived(f"s{number} present", (genes[-1],), bool))
        others = partial(_others, operation=stage.operation)
        return [
            self._slot(f"s{number}.first", genes[:-1], first, tuple(derived), side=len(genes)),
            self._slot(f"s{number}.others", genes, others, (after,), side=len(genes)),
        ]

    @cached_property
    def _widths(self) -> Mapping[int, Derived]:
        widths = {}
        for number in range(1, 8):
            here = (f"s{number if number > 1 else 0}.filters",)
            if number in _OPTIONAL:
                read = (f"s{number - 1}.filters", *here, f"s{number}.layers")
                widths[number] = self._derived(f"width after s{number}", read, _passed_on)
            else:
                widths[number] = self._derived(f"width after s{number}", here, int)
        return widths

    def _width_after(self, number: int) -> Derived:
        """Channels that leave a stage: an absent one passes on what entered."""
        return self._widths[number]

    @cached_property
    def _sides(self) -> Mapping[int, Derived]:
        kernels = ("s2.kernel", "s3.kernel")
        sides = {}
        for number in (2, 3, 4, 5, 7):
            read = ("resolution", *kernels[: max(0, number - 2)])
            sides[number] = self._derived(
                f"side before s{number}", read, partial(_side_before, number)
            )
        return {**sides, 6: sides[5]}

    def _side_before(self, number: int) -> Derived:
        """Side of the image that enters a stage; it shrinks by the zero padding of stages 2, 3."""
        return self._sides[number]

    def canonical(self, genomes: Genomes) -> Genomes:
        """Set the genes of an absent stage to 0: (n, genes) -> (n, genes).

        Where stage 5 or 7 repeats the blocks of the stage before it, that one takes as many of the
        layers as it may have: the network is the same.
        """
        genomes = np.array(genomes, dtype=np.int64)
        for number in _OPTIONAL:
            first, last = (self._position[f"s{number}.{part}"] for part in ("filters", "layers"))
            self._merge(genomes, number)
            genomes[genomes[:, last] == 0, first:last] = 0
        return genomes

    def _merge(self, genomes: Genomes, number: int) -> None:
        """Move layers of a stage into the one before it where their blocks are the same."""
        here, before = (
            [self._position[f"s{n}.{part}"] for part in _PARTS] for n in (number, number - 1)
        )
        widths = [np.array(self.genes[part[0]].values) for part in (here, before)]
        alike = widths[0][genomes[:, here[0]]] == widths[1][genomes[:, before[0]]]
        alike &= (genomes[:, here[1:-1]] == genomes[:, before[1:-1]]).all(axis=1)
        room = len(self.genes[before[-1]]) - 1 - genomes[:, before[-1]]
        moved = np.where(alike, np.minimum(room, genomes[:, here[-1]]), 0)
        genomes[:, before[-1]] += moved
        genomes[:, here[-1]] -= moved


def _passed_on(entering: int, filters: int, layers: int) -> int:
    return filters if layers else entering


def _side_before(number: int, resolution: int, *kernels: int) -> int:
    """Side of the image that enters stage 2, 3, 4, 5 or 7."""
    side = -(-resolution // 2)
    for kernel in kernels:
        side = (side - kernel) // 2 + 1
    return -(-side // {5: 2, 7: 4}.get(number, 1))


def _stem(resolution: int, filters: int) -> Blocks:
    stem = Block(
        operation="conv",
        in_channels=3,
        out_channels=filters,
        height=resolution,
        width=resolution,
        kernel=3,
        stride=2,
        activation="swish",
        norm_eps=_EPS,
    )
    return ((stem, 1),)


def _convolutions(
    resolution: int, filters: int, kernel: int, activation: str, layers: int
) -> Blocks:
    side = -(-resolution // 2)
    block = Block(
        operation="conv",
        in_channels=filters,
        out_channels=filters,
        height=side,
        width=side,
        kernel=kernel,
        activation=activation,
        norm_eps=_EPS,
    )
    return ((block, layers),)


@lru_cache(maxsize=4096)  # slots ask for a block again for each number of layers
def _block(
    operation: str, stride: int, channels: int, side: int, choices: tuple[Any, ...]
) -> Block:
    out, kernel, expansion, se, activation = choices
    hidden = make_divisible(channels * expansion)
    return Block(
        operation=operation,
        in_channels=channels,
        out_channels=out,
        height=side,
        width=side,
        kernel=kernel,
        stride=stride,
        hidden_channels=hidden,
        se_channels=round(hidden * 0.25 / expansion) if se else 0,
        activation=activation,
        padding="zero" if operation == "fused_mbconv" and stride == 2 else "symmetric",
        norm_eps=_EPS,
        shortcut="identity" if stride == 1 and channels == out else "none",
    )


def _first(*values: Any, operation: str, stride: int) -> Blocks:
    """Return a stage's first block, from the genes but layers, width, side and whether it is."""
    channels, side, *present = values[5:]
    if not all(present):
        return ()
    return ((_block(operation, stride, channels, side, values[:5]), 1),)


def _others(*values: Any, operation: str) -> Blocks:
    """Return a stage's blocks but the first, from all its genes and the side."""
    layers, side = values[5:]
    if layers <= 1:
        return ()
    return ((_block(operation, 1, values[0], side, values[:5]), layers - 1),)


def _head(channels: int, side: int, *, num_classes: int) -> Blocks:
    conv = convolution(channels, _HEAD, side, norm_eps=_EPS)
    return tuple((block, 1) for block in (conv, *classifier(_HEAD, side, num_classes)))
