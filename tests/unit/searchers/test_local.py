import dataclasses

import numpy as np
import pytest

from moga.contracts import Observations
from moga.errors import UsageError
from moga.pareto import nondominated
from moga.searchers.local import LocalSearch
from moga.testing.searchers import make_problem, true_costs

PROBLEM = make_problem((6,) * 8, known=False)


def searcher(**options) -> LocalSearch:
    return LocalSearch(PROBLEM, np.random.default_rng(0), **options)


def test_children_are_mutants_of_the_front() -> None:
    search = searcher(initial=30)
    first = search.ask(30)
    search.tell(Observations.exact(first, true_costs(first)))
    front = first[nondominated(true_costs(first))]
    assert sorted(search.front.tolist()) == sorted(front.tolist())
    distance = (search.ask(40)[:, None] != front).sum(axis=2).min(axis=1)
    assert (distance >= 1).all()
    assert np.mean(distance <= 2) > 0.8


def test_where_nothing_is_within_limits_the_nearest_is_mutated() -> None:
    search = searcher(initial=4)
    first = search.ask(4)
    told = Observations.exact(first, np.full((4, 2), np.nan))
    search.tell(dataclasses.replace(told, violations=np.array([3, 1, 2, 4.0])))
    assert search.front.tolist() == [first[1].tolist()]
    inside = search.ask(1)
    search.tell(Observations.exact(inside, true_costs(inside)))
    assert search.front.tolist() == inside.tolist()


def test_given_genomes_come_first() -> None:
    given = [[0] * 8, [5] * 8]
    assert searcher(start=given, initial=6).ask(6)[:2].tolist() == given


def test_initial_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="initial is 0; give an integer of 1 or more"):
        searcher(initial=0)
