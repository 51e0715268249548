import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moga.devices.profile import unique_blocks
from moga.devices.walks import Walks, successions
from moga.spaces.base import sample_uniform
from moga.spaces.moga import MoGASpace


@pytest.fixture
def rng():
    return np.random.default_rng(7)


graphs = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40)
    )
)


@given(graphs, st.integers(0, 99))
def test_everything_comes_once_for_the_first_time_and_follows_what_it_may(graph, seed):
    n, pairs = graph
    walks = Walks(n, pairs).draw(np.random.default_rng(seed))
    seen = set()
    firsts = [index for walk in walks for index, first in walk if first]
    assert sorted(firsts) == list(range(n))
    for walk in walks:
        assert all((a, b) in pairs for (a, _), (b, _) in itertools.pairwise(walk))
        run_up = 0
        for _, first in walk:
            run_up = 0 if first else run_up + 1
            assert run_up <= 2
        seen |= {index for index, _ in walk}
    assert seen == set(range(n))


def test_without_successions_each_is_alone_in_a_new_order_each_round(rng):
    walks = Walks(9)
    rounds = [walks.draw(rng) for _ in range(5)]
    assert all(sorted(one) == [[(index, True)] for index in range(9)] for one in rounds)
    assert len({tuple(walk[0][0] for walk in one) for one in rounds}) == 5


def test_a_walk_runs_again_what_leads_to_the_next(rng):
    line = Walks(4, [(0, 1), (1, 2), (1, 3)]).draw(rng)
    assert Counter(index for walk in line for index, _ in walk) == {0: 2, 1: 2, 2: 1, 3: 1}
    assert all(walk[0][0] == 0 for walk in line)


def test_what_lies_too_far_begins_a_walk_of_its_own(rng):
    walks = Walks(5, [(0, 1), (1, 2), (2, 3), (2, 4)]).draw(rng)
    assert Counter(walk[0][0] for walk in walks) in (Counter({0: 1, 3: 1}), Counter({0: 1, 4: 1}))


def test_the_same_generator_draws_the_same_walks():
    walks = Walks(6, [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)])
    assert walks.draw(np.random.default_rng(5)) == walks.draw(np.random.default_rng(5))


def test_successions_are_those_of_the_subjects_alone():
    network = MoGASpace(32, 0.35, 10).decode([0] * 14)
    stem, second, third = network.blocks[:3]
    assert successions([network, network], [network, third, second, stem]) == [(3, 2), (2, 1)]
    assert successions([network], [stem, third]) == successions([], [stem, second]) == []


@pytest.mark.parametrize("seed", range(3))
def test_walks_through_a_space_are_parts_of_its_networks(seed):
    space = MoGASpace(32, 0.35, 10)
    blocks = unique_blocks(space)
    genomes = sample_uniform(space.sizes, 300, np.random.default_rng(7))
    networks = [space.decode(genome) for genome in genomes]
    pairs = successions(networks, blocks)
    possible = {pair for network in networks for pair in itertools.pairwise(network)}
    walks = Walks(len(blocks), pairs).draw(np.random.default_rng(seed))
    assert len(walks) < 25
    assert sum(len(walk) for walk in walks) < 1.5 * len(blocks)
    for walk in walks:
        for (first, _), (second, _) in itertools.pairwise(walk):
            assert (blocks[first], blocks[second]) in possible
