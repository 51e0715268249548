"""What TensorFlow Lite's ``benchmark_model`` prints, and its operator profile (text or CSV).

The summary is the line ``Inference timings in us: Init: .., First inference: .., Warmup (avg): ..,
Inference (avg): ..`` (before 2.2 ``Average inference timings in us: .., no stats: ..``); count and
standard deviation stand in the last line ``count=.. avg=.. std=..`` before it. With
``--enable_op_profiling=true`` follow tables titled "Run Order", of the initialisation first and of
the timed runs last; ``--profiling_output_csv_file`` holds the same tables as CSV. All times are of
the batch that the model was converted for, which the output does not say.
"""

import math
import re
from pathlib import Path
from typing import Final

from moga.devices.importers.base import Reading, milliseconds, number
from moga.errors import FormatError

__all__ = ["read_benchmark_model"]

_NUMBER: Final = r"(-?(?:[\d.]+(?:[eE][+-]?\d+)?|nan|inf))"
_SUMMARY: Final = re.compile(
    r"nference timings in us:.*(?:Inference(?: \(avg\))?|no stats): *" + _NUMBER + r"\s*$",
    re.MULTILINE,
)
_RUNS: Final = re.compile(r"count=(\d+)(?:.*? avg=(\S+) std=(\S+))?.*$", re.MULTILINE)
_ORDER: Final = "= Run Order ="
_TITLE: Final = "====="


def read_benchmark_model(path: str | Path) -> Reading:
    """Read the log, or the CSV of the operator profile.

    The latency is the summary's mean of the timed runs; of a file that has only the profile, the
    sum over its operators. These stand in `Reading.parts`, where the file has them.

    Raises:
        FormatError: not such a file, the output of several runs, or an impossible time.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    parts = _operators(text, path)
    summaries = list(_SUMMARY.finditer(text))
    if not summaries:
        if not parts:
            raise FormatError(
                f"{path}: expected the output of benchmark_model, with a line 'Inference timings "
                "in us' or a table 'Run Order'"
            )
        total = milliseconds(sum(ms for _, ms in parts), "ms", str(path), "the operators' sum")
        return Reading(path.name, "", total, False, str(path), parts=parts)
    if len(summaries) > 1:
        lines = [str(text.count("\n", 0, one.start()) + 1) for one in summaries]
        raise FormatError(
            f"{path} holds {len(summaries)} summaries 'Inference timings in us', in the lines "
            f"{', '.join(lines)}; keep the output of one run"
        )
    (summary,) = summaries
    mean = milliseconds(summary[1], "us", str(path), "Inference (avg)")
    runs = list(_RUNS.finditer(text, 0, summary.start()))
    count = int(runs[-1][1]) if runs else 0
    spread = None
    if runs and runs[-1][3] and count > 1:
        deviation = number(runs[-1][3], "std", str(path))
        if deviation >= 0 and math.isfinite(deviation):
            spread = deviation / math.sqrt(count) / 1e3
    return Reading(path.name, "", mean, False, str(path), spread, count, parts=parts)


def _operators(text: str, path: Path) -> tuple[tuple[str, float], ...]:
    """Return the operators of the last table in run order: that of the timed runs."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _ORDER in line]
    if not starts:
        return ()
    at = starts[-1] + 1
    columns = _cells(lines[at]) if at < len(lines) else []
    names = [column.strip("[]").replace(" ", "_").lower() for column in columns]
    if "avg_ms" not in names or "node_type" not in names:
        raise FormatError(f"{path}, line {at + 1}: expected the columns 'node type' and 'avg ms'")
    parts = []
    for index, line in enumerate(lines[at + 1 :], start=at + 2):
        if not line.strip() or _TITLE in line:
            break
        parts.append(_operator(_cells(line), names, f"{path}, line {index}"))
    return tuple(parts)


def _operator(cells: list[str], names: list[str], where: str) -> tuple[str, float]:
    if len(cells) < len(names):
        raise FormatError(f"{where}: {len(cells)} columns; expected {len(names)}")
    ms = number(cells[names.index("avg_ms")], "avg ms", where)
    if not (math.isfinite(ms) and ms >= 0):
        raise FormatError(f"{where}: avg ms is {ms}; expected a finite number, 0 or more")
    calls = 1.0
    if "times_called" in names:  # the average is of one call; old versions write 0 for one
        calls = max(number(cells[names.index("times_called")], "times called", where), 1.0)
    return cells[names.index("node_type")], ms * calls


def _cells(line: str) -> list[str]:
    """Split a row: by tabs (an operator's name may have spaces), or by commas in the CSV."""
    body = re.sub(r"^\s*INFO: ", "", line).strip()
    return [cell.strip() for cell in (body.split("\t") if "\t" in body else body.split(","))]
