"""Run directories: new ones, their configuration, and what may not change."""

import json
import re
from pathlib import Path

import pytest

from moga.errors import FormatError, RunMismatch
from moga.runtime.rundir import (
    JOURNAL,
    check_same,
    new_run_dir,
    read_configuration,
    write_configuration,
)


def test_new_directories_are_numbered(tmp_path: Path) -> None:
    assert [new_run_dir("moga-cpu", tmp_path).name for _ in range(2)] == [
        "moga-cpu-001",
        "moga-cpu-002",
    ]


def test_configuration_both_ways(tmp_path: Path) -> None:
    assert read_configuration(tmp_path) is None
    write_configuration(tmp_path, {"seed": 3})
    assert read_configuration(tmp_path) == {"format": "moga-run", "version": 1, "seed": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is not the configuration of a moga run"),
        (json.dumps({"format": "moga-run", "version": 2}), "has version 2; this moga reads"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_configuration(tmp_path)


def test_what_differs_is_listed(tmp_path: Path) -> None:
    recorded = {"seed": 0, "space": {"spec": "moga", "digest": "a"}, "evaluations": 10}
    wanted = {"seed": 1, "space": {"spec": "moga", "digest": "b"}, "evaluations": 20}
    with pytest.raises(RunMismatch) as caught:
        check_same(tmp_path, recorded, wanted)
    assert "seed: the run has 0, you ask for 1" in str(caught.value)
    assert "space: the run has moga, you ask for moga" in str(caught.value)
    assert not re.search(r"evaluations:", str(caught.value))


def test_a_searcher_may_be_replaced_before_it_asked(tmp_path: Path) -> None:
    check_same(tmp_path, {"searcher": "pymoo(algorithm=GA)"}, {"searcher": "nsga2"})
    (tmp_path / JOURNAL).write_text("")
    check_same(tmp_path, {"searcher": "pymoo(algorithm=GA)"}, {"searcher": "nsga2"})
    (tmp_path / JOURNAL).write_text("a record\n")
    with pytest.raises(RunMismatch, match="searcher: the run has 'random', you ask for 'nsga2'"):
        check_same(tmp_path, {"searcher": "random"}, {"searcher": "nsga2"})


def test_details_that_became_known_do_not_count(tmp_path: Path) -> None:
    recorded = {"evaluator": {"name": "supernet", "details": {"seconds": 240}}}
    check_same(tmp_path, recorded, {"evaluator": {"name": "supernet"}})
