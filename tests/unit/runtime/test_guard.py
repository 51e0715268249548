import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from moga.contracts import Bounded, Failed, Measured
from moga.errors import UsageError
from moga.network import Network
from moga.runtime.guard import (
    Retries,
    check_time_limit,
    guarded,
    lost,
    one_thread,
    timed_out,
)
from moga.testing.fakes import NaNEvaluator, RaisingEvaluator, TableEvaluator, tiny_network

NETWORKS = [tiny_network(channels) for channels in (1, 2, 3)]
CULPRIT = {NETWORKS[1].digest}
GOOD = TableEvaluator().evaluate(NETWORKS)


@dataclasses.dataclass
class Scripted:
    """Calls a function for each batch and counts."""

    answer: Callable[[Sequence[Network]], Any]
    metrics: tuple[str, ...] = ("accuracy",)
    calls: list[int] = dataclasses.field(default_factory=list)

    def evaluate(self, networks: Sequence[Network]) -> Any:
        self.calls.append(len(networks))
        return self.answer(networks)


def measured(**values: Any) -> Callable[[Sequence[Network]], Any]:
    return lambda networks: [Measured(values)] * len(networks)


def test_one_call_for_a_batch() -> None:
    evaluator = Scripted(TableEvaluator().evaluate)
    assert guarded(evaluator, NETWORKS) == GOOD
    assert evaluator.calls == [3]


def test_empty_batch() -> None:
    assert guarded(TableEvaluator(), []) == []


def test_only_the_culprit_fails() -> None:
    outcomes = guarded(RaisingEvaluator(TableEvaluator(), CULPRIT), NETWORKS)
    reason = f"ValueError: no luck with {NETWORKS[1].digest}"
    assert outcomes == [GOOD[0], Failed(reason, "error"), GOOD[2]]


def test_missing_table_entry_is_an_error() -> None:
    table = {NETWORKS[0].digest: {"accuracy": 0.5}}
    outcomes = guarded(TableEvaluator(table), NETWORKS[:2])
    assert outcomes[0] == Measured({"accuracy": 0.5})
    assert outcomes[1] == Failed(f"KeyError: '{NETWORKS[1].digest}'", "error")


def test_nan_fails_alone_and_names_the_metric() -> None:
    outcomes = guarded(NaNEvaluator(TableEvaluator(), CULPRIT), NETWORKS)
    assert outcomes == [GOOD[0], Failed("accuracy is nan", "nan"), GOOD[2]]


@pytest.mark.parametrize(
    "answer", [None, [], [Measured({"accuracy": 1.0})] * 2, [0.5], "ab"], ids=str
)
def test_what_is_no_list_of_outcomes(answer: Any) -> None:
    evaluator = Scripted(lambda _: answer)
    outcomes = guarded(evaluator, NETWORKS)
    assert [o.kind for o in outcomes if isinstance(o, Failed)] == ["error"] * 3
    assert all("expected a list of 1 outcome, got " in o.reason for o in outcomes)
    assert evaluator.calls == [3, 1, 1, 1]


def test_long_nonsense_is_shortened() -> None:
    (outcome,) = guarded(Scripted(lambda _: "x" * 1000), NETWORKS[:1])
    assert isinstance(outcome, Failed)
    assert outcome.reason.endswith("xxx...")
    assert len(outcome.reason) < 130


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (measured(macs=1.0), Failed("the evaluator gave no accuracy", "error")),
        (measured(accuracy=math.inf), Failed("accuracy is inf", "nan")),
        (lambda _: [Bounded({"accuracy": math.nan}, 0.5)], Failed("accuracy is nan", "nan")),
        (
            lambda _: [Bounded({"accuracy": 0.5}, 1.0)],
            Failed("fidelity of a bound is 1.0, allowed: above 0 and below 1", "error"),
        ),
        (lambda _: [Failed("by itself", "nan")], Failed("by itself", "nan")),
        (lambda _: [Bounded({"accuracy": 0.5}, 0.5)], Bounded({"accuracy": 0.5}, 0.5)),
    ],
    ids=["missing", "infinite", "nan", "whole bound", "failed", "bound"],
)
def test_checks_each_outcome(answer: Any, expected: Any) -> None:
    assert guarded(Scripted(answer), NETWORKS[:1]) == [expected]


def test_value_that_is_no_number() -> None:
    (outcome,) = guarded(Scripted(measured(accuracy="high")), NETWORKS[:1])
    assert outcome == Failed(
        "a value is no number: could not convert string to float: 'high'", "error"
    )


def test_values_become_floats_and_unknown_spread_is_left_out() -> None:
    values = {"accuracy": np.float32(0.5), "macs": 3}
    spread = {"accuracy": float("nan"), "macs": np.float64(0.25)}
    (outcome,) = guarded(Scripted(lambda _: [Measured(values, spread)]), NETWORKS[:1])
    assert outcome == Measured({"accuracy": 0.5, "macs": 3.0}, {"macs": 0.25})
    assert isinstance(outcome, Measured)
    assert {type(value) for value in outcome.values.values()} == {float}


class TestRetries:
    @pytest.mark.parametrize(("retries", "good"), [(0, False), (1, False), (2, True)])
    def test_user_retries(self, retries: int, good: bool) -> None:
        attempts = iter([ValueError("first"), OSError("second")])

        def flaky(networks: Sequence[Network]) -> Any:
            if error := next(attempts, None):
                raise error
            return TableEvaluator().evaluate(networks)

        (outcome,) = guarded(Scripted(flaky), NETWORKS[:1], retries)
        last = Failed(["ValueError: first", "OSError: second"][min(retries, 1)], "error")
        assert outcome == (GOOD[0] if good else last)

    def test_negative_numbers_are_refused(self) -> None:
        with pytest.raises(UsageError, match="retries: infra is -1, allowed: 0 and more"):
            Retries(infra=-1)
        with pytest.raises(UsageError, match="retries: user is -2"):
            Retries(user=-2)
        for wrong in (True, 1.5):
            with pytest.raises(UsageError, match=f"retries: infra is {wrong}, allowed"):
                Retries(infra=wrong)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through(error: type[BaseException]) -> None:
    def interrupt(_networks: Sequence[Network]) -> Any:
        raise error

    with pytest.raises(error):
        guarded(Scripted(interrupt), NETWORKS)
    with pytest.raises(error):
        guarded(Scripted(interrupt), NETWORKS[:1])


@pytest.mark.parametrize("bad", [0, -1.0, math.inf, math.nan])
def test_time_limit_is_checked(bad: float) -> None:
    with pytest.raises(UsageError, match=r"time_limit is .*, allowed: seconds above 0, or None"):
        check_time_limit(bad)
    assert check_time_limit(None) is None
    assert check_time_limit(1.5) == 1.5


def test_reasons_of_failures() -> None:
    assert timed_out(2.5) == Failed("took longer than the time limit of 2.5 s", "timeout")
    assert lost(1, "Died: so") == Failed("its worker died once, at last: Died: so", "lost")
    assert lost(4, "Died: so").reason == "its worker died 4 times, at last: Died: so"


def test_one_thread_limits_and_restores(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [6]
    torch = SimpleNamespace(get_num_threads=lambda: threads[-1], set_num_threads=threads.append)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with one_thread():
        assert threads == [6, 1]
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1}
    assert threads == [6, 1, 6]
