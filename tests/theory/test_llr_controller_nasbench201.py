"""LLR and the controller must beat random search on NAS-Bench-201 at 200 evaluations.

Regret is 1 - hypervolume / the table's hypervolume; reference point: accuracy 0, largest latency.
Groups are the nodes of the cell, so LLR sees an offset for each combination of a node's edges.
"""

from collections.abc import Callable

import numpy as np
import pytest

from moga import registry
from moga.contracts import Observations, Problem, parse_objective
from moga.pareto import hypervolume
from moga.spaces.nasbench201 import NASBench201, load_table

SEEDS, BATCH = 4, 8
TASKS = (("imagenet16", "2080ti_256"), ("cifar100", "gold_6226"))


@pytest.fixture(scope="module")
def regret() -> Callable[[str, int], float]:
    """Return the mean regret of a searcher after some evaluations, over tasks and seeds."""
    space, table = NASBench201(), load_table()

    def mean(searcher: str, evaluations: int) -> float:
        found = []
        for data, device in TASKS:
            costs = np.stack([-table[f"{data}_valid_acc_12"], table[f"lat_ms_{device}"]], axis=1)
            found += [run(searcher, costs, seed, evaluations) for seed in range(SEEDS)]
        return float(np.mean(found))

    def run(text: str, costs: np.ndarray, seed: int, evaluations: int) -> float:
        def known(genomes: np.ndarray) -> np.ndarray:
            return costs[space.index(genomes)] * [np.nan, 1]

        goals = (parse_objective("accuracy"), parse_objective("latency"))
        problem = Problem(space.genes, space.reference, goals, space.canonical, known)
        rng = np.random.default_rng(seed)
        searcher = registry.create("searcher", text, problem=problem, rng=rng)
        rows = np.empty(0, dtype=np.int64)
        while len(rows) < evaluations:
            genomes = searcher.ask(min(BATCH, evaluations - len(rows)))
            asked = space.index(genomes)
            rows = np.concatenate([rows, asked])
            searcher.tell(Observations.exact(genomes, costs[asked]))
        assert len(np.unique(rows)) == evaluations
        corner = [0.0, float(costs[:, 1].max())]
        return 1 - hypervolume(costs[rows], corner) / hypervolume(costs, corner)

    return mean


@pytest.mark.parametrize("combine", ["enumerate", "dynamic"])
def test_llr_leaves_less_than_half_of_what_random_search_leaves(regret, combine) -> None:
    assert regret(f"llr(combine={combine})", 200) < regret("random", 200) / 2


def test_controller_leaves_less_than_random_search(regret) -> None:
    assert regret("controller", 200) < 0.9 * regret("random", 200)
