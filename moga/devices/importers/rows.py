"""moga's own schema of times, as CSV or Parquet, and benchmark tables of PyTorch as CSV.

The schema, one row a time:

- one of ``block`` (JSON, digest or the name of an exported file), ``network`` (JSON, the path of
  such a file, relative to the table, or a published name) and ``genome`` (integers separated by
  spaces);
- ``latency`` with ``unit`` (s, ms, us, ns) and ``of`` ("batch" or "image"); or ``latency_ms``
  alone: milliseconds a batch, beside which ``unit`` and ``of`` may say nothing else;
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
from typing import Any, Final, NamedTuple

from moga.devices.importers.base import Reading, milliseconds, precision_of, span, whole
from moga.devices.importers.tables import Row, read_table
from moga.errors import FormatError, MogaError

__all__ = ["COLUMNS", "Conditions", "check_said", "conditions_of", "read_rows"]

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


def read_rows(path: str | Path) -> list[Reading]:
    """Read a table of times: moga's schema, timm's ``benchmark.py``, or torch's `Measurement`s.

    - timm's results: ``model``, ``infer_step_time`` (ms a batch), ``infer_batch_size``, and
      ``infer_img_size``, which must be the image of that network...
    - the fields of `torch.utils.benchmark.Measurement`, a row each: ``description`` (or ``label``,
      ``sub_label``), ``median`` or ``mean`` in seconds, and ``iqr`` and ``count`` where known. They
      are taken as times of a batch.

    Both may have columns ``batch``, ``precision`` and ``device`` of moga's schema, and ``unit`` and
    ``of``, which may say nothing else.

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
    if name == "latency":
        unit, of = _said(row, "unit"), _said(row, "of")
        if of not in ("batch", "image"):
            raise FormatError(f"{where}: of is {of!r}; expected batch or image")
    else:
        check_said(row, name, "ms", where)
        unit, of = "ms", "batch"
    value = milliseconds(row[name], unit, where)
    spread = _spread(row.get("spread", ""), value, unit, where)
    count = _count(row, where)
    reading = Reading(text, _SUBJECTS[given[0]], value, of == "image", where, spread, count)
    return _with_conditions(reading, row)


def _said(row: Row, name: str) -> str:
    return str(row.get(name, "")).strip()


def check_said(row: Row, column: str, unit: str, where: str) -> None:
    """Refuse a row that says another unit than its column's, or that its time is not of a batch.

    Args:
        row: of any table of times.
        column: whose times are in one unit, a batch.
        unit: that unit.
        where: file and row, for the message.

    Raises:
        FormatError: the row's ``unit`` or ``of`` says something else, naming the row.
    """
    for name, expected in (("unit", unit), ("of", "batch")):
        if (said := _said(row, name)) not in ("", expected):
            raise FormatError(
                f"{where}: {name} is {said!r}; expected {expected!r}, for {column} is in {unit} a "
                "batch; convert the times, or correct what the row says of them"
            )


class Conditions(NamedTuple):
    """How a row says that its time was taken: None or "" is what it does not say."""

    batch: int | None
    precision: str
    device: str


def conditions_of(row: Row, where: str) -> Conditions:
    """Read the columns ``batch``, ``precision`` and ``device``, where a table has them.

    Raises:
        FormatError: a batch that is no integer of 1 or more, or an unknown precision, naming the
            row.
    """
    batch = None if _said(row, "batch") == "" else whole(row["batch"], "batch", where)
    return Conditions(batch, precision_of(_said(row, "precision"), where), _said(row, "device"))


def _with_conditions(reading: Reading, row: Row) -> Reading:
    return dataclasses.replace(reading, **conditions_of(row, reading.where)._asdict())


def _count(row: Row, where: str) -> int:
    return 0 if row.get("count", "") == "" else whole(row["count"], "count", where)


def _spread(text: Any, value: float, unit: str, where: str) -> float | None:
    if text == "":
        return None
    if span(text, "spread", where) == 0:
        return 0.0
    ms = milliseconds(text, unit, where, "spread")
    if ms > value:
        raise FormatError(
            f"{where}: spread is {text}, more than the latency itself; expected the standard error "
            "of the mean, in the latency's unit"
        )
    return ms


def _timm(row: Row, where: str) -> Reading:
    prefix = "infer_" if "infer_step_time" in row else ""
    time, images = f"{prefix}step_time", f"{prefix}batch_size"
    check_said(row, time, "ms", where)
    value = milliseconds(row[time], "ms", where, time)
    _check_image(row, f"{prefix}img_size", where)
    reading = _with_conditions(Reading(str(row["model"]), "network", value, False, where), row)
    if row.get(images, "") == "":
        return reading
    batch = whole(row[images], images, where)
    if reading.batch not in (None, batch):
        raise FormatError(
            f"{where}: batch is {reading.batch}, but {images} is {batch}; keep the one that is true"
        )
    return dataclasses.replace(reading, batch=batch)


def _check_image(row: Row, name: str, where: str) -> None:
    """Refuse a time at another image size than the network's that the row names.

    A name that is none of moga's networks is passed over here: it may hold a digest, and who
    resolves it refuses what names nothing.
    """
    from moga.networks.zoo import describe

    if row.get(name, "") == "":
        return
    size = whole(row[name], name, where)
    try:
        network = describe(str(row["model"]))
    except MogaError:
        return
    if size != network.input_shape[1]:
        raise FormatError(
            f"{where}: {name} is {size}, but {row['model']} takes images of "
            f"{network.input_shape[1]} pixels; expected a time at that size: benchmark.py "
            f"--img-size {network.input_shape[1]}"
        )


def _measurement(row: Row, where: str) -> Reading:
    name = "median" if row.get("median", "") != "" else "mean"
    check_said(row, name, "s", where)
    value = milliseconds(row.get(name), "s", where, name)
    words = [str(row[key]) for key in ("label", "sub_label", "description") if row.get(key)]
    if not words:
        raise FormatError(f"{where}: expected a label, sub_label or description")
    count = _count(row, where)
    spread = None
    if row.get("iqr", "") != "" and count:
        deviation = span(row["iqr"], "iqr", where) * 1e3 / _IQR_OF_DEVIATION
        factor = _MEDIAN_ERROR if name == "median" else 1.0
        spread = factor * deviation / math.sqrt(count)
    reading = Reading(" ".join(words), "", value, False, where, spread, count)
    return _with_conditions(reading, row)
