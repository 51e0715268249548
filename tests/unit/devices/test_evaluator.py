import json

import numpy as np
import pytest

from moga import Search
from moga.contracts import Measured
from moga.devices.evaluator import LatencyEvaluator
from moga.devices.host import HostDevice
from moga.devices.timing import Sampling
from moga.errors import UsageError
from moga.plan import Combined, Plan
from moga.registry import create
from moga.spaces.base import sample_uniform
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeDevice, FakeEngine, block_ms

SPACE = MoGASpace(32, 0.35, 10)
NETWORKS = [SPACE.decode([gene] * 14) for gene in (0, 5)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))


def host(engine):
    return HostDevice("fake", engine, sampling=Sampling(rounds=4, seconds=0, warmups=1))


def test_it_measures_whole_networks():
    engine = FakeEngine(overhead=0.5)
    outcomes = LatencyEvaluator(host(engine)).evaluate(NETWORKS)
    for network, outcome in zip(NETWORKS, outcomes, strict=True):
        assert isinstance(outcome, Measured)
        assert outcome.values["latency"] == pytest.approx(engine.true_ms(network))
        assert set(outcome.spread) == {"latency"}
    assert set(engine.prepared) == set(NETWORKS)


def test_it_fills_a_table_on_demand():
    engine = FakeEngine(overhead=0.5)
    evaluator = LatencyEvaluator(host(engine), blocks=True)
    (outcome,) = evaluator.evaluate(NETWORKS[:1])
    assert outcome.values["latency"] == pytest.approx(sum(block_ms(b) for b in NETWORKS[0]))
    timed = len(engine.prepared)
    evaluator.evaluate(NETWORKS[:1])
    assert len(engine.prepared) == timed


@pytest.mark.parametrize(("blocks", "provenance"), [(False, "measured"), (True, "table")])
def test_it_says_where_its_latencies_come_from(blocks, provenance):
    about = LatencyEvaluator(host(FakeEngine(batch=4)), blocks=blocks).describe()["latency"]
    assert (about["device"], about["provenance"]) == ("fake", provenance)
    assert (about["unit"], about["batch"]) == ("ms a batch", 4)
    assert about["settings"]["engine"] == "fake"


def test_a_run_records_what_all_its_evaluators_say(tmp_path):
    class Described(Accuracy):
        def describe(self):
            return {"digest": "abc"}

    device = Slow()
    Search(
        "fbnet(resolution=32, num_classes=10)",
        device,
        ["accuracy", "latency"],
        evaluator=[Described(), LatencyEvaluator(device)],
        evaluations=4,
        executor="local",
        storage=tmp_path / "run",
        family=None,
    ).run()
    details = json.loads((tmp_path / "run" / "run.json").read_text())["evaluator"]["details"]
    assert details["digest"] == "abc"
    assert details["latency"]["provenance"] == "measured"


def test_devices_that_cannot_measure_are_refused():
    with pytest.raises(UsageError, match="the device 'pixel3' cannot measure networks during a"):
        LatencyEvaluator("pixel3")
    with pytest.raises(UsageError, match="the device 'fake' cannot measure"):
        LatencyEvaluator(FakeDevice(), blocks=True)


class Slow(FakeDevice):
    """Measures twice what its table says."""

    def measure(self, networks, progress=None):
        found = super().measure(networks, progress)
        return [type(latency)(2 * latency.ms, 0.25, 3) for latency in found]


class Accuracy:
    metrics = ("accuracy",)

    def evaluate(self, networks):
        return [Measured({"accuracy": 50.0 + len(network.blocks)}) for network in networks]


def test_a_search_takes_the_measured_latency_and_not_the_tables(tmp_path):
    device, space = Slow(), create("space", "fbnet")
    found = Search(
        space,
        device,
        ["accuracy", "latency"],
        evaluator=[Accuracy(), LatencyEvaluator(device)],
        evaluations=8,
        executor="local",
        storage=tmp_path / "run",
        family=None,
    )
    evaluations = found.run().evaluations
    table = device.table(space)
    for genome, ms, error in zip(
        evaluations["genome"], evaluations["latency_ms"], evaluations["latency_ms_se"], strict=True
    ):
        assert ms == pytest.approx(2 * float(table([list(genome)])[0]))
        assert error == 0.25
    problem = found.plan.problem(type("T", (), {"values": lambda self, g: {"latency": [1.0]}})())
    assert str(problem.known([[0] * len(space.genes)])[0, 1]) == "nan"


def test_the_table_still_says_what_is_beyond_a_limit(tmp_path):
    device, space = Slow(), create("space", "fbnet")
    drawn = sample_uniform(space.sizes, 99, np.random.default_rng(0))
    limit = float(np.median(device.table(space)(drawn)))
    evaluations = (
        Search(
            space,
            device,
            ["accuracy", f"latency<={limit}"],
            evaluator=[Accuracy(), LatencyEvaluator(device)],
            evaluations=8,
            executor="local",
            storage=tmp_path / "run",
            family=None,
        )
        .run()
        .evaluations
    )
    skipped = evaluations[evaluations["status"] == "skipped"]
    assert len(skipped) > 0
    assert (skipped["latency_ms"] > limit).all()
    assert (skipped["violation"] > 0).all()


def test_evaluators_are_combined_and_checked():
    device = FakeDevice()
    latency = LatencyEvaluator(device)
    with pytest.raises(UsageError, match="latency, latency: each metric may come from one only"):
        Combined([latency, latency])
    combined = Combined([latency])
    assert combined.metrics == ("latency",)
    assert combined.blocks is False
    assert not hasattr(combined, "inherit")
    with pytest.raises(UsageError, match="measures latency, but the search has 2 devices"):
        Plan.make(
            "nasbench201",
            [device, "pixel3"],
            ["latency@pixel3", "params"],
            evaluator="latency",
        )
    plan = Plan.make("nasbench201", device, ["latency", "params"], evaluator="latency")
    assert plan.evaluated == ("latency",)
    built = plan.build_evaluator(0, None, None)
    assert built.device is device
    assert Plan.make("nasbench201", device, ["latency", "params"]).evaluated == ()


def test_a_search_marks_latencies_that_rest_on_predictions(tmp_path):
    """As the user says, missing blocks are predicted and marked, measured, or refused."""

    def search(missing, folder):
        sampling = Sampling(rounds=4, seconds=0, warmups=1)
        device = HostDevice("fake", FakeEngine(), sampling=sampling, missing=missing)
        return Search(
            SPACE,
            device,
            ["params", "latency"],
            evaluations=6,
            executor="local",
            storage=tmp_path / folder,
            family=None,
        )

    with pytest.raises(
        UsageError, match=r"of the 126 blocks of moga.* have no time on this device"
    ):
        search("refuse", "refused").run()
    found = search("predict", "predicted").run().evaluations
    assert found["latency_ms_predicted"].between(0, len(SPACE.slots)).all()
    assert found["latency_ms_predicted"].max() > 0
    assert "latency_ms_predicted" not in search("measure", "measured").run().evaluations
