import numpy as np
import pytest

from moga.errors import UsageError
from moga.networks.count import count_macs, count_params
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTables, count_table
from moga.spaces.fbnet import OPERATIONS, FBNetSpace

SKIP = OPERATIONS.index("skip")


def test_the_skeleton_is_that_of_table_1() -> None:
    space = FBNetSpace()
    assert space.size == 9**22
    blocks = space.decode([OPERATIONS.index("k3_e6")] * 22).blocks
    layers = blocks[1:23]
    assert [b.out_channels for b in layers] == [
        *[16, *[24] * 4, *[32] * 4, *[64] * 4, *[112] * 4, *[184] * 4, 352]
    ]
    assert [i for i, b in enumerate(layers) if b.stride == 2] == [1, 5, 9, 17]
    assert [b.height for b in layers] == [112] * 2 + [56] * 4 + [28] * 4 + [14] * 8 + [7] * 4
    assert blocks[23].out_channels == 1984


@pytest.mark.parametrize(
    ("name", "kernel", "expansion", "groups"),
    [("k3_e1", 3, 1, 1), ("k5_e1_g2", 5, 1, 2), ("k5_e3", 5, 3, 1), ("k3_e6", 3, 6, 1)],
)
def test_operations_are_those_of_table_2(name, kernel, expansion, groups) -> None:
    block = FBNetSpace().decode([OPERATIONS.index(name)] * 22).blocks[7]
    assert (block.kernel, block.groups) == (kernel, groups)
    assert block.hidden_channels == expansion * block.in_channels
    assert block.shortcut == "identity"


def test_skip_passes_on_or_is_a_strided_1x1_convolution_where_the_shape_changes() -> None:
    blocks = FBNetSpace().decode([SKIP] * 22).blocks
    changes = blocks[1:-3]
    assert [(b.operation, b.kernel, b.stride, b.out_channels) for b in changes] == [
        *[("conv", 1, 2, 24), ("conv", 1, 2, 32), ("conv", 1, 2, 64)],
        *[("conv", 1, 1, 112), ("conv", 1, 2, 184), ("conv", 1, 1, 352)],
    ]
    assert {b.activation for b in changes} == {"relu"}


def test_skips_go_behind_the_other_operations_of_their_stage() -> None:
    space = FBNetSpace()
    genome = np.zeros(22, dtype=np.int64)
    genome[1:5] = (SKIP, SKIP, 3, 2)
    canonical = space.canonical(genome[None])[0]
    assert canonical[1:5].tolist() == [SKIP, 3, 2, SKIP]
    assert space.encode(space.decode(genome)) == tuple(canonical)


def test_small_images_have_the_setting_of_hw_nas_bench() -> None:
    blocks = FBNetSpace(32, 100).decode([0] * 22).blocks
    assert [i for i, b in enumerate(blocks) if b.stride == 2] == [6, 10, 18]
    assert blocks[23].out_channels == 1504
    assert blocks[-1].out_channels == 100


@pytest.mark.parametrize("space", [FBNetSpace(), FBNetSpace(32, 100)])
def test_tables_equal_direct_counts(space: FBNetSpace) -> None:
    tables = CostTables([count_table(space, m) for m in ("params", "macs")])
    genomes = sample_uniform(space.sizes, 1000, np.random.default_rng(0))
    networks = [space.decode(genome) for genome in genomes]
    direct = [[float(count_params(n)), float(count_macs(n))] for n in networks]
    assert tables(genomes).tolist() == direct


def test_what_makes_no_space_is_refused() -> None:
    with pytest.raises(UsageError, match="resolution is 4; give an integer of 8 pixels or more"):
        FBNetSpace(4)
    with pytest.raises(UsageError, match="num_classes is 0; give 1 or more"):
        FBNetSpace(num_classes=0)
