import subprocess
import sys

import numpy as np
import pytest

from moga.devices.catalog import CATALOG
from moga.errors import NotInSpace, UsageError
from moga.registry import create, names
from moga.spaces.base import sample_uniform
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import DEVICES, NASBench201

SPACE = NASBench201()
GENOMES = sample_uniform(SPACE.sizes, 500, np.random.default_rng(1))
COMPUTED = ("fpga", "eyeriss")


def test_names_are_listed_without_heavy_libraries():
    code = (
        "import sys; from moga.registry import names; print('pixel3' in names('device'),"
        " sorted({'torch', 'pandas', 'ray', 'pymoo', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["True", "[]\n"]
    assert set(DEVICES) <= set(names("device"))


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_gives_the_recorded_times(name):
    device = create("device", name)
    table = device.table(SPACE)
    genomes = np.array([[0] * 6, [1, 2, 3, 4, 0, 1], [3] * 6])
    np.testing.assert_array_equal(table(genomes), SPACE.latency_ms(name)[SPACE.index(genomes)])
    assert (device.name, table.unit, table.provenance["method"]) == (name, "ms", "table")
    assert (table.provenance["unit"], table.provenance["batch"]) == ("ms a batch", device.batch)
    errors = table.standard_error(genomes)
    if name in COMPUTED:
        assert np.isnan(errors).all()
        assert (table.grid, table.provenance["spread_percent"]) == (0, None)
        assert table.provenance["spread_from"].startswith("nothing: the times were computed")
    else:
        np.testing.assert_allclose(errors / table(genomes), errors[0] / table(genomes)[0])
        assert table.provenance["spread_percent"] == pytest.approx(
            100 * errors[0] / table(genomes)[0]
        )
        assert table.provenance["spread_from"] == "1500 networks timed twice"
        short = np.quantile(table.standard_error(GENOMES), 0.05)
        assert 0.4 < table.grid / short < 2.5
        if (SPACE.latency_ms(name) % 1 == 0).all():  # recorded in whole milliseconds
            assert table.grid >= 1


@pytest.mark.parametrize("name", sorted(set(DEVICES) - set(COMPUTED)))
def test_the_spread_covers_what_was_timed_twice(name):
    table, twins = create("device", name).table(SPACE), SPACE.twins
    ms, errors = (np.asarray(array).ravel()[twins] for array in (*table.arrays, *table.spread))
    within = np.abs(np.subtract(*ms.T)) <= 1.645 * np.hypot(*errors.T)
    assert 0.8 < within.mean() < 0.99


@pytest.mark.parametrize(
    ("name", "batch"),
    [("pixel3", 1), ("gold_6226", 1), ("1080ti_32", 32), ("titan_rtx_256", 256), ("titanx_1", 1)],
)
def test_a_gpus_suffix_is_its_batch(name, batch):
    latency = CATALOG[name]().latency(SPACE.decode([3] * 6))
    assert (latency.batch, latency.provenance) == (batch, "table")
    assert 0 < latency.spread < 0.2 * latency.ms
    assert latency.ms == SPACE.latency_ms(name)[SPACE.index(np.array([[3] * 6]))[0]]


def test_what_was_computed_has_no_spread():
    latency = CATALOG["fpga"]().latency(SPACE.decode([3] * 6))
    assert latency.spread is None
    assert str(latency).endswith("(table; spread not measured)")


def test_networks_on_other_data_are_found_too():
    network = NASBench201("imagenet16").decode([2] * 6)
    assert CATALOG["pixel3"]().latency(network).ms > 0


def test_another_space_is_refused():
    with pytest.raises(UsageError, match="'pixel3' is known only by its table of nasbench201"):
        CATALOG["pixel3"]().table(MoGASpace())
    with pytest.raises(NotInSpace, match="has a table of: nasbench201"):
        CATALOG["pixel3"]().latency(MoGASpace().decode([0] * 14))
