"""What every reader of other programs' timings gives, and the checks that all of them share."""

import dataclasses
import json
import math
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from moga.contracts import is_count, is_number
from moga.devices.base import Latency
from moga.devices.timing import trimmed_mean
from moga.errors import FormatError

__all__ = [
    "PRECISIONS",
    "UNITS",
    "Reading",
    "load_json",
    "milliseconds",
    "number",
    "precision_of",
    "records",
    "span",
    "summarise",
    "whole",
]

UNITS: Final = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Unit of time -> milliseconds."""

PRECISIONS: Final = ("fp32", "tf32", "fp16", "bf16", "int8", "amp")
"""What a row may say of its precision."""

_PRECISION_NAMES: Final = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "half": "fp16"}

_SHORTEST_MS: Final = 1e-6
_LONGEST_MS: Final = 3.6e6
_TRIM: Final = 0.1


@dataclasses.dataclass(frozen=True)
class Reading:
    """One time as a file gives it.

    Args:
        subject: what was timed, in the file's words: a digest, a file's name, JSON, a genome.
        kind: what `subject` is: "block", "network", "genome", or "" where the file does not say.
        value: milliseconds, positive.
        per_image: whether `value` is of one image of the batch, not of the batch.
        where: file and row, for messages.
        spread: standard error of `value` in milliseconds; None where it is unknown.
        count: timings that it summarises; 0 where that is unknown.
        batch: images a batch; None where the file does not say.
        precision: one of `PRECISIONS`, or "" where the file does not say.
        device: the device's name, or "".
        parts: milliseconds by operator, where the file has them, in the order in which they run.

    Raises:
        FormatError: a number out of range, naming `where`.
    """

    subject: str
    kind: str
    value: float
    per_image: bool
    where: str
    spread: float | None = None
    count: int = 0
    batch: int | None = None
    precision: str = ""
    device: str = ""
    parts: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not (is_number(self.value) and self.value > 0):
            raise FormatError(f"{self.where}: {self.value!r} ms; expected a finite time above 0")
        if self.spread is not None and not (is_number(self.spread) and self.spread >= 0):
            raise FormatError(f"{self.where}: spread is {self.spread!r} ms; expected 0 or more")
        if not (is_count(self.count) and (self.batch is None or is_count(self.batch, 1))):
            raise FormatError(
                f"{self.where}: count {self.count!r} and batch {self.batch!r}; expected integers "
                "of 0 or more, and 1 or more"
            )

    def latency(self, batch: int) -> Latency:
        """Return milliseconds a batch, imported; `batch` is how many images one has."""
        times = batch if self.per_image else 1
        spread = None if self.spread is None else self.spread * times
        return Latency(self.value * times, spread, self.count, "imported", batch)


def number(text: Any, name: str, where: str) -> float:
    """Read a number.

    Raises:
        FormatError: it is none, or an integer that no float holds, naming the row.
    """
    try:
        if not isinstance(text, bool):
            return float(text)
    except (TypeError, ValueError, OverflowError):
        pass
    raise FormatError(f"{where}: {name} is {reprlib.repr(text)}; expected a number")


def whole(text: Any, name: str, where: str) -> int:
    """Read an integer of 1 or more; 8.0 is one.

    Raises:
        FormatError: it is none, naming the row.
    """
    value = number(text, name, where)
    if not (value.is_integer() and value >= 1):
        raise FormatError(f"{where}: {name} is {text}; expected an integer of 1 or more")
    return int(value)


def span(text: Any, name: str, where: str) -> float:
    """Read a number that is finite, and 0 or more.

    Raises:
        FormatError: it is none, naming the row.
    """
    value = number(text, name, where)
    if not (math.isfinite(value) and value >= 0):
        raise FormatError(f"{where}: {name} is {text}; expected a finite number, 0 or more")
    return value


def precision_of(text: str, where: str) -> str:
    """Return a precision as one of `PRECISIONS`, whatever its case; "" where nothing is said.

    Raises:
        FormatError: an unknown one, naming the row.

    Example:
        >>> precision_of("Float16", "times.csv, line 2")
        'fp16'
    """
    known = _PRECISION_NAMES.get(text.lower(), text.lower())
    if known and known not in PRECISIONS:
        raise FormatError(
            f"{where}: precision is {text!r}; expected one of {', '.join(PRECISIONS)}"
        )
    return known


def milliseconds(value: Any, unit: str, where: str, name: str = "latency") -> float:
    """Turn a time into milliseconds and refuse what no measurement gives.

    Raises:
        FormatError: no number, NaN, infinite, 0, negative, shorter than a nanosecond or longer than
            an hour; or an unknown unit. The message names the row.
    """
    if unit not in UNITS:
        raise FormatError(f"{where}: the unit is {unit!r}; expected one of {', '.join(UNITS)}")
    ms = number(value, name, where) * UNITS[unit]
    if not (math.isfinite(ms) and ms > 0):
        raise FormatError(f"{where}: {name} is {value} {unit}; expected a positive, finite time")
    if not _SHORTEST_MS <= ms <= _LONGEST_MS:
        raise FormatError(
            f"{where}: {name} is {value} {unit}, shorter than a nanosecond or longer than an hour; "
            "is the unit right?"
        )
    return ms


def summarise(times_ms: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean without a tenth at either end, and its standard error (None of one time)."""
    if len(times_ms) == 1:
        return times_ms[0], None
    mean, error = trimmed_mean(np.asarray(times_ms, dtype=np.float64)[:, None], _TRIM)
    return float(mean[0]), float(error[0])


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FormatError: it cannot be read or is no JSON, naming the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON file: {error}") from error


def records(content: Any, needed: Iterable[str], path: Path) -> list[dict[str, Any]]:
    """Return a JSON list of objects that all have some fields.

    Raises:
        FormatError: something else; the message names the entry.
    """
    if not isinstance(content, list) or not content:
        raise FormatError(f"{path}: expected a JSON list of at least one object")
    for index, entry in enumerate(content, start=1):
        if not isinstance(entry, dict) or any(name not in entry for name in needed):
            raise FormatError(f"{path}, entry {index}: expected an object with {', '.join(needed)}")
    return content
