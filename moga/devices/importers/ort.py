"""What ONNX Runtime's profiler writes (``SessionOptions.enable_profiling``): a Chrome trace, JSON.

Each inference is an event ``model_run`` of the category "Session", each operator an event
``<node>_kernel_time`` of the category "Node"; ``dur`` is in microseconds. The file's name is the
prefix that was chosen and the date. Profiling slows small networks down.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from moga.devices.importers.base import Reading, load_json, milliseconds, records, span, summarise
from moga.errors import FormatError, UsageError

__all__ = ["read_onnxruntime_profile"]

_KERNEL: Final = "_kernel_time"


def read_onnxruntime_profile(path: str | Path, warmups: int = 1) -> Reading:
    """Read a profile: the mean of the runs without a tenth at either end.

    `Reading.parts` are milliseconds a run by node, "Conv y" for the operator Conv that makes y.

    Args:
        path: the file.
        warmups: runs at the beginning that do not count; the first sets memory up.

    Raises:
        UsageError: negative warm-ups.
        FormatError: not such a file, no run beyond the warm-ups, or an impossible time of a run or
            a node, naming the entry.
    """
    if warmups < 0:
        raise UsageError(f"warmups is {warmups}; give 0 or more")
    path = Path(path)
    events = records(load_json(path), (), path)
    runs = [
        milliseconds(event.get("dur"), "us", f"{path}, entry {index}", "dur of model_run")
        for index, event in enumerate(events, start=1)
        if event.get("name") == "model_run"
    ]
    if len(runs) <= warmups:
        raise FormatError(
            f"{path}: {len(runs)} events 'model_run'; expected more than {warmups}, the warm-ups; "
            "is it a profile of ONNX Runtime?"
        )
    mean, error = summarise(runs[warmups:])
    count = len(runs) - warmups
    parts = _nodes(events, len(runs), path)
    return Reading(path.name, "", mean, False, str(path), error, count, parts=parts)


def _nodes(events: list[dict[str, Any]], runs: int, path: Path) -> tuple[tuple[str, float], ...]:
    total: dict[str, float] = defaultdict(float)
    for index, event in enumerate(events, start=1):
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            about = event.get("args")
            operator = about.get("op_name", "") if isinstance(about, dict) else ""
            ms = span(event.get("dur"), f"dur of {name}", f"{path}, entry {index}") / 1e3
            total[f"{operator} {name.removesuffix(_KERNEL)}".strip()] += ms / runs
    return tuple(total.items())
