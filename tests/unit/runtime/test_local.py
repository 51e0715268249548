import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from moga.contracts import Executor, Failed, Measured, Ticket
from moga.errors import UsageError
from moga.network import Network
from moga.registry import create
from moga.runtime.guard import Retries
from moga.runtime.local import LocalExecutor
from moga.testing.fakes import RaisingEvaluator, SleepingEvaluator, TableEvaluator, tiny_network

NETWORKS = [tiny_network(channels) for channels in (1, 2, 3, 4)]
CULPRIT = {NETWORKS[1].digest}
GOOD = TableEvaluator().evaluate(NETWORKS)
TIMEOUT = Failed("took longer than the time limit of 0.4 s", "timeout")


class Stubborn:
    """Loops for ever for the culprit, and swallows the first thing that interrupts it."""

    metrics = ("accuracy",)

    def evaluate(self, networks: Sequence[Network]) -> Any:
        if any(network.digest in CULPRIT for network in networks):
            try:
                self._loop()
            except BaseException:
                self._loop()
        return TableEvaluator().evaluate(networks)

    def _loop(self) -> None:
        while True:
            pass


def test_is_an_executor_that_the_registry_builds() -> None:
    executor = create("executor", "local", time_limit=3.0, retries=Retries(user=1), workers=7)
    assert isinstance(executor, LocalExecutor)
    assert isinstance(executor, Executor)
    assert (executor.time_limit, executor.retries.user) == (3.0, 1)


def test_submit_is_lazy_and_order_is_that_of_submission() -> None:
    executor = LocalExecutor()
    evaluated: list[str] = []

    def table(network: Network) -> dict[str, float]:
        evaluated.append(network.digest)
        return {"accuracy": 0.5}

    evaluator = TableEvaluator(table)
    tickets = [executor.submit(evaluator, NETWORKS[:2]), executor.submit(evaluator, NETWORKS[2:])]
    assert tickets == [Ticket(0), Ticket(1)]
    assert evaluated == []
    found = []
    for ticket, outcomes in executor.completed():
        found.append(ticket)
        assert outcomes == [Measured({"accuracy": 0.5})] * 2
        assert len(evaluated) == 2 * len(found)
        if ticket == Ticket(0):
            tickets.append(executor.submit(evaluator, NETWORKS[:2]))
    assert found == tickets == [Ticket(0), Ticket(1), Ticket(2)]
    assert list(executor.completed()) == []


def test_empty_batch_and_close() -> None:
    executor = LocalExecutor(time_limit=1.0)
    executor.submit(TableEvaluator(), [])
    assert list(executor.completed()) == [(Ticket(0), [])]
    executor.submit(TableEvaluator(), NETWORKS)
    executor.close()
    assert list(executor.completed()) == []


def test_raising_evaluator_fails_the_culprit_alone() -> None:
    executor = LocalExecutor()
    executor.submit(RaisingEvaluator(TableEvaluator(), CULPRIT), NETWORKS)
    ((_, outcomes),) = executor.completed()
    assert [isinstance(outcome, Failed) for outcome in outcomes] == [False, True, False, False]


def test_user_retries_are_passed_on() -> None:
    attempts: list[int] = []

    def table(network: Network) -> dict[str, float]:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return {"accuracy": 0.5}

    executor = LocalExecutor(retries=Retries(user=2))
    executor.submit(TableEvaluator(table), NETWORKS[:1])
    assert list(executor.completed()) == [(Ticket(0), [Measured({"accuracy": 0.5})])]


@pytest.mark.parametrize(
    "evaluator", [SleepingEvaluator(TableEvaluator(), CULPRIT), Stubborn()], ids=["sleeps", "loops"]
)
def test_only_what_exceeds_the_limit_fails(evaluator: Any) -> None:
    executor = LocalExecutor(time_limit=0.4)
    executor.submit(evaluator, NETWORKS[:2])
    executor.submit(evaluator, NETWORKS[2:])
    began = time.monotonic()
    (_, first), (_, second) = executor.completed()
    assert first == [GOOD[0], TIMEOUT]
    assert second == GOOD[2:]
    assert time.monotonic() - began < 10


def test_alarm_of_others_is_put_back() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    outer = signal.setitimer(signal.ITIMER_REAL, 1.2)
    try:
        executor = LocalExecutor(time_limit=0.4)
        executor.submit(SleepingEvaluator(TableEvaluator(), CULPRIT), NETWORKS[1:2])
        assert list(executor.completed()) == [(Ticket(0), [TIMEOUT])]
        assert not rung
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.9
        time.sleep(1.2)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *outer)


def test_time_limit_needs_the_main_thread() -> None:
    errors: list[BaseException] = []

    def work(limit: float | None) -> None:
        executor = LocalExecutor(time_limit=limit)
        executor.submit(TableEvaluator(), NETWORKS[:1])
        try:
            assert list(executor.completed()) == [(Ticket(0), GOOD[:1])]
        except UsageError as error:
            errors.append(error)

    for limit in (None, 1.0):
        thread = threading.Thread(target=work, args=(limit,))
        thread.start()
        thread.join()
    assert len(errors) == 1
    with pytest.raises(UsageError, match="in the main thread only; use executor='ray', or run"):
        raise errors[0]


def test_interrupt_passes_and_the_batch_stays_outstanding() -> None:
    executor = LocalExecutor(time_limit=5.0)
    interrupts = iter([KeyboardInterrupt()])

    def table(network: Network) -> dict[str, float]:
        for interrupt in interrupts:
            raise interrupt
        return {"accuracy": 0.5}

    executor.submit(TableEvaluator(table), NETWORKS[:1])
    with pytest.raises(KeyboardInterrupt):
        list(executor.completed())
    assert signal.getsignal(signal.SIGALRM) is not None
    assert list(executor.completed()) == [(Ticket(0), [Measured({"accuracy": 0.5})])]


def test_importing_runtime_loads_no_ray() -> None:
    import subprocess

    code = "import sys, moga.runtime; sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
