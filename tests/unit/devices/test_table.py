import dataclasses

import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices.base import Latency
from moga.devices.table import TableDevice, from_file
from moga.errors import FormatError, NotInSpace, UsageError
from moga.plan import Plan
from moga.registry import create
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


def test_a_file_is_a_device_by_its_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = FakeDevice(grid=0.5).table(SPACE)
    dataclasses.replace(table, provenance={"batch": 8}).save(tmp_path / "my-phone.npz")
    device = create("device", "table(path=my-phone.npz)")
    assert (device.name, device.spaces, device.batch) == ("my-phone", ("moga",), 8)
    assert device.table(SPACE).digest == table.digest
    genome = np.array([[5] * 14])
    latency = device.latency(SPACE.decode(genome[0]))
    assert latency == Latency(float(table(genome)[0]), 0.0, 0, "table", 8)
    assert create("device", f"table(path='{tmp_path}/my-phone.npz', name=x)").name == "x"
    with pytest.raises(FormatError, match=r"my-phone.npz is a table of the space moga.*0\.35"):
        device.table(MoGASpace(32, 0.5, 10))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.nan,
            r"t.npz: the slot layer_0 has nan ms at its entry \[5\]; expected a finite number",
        ),
        (1e6, r"t.npz: the network \d.* would take 1e\+06 ms, the median one \d"),
    ],
)
def test_a_file_with_times_that_cannot_be_is_refused(tmp_path, value, message):
    path = tmp_path / "t.npz"
    FakeDevice().table(SPACE).save(path)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    content["array_1"][5] = value
    np.savez(path, **content)
    with pytest.raises(FormatError, match=message):
        from_file(str(path)).table(SPACE)


def test_a_search_takes_the_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FakeDevice().table(SPACE).save(tmp_path / "T.npz")
    plan = Plan.make(SPACE, "table(path=T.npz)", ["latency", "params"])
    tables = plan.build_tables(tmp_path / "tables", Silent())
    genomes = np.array([[3] * 14])
    expected = FakeDevice().table(SPACE)(genomes)
    np.testing.assert_allclose(tables.values(genomes)["latency"], expected)
    plan = Plan.make(SPACE, ["table(path=T.npz)", "cpu"], ["latency@T", "latency@cpu"])
    assert [device.name for device in plan.devices] == ["T", "cpu"]


def test_a_measured_table_tells_its_batch_too(tmp_path):
    settings = {"settings": {"batch": 64}}
    table = dataclasses.replace(FakeDevice().table(SPACE), provenance=settings)
    table.save(tmp_path / "t.npz")
    assert from_file(str(tmp_path / "t.npz")).batch == 64


def test_files_that_are_no_latency_tables_are_refused(tmp_path):
    with pytest.raises(UsageError, match="the device 'table' needs a file, as in table"):
        create("device", "table")
    cure = "moga profile writes such files, of times measured elsewhere by --import or --fit"
    with pytest.raises(FormatError, match=f"is no cost table: .*No such file.*; {cure}"):
        from_file(str(tmp_path / "gone.npz"))
    (tmp_path / "times.csv").write_text("block,ms\n")
    message = f"is no cost table: expected .npz, as CostTable.save writes; {cure}"
    with pytest.raises(FormatError, match=rf"^\S+times\.csv {message}$"):
        from_file(str(tmp_path / "times.csv"))
    count_table(SPACE, "params").save(tmp_path / "t.npz")
    with pytest.raises(UsageError, match="is a table of params in no unit; expected one of lat"):
        from_file(str(tmp_path / "t.npz"))


@pytest.mark.parametrize(
    ("method", "provenance"),
    [("imported", "imported"), ("fitted", "fitted"), ("measured", "table"), ("fake", "table")],
)
def test_a_latency_says_how_its_table_is_known(method, provenance):
    table = dataclasses.replace(FakeDevice().table(SPACE), provenance={"method": method})
    assert TableDevice.of("t", table).latency(SPACE.decode([0] * 14)).provenance == provenance


def test_the_error_of_a_roofline_stays_that_of_its_table():
    roofline = create("device", "t4")
    network = SPACE.decode([0] * 14)
    found = TableDevice.of("t", roofline.table(SPACE)).latency(network)
    assert found.provenance == "roofline"
    assert found.spread == pytest.approx(roofline.spread * found.ms)
