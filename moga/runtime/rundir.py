"""The directory of a run: its configuration, and what must be the same to continue it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moga.errors import FormatError, RunMismatch
from moga.files import atomic_write, digest

__all__ = [
    "ASKING",
    "JOURNAL",
    "MEASURED",
    "SAME",
    "check_same",
    "new_run_dir",
    "read_configuration",
    "read_measured",
    "write_configuration",
    "write_measured",
]

JOURNAL: Final = "journal.jsonl"
"""The file of what was asked and what came back."""

MEASURED: Final = "measured.json"
"""The file of the front's latencies, measured end to end."""

_FORMAT: Final = "moga-run"
_VERSION: Final = 1
_MEASURED: Final = {"format": "moga-measured-front", "version": 1}

SAME: Final = (
    *("space", "devices", "objectives", "constraints", "searcher", "seed", "data", "evaluator"),
    *("in_flight", "batch", "order"),
)
"""Parts of a configuration that must not change in a run. How long it runs, and on which executor,
may."""

ASKING: Final = ("searcher", "in_flight", "batch", "order")
"""Those of them that nothing depends on before the first genomes are asked: a searcher that refuses
the problem may be replaced."""


def new_run_dir(name: str, parent: Path | None = None) -> Path:
    """Return the first of ``runs/NAME-001``, ``-002``... that does not exist yet, and make it."""
    parent = parent or Path("runs")
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / f"{name}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def write_configuration(directory: Path, configuration: Mapping[str, Any]) -> None:
    """Write ``run.json``, whole or not at all."""
    content = {"format": _FORMAT, "version": _VERSION, **configuration}
    atomic_write(directory / "run.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_configuration(directory: Path) -> dict[str, Any] | None:
    """Read ``run.json``; None where the directory holds no run.

    Raises:
        FormatError: a damaged file or another version.
    """
    path = directory / "run.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is damaged: {error}; restore it or start a new run") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise FormatError(f"{path} is not the configuration of a moga run")
    if content.get("version") != _VERSION:
        raise FormatError(
            f"{path} has version {content.get('version')!r}; this moga reads version {_VERSION}"
        )
    return content


def check_same(directory: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a run may be continued with a configuration.

    Raises:
        RunMismatch: listing each part of `SAME` that differs, recorded and wanted.
    """
    journal = directory / JOURNAL
    begun = journal.exists() and journal.stat().st_size > 0
    differing = [
        f"  {key}: the run has {_brief(recorded.get(key))}, you ask for {_brief(wanted.get(key))}"
        for key in SAME
        if (begun or key not in ASKING)
        and digest(_compared(recorded.get(key))) != digest(_compared(wanted.get(key)))
    ]
    if differing:
        raise RunMismatch(
            f"{directory} holds a run with other settings:\n"
            + "\n".join(differing)
            + "\nChoose another storage directory, or pass the recorded settings."
        )


def _compared(value: Any) -> Any:
    """Leave out what becomes known only while a run goes on."""
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if key != "details"}
    return value


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("spec") or value.get("name") or dict(value))
    if isinstance(value, list):
        return "[" + ", ".join(_brief(item) for item in value) + "]"
    return repr(value)


def write_measured(directory: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``measured.json``, whole or not at all, and return all that stands in it."""
    whole = {**_MEASURED, **content}
    atomic_write(directory / MEASURED, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return whole


def read_measured(directory: Path) -> dict[str, Any] | None:
    """Read a run's ``measured.json``; None where there is none.

    Raises:
        FormatError: a damaged file, or one of another version.
    """
    path = directory / MEASURED
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(
            f"{path} is damaged: {error}. Remove it; `moga resume` measures the front again"
        ) from error
    if not isinstance(content, dict) or {key: content.get(key) for key in _MEASURED} != _MEASURED:
        raise FormatError(
            f"{path}: expected {_MEASURED}; remove it, `moga resume` measures the front again"
        )
    return content
