"""One Ray for all of these; classes that workers need are local, so that they travel by value."""

import collections
import dataclasses
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from threadpoolctl import threadpool_info

from moga.contracts import Executor, Failed, Measured, Outcome, Ticket
from moga.errors import UsageError
from moga.network import Network
from moga.registry import create
from moga.runtime import ray as runtime_ray
from moga.runtime.guard import Retries
from moga.runtime.local import LocalExecutor
from moga.runtime.ray import RayExecutor, start_ray
from moga.testing.fakes import (
    DyingEvaluator,
    NaNEvaluator,
    RaisingEvaluator,
    SleepingEvaluator,
    TableEvaluator,
    tiny_network,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

NETWORKS = [tiny_network(channels) for channels in range(1, 7)]
CULPRIT = {NETWORKS[1].digest}
TABLE = TableEvaluator()
GOOD = TABLE.evaluate(NETWORKS)


@pytest.fixture
def build() -> Iterator[Callable[..., RayExecutor]]:
    """Build executors that are closed after the test."""
    built: list[RayExecutor] = []

    def make(workers: int | None = 2, **options: Any) -> RayExecutor:
        built.append(RayExecutor(workers, **options))
        return built[-1]

    yield make
    for executor in built:
        executor.close()


def run(executor: RayExecutor, evaluator: Any, *batches: Sequence[Network]) -> list[list[Outcome]]:
    """Submit batches and return their outcomes in order of submission."""
    tickets = [executor.submit(evaluator, batch) for batch in batches]
    found = dict(executor.completed())
    assert sorted(found, key=lambda ticket: ticket.number) == tickets
    return [found[ticket] for ticket in tickets]


def test_outcomes_equal_those_of_the_local_executor(build: Callable[..., RayExecutor]) -> None:
    executor = create("executor", "ray", workers=None, time_limit=30.0, retries=Retries())
    assert isinstance(executor, Executor)
    raising = RaisingEvaluator(TABLE, CULPRIT)
    nan = NaNEvaluator(TABLE, CULPRIT)
    local = LocalExecutor()
    for evaluator in (TABLE, raising, nan):
        local.submit(evaluator, NETWORKS[:3])
        local.submit(evaluator, NETWORKS[3:])
    expected = [outcomes for _, outcomes in local.completed()]
    found: dict[Ticket, list[Outcome]] = {}
    for evaluator in (TABLE, raising, nan):
        executor.submit(evaluator, NETWORKS[:3])
        executor.submit(evaluator, NETWORKS[3:])
    found = dict(executor.completed())
    assert [found[Ticket(number)] for number in range(6)] == expected
    assert {
        outcome.kind for batch in expected for outcome in batch if isinstance(outcome, Failed)
    } == {
        "error",
        "nan",
    }
    assert len(executor._workers) == 2  # one a CPU of the cluster
    executor.close()
    assert ray.is_initialized()  # not ours to shut down


def test_evaluator_is_put_once_and_mapped_with_one_thread(
    build: Callable[..., RayExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclasses.dataclass
    class Probe:
        weights: Any
        metrics: tuple[str, ...] = ("sum", "writeable", "owned", "pid", "threads")

        def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
            time.sleep(0.2)  # so that neither worker gets all
            values = {
                "sum": float(self.weights.sum()),
                "writeable": float(self.weights.flags.writeable),
                "owned": float(self.weights.flags.owndata),
                "pid": float(os.getpid()),
                "threads": float(max(pool["num_threads"] for pool in threadpool_info())),
            }
            return [Measured(values)] * len(networks)

    puts: list[object] = []
    real = ray.put
    monkeypatch.setattr(ray, "put", lambda value: (puts.append(value), real(value))[1])
    probe = Probe(np.ones(4 << 20))
    results = run(build(), probe, *[NETWORKS[:2]] * 8)
    assert puts == [probe]
    values = [outcome.values for batch in results for outcome in batch]
    assert len({value["pid"] for value in values}) == 2
    assert {value["sum"] for value in values} == {float(4 << 20)}
    for name, expected in {"writeable": 0.0, "owned": 0.0, "threads": 1.0}.items():
        assert {value[name] for value in values} == {expected}


def test_batches_come_as_they_finish_and_more_can_be_submitted(
    build: Callable[..., RayExecutor],
) -> None:
    executor = build()
    run(executor, TABLE, *[NETWORKS[:1]] * 4)  # both workers are up
    slow = SleepingEvaluator(TABLE, CULPRIT, seconds=1.5)
    run(executor, slow, *[NETWORKS[:1]] * 8)
    first = executor.submit(slow, NETWORKS[1:2])
    second = executor.submit(slow, NETWORKS[2:3])
    order, more = [], None
    for ticket, outcomes in executor.completed():
        order.append(ticket)
        assert all(outcome in GOOD for outcome in outcomes)
        if ticket == second:
            more = executor.submit(slow, NETWORKS[3:4])
            empty = executor.submit(slow, [])
    assert sorted(order[1:3], key=lambda t: t.number) == [more, empty]
    assert (order[0], order[3]) == (second, first)
    assert list(executor.completed()) == []


def test_dead_worker_is_replaced_and_its_batch_done_again(
    build: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    evaluator = DyingEvaluator(TABLE, CULPRIT, folder=tmp_path)
    assert run(build(), evaluator, NETWORKS[:3], NETWORKS[3:]) == [GOOD[:3], GOOD[3:]]
    assert len(list(tmp_path.iterdir())) == 1  # it did die


def test_network_that_kills_every_worker_is_lost_alone(build: Callable[..., RayExecutor]) -> None:
    evaluator = DyingEvaluator(TABLE, CULPRIT)
    executor = build(retries=Retries(infra=1))
    first, second = run(executor, evaluator, NETWORKS[:3], NETWORKS[3:])
    assert isinstance(first[1], Failed)
    assert first[1].kind == "lost"
    assert first[1].reason.startswith("its worker died 2 times, at last: ActorDiedError: ")
    assert [first[0], first[2], *second] == [GOOD[0], *GOOD[2:]]


def test_without_retries_a_death_loses_the_batch(build: Callable[..., RayExecutor]) -> None:
    executor = build(1, retries=Retries(infra=0))
    evaluator = DyingEvaluator(TABLE, CULPRIT)
    first, second = run(executor, evaluator, NETWORKS[:2], NETWORKS[2:3])
    assert [outcome.kind for outcome in first if isinstance(outcome, Failed)] == ["lost", "lost"]
    assert second == GOOD[2:3]


def test_only_what_exceeds_the_time_limit_fails(build: Callable[..., RayExecutor]) -> None:
    executor = build(time_limit=1.0)
    evaluator = SleepingEvaluator(TABLE, CULPRIT)
    began = time.monotonic()
    first, second = run(executor, evaluator, NETWORKS[:2], NETWORKS[2:])
    timeout = Failed("took longer than the time limit of 1 s", "timeout")
    assert first == [GOOD[0], timeout]
    assert second == GOOD[2:]
    assert time.monotonic() - began < 30


def test_start_of_a_worker_counts_against_no_time_limit(build: Callable[..., RayExecutor]) -> None:
    class Heavy(TableEvaluator):
        def __setstate__(self, state: Any) -> None:
            time.sleep(1.5)
            self.__dict__.update(state)

        def __getstate__(self) -> Any:
            return dict(self.__dict__)

    assert run(build(1, time_limit=1.0), Heavy(), NETWORKS[:1]) == [GOOD[:1]]


def test_user_retries_happen_in_the_worker(build: Callable[..., RayExecutor]) -> None:
    class Flaky:
        metrics = ("accuracy",)
        attempts = 0

        def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
            self.attempts += 1
            if self.attempts < 3:
                raise ValueError("not yet")
            return TableEvaluator().evaluate(networks)

    assert run(build(1, retries=Retries(user=2)), Flaky(), NETWORKS[:1]) == [GOOD[:1]]
    assert run(build(1, retries=Retries(user=1)), Flaky(), NETWORKS[:1]) == [
        [Failed("ValueError: not yet", "error")]
    ]


def test_evaluator_that_interrupts_loses_its_network_alone(
    build: Callable[..., RayExecutor],
) -> None:
    class Interrupting:
        metrics = ("accuracy",)

        def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
            if any(network.digest in CULPRIT for network in networks):
                raise KeyboardInterrupt
            return TableEvaluator().evaluate(networks)

    ((good, bad),) = run(build(retries=Retries(infra=1)), Interrupting(), NETWORKS[:2])
    assert good == GOOD[0]
    assert isinstance(bad, Failed)
    assert bad.kind == "lost"


def test_evaluator_that_cannot_travel(build: Callable[..., RayExecutor]) -> None:
    with pytest.raises(UsageError, match=r"TableEvaluator cannot be sent to Ray's workers: .*Keep"):
        build(1).submit(TableEvaluator(ballast=threading.Lock()), NETWORKS)


def test_evaluator_that_workers_cannot_load(build: Callable[..., RayExecutor]) -> None:
    class Broken(TableEvaluator):
        def __reduce__(self) -> Any:
            return int, ("no number",)

    executor = build(1, retries=Retries(infra=1))
    executor.submit(Broken(), NETWORKS[:1])
    with pytest.raises(UsageError, match=r"workers cannot start with this evaluator: .*no number"):
        list(executor.completed())


def test_close_drops_what_is_outstanding_and_frees_the_workers(
    build: Callable[..., RayExecutor],
) -> None:
    executor = build()
    executor.submit(SleepingEvaluator(TABLE, CULPRIT), NETWORKS)
    executor.close()
    assert list(executor.completed()) == []
    assert run(build(), TABLE, NETWORKS) == [GOOD]
    executor.close()


def test_waiting_for_workers_that_do_not_start_is_logged(
    build: Callable[..., RayExecutor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(runtime_ray, "_PATIENCE_S", 0.2)
    executor = build(1, cpus=64)
    executor.submit(TABLE, NETWORKS)
    with caplog.at_level(logging.WARNING, logger="moga"):
        for _ in range(3):
            executor._step(None)
    assert "no worker has started for" in caplog.text
    assert "has the cluster 64 num_cpus free for each?" in caplog.text


def test_wrong_numbers() -> None:
    with pytest.raises(
        UsageError, match="workers is 0, allowed: 1 and more, or None for one a CPU"
    ):
        RayExecutor(0)
    with pytest.raises(UsageError, match="time_limit is 0"):
        RayExecutor(time_limit=0)


def test_start_ray_leaves_a_running_ray_alone() -> None:
    assert not start_ray()


ALONE = """
import ray
from moga.runtime.ray import RayExecutor
from moga.testing.fakes import TableEvaluator, tiny_network
executor = RayExecutor(workers=1)
executor.submit(TableEvaluator(), [tiny_network()])
((ticket, outcomes),) = executor.completed()
assert outcomes == TableEvaluator().evaluate([tiny_network()]), outcomes
print(int(ray.cluster_resources()["object_store_memory"]) >> 20, len(ray.nodes()))
executor.close()
assert not ray.is_initialized()
"""


@pytest.mark.parametrize(
    "address", [False, True], ids=["starts its own", "connects by RAY_ADDRESS"]
)
def test_own_ray_is_quiet_and_shut_down(address: bool) -> None:
    environment = collections.ChainMap({}, dict(os.environ))
    if address:
        environment["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE],
        capture_output=True,
        text=True,
        check=False,
        env=dict(environment),
    )
    assert done.stderr == ""
    assert done.stdout == "512 1\n"
    assert done.returncode == 0
    assert ray.cluster_resources()["CPU"] == 2.0  # the session's Ray is still there
