"""What TensorFlow Lite's ``benchmark_model`` prints, and its operator profile (text or CSV).

The summary is the line ``Inference timings in us: Init: .., First inference: .., Warmup (avg): ..,
Inference (avg): ..`` (before 2.2 ``Average inference timings in us: .., no stats: ..``); count and
standard deviation stand in the last line ``count=.. avg=.. std=..`` before it. With
``--enable_op_profiling=true`` follow tables titled "Run Order", of the initialisation first and of
the timed runs last; ``--profiling_output_csv_file`` holds the same tables as CSV. There may be more
of each: of the primary graph, then of other subgraphs ("Subgraph (index: 1) profile:"), which its
operators call, and of what a delegate does ("Delegate internal:"), all of whose time is in its row
of the primary graph. Older versions put the delegate's operators into that table as well, as
"DelegateOpInvoke" (TensorFlow's profile_summary_formatter.cc and profile_summarizer.cc). All times
are of the batch that the model was converted for, which the output does not say.
"""

import math
import re
from pathlib import Path
from typing import Final

from moga.devices.importers.base import Reading, milliseconds, number, span
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
_WHOLE: Final = re.compile(r"Profiling Info for|Primary graph\b|Subgraph \(index: 0\b")
"""What follows is of the whole graph, at the beginning as well."""
_PART: Final = re.compile(r"Delegate internal:|Subgraph \(index: [1-9]")
"""What follows is of a part of it, whose time a row of the whole graph's table holds."""
_INSIDE: Final = "DelegateOpInvoke"


def read_benchmark_model(path: str | Path) -> Reading:
    """Read the log, or the CSV of the operator profile.

    The latency is the summary's mean of the timed runs; of a file that has only the profile, the
    sum over its operators. These stand in `Reading.parts`, where the file has them: those of the
    primary graph, a delegate as one.

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
                "in us' or a table 'Run Order' of the whole graph"
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
    """Return the operators of the whole graph's last table in run order: that of the timed runs."""
    lines = text.splitlines()
    at, whole = 0, True
    for below, line in enumerate(lines, start=1):
        if _WHOLE.search(line):
            whole = True
        elif _PART.search(line):
            whole = False
        elif whole and _ORDER in line:
            at = below
    if not at:
        return ()
    columns = _cells(lines[at]) if at < len(lines) else []
    names = [column.strip("[]").replace(" ", "_").lower() for column in columns]
    if "avg_ms" not in names or "node_type" not in names:
        raise FormatError(f"{path}, line {at + 1}: expected the columns 'node type' and 'avg ms'")
    parts = []
    for index, line in enumerate(lines[at + 1 :], start=at + 2):
        if not line.strip() or _TITLE in line:
            break
        name, ms = _operator(_cells(line), names, f"{path}, line {index}")
        if name != _INSIDE:
            parts.append((name, ms))
    return tuple(parts)


def _operator(cells: list[str], names: list[str], where: str) -> tuple[str, float]:
    if len(cells) < len(names):
        raise FormatError(f"{where}: {len(cells)} columns; expected {len(names)}")
    ms = span(cells[names.index("avg_ms")], "avg ms", where)
    calls = 1.0
    if "times_called" in names:  # the average is of one call; old versions write 0 for one
        calls = max(span(cells[names.index("times_called")], "times called", where), 1.0)
    return cells[names.index("node_type")], ms * calls


def _cells(line: str) -> list[str]:
    """Split a row: by tabs (an operator's name may have spaces), or by commas in the CSV."""
    body = re.sub(r"^\s*INFO: ", "", line).strip()
    return [cell.strip() for cell in (body.split("\t") if "\t" in body else body.split(","))]
