import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices.base import Device, Measures
from moga.devices.catalog import CATALOG
from moga.devices.host import HostDevice, cpu
from moga.devices.profile import here, unique_blocks
from moga.devices.timing import Sampling
from moga.errors import UsageError
from moga.registry import create
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeEngine, block_ms

QUICK = Sampling(rounds=4, seconds=0, warmups=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
    return tmp_path


def test_it_keeps_values_by_fingerprint(cache):
    space, engine = MoGASpace(32, 0.35, 10), FakeEngine()
    device = HostDevice("fake", engine, sampling=QUICK)
    assert isinstance(device, Device)
    assert isinstance(device, Measures)
    table = device.table(space)
    assert [path.parent.name for path in cache.rglob("values.jsonl")] == [device.fingerprint]
    second = FakeEngine()
    again = HostDevice("fake", second, sampling=QUICK).table(space)
    assert second.prepared == []
    assert again.digest == table.digest
    other = HostDevice("fake", FakeEngine(batch=2), sampling=QUICK)
    assert other.fingerprint != device.fingerprint
    refreshed = FakeEngine()
    HostDevice("fake", refreshed, sampling=QUICK, refresh=True).table(space)
    assert len(refreshed.prepared) == 132


def test_it_measures_whole_networks():
    network = MoGASpace(32, 0.35, 10).decode([3] * 14)
    engine = FakeEngine(overhead=0.1)
    latency = HostDevice("fake", engine, sampling=QUICK).latency(network)
    assert latency.ms == pytest.approx(engine.true_ms(network))
    assert latency.count == 4


def test_cpu_is_this_machine_with_one_thread_and_batch_one():
    device = create("device", "cpu")
    settings = device.engine.settings
    assert device.name == "cpu"
    assert (settings["threads"], settings["batch"], settings["precision"]) == (1, 1, "fp32")
    assert create("device", "cpu(threads=2, batch=4)").name == "cpu(batch=4, threads=2)"


def test_cpu_really_measures():
    space = MoGASpace(16, 0.1, 10)
    device = cpu(seconds=0, rounds=2)
    latencies = device.measure([space.decode([0] * 14), space.decode([11] * 14)])
    assert all(latency.ms > 0 and latency.count == 2 for latency in latencies)
    table = device.table(space)
    assert np.isfinite(table(np.array([[0] * 14]))).all()
    assert table(np.array([[0] * 14]))[0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": float("nan")}, "seconds is nan; give 0 or more"),
        ({"seconds": "abc"}, "seconds is 'abc'; give 0 or more"),
        ({"rounds": 1}, "rounds is 1; give an integer of 2 or more"),
        ({"rounds": "abc"}, "rounds is 'abc'; give an integer of 2 or more"),
        ({"threads": 0}, "threads is 0; give an integer of 1 or more"),
        ({"batch": 1.5}, "batch is 1.5; give an integer"),
    ],
)
def test_cpu_refuses_impossible_settings(arguments, message):
    with pytest.raises(UsageError, match=message):
        cpu(**arguments)


def test_blocks_are_timed_on_demand_and_kept():
    space, engine = MoGASpace(32, 0.35, 10), FakeEngine(overhead=1.0, batch=2)
    device = HostDevice("fake", engine, sampling=QUICK)
    first = device.by_blocks(space.decode([0] * 14))
    timed = len(engine.prepared)
    assert timed == len(set(space.decode([0] * 14)))
    assert first.ms == pytest.approx(sum(block_ms(block) for block in space.decode([0] * 14)))
    assert (first.provenance, first.batch, first.count) == ("table", 2, 4)
    device.by_blocks(space.decode([1] + [0] * 13))
    assert len(set(engine.prepared)) - timed <= 2


def test_blocks_timed_on_demand_later_have_the_speed_of_those_before():
    space, slow = MoGASpace(32, 0.35, 10), FakeEngine(speed=lambda _: 1.5)
    HostDevice("fake", FakeEngine(), sampling=QUICK).by_blocks(space.decode([0] * 14))
    network = space.decode([5] * 3 + [0] * 11)
    later = HostDevice("fake", slow, sampling=QUICK).by_blocks(network)
    assert later.ms == pytest.approx(sum(block_ms(block) for block in network))
    own = {block for block in network if block not in space.decode([0] * 14)}
    assert set(slow.prepared) > own  # some cached ones beside them
    assert len(slow.prepared) <= len(own) + 7


def test_devices_show_their_names():
    assert repr(cpu(threads=2)) == "HostDevice('cpu(threads=2)')"
    assert [repr(CATALOG[name]()) for name in ("v100", "pixel3")] == [
        "RooflineDevice('v100')",
        "TableDevice('pixel3')",
    ]


def test_names_say_what_differs_from_the_usual_device():
    assert cpu(seconds=3, missing="predict").name == "cpu"
    assert cpu(precision="bf16").name == "cpu(precision=bf16)"
    assert create("device", "onnxruntime(threads=2)").name == "onnxruntime(threads=2)"


def test_what_is_not_here_says_what_to_do(monkeypatch):
    for text, message in (
        ("cuda", "torch finds no CUDA here; the device cuda needs an NVIDIA GPU"),
        ("cuda(mode=fast)", "mode is 'fast'; give one of eager, graph, compile"),
        ("tensorrt(trtexec=True)", "trtexec is not on the PATH"),
        ("tensorrt", r"tensorrt is not installed. Install it with: pip install 'moga\[tensorrt\]'"),
        ("cpu(workers=-1)", "workers is -1; give 0 for this process"),
        ("onnxruntime(workers=True)", "workers is True; give 0 for this process"),
    ):
        with pytest.raises(UsageError, match=message):
            create("device", text)


def test_workers_without_ray(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="workers need Ray, which is not installed: pip install"):
        create("device", "cpu(workers=2)")
    create("device", "cpu")


MEASURING = {
    "cpu(workers=2, threads=3)": (3, 0),
    "onnxruntime(workers=2, threads=3)": (3, 0),
    "onnxruntime(workers=2, provider=cuda)": (1, 1),
    "onnxruntime(workers=2, provider=TensorrtExecutionProvider)": (1, 1),
    "cuda(workers=2)": (1, 1),
    "tensorrt(workers=2)": (1, 1),
    "tensorrt(workers=2, trtexec=True)": (1, 1),
    "preset(name=genet, workers=2)": (1, 1),
}


@pytest.mark.parametrize("text", MEASURING)
def test_every_measuring_device_spreads_over_workers(text, monkeypatch):
    """Each by the same path; what differs is what a worker reserves."""

    class Engine(FakeEngine):
        def __init__(self, reference, arguments):
            super().__init__()

        def __reduce__(self):
            return Engine, ("", {})

    asked = []

    def ray_map(work, chunks, *, record, workers, cpus, gpus):
        asked.append((workers, cpus, gpus))
        return here(work, chunks, record)

    monkeypatch.setattr("moga.devices.host.Isolated", Engine)
    monkeypatch.setattr("moga.runtime.map.ray_map", ray_map)
    table = create("device", text).table(MoGASpace(16, 0.1, 10))
    assert np.isfinite(table(np.array([[0] * 14]))).all()
    assert asked == [(2, *MEASURING[text])]


@pytest.mark.ray
def test_workers_of_onnx_runtime_time_the_blocks(ray_cluster):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    space = MoGASpace(16, 0.1, 10)
    few = "onnxruntime(seconds=1, rounds=2, missing=predict, workers=2)"
    table = create("device", few).table(space)
    assert table.provenance["settings"]["engine"] == "onnxruntime"
    assert 0 < table.provenance["blocks_predicted"] < table.provenance["blocks"]
    assert np.isfinite(table(np.array([[0] * 14, [11] * 14]))).all()


@pytest.mark.ray
def test_workers_time_the_blocks_and_a_killed_profile_goes_on(ray_cluster, cache):
    space = MoGASpace(16, 0.1, 10)
    device = cpu(seconds=0, rounds=2, workers=2)
    written = []

    class Killed(Exception):
        pass

    class Watch(Silent):
        def note(self, text):
            written.append(text)
            if len(written) == 2:
                raise Killed

    with pytest.raises(Killed):
        device.table(space, Watch())
    blocks = unique_blocks(space)
    kept = device.store.read(blocks, 2)
    assert 0 < len(kept) < len(blocks)  # values are there as they came
    table = cpu(seconds=0, rounds=2, workers=2).table(space)
    assert table.provenance["blocks_reused"] == len(kept)
    assert np.isfinite(table(np.array([[0] * 14, [11] * 14]))).all()
    again = device.store.read(blocks, 2)
    assert {block: again[block] for block in kept} == kept
