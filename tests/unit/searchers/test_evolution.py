import dataclasses

import numpy as np
import pytest

from moga.contracts import Observations
from moga.errors import UsageError
from moga.searchers.evolution import RegularizedEvolution
from moga.testing.searchers import make_problem, true_costs

PROBLEM = make_problem((6,) * 8, known=False)


def searcher(**options) -> RegularizedEvolution:
    defaults = {"population": 10, "sample": 10}
    return RegularizedEvolution(PROBLEM, np.random.default_rng(0), **{**defaults, **options})


def told(genomes) -> Observations:
    return Observations.exact(genomes, true_costs(genomes))


def test_the_oldest_dies_even_the_best() -> None:
    search = searcher()
    first = search.ask(10)
    costs = true_costs(first)
    costs[0] = -1e6
    search.tell(Observations.exact(first, costs))
    later = search.ask(10)
    search.tell(told(later))
    assert search.genomes.tolist() == later.tolist()


@pytest.mark.parametrize("best", ["dominance", "scalar"])
def test_children_of_the_best_differ_in_one_gene(best) -> None:
    search = searcher(best=best)
    first = search.ask(10)
    costs = np.arange(20.0).reshape(10, 2)[::-1]  # the last dominates all others
    search.tell(Observations.exact(first, costs))
    assert ((search.ask(4) != first[-1]).sum(axis=1) == 1).all()


def test_one_objective_is_the_paper() -> None:
    problem = make_problem((6,) * 8, objectives=1)
    search = RegularizedEvolution(problem, np.random.default_rng(0), population=5, sample=5)
    first = search.ask(5)
    search.tell(Observations.exact(first, np.array([[3.0], [2], [1], [4], [5]])))
    assert ((search.ask(4) != first[2]).sum(axis=1) == 1).all()


@pytest.mark.parametrize("best", ["dominance", "scalar"])
def test_outside_limits_the_smaller_violation_wins(best) -> None:
    search = searcher(best=best)
    first = search.ask(10)
    outside = Observations.exact(first, np.full((10, 2), np.nan))
    violations = np.array([5, 4, 3, 2, 1, 2, 3, 4, 5, 6.0])
    search.tell(dataclasses.replace(outside, violations=violations))
    assert ((search.ask(4) != first[4]).sum(axis=1) == 1).all()


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UsageError, match="population is 1; give an integer of 2 or more"):
        searcher(population=1)
    with pytest.raises(UsageError, match="sample is 11; give an integer from 1 to 10"):
        searcher(sample=11)
    with pytest.raises(UsageError, match="best is 'rank'; give 'dominance' or 'scalar'"):
        searcher(best="rank")
