"""What local and Ray executors share: whatever an evaluator does becomes outcomes."""

import contextlib
import dataclasses
import functools
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from moga.contracts import Bounded, Evaluator, Failed, Measured, Outcome, is_count
from moga.errors import UsageError
from moga.network import Network

__all__ = ["Retries", "check_time_limit", "checked", "guarded", "lost", "one_thread", "timed_out"]

_LOG: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Retries:
    """How often an evaluation is given another chance, by whose fault it ended.

    Args:
        infra: times that it is sent again after its worker died (memory, a lost machine).
        user: times that it is done again after the evaluator raised.

    Raises:
        UsageError: no integer, or one below 0.
    """

    infra: int = 3
    user: int = 0

    def __post_init__(self) -> None:
        for name, value in (("infra", self.infra), ("user", self.user)):
            if not is_count(value):
                raise UsageError(f"retries: {name} is {value!r}, allowed: 0 and more")


def check_time_limit(time_limit: float | None) -> float | None:
    """Return a time limit in seconds, or None for none, after checking it.

    Raises:
        UsageError: not a finite number above 0.
    """
    if time_limit is not None and not (0 < time_limit < math.inf):
        raise UsageError(
            f"time_limit is {time_limit}, allowed: seconds above 0, or None for no limit"
        )
    return time_limit


def timed_out(time_limit: float) -> Failed:
    """Return the outcome of an evaluation that took longer than `time_limit` seconds."""
    return Failed(f"took longer than the time limit of {time_limit:g} s", "timeout")


def lost(deaths: int, reason: str) -> Failed:
    """Return the outcome of an evaluation whose worker died so often, at last for `reason`."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return Failed(f"its worker died {times}, at last: {reason}", "lost")


def guarded(evaluator: Evaluator, networks: Sequence[Network], retries: int = 0) -> list[Outcome]:
    """Evaluate networks, whatever happens: one checked outcome a network, in order.

    The evaluator is called once for the whole batch. Where that raises or gives something that is
    no list of so many outcomes, each network is evaluated alone, so that only the culprit fails.
    Values come back as floats; a spread that is not finite counts as unknown and is left out.

    Args:
        evaluator: what to call.
        networks: the batch.
        retries: further attempts for a network whose evaluation alone raises.
    """
    if len(networks) > 1:
        try:
            outcomes = evaluator.evaluate(networks)
        except Exception as error:  # noqa: BLE001, RUF100 - any error of the user's is an outcome
            _LOG.info("a batch of %d raised %r; evaluating one by one", len(networks), error)
        else:
            if _well_formed(outcomes, len(networks)):
                return [checked(outcome, evaluator.metrics) for outcome in outcomes]
    return [_alone(evaluator, network, retries) for network in networks]


def _alone(evaluator: Evaluator, network: Network, retries: int) -> Outcome:
    for attempt in range(retries + 1):
        try:
            outcomes = evaluator.evaluate([network])
        except Exception as error:
            _LOG.info("evaluation %s, attempt %d", network.digest, attempt, exc_info=True)
            failure = Failed(f"{type(error).__name__}: {error}", "error")
        else:
            if _well_formed(outcomes, 1):
                return checked(outcomes[0], evaluator.metrics)
            return Failed(f"expected a list of 1 outcome, got {_shorten(outcomes)}", "error")
    return failure


def _well_formed(outcomes: Any, n: int) -> bool:
    return (
        isinstance(outcomes, Sequence)
        and len(outcomes) == n
        and all(isinstance(outcome, Measured | Bounded | Failed) for outcome in outcomes)
    )


def checked(outcome: Outcome, metrics: Sequence[str]) -> Outcome:
    """Return an outcome with its values as floats, or what is wrong with it as `Failed`.

    Args:
        outcome: what an evaluation came to.
        metrics: what it must hold; a value that is not finite is a failure, and a spread that is
            not finite is left out.
    """
    if isinstance(outcome, Failed):
        return outcome
    if missing := [name for name in metrics if name not in outcome.values]:
        return Failed(f"the evaluator gave no {', '.join(missing)}", "error")
    try:
        values = _floats(outcome.values)
        spread = _floats(outcome.spread) if isinstance(outcome, Measured) else {}
    except (TypeError, ValueError) as error:
        return Failed(f"a value is no number: {error}", "error")
    if wrong := [
        f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)
    ]:
        return Failed(", ".join(wrong), "nan")
    if isinstance(outcome, Measured):
        return Measured(values, {name: s for name, s in spread.items() if math.isfinite(s)})
    return _checked_bound(values, outcome.fidelity)


def _checked_bound(values: dict[str, float], fidelity: float) -> Outcome:
    if not 0 < fidelity < 1:
        return Failed(f"fidelity of a bound is {fidelity}, allowed: above 0 and below 1", "error")
    return Bounded(values, float(fidelity))


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _shorten(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS, OpenMP and (where it is loaded) torch use one thread inside the block.

    Sums in another order give other last digits, so local and Ray agree only with as many threads.
    """
    torch = sys.modules.get("torch")  # not imported here: whoever needs it has loaded it
    threads = torch.get_num_threads() if torch else 1
    with _pools(len(sys.modules)).limit(limits=1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)


@functools.lru_cache(maxsize=1)
def _pools(modules: int) -> Any:  # noqa: ARG001 - libraries are looked for anew after any import
    """Return the control of the threads of all libraries that are loaded."""
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # has no hints

    return ThreadpoolController()
