import dataclasses

import numpy as np
import pytest

from moga.errors import NotInSpace, UnknownName, UsageError
from moga.network import Network
from moga.networks import zoo
from moga.networks.count import count_macs, count_params
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTables, count_table
from moga.spaces.genet import MASTERS, GENetSpace


@pytest.mark.parametrize("master", MASTERS)
def test_every_manual_network_is_the_reference_of_its_space(master: str) -> None:
    space = GENetSpace(master)
    network = zoo.network(f"genet_{master}")
    assert space.decode(space.reference) == network
    assert space.decode(space.encode(network)) == network


def test_net1_is_the_default_and_its_perturbations_are_the_paper_s() -> None:
    space = GENetSpace()
    assert space.spec.startswith("genet(master='net1', types='master'")
    values = {gene.name: gene.values for gene in space.genes}
    assert values["resolution"] == (192, 224, 256)
    assert values["sb1.block"] == (("xx", 3, 1.0), ("xx", 5, 1.0))
    assert values["sb3.block"] == tuple(("bl", k, r) for k in (3, 5) for r in (0.25, 0.5))
    assert values["sb4.block"] == tuple(("dw", k, r) for k in (3, 5) for r in (3, 6, 9))
    assert values["sb1.depth"] == (1, 2, 3)
    assert values["sb3.depth"] == (6, 7, 8, 9, 10)
    assert values["stem.width"] == (16, 24, 32, 40, 48, 56, 64)
    assert (values["sb3.width"][0], values["sb3.width"][-1]) == (256, 1024)
    assert set(np.diff(values["sb3.width"])) == {16}
    assert {gene.group for gene in space.genes} == {
        *("resolution", "stem", "sb1", "sb2", "sb3", "sb4", "sb5", "head")
    }
    assert [gene.factors for gene in space.genes if gene.name == "sb4.block"] == [(2, 3)]


def test_all_types_has_twelve_blocks_a_super_block() -> None:
    space = GENetSpace(types="all")
    blocks = next(gene for gene in space.genes if gene.name == "sb1.block")
    assert (len(blocks), blocks.factors) == (12, ())
    assert space.decode(space.reference) == zoo.network("genet_net1")


@pytest.mark.parametrize("name", ["genet_normal", "genet_large"])
def test_published_networks_decode_back_to_themselves(name: str) -> None:
    space, network = GENetSpace(), zoo.network(name)
    assert space.decode(space.encode(network)) == network


def test_genet_light_lies_outside_by_its_stem_alone() -> None:
    light = zoo.network("genet_light")
    message = (
        r"block 0 of the network does not fit slot 'stem' of the space genet\(.*"
        r"\(out_channels is 13; gene 'stem.width' gives 16, 24, .*, 64\)$"
    )
    with pytest.raises(NotInSpace, match=message):
        GENetSpace().encode(light)
    stem = dataclasses.replace(light.blocks[0], out_channels=16)
    second = dataclasses.replace(light.blocks[1], in_channels=16)
    wider = Network((stem, second, *light.blocks[2:]))
    space = GENetSpace()
    assert space.decode(space.encode(wider)) == wider


def test_only_the_sum_of_depths_counts_where_super_blocks_are_alike() -> None:
    space = GENetSpace()
    genome = space.encode(zoo.network("genet_large"))
    depths = {g.name: g.values[i] for g, i in zip(space.genes, genome, strict=True)}
    assert (depths["sb4.depth"], depths["sb5.depth"]) == (6, 3)


@pytest.mark.parametrize("space", [GENetSpace(), GENetSpace("net13", resolution=64)])
def test_tables_equal_direct_counts(space: GENetSpace) -> None:
    tables = CostTables([count_table(space, m, cached=False) for m in ("params", "macs")])
    genomes = sample_uniform(space.sizes, 1000, np.random.default_rng(0))
    networks = [space.decode(genome) for genome in genomes]
    direct = [[float(count_params(n)), float(count_macs(n))] for n in networks]
    assert tables(genomes).tolist() == direct


def test_with_resolution_fixes_the_gene() -> None:
    space = GENetSpace("net3").with_resolution(192)
    assert space.genes[0].values == (192,)
    assert space.reference[0] == 0


def test_what_makes_no_space_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown MasterNet 'net21'\. Did you mean 'net2"):
        GENetSpace("net21")
    with pytest.raises(UsageError, match="types is 'some'; give 'master' or 'all'"):
        GENetSpace(types="some")
    with pytest.raises(UsageError, match="resolution is 7; give 8 pixels or more, or None"):
        GENetSpace(resolution=7)
    with pytest.raises(UsageError, match="num_classes is 0; give 1 or more"):
        GENetSpace(num_classes=0)
