from pathlib import Path

import numpy as np
import pytest

from moga.errors import NotInSpace, UsageError
from moga.networks import zoo
from moga.networks.count import count_macs, count_params
from moga.spaces.base import sample_sobol, sample_uniform
from moga.spaces.cost import CostTables, count_table
from moga.spaces.gpunet import RESOLUTIONS, GPUNetSpace

GPUNET_2 = (
    *(384, 32, 3, "relu", 3),
    *(32, 5, 6, True, "swish", 1, 112, 3, 3, False, "swish", 3),
    *(144, 3, 6, False, "swish", 6, 160, 5, 3, False, "relu", 4),
    *(224, 3, 3, True, "swish", 8, 832, 5, 2, False, "relu", 7),
)


def test_the_space_is_that_of_tables_1_and_2() -> None:
    space = GPUNetSpace()
    assert len(space.genes) == 41
    assert space.size == 360777252864000000000000
    assert [gene.name for gene in space.genes[:6]] == [
        *("resolution", "s0.filters", "s1.kernel", "s1.activation", "s1.layers", "s2.filters")
    ]
    assert space.genes[0].values == RESOLUTIONS
    assert space.genes[-1].values == tuple(range(16))


def test_gpunet_2_is_the_vector_that_the_paper_gives() -> None:
    space = GPUNetSpace()
    pairs = zip(space.genes, GPUNET_2, strict=True)
    genome = tuple(gene.values.index(value) for gene, value in pairs)
    network = space.decode(genome)
    assert network == zoo.network("gpunet_2")
    assert space.encode(network) == genome
    assert (count_params(network), count_macs(network)) == (25798704, 8386275920)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "gpunet_0",
            r"block 8 of the network does not fit slot 's4.first' of the space gpunet\(.*"
            r"\(out_channels is 256; gene 's4.filters' gives 96, .*, 192\)$",
        ),
        (
            "gpunet_1",
            r"block 7 of the network does not fit slot 's5.first' .*"
            r"\(out_channels is 288; gene 's5.filters' gives 112, .*, 224\)$",
        ),
        ("gpunet_d1", r"block 0 .* gene 'resolution' gives 224, .* activation is 'relu'; the spa"),
    ],
)
def test_networks_outside_name_the_gene(name: str, message: str) -> None:
    with pytest.raises(NotInSpace, match=message):
        GPUNetSpace().encode(zoo.network(name))


def test_an_absent_stage_passes_its_width_on_and_has_genes_of_zero() -> None:
    space = GPUNetSpace()
    names = [gene.name for gene in space.genes]
    genome = sample_uniform(space.sizes, 1, np.random.default_rng(0))[0]
    genome[names.index("s4.filters")] = 2
    genome[names.index("s5.layers")] = genome[names.index("s7.layers")] = 0
    canonical = space.canonical(genome[None])[0]
    for name, before, after in zip(names, genome, canonical, strict=True):
        assert after == (0 if name.startswith(("s5.", "s7.")) else before)
    blocks = space.decode(genome).blocks
    sixth = [b for b in blocks if b.operation == "mbconv" and b.stride == 2][1]
    assert sixth.in_channels == 128
    last = space.genes[names.index("s6.filters")].values[genome[names.index("s6.filters")]]
    assert blocks[-3].in_channels == last


def test_stride_2_fused_blocks_have_no_padding_and_so_three_image_sizes() -> None:
    space = GPUNetSpace()
    names = [gene.name for gene in space.genes]
    sides = set()
    for kernels in ((0, 0), (0, 1), (1, 0), (1, 1)):
        genome = np.zeros(41, dtype=np.int64)
        genome[[names.index("s2.kernel"), names.index("s3.kernel")]] = kernels
        blocks = space.decode(genome).blocks
        sides.add(next(b.height for b in blocks if b.operation == "mbconv"))
    assert sides == {25, 26, 27}


def test_the_paper_s_blocks_are_141200_at_one_image_size_a_resolution() -> None:
    """Stages 2 to 7, first blocks and others; the real sizes make 232,921 with stem and head."""
    found = 0
    for slot in GPUNetSpace().slots:
        if slot.name.endswith(".first"):
            genes = slot.shape[: len(slot.genes)]
            derived = {d.name.split(" ")[0]: len(d.values) for d in slot.derived}
            choices = np.prod(genes[:5])
            found += choices * derived["width"] * 10
        elif slot.name.endswith(".others"):
            found += np.prod(slot.shape[:5]) * 10
    assert found == 141_200


@pytest.mark.parametrize("resolution", [32, 100, 512])
def test_one_resolution_is_a_gene_of_one_value(resolution: int) -> None:
    space = GPUNetSpace().with_resolution(resolution)
    assert isinstance(space, GPUNetSpace)
    assert len(space.genes) == 41
    genome = sample_uniform(space.sizes, 1, np.random.default_rng(1))
    assert space.decode(genome).input_shape == (3, resolution, resolution)


@pytest.mark.parametrize("resolution", [31, 224.0, "224"])
def test_resolutions_that_make_no_network_are_refused(resolution) -> None:
    with pytest.raises(UsageError, match=r"resolution is .* give 32 pixels or more, or None"):
        GPUNetSpace(resolution)


@pytest.mark.parametrize("classes", [0, 1.5])
def test_class_counts_that_make_no_network_are_refused(classes) -> None:
    with pytest.raises(UsageError, match=f"num_classes is {classes}; give 1 or more"):
        GPUNetSpace(num_classes=classes)


def test_tables_equal_direct_counts_and_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
    space = GPUNetSpace()
    tables = CostTables([count_table(space, "params"), count_table(space, "macs")])
    genomes = sample_sobol(space.sizes, 1000, np.random.default_rng(0))
    networks = [space.decode(genome) for genome in genomes]
    direct = [(count_params(network), count_macs(network)) for network in networks]
    assert tables(genomes).tolist() == [list(map(float, pair)) for pair in direct]
    files = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert [name.split("-")[1] for name in files] == ["macs", "params"]
    again = count_table(GPUNetSpace(), "macs")
    assert again.arrays[5].tolist() == tables.tables[1].arrays[5].tolist()
