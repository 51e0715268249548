"""moga's own schema of times, as CSV or Parquet, and benchmark tables of PyTorch as CSV.

The schema, one row a time:

- one of ``block`` (JSON, digest or the name of an exported file), ``network`` (JSON, the path of
  such a file, relative to the table, or a published name) and ``genome`` (integers separated by
  spaces);
- ``latency`` with ``unit`` (s, ms, us, ns) and ``of`` ("batch" or "image"); or ``latency_ms``
  alone: milliseconds a batch;
- if known ``batch``, ``precision``, ``device``, ``spread`` (standard error, in the latency's unit
  and of the same), ``count`` (timings summarised).

``file`` and ``digest`` are other names of ``block``, ``ms`` of ``latency_ms``. Columns that begin
with "note" are not read; every other column is refused, so that no misspelt one is lost.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from moga.devices.importers.base import PRECISIONS, Reading, milliseconds, number
from moga.devices.importers.tables import Row, read_table
from moga.errors import FormatError

__all__ = ["COLUMNS", "read_rows"]

_SUBJECTS: Final = {
    "block": "block",
    "file": "block",
    "digest": "block",
    "network": "network",
    "genome": "genome",
}
COLUMNS: Final = (
    *_SUBJECTS,
    *(
        "latency",
        "unit",
        "of",
        "latency_ms",
        "ms",
        "batch",
        "precision",
        "device",
        "spread",
        "count",
    ),
)
"""All columns that moga's schema knows."""

_MS: Final = ("latency_ms", "ms")
_MEDIAN_ERROR: Final = 1.2533
_IQR_OF_DEVIATION: Final = 1.349
"""For normal noise: standard error of a median in that of a mean, and quartiles' distance in
standard deviations."""

_PROXYLESS: Final = {"op", "count", "mean_ms", "var_ms2"}

_PRECISION_NAMES: Final = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "half": "fp16"}


def read_rows(path: str | Path) -> list[Reading]:
    """Read a table of times: moga's schema, timm's ``benchmark.py``, or torch's `Measurement`s.

    - timm's results: ``model``, ``infer_step_time`` (ms a batch), ``infer_batch_size``...
    - the fields of `torch.utils.benchmark.Measurement`, a row each: ``description`` (or ``label``,
      ``sub_label``), ``median`` or ``mean`` in seconds, and ``iqr`` and ``count`` where known. They
      are taken as times of a batch.

    Raises:
        FormatError: no such table, a wrong column or value, naming file and row; nothing is
            returned of a table with a single wrong row.
    """
    path = Path(path)
    listed = read_table(path)
    read = _reader(tuple(listed[0][1]), path)
    for row, where in ((row, where) for where, row in listed if "unit" in row):
        if (unit := row["unit"]) != (first := listed[0][1]["unit"]):
            raise FormatError(
                f"{where}: the unit is {unit!r}, in {listed[0][0].rpartition(', ')[2]} it is "
                f"{first!r}; give all times of a file in one unit"
            )
    return [read(row, where) for where, row in listed]


def _reader(columns: tuple[str, ...], path: Path) -> Callable[[Row, str], Reading]:
    if {"model", "infer_step_time"} <= set(columns) or {"model", "step_time"} <= set(columns):
        return _timm
    if {"latency", *_MS} & set(columns):
        _check_columns(columns, path)
        return partial(_own, path.parent)
    if {"median", "mean"} & set(columns):
        return _measurement
    if set(columns) >= _PROXYLESS:
        raise FormatError(
            f"{path} is ProxylessNAS's table of a Pixel phone: of blocks of that paper's "
            "space, which is none of moga's. moga ships it: with moga.devices.importers.pixel and "
            "moga.devices.profile, match_shapes(pixel_blocks(), unique_blocks(space)) gives the "
            "times of your space's blocks of the same shapes"
        )
    raise FormatError(
        f"{path}: the columns {', '.join(columns)} hold no times that moga knows; expected some of "
        f"{', '.join(COLUMNS)}"
    )


def _check_columns(columns: tuple[str, ...], path: Path) -> None:
    unknown = [name for name in columns if name not in COLUMNS and not name.startswith("note")]
    if unknown:
        raise FormatError(
            f"{path} has unknown columns: {', '.join(unknown)}; known: {', '.join(COLUMNS)}, and "
            "any that begins with 'note'"
        )
    if not set(columns) & set(_SUBJECTS):
        raise FormatError(f"{path} does not say what was timed; give {', '.join(_SUBJECTS)}")
    if sum(name in columns for name in ("latency", *_MS)) != 1:
        raise FormatError(f"{path}: give the column latency_ms, or latency with unit and of")
    if missing := [name for name in ("unit", "of") if "latency" in columns and name not in columns]:
        raise FormatError(
            f"{path} has a column latency, but none called {' or '.join(map(repr, missing))}, to "
            "say its unit and what it is of; add it, or give latency_ms"
        )


def _own(folder: Path, row: Row, where: str) -> Reading:
    given = [name for name in _SUBJECTS if row.get(name, "") not in ("", [])]
    if len(given) != 1:
        raise FormatError(
            f"{where}: {', '.join(given) or 'nothing'} says what was timed; expected one of "
            f"{', '.join(_SUBJECTS)}"
        )
    subject = row[given[0]]
    text = " ".join(map(str, subject)) if isinstance(subject, list) else str(subject)
    if given[0] == "network" and text.endswith(".json"):
        text = str(folder / text)
    name = next(name for name in ("latency", *_MS) if name in row)
    unit, of = (str(row["unit"]), str(row["of"])) if name == "latency" else ("ms", "batch")
    if of not in ("batch", "image"):
        raise FormatError(f"{where}: of is {of!r}; expected batch or image")
    value = milliseconds(row[name], unit, where)
    reading = Reading(text, _SUBJECTS[given[0]], value, of == "image", where)
    return dataclasses.replace(
        reading,
        spread=_spread(row.get("spread", ""), value, unit, where),
        count=_whole(row.get("count", ""), "count", where) or 0,
        batch=_whole(row.get("batch", ""), "batch", where),
        precision=_precision(str(row.get("precision", "")), where),
        device=str(row.get("device", "")),
    )


def _spread(text: Any, value: float, unit: str, where: str) -> float | None:
    if text == "":
        return None
    spread = number(text, "spread", where)
    if not (math.isfinite(spread) and spread >= 0):
        raise FormatError(f"{where}: spread is {text}; expected a finite number, 0 or more")
    if spread == 0:
        return 0.0
    ms = milliseconds(text, unit, where, "spread")
    if ms > value:
        raise FormatError(
            f"{where}: spread is {text}, more than the latency itself; expected the standard error "
            "of the mean, in the latency's unit"
        )
    return ms


def _whole(text: Any, name: str, where: str) -> int | None:
    if text == "":
        return None
    value = number(text, name, where)
    if not (value.is_integer() and value >= 1):
        raise FormatError(f"{where}: {name} is {text}; expected an integer of 1 or more")
    return int(value)


def _precision(text: str, where: str) -> str:
    known = _PRECISION_NAMES.get(text.lower(), text.lower())
    if known and known not in PRECISIONS:
        raise FormatError(
            f"{where}: precision is {text!r}; expected one of {', '.join(PRECISIONS)}"
        )
    return known


def _timm(row: Row, where: str) -> Reading:
    prefix = "infer_" if "infer_step_time" in row else ""
    value = milliseconds(row[f"{prefix}step_time"], "ms", where, f"{prefix}step_time")
    batch = _whole(row.get(f"{prefix}batch_size", ""), f"{prefix}batch_size", where)
    return Reading(str(row["model"]), "network", value, False, where, batch=batch)


def _measurement(row: Row, where: str) -> Reading:
    name = "median" if row.get("median", "") != "" else "mean"
    value = milliseconds(row.get(name), "s", where, name)
    words = [str(row[key]) for key in ("label", "sub_label", "description") if row.get(key)]
    if not words:
        raise FormatError(f"{where}: expected a label, sub_label or description")
    count = _whole(row.get("count", ""), "count", where) or 0
    spread = None
    if row.get("iqr", "") != "" and count:
        deviation = number(row["iqr"], "iqr", where) * 1e3 / _IQR_OF_DEVIATION
        if not (math.isfinite(deviation) and deviation >= 0):
            raise FormatError(f"{where}: iqr is {row['iqr']}; expected a finite number, 0 or more")
        factor = _MEDIAN_ERROR if name == "median" else 1.0
        spread = factor * deviation / math.sqrt(count)
    return Reading(" ".join(words), "", value, False, where, spread, count)
