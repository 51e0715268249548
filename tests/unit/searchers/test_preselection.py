import numpy as np
import pytest

from moga.contracts import Observations
from moga.errors import FormatError, UsageError
from moga.searchers import NSGA2, RandomSearch
from moga.searchers.preselection import Preselection
from moga.testing.searchers import make_problem, true_costs

PROBLEM = make_problem((6,) * 8)


def random_search(seed: int = 0) -> RandomSearch:
    return RandomSearch(PROBLEM, np.random.default_rng(seed))


def taught(n: int = 100) -> Preselection:
    selection = Preselection(PROBLEM, 8)
    genomes = random_search(1).ask(n)
    selection.learn(Observations.exact(genomes, true_costs(genomes)))
    return selection


def test_children_on_the_true_front_are_preferred() -> None:
    from moga.pareto import nondominated_ranks

    searcher = random_search()
    children = searcher.problem.canonical(np.random.default_rng(2).integers(0, 6, (160, 8)))
    chosen = taught().choose(searcher, children, 20)
    ranks = nondominated_ranks(true_costs(children))
    of_chosen = [ranks[(children == row).all(axis=1)][0] for row in chosen]
    assert len(chosen) == 20
    assert np.mean(of_chosen) < 0.5 * ranks.mean()


def test_nothing_is_preselected_where_nothing_or_everything_is_known() -> None:
    for problem in (make_problem(known=False), make_problem(objectives=1)):
        assert Preselection(problem, 8).oversample == 1
    everything = true_costs(np.zeros((1, 6), dtype=np.int64))
    import dataclasses

    known = dataclasses.replace(make_problem(), known=lambda g: np.repeat(everything, len(g), 0))
    assert Preselection(known, 8).oversample == 1


def test_repeats_are_left_out_unless_nothing_else_is_there() -> None:
    selection, searcher = taught(), random_search()
    seen = searcher.ask(5)
    new = np.full((1, 8), 5)
    assert selection.choose(searcher, np.concatenate([seen, new]), 3).tolist() == new.tolist()
    assert selection.choose(searcher, seen, 3).tolist() == seen[:3].tolist()


def test_memory_is_bounded_and_keeps_the_front() -> None:
    selection, searcher = taught(700), random_search()
    best = selection.costs[:, 1].argmin()
    genome = selection.genomes[best].tolist()
    selection.choose(searcher, np.random.default_rng(2).integers(0, 6, (50, 8)), 5)
    assert len(selection.genomes) == 200
    assert genome in selection.genomes.tolist()


def test_results_that_nobody_uses_are_forgotten_too() -> None:
    assert len(taught(900).genomes) == 200


def test_known_costs_save_evaluations() -> None:
    """The mean of the front's accuracy cost after 60 evaluations, over seeds, with and without."""

    def reached(known: bool) -> float:
        found = []
        for seed in range(5):
            problem = make_problem((6,) * 8, known=known)
            search = NSGA2(problem, np.random.default_rng(seed), population=12, mode="steady")
            costs = []
            for _ in range(15):
                genomes = search.ask(4)
                costs.append(true_costs(genomes))
                search.tell(Observations.exact(genomes, costs[-1]))
            from moga.pareto import hypervolume

            found.append(hypervolume(np.concatenate(costs), [0.0, 20.0]))
        return float(np.mean(found))

    assert reached(known=True) > 1.01 * reached(known=False)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(UsageError, match="oversample is 0; give an integer of 1 or more"):
        Preselection(PROBLEM, 0)
    other = Preselection(make_problem((2, 2)), 4).state_dict()
    with pytest.raises(FormatError, match="results of 8 genes and 2 objectives were expected"):
        Preselection(PROBLEM, 8).load_state_dict(other)
