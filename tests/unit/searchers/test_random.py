import numpy as np
import pytest

from moga.contracts import Gene, Problem, parse_objective
from moga.errors import Exhausted, UsageError
from moga.searchers.random import RandomSearch
from moga.spaces.base import sample_sobol

GENES = tuple(Gene(f"g{i}", "all", "ordinal", tuple(range(4))) for i in range(5))
PROBLEM = Problem(
    GENES,
    (0,) * 5,
    (parse_objective("accuracy"),),
    lambda g: g,
    lambda g: np.full((len(g), 1), np.nan),
)


def test_draws_without_repeats_until_exhausted() -> None:
    searcher = RandomSearch(PROBLEM, np.random.default_rng(0))
    drawn = np.concatenate([searcher.ask(100) for _ in range(11)])
    assert len(drawn) == len(np.unique(drawn, axis=0)) == 1024
    with pytest.raises(Exhausted, match="after 1024 genomes"):
        searcher.ask(1)


def test_draws_are_uniform() -> None:
    drawn = RandomSearch(PROBLEM, np.random.default_rng(0)).ask(600)
    shares = (drawn[:, :, None] == np.arange(4)).mean(axis=0)
    assert np.abs(shares - 0.25).max() < 0.05


def test_sobol_points_come_first() -> None:
    points = sample_sobol(PROBLEM.sizes, 16, np.random.default_rng(3))
    searcher = RandomSearch(PROBLEM, np.random.default_rng(3), start=16)
    asked = np.concatenate([searcher.ask(6), searcher.ask(6), searcher.ask(4)])
    assert asked.tolist() == points.tolist()
    assert len(searcher.ask(5)) == 5


def test_state_continues_where_it_was() -> None:
    first = RandomSearch(PROBLEM, np.random.default_rng(0), start=16)
    first.ask(5)
    second = RandomSearch(PROBLEM, np.random.default_rng(1))
    second.load_state_dict(first.state_dict())
    assert first.ask(40).tolist() == second.ask(40).tolist()


def test_negative_start_is_refused() -> None:
    with pytest.raises(UsageError, match="start is -1; give an integer of 0 or more"):
        RandomSearch(PROBLEM, np.random.default_rng(0), start=-1)
