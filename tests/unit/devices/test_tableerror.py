import math

import numpy as np
import pytest

from moga.devices.base import Latency
from moga.devices.catalog import CATALOG
from moga.devices.profile import profile_space
from moga.devices.store import ValueStore
from moga.devices.tableerror import TableError, checked_table, table_error
from moga.devices.timing import Sampling
from moga.errors import UsageError
from moga.spaces.cost import count_table
from moga.spaces.nasbench201 import NASBench201
from moga.testing.devices import FakeDevice, FakeEngine, block_ms

QUICK = Sampling(rounds=6, seconds=0, warmups=1)


def test_table_error_of_an_exact_table_is_nothing(space, rng):
    device = FakeDevice()
    error = table_error(device.table(space), device, networks=10, rng=rng)
    assert error.networks == 10
    assert error.mape == pytest.approx(0, abs=1e-9)
    assert error.rmse_ms == pytest.approx(0, abs=1e-9)
    assert error.spearman == pytest.approx(1)
    assert error.drift is None
    assert (error.mape_same_speed, error.bias_same_speed) == (None, None)


def test_table_error_tells_a_slower_machine_from_a_wrong_table(space, tmp_path, rng):
    table = profile_space(
        space,
        FakeEngine(),
        device="fake",
        store=ValueStore(tmp_path / "values.jsonl", {}),
        rng=rng,
        sampling=QUICK,
    )
    slower = FakeDevice(ms=lambda block: 1.25 * block_ms(block))
    error = table_error(table, slower, networks=5, rng=rng)
    assert error.bias == pytest.approx(-20)
    assert error.drift == pytest.approx(0.25)
    assert error.mape_same_speed == pytest.approx(0, abs=1e-9)
    assert error.bias_same_speed == pytest.approx(0, abs=1e-9)
    assert "MAPE 20.0 %, bias -20.0 %" in str(error)
    assert "the machine's times changed by +25.0 %; with that taken out, MAPE 0.0 %" in str(error)


def test_table_error_by_hand():
    error = TableError(
        np.array([1.1, 1.8, 3.0]), np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.1, 0.0])
    )
    assert error.mape == pytest.approx(20 / 3)
    assert error.bias == pytest.approx(0, abs=1e-9)
    assert error.rmse_ms == pytest.approx(math.sqrt(0.05 / 3))
    assert error.noise == pytest.approx(5)
    tied = TableError(np.array([1.0, 1.0, 2.0, 3.0]), np.array([2.0, 1.0, 4.0, 3.0]), np.zeros(4))
    assert tied.spearman == pytest.approx(3.5 / math.sqrt(4.5 * 5))  # ranks 1.5 1.5 3 4, 2 1 4 3
    assert math.isnan(TableError(np.ones(3), np.arange(1.0, 4), np.zeros(3)).spearman)


def test_a_checked_table_takes_what_was_timed_beside_it(space, rng):
    class Beside(FakeDevice):
        def table_beside(self, space, networks, progress=None):
            return self.table(space, progress), [Latency(2.0, 0.1, 9)] * len(networks)

    table, error = checked_table(space, Beside(), networks=4, rng=rng)
    np.testing.assert_array_equal(error.measured_ms, [2.0] * 4)
    assert (table.metric, error.networks, error.drift) == ("latency", 4, None)


def test_a_checked_table_is_else_compared_afterwards(space, rng):
    table, error = checked_table(space, FakeDevice(), networks=4, rng=rng)
    assert table.metric == "latency"
    assert error.mape == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="networks is 1; give 2 or more"):
        checked_table(space, FakeDevice(), networks=1, rng=rng)


def test_table_error_refuses_what_it_cannot_compare(space, rng):
    nas = NASBench201()
    pixel3 = CATALOG["pixel3"]()
    with pytest.raises(UsageError, match="'pixel3' is known by a table alone and cannot measure"):
        table_error(pixel3.table(nas), pixel3, rng=rng)
    with pytest.raises(UsageError, match="expected a table of latency, got one of macs"):
        table_error(count_table(space, "macs"), FakeDevice(), rng=rng)
    with pytest.raises(UsageError, match="networks is 1; give 2 or more"):
        table_error(FakeDevice().table(space), FakeDevice(), networks=1, rng=rng)
