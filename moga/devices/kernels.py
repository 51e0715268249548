"""What an engine runs for a block or a network: its kernels, with work, traffic, tiles and time.

An engine fuses some operations into the convolution before them and splits others. `Rules` say
which; those of PyTorch's eager mode, of TensorRT and of compilers such as XLA are here.

Each list of operations is fused on its own, and nothing joins across blocks: a norm or an
activation that is a block of its own stays a kernel of its own.

A kernel (`kernel_ms`) takes the smooth maximum of computing and moving data, a roofline without its
corner.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moga.errors import UnknownName
from moga.networks.operations import KINDS, Operation

__all__ = [
    "DENSE",
    "DEPTHWISE",
    "ELEMENTWISE",
    "GROUPED",
    "RULES",
    "TYPES",
    "Kernel",
    "KernelArrays",
    "Rates",
    "Rules",
    "fuse",
    "kernel_ms",
    "rules",
    "rules_of",
]

TYPES: Final = ("dense", "grouped", "depthwise", "elementwise")
"""Types of kernels: a kernel's `type` is its position here."""
DENSE, GROUPED, DEPTHWISE, ELEMENTWISE = range(4)


class Kernel(NamedTuple):
    """One kernel, for one input image.

    Args:
        type: position in `TYPES`.
        macs: multiply-adds.
        values: numbers read and written at the engine's precision.
        wide: numbers read and written by element-wise work, of two bytes under INT8 too.
        weights: numbers read once a batch.
        positions: pixels that a convolution writes.
        channels: channels that it writes, of one group.
        groups: groups of a convolution with groups that is not depthwise; 1 for others.
    """

    type: int
    macs: int
    values: int
    wide: int
    weights: int
    positions: int
    channels: int
    groups: int


@dataclasses.dataclass(frozen=True)
class Rules:
    """How an engine makes kernels of operations.

    Args:
        name: of the engine: "pytorch", "tensorrt".
        folded: kinds that join the operation before them, where that is (or has joined) a host.
        hosts: kinds that others join.
        passes: kind -> numbers moved by each of its kernels, in multiples of those that it writes;
            what is not listed runs as one kernel that reads and writes what the operation does.
        tensor_width: channels of a group from which on a grouped convolution runs like a dense
            one; 0: never.
    """

    name: str
    folded: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset({"conv"})
    passes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    tensor_width: int = 0


_TWO: Final = (2, 3)
"""Swish as two kernels: a sigmoid that reads and writes, a product that reads two tensors."""
_FOLDING: Final = frozenset({"bias", "norm", "relu", "add"})

RULES: Final[Mapping[str, Rules]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Rules("pytorch", passes={"swish": _TWO}, tensor_width=32),
            Rules(
                "tensorflow",
                frozenset({"relu", "add"}),
                frozenset({"norm"}),
                {"swish": _TWO},
                tensor_width=32,
            ),
            Rules("tensorrt", _FOLDING, passes={"swish": _TWO, "hswish": _TWO}),
            Rules("xla", frozenset(KINDS) - {"conv", "reduce", "window", "copy"}),
            Rules("mobile", frozenset({*_FOLDING, "swish", "hswish"})),
        )
    }
)
"""Engine -> its rules.

pytorch: eager, each operation a kernel of its own. tensorflow: the same, but a batch norm takes up
the addition and the ReLU after it (its ``_FusedBatchNormEx``). tensorrt: a convolution takes up
norm, ReLU and addition; activations with a sigmoid stay outside. xla: all that goes element by
element joins the convolution before it. mobile: a phone's runtime, which folds activations.
"""


_RUNNERS: Final = {
    "torch compile": "xla",
    "onnxruntime": "tensorrt",
    "tensorrt": "tensorrt",
    "trtexec": "tensorrt",
}
"""What engines call themselves in their settings -> the rules that are nearest."""


def rules(engine: str) -> Rules:
    """Return the rules of an engine.

    Raises:
        UnknownName: no such engine.
    """
    if engine not in RULES:
        raise UnknownName("engine", engine, RULES)
    return RULES[engine]


def rules_of(settings: Mapping[str, Any]) -> Rules:
    """Return the rules of an engine by its settings' `engine`; those of eager mode by default."""
    return RULES[_RUNNERS.get(settings.get("engine", ""), "pytorch")]


def fuse(operations: Iterable[Operation], rule: Rules) -> list[Kernel]:
    """Return the kernels of operations that run one after another.

    Of a stack's operations (`networks.operations.stacked_operations`), they are those of all its
    blocks: numbers are arrays where blocks differ.
    """
    kernels: list[Kernel] = []
    host = ""  # the kind of the operation that takes up what is folded; "": there is none
    for operation in operations:
        kind = operation.kind
        if host and kind in rule.folded:
            if kind == "add":  # the other addend is still read
                kernels[-1] = _with_read(kernels[-1], host, operation.written)
            continue
        if kind == "conv":
            kernels.append(_convolution(operation, rule))
        else:
            kernels.extend(_elementwise(operation, rule))
        host = kind if kind in rule.hosts else ""
    return kernels


def _with_read(kernel: Kernel, host: str, numbers: int) -> Kernel:
    if host == "conv":
        return kernel._replace(values=kernel.values + numbers)
    return kernel._replace(wide=kernel.wide + numbers)


def _convolution(operation: Operation, rule: Rules) -> Kernel:
    _, read, written, weights, macs, positions, channels, groups = operation
    width = channels // groups
    depthwise = (groups > 1) & (width == 1)
    grouped = (groups > 1) & (width > 1) & (width < (rule.tensor_width or math.inf))
    kind = DEPTHWISE * depthwise + GROUPED * grouped  # and else DENSE, which is 0
    groups = groups - (groups - 1) * depthwise
    return Kernel(kind, macs, read + written, 0, weights, positions, width, groups)


def _elementwise(operation: Operation, rule: Rules) -> list[Kernel]:
    written, weights = operation.written, operation.weights
    moved = [written * times for times in rule.passes.get(operation.kind, ())]
    moved = moved or [operation.read + written]
    return [Kernel(ELEMENTWISE, 0, 0, numbers, weights, 0, 0, 1) for numbers in moved]


@dataclasses.dataclass(frozen=True)
class KernelArrays:
    """The kernels of many owners (networks, blocks) as columns.

    Args:
        columns: shape (8, kernels): the fields of `Kernel`, in order.
        kernel: shape (uses,): which kernel is used.
        owner: shape (uses,): by whom.
        count: of owners.
    """

    columns: NDArray[np.int64]
    kernel: NDArray[np.int64]
    owner: NDArray[np.int64]
    count: int

    @classmethod
    def of(
        cls, groups: Sequence[tuple[NDArray[np.int64], Sequence[Kernel]]], count: int
    ) -> "KernelArrays":
        """Gather the kernels of groups of owners that have equally many.

        Args:
            groups: the owners of each, shape (n,); and their kernels, in the order in which they
                run, whose fields are of shape (n,), or integers where all are equal.
            count: of owners; those in no group have no kernels.
        """
        owner = np.concatenate([np.repeat(owners, len(kernels)) for owners, kernels in groups])
        columns = np.empty((len(Kernel._fields), len(owner)), dtype=np.int64)
        start = 0
        for owners, kernels in groups:
            stop = start + len(owners) * len(kernels)
            part = columns[:, start:stop].reshape(len(columns), len(owners), len(kernels))
            for number, kernel in enumerate(kernels):
                for field, values in enumerate(kernel):
                    part[field, :, number] = values
            start = stop
        return cls(columns, np.arange(len(owner)), owner, count)

    def column(self, name: str) -> NDArray[np.int64]:
        """Return one field of all distinct kernels, shape (kernels,)."""
        return np.asarray(self.columns[Kernel._fields.index(name)])

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each owner's sum over its kernels: (kernels,) -> (owners,)."""
        used = values[self.kernel]
        sums: NDArray[np.float64] = np.bincount(self.owner, used, self.count).astype(np.float64)
        return sums


_TILE: Final = 64
_WIDTH: Final = 8


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a device does: its peaks times the share of them that kernels get.

    Args:
        dense: of dense convolutions, 10^9 multiply-adds a second.
        depthwise: of depthwise ones, the same.
        grouped: of others, with groups of 8 channels, the same; in proportion for wider groups.
        values: that `Kernel.values` and `Kernel.weights` are moved at, 10^9 numbers a second.
        wide: that `Kernel.wide` is moved at, the same.
        idle: tiles of 64 x 64 outputs for which a dense convolution takes twice the time of its
            work, for they leave units idle.
    """

    dense: float
    depthwise: float
    grouped: float
    values: float
    wide: float
    idle: float = 0.0


def kernel_ms(kernels: KernelArrays, batch: Any, rates: Rates) -> NDArray[np.float64]:
    """Return how long a device works on each kernel, without what a launch takes.

    ``sqrt(computing^2 + moving^2)``, see `moga.devices.roofline`.

    Args:
        kernels: n of them.
        batch: images a batch, one for all or shape (n,).
        rates: the device's.

    Returns:
        Milliseconds, shape (n,).
    """
    kind, width = kernels.column("type"), np.maximum(kernels.column("channels"), 1)
    rate = np.full(kind.shape, rates.dense)
    rate[kind == DEPTHWISE] = rates.depthwise
    grouped = kind == GROUPED
    rate[grouped] = rates.grouped * width[grouped] / _WIDTH
    computing = batch * kernels.column("macs") / (rate * 1e6)
    rows = np.ceil(np.maximum(batch * kernels.column("positions"), 1) / _TILE)
    tiles = rows * np.ceil(width / _TILE) * kernels.column("groups")
    computing = computing * (1 + np.where(kind == DENSE, rates.idle / tiles, 0.0))
    numbers = batch * kernels.column("values") + kernels.column("weights")
    moving = numbers / (rates.values * 1e6) + batch * kernels.column("wide") / (rates.wide * 1e6)
    return np.asarray(np.sqrt(computing**2 + moving**2))
