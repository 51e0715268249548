"""LocalExecutor: evaluations in this process, one batch after another, in order of submission."""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from moga.contracts import Evaluator, Outcome, Ticket
from moga.errors import UsageError
from moga.network import Network
from moga.runtime.guard import Retries, check_time_limit, guarded, one_thread, timed_out

__all__ = ["LocalExecutor"]

_AGAIN: Final = 1.0
"""Seconds after which the alarm is repeated, should the evaluator have swallowed it."""


class LocalExecutor:
    """Evaluates in this process, with one thread for arithmetic, as Ray's workers do.

    `submit` only queues; the work is done while `completed` is iterated, so the order is that of
    submission, always. The time limit interrupts Python code and sleeps by an alarm signal; a
    single long call into C ends before it is interrupted. Ray's executor has no such gap.

    Args:
        time_limit: seconds for one evaluation (a batch of n has n times as much; where that does
            not suffice, its networks are evaluated alone, and only the culprit fails); None: no
            limit.
        retries: `Retries.user` counts here; nothing can be lost.

    Raises:
        UsageError: a time limit that is not above 0, or one where `completed` is not iterated in
            the main thread.
    """

    def __init__(self, *, time_limit: float | None = None, retries: Retries | None = None) -> None:
        self.time_limit = check_time_limit(time_limit)
        self.retries = retries or Retries()
        self._queue: deque[tuple[Ticket, Evaluator, tuple[Network, ...]]] = deque()
        self._submitted = 0

    def submit(self, evaluator: Evaluator, batch: Sequence[Network]) -> Ticket:
        """Queue a batch; returns at once."""
        ticket = Ticket(self._submitted)
        self._submitted += 1
        self._queue.append((ticket, evaluator, tuple(batch)))
        return ticket

    def completed(self) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Evaluate and yield batches in order of submission, until none is outstanding."""
        while self._queue:
            ticket, evaluator, networks = self._queue[0]
            with one_thread():
                outcomes = self._evaluate(evaluator, networks)
            self._queue.popleft()
            yield ticket, outcomes

    def close(self) -> None:
        """Drop what is outstanding."""
        self._queue.clear()

    def _evaluate(self, evaluator: Evaluator, networks: Sequence[Network]) -> list[Outcome]:
        def work() -> list[Outcome]:
            return guarded(evaluator, networks, self.retries.user)

        if self.time_limit is None:
            return work()
        outcomes = _within(self.time_limit * max(len(networks), 1), work)
        if outcomes is not None:
            return outcomes
        if len(networks) == 1:
            return [timed_out(self.time_limit)]
        return [self._evaluate(evaluator, [network])[0] for network in networks]


class _TimeUp(BaseException):
    """Not an `Exception`, so that an evaluator's ``except Exception`` does not swallow it."""


def _within(seconds: float, work: Callable[[], list[Outcome]]) -> list[Outcome] | None:
    """Return what `work` returns, or None where it takes longer than `seconds`."""
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            "executor='local' can keep a time limit in the main thread only; use executor='ray', "
            "or run without time_limit"
        )
    try:
        with _alarm(seconds):
            return work()
    except _TimeUp:
        return None


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `_TimeUp` in the block after `seconds`; then put back the alarm that was set before."""
    armed = True

    def ring(_signal: int, _frame: Any) -> None:
        if armed:
            raise _TimeUp

    began, remaining, interval = time.monotonic(), 0.0, 0.0
    handler = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            yield
        finally:
            armed = False
    finally:
        armed = False  # again: the alarm may ring just before the line above
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if remaining:  # another's alarm, such as that of a test runner
            left = max(remaining - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)
