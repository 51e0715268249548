import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moga.network import Network
from moga.spaces.base import (
    Space,
    crossover,
    mutate,
    sample_sobol,
    sample_uniform,
)
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201

SPACES = [
    pytest.param(MoGASpace(32, 0.35, 10), id="moga"),
    pytest.param(NASBench201(), id="nasbench201"),
]
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=20).map(
    lambda sizes: np.array(sizes, dtype=np.int64)
)
RATES = st.one_of(st.none(), st.floats(0, 1))


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_encode_reverses_decode_and_json_reverses_itself(space: Space, seed: int) -> None:
    genome = sample_uniform(space.sizes, 1, np.random.default_rng(seed))
    network = space.decode(genome)
    assert space.encode(network) == tuple(space.canonical(genome)[0])
    back = Network.from_json(network.to_json())
    assert back == network
    assert (hash(back), back.digest) == (hash(network), network.digest)


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_canonical_forms_are_canonical(space: Space, seed: int) -> None:
    genomes = sample_uniform(space.sizes, 20, np.random.default_rng(seed))
    canonical = space.canonical(genomes)
    np.testing.assert_array_equal(space.canonical(canonical), canonical)
    np.testing.assert_array_equal(space.validate(canonical), canonical)


@pytest.mark.parametrize("sample", [sample_uniform, sample_sobol])
@settings(deadline=None)
@given(sizes=SIZES, n=st.integers(0, 40), seed=SEEDS)
def test_samples_lie_in_range(sample, sizes, n, seed) -> None:
    genomes = sample(sizes, n, np.random.default_rng(seed))
    assert genomes.shape == (n, len(sizes))
    assert ((genomes >= 0) & (genomes < sizes)).all()


@given(sizes=SIZES, n=st.integers(0, 20), seed=SEEDS, rate=RATES)
def test_mutation_changes_at_least_one_gene_and_stays_in_range(sizes, n, seed, rate) -> None:
    rng = np.random.default_rng(seed)
    genomes = sample_uniform(sizes, n, rng)
    mutated = mutate(genomes, sizes, rng, rate=rate)
    assert mutated.shape == genomes.shape
    assert ((mutated >= 0) & (mutated < sizes)).all()
    if (sizes > 1).any():
        assert (mutated != genomes).any(axis=1).all()


@given(sizes=SIZES, n=st.integers(1, 20), seed=SEEDS)
def test_children_take_every_gene_from_a_parent(sizes, n, seed) -> None:
    rng = np.random.default_rng(seed)
    first, second = sample_uniform(sizes, n, rng), sample_uniform(sizes, n, rng)
    children = crossover(first, second, rng)
    assert ((children == first) | (children == second)).all()
    np.testing.assert_array_equal(children[:, 0], first[:, 0])
    if len(sizes) > 1:
        np.testing.assert_array_equal(children[:, -1], second[:, -1])
