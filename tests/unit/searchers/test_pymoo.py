import dataclasses
import sys

import numpy as np
import pytest
from pymoo.algorithms.moo import nsga2
from pymoo.algorithms.moo.rvea import RVEA
from pymoo.algorithms.soo.nonconvex import cmaes, ga, pattern

from moga.contracts import Observations
from moga.errors import FormatError, UnknownName, UsageError
from moga.searchers.pymoo import ALGORITHMS, Pymoo
from moga.testing.searchers import make_problem, true_costs

PROBLEM = make_problem((6,) * 8, known=False)


def searcher(**options) -> Pymoo:
    return Pymoo(PROBLEM, np.random.default_rng(0), **{"population": 8, **options})


def searched(search: Pymoo, rounds: int = 12) -> np.ndarray:
    asked = []
    for _ in range(rounds):
        asked.append(search.ask(8))
        search.tell(Observations.exact(asked[-1], true_costs(asked[-1])))
    return np.concatenate(asked)


@pytest.mark.parametrize("algorithm", ["NSGA3", "SMSEMOA", nsga2.NSGA2, nsga2.NSGA2(pop_size=8)])
def test_later_genomes_are_better(algorithm) -> None:
    costs = true_costs(searched(searcher(algorithm=algorithm), 20))
    scaled = (costs - costs.min(axis=0)) / np.ptp(costs, axis=0)
    assert scaled[-40:].sum(axis=1).mean() < scaled[:8].sum(axis=1).mean()


@pytest.mark.parametrize("algorithm", ["RVEA", RVEA])
def test_an_algorithm_that_must_know_its_end_is_told_and_goes_on_after_it(algorithm) -> None:
    search = searcher(algorithm=algorithm, population=12, generations=5)
    costs = true_costs(searched(search, 40))
    assert len(costs) > 5 * 12
    assert (costs[-24:].min(axis=0) <= costs[:12].min(axis=0)).any()
    assert costs[-24:, 0].mean() < costs[:12, 0].mean()


def test_a_generation_must_be_told_before_the_next() -> None:
    search = searcher()
    first = search.ask(5)
    second = search.ask(5)
    assert (len(first), len(second), len(search.ask(5))) == (5, 3, 0)
    search.tell(Observations.exact(first, true_costs(first)))
    assert len(search.ask(5)) == 0
    search.tell(Observations.exact(second, np.full((3, 2), np.nan)))  # failed: it waits no more
    assert len(search.ask(5)) > 0


def test_limits_come_first() -> None:
    search = searcher(population=16)
    for _ in range(15):
        genomes = search.ask(16)
        costs = true_costs(genomes)
        violations = np.maximum(costs[:, 1] - 6, 0)
        costs[violations > 0, 0] = np.nan
        told = dataclasses.replace(Observations.exact(genomes, costs), violations=violations)
        search.tell(told)
    assert (violations == 0).mean() > 0.5


class Needy(nsga2.NSGA2):
    def __init__(self, wall):
        super().__init__()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown algorithm of pymoo 'NSGA4'. Did you mean"):
        searcher(algorithm="NSGA4")
    with pytest.raises(UnknownName, match=r"pymoo 'nsga2'. Did you mean 'NSGA2'"):
        searcher(algorithm="nsga2")
    with pytest.raises(UnknownName, match=r"unknown option of pymoo's NSGA2 'pop_siz'. Did you"):
        searcher(options={"pop_siz": 8})
    with pytest.raises(UsageError, match="is no algorithm of pymoo: give a name, class or object"):
        searcher(algorithm=dict)
    with pytest.raises(UsageError, match=r"Needy cannot be made with .*options="):
        searcher(algorithm=Needy)
    with pytest.raises(
        UsageError, match=r"RVEA does not take this problem of 2 objectives: .*generations="
    ):
        searcher(algorithm=RVEA)
    with pytest.raises(UsageError, match="generations is 0; give an integer of 1 or more"):
        searcher(generations=0)
    with pytest.raises(UsageError, match="population is 2; give an integer of 4 or more"):
        searcher(population=2)
    with pytest.raises(
        UsageError, match="limits is 'none'; give 'auto', 'constraint' or 'penalty'"
    ):
        searcher(limits="none")


def test_an_algorithm_that_needs_several_objectives_says_so_of_one() -> None:
    single = dataclasses.replace(PROBLEM, objectives=PROBLEM.objectives[:1])
    with pytest.raises(UsageError, match=r"MOEAD does not take this problem of 1 objective: .*GA$"):
        Pymoo(single, np.random.default_rng(0), algorithm="MOEAD")


@pytest.mark.parametrize(
    "algorithm", ["DE", "GA", "PSO", ga.GA, ga.GA(pop_size=8), cmaes.CMAES, pattern.PatternSearch]
)
def test_algorithms_for_one_objective_are_refused_at_once_where_there_are_two(algorithm) -> None:
    words = r"pymoo's \w+ is for one objective; the search has 2\. Use .* such as NSGA2"
    with pytest.raises(UsageError, match=words):
        searcher(algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["DE", "GA", "PSO"])
def test_algorithms_for_one_objective_serve_one(algorithm) -> None:
    problem = dataclasses.replace(
        PROBLEM, objectives=PROBLEM.objectives[:1], known=lambda g: PROBLEM.known(g)[:, :1]
    )
    search = Pymoo(problem, np.random.default_rng(0), algorithm=algorithm, population=8)
    told = []
    for _ in range(20):
        genomes = search.ask(8)
        told.append(true_costs(genomes)[:, :1])
        search.tell(Observations.exact(genomes, told[-1]))
    assert np.concatenate(told[-5:]).mean() < told[0].mean()


def test_an_algorithm_that_refuses_constraints_gets_a_penalty_by_itself() -> None:
    assert searcher().limits == "constraint"
    search = searcher(algorithm="MOEAD")
    assert search.limits == "penalty"
    assert len(searched(search)) > 8
    with pytest.raises(UsageError, match=r"MOEAD does not take this .*or say limits=penalty"):
        searcher(algorithm="MOEAD", limits="constraint")


@pytest.mark.parametrize("algorithm", ["AGEMOEA", "AGEMOEA2"])
def test_a_missing_library_is_named(algorithm, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, f"pymoo.algorithms.{ALGORITHMS[algorithm]}", raising=False)
    words = f"pymoo's {algorithm} cannot be loaded here: .*pip install numba.* such as NSGA2"
    with pytest.raises(UsageError, match=words):
        searcher(algorithm=algorithm)


def test_state_of_another_population_is_refused() -> None:
    search = searcher()
    searched(search, 3)
    with pytest.raises(FormatError, match="holds a generation of 8; this algorithm asks for 12"):
        searcher(population=12).load_state_dict(search.state_dict())
