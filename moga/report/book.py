"""Book: what came of a run's genomes, a row each, with the archive; kept by a session, or read.

An open run enters its batches as they come. Of a run that was interrupted, `read_book` enters what
its journal holds, without searcher and evaluator: the same rows, by the same calls.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from moga import registry
from moga.contracts import (
    Bounded,
    Failed,
    Genomes,
    Measured,
    Objective,
    Observations,
    Outcome,
    costs_of,
    violations_of,
)
from moga.errors import FormatError, UsageError
from moga.pareto.archive import Archive
from moga.report.text import column
from moga.runtime.ledger import Answer, Ledger
from moga.runtime.rundir import JOURNAL, how_to_continue, objective_from_json
from moga.spaces.base import Space
from moga.spaces.cost import CostTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BOOKKEEPING",
    "COUNTED",
    "Book",
    "Tables",
    "frame_of",
    "latency_names",
    "limits_of",
    "read_book",
    "read_space",
    "read_stop",
]

COUNTED: Final = ("params", "macs")
"""Costs that are counted from a network's blocks."""

BOOKKEEPING: Final = (
    *("order", "batch", "status", "kind", "reason", "violation"),
    *("on_front", "hypervolume"),
)
"""Columns that say how a row came about; they stand last."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """The costs that are known without an evaluation: a table a metric.

    Args:
        tables: objective name ("params", "latency", "latency@v100") -> table.
    """

    tables: Mapping[str, CostTable]

    @classmethod
    def load(cls, directory: Path, names: Iterable[str], space: Space) -> "Tables":
        """Read a run's own tables from its folder of tables.

        Raises:
            FormatError: one that is missing or damaged.
        """
        try:
            return cls({name: CostTable.load(directory / f"{name}.npz", space) for name in names})
        except FormatError as error:
            raise FormatError(
                f"{error}. It is a run's own copy: restore it, or remove it and resume"
            ) from error

    def values(self, genomes: Genomes) -> dict[str, NDArray[np.float64]]:
        """Return name -> value of each genome, shape (n,)."""
        return {name: table(genomes) for name, table in self.tables.items()}

    def standard_errors(self, genomes: Genomes) -> dict[str, NDArray[np.float64]]:
        """Return name -> standard error of each value, shape (n,), of tables that have them."""
        return {
            name: table.standard_error(genomes)
            for name, table in self.tables.items()
            if table.uncertain
        }

    def predicted(self, genomes: Genomes) -> dict[str, NDArray[np.int64]]:
        """Return name -> in how many slots each value rests on a prediction, shape (n,).

        Only tables that were not measured in full are there.
        """
        return {
            name: table.predicted_slots(genomes)
            for name, table in self.tables.items()
            if table.predicted
        }

    def box(
        self, objectives: Sequence[Objective]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the worst and the best cost of each objective that there can be.

        Accuracy spans 0 to 100 %; a table, the sums of its slots' smallest and largest entries, and
        one more where these are the same, so that there is a volume. Of an evaluator's own metrics
        nothing is known: nan.
        """
        spans = []
        for objective in objectives:
            low, high = (0.0, 100.0) if objective.metric == "accuracy" else (np.nan, np.nan)
            if objective.name in self.tables:
                low, high = self.tables[objective.name].bounds
            spans.append(sorted((objective.sign * low, objective.sign * high)))
        best, worst = np.array(spans).T
        return np.where(worst == best, best + 1, worst), best

    def grids(self, objectives: Sequence[Objective]) -> NDArray[np.float64]:
        """Return the noise step of each objective; 0 where values are exact."""
        return np.array([getattr(self.tables.get(o.name), "grid", 0.0) for o in objectives])


class Book:
    """What came of genomes: a row each, in the order of their results, and the archive.

    Args:
        objectives: what is optimised.
        constraints: limits on what is no objective.
        evaluated: metrics that an evaluation gives.
        tables: the costs that are known without.

    Attributes:
        rows: column -> value, one mapping a genome; none for what came again.
        entered: the genomes that have their row, as bytes.
        archive: exact results within all limits.
        hypervolume: of the front, between the worst and the best that the tables allow, 0 to 1; nan
            where an objective is a metric of the evaluator's own, whose range nobody knows.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Objective],
        evaluated: Sequence[str],
        tables: Tables,
    ) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        self.evaluated, self.tables = tuple(evaluated), tables
        self.rows: list[dict[str, Any]] = []
        self.entered: set[bytes] = set()
        self.archive = Archive(len(objectives), grid=tables.grids(objectives).tolist())
        self._box = tables.box(self.objectives)
        self._bounded = bool(np.isfinite(self._box).all())
        self.hypervolume = 0.0 if self._bounded else math.nan

    def violations(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return by how much genomes break the limits, as far as tables tell, shape (n,)."""
        limits = (*self.objectives, *self.constraints)
        return violations_of(self.tables.values(genomes), limits, len(genomes))

    def enter(
        self, batch: int, genomes: Genomes, outcomes: Sequence[Outcome | None]
    ) -> Observations:
        """Enter what became of a batch, and return it as a searcher is told.

        Args:
            batch: its number.
            genomes: shape (n, genes).
            outcomes: one a genome; None where limits forbade the evaluation.
        """
        values, errors = self._values(genomes, outcomes)
        observations = self._observe(genomes, outcomes, values, errors)
        self.archive.add(observations)
        if self._bounded:
            worst, best = self._box
            self.hypervolume = self.archive.hypervolume(worst.tolist(), best.tolist())
        figures = self._figures(genomes, values, errors)
        for row, (genome, outcome) in enumerate(zip(genomes, outcomes, strict=True)):
            if (key := genome.tobytes()) in self.entered:
                continue
            self.entered.add(key)
            failed = outcome if isinstance(outcome, Failed) else None
            self.rows.append(
                {
                    **{name: number[row].item() for name, number in figures.items()},
                    "genome": [int(gene) for gene in genome],
                    "order": len(self.rows),
                    "batch": batch,
                    "status": "skipped" if outcome is None else type(outcome).__name__.lower(),
                    "kind": failed.kind if failed else "",
                    "reason": failed.reason if failed else "",
                    "violation": float(observations.violations[row]),
                    "on_front": False,
                    "hypervolume": self.hypervolume,
                }
            )
        return observations

    def mark_front(self) -> None:
        """Say in each row whether it is on the front."""
        on_front = {genome.tobytes() for genome in self.archive.genomes[self.archive.front]}
        for row in self.rows:
            key = np.array(row["genome"], dtype=np.int64).tobytes()
            row["on_front"] = row["status"] == "measured" and key in on_front

    def _values(
        self, genomes: Genomes, outcomes: Sequence[Outcome | None]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return values and standard errors by name, each of shape (n,); nan where unknown."""
        n = len(genomes)
        values: dict[str, Any] = dict(self.tables.values(genomes))
        errors: dict[str, Any] = dict(self.tables.standard_errors(genomes))
        for metric in self.evaluated:
            # where a limit forbade the evaluation, a latency stays the table's
            values[metric] = values.get(metric, np.full(n, np.nan)).copy()
            errors[metric] = errors.get(metric, np.full(n, np.nan)).copy()
            for row, outcome in enumerate(outcomes):
                if outcome is None:
                    continue
                values[metric][row] = errors[metric][row] = np.nan
                if isinstance(outcome, Measured | Bounded):
                    values[metric][row] = outcome.values.get(metric, math.nan)
                if isinstance(outcome, Measured):
                    errors[metric][row] = outcome.spread.get(metric, math.nan)
        return values, errors

    def _observe(
        self,
        genomes: Genomes,
        outcomes: Sequence[Outcome | None],
        values: Mapping[str, Any],
        errors: Mapping[str, Any],
    ) -> Observations:
        n = len(genomes)
        costs = costs_of(values, self.objectives, n)
        costs[[isinstance(outcome, Failed) for outcome in outcomes]] = np.nan
        fidelity = [o.fidelity if isinstance(o, Bounded) else 1.0 for o in outcomes]
        return Observations(
            genomes=genomes,
            costs=costs,
            violations=violations_of(values, (*self.objectives, *self.constraints), n),
            spread=np.abs(costs_of(errors, self.objectives, n)),
            bounded=np.array([isinstance(outcome, Bounded) for outcome in outcomes]),
            fidelity=np.array(fidelity),
        )

    def _figures(
        self, genomes: Genomes, values: Mapping[str, Any], errors: Mapping[str, Any]
    ) -> dict[str, NDArray[Any]]:
        """Return column -> values: the objectives, the other metrics, then what is off in them."""
        goals = [objective.name for objective in self.objectives]
        names = list(dict.fromkeys([*goals, *self.evaluated, *self.tables.tables]))
        predicted = self.tables.predicted(genomes)
        figures = {
            column(name): values[name].astype(np.int64 if name in COUNTED else np.float64)
            for name in names
        }
        for name in names:
            metric, at, device = column(name).partition("@")
            if name in errors:
                figures[f"{metric}_se{at}{device}"] = errors[name]
            if name in predicted and name not in self.evaluated:
                figures[f"{metric}_predicted{at}{device}"] = predicted[name]
        return figures


def frame_of(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return rows of a book as a frame; where there are none, with the columns of every run."""
    import pandas as pd

    if not rows:
        return pd.DataFrame(columns=["genome", *BOOKKEEPING])
    return pd.DataFrame.from_records(list(rows))


def latency_names(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the latencies on devices: with one device, its name is left out."""
    return ("latency",) if len(devices) == 1 else tuple(f"latency@{name}" for name in devices)


def limits_of(
    configuration: Mapping[str, Any],
) -> tuple[tuple[Objective, ...], tuple[Objective, ...]]:
    """Return the objectives and the constraints that ``run.json`` holds."""
    objectives, constraints = (
        tuple(objective_from_json(item, optimised=goal) for item in configuration[key])
        for key, goal in (("objectives", True), ("constraints", False))
    )
    return objectives, constraints


def read_space(configuration: Mapping[str, Any]) -> Space | None:
    """Build the space that ``run.json`` names; None where that was a Python object."""
    recorded = configuration["space"]
    try:
        space: Space = registry.create("space", recorded["spec"])
    except UsageError:
        return None
    return space if space.digest == recorded["digest"] else None


def read_stop(directory: Path) -> str:
    """Return why a run ended, as `moga.runtime.ledger.Stop` says; "" where it has not."""
    path = directory / JOURNAL
    if not path.exists():
        return ""
    with Ledger(path, read_only=True) as ledger:
        return ledger.stop.reason if ledger.stop else ""


def read_book(directory: Path, configuration: Mapping[str, Any]) -> Book:
    """Enter what a run's journal holds; nothing is changed, even where the run goes on meanwhile.

    Args:
        directory: of the run.
        configuration: what its ``run.json`` holds.

    Raises:
        FormatError: no result yet, a space that no file describes, or damaged files.
    """
    cure = how_to_continue(directory, configuration)
    asked: list[Genomes] = []
    if (directory / JOURNAL).exists():
        with Ledger(directory / JOURNAL, read_only=True) as ledger:
            asked = [batch.genomes for batch in ledger.asked]
            answers = ledger.answers
    if not asked:
        raise FormatError(f"{directory} holds no results yet: nothing was asked; {cure}")
    if "evaluated" not in configuration:
        raise FormatError(
            f"{directory / 'run.json'} lacks evaluated, for an earlier moga began the run; {cure}"
        )
    space = read_space(configuration)
    if space is None:
        raise FormatError(
            f"{directory} holds a run that has not ended, of the space "
            f"{configuration['space']['spec']}, which is a Python object that no file describes, "
            f"so that its journal cannot be read without it; {cure}"
        )
    devices = [device["name"] for device in configuration["devices"]]
    tables = Tables.load(directory / "tables", (*COUNTED, *latency_names(devices)), space)
    book = Book(*limits_of(configuration), configuration["evaluated"], tables)
    ranks = {number: rank for rank, number in enumerate(answers)}
    numbers = range(len(asked))
    done: dict[bytes, Outcome] = {}
    for number in (
        numbers
        if configuration["order"] == "asked"
        else sorted(numbers, key=lambda number: ranks.get(number, -1))
    ):
        outcomes = _outcomes(book, asked[number], answers.get(number), done)
        if outcomes is not None:
            book.enter(number, asked[number], outcomes)
    book.mark_front()
    return book


def _outcomes(
    book: Book, genomes: Genomes, answer: Answer | None, done: dict[bytes, Outcome]
) -> list[Outcome | None] | None:
    """Return what is known of a batch, and note it in `done`; None where it was under way."""
    found: list[Outcome | None] = []
    for row, violation in enumerate(book.violations(genomes)):
        key = genomes[row].tobytes()
        outcome = answer.outcomes[row] if answer else None
        if violation > 0:
            outcome = None
        elif outcome is None and (outcome := done.get(key)) is None:
            if book.evaluated:
                return None
            outcome = Measured({})
        if outcome is not None:
            done[key] = outcome
        found.append(outcome)
    return found
