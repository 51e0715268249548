"""NSGA-II must reach the known front of a table: NAS-Bench-201, CIFAR-10 accuracy against latency.

The reference point (accuracy 0, the largest latency) leaves most of the volume to the accuracy that
even poor networks have: random search reaches .991 of it. So what is left of the volume is compared
too: NSGA-II must leave less than half of what random search leaves.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moga.contracts import Observations, Problem, parse_objective
from moga.pareto import hypervolume
from moga.searchers import NSGA2, BaseSearcher, RandomSearch
from moga.spaces.nasbench201 import NASBench201, load_table

EVALUATIONS, SEEDS = 800, 10


@pytest.fixture(scope="module")
def costs() -> np.ndarray:
    """Costs of all 15,625 genomes, shape (5, 5, 5, 5, 5, 5, 2)."""
    table = load_table()
    columns = [-table["cifar10_valid_acc_12"], table["lat_ms_pixel3"]]
    return np.stack(columns, axis=1).reshape(*(5,) * 6, 2)


@pytest.fixture(scope="module")
def reached(costs: np.ndarray) -> Callable[..., list[float]]:
    """Run a searcher over the seeds; return the share of the table's hypervolume of each run."""
    space, everything = NASBench201(), costs.reshape(-1, 2)
    reference = [0.0, float(everything[:, 1].max())]
    best = hypervolume(everything, reference)

    def known(genomes: np.ndarray) -> np.ndarray:
        values = costs[tuple(genomes.T)].copy()
        values[:, 0] = np.nan
        return values

    problem = Problem(
        space.genes,
        space.reference,
        (parse_objective("accuracy"), parse_objective("latency")),
        space.canonical,
        known,
    )

    def run(kind: type[BaseSearcher], batch: int, outstanding: int, **options: Any) -> list[float]:
        shares = []
        for seed in range(SEEDS):
            searcher: Any = kind(problem, np.random.default_rng(seed), **options)
            asked = evaluate(searcher, batch, outstanding)
            shares.append(hypervolume(asked, reference) / best)
        return shares

    def evaluate(searcher: BaseSearcher, batch: int, outstanding: int) -> np.ndarray:
        waiting: deque[np.ndarray] = deque()
        genomes: list[np.ndarray] = []
        while waiting or len(genomes) * batch < EVALUATIONS:
            while len(waiting) < outstanding and len(genomes) * batch < EVALUATIONS:
                waiting.append(searcher.ask(batch))
                genomes.append(waiting[-1])
            first = waiting.popleft()
            searcher.tell(Observations.exact(first, costs[tuple(first.T)]))
        everyone = np.concatenate(genomes)
        assert len(np.unique(everyone, axis=0)) == EVALUATIONS
        return costs[tuple(everyone.T)]

    return run


@pytest.fixture(scope="module")
def by_chance(reached: Callable[..., list[float]]) -> float:
    return float(np.mean(reached(RandomSearch, batch=8, outstanding=1)))


@pytest.mark.parametrize(
    ("batch", "outstanding"), [(8, 3), (80, 1)], ids=["asynchronous", "in large batches"]
)
def test_99_percent_of_the_true_hypervolume(reached, by_chance, batch, outstanding) -> None:
    share = np.mean(reached(NSGA2, batch=batch, outstanding=outstanding))
    assert share >= 0.99
    assert 1 - share < (1 - by_chance) / 2
