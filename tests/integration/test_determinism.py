"""One seed, one archive: on the local executor, on Ray, and after kill -9 at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moga.search import Search

EVALUATIONS = 160

PROGRAM = """
import sys, time
from moga.search import Search
from moga.supernets.tabular import TabularEvaluator

class Slow(TabularEvaluator):
    def evaluate(self, networks):
        time.sleep(0.01)
        return super().evaluate(networks)

from moga.spaces.nasbench201 import NASBench201
search = Search("nasbench201", "pixel3", evaluations={evaluations}, executor="local",
                evaluator=Slow(NASBench201()), seed=3, storage=sys.argv[1])
print("begin", flush=True)
search.run()
"""


def run(storage: Path, executor: str = "local") -> Path:
    search = Search(
        "nasbench201",
        "pixel3",
        evaluations=EVALUATIONS,
        executor=executor,
        seed=3,
        storage=storage,
    )
    return search.run().run_dir


@pytest.mark.ray
def test_local_equals_ray(tmp_path: Path, ray_cluster: None) -> None:
    local, ray = run(tmp_path / "local"), run(tmp_path / "ray", "ray")
    assert (local / "front.csv").read_text() == (ray / "front.csv").read_text()
    family = "family.json"
    assert (local / family).read_text() == (ray / family).read_text()


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    code, killed, kills = PROGRAM.format(evaluations=EVALUATIONS), tmp_path / "killed", 0
    for seconds in (0.05, 0.2, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(killed)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        while not (killed / "journal.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills >= 2
    subprocess.run([sys.executable, "-c", code, str(killed)], check=True, stdout=subprocess.DEVNULL)
    assert (whole / "front.csv").read_text() == (killed / "front.csv").read_text()
    lines = (killed / "journal.jsonl").read_text().count('"kind":"asked"')
    assert lines == EVALUATIONS // 4


@pytest.mark.parametrize(
    "searcher",
    [
        *("auto", "bayes", "controller", "evolution(population=12, sample=4)", "llr", "local"),
        *("nsga2(mode=steady, population=12)", "portfolio", "random"),
        "pymoo(algorithm=NSGA3, population=12)",
        pytest.param("lamcts", marks=pytest.mark.slow),
    ],
)
def test_every_searcher_goes_on_where_its_run_was_left(tmp_path: Path, searcher: str) -> None:
    def search(storage: str) -> Search:
        return Search(
            "nasbench201",
            "pixel3",
            ["accuracy", "latency"],
            searcher=searcher,
            evaluations=60,
            executor="local",
            family=None,
            storage=tmp_path / storage,
        )

    whole = search("whole").run()
    left = search("left")
    with left.session():
        for _ in range(8):
            left.step()
    again = search("left").run()
    assert again.evaluations["genome"].tolist() == whole.evaluations["genome"].tolist()
    assert (again.run_dir / "front.csv").read_text() == (whole.run_dir / "front.csv").read_text()
