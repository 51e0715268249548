"""One search from end to end, and each way in which it can go wrong."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moga.cli.show import print_result
from moga.contracts import Failed, Measured, Silent
from moga.errors import (
    Exhausted,
    FormatError,
    InvalidGenome,
    RunInUse,
    RunMismatch,
    TooManyFailures,
    UsageError,
)
from moga.result import Result
from moga.runtime.journal import RunLock
from moga.search import Search
from moga.searchers import RandomSearch
from moga.spaces.nasbench201 import NASBench201
from moga.supernets.tabular import TabularEvaluator
from moga.testing.fakes import RaisingEvaluator, SleepingEvaluator, TableEvaluator


def search(storage: Path | None = None, **options: Any) -> Search:
    defaults = {"evaluations": 40, "executor": "local", "family": None, "storage": storage}
    return Search("nasbench201", "pixel3", **{**defaults, **options})


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(directory)): p.read_bytes()
        for p in sorted(directory.rglob("*"))
        if p.is_file()
    }


def test_files_of_a_run(tmp_path: Path) -> None:
    result = search(tmp_path / "run", family="moga").run()
    assert len(result.evaluations) == 40
    assert set(result.front["genome"].map(tuple)) <= set(result.evaluations["genome"].map(tuple))
    names = set(files(tmp_path / "run"))
    assert {
        *("run.json", "journal.jsonl", "evaluations.parquet", "front.csv", "family.json"),
        *("report.html", "tables/latency.npz", "family/A.json"),
    } <= names
    family = json.loads((tmp_path / "run" / "family.json").read_text())
    assert [member["name"] for member in family["members"]] == ["A", "B", "C"]
    accuracies = [member["accuracy"] for member in family["members"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(member["test_accuracy"] > 0 for member in family["members"])


def test_no_time_of_day_in_the_front(tmp_path: Path) -> None:
    first = search(tmp_path / "a").run()
    second = search(tmp_path / "b").run()
    assert files(first.run_dir)["front.csv"] == files(second.run_dir)["front.csv"]
    assert "20" + "26-" not in (first.run_dir / "front.csv").read_text()


def test_a_finished_run_is_read_and_not_changed(tmp_path: Path) -> None:
    first = search(tmp_path / "run", family="moga").run()
    before = files(tmp_path / "run")
    again = search(tmp_path / "run", family="moga").run()
    resumed = Search.resume(tmp_path / "run").run()
    assert files(tmp_path / "run") == before
    np.testing.assert_array_equal(first.archive.genomes, again.archive.genomes)
    np.testing.assert_array_equal(first.archive.genomes, resumed.archive.genomes)


def test_more_evaluations_extend_a_run(tmp_path: Path) -> None:
    search(tmp_path / "run").run()
    longer = search(tmp_path / "run", evaluations=60).run()
    assert Search.resume(tmp_path / "run").settings.evaluations == 60
    assert len(longer.evaluations) == 60
    rows = len(set(longer.evaluations["genome"].map(tuple)))
    assert rows == 60
    assert longer.evaluations["order"].tolist() == list(range(60))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "seed: the run has 0, you ask for 1"),
        (
            {"objectives": ["accuracy", "params"]},
            "objectives: the run has [accuracy>=20.0, latency]",
        ),
        ({"searcher": "random"}, "searcher: the run has 'nsga2', you ask for 'random'"),
        ({"in_flight": 8}, "in_flight: the run has 16, you ask for 8"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    search(tmp_path / "run").run()
    before = files(tmp_path / "run")
    with pytest.raises(RunMismatch, match=re.escape(message)):
        search(tmp_path / "run", **options).run()
    assert files(tmp_path / "run") == before


def test_another_space_is_refused(tmp_path: Path) -> None:
    search(tmp_path / "run").run()
    other = Search("nasbench201(data=cifar100)", "pixel3", storage=tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"space: the run has nasbench201\(data='cifar10'\)"):
        other.run()


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run"), pytest.raises(RunInUse, match="in use by process"):
        search(tmp_path / "run").run()


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="is not empty; choose another"):
        search(tmp_path).run()
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_storage_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"run's directory .*File exists; choose another"):
        search(tmp_path / "file").run()
    with pytest.raises(UsageError, match=r"run's directory .*Not a directory; choose another"):
        search(tmp_path / "file" / "run").run()


def test_resume_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run \(there is no run.json\)"):
        Search.resume(tmp_path)


def test_resume_of_a_run_with_objects(tmp_path: Path) -> None:
    search(tmp_path / "run", evaluator=TableEvaluator()).run()
    words = r"objects that a file cannot describe; run the script that began it again, .*/run'\)"
    with pytest.raises(UsageError, match=words):
        Search.resume(tmp_path / "run")


def test_a_damaged_configuration(tmp_path: Path) -> None:
    search(tmp_path / "run").run()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(FormatError, match="is damaged"):
        search(tmp_path / "run").run()


def test_a_raising_evaluator_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    clean = search(tmp_path / "clean", evaluator=TableEvaluator()).run()
    space = NASBench201()
    victims = [space.decode(genome).digest for genome in clean.evaluations["genome"][:5]]
    evaluator = RaisingEvaluator(TableEvaluator(), victims)
    result = search(tmp_path / "run", evaluator=evaluator).run()
    failed = result.evaluations[result.evaluations["status"] == "failed"]
    assert failed["order"].tolist() == [0, 1, 2, 3, 4]
    assert failed["reason"].str.startswith("ValueError: no luck").all()
    assert not failed["on_front"].any()
    assert len(result.evaluations) == 40


def test_an_evaluation_over_its_time_limit(tmp_path: Path) -> None:
    first = search(tmp_path / "clean", evaluator=TableEvaluator(), evaluations=4).run()
    victim = NASBench201().decode(first.evaluations["genome"][2]).digest
    result = search(
        tmp_path / "run",
        evaluator=SleepingEvaluator(TableEvaluator(), [victim]),
        evaluations=8,
        time_limit=0.3,
    ).run()
    failed = result.evaluations[result.evaluations["status"] == "failed"]
    assert failed[["order", "kind"]].to_numpy().tolist() == [[2, "timeout"]]


def test_all_failing_ends_with_a_clear_error(tmp_path: Path) -> None:
    broken = search(tmp_path / "run", evaluator=TableEvaluator(table={}), evaluations=500)
    words = (
        r"40 evaluations in a row failed, .* KeyError.* the same Search\(\.\.\., storage='.*/run'\)"
    )
    with pytest.raises(TooManyFailures, match=words):
        broken.run()
    mended = search(tmp_path / "run", evaluator=TableEvaluator(), evaluations=500)
    result = mended.run()
    assert (result.evaluations["status"] == "failed").sum() >= 40
    assert (result.evaluations["status"] == "measured").sum() >= 440
    assert len(result.evaluations) == 500


def test_all_failing_in_a_run_that_a_file_describes(tmp_path: Path, monkeypatch) -> None:
    evaluate = TableEvaluator(table={}).evaluate
    monkeypatch.setattr(TabularEvaluator, "evaluate", lambda _, networks: evaluate(networks))
    with pytest.raises(TooManyFailures, match=r"40 evaluations in a row .* `moga resume .*/run`"):
        search(tmp_path / "run", evaluations=500).run()


def test_all_failing_in_a_short_run(tmp_path: Path) -> None:
    def broken() -> Search:
        return search(tmp_path / "run", evaluator=TableEvaluator(table={}), evaluations=8)

    for _ in range(2):  # the first run, and the same again, of which the journal knows all
        with pytest.raises(TooManyFailures, match=r"all 8 evaluations failed, .*KeyError.*; mend"):
            broken().run()
    mended = search(tmp_path / "run", evaluator=TableEvaluator(), evaluations=12).run()
    assert mended.evaluations["status"].value_counts().to_dict() == {"failed": 8, "measured": 4}


class Notes(Silent):
    """Remembers what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_a_torn_record_is_dropped_with_a_note_and_done_again(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole").run()
    search(tmp_path / "run").run()
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:9]) + lines[9][:10] + bytes(20) + b"\n")
    notes = Notes()
    resumed = search(tmp_path / "run", progress=notes).run()
    assert [text for text in notes.said if "torn by a crash (31 bytes)" in text]
    assert journal.read_bytes().startswith(b"".join(lines[:9]))
    assert files(resumed.run_dir)["front.csv"] == files(whole.run_dir)["front.csv"]


def test_limits_that_are_known_before_cost_no_evaluation(tmp_path: Path) -> None:
    result = search(tmp_path / "run", objectives=["accuracy", "latency<=8"]).run()
    measured = result.evaluations[result.evaluations["status"] == "measured"]
    skipped = result.evaluations[result.evaluations["status"] == "skipped"]
    assert len(measured) == 40
    assert (measured["latency_ms"] <= 8).all()
    assert len(skipped)
    assert (skipped["latency_ms"] > 8).all()
    assert skipped["accuracy"].isna().all()


def test_limits_that_nothing_keeps(tmp_path: Path) -> None:
    result = search(tmp_path / "run", objectives=["accuracy", "latency<=0"], evaluations=3).run()
    assert result.stopped == "limits"
    assert not (result.evaluations["status"] == "measured").any()
    least = result.evaluations["latency_ms"].min()
    words = (
        f"smallest latency of {len(result.evaluations)} proposed is {least:.4g} ms; the limit is 0"
    )
    assert words in repr(result)
    assert words in (result.run_dir / "report.html").read_text()
    with pytest.raises(UsageError, match=re.escape(words)):
        result.choose(3)


def test_constraints_that_nothing_keeps(tmp_path: Path) -> None:
    result = search(tmp_path / "run", constraints=["macs<=1e6"], evaluations=3).run()
    assert "The smallest multiply-adds of" in result.why_empty
    assert "; the limit is 1.00 M" in result.why_empty


@pytest.mark.parametrize("by_hand", [False, True])
def test_progress_true_shows_what_the_command_line_shows(tmp_path, capsys, by_hand) -> None:
    shown = search(tmp_path / "run", evaluations=8, progress=True)
    if by_hand:
        with shown.session():
            shown.step()
    else:
        shown.run()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "search (8 evaluations) ..."
    assert lines[-1].startswith("search: done in" if by_hand else "report: done in")


def test_progress_is_silent_unless_asked_for(tmp_path, capsys) -> None:
    for nothing in (None, False):
        search(tmp_path / "run", evaluations=8, progress=nothing).run()
    assert capsys.readouterr().err == ""


def test_progress_that_is_none(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"progress is 'bar', which has no phase\(\); give True"):
        search(tmp_path / "run", progress="bar")


def test_objectives_that_need_no_evaluation(tmp_path: Path) -> None:
    result = search(tmp_path / "run", objectives=["latency", "params:max"]).run()
    assert (result.evaluations["status"] == "measured").all()
    assert "accuracy" not in result.evaluations


class Powered:
    """Gives an energy of its own besides accuracy, and a temperature that nobody asked for."""

    metrics = ("accuracy", "energy", "temperature")

    def evaluate(self, networks):
        known = TableEvaluator().evaluate(networks)
        accuracies = [outcome.values["accuracy"] for outcome in known]
        return [
            Measured(
                {"accuracy": a, "energy": 1e3 * a % 10, "temperature": 20 + a}, {"energy": 0.5}
            )
            for a in accuracies
        ]


def test_objectives_on_an_evaluator_s_own_metrics(tmp_path: Path) -> None:
    objectives = ["accuracy", "latency<=8", "energy:min<=6"]
    result = search(tmp_path / "run", objectives=objectives, evaluator=Powered()).run()
    frame = result.evaluations
    assert list(frame)[:6] == ["accuracy", "latency_ms", "energy", "temperature", "params", "macs"]
    measured = frame[frame["status"] == "measured"]
    assert (measured["energy"] == 1e3 * measured["accuracy"] % 10).all()
    assert (measured["temperature"] == 20 + measured["accuracy"]).all()
    assert (measured["energy_se"] == 0.5).all()
    assert frame[frame["status"] == "skipped"]["energy"].isna().all()
    assert (result.front["energy"] <= 6).all()
    assert len(result.archive.costs[0]) == 3
    assert math.isnan(result.hypervolume)
    assert "hypervolume unknown" in repr(result)
    page = (result.run_dir / "report.html").read_text()
    assert "low energy [at most 6]" in page
    assert "recorded no hypervolume: it takes the range of each objective, and nobody" in page
    again = Result.read(result.run_dir)
    assert again.objectives == result.objectives
    assert again.front["temperature"].tolist() == result.front["temperature"].tolist()


def test_a_family_of_an_own_metric_shows_it(tmp_path: Path, capsys) -> None:
    objectives = ["accuracy", "energy:max"]
    options = {"objectives": objectives, "evaluator": Powered(), "family": "moga"}
    print_result(search(tmp_path / "run", **options).run(), as_json=False)
    shown = capsys.readouterr().out
    assert "hypervolume unknown" in shown
    assert "energy" in shown
    row = re.search(
        r'<th scope="row">energy</th>(.*?)</tr>', (tmp_path / "run" / "report.html").read_text()
    )
    assert row
    assert 'class="best"' in row[1]


def test_own_metrics_may_be_limited(tmp_path: Path) -> None:
    options = {"evaluator": Powered(), "constraints": ["energy<=5"], "evaluations": 20}
    result = search(tmp_path / "run", objectives=["accuracy", "latency"], **options).run()
    assert (result.front["energy"] <= 5).all()
    assert 0 < result.hypervolume < 1


def test_a_space_used_up_ends_the_run(tmp_path: Path) -> None:
    options = {"evaluations": 20_000, "batch": 2000, "in_flight": 2000, "searcher": "random"}
    result = search(tmp_path / "run", objectives=["latency", "params"], **options).run()
    assert result.stopped == "exhausted"
    assert len(result.evaluations) == 15_625


def test_hours_stop_a_run_and_more_hours_continue_it(tmp_path: Path) -> None:
    first = search(tmp_path / "run", hours=1e-9).run()
    assert first.stopped == "hours"
    assert len(first.evaluations) < 40
    same = search(tmp_path / "run", hours=1e-9).run()
    assert len(same.evaluations) == len(first.evaluations)
    assert len(search(tmp_path / "run", hours=1.0).run().evaluations) == 40


def test_by_hand(tmp_path: Path) -> None:
    by_hand = search(tmp_path / "run", evaluations=10)
    evaluator = TableEvaluator()
    with by_hand.session() as session:
        with pytest.raises(UsageError, match="session open already"), by_hand.session():
            pass
        first, second = by_hand.ask(4), by_hand.ask(4)
        networks = list(second.networks.values())
        by_hand.tell(second, evaluator.evaluate(networks))
        with pytest.raises(UsageError, match="batch 1 is not outstanding"):
            by_hand.tell(second, evaluator.evaluate(networks))
        with pytest.raises(UsageError, match="expected 4 outcomes, got 1"):
            by_hand.tell(first, [Measured({"accuracy": 1.0})])
        by_hand.tell(first, [Failed("no", "error")] * 4)
        assert len(by_hand.ask(4).genomes) == 2
        with pytest.raises(Exhausted, match="used up"):
            by_hand.ask(1)
        assert len(session.result().evaluations) == 8
    with pytest.raises(UsageError, match="no session is open"):
        by_hand.ask(1)


@pytest.mark.parametrize(
    ("outcome", "kind", "reason"),
    [
        (Measured({"accuracy": math.inf}), "nan", "accuracy is inf"),
        (Measured({"accuracy": math.nan}), "nan", "accuracy is nan"),
        (Measured({}), "error", "the evaluator gave no accuracy"),
    ],
)
def test_by_hand_what_is_no_value_counts_as_failed(
    tmp_path: Path, outcome: Measured, kind: str, reason: str
) -> None:
    by_hand = search(tmp_path / "run", evaluations=4)
    with by_hand.session() as session:
        batch = by_hand.ask(4)
        with pytest.raises(UsageError, match=r"expected Measured, Bounded or Failed; got 94"):
            by_hand.tell(batch, [94.0] * 4)
        by_hand.tell(batch, [outcome, *[Measured({"accuracy": 90.0}, {"accuracy": math.nan})] * 3])
        rows = session.result().rows
    assert [row["status"] for row in rows] == ["failed"] + ["measured"] * 3
    assert (rows[0]["kind"], rows[0]["reason"]) == (kind, reason)


def test_a_searcher_that_asks_otherwise_is_noted_once(tmp_path: Path) -> None:
    """As where members think on their own: the journal wins, and one note says so."""

    def varies(seed):
        return lambda problem, rng: RandomSearch(problem, np.random.default_rng(seed))

    search(tmp_path / "run", searcher=varies(1)).run()
    notes = Notes()
    longer = search(tmp_path / "run", searcher=varies(2), evaluations=48, progress=notes).run()
    assert len(longer.evaluations) == 48
    said = [text for text in notes.said if "the journal wins" in text]
    assert len(said) == 1
    assert re.match(r"in 10 of 10 batches, the searcher RandomSearch would now ask", said[0])
    assert "portfolio(remote=true)" in said[0]


def test_completion_order_loses_nothing(tmp_path: Path) -> None:
    result = search(tmp_path / "run", order="completion").run()
    assert sorted(result.evaluations["batch"].unique()) == list(range(10))
    assert len(set(result.evaluations["genome"].map(tuple))) == 40


def test_storage_defaults_to_a_new_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = search(evaluations=4).run(), search(evaluations=4).run()
    assert [first.run_dir.name, second.run_dir.name] == [
        "nasbench201-pixel3-001",
        "nasbench201-pixel3-002",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": 0}, "evaluations is 0; give an integer of 1 or more"),
        ({"workers": 0}, "workers is 0; give an integer of 1 or more"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"hours": 0}, "hours is 0"),
        ({"order": "random"}, "order is 'random'"),
        ({"searcher": 42}, "the searcher is 42; give a name such as 'nsga2', or a factory"),
        ({"searcher": None}, "the searcher is None; give a name such as 'nsga2', or a factory"),
        ({"searcher": "nsga3"}, "unknown searcher 'nsga3'. Did you mean 'nsga2'"),
        ({"executor": "slurm"}, "unknown executor 'slurm'"),
        ({"family": "mogar"}, "unknown family 'mogar'"),
    ],
)
def test_arguments_that_cannot_work(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        search(**options)


def test_a_factory_that_returns_no_searcher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"factory .* returned None; it must return a moga.contr"):
        search(tmp_path / "run", searcher=lambda problem, rng: None).run()


@pytest.mark.parametrize(
    ("searcher", "message"),
    [
        ("nsga2(population=2)", "population is 2; give an integer of 4 or more"),
        ("pymoo(algorithm=Foo)", "unknown algorithm of pymoo 'Foo'"),
        ("pymoo(algorithm=GA)", "GA is for one objective"),
        ("portfolio(searchers=[foo])", "unknown searcher 'foo'"),
        ("portfolio(searchers=[nsga2(population=2)], remote=true)", "population is 2"),
        ("lamcts(metric=latency, lower=5, upper=4)", "nothing lies from 5"),
    ],
)
def test_options_of_a_searcher_are_refused_before_any_work(
    tmp_path: Path, searcher: str, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        search(tmp_path / "run", searcher=searcher)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "searcher",
    [
        "lamcts(metric=latency, lower=5, upper=5.5)",
        "llr(budgets=[5, 1e-3])",
        "controller(targets=[3])",
        "portfolio(remote=true)",
    ],
)
def test_bounds_that_the_tables_may_reach_are_not_refused_without_them(searcher: str) -> None:
    import ray

    assert search(searcher=searcher).settings.searcher == searcher
    assert not ray.is_initialized()


def test_a_searcher_that_was_refused_may_be_replaced(tmp_path: Path) -> None:
    def refuses(problem, rng):
        raise UsageError("not this problem")

    with pytest.raises(UsageError, match="not this problem"):
        search(tmp_path / "run", searcher=refuses, evaluations=4).run()
    search(tmp_path / "run", searcher="random", evaluations=4).run()
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (recorded["searcher"], recorded["call"]["searcher"]) == ("random", "random")


@pytest.mark.golden
def test_a_seeded_run(tmp_path: Path) -> None:
    """The front of one seeded run, as it was when this was written: that a change here is
    a change of results."""
    goals = ["accuracy", "latency"]
    result = search(tmp_path / "run", objectives=goals, evaluations=200, seed=7).run()
    golden = Path(__file__).parent / "golden" / "nasbench201-pixel3-seed7.csv"
    assert (result.run_dir / "front.csv").read_text() == golden.read_text()


class Illegal(RandomSearch):
    """Proposes a sixth operation, one genome too many, or no integers."""

    fault = "range"

    def ask(self, n):
        genomes = super().ask(n)
        faults = {
            "range": genomes + 5,
            "many": np.repeat(genomes, 2, axis=0),
            "half": genomes + 0.5,
        }
        return faults[self.fault]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("range", r"the searcher Illegal proposed what is no genome: gene 'edge_0_1'.*allowed: 0"),
        ("half", "the searcher Illegal proposed what is no genome: genes of nasbench201 are int"),
        ("many", "the searcher Illegal proposed 8 genomes; it was asked for 4"),
    ],
)
def test_an_illegal_genome_is_refused_and_the_searcher_named(tmp_path, fault, words) -> None:
    kind = type("Illegal", (Illegal,), {"fault": fault})
    with pytest.raises(InvalidGenome, match=words):
        search(tmp_path / "run", searcher=kind).run()
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert journal == ""


class Odd(RandomSearch):
    """Proposes what `answer` makes of random genomes, and remembers what it is told."""

    def __init__(self, problem, rng):
        super().__init__(problem, rng)
        self.told = Counter()

    def ask(self, n):
        return self.answer(super().ask(n))

    def tell(self, observations):
        self.told.update(map(tuple, observations.genomes.tolist()))
        super().tell(observations)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, r"Odd proposed what is no genome: it returned None. .* shape \(m, 6\), m <= 4"),
        (3, r"Odd proposed what is no genome: it returned 3. Its ask\(4\) must return an int64"),
        ("none", r"Odd proposed what is no genome: .* must return an int64 array"),
        ([], r"Odd proposed nothing though no result is under way: .* moga.errors.Exhausted"),
    ],
)
def test_what_is_no_proposal_is_refused_and_the_searcher_named(tmp_path, answer, words) -> None:
    kind = type("Odd", (Odd,), {"answer": lambda *_: answer})
    with pytest.raises(UsageError, match=f"the searcher {words}"):
        search(tmp_path / "run", searcher=kind).run()


@pytest.mark.parametrize("order", ["asked", "completion"])
def test_what_is_proposed_again_is_evaluated_once_and_told_each_time(tmp_path, order) -> None:
    """Twice in one ask, while it is under way, and after its result has come."""
    made, evaluated = [], []

    class Twice(Odd):
        def ask(self, n):
            made[:] = [self]
            fresh = RandomSearch.ask(self, max(n // 2, 1))
            known = list(self.told)[:1]
            waiting = [] if not hasattr(self, "last") else [self.last]
            self.last = fresh[-1].tolist()
            return np.array([*fresh.tolist(), fresh[0].tolist(), *known, *waiting])[:n]

    class Counts(TableEvaluator):
        def evaluate(self, networks):
            evaluated.extend(network.digest for network in networks)
            return super().evaluate(networks)

    options = {"searcher": Twice, "evaluator": Counts(), "order": order}
    result = search(tmp_path / "run", **options).run()
    genomes = [tuple(genome) for genome in result.evaluations["genome"]]
    assert len(genomes) == len(set(genomes)) == 40
    assert len(evaluated) == len(set(evaluated)) == 40
    told = made[0].told
    assert set(told) == set(genomes)
    assert sum(told.values()) > 60
    assert result.stopped == "evaluations"
    (tmp_path / "run" / "front.csv").unlink()
    again = search(tmp_path / "run", **options).run()
    assert made[0].told == told
    assert len(evaluated) == 40
    assert again.evaluations["genome"].tolist() == result.evaluations["genome"].tolist()


def test_a_searcher_that_repeats_itself_for_ever_ends_the_run(tmp_path: Path) -> None:
    kind = type("Odd", (Odd,), {"answer": lambda self, genomes: np.zeros_like(genomes)})
    notes = Notes()
    result = search(tmp_path / "run", searcher=kind, evaluations=4, progress=notes).run()
    assert len(result.evaluations) == 1
    assert result.stopped == "repeats"
    words = r"the search ended early: of \d+ genomes that the searcher Odd proposed, 1 were new"
    assert re.search(words, notes.said[-1])


@pytest.mark.parametrize("name", ["seed", "evaluations", "in_flight", "batch"])
def test_numpy_s_integers_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} is np.int64\(3\); give an integer"):
        Search("nasbench201", "pixel3", storage=tmp_path / "run", **{name: np.int64(3)}).run()
    assert not (tmp_path / "run").exists()
