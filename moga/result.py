"""Result: what a search found, as frames, and how to choose from it."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moga.contracts import Objective, Observations
from moga.errors import UsageError
from moga.network import Network
from moga.pareto.archive import Archive
from moga.pareto.choose import equal_distance
from moga.report.book import frame_of, limits_of, read_space, read_stop
from moga.report.limits import why_empty
from moga.report.text import column, sentence
from moga.runtime.rundir import read_measured
from moga.spaces.base import Space

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result"]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a search found; frames are pandas.

    Args:
        run_dir: the directory of the run.
        space: what was searched; None where it was read from files that cannot describe it.
        objectives: the optimised ones, in order.
        archive: exact results and their front.
        rows: one mapping a genome, in the order of the asks; none for what was proposed again.
        hypervolume: of the front, between the worst and the best that the tables allow, 0 to 1; nan
            where an objective is a metric of the evaluator's own, whose range nobody knows.
        family: content of ``family.json``; None where no family was selected.
        stopped: why the search ended; see `moga.runtime.ledger.Stop`. "" where it has not.
        measured: content of ``measured.json``; None where no device could measure the front.
        constraints: limits on what is no objective.
    """

    run_dir: Path
    space: Space | None
    objectives: tuple[Objective, ...]
    archive: Archive
    rows: Sequence[Mapping[str, Any]]
    hypervolume: float
    family: Mapping[str, Any] | None
    stopped: str
    measured: Mapping[str, Any] | None = None
    constraints: tuple[Objective, ...] = ()

    @classmethod
    def read(cls, run_dir: str | Path) -> "Result":
        """Read the result of a run from its files; nothing is changed.

        Of a run that was interrupted, or that goes on in another process, it is what its journal
        holds; `stopped` is then "".

        Raises:
            FormatError: as `moga.report.run.read_run` does.
        """
        from moga.report.run import read_run

        run = read_run(run_dir)
        objectives, constraints = limits_of(run.configuration)
        frame = run.evaluations
        frame["genome"] = [[int(gene) for gene in genome] for genome in frame["genome"]]
        exact = frame[(frame["status"] == "measured") & (frame["violation"] == 0)]
        grid = [run.tables.get(o.name, {}).get("grid", 0.0) for o in objectives]
        archive = Archive(len(objectives), grid=grid)
        if len(exact):
            costs = [o.sign * exact[column(o.name)].to_numpy(float) for o in objectives]
            genomes = np.array(exact["genome"].tolist(), dtype=np.int64)
            archive.add(Observations.exact(genomes, np.stack(costs, axis=1)))
        path = run.directory / "family.json"
        return cls(
            run_dir=run.directory,
            space=read_space(run.configuration),
            objectives=objectives,
            archive=archive,
            rows=frame.to_dict("records"),  # type: ignore[arg-type]  # columns are texts
            hypervolume=float(frame["hypervolume"].iloc[-1]) if len(frame) else math.nan,
            family=json.loads(path.read_text(encoding="utf-8")) if path.exists() else None,
            stopped=read_stop(run.directory),
            measured=read_measured(run.directory),
            constraints=constraints,
        )

    @cached_property
    def evaluations(self) -> "pd.DataFrame":
        """Every genome that was asked for, once, in order, with what became of it."""
        return frame_of(self.rows)

    @cached_property
    def front(self) -> "pd.DataFrame":
        """The non-dominated rows of `evaluations`, by latency (or the first cost but accuracy)."""
        frame = self.evaluations
        if frame.empty:
            return frame.drop(columns=["on_front"])
        chosen = frame[frame["on_front"].astype(bool)].drop(columns=["on_front"])
        axes = [column(o.name) for o in self.objectives if o.metric != "accuracy"]
        by = (axes or [column(self.objectives[0].name)])[0]
        return chosen.sort_values([by, "order"], kind="stable").reset_index(drop=True)

    @cached_property
    def end_to_end(self) -> "pd.DataFrame":
        """The networks of the front that were timed end to end: predicted and measured, in ms.

        A row a device and network: ``metric``, ``genome``, ``predicted_ms``, ``measured_ms`` and
        ``measured_ms_se``. Empty where no device could measure.
        """
        import pandas as pd

        columns = ["metric", "genome", "predicted_ms", "measured_ms", "measured_ms_se"]
        entries = (self.measured or {}).get("devices", ())
        rows = [{"metric": e["metric"], **row} for e in entries for row in e["networks"]]
        return pd.DataFrame(rows, columns=columns)

    @property
    def why_empty(self) -> str:
        """Why nothing is on the front, with what came nearest to the limits; "" where it is not."""
        return why_empty(self.evaluations, self.objectives, self.constraints)

    def network(self, row: Mapping[str, Any]) -> Network:
        """Return the network of a row of `front` or `evaluations`.

        Raises:
            UsageError: the result was read from files, and its space was a Python object.
        """
        if self.space is None:
            raise UsageError(
                f"{self.run_dir} was searched in a space that is a Python object, which no file "
                "describes; decode with that: space.decode(row['genome'])"
            )
        return self.space.decode(row["genome"])

    def best(self, **limits: float) -> "pd.Series[Any]":
        """Return the front's best row by the first objective, within upper limits.

        Args:
            **limits: column -> largest value allowed, such as ``latency_ms=12``.

        Raises:
            UsageError: an unknown column, or no row within the limits.
        """
        front = frame = self.front
        for name, limit in limits.items():
            if name not in frame.columns:
                numbers = [c for c in frame.columns if frame[c].dtype.kind in "if"]
                raise UsageError(f"best() knows no {name!r}; columns: {', '.join(numbers)}")
            frame = frame[frame[name] <= limit]
        if frame.empty:
            asked = ", ".join(f"{name} <= {limit:g}" for name, limit in limits.items())
            least = ", ".join(f"{name} from {front[name].min():.4g}" for name in limits)
            raise UsageError(
                f"no network of the front has {asked}; its {len(front)} have {least}"
                if len(front)
                else f"the front is empty: {self.why_empty}"
            )
        first = self.objectives[0]
        values = frame[column(first.name)] * first.sign
        return frame.iloc[int(values.argmin())]

    def choose(self, k: int) -> "pd.DataFrame":
        """Return k rows of the front at equal distance along it, the first objective's best first.

        Distance is arc length along the projection on accuracy and latency (where both are
        optimised, else on the first two objectives), both normalised (MoGA section 4.4; the paper
        leaves open how three objectives are to be measured).

        Raises:
            UsageError: k below 1, or an empty front.
        """
        frame = self.front
        if k < 1:
            raise UsageError(f"asked for {k} networks; ask for 1 or more")
        if frame.empty:
            raise UsageError(f"the front is empty: {self.why_empty}")
        axes = self._projection()
        costs = np.stack([o.sign * frame[column(o.name)].to_numpy(float) for o in axes], axis=1)
        chosen = equal_distance(costs, k) if len(axes) == 2 else np.argsort(costs[:, 0])[:k]
        order = np.argsort(costs[chosen, 0], kind="stable")
        return frame.iloc[np.asarray(chosen)[order]].reset_index(drop=True)

    def _projection(self) -> tuple[Objective, ...]:
        by_metric = {objective.metric: objective for objective in reversed(self.objectives)}
        if {"accuracy", "latency"} <= set(by_metric):
            return by_metric["accuracy"], by_metric["latency"]
        return self.objectives[:2]

    def report(self) -> Path:
        """Write ``report.html`` again and return its path."""
        from moga.report.html import write_report

        return write_report(self.run_dir)

    def __repr__(self) -> str:
        done = sum(row["status"] == "measured" for row in self.rows)
        volume = "unknown" if math.isnan(self.hypervolume) else f"{self.hypervolume:.4f}"
        why = f". {sentence(self.why_empty)}" if self.why_empty else ""
        return (
            f"<Result {self.run_dir}: {done} evaluations, front of {len(self.archive.front)}, "
            f"hypervolume {volume}{why}>"
        )
