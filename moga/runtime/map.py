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

    def ready(self) -> None:
        """Return once the actor has its place in the cluster and its work."""

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
    An item whose actor died is done again by a new one. Actors that find no room wait for it, and
    the others do their share.

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
        MeasurementFailed: an item killed its actor too often, or actors died before they had one.
        MogaError: what `work` raised on purpose.
    """
    start_ray()
    room = _room({"CPU": cpus, "GPU": gpus})
    crew = _Crew(work, workers or room, {"num_cpus": cpus, "num_gpus": gpus}, retries)
    try:
        yield from crew.run(iter(enumerate(items)), record, done or {})
    finally:
        crew.close()


def _room(needed: Mapping[str, float]) -> int:
    """Return how many workers fit, each on one node as it must."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    needed = {name: count for name, count in needed.items() if count}
    count = sum(min(int(node.get(name, 0) / one) for name, one in needed.items()) for node in nodes)
    if count < 1:
        there = sorted({_amounts({name: node.get(name, 0) for name in needed}) for node in nodes})
        raise UsageError(
            f"no node of the Ray cluster has the {_amounts(needed)} that one worker needs (there: "
            f"{'; '.join(there)}); connect to another cluster (RAY_ADDRESS), or measure without "
            "workers"
        )
    return count


def _amounts(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{count:g} {name}" for name, count in resources.items())


class _Crew:
    """The actors of one map, and what each is doing."""

    def __init__(
        self, work: Callable[[Any], Any], count: int, resources: dict[str, float], retries: int
    ) -> None:
        import ray

        self._work, self._resources, self._retries = ray.put(work), resources, retries
        self._actors: dict[int, Any] = {}
        self._free: list[int] = []
        self._doing: dict[Any, tuple[int, int | None, Any]] = {}
        self._again: list[tuple[int, Any]] = []
        self._deaths: dict[int | None, int] = {}
        for worker in range(count):
            self._hire(worker)

    def _hire(self, worker: int) -> None:
        """Ask for an actor; it gets an item when it has its place, which may never be."""
        import ray

        actor = ray.remote(_Worker).options(**self._resources, max_restarts=0)
        self._actors[worker] = actor.remote(self._work)
        self._doing[self._actors[worker].ready.remote()] = (worker, None, None)

    def run(
        self,
        items: Iterator[tuple[int, Any]],
        record: Callable[[int, Any], None],
        done: Mapping[int, Any],
    ) -> Iterator[Any]:
        """Yield results in order; keep every actor busy meanwhile."""
        results: dict[int, Any] = dict(done)
        turn, read, ended = 0, 0, False
        while not ended or turn < read:
            while self._free and (following := self._next(items)) is not None:
                number, item = following
                read = max(read, number + 1)
                if number not in results:
                    self._send(self._free.pop(), number, item)
            ended = bool(self._free)
            while turn in results and turn < read:
                yield results.pop(turn)
                turn += 1
            if turn < read or not ended:
                self._collect(results, record)

    def _next(self, items: Iterator[tuple[int, Any]]) -> tuple[int, Any] | None:
        return self._again.pop() if self._again else next(items, None)

    def _send(self, worker: int, number: int, item: Any) -> None:
        self._doing[self._actors[worker].do.remote(item)] = (worker, number, item)

    def _collect(self, results: dict[int, Any], record: Callable[[int, Any], None]) -> None:
        """Wait for the next result or actor; one that died is replaced, its item done again."""
        import ray
        from ray.exceptions import RayError

        (reference, *_), _ = ray.wait(list(self._doing), num_returns=1)
        worker, number, item = self._doing.pop(reference)
        try:
            result = ray.get(reference)
        except RayError as error:
            self._died(worker, number, item, error)
            return
        self._free.append(worker)
        if number is None:
            return
        if isinstance(result, MogaError):
            raise result
        record(number, result)
        results[number] = result

    def _died(self, worker: int, number: int | None, item: Any, error: Exception) -> None:
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] > self._retries:
            times = f"{self._deaths[number]} times, at last: {error}"
            raise MeasurementFailed(
                f"workers ended before they had begun, {times}"
                if number is None
                else f"item {number} ended its worker {times}"
            ) from error
        self._hire(worker)
        if number is not None:
            self._again.append((number, item))

    def close(self) -> None:
        """Kill the actors."""
        import ray

        for actor in self._actors.values():
            ray.kill(actor)
