"""A searcher as a Ray actor that is itself a searcher: it thinks elsewhere, in its own process."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from moga.contracts import Genomes, Observations, Searcher
from moga.errors import SearcherFailed
from moga.runtime.ray import start_ray

__all__ = ["Pending", "RemoteSearcher", "remote"]


def remote(
    factory: Callable[..., Searcher],
    *args: Any,
    cpus: float = 0.0,
    gpus: float = 0.0,
    **kwargs: Any,
) -> "RemoteSearcher":
    """Build a searcher in an actor: ``factory(*args, **kwargs)`` is called there.

    This does not wait for it: what the factory raises is raised by the searcher's first method.
    Ray is started where this process has none (`moga.runtime.ray.start_ray`), and is left running.

    Args:
        factory: a searcher's class, or anything that returns a searcher.
        *args: passed to it; they must be picklable, the random generator too.
        cpus: CPUs that the actor reserves. By default none, for the evaluators reserve all that a
            machine has: a searcher that waited for one of theirs would wait for ever.
        gpus: GPUs that the actor reserves.
        **kwargs: passed to it.

    Example:
        ``searcher = remote(NSGA2, problem, rng, population=50)``
    """
    import ray

    start_ray()
    actor = ray.remote(_Actor).options(num_cpus=cpus, num_gpus=gpus)
    return RemoteSearcher(actor.remote(factory, args, kwargs), _name_of(factory))


def _name_of(factory: Callable[..., Searcher]) -> str:
    if isinstance(factory, partial):
        given = next(iter(factory.args), None)
        return given if isinstance(given, str) else _name_of(given or factory.func)
    return str(getattr(factory, "__qualname__", type(factory).__qualname__))


class _Actor:
    """What runs in the actor.

    A factory that raises does not end the actor, for Ray would then say how the actor died, and not
    what was wrong: each call raises what the factory raised.
    """

    def __init__(
        self, factory: Callable[..., Searcher], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._searcher: Searcher | None = None
        self._fault: Exception | None = None
        try:
            self._searcher = factory(*args, **kwargs)
        except Exception as error:  # whatever a factory raises
            self._fault = error

    def call(self, method: str, *args: Any) -> Any:
        if self._fault is not None:
            raise self._fault
        # Ray hands out read-only arrays; what becomes the searcher's own state must be writable.
        return getattr(self._searcher, method)(*copy.deepcopy(args))


class RemoteSearcher(Searcher):
    """Forwards to a searcher in an actor; errors such as `Exhausted` arrive as they were raised.

    Args:
        actor: handle of the actor; `remote` makes it.
        name: of the searcher, for messages.

    Raises:
        SearcherFailed: by every method, where the actor has ended.
    """

    def __init__(self, actor: Any, name: str = "searcher") -> None:
        self._actor, self.name = actor, name

    def ask(self, n: int) -> Genomes:
        """Return (m, genes) new genomes, m <= n."""
        genomes: Genomes = self._call("ask", n)
        return genomes

    def tell(self, observations: Observations) -> None:
        """Pass on what became of genomes."""
        self._call("tell", observations)

    def state_dict(self) -> dict[str, Any]:
        """Return the searcher's state."""
        state: dict[str, Any] = self._call("state_dict")
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give the searcher a state that `state_dict` returned."""
        self._call("load_state_dict", state)

    def later(self, method: str, *args: Any) -> "Pending":
        """Call a method without waiting for it; calls are carried out in their order."""
        return Pending(self._actor.call.remote(method, *args), self.name)

    def close(self) -> None:
        """End the actor."""
        import ray

        ray.kill(self._actor)

    def _call(self, method: str, *args: Any) -> Any:
        return self.later(method, *args).get()


class Pending:
    """A call of a remote searcher's method that may still be under way.

    Args:
        reference: Ray's reference to the result.
        name: of the searcher, for messages.
    """

    def __init__(self, reference: Any, name: str) -> None:
        self._reference, self._name = reference, name

    @property
    def ready(self) -> bool:
        """Whether `get` would not wait."""
        import ray

        return bool(ray.wait([self._reference], timeout=0)[0])

    def get(self) -> Any:
        """Wait for the call and return what it returned; what it raised is raised here.

        Raises:
            SearcherFailed: the searcher's actor has ended.
        """
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        try:
            return copy.deepcopy(ray.get(self._reference))
        except RayTaskError as error:
            raise error.cause from error
        except RayActorError as error:
            raise SearcherFailed(
                f"the process of the searcher {self._name} has ended (killed, out of memory, or "
                f"its machine is gone): {str(error).strip().splitlines()[0]} Continue the run by "
                "the same command, or without remote"
            ) from error

    @staticmethod
    def wait(pending: "Sequence[Pending]") -> None:
        """Wait until one of them is ready."""
        import ray

        ray.wait([item._reference for item in pending], num_returns=1)  # noqa: SLF001 - its own
