"""What a run left on the disk, read and checked for the report."""

import dataclasses
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from moga.contracts import METRICS
from moga.errors import FormatError
from moga.network import Network
from moga.report.book import frame_of, read_book, read_stop
from moga.report.text import column, is_own
from moga.runtime.rundir import how_to_continue, read_configuration, read_measured

__all__ = ["Member", "Run", "read_run"]

_EVALUATIONS: Final = "evaluations.parquet"
_FAMILY_FORMAT: Final = "moga-family"
_FAMILY_VERSION: Final = 1
_TABLE_FORMAT: Final = "moga-cost-table"
_NEEDED: Final = ("space", "devices", "objectives", "searcher", "seed", "versions")
_COLUMNS: Final = ("order", "status", "on_front", "genome")


@dataclasses.dataclass(frozen=True)
class Member:
    """One network of the family: its figures and its blocks.

    Args:
        name: "A", "B", ...
        values: the figures by column name, as in ``family.json``; absent or None where unknown.
        network: its blocks.
    """

    name: str
    values: Mapping[str, Any]
    network: Network

    def error(self, name: str) -> Any:
        """Return the standard error of a column's value; None where it is unknown."""
        base, at, device = name.partition("@")
        return self.values.get(f"{base}_se{at}{device}", self.values.get(f"{name}_se"))


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as its files tell it.

    Args:
        directory: where it lies.
        configuration: what ``run.json`` holds.
        evaluations: one row a genome, in the order of the asks.
        members: the family, in its order; () where the run has none.
        family: what ``family.json`` holds besides the members; None without the file.
        tables: metric or file name -> header of the cost table: unit, space, provenance.
        end_to_end: what ``measured.json`` holds a device: the front's latencies, predicted and
            measured; () without the file.
        ended: False where it was interrupted, or goes on.
    """

    directory: Path
    configuration: Mapping[str, Any]
    evaluations: pd.DataFrame
    members: tuple[Member, ...]
    family: Mapping[str, Any] | None
    tables: Mapping[str, Mapping[str, Any]]
    end_to_end: tuple[Mapping[str, Any], ...] = ()
    ended: bool = True

    @property
    def devices(self) -> list[str]:
        """Names of the devices."""
        return [str(device.get("name", "?")) for device in self.configuration["devices"]]

    @cached_property
    def metric_columns(self) -> list[str]:
        """Columns that hold metrics, accuracy and latencies first, an evaluator's own last."""
        columns = [str(name) for name in self.evaluations.columns]
        own = (name for name in columns if is_own(name))
        bases = ("accuracy", "latency_ms", "params", "macs", *own)
        return [name for base in bases for name in columns if name.partition("@")[0] == base]

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The rows that hold a measurement."""
        return self.evaluations[self.evaluations["status"] == "measured"]

    @cached_property
    def evaluated(self) -> pd.DataFrame:
        """The rows of what was evaluated: all but those that limits forbade."""
        return self.evaluations[self.evaluations["status"] != "skipped"]

    @cached_property
    def front(self) -> pd.DataFrame:
        """The rows of the front, by rising latency where there is one."""
        front = self.measured[self.measured["on_front"].astype(bool)]
        along = [name for name in self.metric_columns if name.startswith("latency_ms")]
        return front.sort_values(along[0], kind="stable") if along else front

    @cached_property
    def failures(self) -> list[tuple[str, str, int]]:
        """(kind, reason, how many) of what failed, the most frequent first."""
        failed = self.evaluations[self.evaluations["status"] == "failed"]
        counts = Counter(
            (str(kind or "error"), str(reason or "no reason recorded"))
            for kind, reason in zip(
                self._texts(failed, "kind"), self._texts(failed, "reason"), strict=True
            )
        )
        rows = [(kind, reason, count) for (kind, reason), count in counts.items()]
        return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))

    @staticmethod
    def _texts(frame: pd.DataFrame, name: str) -> list[Any]:
        return frame[name].tolist() if name in frame else [""] * len(frame)

    def direction(self, name: str) -> str:
        """Return which way of a column is better: the objective's, else the metric's nature.

        "" for a metric of an evaluator's own that is no objective.
        """
        for objective in self.configuration["objectives"]:
            if column(str(objective["name"])) == name:
                return str(objective["direction"])
        base = {"latency_ms": "latency", "measured_ms": "latency", "test_accuracy": "accuracy"}
        stem = name.partition("@")[0]
        metric = METRICS.get(base.get(stem, stem))
        return metric.direction if metric else ""


def read_run(directory: str | Path) -> Run:
    """Read the files of a run; of one that has not ended, what its journal holds.

    Args:
        directory: a run directory, such as ``runs/moga-001``.

    Raises:
        FormatError: no run directory, a run without results yet, one that has not ended and whose
            space no file describes, or a file that is damaged or of another version; the message
            says what was expected and what to do.
    """
    directory = Path(directory)
    configuration = _read_configuration(directory)
    family, members = _read_family(directory, configuration)
    return Run(
        directory=directory,
        configuration=configuration,
        evaluations=_read_evaluations(directory, configuration),
        members=members,
        family=family,
        tables=_read_tables(directory),
        end_to_end=tuple((read_measured(directory) or {}).get("devices", ())),
        ended=(directory / _EVALUATIONS).exists() or bool(read_stop(directory)),
    )


def _read_configuration(directory: Path) -> dict[str, Any]:
    configuration = read_configuration(directory) if directory.is_dir() else None
    if configuration is None:
        raise FormatError(
            f"{directory} is not the directory of a run (it holds no run.json); "
            "give a directory that `moga search` wrote, such as runs/moga-001"
        )
    if missing := [key for key in _NEEDED if key not in configuration]:
        raise FormatError(f"{directory / 'run.json'} lacks {', '.join(missing)}; restore the file")
    return configuration


def _read_evaluations(directory: Path, configuration: Mapping[str, Any]) -> pd.DataFrame:
    path = directory / _EVALUATIONS
    if not path.exists():
        return frame_of(read_book(directory, configuration).rows)
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{path} is damaged: {error}. Remove it, and it is written again: "
            f"{how_to_continue(directory, configuration)}"
        ) from error
    if missing := [name for name in _COLUMNS if name not in frame]:
        raise FormatError(
            f"{path} lacks the columns {', '.join(missing)}; was it written by another moga?"
        )
    return frame


def _read_json(path: Path, configuration: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path} is damaged: {error}. Remove it, and it is written again: "
            f"{how_to_continue(path.parent, configuration)}"
        ) from error
    return content if isinstance(content, dict) else {}


def _read_family(
    directory: Path, configuration: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, tuple[Member, ...]]:
    path = directory / "family.json"
    if not path.exists():
        return None, ()
    content = _read_json(path, configuration)
    if content.get("format") != _FAMILY_FORMAT or content.get("version") != _FAMILY_VERSION:
        raise FormatError(
            f'{path}: expected "format": "{_FAMILY_FORMAT}", "version": {_FAMILY_VERSION}, got '
            f"{content.get('format')!r}, {content.get('version')!r}; read it with the moga that "
            "wrote it"
        )
    members = tuple(_read_member(directory, entry) for entry in content.get("members", ()))
    return {key: value for key, value in content.items() if key != "members"}, members


def _read_member(directory: Path, entry: Mapping[str, Any]) -> Member:
    try:
        name, file = str(entry["name"]), directory / str(entry["network"])
    except KeyError as error:
        raise FormatError(
            f"{directory / 'family.json'}: a member lacks {error}; restore the file"
        ) from error
    if not file.exists():
        raise FormatError(f"{file} is missing, the network of member {name}; restore the file")
    return Member(name, entry, Network.load(file))


def _read_tables(directory: Path) -> dict[str, dict[str, Any]]:
    tables = {}
    for path in sorted((directory / "tables").glob("[!.]*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise FormatError(f"{path} is no cost table: {error}; restore the file") from error
        if not isinstance(header, dict) or header.get("format") != _TABLE_FORMAT:
            raise FormatError(f"{path} is no cost table of moga; restore the file")
        tables[path.stem] = header
    return tables
