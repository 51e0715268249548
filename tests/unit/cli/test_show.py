"""What is printed of tables; the commands' own tests print the rest."""

import dataclasses

import numpy as np
import pytest

from moga.cli.show import print_profile, print_result
from moga.devices.profile import TableError
from moga.search import Search
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeDevice


@pytest.mark.parametrize(
    ("factor", "predicted", "words"),
    [
        (1.08, 0, ""),
        (1.2, 0, "networks take less than the sums of their blocks, by far more than the spread"),
        (0.5, 0, "networks take more than the sums of their blocks"),
        (6.0, 102, "give more seconds, or have all blocks timed (missing=measure)"),
    ],
)
def test_a_table_that_is_wrong_by_far_more_than_its_spread_says_so(
    tmp_path, capsys, factor, predicted, words
):
    table = FakeDevice().table(MoGASpace(32, 0.35, 10))
    provenance = {**table.provenance, **({"blocks_predicted": predicted} if predicted else {})}
    table = dataclasses.replace(table, provenance=provenance)
    measured = np.array([1.0, 1.1, 1.2])
    error = TableError(factor * measured, measured, np.full(3, 0.01))
    print_profile(table, error, tmp_path / "t.npz", as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert ("caution" in shown) == bool(words)
    assert words in shown
    assert ("give more seconds" in shown) == bool(predicted)


@pytest.mark.parametrize(
    ("evaluator", "head"), [("latency", "latency measured in the search"), (None, "latency")]
)
def test_latencies_that_a_search_measured_are_called_measured(
    tmp_path, capsys, monkeypatch, evaluator, head
):
    monkeypatch.setenv("COLUMNS", "200")
    options = {"evaluations": 8, "batch": 8, "in_flight": 8, "executor": "local"}
    run = Search(
        MoGASpace(32, 0.35, 10),
        FakeDevice(),
        ("latency", "params:max"),
        evaluator=evaluator,
        storage=tmp_path / "run",
        **options,
    )
    print_result(run.run(), as_json=False)
    heads = next(line for line in capsys.readouterr().out.splitlines() if "network" in line)
    assert [cell.strip() for cell in heads.strip("┏┃┓ ").split("┃")][1:3] == [
        head,
        "latency measured",
    ]
