import dataclasses
import pickle
import time

import numpy as np
import pytest

from moga.contracts import parse_objective
from moga.errors import InvalidGenome, NotInSpace, UnknownName
from moga.network import CELL_OPERATIONS, Network
from moga.registry import create
from moga.spaces.cost import count_table
from moga.spaces.nasbench201 import DATA, DEVICES, NASBench201, load_table

ALL = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)


def test_the_table_holds_what_it_says() -> None:
    table = load_table()
    expected = {f"lat_ms_{device}" for device in DEVICES} | {"canonical_index"}
    for data in DATA:
        expected |= {f"{data}_valid_acc_12", f"{data}_test_acc_12"}
        expected |= {f"{data}_params", f"{data}_flops"}
    assert set(table) == expected
    assert len(DEVICES) == len(set(DEVICES)) == 23
    assert all(values.shape == (15625,) for values in table.values())
    assert load_table() is table


def test_the_table_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_table()["lat_ms_pixel3"][0] = 1
    with pytest.raises(TypeError, match="does not support item assignment"):
        load_table()["new"] = np.zeros(3)  # type: ignore[index]


@pytest.mark.golden
def test_known_networks_of_the_benchmark() -> None:
    """Three rows as the source has them, the first, second and third of its own order."""
    space, table = NASBench201(), load_table()
    genomes = np.array([(4, 2, 1, 2, 1, 1), (3, 3, 4, 1, 3, 1), (4, 3, 3, 4, 4, 4)])
    rows = space.index(genomes)
    np.testing.assert_allclose(table["cifar10_test_acc_12"][rows], [69.55, 88.22, 69.95])
    np.testing.assert_allclose(table["cifar10_valid_acc_12"][rows], [63.364, 82.834, 63.56])
    np.testing.assert_allclose(table["cifar100_valid_acc_12"][rows], [31.84, 57.8, 29.42])
    np.testing.assert_allclose(table["imagenet16_test_acc_12"][rows], [17, 33.8, 17 + 13 / 15])
    np.testing.assert_allclose(table["lat_ms_pixel3"][rows], [3.60585, 17.2381, 15.723], rtol=1e-7)
    assert table["cifar10_params"][rows].tolist() == [129306, 802426, 559386]
    assert table["imagenet16_flops"][rows].tolist() == [3919480, 28495480, 19648120]


@pytest.mark.golden
def test_the_tables_extremes_and_classes_of_function() -> None:
    table = load_table()
    assert NASBench201().accuracy("valid").max() == pytest.approx(84.892)
    assert NASBench201().accuracy("test").max() == pytest.approx(89.16)
    canonical = table["canonical_index"]
    assert len(np.unique(canonical)) == 6466
    np.testing.assert_array_equal(canonical[canonical], canonical)


def test_networks_of_one_function_have_about_one_accuracy() -> None:
    """Cells without a path from input to output guess: 10 % whatever else they hold."""
    paths = (
        (ALL[:, 3] > 0)
        | ((ALL[:, 0] > 0) & (ALL[:, 4] > 0))
        | ((ALL[:, 1] > 0) & (ALL[:, 5] > 0))
        | ((ALL[:, 0] > 0) & (ALL[:, 2] > 0) & (ALL[:, 5] > 0))
    )
    assert (~paths).sum() == 341
    np.testing.assert_allclose(NASBench201().accuracy("test")[~paths], 10, atol=0.05)
    assert NASBench201().accuracy("test")[paths].min() > 10.5


@pytest.mark.parametrize("data", DATA)
def test_counts_equal_the_benchmarks_for_every_genome(data: str) -> None:
    """The benchmark's FLOPs are moga's MACs and one for each bias of the last layer."""
    space, table = NASBench201(data), load_table()
    params = count_table(space, "params")(ALL)
    macs = count_table(space, "macs")(ALL)
    np.testing.assert_array_equal(params, table[f"{data}_params"])
    np.testing.assert_array_equal(macs + space.num_classes, table[f"{data}_flops"])


def test_counting_the_whole_space_takes_a_few_seconds_at_most() -> None:
    start = time.perf_counter()
    count_table(NASBench201("cifar100"), "params")
    assert time.perf_counter() - start < 10


def test_the_skeleton_of_section_2() -> None:
    network = NASBench201("cifar100").decode((0, 1, 2, 3, 4, 0))
    operations = [block.operation for block in network]
    assert operations == (
        ["conv", *["cell201"] * 5, "residual201", *["cell201"] * 5, "residual201"]
        + ["cell201"] * 5
        + ["norm_act", "pool", "linear"]
    )
    cells = [block for block in network if block.operation == "cell201"]
    assert [block.in_channels for block in cells] == [16] * 5 + [32] * 5 + [64] * 5
    assert [block.height for block in cells] == [32] * 5 + [16] * 5 + [8] * 5
    assert {block.edges for block in cells} == {
        ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3", "none")
    }
    assert network.blocks[0].activation == "none"
    assert (network.num_classes, network.input_shape) == (100, (3, 32, 32))


@pytest.mark.parametrize(("data", "classes", "side"), [(d, *DATA[d]) for d in DATA])
def test_data_decides_classes_and_resolution(data: str, classes: int, side: int) -> None:
    space = create("space", f"nasbench201(data={data})")
    network = space.decode((3,) * 6)
    assert (network.num_classes, network.input_shape) == (classes, (3, side, side))
    assert space.default_evaluator == "tabular"
    assert space.digest == create("space", space.spec).digest
    np.testing.assert_array_equal(space.accuracy("valid"), load_table()[f"{data}_valid_acc_12"])


@pytest.mark.parametrize("data", DATA)
def test_default_objectives_leave_out_the_networks_that_nothing_connects(data: str) -> None:
    space = NASBench201(data)
    accuracy, latency = map(parse_objective, space.default_objectives)
    assert (accuracy.metric, str(latency)) == ("accuracy", "latency")
    none = CELL_OPERATIONS.index("none")
    genomes = ALL
    one, two, between, three, via_one, via_two = (genomes != none).T
    connected = three | one & (via_one | between & via_two) | two & via_two
    assert (~connected).sum() == 341
    np.testing.assert_array_equal(space.accuracy("valid") >= accuracy.lower, connected)


def test_genes_name_the_edges_in_the_order_of_a_blocks_edges() -> None:
    genes = NASBench201().genes
    assert [gene.name for gene in genes] == [
        *("edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3")
    ]
    assert [gene.group for gene in genes] == ["node_1", "node_2", "node_2", *["node_3"] * 3]
    assert all(gene.values == CELL_OPERATIONS for gene in genes)
    assert NASBench201().decode((0, 1, 2, 3, 4, 0)).blocks[1].edges == tuple(
        CELL_OPERATIONS[i] for i in (0, 1, 2, 3, 4, 0)
    )


def test_index_counts_in_base_five_and_checks() -> None:
    space = NASBench201()
    np.testing.assert_array_equal(space.index(ALL), np.arange(15625))
    assert space.index(np.array([1, 0, 0, 0, 0, 2])).tolist() == [3127]
    with pytest.raises(InvalidGenome, match=r"gene 'edge_2_3' .* is 5; allowed: 0 to 4"):
        space.index(np.array([0, 0, 0, 0, 0, 5]))


def test_encode_reverses_decode_and_canonical_is_the_identity() -> None:
    space = NASBench201("imagenet16")
    for genome in np.random.default_rng(0).integers(0, 5, (100, 6)):
        assert space.encode(space.decode(genome)) == tuple(genome)
    np.testing.assert_array_equal(space.canonical(ALL), ALL)


def test_encode_names_the_block_that_does_not_fit() -> None:
    space = NASBench201()
    blocks = space.decode((1, 2, 3, 4, 0, 1)).blocks
    with pytest.raises(NotInSpace, match="the network ends before block 20 of the space nasb"):
        space.encode(Network(blocks[:-1]))
    with pytest.raises(NotInSpace, match="block 21 of the network is one too many"):
        space.encode(Network((*blocks, dataclasses.replace(blocks[-1], in_channels=10))))
    fit = (
        r"block 9 of the network does not fit .*: cell201 1x1 32->32 at 16x16; "
        r"expected edges \('skip', .*\), not \('none', 'none', 'none', 'none', 'none', 'none'\)$"
    )
    other = dataclasses.replace(blocks[9], edges=("none",) * 6)
    with pytest.raises(NotInSpace, match=fit):
        space.encode(Network((*blocks[:9], other, *blocks[10:])))
    wider = r"block 1 .*: conv 3x3 16->16 at 32x32; expected cell201 1x1 16->16 at 32x32$"
    with pytest.raises(NotInSpace, match=wider):
        space.encode(Network((blocks[0], dataclasses.replace(blocks[0], in_channels=16))))
    with pytest.raises(NotInSpace, match="block 20 of the network does not fit"):
        NASBench201("cifar100").encode(Network(blocks))


def test_unknown_names_list_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"data set of nasbench201 'cifar'. Did you .*'cifar10'"):
        NASBench201("cifar")
    with pytest.raises(UnknownName, match=r"device of nasbench201 'pixel4'. Did you mean 'pixel"):
        NASBench201().latency_ms("pixel4")
    with pytest.raises(UnknownName, match="unknown split of nasbench201 'train'"):
        NASBench201().accuracy("train")  # type: ignore[arg-type]


def test_twins_compute_the_same_in_another_order() -> None:
    space = NASBench201()
    twins = space.twins
    assert twins.shape == (1500, 2)
    assert len(np.unique(twins)) == 3000
    for metric in ("params", "flops"):
        counts = load_table()[f"cifar10_{metric}"][twins]
        assert (counts[:, 0] == counts[:, 1]).all()
    # edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3: nodes 1 and 2 change places
    first, second = space.index([(1, 2, 0, 3, 4, 0), (2, 1, 0, 3, 0, 4)])
    assert [first, second] in twins.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_every_latency_is_positive(device: str) -> None:
    latency = NASBench201().latency_ms(device)
    assert latency.shape == (15625,)
    assert latency.min() > 0
    assert np.isfinite(latency).all()


def test_the_space_travels_between_processes() -> None:
    space = NASBench201("cifar100")
    assert space.slots
    back = pickle.loads(pickle.dumps(space))
    assert back.digest == space.digest
    assert back.decode((2,) * 6) == space.decode((2,) * 6)
