"""The front is measured end to end at the end of a search, where a device can."""

import json

import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices.tableerror import check_table
from moga.endtoend import MOST, measure_front
from moga.errors import FormatError, MeasurementFailed, UsageError
from moga.plan import Plan
from moga.runtime.rundir import MEASURED, read_measured
from moga.search import Search
from moga.spaces.base import sample_uniform
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeDevice, block_ms

SPACE = MoGASpace(32, 0.35, 10)


class Slower(FakeDevice):
    """Measures twice what its table says, and counts how often it was asked."""

    asked = 0

    def measure(self, networks, progress=None):
        self.asked += 1
        return [type(found)(2 * found.ms, 0.25, 3) for found in super().measure(networks)]


class Broken(FakeDevice):
    def measure(self, networks, progress=None):
        raise MeasurementFailed("no memory")


def search(path, device, objectives=("latency", "params:max"), **options):
    given = {"evaluations": 60, "executor": "local", "storage": path, **options}
    return Search(SPACE, device, objectives, **given)


def test_the_whole_front_is_measured_and_not_only_a_family(tmp_path):
    result = search(tmp_path / "run", Slower(), family=None).run()
    frame = result.end_to_end
    assert 1 < len(result.front) <= MOST
    assert sorted(map(tuple, frame["genome"])) == sorted(map(tuple, result.front["genome"]))
    predicted = {tuple(row.genome): row.latency_ms for row in result.front.itertuples()}
    for row in frame.itertuples():
        assert row.predicted_ms == pytest.approx(predicted[tuple(row.genome)])
        assert row.measured_ms == pytest.approx(2 * row.predicted_ms)
        assert row.measured_ms_se == 0.25
    (entry,) = result.measured["devices"]
    assert (entry["device"], entry["metric"], entry["failed"]) == ("fake", "latency", "")
    assert "MAPE 50.0 %" in entry["summary"]
    assert "Whole networks take more than the sums of their blocks" in entry["caution"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Predicted against measured" in page
    assert page.count("-50.0 %") >= len(frame)
    assert f"Caution: {entry['caution']}." in page


def test_where_the_search_went_by_measurements_those_are_compared(tmp_path):
    class Warming(Slower):
        """Takes twice what its table says, and 2.5 times from the second call on."""

        def measure(self, networks, progress=None):
            found = super().measure(networks)
            return [type(f)(f.ms * (1.25 if self.asked > 1 else 1), 0.25, 3) for f in found]

    options = {"evaluator": "latency", "evaluations": 8, "batch": 8, "in_flight": 8}
    result = search(tmp_path / "run", Warming(), **options).run()
    searched = {tuple(row.genome): row.latency_ms for row in result.front.itertuples()}
    for row in result.end_to_end.itertuples():
        assert row.predicted_ms == searched[tuple(row.genome)]
        assert row.measured_ms == pytest.approx(1.25 * row.predicted_ms)
    (entry,) = result.measured["devices"]
    assert (entry["searched_by"], entry["caution"]) == ("evaluator", "")
    assert "MAPE 20.0 %, bias -20.0 %" in entry["summary"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "against the measurement that the search went by" in page
    assert "latency measured in the search" in page
    assert "in the search against at its end" in page
    assert "latency predicted" not in page


def test_a_spread_that_a_device_does_not_give_is_unknown(tmp_path):
    class Silently(FakeDevice):
        def measure(self, networks, progress=None):
            return [type(found)(found.ms) for found in super().measure(networks)]

    result = search(tmp_path / "run", Silently(), family=None).run()
    assert result.end_to_end["measured_ms_se"].isna().all()
    assert {row["measured_ms_se"] for row in result.measured["devices"][0]["networks"]} == {None}


def test_a_family_is_measured_with_its_front_and_once_a_run(tmp_path):
    device = Slower()
    result = search(tmp_path / "run", device).run()
    assert device.asked == 1
    for member in result.family["members"]:
        assert member["measured_ms"] == pytest.approx(2 * member["latency_ms"])
        assert member["measured_ms_se"] == 0.25
    assert "MAPE 50.0 %" in result.family["how"]["table against the front"]
    search(tmp_path / "run", device).run()
    assert device.asked == 1


def test_a_front_of_one_network_is_measured(tmp_path):
    result = search(tmp_path / "run", Slower(), ["latency"]).run()
    assert len(result.front) == len(result.end_to_end) == 1
    assert "1 network end to end" in result.measured["devices"][0]["summary"]
    assert "nan" not in result.measured["devices"][0]["summary"]


def test_each_device_that_can_measure_does(tmp_path):
    devices = [Slower("a"), FakeDevice("b", lambda block: 3 * block_ms(block))]
    result = search(tmp_path / "run", devices, ["latency@a", "params:max"]).run()
    assert set(result.end_to_end["metric"]) == {"latency@a", "latency@b"}
    for member in result.family["members"]:
        assert member["measured_ms@a"] == pytest.approx(2 * member["latency_ms@a"])
        assert member["measured_ms@b"] == pytest.approx(member["latency_ms@b"])


def test_what_cannot_be_measured_ends_no_search(tmp_path):
    result = search(tmp_path / "run", Broken()).run()
    (entry,) = result.measured["devices"]
    assert (entry["failed"], entry["networks"]) == ("no memory", [])
    assert result.end_to_end.empty
    assert {member["measured_ms"] for member in result.family["members"]} == {None}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "The front could not be measured on fake: no memory" in page


def test_devices_known_by_tables_alone_are_not_measured(tmp_path):
    run = Search("nasbench201", "pixel3", evaluations=20, executor="local", storage=tmp_path / "r")
    result = run.run()
    assert result.measured is None
    assert result.end_to_end.empty
    assert not (tmp_path / "r" / MEASURED).exists()
    assert "pixel3 cannot be measured here" in (tmp_path / "r" / "report.html").read_text("utf-8")


def test_of_a_long_front_some_are_measured_evenly_and_the_first_always(tmp_path):
    plan = Plan.make(SPACE, Slower(), ["latency"])
    tables = plan.build_tables(tmp_path / "tables", Silent())
    front = np.unique(sample_uniform(SPACE.sizes, 200, np.random.default_rng(0)), axis=0).tolist()
    first = front[3:6]
    content = measure_front(plan, tables, front, tmp_path, Silent(), first=first)
    genomes = [row["genome"] for row in content["devices"][0]["networks"]]
    assert len(genomes) == len(set(map(tuple, genomes))) == MOST
    assert genomes[:3] == first
    assert {tuple(front[0]), tuple(front[-1])} <= set(map(tuple, genomes))
    assert content["front"] == len(front)
    assert measure_front(plan, tables, front, tmp_path, Silent(), first=first) == content
    others = [g for g in front if g not in genomes][:1]
    again = measure_front(plan, tables, front, tmp_path, Silent(), first=others)
    assert again["devices"][0]["networks"][0]["genome"] == others[0]
    assert read_measured(tmp_path) == again


def test_an_empty_front_is_no_error(tmp_path):
    plan = Plan.make(SPACE, Slower(), ["latency"])
    tables = plan.build_tables(tmp_path / "tables", Silent())
    assert measure_front(plan, tables, [], tmp_path, Silent()) is None
    with pytest.raises(UsageError, match="there is no network to measure"):
        check_table(tables.tables["latency"], Slower(), np.zeros((0, 14), dtype=int))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"measured\.json is damaged"),
        (json.dumps({"version": 9}), "expected {'format': 'moga"),
    ],
)
def test_damaged_files_are_named(tmp_path, text, message):
    (tmp_path / MEASURED).write_text(text)
    with pytest.raises(FormatError, match=message):
        read_measured(tmp_path)
