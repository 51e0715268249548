"""What a journal alone says of a run: the same rows as the session that wrote it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moga.contracts import Measured, parse_objective
from moga.errors import FormatError, UsageError
from moga.networks.count import count_macs
from moga.pareto.archive import Archive
from moga.report.book import BOOKKEEPING, Tables, frame_of, read_book, read_space, read_stop
from moga.report.html import write_report
from moga.result import Result
from moga.runtime.rundir import read_configuration
from moga.search import Search, continued
from moga.spaces.cost import CostTable
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201
from moga.testing.fakes import TableEvaluator

DERIVED = ("evaluations.parquet", "front.csv", "report.html", "family.json", "measured.json")


class Own(MoGASpace):
    """A space that no text names."""

    name = "own"


class Formula:
    """Accuracy by a formula."""

    metrics = ("accuracy",)

    def evaluate(self, networks):
        return [Measured({"accuracy": count_macs(network) ** 0.25}) for network in networks]


def search(
    storage: Path, space: Any = "nasbench201", device: Any = "pixel3", **options: Any
) -> Search:
    defaults = {"evaluations": 40, "executor": "local", "family": None, "storage": storage}
    limits = ["accuracy", "latency<=8"]
    return Search(space, device, limits, **{**defaults, **options})


def interrupt(directory: Path, answers: int) -> None:
    """Leave what a kill after some answers (0: after all) leaves: a shorter journal, no frames."""
    journal = directory / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    answered = [n for n, line in enumerate(lines) if b'"kind":"answered"' in line]
    journal.write_bytes(b"".join(lines[: answered[answers - 1] + 1]) + b'{"data":{"torn')
    for name in DERIVED:
        (directory / name).unlink(missing_ok=True)


def done(directory: Path) -> int:
    return int((Result.read(directory).evaluations["status"] != "skipped").sum())


def content(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}


def test_the_journal_gives_the_rows_that_the_session_gave(tmp_path: Path) -> None:
    """Failed, skipped and measured ones; nothing is changed, not even the torn last line."""
    known = TableEvaluator()
    bad = [NASBench201().decode(genome).digest for genome in search_some(tmp_path / "first")]
    whole = search(tmp_path / "run", evaluator=_Failing(known, bad)).run()
    interrupt(tmp_path / "run", 6)
    before = content(tmp_path / "run")
    book = read_book(tmp_path / "run", read_configuration(tmp_path / "run"))
    assert content(tmp_path / "run") == before
    frame = frame_of(book.rows)
    assert set(frame["status"]) == {"measured", "skipped", "failed"}
    same = [name for name in frame if name != "on_front"]
    expected = whole.evaluations.iloc[: len(frame)]
    pd.testing.assert_frame_equal(frame[same], expected[same])
    assert 10 < len(frame) < len(whole.evaluations)
    assert frame["on_front"].sum() == len(book.archive.front) > 0


def search_some(directory: Path) -> list[Any]:
    result = search(directory, evaluator=TableEvaluator(), evaluations=8).run()
    return result.evaluations.query("status == 'measured'")["genome"].tolist()[:3]


class _Failing:
    metrics = ("accuracy",)

    def __init__(self, evaluator, victims):
        self.evaluator, self.victims = evaluator, victims

    def evaluate(self, networks):
        if any(network.digest in self.victims for network in networks):
            raise ValueError("no luck")
        return self.evaluator.evaluate(networks)


@pytest.mark.parametrize("order", ["asked", "completion"])
def test_what_needs_no_evaluation_and_what_came_in_any_order(tmp_path: Path, order: str) -> None:
    whole = search(tmp_path / "run", order=order).run()
    interrupt(tmp_path / "run", 0)
    book = read_book(tmp_path / "run", read_configuration(tmp_path / "run"))
    assert {tuple(row["genome"]) for row in book.rows} == set(
        map(tuple, whole.evaluations["genome"])
    )
    assert book.hypervolume == whole.hypervolume
    counted = Search(
        "nasbench201", "pixel3", ["latency", "params:max"], evaluations=8, executor="local",
        family=None, storage=tmp_path / "counted",
    ).run()  # fmt: skip
    (tmp_path / "counted" / "evaluations.parquet").unlink()
    read = read_book(counted.run_dir, read_configuration(counted.run_dir))
    read.mark_front()
    pd.testing.assert_frame_equal(frame_of(read.rows), counted.evaluations)


def test_the_report_of_an_interrupted_run_says_that_it_has_not_ended(tmp_path: Path) -> None:
    search(tmp_path / "run").run()
    assert "has not ended" not in (tmp_path / "run" / "report.html").read_text()
    interrupt(tmp_path / "run", 6)
    text = write_report(tmp_path / "run").read_text()
    so_far = f"{done(tmp_path / 'run')} of 40 evaluations are done."
    words = f"{so_far} Continue with `moga resume {tmp_path / 'run'}`"
    assert f"This run has not ended: {words}" in text
    result = Result.read(tmp_path / "run")
    assert result.stopped == ""
    assert len(result.front) == len(result.archive.front) > 0
    continued(tmp_path / "run")
    assert "has not ended" not in (tmp_path / "run" / "report.html").read_text()


def test_a_report_from_before_the_end_is_written_anew_at_the_end(tmp_path: Path) -> None:
    """Where the last answer was there, but not the end: nothing more is asked."""
    search(tmp_path / "run").run()
    interrupt(tmp_path / "run", 0)
    assert "has not ended" in write_report(tmp_path / "run").read_text()
    continued(tmp_path / "run")
    assert "has not ended" not in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("kind", ["searcher", "evaluator"])
def test_a_run_of_objects_is_reported_and_the_script_is_the_cure(tmp_path: Path, kind: str) -> None:
    from moga.searchers import RandomSearch

    options = {"searcher": RandomSearch} if kind == "searcher" else {"evaluator": TableEvaluator()}
    search(tmp_path / "run", **options).run()
    interrupt(tmp_path / "run", 6)
    text = write_report(tmp_path / "run").read_text()
    so_far = f"{done(tmp_path / 'run')} of 40 evaluations are done."
    assert f"This run has not ended: {so_far} Run the script that began it again" in text
    with pytest.raises(UsageError, match=r"objects that a file cannot .* run the script that"):
        continued(tmp_path / "run")
    search(tmp_path / "run", **options).run()
    assert continued(tmp_path / "run").stopped == "evaluations"


def test_a_space_of_python_is_reported_where_the_run_has_ended(tmp_path: Path) -> None:
    whole = search(tmp_path / "run", Own(32, 0.35, 10), "v100", evaluator=Formula()).run()
    before = content(tmp_path / "run")
    read = continued(tmp_path / "run")
    assert content(tmp_path / "run") == before
    assert repr(read) == repr(whole)
    assert read.best()["accuracy"] == whole.best()["accuracy"]
    assert len(read.choose(3)) == 3
    with pytest.raises(UsageError, match=r"a Python object, .*; decode with that: space.decode"):
        read.network(read.best())
    interrupt(tmp_path / "run", 6)
    for read_it in (write_report, Result.read):
        with pytest.raises(FormatError, match=r"a Python object that no file .*; run the script"):
            read_it(tmp_path / "run")


def test_a_finished_run_is_read(tmp_path: Path) -> None:
    whole = search(tmp_path / "run", family="moga").run()
    read = Result.read(tmp_path / "run")
    pd.testing.assert_frame_equal(read.front, whole.front)
    assert (read.family, read.measured) == (whole.family, whole.measured)
    assert (read.stopped, read.hypervolume) == (whole.stopped, whole.hypervolume)
    assert read.network(read.best()) == whole.network(whole.best())


def test_an_interrupted_run_of_an_earlier_moga_says_so(tmp_path: Path) -> None:
    search(tmp_path / "run").run()
    interrupt(tmp_path / "run", 6)
    path = tmp_path / "run" / "run.json"
    old = json.loads(path.read_text())
    del old["evaluated"]
    path.write_text(json.dumps(old))
    with pytest.raises(FormatError, match=r"lacks evaluated, .* continue with `moga resume"):
        read_book(tmp_path / "run", read_configuration(tmp_path / "run"))
    continued(tmp_path / "run")
    assert json.loads(path.read_text())["evaluated"] == ["accuracy"]


def test_the_objectives_stand_first_and_the_bookkeeping_last(tmp_path: Path) -> None:
    result = search(tmp_path / "run").run()
    columns = list(result.evaluations)
    assert columns[:4] == ["accuracy", "latency_ms", "params", "macs"]
    assert columns[-len(BOOKKEEPING) - 1 :] == ["genome", *BOOKKEEPING]
    for frame in (result.front, result.choose(2)):
        with pd.option_context("display.width", 80):
            shown = str(frame)
        assert "accuracy" in shown
        assert "latency_ms" in shown
    assert list(result.best().index)[:2] == ["accuracy", "latency_ms"]


def test_a_space_with_another_digest_is_not_taken_for_the_run_s(tmp_path: Path) -> None:
    space = NASBench201()
    recorded = {"name": space.name, "spec": space.spec, "digest": space.digest}
    assert read_space({"space": recorded}) is not None
    assert read_space({"space": {**recorded, "digest": "0"}}) is None
    assert read_space({"space": {**recorded, "spec": "own(x=1)"}}) is None


def test_a_directory_without_journal_has_not_stopped(tmp_path: Path) -> None:
    assert read_stop(tmp_path) == ""


@pytest.mark.parametrize("goal", ["latency", "latency:max"])
def test_a_cost_that_all_networks_share_leaves_a_volume(goal: str) -> None:
    space = NASBench201()
    same = CostTable("latency", "ms", space, (np.full(space.slots[0].shape, 2.0),))
    objectives = [parse_objective("accuracy"), parse_objective(goal)]
    worst, best = Tables({"latency": same}).box(objectives)
    assert (worst > best).all()
    archive = Archive(len(objectives))
    assert archive.hypervolume(worst.tolist(), best.tolist()) == 0
