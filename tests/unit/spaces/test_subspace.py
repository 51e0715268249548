import itertools
from typing import Any

import numpy as np
import pytest

from moga import registry
from moga.errors import NotInSpace, UnknownName, UsageError
from moga.networks.count import count_macs, count_params
from moga.spaces.base import Space, sample_uniform
from moga.spaces.cost import CostTables, count_table
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.gpunet import GPUNetSpace
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201
from moga.spaces.subspace import Subspace


def test_fixed_genes_are_gone_and_their_values_stand_in_every_network() -> None:
    space = Subspace("moga", {"layer_3": 5, "layer_0": (6, 7, True)})
    assert (len(space.genes), space.size) == (12, 12**12)
    assert [gene.name for gene in space.genes][:3] == ["layer_1", "layer_2", "layer_4"]
    whole = MoGASpace()
    for genome in sample_uniform(space.sizes, 20, np.random.default_rng(0)):
        rest = genome.tolist()
        expected = whole.decode([11, *rest[:2], 5, *rest[2:]])
        assert space.decode(genome) == expected
        assert space.encode(expected) == tuple(rest)


def test_a_subspace_of_a_subspace() -> None:
    space = Subspace(Subspace("moga", {"layer_3": 5}), {"layer_4": 0})
    assert space.size == 12**12
    assert space.decode([0] * 12) == MoGASpace().decode([0, 0, 0, 5] + [0] * 10)


def test_the_reference_and_defaults_are_the_space_s() -> None:
    space = Subspace(GPUNetSpace(), {"s2.kernel": 5})
    assert len(space.reference) == 40
    assert space.default_objectives == ("accuracy", "latency")
    assert Subspace("moga", {"layer_0": 0}).default_evaluator == "supernet"
    assert (space.resolution, space.num_classes) == (None, 1000)


def test_tables_of_a_small_subspace_equal_direct_counts() -> None:
    space = Subspace("moga(resolution=32)", {f"layer_{i}": i % 12 for i in range(12)})
    tables = CostTables([count_table(space, m) for m in ("params", "macs")])
    genomes = np.array(list(itertools.product(range(12), repeat=2)))
    direct = [[count_params(n), count_macs(n)] for n in map(space.decode, genomes)]
    assert tables(genomes).tolist() == direct


def genome_of(space: Space, values: dict[str, Any]) -> list[int]:
    """Return the reference with some genes at other values."""
    named = zip(space.genes, space.reference, strict=True)
    return [
        gene.values.index(values[gene.name]) if gene.name in values else index
        for gene, index in named
    ]


@pytest.mark.parametrize("fixed", ["s7.layers", "s6.layers"])
def test_layers_do_not_move_into_or_out_of_a_stage_of_fixed_depth(fixed: str) -> None:
    whole = GPUNetSpace(32, 10)
    parts = {"filters": 256, "kernel": 3, "expansion": 2, "se": False, "activation": "relu"}
    values = {f"s{stage}.{part}": value for stage in (6, 7) for part, value in parts.items()}
    values |= {"s6.layers": 4, "s7.layers": 3}
    network = whole.decode(genome_of(whole, values))
    space = Subspace(whole, {fixed: values[fixed]})
    genome = genome_of(space, values)
    assert space.decode(genome) == network  # which the whole space has as 7 layers and none
    canonical = space.canonical(np.array([genome]))[0]
    assert space.decode(canonical) == network
    assert space.encode(network) == tuple(canonical)
    np.testing.assert_array_equal(space.canonical(canonical[None])[0], canonical)


def test_skips_do_not_move_over_a_fixed_layer() -> None:
    whole = FBNetSpace(32, 10)
    first = whole.genes[3].values[0]
    space = Subspace(whole, {"layer_3": first})  # layers 2, 3 and 4 are alike
    genomes = sample_uniform(space.sizes, 100, np.random.default_rng(0))
    genomes[:50, 2] = whole.genes[2].values.index("skip")
    canonical = space.canonical(genomes)
    for genome, form in zip(genomes, canonical, strict=True):
        assert space.decode(form) == space.decode(genome)
    for genome, form in zip(genomes[:20], canonical, strict=False):
        assert space.encode(space.decode(genome)) == tuple(form)


def test_encode_names_the_fixed_gene() -> None:
    space = Subspace("moga", {"layer_3": 5})
    with pytest.raises(NotInSpace, match=r"has \(3, 3, False\) for gene 'layer_3', which is fixed"):
        space.encode(MoGASpace().decode([0] * 14))
    with pytest.raises(NotInSpace, match="does not fit slot 'stem'"):
        space.encode(MoGASpace(64).decode([0] * 14))


def test_the_spec_builds_it_again() -> None:
    space = Subspace("gpunet", {"s4.se": True, "s2.kernel": 5, "s3.activation": "relu"})
    again = registry.create("space", space.spec)
    assert (again.spec, again.digest) == (space.spec, space.digest)
    tuples = Subspace("moga", {"layer_1": (3, 5, True)})
    assert tuples.arguments["fixed"] == {"layer_1": 3}
    assert registry.create("space", tuples.spec).digest == tuples.digest


def test_resolution_and_classes_reach_a_space_that_is_text() -> None:
    space = registry.create(
        "space", "subspace(space=moga, fixed={'layer_3': 5})", resolution=32, num_classes=10
    )
    assert (space.resolution, space.num_classes) == (32, 10)


def test_what_cannot_be_fixed_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown gene of moga 'layer_14'\. Did you mean"):
        Subspace("moga", {"layer_14": 0})
    with pytest.raises(UsageError, match=r"gene 's2\.kernel' cannot be fixed to 1; its .* 3, 5$"):
        Subspace("gpunet", {"s2.kernel": 1})
    with pytest.raises(UsageError, match="gene 'layer_3' cannot be fixed to 12; its values are"):
        Subspace("moga", {"layer_3": 12})
    with pytest.raises(UsageError, match=r"all genes of nasbench201.* are fixed; leave at least"):
        Subspace(NASBench201(), {gene.name: "skip" for gene in NASBench201().genes})


def test_slots_keep_what_sets_the_size_of_images() -> None:
    whole = GPUNetSpace()
    part = Subspace(whole, {"s2.kernel": 3, "s2.filters": 32})
    assert [slot.side for slot in whole.slots[:4]] == [0, 0, 6, 6]
    assert [slot.side for slot in part.slots[:4]] == [0, 0, 4, 4]
    stem, *_, last = Subspace(whole, {"resolution": 224, "s1.kernel": 3}).slots
    assert (stem.side, last.side) == (None, 1)
