import numpy as np
import pytest

from moga.errors import NotInSpace, UsageError
from moga.networks import zoo
from moga.networks.count import count_macs, count_params
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTables, count_table
from moga.spaces.efficientnet_x import RESHAPES, EfficientNetXSpace


def genome_of(space: EfficientNetXSpace, **values) -> list[int]:
    """The reference with other values: ``stage_3__layers=2`` is the gene stage_3.layers."""
    genome = list(space.reference)
    for name, value in values.items():
        position = [gene.name for gene in space.genes].index(name.replace("__", "."))
        genome[position] = space.genes[position].values.index(value)
    return genome


@pytest.mark.parametrize("name", ["efficientnet_x_b0_gpu", "efficientnet_x_b0_tpu"])
def test_efficientnet_x_b0_lies_inside(name: str) -> None:
    space, network = EfficientNetXSpace(), zoo.network(name)
    genome = space.encode(network)
    assert space.decode(genome) == network
    assert (count_params(network), count_macs(network)) == (7584104, 920421088)
    chosen = {g.name: g.values[i] for g, i in zip(space.genes, genome, strict=True)}
    assert chosen["reshape"] == "space_to_depth"
    assert chosen["stage_4.type"] == chosen["stage_5.type"] == "fused_mbconv"
    assert chosen["stage_5.se"] == 1.0


def test_efficientnet_b0_is_the_reference() -> None:
    space = EfficientNetXSpace(padding="symmetric", norm_eps=1e-5)
    network = zoo.network("efficientnet_b0")
    assert space.decode(space.reference) == network
    assert space.encode(network) == space.reference
    same = EfficientNetXSpace()
    built = same.decode(same.reference)
    assert (count_params(built), count_macs(built)) == (count_params(network), count_macs(network))


def test_networks_outside_name_what_does_not_fit() -> None:
    with pytest.raises(NotInSpace, match="height is 229; the space has 224"):
        EfficientNetXSpace().encode(zoo.network("efficientnet_x_b1_gpu"))
    with pytest.raises(NotInSpace, match="padding is 'symmetric'; the space has same"):
        EfficientNetXSpace().encode(zoo.network("efficientnet_b0"))
    with pytest.raises(NotInSpace, match="out_channels is 40; the space has 32"):
        EfficientNetXSpace(240).encode(zoo.network("efficientnet_x_b3_gpu", resolution=240))


def test_space_to_batch_quarters_the_image_and_keeps_weights_and_work() -> None:
    space = EfficientNetXSpace()
    plain = space.decode(space.reference)
    apart = space.decode(genome_of(space, reshape="space_to_batch"))
    operations = [block.operation for block in apart]
    assert operations[:4] == ["conv", "space_to_batch", "dsconv", "batch_to_space"]
    assert (apart.blocks[2].height, apart.blocks[2].batch_factor) == (56, 4)
    assert count_params(apart) == count_params(plain)
    squeeze = 2 * 32 * 8
    assert count_macs(apart) == count_macs(plain) + 3 * squeeze


def test_space_to_depth_widens_stage_3_and_takes_stage_4_s_stride() -> None:
    space = EfficientNetXSpace()
    genome = genome_of(space, reshape="space_to_depth", stage_3__layers=2)
    reshape, first, other, fourth = space.decode(genome).blocks[1:5]
    assert (reshape.kernel, reshape.stride, reshape.out_channels) == (2, 2, 128)
    assert (first.kernel, first.in_channels, first.out_channels, first.height) == (2, 128, 64, 56)
    assert (other.kernel, other.in_channels, other.shortcut) == (2, 64, "identity")
    assert (fourth.stride, fourth.in_channels, fourth.hidden_channels) == (1, 64, 96)


@pytest.mark.parametrize("reshape", RESHAPES)
@pytest.mark.parametrize("kind", ["mbconv", "fused_mbconv"])
@pytest.mark.parametrize("expansion", [1, 6])
def test_every_reshaping_leaves_the_rest_of_the_network_as_it_is(reshape, kind, expansion) -> None:
    space = EfficientNetXSpace(64, 10)
    plain = space.decode(genome_of(space, stage_3__type=kind, stage_3__expansion=expansion))
    values = {"reshape": reshape, "stage_3__type": kind, "stage_3__expansion": expansion}
    other = space.decode(genome_of(space, **values))
    assert other.blocks[-16:] == plain.blocks[-16:]


@pytest.mark.parametrize(
    "space", [EfficientNetXSpace(), EfficientNetXSpace(32, 10, "symmetric", 1e-5)]
)
def test_tables_equal_direct_counts(space: EfficientNetXSpace) -> None:
    tables = CostTables([count_table(space, m) for m in ("params", "macs")])
    genomes = sample_uniform(space.sizes, 1000, np.random.default_rng(0))
    networks = [space.decode(genome) for genome in genomes]
    direct = [[float(count_params(n)), float(count_macs(n))] for n in networks]
    assert tables(genomes).tolist() == direct


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 226}, "resolution is 226; give a multiple of 4, 16 or more"),
        ({"resolution": 12}, "resolution is 12; give a multiple of 4, 16 or more"),
        ({"num_classes": 0}, "num_classes is 0; give 1 or more"),
        ({"padding": "zero"}, "padding is 'zero'; give 'same' or 'symmetric'"),
        ({"norm_eps": 1}, "norm_eps is 1; give a number between 0 and 1"),
    ],
)
def test_what_makes_no_space_is_refused(arguments, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EfficientNetXSpace(**arguments)


def test_with_resolution_keeps_the_other_arguments() -> None:
    space = EfficientNetXSpace(64, 10, "symmetric").with_resolution(32)
    expected = "efficientnet_x(resolution=32, num_classes=10, padding='symmetric', norm_eps=0.001)"
    assert space.spec == expected
