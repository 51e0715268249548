import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moga.network import Network
from moga.spaces.base import Space, mutate, sample_uniform
from moga.spaces.declared import Choice, DeclaredSpace, Image, Part
from moga.spaces.efficientnet_x import EfficientNetXSpace
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.genet import GENetSpace
from moga.spaces.gpunet import GPUNetSpace
from moga.spaces.subspace import Subspace

SEEDS = st.integers(0, 2**32 - 1)


def declared() -> DeclaredSpace:
    def stem(image: Image, activation: str):
        return [image.block("conv", 16, kernel=3, activation=activation, norm_eps=1e-5)]

    def stage(image: Image, kernel: int, width: int, layers: int, activation: str):
        blocks = []
        for index in range(layers):
            block = image.block(
                "mbconv",
                width,
                kernel=kernel,
                stride=1 if index else 2,
                hidden_channels=3 * image.channels,
                activation=activation,
                norm_eps=1e-5,
                shortcut="identity" if index else "none",
            )
            blocks.append(block)
            image = image.after(block)
        return blocks

    def head(image: Image):
        pool = image.block("pool")
        return [pool, image.after(pool).block("linear", 10, bias=True)]

    kernel, width = Choice("kernel", 3, 5, 7), Choice("width", 16, 24, 32)
    return DeclaredSpace(
        "mine",
        lambda resolution: (3, resolution, resolution),
        [
            Part("stem", stem),
            Part("one", stage, kernel, width, Choice("layers", 1, 2)),
            Part("two", stage, kernel, width, Choice("layers", 0, 1, 2)),
            Part("head", head),
        ],
        shared=[Choice("activation", "relu", "hswish"), Choice("resolution", 32, 48)],
    )


SPACES = [
    pytest.param(GENetSpace(), id="genet"),
    pytest.param(GENetSpace("net15", types="all", num_classes=10), id="genet-all"),
    pytest.param(GENetSpace(resolution=192), id="genet-192"),
    pytest.param(GPUNetSpace(), id="gpunet"),
    pytest.param(GPUNetSpace(32, 10), id="gpunet-32"),
    pytest.param(EfficientNetXSpace(), id="efficientnet_x"),
    pytest.param(EfficientNetXSpace(32, 10, "symmetric", 1e-5), id="efficientnet_x-32"),
    pytest.param(FBNetSpace(), id="fbnet"),
    pytest.param(FBNetSpace(32, 10), id="fbnet-32"),
    pytest.param(Subspace("moga", {"layer_3": 5, "layer_13": (6, 7, True)}), id="moga-sub"),
    pytest.param(
        Subspace(GPUNetSpace(), {"resolution": 288, "s5.kernel": 5, "s7.layers": 3}),
        id="gpunet-sub",
    ),
    pytest.param(declared(), id="declared"),
    pytest.param(Subspace(declared(), {"resolution": 48, "two.kernel": 7}), id="declared-sub"),
]


def genomes_of(space: Space, seed: int, n: int) -> np.ndarray:
    """Uniform ones, and some whose layers and depths are at their least, where stages vanish."""
    rng = np.random.default_rng(seed)
    genomes = sample_uniform(space.sizes, n, rng)
    layers = [i for i, gene in enumerate(space.genes) if gene.name.endswith(("layers", "depth"))]
    least = rng.random((n, len(layers))) < 0.5
    genomes[:, layers] = np.where(least, 0, genomes[:, layers])
    return genomes


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_encode_reverses_decode_up_to_the_canonical_form(space: Space, seed: int) -> None:
    genome = genomes_of(space, seed, 1)
    network = space.decode(genome)
    canonical = space.canonical(genome)
    assert space.decode(canonical) == network
    assert space.encode(network) == tuple(canonical[0])
    assert Network.from_json(network.to_json()) == network


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_canonical_forms_are_canonical_and_change_no_network(space: Space, seed: int) -> None:
    genomes = genomes_of(space, seed, 20)
    before = genomes.copy()
    canonical = space.canonical(genomes)
    np.testing.assert_array_equal(genomes, before)
    np.testing.assert_array_equal(space.canonical(canonical), canonical)
    np.testing.assert_array_equal(space.validate(canonical), canonical)
    assert space.decode(canonical[0]) == space.decode(genomes[0])


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_neighbours_in_genome_space_have_other_networks_or_the_same_canonical_form(
    space: Space, seed: int
) -> None:
    genome = genomes_of(space, seed, 1)
    other = mutate(genome, space.sizes, np.random.default_rng(seed))
    same = bool((space.canonical(genome) == space.canonical(other)).all())
    assert (space.decode(genome) == space.decode(other)) == same


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, extra=st.integers(0, 15))
def test_gpunet_stages_that_repeat_the_one_before_have_one_canonical_form(seed, extra) -> None:
    space = GPUNetSpace()
    names = [gene.name for gene in space.genes]
    genome = sample_uniform(space.sizes, 1, np.random.default_rng(seed))
    for part, value in (("filters", None), ("layers", extra)):
        genome[0, names.index(f"s5.{part}")] = 0 if value is None else value
    genome[0, names.index("s4.filters")] = 1
    for part in ("kernel", "expansion", "se", "activation"):
        genome[0, names.index(f"s5.{part}")] = genome[0, names.index(f"s4.{part}")]
    canonical = space.canonical(genome)
    assert space.decode(canonical) == space.decode(genome)
    assert space.encode(space.decode(genome)) == tuple(canonical[0])
    full = canonical[0, names.index("s4.layers")] == 9
    assert full or canonical[0, names.index("s5.layers")] == 0


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_genet_super_blocks_that_repeat_the_one_before_have_one_canonical_form(seed) -> None:
    space = GENetSpace()
    names = [gene.name for gene in space.genes]
    genome = sample_uniform(space.sizes, 1, np.random.default_rng(seed))
    for part in ("block", "width"):
        genome[0, names.index(f"sb5.{part}")] = genome[0, names.index(f"sb4.{part}")]
    canonical = space.canonical(genome)
    assert space.decode(canonical) == space.decode(genome)
    assert space.encode(space.decode(genome)) == tuple(canonical[0])
    depths = canonical[0, [names.index("sb4.depth"), names.index("sb5.depth")]]
    assert depths[0] == 4 or depths[1] == 0
