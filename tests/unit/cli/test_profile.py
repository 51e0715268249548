import json

import numpy as np
import pytest
from typer.testing import CliRunner

from moga import registry
from moga.cli.main import app
from moga.devices.base import Latency
from moga.devices.describe import describe
from moga.errors import MeasurementFailed
from moga.networks.count import count_macs
from moga.spaces.cost import CostTable, count_table
from moga.spaces.moga import MoGASpace

SPACE = "moga(resolution=32, width=0.35, num_classes=10)"
PROVENANCE = {
    "method": "measured",
    "sampling": {"rounds": 30, "trim": 0.123456},
    "allocator": {},
    "cores": [1, 2],
}


class Tabulated:
    """A device whose networks take 1 ns a multiply-add; it cannot measure."""

    name = "fake"

    def latency(self, network):
        return Latency(count_macs(network) / 1e6)

    def table(self, space, progress):
        progress.phase("time the blocks", 1)
        macs = count_table(space, "macs")
        arrays = tuple(array / 1e6 for array in macs.arrays)
        return CostTable("latency", "ms", space, arrays, provenance=PROVENANCE)


class Measuring(Tabulated):
    """The same, measured 5 % slower than its table says."""

    def measure(self, networks, progress):
        return [Latency(1.05 * count_macs(n) / 1e6, spread=0.001, count=30) for n in networks]


class Failing(Tabulated):
    def table(self, space, progress):
        raise MeasurementFailed("block 3 could not be built")


@pytest.fixture
def use(monkeypatch):
    def put(device):
        create = registry.create
        monkeypatch.setattr(
            registry,
            "create",
            lambda kind, spec, **more: device if kind == "device" else create(kind, spec, **more),
        )

    return put


def invoke(*arguments):
    words = ["profile", "--space", SPACE, *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "120"})


def test_the_table_is_written_and_its_error_measured(use, tmp_path):
    use(Measuring())
    path = tmp_path / "table.npz"
    result = invoke("--output", path, "--networks", 8, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["table"] == str(path)
    assert shown["provenance"] == PROVENANCE
    assert shown["error"]["mape_same_speed"] is None
    assert shown["error"]["networks"] == 8
    assert shown["error"]["bias"] == pytest.approx(100 * (1 / 1.05 - 1))
    assert shown["error"]["spearman"] == pytest.approx(1)
    assert shown["error"]["drift"] is None
    assert shown["caution"] == ""
    space = MoGASpace(resolution=32, width=0.35, num_classes=10)
    genomes = np.zeros((1, 14), dtype=np.int64)
    expected = count_macs(space.decode(genomes[0])) / 1e6
    assert CostTable.load(path, space)(genomes) == pytest.approx([expected])
    assert "time the blocks" in result.stderr


def test_no_networks_no_error(use, tmp_path):
    use(Measuring())
    shown = invoke("--output", tmp_path / "t.npz", "--networks", 0, "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["error"] is None
    shown = invoke("--output", tmp_path / "one.npz", "--networks", 1)
    assert shown.exit_code == 2
    assert "--networks is 1, but one network says neither how wrong" in shown.stderr
    assert "give 2 or more, better 30, or 0 to measure none" in shown.stderr
    assert not (tmp_path / "one.npz").exists()
    assert "time the blocks" not in shown.stderr


def test_networks_are_refused_where_nothing_is_measured(use, tmp_path):
    use(Tabulated())
    shown = invoke("--output", tmp_path / "t.npz", "--networks", 7)
    assert shown.exit_code == 2
    assert "the device 'fake' measures nothing, so that --networks has no effect" in shown.stderr
    assert not list(tmp_path.glob("*.npz"))


def test_people_read_a_table(use, tmp_path):
    use(Measuring())
    shown = invoke("--output", tmp_path / "t.npz", "--networks", 5).stdout
    assert "MAPE 4.8 %" in shown
    assert "t.npz" in shown
    for text in ("measured", "rounds 30, trim 0.1235", "allocator      none", "1, 2"):
        assert text in shown


def test_a_device_that_cannot_measure_says_so(use, tmp_path, monkeypatch):
    use(Tabulated())
    monkeypatch.chdir(tmp_path)
    result = invoke()
    assert result.exit_code == 0, result.output
    shown = [line.split() for line in result.stdout.splitlines()]
    assert ["spread", "not", "measured"] in shown
    assert "error not measured (the device is a table itself)" in map(" ".join, shown)
    assert (tmp_path / "latency-moga-fake.npz").exists()


def test_a_failed_measurement_exits_with_1(use):
    use(Failing())
    result = invoke()
    assert result.exit_code == 1
    assert "failed: block 3 could not be built" in result.stderr


def test_an_unknown_space_exits_with_2():
    result = CliRunner().invoke(app, ["profile", "--space", "mogga"])
    assert result.exit_code == 2
    assert "Did you mean 'moga'" in result.stderr


def test_the_error_of_a_roofline_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = {entry.name: entry.error_percent for entry in describe()}
    for device, said, spread in (
        ("t4", "MAPE {:g} % of networks left out", 15),
        ("h100", "about {:.0f} % of a network's time (priors alone", 60),
    ):
        result = invoke("--device", device)
        assert result.exit_code == 0, result.output
        shown = " ".join(result.stdout.split())
        assert said.format(listed[device]) in shown
        assert f"spread ± {spread} % of a network's latency" in shown


def test_the_error_of_a_roofline_is_of_the_batches_that_it_was_calibrated_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = " ".join(invoke("--device", "gv100(batch=64)").stdout.split())
    assert "% of networks left out at batch 1; not known at batch 64" in shown


def test_a_target_that_cannot_be_written_is_refused_before_anything_is_measured(use, tmp_path):
    use(Failing())
    result = invoke("--output", str(tmp_path))
    assert result.exit_code == 2
    assert "is a folder; give the path of a file" in result.stderr


def test_an_error_of_the_file_system_is_a_message(use, tmp_path, monkeypatch):
    def save(table, path):
        raise PermissionError(13, "Permission denied", str(path))

    use(Tabulated())
    monkeypatch.setattr(CostTable, "save", save)
    result = invoke("--output", str(tmp_path / "t.npz"))
    assert result.exit_code == 1
    assert f"failed: {tmp_path / 't.npz'}: Permission denied" in " ".join(result.stderr.split())
