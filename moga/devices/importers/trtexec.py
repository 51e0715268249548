"""What ``trtexec`` of TensorRT writes: ``--exportTimes`` and ``--exportProfile`` (JSON).

Field names as in NVIDIA's open samples (sampleReporting.cpp) of TensorRT 7 to 10: a trace holds an
object an inference with ``computeMs`` (GPU compute time), the copies to and from the device
(``h2dMs`` and ``d2hMs``, in older versions ``inMs`` and ``outMs``) and ``latencyMs``, their sum; a
profile holds ``{"count": runs}`` and then an object a layer with ``name``, ``timeMs`` and
``averageMs``. A trace's times are of a batch; neither file says the batch or the precision. These
readers are tested on files written by hand in that form, not on files of a real TensorRT.
"""

from pathlib import Path
from typing import Final

from moga.devices.importers.base import (
    Reading,
    load_json,
    milliseconds,
    records,
    span,
    summarise,
    whole,
)
from moga.errors import FormatError, UsageError

__all__ = ["TIMES", "read_trtexec_profile", "read_trtexec_times"]

TIMES: Final = ("computeMs", "latencyMs")
"""GPU compute time, as GPUNet reports; and with the copies of input and output."""


def read_trtexec_times(path: str | Path, time: str = "computeMs") -> Reading:
    """Read ``--exportTimes``: the mean of all inferences without a tenth at either end.

    Args:
        path: the file.
        time: one of `TIMES`.

    Raises:
        UsageError: another name of a time.
        FormatError: not such a file, or an impossible time, naming the entry.
    """
    if time not in TIMES:
        raise UsageError(f"time is {time!r}; give one of {', '.join(TIMES)}")
    path = Path(path)
    entries = records(load_json(path), (time,), path)
    times = [
        milliseconds(entry[time], "ms", f"{path}, entry {index}", time)
        for index, entry in enumerate(entries, start=1)
    ]
    mean, error = summarise(times)
    return Reading(path.name, "", mean, False, str(path), error, len(times))


def read_trtexec_profile(path: str | Path) -> Reading:
    """Read ``--exportProfile``: the sum of the layers' averages, each layer in `Reading.parts`.

    Timing every layer slows a network down; ``--exportTimes`` is the better source of its latency.

    Raises:
        FormatError: not such a file, or an impossible time or count, naming the entry.
    """
    path = Path(path)
    content = load_json(path)
    head = records(content, (), path)[0]
    if "count" not in head or len(content) < 2:
        raise FormatError(f'{path}: expected a profile of trtexec: {{"count": runs}}, then layers')
    layers = records(content[1:], ("name", "averageMs"), path)
    parts = tuple(
        (str(layer["name"]), span(layer["averageMs"], "averageMs", f"{path}, entry {index}"))
        for index, layer in enumerate(layers, start=2)
    )
    total = milliseconds(sum(ms for _, ms in parts), "ms", str(path), "the sum of the layers")
    count = whole(head["count"], "count", f"{path}, entry 1")
    return Reading(path.name, "", total, False, str(path), None, count, parts=parts)
