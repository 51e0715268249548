"""The final front timed end to end where a device is at hand, against what the search went by.

That is what the device's table predicted, or, where an evaluator gives the latency, what it gave.

It is written into the run's directory as ``measured.json``. It may not be repeated byte by byte, so
that it stands beside ``front.csv`` and not in it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from moga.contracts import Progress
from moga.devices.base import Measures
from moga.devices.tableerror import caution, check_table
from moga.errors import MeasurementFailed
from moga.plan import Plan
from moga.report.book import Tables
from moga.runtime.rundir import read_measured, write_measured

__all__ = ["MOST", "measure_front"]

MOST: Final = 32
"""Networks of a front that are timed at most; of a longer front, evenly along it. They are timed in
shuffled rounds among each other, for few alone would run with warmer caches than a table's blocks.
"""


def measure_front(
    plan: Plan,
    tables: Tables,
    front: Sequence[Sequence[int]],
    directory: Path,
    progress: Progress,
    *,
    first: Sequence[Sequence[int]] = (),
    evaluated: Mapping[str, Mapping[tuple[int, ...], float]] | None = None,
) -> dict[str, Any] | None:
    """Time the networks of a front on every device that can, once a run; write and return it.

    What was written before is returned, unless one of `first` is missing in it. A network that
    cannot be timed ends no search: the reason is recorded instead.

    Args:
        plan: gives the devices.
        tables: what they predicted.
        front: genomes, in order along the front.
        directory: of the run.
        progress: is told how far it is.
        first: genomes of the front that must be among those timed.
        evaluated: metric -> genome -> ms, of latencies that an evaluator gave in the search.

    Returns:
        The content of ``measured.json``; None where no device can measure, or the front is empty.
    """
    devices = [device for device in plan.devices if isinstance(device, Measures)]
    if not devices or not len(front):
        return None
    chosen = _chosen(front, first)
    known = read_measured(directory)
    if known is not None and _holds(known, chosen[: len(first)]):
        return known
    entries = []
    for device in devices:
        metric = "latency" if len(plan.devices) == 1 else f"latency@{device.name}"
        entry: dict[str, Any] = {"device": device.name, "metric": metric}
        try:
            table = tables.tables[metric]
            error = check_table(table, device, np.array(chosen), progress)
        except MeasurementFailed as failure:
            progress.note(f"the front could not be measured on {device.name}: {failure}")
            entries.append({**entry, "summary": "", "failed": str(failure), "networks": []})
            continue
        entry |= {"searched_by": "table", "caution": caution(table, error)}
        if (given := (evaluated or {}).get(metric)) is not None:
            entry |= {"searched_by": "evaluator", "caution": ""}
            went_by = np.array([given[tuple(genome)] for genome in chosen])
            error = dataclasses.replace(error, predicted_ms=went_by, drift=None)
        columns = (error.predicted_ms, error.measured_ms, error.measured_spread_ms)
        rows = [
            {"genome": genome, "predicted_ms": p, "measured_ms": m, "measured_ms_se": _known(se)}
            for genome, p, m, se in zip(chosen, *(c.tolist() for c in columns), strict=True)
        ]
        entries.append({**entry, "summary": str(error), "failed": "", "networks": rows})
    return write_measured(directory, {"front": len(front), "devices": entries})


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def _chosen(front: Sequence[Sequence[int]], first: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the genomes `first`, then others evenly along the front, up to `MOST`."""
    genomes = [[int(gene) for gene in genome] for genome in first]
    others = [plain for g in front if (plain := [int(gene) for gene in g]) not in genomes]
    wanted = min(len(others), max(0, MOST - len(genomes)))
    rows = np.linspace(0, len(others) - 1, wanted).round().astype(int)
    return genomes + [others[row] for row in rows]


def _holds(known: Mapping[str, Any], genomes: Sequence[list[int]]) -> bool:
    return all(
        entry["failed"] or genome in [row["genome"] for row in entry["networks"]]
        for entry in known["devices"]
        for genome in genomes
    )
