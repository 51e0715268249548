import dataclasses
import time

import numpy as np
import pytest

from moga.contracts import Observations, parse_objective
from moga.errors import InvalidGenome, UsageError
from moga.pareto import hypervolume
from moga.searchers import RandomSearch
from moga.searchers.auto import Auto
from moga.searchers.bayes import Bayes
from moga.searchers.local import LocalSearch
from moga.searchers.nsga2 import NSGA2
from moga.testing.searchers import SearcherConformance, make_problem, true_costs


class TestConformanceOfBayes(SearcherConformance):
    rounds = 4
    work_rounds = 3

    def make(self, problem, rng):
        return Bayes(problem, rng, initial=6, cap=16)


class TestConformanceOfAuto(SearcherConformance):
    rounds = 4
    work_rounds = 3

    def make(self, problem, rng):
        return Auto(problem, rng, switch=12)


def search(searcher, evaluations: int, objectives: int = 2, batch: int = 4) -> np.ndarray:
    found = []
    while len(found) < evaluations:
        genomes = searcher.ask(batch)
        costs = true_costs(genomes, objectives)
        searcher.tell(Observations.exact(genomes, costs))
        found.extend(costs)
    return np.array(found)


def everything(problem) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, problem.sizes), indexing="ij"), -1).reshape(
        -1, len(problem.sizes)
    )


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("known", [True, False])
def test_less_than_half_of_what_random_search_leaves(objectives: int, known: bool) -> None:
    problem = make_problem(objectives=objectives, known=known)
    costs = true_costs(everything(problem), objectives)
    reference = costs.max(axis=0) + 1e-9
    best = hypervolume(costs, reference)

    def left(kind) -> float:
        runs = [search(kind(problem, np.random.default_rng(s)), 48, objectives) for s in range(2)]
        return float(np.mean([1 - hypervolume(run, reference) / best for run in runs]))

    assert left(Bayes) < left(RandomSearch) / 2


def test_one_objective() -> None:
    problem = make_problem(objectives=1)
    best = true_costs(everything(problem), 1).min()
    assert search(Bayes(problem, np.random.default_rng(0)), 80, 1).min() == best


def test_all_known_needs_no_model() -> None:
    problem = dataclasses.replace(make_problem(), known=true_costs)
    costs = search(Bayes(problem, np.random.default_rng(0)), 40)
    reference = true_costs(everything(problem)).max(axis=0) + 1e-9
    best = hypervolume(true_costs(everything(problem)), reference)
    assert hypervolume(costs, reference) > 0.98 * best


def test_limits_of_known_objectives_are_kept_to() -> None:
    problem = make_problem()
    latencies = true_costs(everything(problem))[:, 1]
    limit = float(np.quantile(latencies, 0.4))
    objectives = (parse_objective("accuracy"), parse_objective(f"latency<={limit}"))
    searcher = Bayes(dataclasses.replace(problem, objectives=objectives), np.random.default_rng(0))
    assert (search(searcher, 60)[-36:, 1] <= limit).all()


def test_what_is_pending_is_not_asked_around() -> None:
    problem = make_problem()
    searcher = Bayes(problem, np.random.default_rng(0))
    search(searcher, 24)
    first = searcher.ask(4)
    assert len(searcher.pending) == 4
    searcher.ask(4)
    assert len(searcher.pending) == 8
    searcher.tell(Observations.exact(first, true_costs(first)))
    assert len(searcher.pending) == 4


def test_given_genomes_are_asked_first() -> None:
    searcher = Bayes(make_problem(), np.random.default_rng(0), start=[[0, 1, 2, 1, 0, 2]])
    assert searcher.ask(1).tolist() == [[0, 1, 2, 1, 0, 2]]


def test_of_a_large_front_the_loneliest_members_count() -> None:
    searcher = Bayes(make_problem((8, 8, 8), known=False), np.random.default_rng(0), cap=10)
    genomes = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1).reshape(-1, 3)[:40]
    steps = np.where(np.arange(40) < 20, 0.01, 1.0).cumsum()
    searcher.tell(Observations.exact(genomes, np.stack([steps, -steps], axis=1)))
    front = searcher._front()[:, 0]
    assert len(front) == 10
    assert {steps[0], steps[-1]} < set(front)
    assert (front > steps[19]).sum() == 9  # the other is the boundary; the crowd is left out
    assert len(searcher.ask(4)) == 4


def test_an_ask_of_four_is_fast_at_the_cap() -> None:
    problem = make_problem((6,) * 12, objectives=2)
    searcher = Bayes(problem, np.random.default_rng(0))
    genomes = np.random.default_rng(1).integers(0, 6, (400, 12))
    searcher.tell(Observations.exact(genomes, true_costs(genomes)))
    searcher.ask(4)  # fits
    began = time.process_time()
    searcher.ask(4)
    assert time.process_time() - began < 1


def test_auto_models_first_and_then_mutates_the_front() -> None:
    searcher = Auto(make_problem(), np.random.default_rng(0), switch=24)
    assert isinstance(searcher.later, LocalSearch)
    assert searcher.bayes is not None
    search(searcher, 24)
    asked = searcher.bayes.seen, searcher.later.seen
    assert asked == (24, 24)
    searcher.ask(4)
    assert (searcher.bayes.seen, searcher.later.seen) == (24, 28)


def test_auto_proposes_what_bayes_alone_does_until_it_switches() -> None:
    problem = make_problem()
    auto, bayes = (kind(problem, np.random.default_rng(3)) for kind in (Auto, Bayes))
    assert np.array_equal(search(auto, 48), search(bayes, 48))


def test_auto_leaves_four_objectives_to_nsga2() -> None:
    problem = make_problem()
    four = tuple(map(parse_objective, ("accuracy", "latency", "params", "macs")))
    problem = dataclasses.replace(
        problem, objectives=four, known=lambda genomes: np.full((len(genomes), 4), np.nan)
    )
    searcher = Auto(problem, np.random.default_rng(0))
    assert searcher.bayes is None
    assert isinstance(searcher.later, NSGA2)
    assert len(searcher.ask(4)) == 4
    with pytest.raises(UsageError, match=r"1 to 3 objectives; this problem has 4. Use nsga2"):
        Bayes(problem, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"initial": 0}, "initial is 0; give an integer of 1 or more"),
        ({"cap": True}, "cap is True; give an integer of 10 or more"),
        ({"start": "even"}, "start is 'even'"),
    ],
)
def test_numbers_that_make_no_search(options, words) -> None:
    with pytest.raises(UsageError, match=words):
        Bayes(make_problem(), np.random.default_rng(0), **options)


def test_genomes_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidGenome, match="allowed: 0 to 3"):
        Bayes(make_problem(), np.random.default_rng(0), start=[[9, 0, 0, 0, 0, 0]])


def test_auto_refuses_a_negative_switch() -> None:
    with pytest.raises(UsageError, match="switch is -1; give an integer of 0 or more"):
        Auto(make_problem(), np.random.default_rng(0), switch=-1)
