import numpy as np
import pytest

from moga.devices.base import Latency
from moga.devices.table import TableDevice
from moga.errors import NotInSpace, UsageError
from moga.spaces.cost import CostTable, count_table
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201
from moga.testing.devices import FakeDevice

SPACE = MoGASpace(32, 0.35, 10)


def test_a_saved_table_is_a_device(tmp_path):
    table = FakeDevice(grid=0.5).table(SPACE)
    table.save(tmp_path / "phone.npz")
    device = TableDevice.of("phone", CostTable.load(tmp_path / "phone.npz", SPACE), batch=2)
    assert device.spaces == ("moga",)
    assert device.table(MoGASpace(32, 0.35, 10)).digest == table.digest
    genome = np.array([[5] * 14])
    latency = device.latency(SPACE.decode(genome[0]))
    assert latency == Latency(float(table(genome)[0]), 0.0, 0, "table", 2)


def test_it_names_the_spaces_that_it_knows():
    device = TableDevice.of("phone", FakeDevice().table(SPACE))
    with pytest.raises(UsageError, match="'phone' is known only by its table of moga, not of nas"):
        device.table(NASBench201())
    with pytest.raises(UsageError, match=r"'phone' is of moga.*0\.35.*, not of moga.*0\.5"):
        device.table(MoGASpace(32, 0.5, 10))
    with pytest.raises(NotInSpace, match="none of the spaces that the device 'phone' has"):
        device.latency(NASBench201().decode([1] * 6))


def test_it_needs_a_table_of_latency():
    with pytest.raises(UsageError, match="the device 'phone' has no table; give at least one"):
        TableDevice("phone", {})
    with pytest.raises(UsageError, match="expected a table of latency, got one of params"):
        TableDevice.of("phone", count_table(SPACE, "params"))
