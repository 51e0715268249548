"""A small but realistic run directory, as a search leaves it, made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moga.pareto.dominance import nondominated
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTable, count_table
from moga.spaces.moga import MoGASpace

ROWS = 120


def tables_of(space: MoGASpace) -> dict[str, CostTable]:
    params, macs = count_table(space, "params"), count_table(space, "macs")
    arrays = tuple(0.004 + array / 8e7 for array in macs.arrays)
    provenance = {
        "method": "measured",
        "device": "cpu",
        "protocol": {"rounds": 30, "order": "shuffled", "warm_up": 5, "estimate": "median"},
        "blocks": 170,
        "versions": {"torch": "2.0"},
    }
    spread = tuple(0.01 * array for array in arrays)
    latency = CostTable("latency", "ms", space, arrays, spread, provenance=provenance)
    return {"latency": latency, "params": params, "macs": macs}


def evaluations_of(space: MoGASpace, tables: dict[str, CostTable]) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    genomes = sample_uniform(space.sizes, ROWS, rng)
    costs = {name: table(genomes) for name, table in tables.items()}
    accuracy = 40 + 9 * np.log(costs["macs"] / costs["macs"].min() + 1) + rng.normal(0, 1.5, ROWS)
    status = np.where(np.arange(ROWS) % 17 == 5, "failed", "measured")
    status[3] = "skipped"
    lost = status != "measured"
    accuracy[lost] = np.nan
    points = np.stack([-accuracy, costs["latency"], -costs["params"]], axis=1)
    front = np.zeros(ROWS, dtype=bool)
    front[np.flatnonzero(~lost)[nondominated(points[~lost])]] = True
    kinds = np.where(np.arange(ROWS) % 2, "error", "timeout")
    reasons = np.where(kinds == "error", "ValueError: <b>bad & ugly</b>", "over 5 s")
    failed = status == "failed"
    return pd.DataFrame(
        {
            "order": np.arange(ROWS),
            "batch": np.arange(ROWS) // 4,
            "status": status,
            "kind": np.where(failed, kinds, ""),
            "reason": np.where(failed, reasons, ""),
            "violation": np.zeros(ROWS),
            "accuracy": accuracy,
            "accuracy_se": np.where(lost, np.nan, 2.1),
            "latency_ms": costs["latency"],
            "latency_ms_se": tables["latency"].standard_error(genomes),
            "params": costs["params"],
            "macs": costs["macs"],
            "on_front": front,
            "hypervolume": np.maximum.accumulate(np.linspace(0.1, 0.8, ROWS) ** 0.5 // 0.02 * 0.02),
            "genome": genomes.tolist(),
        }
    )


def configuration_of(space: MoGASpace) -> dict[str, Any]:
    def objective(name: str, direction: str, weight: float, unit: str) -> dict[str, Any]:
        limits = {"lower": None, "upper": None}
        values = {"name": name, "metric": name, "direction": direction, "weight": weight}
        return {**values, **limits, "unit": unit}

    return {
        "format": "moga-run",
        "version": 1,
        "moga": "0.1.0",
        "space": {"name": space.name, "spec": space.spec, "digest": space.digest},
        "devices": [{"name": "cpu"}],
        "objectives": [
            objective("accuracy", "max", 0.4, "%"),
            objective("latency", "min", 0.4, "ms"),
            objective("params", "max", 0.2, ""),
        ],
        "constraints": [],
        "searcher": "nsga2",
        "seed": 0,
        "evaluations": ROWS,
        "hours": None,
        "in_flight": 16,
        "batch": 4,
        "order": "asked",
        "executor": "ray",
        "data": {"source": "bundled", "digest": "0123456789abcdef"},
        "evaluator": {
            "name": "supernet",
            "details": {
                "training": {"epochs": 28, "seconds": 231.5, "loss": 1.42},
                "calibration": {"images": 256},
                "validation": {"images": 430, "people": 31},
            },
        },
        "family": "moga",
        "evaluated": ["accuracy"],
        "call": {"space": space.spec},
        "versions": {"python": "3.11.9", "torch": "2.0", "ray": "2.0"},
        "host": {"cpu": "A processor", "cores": 2, "platform": "Linux"},
        "started": "2026-01-02T03:04:05+00:00",
    }


def member_of(name: str, row: pd.Series) -> dict[str, Any]:
    numbers = ("accuracy", "accuracy_se", "latency_ms", "latency_ms_se")
    return {
        "name": name,
        "genome": [int(gene) for gene in row["genome"]],
        "network": f"family/{name}.json",
        "weights": None,
        **{number: float(row[number]) for number in numbers},
        "measured_ms": float(row["latency_ms"]) * 1.03,
        "measured_ms_se": 0.02,
        "params": int(row["params"]),
        "macs": int(row["macs"]),
        "test_accuracy": None,
    }


def write_run(directory: Path) -> Path:
    space = MoGASpace(resolution=32, width=0.35, num_classes=10, stem_stride=2)
    tables = tables_of(space)
    frame = evaluations_of(space, tables)
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(configuration_of(space)))
    frame.to_parquet(directory / "evaluations.parquet")
    for name, table in tables.items():
        table.save(directory / "tables" / f"{name}.npz")
    front = frame[frame["on_front"]].sort_values("latency_ms")
    picked = front.iloc[[len(front) - 1, len(front) // 2, 0]]
    members = [
        member_of(name, row) for name, (_, row) in zip("ABC", picked.iterrows(), strict=True)
    ]
    for member in members:
        (directory / "family").mkdir(exist_ok=True)
        space.decode(member["genome"]).save(directory / member["network"])
    family = {"format": "moga-family", "version": 1, "recipe": "moga"}
    how = {"protocol": "equal distance along accuracy and latency", "rounds": 30}
    content = {**family, "how": how, "members": members}
    (directory / "family.json").write_text(json.dumps(content))
    return directory


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A finished run of MoGA's space with a family of three, some failures and a skipped row."""
    return write_run(tmp_path / "runs" / "moga-001")
