import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from moga.devices.base import Device
from moga.devices.catalog.rooflines import calibrations
from moga.devices.kernels import Kernel, KernelArrays
from moga.devices.roofline import (
    ENGINES,
    OutsideCalibration,
    RooflineDevice,
    Timing,
    data_sheet,
    data_sheets,
)
from moga.errors import UnknownName, UsageError
from moga.networks import zoo
from moga.networks.operations import Operation, operations
from moga.registry import create
from moga.spaces.base import sample_uniform
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201

SPACE = MoGASpace(resolution=32)
UNIT = {"e_dense": 0.5, "e_memory": 0.5, "e_depthwise": 0.5, "e_grouped": 0.5}
NETWORKS = [
    SPACE.decode(genome) for genome in sample_uniform(SPACE.sizes, 8, np.random.default_rng(3))
]


uncalibrated = pytest.mark.filterwarnings("ignore::moga.devices.roofline.OutsideCalibration")


def dense(macs, values=0, positions=4096, channels=64):
    return [Operation("conv", values, 0, 0, macs, positions, channels)]


@uncalibrated
def test_kernels_take_the_smooth_maximum_of_computing_and_moving():
    sheet = dataclasses.replace(data_sheet("v100"), matrix={"fp16": 1.0}, bandwidth=1.0)
    parameters = {**UNIT, "t_kernel_us": 1e-9, "t_group_us": 1e-9}
    device = RooflineDevice("test", sheet, engine="tensorflow", parameters=parameters)
    # 2 x 3e9 operations at .5e12 a second are 12 ms, 4e6 numbers of two bytes at .5e9 are 16 ms
    assert device.predict(dense(3e9, 4e6)).ms == pytest.approx(20.0, rel=1e-6)


@uncalibrated
def test_a_launching_engine_is_as_slow_as_the_slower_of_host_and_device():
    device = RooflineDevice("test", "v100", engine="pytorch")
    tiny = device.predict(dense(1) * 10).ms
    assert tiny == pytest.approx(10 * device.parameters["t_kernel_us"] / 1e3, rel=1e-3)
    big = device.predict(dense(10**12)).ms
    assert big == pytest.approx(2e12 / (125e9 * device.parameters["e_dense"]), rel=1e-3)


@uncalibrated
def test_an_additive_engine_adds_kernels_its_fixed_time_and_the_copy():
    plain, copying = (RooflineDevice("t", "t4", copy_gbs=gbs) for gbs in (0.0, 12.0))
    fixed = plain.parameters["t_fixed_us"] / 1e3
    one, two = (plain.predict(dense(10**9) * count).ms - fixed for count in (1, 2))
    assert two == pytest.approx(2 * one)
    image = dense(10**9, values=3 * 224 * 224)
    copied = copying.predict(image).ms - plain.predict(image).ms
    assert copied == pytest.approx(3 * 224 * 224 * 4 / 12e6)


@uncalibrated
def test_few_tiles_leave_units_idle():
    device = RooflineDevice("t", "t4", parameters={"occupancy": 3.0})
    full, empty = (
        device.predict(dense(10**11, positions=n)).ms - device.predict(dense(1)).ms
        for n in (10**9, 64)
    )
    assert empty / full == pytest.approx(1 + 3 * 40, rel=0.01)


@pytest.mark.parametrize(("name", "finish"), [("v100", "smooth_maximum_of_2"), ("t4_int8", "")])
def test_the_table_is_the_sum_of_the_networks_blocks(name, finish):
    device = create("device", f"{name}(batch=4)")
    assert isinstance(device, Device)
    table = device.table(SPACE)
    genomes = sample_uniform(SPACE.sizes, 20, np.random.default_rng(0))
    direct = [device.latency(SPACE.decode(genome)) for genome in genomes]
    np.testing.assert_allclose(table(genomes), [latency.ms for latency in direct], rtol=1e-12)
    np.testing.assert_allclose(table.standard_error(genomes), [x.spread for x in direct])
    assert (table.finish, direct[0].batch, direct[0].provenance) == (finish, 4, "roofline")
    assert table.provenance["outside"] == []
    assert table.provenance["error_percent"] == pytest.approx(100 * device.error, abs=0.1)
    assert table.provenance["spread_percent"] == pytest.approx(100 * device.spread, abs=0.1)


def fake_device(**parameters):
    return RooflineDevice("fake", "t4", parameters=parameters)


def timings_of(device, networks, batches=(1, 8)):
    listed = [
        Timing(network, 1.0, batch, str(number))
        for number, network in enumerate(networks)
        for batch in batches
    ]
    times = device.predict_timings(listed)
    return [dataclasses.replace(t, ms=ms) for t, ms in zip(listed, times, strict=True)]


def test_every_few_measured_networks_bring_the_roofline_nearer():
    truth = fake_device(t_kernel_us=30.0, t_fixed_us=2000.0, e_dense=0.3, e_depthwise=0.02)
    others = timings_of(truth, NETWORKS[5:])
    errors = []
    for count in (0, 1, 2, 5):
        known = timings_of(truth, NETWORKS[:count]) if count else []
        device = fake_device().calibrate(known)
        ratio = device.predict_timings(others) / [timing.ms for timing in others]
        errors.append(np.abs(np.log(ratio)).mean())
    assert errors[0] > 0.5
    assert errors[1] < errors[0] / 4
    assert errors[3] < errors[2] * 1.2 < 0.1


def test_an_odd_network_of_grouped_convolutions_says_little_of_others_where_few_are_measured():
    device = fake_device()
    others = timings_of(device, NETWORKS[4:])

    def error_with(groups):
        odd = tuple(Operation("conv", 10**6, 10**6, 0, 10**8, 784, 64, groups) for _ in range(40))
        one, *rest = timings_of(device, [odd, NETWORKS[0]], batches=(1,))
        fitted = device.calibrate([dataclasses.replace(one, ms=2 * one.ms), *rest])
        ratio = fitted.predict_timings(others) / [timing.ms for timing in others]
        return np.abs(np.log(ratio)).mean()

    assert 0 < error_with(groups=8) < error_with(groups=1) / 8


def test_a_calibration_without_networks_is_the_priors_alone():
    shipped = create("device", "t4(batch=8)")
    device = shipped.calibrate([])
    assert (device.calibrated, device.batch) == (False, 8)
    assert device.parameters == {n: p.value for n, p in ENGINES["tensorrt"].priors.items()}
    assert device.spread == ENGINES["tensorrt"].prior_spread
    assert device.error_kind == "priors alone"
    assert device.provenance["source"] == "not calibrated: priors alone"


def test_a_calibration_says_its_error_and_what_it_covers():
    truth = fake_device(t_kernel_us=30.0)
    few = fake_device().calibrate(timings_of(truth, NETWORKS[:3]))
    assert few.spread == ENGINES["tensorrt"].prior_spread
    assert few.error == pytest.approx(math.sqrt(2 / math.pi) * few.spread)  # of normal errors
    assert (few.calibrated, few.error_kind) == (True, "priors alone")
    more = fake_device().calibrate(timings_of(truth, NETWORKS[:6]), source="a test")
    left_out = fake_device().left_out(timings_of(truth, NETWORKS[:6]))
    assert more.error == pytest.approx(np.abs(np.exp(left_out) - 1).mean())
    assert more.spread == pytest.approx(np.sqrt((left_out**2).mean()))
    assert 0 < more.error < more.spread < 0.02
    assert more.error_kind == "networks left out"
    assert more.covered == {"dense", "depthwise", "elementwise"}
    assert (more.calibrated, more.provenance["source"]) == (True, "a test")
    assert more.with_batch(8).parameters == more.parameters
    assert more.latency(NETWORKS[0]).spread == pytest.approx(
        more.spread * more.latency(NETWORKS[0]).ms
    )


def test_what_was_not_measured_is_said():
    uncalibrated = create("device", "h100")
    with pytest.warns(OutsideCalibration, match="h100 is not calibrated: times rest on its data"):
        uncalibrated.latency(NETWORKS[0])
    calibrated = RooflineDevice("x", "t4", covered=["dense", "depthwise", "elementwise"])
    network = zoo.network("mobilenetv2", resolution=32)
    assert calibrated.latency(network).ms > 0
    kernels = KernelArrays.of([(np.array([0]), [Kernel(1, 1, 1, 0, 1, 1, 8, 4)])], 1)
    (text,) = calibrated.outside(kernels)
    assert text.startswith("x: no measured network had grouped kernels")
    assert text.endswith("grouped convolutions on a new engine can be off by a factor of 4")

    said = []
    uncalibrated.table(NASBench201(), SimpleNamespace(note=said.append))
    assert "priors alone" in said[0]


def test_another_batch_than_the_calibrations_is_said():
    measured = timings_of(fake_device(), NETWORKS[:5], batches=(2, 32))
    device = fake_device().calibrate(measured)
    assert device.batches == (2, 32)
    said = "fake: predicts at batch 1, but was calibrated at batch 2 to 32, so that its times"
    with pytest.warns(OutsideCalibration, match=said) as caught:
        device.latency(NETWORKS[0])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(OutsideCalibration, match=said):
        device.predict([op for block in NETWORKS[0] for op in operations(block)])
    notes = []
    table = device.table(SPACE, SimpleNamespace(note=notes.append))
    assert [note.startswith(said) for note in notes] == [True]
    assert table.provenance["outside"] == notes
    assert table.provenance["calibrated_batches"] == [2, 32]
    for batch in (2, 8, 32):  # a batch between two that were measured is no extrapolation
        assert device.with_batch(batch).table(SPACE).provenance["outside"] == []
    assert device.calibrate([]).batches == ()


def test_bad_input_is_refused():
    with pytest.raises(UnknownName, match="unknown data sheet 'v10'"):
        RooflineDevice("x", "v10")
    with pytest.raises(UnknownName, match="unknown engine 'torch'"):
        RooflineDevice("x", "v100", engine="torch")
    with pytest.raises(UsageError, match="no peak of v100 is known for the precision 'int8'"):
        RooflineDevice("x", "v100", precision="int8")
    with pytest.raises(UsageError, match="batch is 0; give an integer of 1 or more"):
        RooflineDevice("x", "v100", batch=0)
    with pytest.raises(UsageError, match="pytorch has no parameters occupancy; it has: e_dense"):
        RooflineDevice("x", "v100", parameters={"occupancy": 1.0})
    with pytest.raises(UsageError, match="the parameter e_dense is -1; give a number above 0"):
        RooflineDevice("x", "v100", parameters={"e_dense": -1})
    with pytest.raises(UsageError, match="the parameter e_dense is True; give a number above 0"):
        RooflineDevice("x", "v100", parameters={"e_dense": True})
    for name in ("spread", "error", "copy_gbs"):
        for wrong in (True, math.nan, -1.0, math.inf):
            with pytest.raises(UsageError, match=f"{name} is {wrong}; give a number, 0 or more"):
                RooflineDevice("x", "v100", **{name: wrong})
    device = RooflineDevice("x", "v100")
    with pytest.raises(UsageError, match="needs the time of one network at least; got none"):
        device.fit([])
    with pytest.raises(UsageError, match=r"timing 1 \(slow\) is nan ms at batch 1"):
        device.calibrate([Timing(NETWORKS[0], 1.0), Timing(NETWORKS[1], math.nan, 1, "slow")])
    with pytest.raises(UsageError, match=r"timing 0 \(text\) is '1' ms at batch 1; expected"):
        device.calibrate([Timing(NETWORKS[0], "1", 1, "text")])
    for wrong in (True, 0, -1.0, math.inf, None):
        with pytest.raises(UsageError, match=rf"timing 0 \(x\) is {wrong} ms at batch 1; expected"):
            device.calibrate([Timing(NETWORKS[0], wrong, 1, "x")])
    for wrong in (True, 0, 1.5):
        with pytest.raises(UsageError, match=rf"is 1\.0 ms at batch {wrong}; .* a batch of 1 or"):
            device.calibrate([Timing(NETWORKS[0], 1.0, wrong)])
    for wrong in (True, math.nan, -0.1):
        with pytest.raises(UsageError, match=rf"timing 0 \(x\) is rounded to {wrong} ms; expected"):
            device.calibrate([Timing(NETWORKS[0], 1.0, 1, "x", wrong)])
    with pytest.raises(
        UsageError, match=r"timing 1 \(x\) is of the same network and batch as timing 0"
    ):
        device.calibrate([Timing(NETWORKS[0], 1.0), Timing(NETWORKS[0], 1.1, 1, "x")])
    (usual,) = device.predict_timings([Timing(NETWORKS[0], 1.0)])
    with pytest.raises(
        UsageError, match=r"where v100's data sheet lets expect about .*; give millisec"
    ):
        device.calibrate([Timing(NETWORKS[0], 1000 * usual)])
    with pytest.raises(UsageError, match="timings of two networks or more"):
        device.left_out([Timing(NETWORKS[0], 1.0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": True}, "units is True; give an integer of 1 or more"),
        ({"units": 0}, "units is 0; give an integer of 1 or more"),
        ({"bandwidth": math.nan}, "bandwidth is nan; give a number above 0"),
        ({"bandwidth": True}, "bandwidth is True; give a number above 0"),
        ({"matrix": {"fp16": -1.0}}, "matrix fp16 is -1.0; give a number above 0"),
        ({"vector": {"fp16": math.inf}}, "vector fp16 is inf; give a number above 0"),
        ({"vector": {"fp8": 1.0}}, "vector has the precision 'fp8'; known: fp32, tf32, fp16, bf16"),
    ],
)
def test_data_sheets_of_ones_own_must_hold_figures(change, message):
    with pytest.raises(UsageError, match=f"data sheet v100: {message}"):
        dataclasses.replace(data_sheet("v100"), **change)


def test_all_sheets_and_calibrations_are_whole():
    assert {"v100", "t4", "gv100", "a100", "h100", "h200", "tpuv3", "orin"} <= set(data_sheets())
    for sheet in data_sheets().values():
        assert sheet.source
        assert sheet.precision in sheet.matrix
        assert set(sheet.matrix) == set(sheet.vector)
    for engine in ENGINES.values():
        assert len(engine.priors) <= 8
    for entry in calibrations().values():
        assert set(entry["parameters"]) == set(ENGINES[entry["engine"]].priors)
        assert entry["batches"] == sorted(entry["batches"])
        assert 0 < entry["error"] < entry["spread"] < 1


@pytest.mark.golden
def test_genet_light_on_the_published_devices():
    operations_of = {
        name: [op for block in zoo.network(name) for op in operations(block)]
        for name in ("genet_light", "genet_large")
    }
    # GENet's Tables 7 and 9: ms an image at batch 64 and 32
    for device, name, batch, published in (
        ("v100", "genet_light", 64, 0.09),
        ("v100", "genet_large", 64, 0.33),
        ("t4_int8", "genet_light", 32, 0.10),
        ("t4_int8", "genet_large", 32, 0.26),
    ):
        predicted = create("device", f"{device}(batch={batch})").predict(operations_of[name])
        assert predicted.ms / batch == pytest.approx(published, rel=0.15)
