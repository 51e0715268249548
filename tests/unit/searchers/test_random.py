import numpy as np
import pytest

from moga.contracts import Gene, Problem, parse_objective
from moga.errors import Exhausted, InvalidGenome, UsageError
from moga.searchers.random import RandomSearch
from moga.spaces.base import sample_sobol, sample_uniform

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
    searcher = RandomSearch(PROBLEM, np.random.default_rng(3), initial=16)
    asked = np.concatenate([searcher.ask(6), searcher.ask(6), searcher.ask(4)])
    assert asked.tolist() == points.tolist()
    assert len(searcher.ask(5)) == 5


def test_state_continues_where_it_was() -> None:
    first = RandomSearch(PROBLEM, np.random.default_rng(0), initial=16)
    first.ask(5)
    second = RandomSearch(PROBLEM, np.random.default_rng(1))
    second.load_state_dict(first.state_dict())
    assert first.ask(40).tolist() == second.ask(40).tolist()


def test_given_genomes_come_first_as_with_other_searchers() -> None:
    given = [[3, 3, 3, 3, 3], [0, 1, 2, 3, 0]]
    searcher = RandomSearch(PROBLEM, np.random.default_rng(0), start=given)
    assert searcher.ask(5)[:2].tolist() == given
    filled = RandomSearch(PROBLEM, np.random.default_rng(0), initial=4, start=given)
    assert filled.ask(5)[:2].tolist() == given
    assert len(filled.opening.genomes) == 0


def test_no_start_draws_as_if_there_were_none() -> None:
    drawn = RandomSearch(PROBLEM, np.random.default_rng(5)).ask(3)
    assert drawn.tolist() == sample_uniform(PROBLEM.sizes, 3, np.random.default_rng(5)).tolist()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="initial is -1; give an integer of 0 or more"):
        RandomSearch(PROBLEM, np.random.default_rng(0), initial=-1)
    with pytest.raises(UsageError, match="start is 'grid'; give 'sobol' or 'uniform'"):
        RandomSearch(PROBLEM, np.random.default_rng(0), start="grid")
    with pytest.raises(InvalidGenome, match="genome 0 of start has 4 for gene"):
        RandomSearch(PROBLEM, np.random.default_rng(0), start=[[4, 0, 0, 0, 0]])
