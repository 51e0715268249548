import numpy as np
import pytest

from moga.devices.catalog import CATALOG
from moga.devices.catalog import fbnet as module
from moga.devices.catalog.fbnet import FBNET_DEVICES, RESOLUTION, fbnet_table, write_fbnet
from moga.errors import UsageError
from moga.networks.count import count_macs
from moga.spaces.base import sample_uniform
from moga.spaces.cost import count_table
from moga.spaces.fbnet import FBNetSpace

SPACE = FBNetSpace(RESOLUTION, 100)
EXACT = ("pixel3", "raspi4", "fpga", "eyeriss")


@pytest.mark.parametrize("name", FBNET_DEVICES)
def test_every_device_gives_sensible_times(name):
    device = CATALOG[name]()
    table = device.table(SPACE)
    genomes = sample_uniform(SPACE.sizes, 500, np.random.default_rng(0))
    assert table.bounds[0] > 0
    assert np.corrcoef(table(genomes), count_table(SPACE, "macs")(genomes))[0, 1] > 0.2
    assert (table.provenance["method"], table.provenance["networks"]) == ("fitted", 5000)
    assert table.provenance["device"] == name
    assert table.provenance["batch"] == device.batch
    assert table.provenance["cv_mape"] < (1e-4 if name in EXACT else 10)
    assert (table.standard_error(genomes) > 0).all()
    np.testing.assert_allclose(table(SPACE.canonical(genomes)), table(genomes), rtol=1e-6)


@pytest.mark.golden
def test_a_shipped_table_is_what_was_fitted():
    table = fbnet_table("raspi4", SPACE)
    genomes = np.array([[0] * 22, [3] * 22, [8] * 22, [7] * 22])
    expected = [17.61858, 62.49439, 7.79823, 79.22163]
    np.testing.assert_allclose(table(genomes), expected, rtol=1e-5)


@pytest.mark.parametrize("classes", [10, 100])
def test_networks_are_looked_up(classes):
    network = FBNetSpace(RESOLUTION, classes).decode([3] * 22)
    latency = CATALOG["1080ti_64"]().latency(network)
    assert (latency.provenance, latency.batch) == ("fitted", 64)
    assert latency.ms == pytest.approx(fbnet_table("1080ti_64", SPACE)(np.array([[3] * 22]))[0])
    assert latency.spread > 0
    assert count_macs(network) > 0


def test_another_resolution_is_refused():
    with pytest.raises(UsageError, match=r"'pixel2' knows fbnet\(resolution=32\), not fbnet"):
        CATALOG["pixel2"]().table(FBNetSpace())


def test_what_is_written_is_read(tmp_path, monkeypatch):
    path = tmp_path / "fbnet.npz"
    table = fbnet_table("pixel2", SPACE)
    write_fbnet({"pixel2": table}, path)
    monkeypatch.setattr(module, "_PATH", path)
    module._content.cache_clear()
    try:
        assert fbnet_table("pixel2", SPACE).digest == table.digest
    finally:
        module._content.cache_clear()
