"""RayExecutor: evaluations by long-lived actors, on this machine or on a Ray cluster.

The path of a batch: `submit` queues it; `_dispatch` gives it to an idle worker; `_step` waits for
the next thing to happen (a result, a death, a deadline) and `_finish`, `_died` or `_expired` deals
with it; `completed` yields what is whole. A worker holds each evaluator that it was sent: the
evaluator is put in the object store once, and the arrays in it are mapped there, not copied.
"""

import dataclasses
import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from moga.contracts import Evaluator, Outcome, Ticket
from moga.errors import UsageError
from moga.network import Network
from moga.runtime.guard import Retries, check_time_limit, guarded, lost, timed_out

__all__ = ["RayExecutor", "start_ray"]

_LOG: Final = logging.getLogger(__name__)
_OBJECT_STORE_BYTES: Final = 512 << 20
"""Of a Ray that we start ourselves: what we send is small, and memory is needed elsewhere."""

_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
_PATIENCE_S: Final = 60.0
"""How long no worker may be there before that is logged."""


def start_ray(num_cpus: int | None = None) -> bool:
    """Connect to the cluster that RAY_ADDRESS names (`ray job submit` sets it), else start Ray.

    Args:
        num_cpus: how many CPUs a Ray started here offers; default: those of this machine.

    Returns:
        Whether this call did it; False where this process had Ray already, which is then left
        alone.
    """
    import ray

    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a search tells nobody about itself
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:
        ray.init(
            address="local",
            num_cpus=num_cpus or os.cpu_count(),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )
    return True


@dataclasses.dataclass
class _Batch:
    """A submitted batch; whole once every outcome is there."""

    ticket: Ticket
    outcomes: list[Outcome | None]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A batch, or the part of it at `positions`, on its way through the workers."""

    batch: _Batch
    evaluator: int
    networks: tuple[Network, ...]
    positions: tuple[int, ...]
    deaths: int = 0

    def singly(self, deaths: int) -> "list[_Piece]":
        """Split into networks alone, so that only the culprit fails when they are done again."""
        return [
            dataclasses.replace(self, networks=(network,), positions=(position,), deaths=deaths)
            for network, position in zip(self.networks, self.positions, strict=True)
        ]


class _Worker:
    """What runs in the actor."""

    def __init__(self) -> None:
        self._evaluators: dict[int, Evaluator] = {}

    def load(self, number: int, reference: Sequence[Any]) -> None:
        """Fetch an evaluator from the object store; its arrays are mapped, not copied."""
        import ray

        self._evaluators[number] = ray.get(reference[0])

    def evaluate(self, number: int, networks: Sequence[Network], retries: int) -> list[Outcome]:
        return guarded(self._evaluators[number], networks, retries)


class _Handle:
    """The driver's view of one worker: what it has loaded, and what it is doing."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.loaded: set[int] = set()
        self.reference: Any = None  # of the call in progress; None: idle
        self.loading: int | None = None
        self.piece: _Piece | None = None
        self.began = 0.0

    def idle(self) -> None:
        self.reference, self.loading, self.piece = None, None, None


class RayExecutor:
    """Evaluates by long-lived actors, one batch a worker at a time, the oldest batch first.

    A worker that dies is replaced, and its networks are sent again, alone, up to `retries.infra`
    times each; then they are `Failed` as "lost". A worker that exceeds the time limit is killed and
    replaced; a network alone is then `Failed` as "timeout", and those of a larger batch are done
    again, alone. So only the culprit fails. An error of the evaluator is dealt with in the worker
    (`guarded`).

    Ray is started (`start_ray`) with the first batch, and shut down by `close` if it was started
    here. Batches finish in the order of the machines; whoever needs the order of submission sorts
    by ticket.

    Args:
        workers: how many actors; default: as many as the cluster has CPUs for (at least one).
        time_limit: seconds for one evaluation (a batch of n has n times as much); None: no limit.
        retries: how often a network is sent or done again.
        cpus: CPUs that one worker reserves; each computes with one thread whatever this is.
        gpus: GPUs that one worker reserves; 0 hides them from it.

    Raises:
        UsageError: numbers out of range; an evaluator that cannot be sent to workers; workers that
            cannot start.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        time_limit: float | None = None,
        retries: Retries | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers}, allowed: 1 and more, or None for one a CPU")
        self.time_limit = check_time_limit(time_limit)
        self.retries = retries or Retries()
        self._resources = {"num_cpus": cpus, "num_gpus": gpus}
        self._wanted = workers
        self._started = False
        self._workers: list[_Handle] = []
        self._evaluators: list[tuple[Evaluator, Any]] = []
        self._waiting: deque[_Piece] = deque()
        self._whole: deque[_Batch] = deque()
        self._outstanding = 0
        self._submitted = 0
        self._failed_starts = 0
        self._ready_at = 0.0

    def submit(self, evaluator: Evaluator, batch: Sequence[Network]) -> Ticket:
        """Hand over a batch; returns at once, but for the start of Ray with the first."""
        self._start()
        number = self._number(evaluator)
        ticket = Ticket(self._submitted)
        self._submitted += 1
        self._outstanding += 1
        state = _Batch(ticket, [None] * len(batch))
        if batch:
            self._waiting.append(_Piece(state, number, tuple(batch), tuple(range(len(batch)))))
        else:
            self._whole.append(state)
        while self._step(0.0):  # so that workers that finished meanwhile do not idle
            pass
        return ticket

    def completed(self) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Yield batches in the order in which they finish, until none is outstanding."""
        while self._outstanding:
            while not self._whole:
                self._step(None)
            batch = self._whole.popleft()
            self._outstanding -= 1
            yield batch.ticket, [outcome for outcome in batch.outcomes if outcome is not None]

    def close(self) -> None:
        """Kill the workers, drop what is outstanding, and shut down Ray if it was started here."""
        import ray

        if ray.is_initialized():
            for worker in self._workers:
                ray.kill(worker.actor)
        self._workers.clear()
        self._evaluators.clear()
        self._waiting.clear()
        self._whole.clear()
        self._outstanding = 0
        if self._started:
            ray.shutdown()
            self._started = False

    def _start(self) -> None:
        import ray

        if self._workers:
            return
        self._started = start_ray() or self._started
        self._ready_at = time.monotonic()
        if self._wanted is None:
            cpus = ray.cluster_resources().get("CPU", 1.0)  # type: ignore[no-untyped-call]
            self._wanted = max(1, int(cpus / max(self._resources["num_cpus"], 1e-9)))
        self._workers = [self._hire() for _ in range(self._wanted)]

    def _hire(self) -> _Handle:
        import ray

        actor = ray.remote(_Worker).options(
            **self._resources, max_restarts=0, runtime_env={"env_vars": dict(_ONE_THREAD)}
        )
        return _Handle(actor.remote())

    def _replace(self, worker: _Handle) -> None:
        import ray

        ray.kill(worker.actor)
        self._workers[self._workers.index(worker)] = self._hire()

    def _number(self, evaluator: Evaluator) -> int:
        """Return the number of an evaluator, putting it in the object store at the first sight."""
        import ray

        for number, (known, _) in enumerate(self._evaluators):
            if known is evaluator:
                return number
        try:
            reference = ray.put(evaluator)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise UsageError(
                f"the evaluator {type(evaluator).__name__} cannot be sent to Ray's workers: "
                f"{_reason(error)}. Keep open files and locks out of it, or use executor='local'"
            ) from error
        self._evaluators.append((evaluator, reference))
        return len(self._evaluators) - 1

    def _dispatch(self) -> None:
        """Give waiting pieces to idle workers, the oldest first; have evaluators loaded before."""
        for worker in self._workers:
            if worker.reference is not None or not self._waiting:
                continue
            number = self._waiting[0].evaluator
            if number in worker.loaded:
                piece = worker.piece = self._waiting.popleft()
                worker.reference = worker.actor.evaluate.remote(
                    number, piece.networks, self.retries.user
                )
            else:
                # A call of its own, so that the start of a worker counts against no time limit.
                worker.loading = number
                worker.reference = worker.actor.load.remote(number, [self._evaluators[number][1]])
            worker.began = time.monotonic()

    def _step(self, timeout: float | None) -> bool:
        """Dispatch, wait for the next thing to happen, deal with it; False where nothing did."""
        import ray

        self._dispatch()
        busy = {
            worker.reference: worker for worker in self._workers if worker.reference is not None
        }
        if not busy:
            return False
        patience = min((self._left(worker) for worker in busy.values()), default=_PATIENCE_S)
        patience = max(min(patience, _PATIENCE_S), 0.0)
        done, _ = ray.wait(list(busy), timeout=patience if timeout is None else timeout)
        if done:
            self._settle(busy[done[0]])
        elif late := [worker for worker in busy.values() if self._left(worker) <= 0]:
            self._expired(late[0])
        else:
            self._complain()
            return False
        self._dispatch()
        return True

    def _left(self, worker: _Handle) -> float:
        """Return the seconds that a worker has left."""
        if self.time_limit is None or worker.piece is None:
            return _PATIENCE_S
        return worker.began + self.time_limit * len(worker.piece.networks) - time.monotonic()

    def _complain(self) -> None:
        waited = time.monotonic() - self._ready_at
        if waited > _PATIENCE_S and not any(worker.loaded for worker in self._workers):
            self._ready_at = time.monotonic()
            _LOG.warning(
                "no worker has started for %.0f s: has the cluster %s free for each?",
                waited,
                ", ".join(f"{value:g} {name}" for name, value in self._resources.items() if value),
            )

    def _settle(self, worker: _Handle) -> None:
        """Deal with a call that ended."""
        from ray.exceptions import RayError

        try:
            outcomes = self._get(worker)
        except RayError as error:
            if worker.piece is None:
                self._failed_start(worker, error)
            else:
                self._died(worker, _reason(error))
            return
        if worker.piece is None:
            self._loaded(worker)
        else:
            self._finish(worker, outcomes)

    def _get(self, worker: _Handle) -> list[Outcome]:
        import ray

        result: list[Outcome] = ray.get(worker.reference)
        return result

    def _loaded(self, worker: _Handle) -> None:
        if worker.loading is not None:
            worker.loaded.add(worker.loading)
        worker.idle()
        self._failed_starts = 0

    def _failed_start(self, worker: _Handle, error: Exception) -> None:
        self._failed_starts += 1
        if self._failed_starts > self.retries.infra:
            raise UsageError(
                f"Ray's workers cannot start with this evaluator: {_reason(error)}. Is everything "
                "that it needs installed on every node? executor='local' works without workers"
            ) from error
        self._replace(worker)

    def _finish(self, worker: _Handle, outcomes: Sequence[Outcome]) -> None:
        piece = worker.piece
        worker.idle()
        if piece is not None:
            self._fill(piece, outcomes)

    def _died(self, worker: _Handle, reason: str) -> None:
        piece = worker.piece
        self._replace(worker)
        if piece is None:
            return
        deaths = piece.deaths + 1
        if deaths > self.retries.infra:
            self._fill(piece, [lost(deaths, reason)] * len(piece.networks))
        else:
            self._waiting.extendleft(reversed(piece.singly(deaths)))

    def _expired(self, worker: _Handle) -> None:
        piece = worker.piece
        self._replace(worker)
        if piece is None or self.time_limit is None:
            return
        if len(piece.networks) == 1:
            self._fill(piece, [timed_out(self.time_limit)])
        else:
            self._waiting.extendleft(reversed(piece.singly(piece.deaths)))

    def _fill(self, piece: _Piece, outcomes: Sequence[Outcome]) -> None:
        """Put outcomes in their places; the batch is whole once none is missing."""
        for position, outcome in zip(piece.positions, outcomes, strict=True):
            piece.batch.outcomes[position] = outcome
        if None not in piece.batch.outcomes:
            self._whole.append(piece.batch)


def _reason(error: Exception) -> str:
    """Return one line of what happened: the cause in the worker where there is one."""
    cause = getattr(error, "cause", None) or error
    text = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {text[0]}"
