"""The directory of a run: its configuration, and what must be the same to continue it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moga.contracts import Objective
from moga.errors import FormatError, RunMismatch
from moga.files import atomic_write, digest

__all__ = [
    "ASKING",
    "JOURNAL",
    "MEASURED",
    "SAME",
    "check_same",
    "how_to_continue",
    "new_run_dir",
    "objective_from_json",
    "objective_to_json",
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


def how_to_continue(directory: Path, configuration: Mapping[str, Any]) -> str:
    """Say how a run is continued: a part of a sentence that begins with a verb."""
    if configuration.get("call") is None:  # a file cannot describe Python's objects
        return (
            "run the script that began it again, with the same "
            f"Search(..., storage={str(directory)!r}).run()"
        )
    return f"continue with `moga resume {directory}`"


def objective_to_json(objective: Objective) -> dict[str, Any]:
    """Return an objective or limit as JSON values; what is unlimited is None."""
    return {
        "name": objective.name,
        "metric": objective.metric,
        "direction": objective.direction,
        "weight": objective.weight,
        "lower": objective.lower if objective.lower > -math.inf else None,
        "upper": objective.upper if objective.upper < math.inf else None,
        "unit": objective.unit,
    }


def objective_from_json(value: Mapping[str, Any], *, optimised: bool) -> Objective:
    """Read what `objective_to_json` wrote.

    Args:
        value: its JSON values.
        optimised: False where it was a constraint.

    Raises:
        FormatError: no objective.
    """
    try:
        return Objective(
            metric=value["metric"],
            direction=value["direction"],
            weight=value["weight"],
            lower=-math.inf if value["lower"] is None else value["lower"],
            upper=math.inf if value["upper"] is None else value["upper"],
            device=value["name"].partition("@")[2],
            optimised=optimised,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"expected an objective as run.json holds it, got {value!r} ({error!r}); restore the "
            "file or start a new run"
        ) from error


def check_same(directory: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a run may be continued with a configuration.

    Raises:
        RunMismatch: listing each part of `SAME` that differs, recorded and wanted.
    """
    journal = directory / JOURNAL
    begun = journal.exists() and journal.stat().st_size > 0
    differing = [
        _difference(key, recorded.get(key), wanted.get(key))
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
    """Leave out what becomes known only while a run goes on, and how images were named.

    Images are the same where their digest is: a folder may be named from another place.
    """
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if key not in ("details", "source")}
    return value


_OTHER: Final = {"space": "other networks", "data": "other images"}
"""What differs where a digest does."""


def _difference(key: str, recorded: Any, wanted: Any) -> str:
    """Say in a line how a part of a configuration differs; never the same text twice."""
    has, asked = _brief(key, recorded), _brief(key, wanted)
    if has != asked:
        return f"  {key}: the run has {has}, you ask for {asked}"
    if not (isinstance(recorded, Mapping) and isinstance(wanted, Mapping)):
        return f"  {key}: the run has {recorded!r}, you ask for {wanted!r}"
    fields = sorted({*recorded, *wanted} - {"details"})
    parts = ", ".join(
        f"{field} {recorded.get(field)} in the run, {wanted.get(field)} now"
        for field in fields
        if recorded.get(field) != wanted.get(field)
    )
    return f"  {key}: {has}, the same name, but {_OTHER.get(key, 'not the same')} ({parts})"


def _brief(key: str, value: Any) -> str:
    """Return a part of a configuration as the user wrote it."""
    if isinstance(value, list):
        return "[" + ", ".join(_brief(key, item) for item in value) + "]"
    if isinstance(value, Mapping) and key in ("objectives", "constraints"):
        return str(objective_from_json(value, optimised=key == "objectives"))
    if isinstance(value, Mapping):
        named = (value.get(field) for field in ("spec", "name", "source"))
        return str(next((name for name in named if name), dict(value)))
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
            f"{path} is damaged: {error}. Remove it; a run that is continued measures the front "
            "again"
        ) from error
    if not isinstance(content, dict) or {key: content.get(key) for key in _MEASURED} != _MEASURED:
        raise FormatError(
            f"{path}: expected {_MEASURED}; remove it, a run that is continued measures the front "
            "again"
        )
    return content
