"""Numbers as a reader wants them: units, errors, durations; for the page and the command line."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = [
    "ABSENT",
    "TIMES",
    "big",
    "column",
    "duration",
    "is_own",
    "label",
    "searched_by",
    "sentence",
    "unmeasured",
    "value_text",
    "with_error",
]

ABSENT: Final = "n/a"
"""Stands for a value that nobody has."""

TIMES: Final = "\u00d7"
"""The sign of multiplication, spelt so that nobody takes it for the letter x."""

_LABELS: Final = {
    "accuracy": "accuracy",
    "test_accuracy": "test accuracy",
    "latency_ms": "latency",
    "measured_ms": "latency measured",
    "params": "parameters",
    "macs": "multiply-adds",
}
_UNITS: Final = {"accuracy": "%", "test_accuracy": "%", "latency_ms": "ms", "measured_ms": "ms"}


def column(name: str) -> str:
    """Return the column of an objective in the run's files.

    Example:
        >>> column("latency@v100"), column("params")
        ('latency_ms@v100', 'params')
    """
    metric, at, device = name.partition("@")
    return ("latency_ms" if metric == "latency" else metric) + at + device


def label(name: str, *, unit: bool = False) -> str:
    """Return what a column is called in a picture or table.

    Example:
        >>> label("latency_ms@v100", unit=True)
        'latency on v100, ms'
    """
    base, at, device = name.partition("@")
    text = _LABELS.get(base, base) + (f" on {device}" if at else "")
    return f"{text}, {_UNITS[base]}" if unit and base in _UNITS else text


_NO_METRICS: Final = (
    *("order", "batch", "status", "kind", "reason", "violation", "on_front", "hypervolume"),
    *("genome", "name", "network", "weights"),
)
_BESIDE: Final = ("_se", "_predicted")
"""How columns end that say what a value beside them is worth."""


def is_own(name: str) -> bool:
    """Whether a column of evaluations or a family holds a metric of an evaluator's own.

    Example:
        >>> [is_own(name) for name in ("energy", "energy_se", "latency_ms@v100", "order")]
        [True, False, False, False]
    """
    base = name.partition("@")[0]
    return not (base in _LABELS or base in _NO_METRICS or base.endswith(_BESIDE))


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning; the rest stays.

    Example:
        >>> sentence("run Search")
        'Run Search'
    """
    return text[:1].upper() + text[1:]


def searched_by(entry: Mapping[str, Any]) -> str:
    """Return what gave a search's latencies on a device: "prediction" (a table) or "measurement".

    Args:
        entry: the device's in ``measured.json``; a prediction where it does not say.
    """
    return "measurement" if entry.get("searched_by") == "evaluator" else "prediction"


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def unmeasured(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of which latencies, that stand without ±, no spread was measured; a sentence each.

    Args:
        members: figures of networks by column, the spread of `latency_ms@x` in `latency_ms_se@x`.

    Example:
        >>> unmeasured([{"latency_ms@fpga": 2.5, "latency_ms_se@fpga": None}])
        ['The spread of the latency on fpga was not measured.']
    """
    names = dict.fromkeys(name for member in members for name in member)
    found = []
    for name in names:
        base, at, device = name.partition("@")
        known = any(_known(member.get(f"{base}_se{at}{device}")) for member in members)
        if base == "latency_ms" and not known and any(_known(m.get(name)) for m in members):
            found.append(f"The spread of the {label(name)} was not measured.")
    return found


def big(value: Any) -> str:
    """Return a count with three digits and a letter; `ABSENT` where it is unknown.

    Example:
        >>> big(5_443_000), big(812)
        ('5.44 M', '812')
    """
    if not _known(value):
        return ABSENT
    for power, letter in ((9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            scaled = value / 10**power
            digits = max(0, 2 - math.floor(math.log10(abs(scaled))))
            return f"{scaled:.{digits}f} {letter}"
    return f"{value:g}"


def with_error(value: Any, error: Any = None, *, unit: str = "") -> str:
    """Return a value with its standard error, which decides the digits where it is known.

    Example:
        >>> with_error(61.2345, 0.81, unit="%"), with_error(1.5, unit="ms"), with_error(None)
        ('61.2 ± 0.8 %', '1.50 ms', 'n/a')
        >>> with_error(61.2345, 2.14), with_error(0.0764)
        ('61.2 ± 2.1', '0.0764')
    """
    if not _known(value):
        return ABSENT
    known = _known(error) and error > 0
    digits = _digits_of_error(error) if known else _digits_of_value(value)
    text = f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if known else "")
    return f"{text} {unit}".strip()


def _digits_of_error(error: float) -> int:
    """Return the decimals that show an error's first digit, or its first two from 1.0 to 2.9."""
    power = math.floor(math.log10(error))
    return min(6, max(0, (1 if error / 10**power < 3 else 0) - power))


def _digits_of_value(value: float) -> int:
    """Return the decimals that show three digits of a value."""
    power = math.floor(math.log10(abs(value))) if value else 0
    return min(6, max(0, 2 - power))


def duration(seconds: Any) -> str:
    """Return a time as a reader says it.

    Example:
        >>> duration(4.25), duration(245), duration(7384)
        ('4.2 s', '4 min 05 s', '2 h 03 min')
    """
    if not _known(seconds):
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def value_text(name: str, value: Any, error: Any = None) -> str:
    """Return the value of a column with its unit and error."""
    base = name.partition("@")[0]
    if base in ("params", "macs"):
        return big(value)
    return with_error(value, error, unit=_UNITS.get(base, ""))
