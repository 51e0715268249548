import subprocess
import sys

import numpy as np
import pytest

from moga.devices.catalog import CATALOG
from moga.errors import NotInSpace, UsageError
from moga.registry import create, names
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import DEVICES, NASBench201

SPACE = NASBench201()


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
    whole = bool((SPACE.latency_ms(name) % 1 == 0).all())
    assert table.grid == (1.0 if whole else 0.0)


@pytest.mark.parametrize(
    ("name", "batch"),
    [("pixel3", 1), ("gold_6226", 1), ("1080ti_32", 32), ("titan_rtx_256", 256), ("titanx_1", 1)],
)
def test_a_gpus_suffix_is_its_batch(name, batch):
    latency = CATALOG[name]().latency(SPACE.decode([3] * 6))
    assert (latency.batch, latency.provenance, latency.spread) == (batch, "table", None)
    assert latency.ms == SPACE.latency_ms(name)[SPACE.index(np.array([[3] * 6]))[0]]


def test_networks_on_other_data_are_found_too():
    network = NASBench201("imagenet16").decode([2] * 6)
    assert CATALOG["pixel3"]().latency(network).ms > 0


def test_another_space_is_refused():
    with pytest.raises(UsageError, match="'pixel3' is known only by its table of nasbench201"):
        CATALOG["pixel3"]().table(MoGASpace())
    with pytest.raises(NotInSpace, match="has a table of: nasbench201"):
        CATALOG["pixel3"]().latency(MoGASpace().decode([0] * 14))
