"""ProxylessNAS's latency table of a Pixel phone's CPU: 72 blocks, as values of moga's blocks.

Cai, Zhu, Han 2019, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware"
(arXiv 1812.00332); MIT licence. Mean and variance of TensorFlow Lite's times in milliseconds at
batch 1, FP32, of the blocks of that paper's space at 224 pixels. The space is none of moga's, but
blocks of other spaces have some of the same shapes: `match_shapes` finds those.
"""

import csv
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

from moga.devices.base import Latency
from moga.devices.importers.base import milliseconds, number
from moga.errors import FormatError
from moga.network import Block

__all__ = ["match_shapes", "pixel_blocks"]

_FILE: Final = "proxylessnas_pixel.csv"
_EPS: Final = 1e-3
_ACTIVATION: Final = "relu6"
_KEY: Final = re.compile(
    r"(?P<kind>Conv|Conv_1|Logits|expanded_conv)-input:(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)"
    r"-output:(?:(?P<oh>\d+)x(?P<ow>\d+)x)?(?P<oc>\d+)"
    r"(?:-expand:(?P<e>\d+)-kernel:(?P<k>\d+)-stride:(?P<s>\d+)-idskip:(?P<skip>[01]))?"
)
_LOOKS: Final = ("activation", "norm_eps", "se_gate", "se_activation", "bias")
"""Fields of a block that change its time little, or not at all; all but zero padding is alike."""


def pixel_blocks() -> dict[tuple[Block, ...], Latency]:
    """Return the table: blocks that were timed together -> their latency, imported.

    All entries but one are a single block; the last is the pooling and the linear layer.

    Raises:
        FormatError: a damaged file.
    """
    found = {}
    text = resources.files("moga.devices.catalog").joinpath(_FILE).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    for index, row in enumerate(rows, start=1):
        where = f"{_FILE}, row {index}"
        count = int(number(row["count"], "count", where))
        ms = milliseconds(row["mean_ms"], "ms", where)
        error = math.sqrt(number(row["var_ms2"], "var_ms2", where) / count)
        found[_blocks(row["op"], where)] = Latency(ms, error, count, "imported")
    return found


def match_shapes(
    values: Mapping[tuple[Block, ...], Latency], wanted: Iterable[Block]
) -> dict[Block, Latency]:
    """Return the values of those wanted blocks whose shape is that of a block with a value.

    Operation, channels, image, kernel, stride, groups, squeeze-and-excitation and shortcut must
    agree; activation, padding and epsilon need not, so that a match is approximate where they
    differ: h-swish takes longer than ReLU6.
    """
    known = {_shape(key[0]): value for key, value in values.items() if len(key) == 1}
    return {block: known[_shape(block)] for block in wanted if _shape(block) in known}


def _shape(block: Block) -> Block:
    defaults = {field.name: field.default for field in dataclasses.fields(Block)}
    looks: dict[str, Any] = {name: defaults[name] for name in _LOOKS}
    padding = "zero" if block.padding == "zero" else "same"
    return dataclasses.replace(block, **looks, padding=padding)


def _blocks(key: str, where: str) -> tuple[Block, ...]:
    found = _KEY.fullmatch(key)
    if found is None:
        raise FormatError(
            f"{where}: cannot read {key!r}; expected kind-input:HxWxC-output:HxWxC..."
        )
    width, out = int(found["c"]), int(found["oc"])
    size = {"height": int(found["h"]), "width": int(found["w"])}
    if found["kind"] == "Logits":
        one = {"height": 1, "width": 1}
        wide = {"in_channels": width, "out_channels": width}
        classes = {"in_channels": width, "out_channels": out, "bias": True}
        return (
            Block.from_dict({"operation": "pool", **wide, **size}),
            Block.from_dict({"operation": "linear", **classes, **one}),
        )
    if found["kind"] != "expanded_conv":
        first = found["kind"] == "Conv"
        return (_block("conv", width, out, size, kernel=3 if first else 1, stride=1 + first),)
    more: dict[str, object] = {
        "kernel": int(found["k"]),
        "stride": int(found["s"]),
        "shortcut": "identity" if found["skip"] == "1" else "none",
    }
    if found["e"] == "1":
        return (_block("dsconv", width, out, size, **more),)
    more["hidden_channels"] = int(found["e"]) * width
    return (_block("mbconv", width, out, size, **more),)


def _block(operation: str, width: int, out: int, size: Mapping[str, int], **more: object) -> Block:
    values = {
        "operation": operation,
        "in_channels": width,
        "out_channels": out,
        "activation": _ACTIVATION,
        "padding": "same",
        "norm_eps": _EPS,
    }
    return Block.from_dict({**values, **size, **more})
