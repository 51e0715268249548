import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from moga.contracts import Observations
from moga.errors import UsageError
from moga.pareto import hypervolume
from moga.searchers import RandomSearch
from moga.searchers.lamcts import (
    LAMCTS,
    dominance_numbers,
    log_expected_improvement,
)
from moga.testing.searchers import SearcherConformance, make_problem, true_costs


@pytest.mark.slow
class TestConformanceOfLAMCTS(SearcherConformance):
    rounds = 3
    batch = 3
    work_rounds = 3

    def make(self, problem, rng):
        return LAMCTS(problem, rng, initial=6, leaf=8, cap=12)


def everything(problem) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, problem.sizes), indexing="ij"), -1).reshape(
        -1, len(problem.sizes)
    )


def search(searcher, evaluations: int, objectives: int = 2) -> tuple[np.ndarray, np.ndarray]:
    found = []
    while sum(map(len, found)) < evaluations:
        found.append(searcher.ask(4))
        searcher.tell(Observations.exact(found[-1], true_costs(found[-1], objectives)))
    genomes = np.concatenate(found)
    return genomes, true_costs(genomes, objectives)


@pytest.mark.parametrize("z", [-12.0, -3.0, -0.2, 0.0, 1.5, 20.0, 26.0])
def test_log_expected_improvement_against_an_integral(z: float) -> None:
    # E[max(z - e, 0)] = integral of t phi(z - t), with the exponential of -z^2/2 taken out
    shift = 0.5 * z * z if z < 0 else 0.0
    integral, _ = quad(
        lambda t: t * np.exp(-0.5 * (z - t) ** 2 + shift), 0, 60, points=[max(z, 0.1)]
    )
    expected = np.log(integral) - shift - 0.5 * np.log(2 * np.pi)
    got = log_expected_improvement(z, np.zeros(1), np.ones(1))
    assert got[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_log_expected_improvement_far_away_is_finite_and_smooth() -> None:
    z = np.array([-1e6, -201.0, -200.5, -199.5, -199.0])
    got = log_expected_improvement(0.0, -z, np.ones(5))
    assert np.isfinite(got).all()
    assert (np.diff(got) > 0).all()
    assert got[2:4] == pytest.approx(-0.5 * z[2:4] ** 2 - 2 * np.log(-z[2:4]) - 0.919, abs=0.01)


def test_dominance_numbers() -> None:
    assert dominance_numbers(np.array([[0, 2], [1, 1], [2, 2], [2, 2]])).tolist() == [0, 0, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [1, 2])
def test_better_than_random_search(objectives: int) -> None:
    problem = make_problem((4, 3, 5, 4, 4, 3), objectives=objectives)
    costs = true_costs(everything(problem), objectives)
    reference = costs.max(axis=0) + 1e-9
    best = hypervolume(costs, reference)

    def left(kind) -> float:
        searchers = [kind(problem, np.random.default_rng(seed)) for seed in range(2)]
        runs = [search(searcher, 48, objectives)[1] for searcher in searchers]
        return float(np.mean([1 - hypervolume(run, reference) / best for run in runs]))

    assert left(LAMCTS) < 0.7 * left(RandomSearch)


@pytest.mark.slow
def test_the_process_is_fitted_anew_only_with_a_tenth_more_results() -> None:
    searcher = LAMCTS(make_problem(), np.random.default_rng(0), initial=6)
    fitted = []
    for _ in range(8):
        searcher.tell(Observations.exact(g := searcher.ask(2), true_costs(g)))
        fitted.append((len(searcher.costs), searcher.fitted))
    assert fitted == [(2, 0), (4, 0), (6, 0), (8, 6), (10, 8), (12, 10), (14, 12), (16, 14)]
    searcher.fitted = 1000  # far ahead: nothing is fitted
    before = {place: values.copy() for place, values in searcher.parameters.items()}
    searcher.ask(2)
    assert before.keys() == {0}
    assert (searcher.parameters[0] == before[0]).all()


@pytest.mark.slow
def test_stratum_is_kept_to_and_searched_well() -> None:
    problem = make_problem((4, 3, 5, 4, 4, 3))
    costs = true_costs(everything(problem))
    lower, upper = (float(q) for q in np.quantile(costs[:, 1], [0.4, 0.6]))
    searcher = LAMCTS(problem, np.random.default_rng(0), metric="latency", lower=lower, upper=upper)
    _, found = search(searcher, 48)
    assert ((found[:, 1] >= lower) & (found[:, 1] < upper)).all()
    inside = (costs[:, 1] >= lower) & (costs[:, 1] < upper)
    assert (costs[inside, 0] < found[:, 0].min()).sum() <= 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"leaf": 3}, "leaf is 3; give an integer of 8 or more"),
        ({"exploration": -0.1}, "exploration is -0.1; give a number of 0 or more"),
        ({"lower": np.nan}, "lower and upper cut a stratum; say of which metric"),
        ({"lower": np.inf}, "lower and upper cut a stratum; say of which metric"),
        ({"metric": "latency", "lower": np.nan}, "nothing lies from nan to inf; give numbers"),
        ({"metric": "latency", "upper": "9"}, "nothing lies from -inf to '9'; give numbers"),
        ({"lower": 1.0}, "lower and upper cut a stratum; say of which metric"),
        ({"metric": "accuracy"}, "metric is 'accuracy'; objectives that are known .*: latency"),
        ({"metric": "latency", "lower": 2.0, "upper": 1.0}, "nothing lies from 2.0 to 1.0"),
        (
            {"metric": "latency", "lower": 1e9},
            r"no genome of 262144 drawn .* \[1000000000.0, inf\)",
        ),
    ],
)
def test_what_makes_no_search(options, words) -> None:
    with pytest.raises(UsageError, match=words):
        LAMCTS(make_problem(), np.random.default_rng(0), **options)


def test_number_of_objectives() -> None:
    problem = dataclasses.replace(make_problem(), objectives=make_problem().objectives * 2)
    problem = dataclasses.replace(problem, known=lambda g: np.full((len(g), 4), np.nan))
    with pytest.raises(UsageError, match="lamcts works on 1 to 3 objectives; here it has 4"):
        LAMCTS(problem, np.random.default_rng(0))
