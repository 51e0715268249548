"""An ordered, resumable map over long-lived workers, in this process or as Ray actors.

Both functions keep the order of the items, hand each result over as soon as it is there (`record`),
and do not repeat what is `done`; so whoever writes down what `record` brings can be killed at any
moment, and continues where it was.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from moga.errors import MeasurementFailed, MogaError, UsageError
from moga.runtime.ray import start_ray

__all__ = ["Mapper", "local_map", "ray_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Mapper(Protocol):
    """What `local_map` and `ray_map` (with its options bound) are."""

    def __call__(
        self,
        work: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        record: Callable[[int, Any], None],
        done: Mapping[int, Any],
    ) -> Iterator[Any]:
        """Yield the result of each item, in order."""


def local_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    record: Callable[[int, Result], None] = lambda _number, _result: None,
    done: Mapping[int, Result] | None = None,
) -> Iterator[Result]:
    """Apply `work` to each item, here, one after another.

    Args:
        work: item -> result.
        items: read one by one, as they are needed.
        record: called with number and result, as soon as there is one.
        done: results that are known, by number.
    """
    done = done or {}
    for number, item in enumerate(items):
        if number in done:
            yield done[number]
            continue
        result = work(item)
        record(number, result)
        yield result


class _Worker:
    """What runs in the actor."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def do(self, item: Any) -> Any:
        """Return the result, or an error that moga raises on purpose."""
        try:
            return self._work(item)
        except MogaError as error:
            return error


def ray_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    record: Callable[[int, Result], None] = lambda _number, _result: None,
    done: Mapping[int, Result] | None = None,
    workers: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 3,
) -> Iterator[Result]:
    """Apply `work` to each item by Ray actors; each keeps its copy of `work` and what that holds.

    Ray is started (`runtime.ray.start_ray`) where this process has none, and is then left running.
    An item whose actor died is done again by a new one.

    Args:
        work: item -> result; it must be possible to send it.
        items: read as actors become free, so that an iterator that stops in time ends the map.
        record: called with number and result, in the order in which they come.
        done: results that are known, by number.
        workers: how many actors; None: one a GPU where `gpus` is above 0, else one a CPU.
        cpus: CPUs that one actor reserves.
        gpus: GPUs that one actor reserves.
        retries: how often an item is done again after its actor died.

    Raises:
        UsageError: no room for a worker in the cluster.
        MeasurementFailed: an item killed its actor too often.
        MogaError: what `work` raised on purpose.
    """
    start_ray()
    count = workers or _room(cpus, gpus)
    crew = _Crew(work, count, {"num_cpus": cpus, "num_gpus": gpus}, retries)
    try:
        yield from crew.run(iter(enumerate(items)), record, done or {})
    finally:
        crew.close()


def _room(cpus: float, gpus: float) -> int:
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    name, needed = ("GPU", gpus) if gpus else ("CPU", cpus)
    count = int(there.get(name, 0) / needed)
    if count < 1:
        raise UsageError(
            f"the Ray cluster has {there.get(name, 0):g} {name}s, and one worker needs {needed:g}; "
            "connect to another cluster (RAY_ADDRESS), or measure without workers"
        )
    return count


class _Crew:
    """The actors of one map, and what each is doing."""

    def __init__(
        self, work: Callable[[Any], Any], count: int, resources: dict[str, float], retries: int
    ) -> None:
        import ray

        self._work, self._resources, self._retries = ray.put(work), resources, retries
        self._actors = [self._hire() for _ in range(count)]
        self._doing: dict[Any, tuple[int, int, Any]] = {}
        self._deaths: dict[int, int] = {}

    def _hire(self) -> Any:
        import ray

        actor = ray.remote(_Worker).options(**self._resources, max_restarts=0)
        return actor.remote(self._work)

    def run(
        self,
        items: Iterator[tuple[int, Any]],
        record: Callable[[int, Any], None],
        done: Mapping[int, Any],
    ) -> Iterator[Any]:
        """Yield results in order; keep every actor busy meanwhile."""
        results: dict[int, Any] = dict(done)
        free = list(range(len(self._actors)))
        turn, read, ended = 0, 0, False
        while not ended or turn < read:
            while free and not ended:
                if (following := next(items, None)) is None:
                    ended = True
                    break
                number, item = following
                read = number + 1
                if number not in results:
                    self._send(free.pop(), number, item)
            while turn in results and turn < read:
                yield results.pop(turn)
                turn += 1
            if self._doing and turn < read:
                self._collect(results, free, record)

    def _send(self, worker: int, number: int, item: Any) -> None:
        self._doing[self._actors[worker].do.remote(item)] = (worker, number, item)

    def _collect(
        self, results: dict[int, Any], free: list[int], record: Callable[[int, Any], None]
    ) -> None:
        """Wait for the next result; an actor that died is replaced, and its item sent again."""
        import ray
        from ray.exceptions import RayError

        (reference, *_), _ = ray.wait(list(self._doing), num_returns=1)
        worker, number, item = self._doing.pop(reference)
        try:
            result = ray.get(reference)
        except RayError as error:
            self._died(worker, number, item, error)
            return
        if isinstance(result, MogaError):
            raise result
        record(number, result)
        results[number] = result
        free.append(worker)

    def _died(self, worker: int, number: int, item: Any, error: Exception) -> None:
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] > self._retries:
            raise MeasurementFailed(
                f"item {number} ended its worker {self._deaths[number]} times, at last: {error}"
            ) from error
        self._actors[worker] = self._hire()
        self._send(worker, number, item)

    def close(self) -> None:
        """Kill the actors."""
        import ray

        for actor in self._actors:
            ray.kill(actor)
