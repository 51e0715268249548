import inspect
import subprocess
import sys

import pytest

from moga.devices import host
from moga.devices.base import PROVENANCES
from moga.devices.catalog.rooflines import calibrations, roofline_device
from moga.devices.describe import describe
from moga.errors import UnknownName
from moga.registry import create, names

EXACT = {"pixel3", "raspi4", "fpga", "eyeriss"}


def test_every_name_is_described():
    found = describe()
    assert {entry.name for entry in found} == set(names("device")) - {"table", "preset"}
    assert all(entry.provenance in PROVENANCES and entry.hardware for entry in found)
    t4 = next(entry for entry in found if entry.name == "t4_int8")
    assert (t4.engine, t4.precision, t4.provenance) == ("tensorrt", "int8", "roofline")
    assert t4.error_percent == pytest.approx(100 * calibrations()["t4_int8"]["error"])
    h100 = next(entry for entry in found if entry.name == "h100")
    assert (h100.error_kind, h100.source) == ("priors alone", "not calibrated: priors alone")
    known = [entry for entry in found if entry.name == "pixel3"]
    assert [entry.provenance for entry in known] == ["table", "fitted"]


def test_what_was_not_run_on_hardware_says_so():
    cautions = {entry.name: entry.caution for entry in describe() if entry.caution}
    assert set(cautions) == {"cuda", "onnxruntime", "tensorrt", *EXACT}
    assert "not verified on hardware" in cautions["tensorrt"]
    assert "not run on hardware" in cautions["cuda"]


def test_an_error_of_nothing_says_what_it_is_worth():
    fitted = [entry for entry in describe() if entry.provenance == "fitted"]
    assert {entry.name for entry in fitted if entry.caution} == EXACT
    for entry in fitted:
        assert ("proves nothing" in entry.caution) == (entry.error_percent == 0)


def test_what_the_source_does_not_state_is_said():
    (pixel2, _) = [entry for entry in describe() if entry.name == "pixel2"]
    assert (pixel2.engine, pixel2.precision) == ("not stated", "not stated")


def test_a_space_that_is_named_can_be_built_and_looked_up():
    for entry in describe():
        if entry.spaces != "any":
            space = create("space", entry.spaces)
            table = create("device", entry.name).table(space)
            assert table.bounds[0] > 0


@pytest.mark.parametrize("name", ["cpu", "cuda", "onnxruntime", "tensorrt"])
def test_the_usual_precision_and_batch_are_the_devices_own(name):
    usual = inspect.signature(getattr(host, name)).parameters
    (entry,) = [entry for entry in describe() if entry.name == name]
    assert entry.precision == usual["precision"].default
    assert entry.batch == usual["batch"].default


def test_nothing_heavy_is_loaded():
    code = (
        "import sys; from moga.devices.describe import describe; print(len(describe()) > 40,"
        " sorted({'torch', 'pandas', 'ray', 'pymoo', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["True", "[]\n"]


def test_a_roofline_stands_at_a_batch_that_it_was_calibrated_at():
    entries = {entry.name: entry for entry in describe() if entry.provenance == "roofline"}
    assert {name for name, entry in entries.items() if entry.calibrated_batches} == set(
        calibrations()
    )
    for name, entry in entries.items():
        assert entry.batch in (entry.calibrated_batches or (1,))
        assert create("device", name).batch == entry.batch
    assert (entries["tpuv3"].batch, entries["v100"].calibrated_batches[-1]) == (128, 64)
    assert create("device", "v100(engine=tensorflow)").name == "v100(engine=tensorflow)"
    assert create("device", "tpuv3(batch=1)").name == "tpuv3(batch=1)"


def test_arguments_choose_precision_batch_and_engine():
    device = create("device", "t4(precision=int8, batch=8)")
    assert device.name == "t4(precision=int8, batch=8)"
    assert device.parameters == create("device", "t4_int8").parameters
    assert device.batch == 8
    assert not create("device", "v100(engine=tensorrt)").calibrated
    assert create("device", "t4_int8(precision=int8)").name == "t4_int8"
    with pytest.raises(UnknownName, match="unknown device 'v9'"):
        roofline_device("v9")
