import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices.isolated import ALLOCATOR, Isolated
from moga.devices.timing import Sampling, TimesRounds, time_rounds
from moga.errors import MeasurementFailed, UsageError
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeEngine

NETWORK = MoGASpace(32, 0.35, 10).decode([0] * 14)
QUICK = Sampling(rounds=3, seconds=0, warmups=1)
FAKE = "moga.testing.devices:FakeEngine"


class Notes(Silent):
    def __init__(self):
        self.phases, self.done = [], []

    def phase(self, name, total=None, unit=""):
        self.phases.append((name, total, unit))

    def advance(self, done, **values):
        self.done.append(done)


def rounds(engine, subjects, progress=None):
    rng = np.random.default_rng(0)
    return time_rounds(
        engine, subjects, QUICK, rng=rng, progress=progress or Silent(), phase="time"
    )


def test_a_child_times_as_the_engine_itself_does():
    engine, notes = Isolated(FAKE, {"overhead": 0.5, "batch": 2}), Notes()
    assert isinstance(engine, TimesRounds)
    subjects = [*NETWORK.blocks[:2], NETWORK]
    found = rounds(engine, subjects, notes)
    true = FakeEngine(overhead=0.5)
    np.testing.assert_allclose(found.ms, [[true.true_ms(subject) for subject in subjects]] * 3)
    assert sorted(found.order.ravel()) == list(range(9))
    assert notes.phases == [("time: build and warm up", 3, "timed"), ("time", 3, "rounds")]
    assert notes.done == [1, 2, 3, 1, 2, 3]
    child = engine._child
    rounds(engine, subjects)
    assert engine._child is child
    engine.close()
    assert child.poll() is not None
    assert engine.batch == 2
    assert engine.settings["overhead"] == 0.5


class Feeding(FakeEngine):
    """Takes a tenth of the time of what is given something."""

    def step(self, subject):
        run = self.prepare(subject)
        return lambda given: (run() / (10 if given else 1), True)


def test_a_child_is_told_what_may_follow_what():
    engine = Isolated(f"{__name__}:Feeding", {})
    blocks = list(NETWORK.blocks[:2])
    settings = {"rng": np.random.default_rng(0), "progress": Silent(), "phase": "time"}
    found = time_rounds(engine, blocks, QUICK, **settings, successions=[(0, 1)])
    first, second = (FakeEngine().true_ms(block) for block in blocks)
    np.testing.assert_allclose(found.ms, [[first, second / 10]] * 3)
    engine.close()


def test_a_child_that_dies_is_named_and_replaced():
    engine = Isolated(FAKE, {})
    rounds(engine, [NETWORK])
    os.kill(engine._child.pid, signal.SIGKILL)
    engine._child.wait()
    assert rounds(engine, [NETWORK]).ms.shape == (3, 1)
    engine.close()
    dying = Isolated(FAKE, {})
    child = dying._started()
    child.kill()
    child.wait()
    child.poll = lambda: None  # so that it seems to live when the rounds begin
    with pytest.raises(MeasurementFailed, match="the measuring process ended with code -9"):
        rounds(dying, [NETWORK])
    dying.close()


class Sleeping(FakeEngine):
    """Takes ten milliseconds a run."""

    def prepare(self, subject):
        run = super().prepare(subject)
        return lambda: time.sleep(0.01) or run()


def measure_long(engine, rounds):
    """Be the parent: say the child's process number once it measures, or waits for the next."""

    class Says(Silent):
        def advance(self, done, **values):
            if done == 2:  # of one subject: in the rounds
                sys.stdout.write(f"{isolated._child.pid}\n")
                sys.stdout.flush()

    isolated = Isolated(engine, {})
    settings = {"rng": np.random.default_rng(0), "progress": Says(), "phase": "time"}
    sampling = Sampling(rounds=rounds, most=rounds, seconds=0, warmups=1)
    time_rounds(isolated, [NETWORK], sampling, **settings)
    time.sleep(3600)


@pytest.mark.parametrize("rounds", [2, 360_000], ids=["waiting", "measuring"])
def test_a_child_ends_in_silence_when_its_parent_is_killed(rounds):
    code = f"from {__name__} import measure_long; measure_long('{__name__}:Sleeping', {rounds})"
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said = parent.stdout.readline()
    parent.kill()
    try:
        _, errors = parent.communicate(timeout=60)  # until the child, too, has closed its end
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(said), signal.SIGKILL)
        pytest.fail("the child went on")
    assert said
    assert parent.returncode == -signal.SIGKILL
    assert errors == b""


def test_what_the_engine_cannot_run_is_named():
    huge = MoGASpace(32, 0.35, 10).decode([0] * 14).blocks[-1]
    engine = Isolated("moga.testing.devices:FakeEngine", {"broken_operation": "linear"})
    with pytest.raises(MeasurementFailed, match="the fake engine cannot run block-"):
        rounds(engine, [huge])
    assert rounds(engine, [NETWORK]).ms.shape == (3, 1)
    engine.close()


def test_the_allocator_is_set_and_recorded_and_the_users_own_wins(monkeypatch):
    engine = Isolated(FAKE, {})
    assert engine.settings["allocator"] == dict(ALLOCATOR)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "7")
    monkeypatch.setenv("LD_PRELOAD", "")
    own = Isolated(FAKE, {}).settings["allocator"]
    assert (own["MALLOC_TRIM_THRESHOLD_"], own["LD_PRELOAD"]) == ("7", "")
    assert own["MALLOC_MMAP_MAX_"] == "0"


def test_it_travels_without_its_child_and_gives_no_single_runs():
    engine = Isolated(FAKE, {"batch": 3})
    again = pickle.loads(pickle.dumps(engine))
    assert (again.batch, again._child) == (3, None)
    with engine.session(), pytest.raises(UsageError, match="gives no single runs"):
        engine.prepare(NETWORK)


def test_a_file_in_the_current_folder_is_not_taken_for_a_module(tmp_path, monkeypatch):
    (tmp_path / "copy.py").write_text("raise ImportError('this is the user\\'s own file')")
    monkeypatch.chdir(tmp_path)
    engine = Isolated(FAKE, {"overhead": 0.5})
    assert rounds(engine, [NETWORK.blocks[0]]).ms.shape == (3, 1)
    engine.close()
