"""Block and Network: the one description of an architecture. Frozen values, hashes, JSON. No torch.

A `Network` is a tuple of `Block`s in the order in which they run. A block holds *resolved* values
(widths, never ratios), and the height and width of the image that enters it, so that a block alone
says what it costs: parameters, MACs, bytes, the torch module, the latency key and the picture in
the report are all functions of it.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from moga.errors import FormatError, InvalidBlock
from moga.files import atomic_write, canonical_json, digest

__all__ = [
    "ACTIVATIONS",
    "CELL_OPERATIONS",
    "GATES",
    "OPERATIONS",
    "PADDINGS",
    "SHORTCUTS",
    "Block",
    "Network",
]

OPERATIONS: Final[Mapping[str, str]] = {
    "conv": "kxk convolution, norm, activation",
    "dsconv": "kxk depthwise + norm + activation, SE, 1x1 projection + norm (linear)",
    "mbconv": "1x1 expansion, kxk depthwise, SE, 1x1 projection (linear); norm after each",
    "fused_mbconv": "kxk convolution to the hidden width, SE, 1x1 projection (linear)",
    "xx": "GENet's XX: kxk, kxk; norm after each, activation after the sum with the shortcut",
    "bl": "GENet's BL: 1x1, kxk full convolution, 1x1; activation after the sum",
    "dw": "GENet's DW: 1x1, kxk depthwise, 1x1; activation after the sum",
    "space_to_batch": "stride x stride phases of an image become images of their own",
    "batch_to_space": "the inverse of space_to_batch",
    "cell201": "a NAS-Bench-201 cell: four nodes, an operation on each of six edges",
    "residual201": "NAS-Bench-201's reduction: two ReLU-conv-norm, shortcut by pooling and 1x1",
    "norm_act": "norm and activation alone",
    "pool": "global average pooling to 1x1",
    "linear": "fully connected layer on a 1x1 image",
}
"""Every kind of block and what it is made of, in order."""

ACTIVATIONS: Final = ("none", "relu", "relu6", "hswish", "swish")
GATES: Final = ("sigmoid", "hard_sigmoid")
PADDINGS: Final = ("symmetric", "same", "zero")
"""symmetric: k//2 on every side; same: TensorFlow's; zero: none at all."""
SHORTCUTS: Final = ("none", "identity", "conv")
CELL_OPERATIONS: Final = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")
"""NAS-Bench-201's five operations (Dong and Yang 2020, section 2.1)."""

_GENET: Final = ("xx", "bl", "dw")
_RESHAPES: Final = ("space_to_batch", "batch_to_space")
_WITH_HIDDEN: Final = ("mbconv", "fused_mbconv", *_GENET)
_WITH_SE: Final = ("dsconv", "mbconv", "fused_mbconv")
_WITH_GROUPS: Final = ("conv", "mbconv")
_WITH_KERNEL: Final = ("conv", "dsconv", "mbconv", "fused_mbconv", *_GENET)
_SAME_WIDTH: Final = ("cell201", "norm_act", "pool", *_RESHAPES)
_WITH_STRIDE: Final = (*_WITH_KERNEL, "residual201", *_RESHAPES)
_WITH_CONV_SHORTCUT: Final = ("residual201", *_GENET)
_FORMAT: Final = "moga-network"
_VERSION: Final = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer or block of a network, with every value resolved; validated at birth.

    Args:
        operation: a key of `OPERATIONS`.
        in_channels: channels that enter.
        out_channels: channels that leave.
        height: rows of the image that enters.
        width: columns of the image that enters.
        kernel: side of the (square) kernel of the spatial convolution.
        stride: step of the spatial convolution; for space_to_batch and batch_to_space, the factor
            by which both sides shrink or grow.
        hidden_channels: width between expansion and projection; 0 where there is none.
        groups: groups of the convolution (`conv`), or of both 1x1 convolutions (`mbconv`, with a
            channel shuffle after the expansion).
        se_channels: hidden width of the squeeze-and-excitation; 0 without one.
        se_gate: its gate, one of `GATES`.
        se_activation: its inner activation; "" stands for the block's own.
        activation: one of `ACTIVATIONS`.
        padding: one of `PADDINGS`.
        norm_eps: epsilon of the batch norms; None without norm.
        bias: whether convolutions without norm, or the linear layer, have a bias.
        shortcut: one of `SHORTCUTS`: what is added to the output; "conv" is a strided 1x1
            convolution, with norm in GENet's blocks, after pooling in residual201.
        batch_factor: how many times more images than the input batch enter (space-to-batch).
        edges: operations of a cell's six edges, in the order 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.

    Raises:
        InvalidBlock: naming the field, what came and what is allowed.

    Example:
        >>> Block(
        ...     operation="conv",
        ...     in_channels=3,
        ...     out_channels=16,
        ...     height=32,
        ...     width=32,
        ...     kernel=3,
        ...     stride=2,
        ... ).out_size
        (16, 16)
    """

    operation: str
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: int = 1
    stride: int = 1
    hidden_channels: int = 0
    groups: int = 1
    se_channels: int = 0
    se_gate: str = "sigmoid"
    se_activation: str = ""
    activation: str = "none"
    padding: str = "symmetric"
    norm_eps: float | None = None
    bias: bool = False
    shortcut: str = "none"
    batch_factor: int = 1
    edges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_types()
        self._check_names()
        self._check_numbers()
        self._check_relations()

    def _refuse(self, field: str, allowed: str) -> InvalidBlock:
        got = getattr(self, field)
        return InvalidBlock(f"block {self.operation!r}: {field} is {got!r}, allowed: {allowed}")

    def _check_types(self) -> None:
        for name, expected, allowed in _TYPES:
            if type(getattr(self, name)) is not expected:  # so that True is no integer
                raise self._refuse(name, allowed)
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, int | float | None):
            raise self._refuse("norm_eps", "a number or None")
        if not isinstance(self.edges, tuple):
            raise self._refuse("edges", "a tuple")

    def _check_names(self) -> None:
        for field, allowed in (
            ("operation", tuple(OPERATIONS)),
            ("activation", ACTIVATIONS),
            ("se_activation", ("", *ACTIVATIONS)),
            ("se_gate", GATES),
            ("padding", PADDINGS),
            ("shortcut", SHORTCUTS),
        ):
            if getattr(self, field) not in allowed:
                raise self._refuse(field, ", ".join(map(repr, allowed)))

    def _check_numbers(self) -> None:
        for field in (
            *("in_channels", "out_channels", "height", "width"),
            *("kernel", "stride", "groups", "batch_factor"),
        ):
            if getattr(self, field) < 1:
                raise self._refuse(field, "1 or more")
        for field, users in (("hidden_channels", _WITH_HIDDEN), ("se_channels", _WITH_SE)):
            if getattr(self, field) < 0:
                raise self._refuse(field, "0 or more")
            if getattr(self, field) and self.operation not in users:
                raise self._refuse(field, "0, for this operation has none")
        if self.norm_eps is not None and not 0 < self.norm_eps < 1:
            raise self._refuse("norm_eps", "None, or between 0 and 1")

    def _check_relations(self) -> None:  # noqa: PLR0912 - one check a line reads best
        operation = self.operation
        if operation in _WITH_HIDDEN and not self.hidden_channels:
            raise self._refuse("hidden_channels", "1 or more, for this operation expands")
        if operation not in _WITH_KERNEL and self.kernel != 1:
            raise self._refuse("kernel", "1, for this operation has no kernel of its own")
        if operation not in _WITH_STRIDE and self.stride != 1:
            raise self._refuse("stride", "1, for this operation has no stride")
        if operation in _SAME_WIDTH and self.in_channels != self.out_channels:
            raise self._refuse("out_channels", f"{self.in_channels}, the channels that enter")
        if self.padding == "symmetric" and self.kernel % 2 == 0:
            raise self._refuse("kernel", "an odd number with symmetric padding")
        if self.groups > 1 and operation not in _WITH_GROUPS:
            raise self._refuse("groups", "1, for only conv and mbconv have groups")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise self._refuse("groups", "a divisor of in_channels and out_channels")
        if self.hidden_channels % self.groups:
            raise self._refuse("groups", f"a divisor of hidden_channels, {self.hidden_channels}")
        for field in ("height", "width"):
            if operation == "linear" and getattr(self, field) != 1:
                raise self._refuse(field, "1, for a linear layer follows pooling")
        if (operation == "cell201") != (len(self.edges) == 6):
            raise self._refuse("edges", "six operations for cell201, none for others")
        for edge in self.edges:
            if edge not in CELL_OPERATIONS:
                raise self._refuse("edges", ", ".join(map(repr, CELL_OPERATIONS)))
        before = (self.in_channels, self.height, self.width)
        if self.shortcut == "identity" and before != (self.out_channels, *self.out_size):
            raise self._refuse("shortcut", "'none' where the channels or the image's size change")
        if self.shortcut == "conv" and operation not in _WITH_CONV_SHORTCUT:
            raise self._refuse("shortcut", "'none' or 'identity' for this operation")
        if operation in _GENET and self.padding == "zero":
            raise self._refuse("padding", "'symmetric' or 'same', for the shortcut keeps the size")
        self._check_images()
        if min(self.out_size) < 1:
            raise self._refuse("kernel", f"at most the image's {self.height}x{self.width}")

    def _check_images(self) -> None:
        if self.operation == "linear" and self.batch_factor != 1:
            raise self._refuse("batch_factor", "1, for batch_to_space must come before")
        if self.operation == "batch_to_space" and self.batch_factor % self.stride**2:
            raise self._refuse(
                "batch_factor", f"a multiple of {self.stride**2}, the stride squared"
            )
        for field in ("height", "width"):
            if self.operation == "space_to_batch" and getattr(self, field) % self.stride:
                raise self._refuse(field, f"a multiple of {self.stride}, the stride")

    @property
    def out_batch_factor(self) -> int:
        """How many times more images than the input batch leave."""
        if self.operation == "space_to_batch":
            return self.batch_factor * self.stride**2
        if self.operation == "batch_to_space":
            return self.batch_factor // self.stride**2
        return self.batch_factor

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns of the image that leaves."""
        if self.operation == "pool":
            return 1, 1
        if self.operation == "batch_to_space":
            return self.height * self.stride, self.width * self.stride
        return self._out_side(self.height), self._out_side(self.width)

    def _out_side(self, side: int) -> int:
        if self.padding == "zero":
            return (side - self.kernel) // self.stride + 1
        return -(-side // self.stride)

    @property
    def digest(self) -> str:
        """A short hash of the block, the same on every machine: 16 hex digits."""
        return digest(self.to_dict())

    def __str__(self) -> str:
        """Return what messages call it: the name of its exported file, and its summary."""
        return f"block-{self.digest} ({self.summary})"

    @property
    def summary(self) -> str:
        """What it is in a few words: operation, kernel, stride, channels, the image that enters."""
        widths = [self.in_channels, self.hidden_channels, self.out_channels]
        channels = "->".join(str(width) for width in widths if width)
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        kind = f"{self.operation} {self.kernel}x{self.kernel}{stride}"
        return f"{kind} {channels} at {self.height}x{self.width}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, for JSON."""
        fields = dataclasses.fields(self)
        values = {field.name: getattr(self, field.name) for field in fields}
        kept = {f.name: values[f.name] for f in fields if values[f.name] != f.default}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Block":
        """Build a block from what `to_dict` gave.

        Raises:
            FormatError: an unknown or missing field.
            InvalidBlock: an impossible value.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(set(values) - set(names)):
            raise FormatError(f"a block has unknown fields {unknown}; known: {', '.join(names)}")
        needed = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]
        if missing := [name for name in needed if name not in values]:
            raise FormatError(f"a block lacks the fields {missing}")
        edges = values.get("edges", ())
        return cls(**{**values, "edges": tuple(edges) if isinstance(edges, list) else edges})


_TYPE_NAMES: Final = {int: "an integer", str: "a text", bool: "True or False"}
_TYPES: Final = tuple(
    (field.name, field.type, _TYPE_NAMES[field.type])
    for field in dataclasses.fields(Block)
    if isinstance(field.type, type) and field.type in _TYPE_NAMES
)
"""Checked at every birth of a block, so listed once."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network: its blocks in the order in which they run; hashable, JSON both ways.

    Args:
        blocks: at least one; each takes what the one before it gives.

    Raises:
        InvalidBlock: where two neighbours do not fit, naming both.
    """

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise InvalidBlock("a network needs at least one block")
        for index, (a, b) in enumerate(zip(self.blocks, self.blocks[1:], strict=False)):
            gives = (a.out_channels, *a.out_size)
            takes = (b.in_channels, b.height, b.width)
            if gives != takes:
                raise InvalidBlock(
                    f"block {index + 1} ({b.operation}) takes channels x height x width {takes}, "
                    f"but block {index} ({a.operation}) gives {gives}"
                )
            if a.out_batch_factor != b.batch_factor:
                raise InvalidBlock(
                    f"block {index + 1} ({b.operation}) has batch_factor {b.batch_factor}, but "
                    f"block {index} ({a.operation}) gives {a.out_batch_factor} images an image"
                )

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input image."""
        first = self.blocks[0]
        return first.in_channels, first.height, first.width

    @property
    def num_classes(self) -> int:
        """Channels that leave the last block."""
        return self.blocks[-1].out_channels

    @cached_property
    def digest(self) -> str:
        """A short hash of the blocks, the same on every machine."""
        return digest([block.to_dict() for block in self.blocks])

    def __str__(self) -> str:
        """Return what messages call it: the name of its exported file, and its size."""
        _, height, width = self.input_shape
        return f"network-{self.digest} ({len(self)} blocks, from {height}x{width})"

    def to_json(self) -> str:
        """Return the network as one line of JSON."""
        blocks = [block.to_dict() for block in self.blocks]
        return canonical_json({"format": _FORMAT, "version": _VERSION, "blocks": blocks})

    @classmethod
    def from_json(cls, text: str) -> "Network":
        """Read what `to_json` wrote.

        Raises:
            FormatError: no JSON, another format or version, unknown fields.
            InvalidBlock: an impossible block, or two that do not fit.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise FormatError(f"not JSON: {error}") from error
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise FormatError(f'expected a JSON object with "format": "{_FORMAT}"')
        if data.get("version") != _VERSION:
            raise FormatError(
                f"the network's format version is {data.get('version')!r}; "
                f"this moga reads {_VERSION}"
            )
        if unknown := sorted(set(data) - {"format", "version", "blocks"}):
            raise FormatError(f"unknown fields in a network's JSON: {unknown}")
        blocks = data.get("blocks")
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise FormatError('"blocks" must be a list of objects')
        return cls(tuple(Block.from_dict(block) for block in blocks))

    def save(self, path: str | Path) -> None:
        """Write the network as a JSON file, whole or not at all."""
        atomic_write(Path(path), self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Network":
        """Read a JSON file that `save` wrote.

        Raises:
            FormatError: as `from_json`, with the path in the message.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from error
