"""Choosing from a front."""

import re
from pathlib import Path

import numpy as np
import pytest

from moga.contracts import Observations, parse_objective
from moga.errors import UsageError
from moga.pareto.archive import Archive
from moga.result import Result
from moga.spaces.moga import MoGASpace

COSTS = [(-90.0, 9.0), (-80.0, 5.0), (-70.0, 1.0), (-60.0, 2.0)]


@pytest.fixture
def result() -> Result:
    genomes = np.arange(4)[:, None] * np.ones((1, 14), dtype=np.int64)
    archive = Archive(2)
    archive.add(Observations.exact(genomes, np.array(COSTS)))
    rows = [
        {
            "order": i,
            "status": "measured",
            "accuracy": -accuracy,
            "latency_ms": ms,
            "on_front": i < 3,
            "genome": [i] * 14,
        }
        for i, (accuracy, ms) in enumerate(COSTS)
    ]
    objectives = (parse_objective("accuracy"), parse_objective("latency"))
    return Result(Path("run"), MoGASpace(), objectives, archive, rows, 0.5, None, "evaluations")


def test_front_is_sorted_by_latency(result: Result) -> None:
    assert result.front["latency_ms"].tolist() == [1.0, 5.0, 9.0]


def test_best_within_a_limit(result: Result) -> None:
    assert result.best(latency_ms=6)["accuracy"] == 80
    assert result.best()["accuracy"] == 90


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"latency": 3}, "best() knows no 'latency'; columns: order, accuracy, latency_ms"),
        ({"latency_ms": 0.5}, "has latency_ms <= 0.5; its 3 have latency_ms from 1"),
    ],
)
def test_best_that_there_is_not(result: Result, limits: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        result.best(**limits)


def test_an_empty_front_has_no_best(result: Result) -> None:
    for row in result.rows:
        row["on_front"] = False
    for row in result.rows:
        row["status"] = "failed"
    for choose in (lambda: result.best(latency_ms=3), lambda: result.choose(3)):
        with pytest.raises(UsageError, match="the front is empty: 4 evaluations failed"):
            choose()


def test_choose_puts_the_most_accurate_first(result: Result) -> None:
    assert result.choose(3)["accuracy"].tolist() == [90, 80, 70]
    assert result.choose(2)["accuracy"].tolist() == [90, 70]
    with pytest.raises(UsageError, match="asked for 0 networks"):
        result.choose(0)


def test_network_of_a_row(result: Result) -> None:
    network = result.network(result.best())
    assert network == MoGASpace().decode([0] * 14)


def test_repr(result: Result) -> None:
    assert repr(result) == "<Result run: 4 evaluations, front of 3, hypervolume 0.5000>"
