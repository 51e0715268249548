import json

import pandas as pd
import pytest

from moga.errors import FormatError
from moga.report.run import read_run


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_a_run_is_read(run_directory):
    run = read_run(run_directory)
    assert run.devices == ["cpu"]
    assert [member.name for member in run.members] == ["A", "B", "C"]
    assert run.members[0].network.input_shape == (3, 32, 32)
    assert run.members[0].error("latency_ms") == run.members[0].values["latency_ms_se"]
    assert run.metric_columns == ["accuracy", "latency_ms", "params", "macs"]
    assert set(run.tables) == {"latency", "params", "macs"}
    assert run.tables["latency"]["provenance"]["method"] == "measured"
    assert run.front["latency_ms"].is_monotonic_increasing
    assert len(run.front) == int(run.evaluations["on_front"].sum())


def test_failures_are_counted_by_reason(run_directory):
    assert read_run(run_directory).failures == [
        ("error", "ValueError: <b>bad & ugly</b>", 4),
        ("timeout", "over 5 s", 3),
    ]


def test_the_objectives_decide_which_way_is_better(run_directory):
    run = read_run(run_directory)
    names = ("accuracy", "latency_ms", "measured_ms", "params", "macs")
    assert [run.direction(name) for name in names] == ["max", "min", "min", "max", "min"]


def test_a_run_without_family_and_tables(run_directory):
    (run_directory / "family.json").unlink()
    for path in (run_directory / "tables").iterdir():
        path.unlink()
    run = read_run(run_directory)
    assert run.family is None
    assert run.members == ()
    assert run.tables == {}


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_what_is_no_run_is_refused(tmp_path, kind):
    directory = tmp_path / "nothing" if kind == "missing" else tmp_path
    with pytest.raises(FormatError, match=r"not the directory of a run .* `moga search` wrote"):
        read_run(directory)


@pytest.mark.parametrize("journal", [None, ""])
def test_a_run_without_results_says_how_to_go_on(run_directory, journal):
    (run_directory / "evaluations.parquet").unlink()
    if journal is not None:
        (run_directory / "journal.jsonl").write_text(journal)
    words = "holds no results yet: nothing was asked; continue with `moga resume"
    with pytest.raises(FormatError, match=words):
        read_run(run_directory)


def test_a_configuration_without_its_parts(run_directory):
    content = json.loads((run_directory / "run.json").read_text())
    del content["seed"], content["devices"]
    (run_directory / "run.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"run\.json lacks devices, seed"):
        read_run(run_directory)


def test_damaged_evaluations(run_directory):
    path = run_directory / "evaluations.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(
        FormatError,
        match=r"evaluations\.parquet is damaged: .* written again: continue with .moga resume",
    ):
        read_run(run_directory)


def test_evaluations_without_a_column(run_directory):
    path = run_directory / "evaluations.parquet"
    pd.read_parquet(path).drop(columns=["on_front", "status"]).to_parquet(path)
    with pytest.raises(FormatError, match="lacks the columns status, on_front"):
        read_run(run_directory)


def test_a_damaged_family(run_directory):
    (run_directory / "family.json").write_text("{")
    with pytest.raises(
        FormatError, match=r"family\.json is damaged: .* written again: continue with .moga resume"
    ):
        read_run(run_directory)


def test_a_family_of_another_version(run_directory):
    edit(run_directory / "family.json", version=2)
    with pytest.raises(FormatError, match=r'"version": 1, got \'moga-family\', 2; read it with'):
        read_run(run_directory)


def test_a_member_without_a_network(run_directory):
    edit(run_directory / "family.json", members=[{"name": "A"}])
    with pytest.raises(FormatError, match="a member lacks 'network'; restore"):
        read_run(run_directory)


def test_a_missing_network(run_directory):
    (run_directory / "family" / "B.json").unlink()
    with pytest.raises(FormatError, match=r"B\.json is missing, the network of member B"):
        read_run(run_directory)


@pytest.mark.parametrize("kept", [0, 300])
def test_a_damaged_table(run_directory, kept):
    path = run_directory / "tables" / "latency.npz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FormatError, match=r"latency\.npz is no cost table: .*; restore the file"):
        read_run(run_directory)


def test_a_table_of_another_program(run_directory):
    import numpy as np

    np.savez(run_directory / "tables" / "latency.npz", header=np.array('{"format": "other"}'))
    with pytest.raises(FormatError, match="no cost table of moga; restore"):
        read_run(run_directory)
