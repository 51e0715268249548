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
