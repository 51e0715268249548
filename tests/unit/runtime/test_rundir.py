"""Run directories: new ones, their configuration, and what may not change."""

import json
import re
from pathlib import Path

import pytest

from moga.contracts import parse_constraint, parse_objective
from moga.errors import FormatError, RunMismatch
from moga.runtime.rundir import (
    JOURNAL,
    check_same,
    how_to_continue,
    new_run_dir,
    objective_from_json,
    objective_to_json,
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
    words = "space: moga, the same name, but other networks (digest a in the run, b now)"
    assert words in str(caught.value)
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


@pytest.mark.parametrize(
    ("key", "recorded", "wanted", "message"),
    [
        (
            "objectives",
            [parse_objective("accuracy"), parse_objective("latency<=1.2")],
            [parse_objective("accuracy"), parse_objective("latency<=1.5")],
            "the run has [accuracy, latency<=1.2], you ask for [accuracy, latency<=1.5]",
        ),
        (
            "objectives",
            [parse_objective("latency@a"), parse_objective("params")],
            [parse_objective("latency@a"), parse_objective("params:max")],
            "the run has [latency@a, params], you ask for [latency@a, params:max]",
        ),
        (
            "constraints",
            [parse_constraint("0.4<=latency<0.65")],
            [parse_constraint("macs<=3e8")],
            "the run has [0.4<=latency<0.65], you ask for [macs<=300000000.0]",
        ),
    ],
)
def test_limits_and_directions_that_differ_are_shown(
    tmp_path: Path, key: str, recorded: list, wanted: list, message: str
) -> None:
    both = ([objective_to_json(item) for item in items] for items in (recorded, wanted))
    with pytest.raises(RunMismatch, match=re.escape(f"{key}: {message}")):
        check_same(tmp_path, *({key: items} for items in both))


@pytest.mark.parametrize(
    ("key", "recorded", "wanted", "message"),
    [
        (
            "data",
            {"source": "photos", "digest": "a"},
            {"source": "photos", "digest": "b"},
            "data: photos, the same name, but other images (digest a in the run, b now)",
        ),
        (
            "data",
            {"source": "photos", "digest": "a"},
            None,
            "data: the run has photos, you ask for None",
        ),
        (
            "evaluator",
            {"name": "Mine", "fields": 1},
            {"name": "Mine", "fields": 2, "details": {}},
            "evaluator: Mine, the same name, but not the same (fields 1 in the run, 2 now)",
        ),
        ("devices", [{"name": "a", "x": 1}], [{"name": "a", "x": 2}], "'x': 1}], you ask for [{"),
    ],
)
def test_what_has_the_same_name_says_what_differs(
    tmp_path: Path, key: str, recorded: object, wanted: object, message: str
) -> None:
    with pytest.raises(RunMismatch, match=re.escape(message)):
        check_same(tmp_path, {key: recorded}, {key: wanted})


def test_images_may_be_named_from_another_place(tmp_path: Path) -> None:
    recorded = {"data": {"source": "photos", "digest": "a"}}
    check_same(tmp_path, recorded, {"data": {"source": "/home/me/photos", "digest": "a"}})
    with pytest.raises(RunMismatch, match="data: the run has photos, you ask for cats"):
        check_same(tmp_path, recorded, {"data": {"source": "cats", "digest": "b"}})


def test_an_objective_both_ways() -> None:
    for text in ("accuracy*0.4>=50.0", "latency@v100(x=1)<1.2", "params:max"):
        objective = parse_objective(text)
        assert objective_from_json(objective_to_json(objective), optimised=True) == objective
    limit = parse_constraint("0.4<=latency<0.65")
    assert objective_from_json(objective_to_json(limit), optimised=False) == limit
    with pytest.raises(FormatError, match=r"expected an objective as run.json holds it, got \{\}"):
        objective_from_json({}, optimised=True)


def test_how_a_run_is_continued_depends_on_how_it_was_started() -> None:
    directory = Path("runs/a")
    assert how_to_continue(directory, {"call": {}}) == "continue with `moga resume runs/a`"
    words = "run the script that began it again, with the same Search(..., storage='runs/a').run()"
    assert how_to_continue(directory, {"call": None}) == words
