"""NAS-Bench-201: one operation on each of six edges of a cell, and what all 15,625 networks do.

Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search"
(arXiv 2001.00326), section 2. The table beside this package holds accuracies after 12 epochs and
latencies on 23 device settings; `data/README.md` says where they come from.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Gene, Genome, Genomes
from moga.errors import NotInSpace, UnknownName
from moga.network import CELL_OPERATIONS, Block, Network
from moga.spaces.base import Blocks, Slot, Space
from moga.spaces.parts import convolution, linear, pooling

__all__ = ["DATA", "DEVICES", "NASBench201", "load_table"]

DATA: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16": (120, 16)}
)
"""Data sets: classes, and side of the image in pixels."""

DEVICES: Final = (
    *("1080ti_1", "1080ti_32", "1080ti_256", "2080ti_1", "2080ti_256"),
    *("essential_ph_1", "eyeriss", "fpga", "gold_6226", "pixel2", "pixel3", "raspi4"),
    *("samsung_a50", "silver_4114", "silver_4210r", "titan_rtx_32", "titan_rtx_256"),
    *("titanx_1", "titanx_32", "titanx_256", "titanxp_1", "titanxp_32", "titanxp_256"),
)
"""Device settings with latencies; a GPU's suffix is its batch size, eyeriss is a simulator."""

_EDGES: Final = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_STAGES: Final = (16, 32, 64)
_CELLS_A_STAGE: Final = 5
_EPS: Final = 1e-5
_IMAGES: Final = {
    "cifar10_valid": 50_000,
    "cifar10_test": 10_000,
    "cifar100_valid": 5_000,
    "cifar100_test": 5_000,
    "imagenet16_valid": 3_000,
    "imagenet16_test": 3_000,
}
"""Images that the stored counts of correct answers are out of. CIFAR-10 has 25,000 validation
images, but the source's values are multiples of half an image."""


@lru_cache(maxsize=1)
def load_table() -> Mapping[str, NDArray[Any]]:
    """Return what is known of all networks: read-only arrays of shape (15625,), loaded once.

    Row i is the genome whose digits in base 5 are i, gene 0 slowest: `NASBench201.index`.

    Keys, for each data set of `DATA` and each device of `DEVICES`:

    - ``cifar10_valid_acc_12``, ``cifar10_test_acc_12``: top-1 accuracy in % after 12 epochs.
    - ``cifar10_params``: parameters, equal to what moga counts.
    - ``cifar10_flops``: as the benchmark counts: moga's MACs and one for each bias of the last
      layer, that is `num_classes` more.
    - ``lat_ms_pixel3``: latency in ms.
    - ``canonical_index``: row of the network that stands for all that compute the same function
      (6,466 distinct ones).
    """
    file = resources.files("moga").joinpath("data/nasbench201.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        raw = {name: stored[name] for name in stored.files}
    table = {}
    for name, values in raw.items():
        split = name.removesuffix("_correct")
        if split in _IMAGES:
            table[f"{split}_acc_12"] = 100.0 * values / _IMAGES[split]
        else:
            is_latency = name.startswith("lat_ms_")
            table[name] = values.astype(np.float64 if is_latency else np.int64)
    for values in table.values():
        values.flags.writeable = False
    return MappingProxyType(table)


class NASBench201(Space):
    """The cell space of NAS-Bench-201: six edges, five operations, 15,625 networks.

    All cells of a network are alike, so one slot reads all six genes. Measured times are far from
    additive over edges, which is a second reason to keep one slot.

    Args:
        data: the data set whose accuracies are meant; it decides classes and resolution.

    Raises:
        UnknownName: another data set.

    Example:
        >>> space = NASBench201()
        >>> space.size, len(space.decode((3, 3, 3, 3, 3, 3)))
        (15625, 21)
        >>> round(space.accuracy("valid").max(), 2)
        np.float64(84.89)
    """

    name = "nasbench201"

    def __init__(self, data: str = "cifar10") -> None:
        if data not in DATA:
            raise UnknownName("data set of nasbench201", str(data), DATA)
        self.data = data
        self.num_classes, self.resolution = DATA[data]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The data set."""
        return {"data": self.data}

    @property
    def default_objectives(self) -> tuple[str, ...]:
        """Accuracy and latency, without the 341 networks that nothing connects.

        Those guess: their accuracy is that of chance, and they are the fastest, so that they would
        stand on every front. Each other network is more than twice as accurate as chance.
        """
        return (f"accuracy>={200 / self.num_classes:.3g}", "latency")

    @property
    def default_evaluator(self) -> str:
        """The table of trained networks."""
        return "tabular"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One gene an edge, grouped by the node that the edge enters."""
        return tuple(
            Gene(f"edge_{start}_{end}", f"node_{end}", "categorical", CELL_OPERATIONS)
            for start, end in _EDGES
        )

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """One slot over all genes: the whole network."""
        values = (CELL_OPERATIONS,) * len(_EDGES)
        blocks = partial(_network, self.num_classes, self.resolution)
        return (Slot("network", tuple(range(len(_EDGES))), values, blocks),)

    def encode(self, network: Network) -> Genome:
        """Return the genome of a network, read from its first cell.

        Raises:
            NotInSpace: naming the first block that does not fit.
        """
        cell = next((block for block in network if block.operation == "cell201"), None)
        edges = cell.edges if cell else (CELL_OPERATIONS[0],) * len(_EDGES)
        genome = tuple(CELL_OPERATIONS.index(edge) for edge in edges)
        pairs = itertools.zip_longest(network, self.decode(genome))
        for index, (block, expected) in enumerate(pairs):
            if block is None:
                raise NotInSpace(
                    f"the network ends before block {index} of the space {self.spec}: "
                    f"{expected.summary}"
                )
            if expected is None:
                raise NotInSpace(
                    f"block {index} of the network is one too many for the space {self.spec}: "
                    f"{block.summary}"
                )
            if block != expected:
                raise NotInSpace(
                    f"block {index} of the network does not fit the space {self.spec}: "
                    f"{block.summary}; expected {_wanted(block, expected)}"
                )
        return genome

    def index(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return the rows of genomes in `load_table`: (n, genes) -> (n,).

        Raises:
            InvalidGenome: out of range or of the wrong length.
        """
        return np.asarray(self.slots[0].flat_index(self.validate(genomes)))

    def accuracy(self, split: Literal["valid", "test"]) -> NDArray[np.float64]:
        """Return the accuracies in % after 12 epochs on this space's data, shape (15625,).

        CIFAR-10's two splits are of differently trained networks: "valid" of those trained on half
        of the training images and tested on the other half, "test" of those trained on all. On
        the other data sets they are of the same networks, on different images (section 2.2).

        Raises:
            UnknownName: another split.
        """
        if split not in ("valid", "test"):
            raise UnknownName("split of nasbench201", str(split), ("valid", "test"))
        return load_table()[f"{self.data}_{split}_acc_12"]

    @cached_property
    def twins(self) -> NDArray[np.int64]:
        """Rows of two networks each that compute the same in another order, shape (1500, 2).

        Where nothing joins the two inner nodes, they can be exchanged: what is then timed twice is
        one network, but for which of its edges comes first.
        """
        genomes = np.stack(np.unravel_index(np.arange(self.size), self.sizes), axis=1)
        genomes = genomes[genomes[:, _EDGES.index((1, 2))] == CELL_OPERATIONS.index("none")]
        exchanged = [_EDGES.index(_exchanged(edge)) for edge in _EDGES]
        rows = np.stack([self.index(genomes), self.index(genomes[:, exchanged])], axis=1)
        return np.asarray(rows[rows[:, 0] < rows[:, 1]])

    def latency_ms(self, device: str) -> NDArray[np.float64]:
        """Return the latencies on a device in ms, shape (15625,).

        The source has one latency a device, whichever the data set.

        Raises:
            UnknownName: no such device; near names are listed.
        """
        if device not in DEVICES:
            raise UnknownName("device of nasbench201", device, DEVICES)
        return load_table()[f"lat_ms_{device}"]


def _wanted(block: Block, expected: Block) -> str:
    """Return in a few words what a block would have to be."""
    if block.summary != expected.summary:
        return expected.summary
    pairs = [
        (field.name, getattr(expected, field.name), getattr(block, field.name))
        for field in dataclasses.fields(Block)
    ]
    return ", ".join(
        f"{name} {wanted!r}, not {got!r}" for name, wanted, got in pairs if wanted != got
    )


def _exchanged(edge: tuple[int, int]) -> tuple[int, int]:
    """Return which edge one is after nodes 1 and 2 have been exchanged; 1-2 stays."""
    names = {1: 2, 2: 1}
    return edge if edge == (1, 2) else (names.get(edge[0], edge[0]), names.get(edge[1], edge[1]))


@lru_cache(maxsize=len(DATA))
def _fixed(num_classes: int, resolution: int) -> tuple[Blocks, tuple[Blocks, ...], Blocks]:
    """Return what all networks share: the stem, what precedes each stage's cells, and the head."""
    stem = convolution(3, _STAGES[0], resolution, kernel=3, activation="none", norm_eps=_EPS)
    reductions: list[Blocks] = [()]
    for stage, (before, after) in enumerate(itertools.pairwise(_STAGES)):
        block = Block(
            operation="residual201",
            in_channels=before,
            out_channels=after,
            height=resolution >> stage,
            width=resolution >> stage,
            stride=2,
            activation="relu",
            norm_eps=_EPS,
            shortcut="conv",
        )
        reductions.append(((block, 1),))
    last, side = _STAGES[-1], resolution >> (len(_STAGES) - 1)
    norm = Block(
        operation="norm_act",
        in_channels=last,
        out_channels=last,
        height=side,
        width=side,
        activation="relu",
        norm_eps=_EPS,
    )
    head = (
        norm,
        pooling(last, side),
        linear(last, num_classes),
    )
    return ((stem, 1),), tuple(reductions), tuple((block, 1) for block in head)


def _network(num_classes: int, resolution: int, *edges: str) -> Blocks:
    stem, reductions, head = _fixed(num_classes, resolution)
    blocks = [*stem]
    for stage, (width, reduction) in enumerate(zip(_STAGES, reductions, strict=True)):
        cell = Block(
            operation="cell201",
            in_channels=width,
            out_channels=width,
            height=resolution >> stage,
            width=resolution >> stage,
            activation="relu",
            norm_eps=_EPS,
            edges=edges,
        )
        blocks += [*reduction, (cell, _CELLS_A_STAGE)]
    return (*blocks, *head)
