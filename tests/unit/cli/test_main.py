import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest
from typer.testing import CliRunner

import moga.search
from moga import registry
from moga.cli.main import _split, app
from moga.errors import RunMismatch, TooManyFailures, UnknownName

NUMBERS = {"accuracy": 61.2, "accuracy_se": 2.1, "latency_ms": 1.25, "measured_ms": None}
MEMBERS = [{"name": name, **NUMBERS, "params": 435_000, "macs": 1_430_000} for name in "ABC"]


class FakeSearch:
    """Stands for `moga.search.Search`: keeps its calls, and gives or raises what it is told."""

    calls: ClassVar[list] = []
    raises: BaseException | None = None
    family: ClassVar[dict | None] = {"members": MEMBERS}
    why_empty = ""
    end_to_end: ClassVar[dict] = {
        "device": "cpu",
        "metric": "latency",
        "summary": "MAPE 2.0 %",
        "failed": "",
    }

    def __init__(self, *args, **options):
        self.args, self.options = args, options
        self.storage = options.get("storage")
        type(self).calls.append(self)

    @classmethod
    def resume(cls, run_dir, **options):
        return cls(run_dir, storage=run_dir, **options)

    def run(self):
        self.storage = Path(self.storage or "runs/moga-cpu-001")
        self.storage.mkdir(parents=True, exist_ok=True)
        (self.storage / "run.json").touch()
        if self.raises:
            raise self.raises
        return self.result()

    def result(self):
        return SimpleNamespace(
            run_dir=self.storage,
            evaluations=pd.DataFrame({"status": ["measured", "failed", "measured"]}),
            front=pd.DataFrame({"accuracy": [61.2]}),
            hypervolume=float("nan"),
            family=self.family,
            measured={"devices": [self.end_to_end]},
            why_empty=self.why_empty,
        )


@pytest.fixture
def fake(monkeypatch, tmp_path):
    class Fresh(FakeSearch):
        calls: ClassVar[list] = []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(moga.search, "Search", Fresh)
    monkeypatch.setattr(moga.search, "continued", lambda run, **o: Fresh.resume(run, **o).run())
    return Fresh


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120"})


def test_search_has_defaults(fake):
    result = invoke("search")
    assert result.exit_code == 0, result.output
    (call,) = fake.calls
    assert call.args == ("moga", "cpu", None)
    assert call.options.pop("progress") is True
    assert call.options == {
        "constraints": (),
        "searcher": "nsga2",
        "data": None,
        "evaluator": None,
        "evaluations": 1000,
        "hours": None,
        "seed": 0,
        "executor": "ray",
        "workers": None,
        "in_flight": 16,
        "batch": 4,
        "time_limit": None,
        "storage": None,
    }


def test_what_the_front_took_is_printed(fake):
    went_by = "Front on cpu, the latency table that the search went by against MAPE 2.0 %"
    assert went_by in invoke("search").stdout


@pytest.mark.parametrize(
    ("entry", "lines"),
    [
        (
            {"searched_by": "table", "caution": "The machine is slower"},
            (
                "Front on cpu, the latency table that the search went by against MAPE 2.0 %\n"
                "Caution:  The machine is slower\n"
            ),
        ),
        (
            {"searched_by": "evaluator", "caution": ""},
            "Front on cpu, the latencies that were measured in the search against MAPE 2.0 %\nRep",
        ),
        (
            {"summary": "", "failed": "no memory"},
            "Front on cpu: not measured end to end: no memory\n",
        ),
    ],
)
def test_what_the_front_took_says_what_it_is_compared_with(fake, monkeypatch, entry, lines):
    monkeypatch.setattr(fake, "end_to_end", {**fake.end_to_end, **entry})
    assert lines in invoke("search").stdout


def test_the_defaults_are_those_of_search(monkeypatch, fake):
    import inspect

    invoke("search")
    monkeypatch.undo()
    defaults = inspect.signature(moga.search.Search.__init__).parameters
    for name, value in fake.calls[0].options.items():
        if name != "progress":
            assert defaults[name].default == value, name


def test_every_option_arrives(fake, tmp_path):
    result = invoke(
        *("search", "--space", "nasbench201(data=cifar100)", "--device", "pixel3,eyeriss"),
        *("--objectives", "accuracy, latency@pixel3*.4<=3,params:max", "--constraint", "macs<=3e8"),
        *("--constraint", "0.4<=latency@eyeriss<0.65", "--searcher", "nsga2(population=20)"),
        *("--data", "photos", "--evaluator", "e(x=1)", "--evaluations", 7, "--hours", 0.5),
        *("--seed", 3, "--executor", "local", "--workers", 2, "--in-flight", 8, "--batch", 2),
        *("--time-limit", 9, "--storage", tmp_path),
    )
    assert result.exit_code == 0, result.output
    (call,) = fake.calls
    assert call.args == (
        "nasbench201(data=cifar100)",
        ["pixel3", "eyeriss"],
        ["accuracy", "latency@pixel3*.4<=3", "params:max"],
    )
    del call.options["progress"]
    assert call.options == {
        "constraints": ["macs<=3e8", "0.4<=latency@eyeriss<0.65"],
        "searcher": "nsga2(population=20)",
        "data": "photos",
        "evaluator": "e(x=1)",
        "evaluations": 7,
        "hours": 0.5,
        "seed": 3,
        "executor": "local",
        "workers": 2,
        "in_flight": 8,
        "batch": 2,
        "time_limit": 9,
        "storage": tmp_path,
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("accuracy", ["accuracy"]),
        ("a, b ,c", ["a", "b", "c"]),
        ("nasbench201(data=cifar100, x=[1,2]),cpu", ["nasbench201(data=cifar100, x=[1,2])", "cpu"]),
        ("f(x='a,)b'),g", ["f(x='a,)b')", "g"]),
        ("latency@d(a=1,b=2)<=3,params:max*.2", ["latency@d(a=1,b=2)<=3", "params:max*.2"]),
    ],
)
def test_texts_are_split_outside_brackets(text, parts):
    assert _split(text) == parts


def test_search_prints_the_family_and_how_to_go_on(fake):
    shown = invoke("search", "--storage", "runs/x").stdout
    for text in ("61.2 ± 2.1 %", "1.25 ms", "435 k", "1.43 M", "2 networks evaluated, 1 failed"):
        assert text in shown
    assert "runs/x/report.html" in shown
    assert "Print this again with: moga resume runs/x" in shown
    assert "interrupted" not in shown
    assert "latency measured" not in shown
    assert "The spread of the latency was not measured." in " ".join(shown.split())


def test_a_search_whose_limits_nothing_keeps(fake, monkeypatch):
    monkeypatch.setattr(fake, "family", None)
    monkeypatch.setattr(fake, "why_empty", "7 evaluated ones break a limit. Give wider limits")
    result = invoke("search")
    assert result.exit_code == 0
    assert "Nothing is on the front: 7 evaluated ones break a limit. Give wider limits.\n" in (
        result.stdout
    )
    assert "Networks:" not in result.output


def test_a_search_without_family(fake, monkeypatch):
    monkeypatch.setattr(fake, "family", None)
    shown = invoke("search").stdout
    assert "The family" not in shown
    assert "1 on the front" in shown


@pytest.mark.parametrize("arguments", [["search"], ["resume", "runs/moga-cpu-001"]])
def test_json_is_one_object_on_standard_output(fake, arguments):
    result = invoke(*arguments, "--json")
    assert json.loads(result.stdout) == {
        "run_dir": "runs/moga-cpu-001",
        "report": "runs/moga-cpu-001/report.html",
        "evaluations": 3,
        "measured": 2,
        "failed": 1,
        "front": 1,
        "why_empty": "",
        "hypervolume": None,
        "family": MEMBERS,
        "end_to_end": {"cpu": "MAPE 2.0 %"},
    }
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UnknownName("space", "mogga", ["moga"]), 2, "error: unknown space 'mogga'. Did you mean"),
        (RunMismatch("other settings"), 2, "error: other settings"),
        (TooManyFailures("40 in a row"), 1, "failed: 40 in a row"),
        (KeyboardInterrupt(), 130, "interrupted; continue with: moga resume runs/moga-cpu-001"),
    ],
)
def test_exit_codes(fake, monkeypatch, error, code, message):
    monkeypatch.setattr(fake, "raises", error)
    for command in (["search"], ["resume", "runs/moga-cpu-001"]):
        check_exit(invoke(*command), code, message)


def check_exit(result, code, message):
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_an_interrupt_before_a_run_began_promises_nothing(fake, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "__init__", interrupt)
    result = invoke("search", "--storage", "runs/new")
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_other_errors_are_not_hidden(fake, monkeypatch):
    monkeypatch.setattr(fake, "raises", ZeroDivisionError("a bug"))
    result = invoke("search")
    assert isinstance(result.exception, ZeroDivisionError)
    assert result.exit_code == 1


@pytest.mark.parametrize("arguments", [["search", "--seed", "x"], ["serch"], ["report"]])
def test_wrong_usage_exits_with_2(arguments):
    assert invoke(*arguments).exit_code == 2


def test_resume_passes_its_options(fake):
    assert invoke("resume", "runs/a", "--executor", "local", "--workers", 3).exit_code == 0
    (call,) = fake.calls
    assert str(call.args[0]) == "runs/a"
    assert (call.options["executor"], call.options["workers"]) == ("local", 3)


def test_resume_of_nothing(tmp_path):
    result = invoke("resume", tmp_path)
    assert result.exit_code == 2
    assert "holds no run" in result.stderr


def test_resume_of_a_finished_run_of_objects_prints_its_result(tmp_path):
    from moga.testing.fakes import TableEvaluator

    options = {"evaluations": 8, "executor": "local", "storage": tmp_path / "run"}
    options["evaluator"] = TableEvaluator()
    moga.search.Search("nasbench201", "pixel3", ["accuracy", "latency"], **options).run()
    result = invoke("resume", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "The family" in result.stdout
    assert "8 networks evaluated" in result.stdout
    for name in ("evaluations.parquet", "report.html"):
        (tmp_path / "run" / name).unlink()
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    result = invoke("resume", tmp_path / "run")
    assert result.exit_code == 2
    assert "run the script that began it again" in result.stderr
    assert invoke("report", tmp_path / "run").exit_code == 0


def test_report_writes_the_page(run_directory):
    result = invoke("report", run_directory)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(run_directory / "report.html")
    assert (run_directory / "report.html").exists()
    shown = json.loads(invoke("report", run_directory, "--json").stdout)
    assert shown == {"report": str(run_directory / "report.html")}


def test_report_of_nothing(tmp_path):
    result = invoke("report", tmp_path)
    assert result.exit_code == 2
    assert "is not the directory of a run" in result.stderr


def test_version_and_help():
    from moga import __version__

    assert invoke("--version").stdout == f"moga {__version__}\n"
    assert "Usage" in invoke().output
    for command in ("search", "profile", "resume", "report"):
        shown = invoke(command, "--help").stdout
        assert "Example" in shown
        assert f"moga {command}" in shown


@pytest.mark.parametrize("kind", ["space", "searcher"])
def test_help_names_all_that_there_is(kind):
    shown = re.findall(r"\w+", invoke("search", "--help").output)
    assert {*registry.names(kind)} - {"subspace"} <= {*shown}  # a subspace needs a space


def test_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, moga.cli.main; "
        "heavy = {'torch', 'ray', 'pandas', 'numpy', 'plotly', 'pymoo', 'matplotlib'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 5
