"""What is printed of tables; the commands' own tests print the rest."""

import dataclasses

import numpy as np
import pytest

from moga.cli.show import print_profile, print_result
from moga.devices.tableerror import TableError
from moga.search import Search
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeDevice

SPACE = MoGASpace(32, 0.35, 10)
MEASURED = np.array([1.0, 1.1, 1.2])


def shown(capsys, path, error, **provenance):
    table = FakeDevice().table(SPACE)
    table = dataclasses.replace(table, provenance={**table.provenance, **provenance})
    print_profile(table, error, path / "t.npz", as_json=False)
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("factor", "predicted", "words"),
    [
        (1.08, 0, ""),
        (1.2, 0, "networks take less than the sums of their blocks, by far more than the spread"),
        (0.5, 0, "networks take more than the sums of their blocks"),
        (6.0, 102, "Give more seconds, or have all blocks timed (missing=measure)"),
    ],
)
def test_a_table_that_is_wrong_by_far_more_than_its_spread_says_so(
    tmp_path, capsys, factor, predicted, words
):
    error = TableError(factor * MEASURED, MEASURED, np.full(3, 0.01))
    more = {"blocks_predicted": predicted, "prediction_error_percent": 9.0} if predicted else {}
    text = shown(capsys, tmp_path, error, blocks=126, blocks_reused=0, **more)
    assert ("caution" in text) == bool(words)
    assert words in text
    assert ("Give more seconds" in text) == bool(predicted)
    assert ("method fake, 81 % of blocks predicted" in text) == bool(predicted)
    assert "refresh" not in text


def test_a_table_of_earlier_runs_may_be_of_another_speed(tmp_path, capsys):
    error = TableError(0.7 * MEASURED, MEASURED, np.full(3, 0.01))
    text = shown(capsys, tmp_path, error, blocks=126, blocks_reused=60)
    assert "networks take more than the sums of their blocks" in text
    assert "60 of 126 blocks were timed in an earlier run; the machine may have another" in text
    assert "have all timed again (refresh=true, of the device)" in text


@pytest.mark.parametrize("drift", [0.4, -0.4])
def test_a_machine_of_another_speed_is_told_from_a_table_that_is_wrong(tmp_path, capsys, drift):
    error = TableError(MEASURED / (1 + drift), MEASURED, np.full(3, 0.01), drift)
    text = shown(capsys, tmp_path, error, blocks=126, blocks_reused=126)
    change = "The machine takes 40 % more time" if drift > 0 else "takes 40 % less time"
    assert f"{change} than when the table's blocks were timed" in text
    assert "have all timed again (refresh=true, of the device)" in text
    assert "sums of their blocks" not in text
    wrong = dataclasses.replace(error, predicted_ms=3 * MEASURED)
    text = shown(capsys, tmp_path, wrong, blocks=126, blocks_reused=126)
    assert "networks take less than the sums of their blocks" in text
    assert "refresh" not in text


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
