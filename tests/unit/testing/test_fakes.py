import math
import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from moga.contracts import Evaluator, Measured
from moga.testing.fakes import (
    DyingEvaluator,
    NaNEvaluator,
    RaisingEvaluator,
    SleepingEvaluator,
    TableEvaluator,
    digest_accuracy,
    tiny_network,
)

ONE, TWO = tiny_network(1), tiny_network(2)


def test_tiny_networks_differ() -> None:
    assert len({tiny_network(channels).digest for channels in range(1, 9)}) == 8


def test_table_by_digest_and_by_function() -> None:
    table = TableEvaluator({ONE.digest: {"accuracy": 0.25}})
    assert table.evaluate([ONE]) == [Measured({"accuracy": 0.25})]
    with pytest.raises(KeyError, match=TWO.digest):
        table.evaluate([TWO])
    values = [digest_accuracy(network)["accuracy"] for network in (ONE, TWO)]
    assert TableEvaluator().evaluate([ONE, TWO]) == [Measured({"accuracy": v}) for v in values]
    assert len(set(values)) == 2
    assert all(0 <= value < 1 for value in values)


@pytest.mark.parametrize(
    "fake", [RaisingEvaluator, SleepingEvaluator, DyingEvaluator, NaNEvaluator]
)
def test_wrappers_leave_other_networks_alone(fake: type) -> None:
    evaluator = fake(TableEvaluator(), {TWO.digest})
    assert isinstance(evaluator, Evaluator)
    assert evaluator.metrics == ("accuracy",)
    assert evaluator.evaluate([ONE]) == TableEvaluator().evaluate([ONE])


def test_raising() -> None:
    with pytest.raises(ValueError, match=f"no luck with {TWO.digest}"):
        RaisingEvaluator(TableEvaluator(), {TWO.digest}).evaluate([ONE, TWO])


def test_nan() -> None:
    good, bad = NaNEvaluator(TableEvaluator(), {TWO.digest}).evaluate([ONE, TWO])
    assert good == TableEvaluator().evaluate([ONE])[0]
    assert isinstance(bad, Measured)
    assert math.isnan(bad.values["accuracy"])


def test_sleeping() -> None:
    began = time.monotonic()
    evaluator = SleepingEvaluator(TableEvaluator(), {TWO.digest}, seconds=0.05)
    assert evaluator.evaluate([ONE, TWO]) == TableEvaluator().evaluate([ONE, TWO])
    assert time.monotonic() - began >= 0.05


def test_dying_kills_its_process_once(tmp_path: Path) -> None:
    evaluator = DyingEvaluator(TableEvaluator(), {TWO.digest}, folder=tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=evaluator.evaluate, args=([TWO],))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert evaluator.evaluate([TWO]) == TableEvaluator().evaluate([TWO])
