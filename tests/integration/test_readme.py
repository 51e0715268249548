"""Every command and program of the README, and every example, runs."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moga import registry
from moga.cli.main import app
from moga.errors import UsageError
from moga.supernets.choices import choices, tabulated

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
TRAINS = 'Search("moga", "cpu", ["accuracy*.4", "latency*.4", "params:max*.2"]).run()'


def commands() -> list[str]:
    lines = [line for kind, text in FENCES if not kind for line in text.splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line.strip()]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {line.split()[1] for line in commands() if line.startswith("make ")}
    assert {"search", "test"} <= named <= targets


def test_make_bench_runs_all_skips_what_lacks_data_and_fails_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    main = "if __name__ == '__main__':\n    print('ran', {name!r})\n    raise SystemExit({code})\n"
    for name, code in (("a", 1), ("b", 2), ("c", 0)):
        text = main.format(name=name, code=code)
        (tmp_path / "benchmarks" / f"{name}.py").write_text(text)
    (tmp_path / "benchmarks" / "helper.py").write_text("print('ran', 'helper')\n")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "venv" / ".ready").touch()
    command = ["make", "-f", str(ROOT / "Makefile"), "VENV=venv", "bench"]

    def bench() -> tuple[int, str]:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, output = bench()
    assert code == 2  # make's own code of a failed recipe
    assert [name for name in "abc" if f"ran {name}" in output] == ["a", "b", "c"]
    assert "ran helper" not in output
    assert "== skipped: benchmarks/b.py needs data that are not here" in output
    assert "== failed, or missed a goal: benchmarks/a.py\n" in output
    (tmp_path / "benchmarks" / "a.py").unlink()
    assert bench()[0] == 0


@pytest.mark.parametrize("name", sorted(set(registry.names("space")) - {"subspace"}))
def test_the_table_says_where_each_space_s_accuracy_comes_from(name: str) -> None:
    rows = [line.split("|")[1:-1] for line in README.splitlines() if line.startswith(f"| `{name}`")]
    rows += [
        line.split("|")[1:-1]
        for line in README.splitlines()
        if line.startswith("| `") and f", `{name}`" in line
    ]
    ((_, _, said),) = rows
    space = registry.create("space", name)
    if space.default_evaluator == "tabular":
        assert tabulated(space) is space
        assert said.strip() == "its table of trained networks"
    elif space.default_evaluator == "supernet":
        assert choices(space)
        assert said.strip().startswith("a supernet, trained on your images")
    else:
        with pytest.raises(UsageError, match="No evaluator that ships"):
            choices(space)
        assert said.strip().startswith("an evaluator of yours")
        assert said.strip().endswith("no supernet spans them")


def test_the_regret_of_auto_is_the_benchmark_s() -> None:
    page = (ROOT / "docs" / "search-quality.md").read_text(encoding="utf-8")
    figures = [
        re.search(rf"^- auto / best peer at {n}: ([\d.]+)", page, flags=re.MULTILINE)
        for n in (100, 200)
    ]
    said = re.search(
        r"after 100 and 200, its regret \(.*\) is (\.\d+) and (\.\d+) of the best", README
    )
    assert said is not None
    assert [f"{float(found[1]):.2f}"[1:] for found in figures if found] == list(said.groups())


@pytest.mark.ray
def test_commands_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in commands() if not line.startswith("make ")]
    assert len(lines) >= 5
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "moga"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert (tmp_path / "runs" / "small" / "report.html").exists()
    family = json.loads((tmp_path / "runs" / "small" / "family.json").read_text())
    assert min(member["accuracy"] for member in family["members"]) >= 50


@pytest.mark.ray
def test_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None) -> None:
    monkeypatch.chdir(tmp_path)
    programs = [text for kind, text in FENCES if kind == "python"]
    assert sum(TRAINS in text for text in programs) == 1
    for text in programs:
        # The one that trains for minutes is `make search` in Python; here it trains for seconds.
        quick = text.replace(
            TRAINS,
            TRAINS.replace(").run()", ', evaluator="supernet(steps=2)", evaluations=8).run()'),
        ).replace("latency_ms=2.0", "latency_ms=1000.0")
        exec(compile(quick, "README.md", "exec"), {})


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "40"])
    runpy.run_path(str(path), run_name="__main__")
    assert "<Result" in capsys.readouterr().out
