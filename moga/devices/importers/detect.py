"""Read a file of times, or a folder of them, whatever program wrote it."""

from pathlib import Path
from typing import Final

from moga.devices.importers.base import Reading, load_json
from moga.devices.importers.ort import read_onnxruntime_profile
from moga.devices.importers.rows import read_rows
from moga.devices.importers.tflite import read_benchmark_model
from moga.devices.importers.trtexec import read_trtexec_profile, read_trtexec_times
from moga.errors import FormatError, UsageError

__all__ = ["MODELS", "read_timings"]

MODELS: Final = (".onnx", ".ort", ".tflite", ".engine", ".plan", ".pt", ".xnnpack", ".mlmodel")
"""Files of models may lie among the times; they are passed over."""

_READ: Final = (".csv", ".parquet", ".json", ".txt", ".log")


def read_timings(
    path: str | Path, besides: tuple[str, ...] = (), *, batch_known: bool = True
) -> list[Reading]:
    """Read all times of a file or folder (not of its subfolders), in the order of the names.

    Args:
        path: a file, or a folder with one or several files of times.
        besides: names of files of the folder that hold no times.
        batch_known: whether the caller knows how many images a batch has; if not, the times of an
            image must say it themselves, for what a batch takes is asked.

    Raises:
        UsageError: nothing is there.
        FormatError: a file that holds no times, a wrong one, or one of an image of a batch that
            nothing tells; nothing is returned then.
    """
    readings = _read_all(Path(path), besides)
    for reading in () if batch_known else readings:
        if reading.per_image and reading.batch is None:
            raise FormatError(
                f"{reading.where}: the time of an image, but nothing says how many images a "
                "batch has; give a column batch, or --batch, in Python batch="
            )
    return readings


def _read_all(path: Path, besides: tuple[str, ...]) -> list[Reading]:
    if path.is_file():
        return _read(path)
    if not path.is_dir():
        raise UsageError(f"{path} does not exist; give a file of times, or a folder of them")
    files = [
        file
        for file in sorted(path.iterdir())
        if file.is_file()
        and file.suffix not in MODELS
        and file.name not in besides
        and not file.name.startswith(".")
    ]
    readings = [reading for file in files for reading in _read(file)]
    if not readings:
        raise UsageError(f"{path} holds no times; put files of {', '.join(_READ)} into it")
    return readings


def _read(path: Path) -> list[Reading]:
    if path.suffix in (".txt", ".log"):
        return [read_benchmark_model(path)]
    if path.suffix == ".parquet":
        return read_rows(path)
    if path.suffix == ".csv":
        return [read_benchmark_model(path)] if _is_operator_profile(path) else read_rows(path)
    if path.suffix == ".json":
        return [_read_json(path)]
    raise FormatError(f"{path}: expected a file of times, one of {', '.join(_READ)}")


def _is_operator_profile(path: Path) -> bool:
    with path.open("rb") as file:
        return b"= Run Order =" in file.read()


def _read_json(path: Path) -> Reading:
    content = load_json(path)
    entries = content if isinstance(content, list) else []
    fields = {key for entry in entries if isinstance(entry, dict) for key in entry}
    if "computeMs" in fields:
        return read_trtexec_times(path)
    if "averageMs" in fields:
        return read_trtexec_profile(path)
    if "dur" in fields:
        return read_onnxruntime_profile(path)
    raise FormatError(
        f"{path}: expected times or a profile of trtexec (computeMs, averageMs), or a profile of "
        "ONNX Runtime (events with dur)"
    )
