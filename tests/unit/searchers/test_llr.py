import dataclasses
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from moga import registry
from moga.contracts import Gene, Observations, Problem, parse_objective
from moga.errors import FormatError, UsageError
from moga.searchers.llr import LLR
from moga.testing.searchers import make_problem, true_costs

BUDGETS = [3.0, 6.0, 10.0]


def additive(objectives=("accuracy", "latency"), resolution: bool = False, seed: int = 0):
    """Return a problem of four super-blocks in which all costs add up, and its costs."""
    genes = []
    if resolution:
        genes.append(Gene("resolution", "resolution", "ordinal", (192, 224)))
    for name in "abcd":
        genes += [
            Gene(f"{name}.type", name, "categorical", ("xx", "bl", "dw")),
            Gene(f"{name}.width", name, "ordinal", (16, 32, 48)),
        ]
    rng = np.random.default_rng(seed)
    gains = [rng.uniform(0, 3, len(g)) if g.kind == "categorical" else None for g in genes]
    slopes = rng.uniform(1, 3, len(genes))
    prices = rng.uniform(0.2, 1, len(genes))

    def costs(genomes):
        accuracy, latency = np.full(len(genomes), 50.0), np.ones(len(genomes))
        for i in range(len(genes)):
            column = genomes[:, i]
            accuracy += column * slopes[i] if gains[i] is None else gains[i][column]
            latency += prices[i] * column
        return np.stack([-accuracy, latency, latency**2], axis=1)[:, : len(objectives)]

    def known(genomes):
        found = costs(genomes)
        found[:, 0] = np.nan
        return found

    goals = tuple(map(parse_objective, objectives))
    return Problem(tuple(genes), (0,) * len(genes), goals, lambda g: g, known), costs


def ran(searcher: LLR, costs, n: int, batch: int = 8) -> np.ndarray:
    asked = []
    for _ in range(-(-n // batch)):
        asked.append(searcher.ask(batch))
        searcher.tell(Observations.exact(asked[-1], costs(asked[-1])))
    return np.concatenate(asked)


def made(problem, seed=0, **options) -> LLR:
    return LLR(problem, np.random.default_rng(seed), **options)


def every(problem) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(problem.sizes.prod()), problem.sizes), axis=1)


def test_reference_and_one_super_block_at_a_time_come_first() -> None:
    problem, costs = additive()
    asked = ran(made(problem, variants=5), costs, 21, batch=1)
    assert asked[0].tolist() == list(problem.reference)
    groups = asked.reshape(21, 4, 2).any(axis=2)
    assert (groups[1:].sum(axis=1) == 1).all()
    assert groups.sum(axis=0).tolist() == [5, 5, 5, 5]
    assert groups[1:5].argmax(axis=1).tolist() == [0, 1, 2, 3]  # in turn


def test_perturbations_of_the_benchmark_s_tasks_are_as_many_as_the_page_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(__file__).parents[3]
    monkeypatch.syspath_prepend(root / "benchmarks")
    tasks = import_module("search_tasks")
    planned = []
    for task in (tasks.nasbench201("cifar10", "pixel3", 2), tasks.fbnet(), tasks.chain()):
        searcher = made(task.problem(known=True))
        searcher.ask(1)
        planned.append(str(len(searcher.plan)))
    page = (root / "docs" / "searchers.md").read_text(encoding="utf-8")
    said = re.search(
        r"(\d+) networks of NAS-Bench-201, (\d+) of\s+FBNet's space \(.*\), (\d+) of the chain",
        page,
    )
    assert said is not None
    assert planned == list(said.groups())


@pytest.mark.parametrize("combine", ["dynamic", "enumerate", "random"])
def test_winners_are_the_best_within_each_budget(combine: str) -> None:
    problem, costs = additive()
    searcher = made(problem, combine=combine, draws=50_000)
    ran(searcher, costs, 33)
    truth = costs(every(problem))
    winners = searcher.winners(BUDGETS)
    assert [winner.budget for winner in winners] == BUDGETS
    for winner in winners:
        best = truth[truth[:, 1] <= winner.budget, 0].min()
        (own,) = costs(np.array([winner.genome]))
        assert own[1] <= winner.budget
        assert own[0] == pytest.approx(best, abs=0.05)
        assert winner.costs == pytest.approx(own, abs=0.3)
        assert winner.low[0] - 0.05 <= own[0] <= winner.high[0] + 0.05
        assert winner.low[1] == winner.costs[1] == winner.high[1]


def test_winners_of_each_resolution() -> None:
    problem, costs = additive(resolution=True)
    searcher = made(problem, combine="dynamic")
    ran(searcher, costs, 34)
    winners = searcher.winners([6.0])
    assert [winner.resolution for winner in winners] == [0, 1]
    assert [winner.genome[0] for winner in winners] == [0, 1]
    assert searcher.winners([0.5]) == []


def test_offers_are_winners_within_the_budgets_in_turn() -> None:
    problem, costs = additive()
    searcher = made(problem, budgets=BUDGETS, explore="none")
    ran(searcher, costs, 33, batch=1)
    winners = [winner.genome for winner in searcher.winners()]
    assert [tuple(genome) for genome in searcher.ask(3).tolist()] == winners


def test_offers_gain_on_what_was_told() -> None:
    problem, costs = additive()
    searcher = made(problem, explore="none")
    asked = ran(searcher, costs, 33, batch=1)
    offered = searcher.ask(1)
    reached = costs(asked)
    (own,) = costs(offered)
    assert not ((reached <= own).all(axis=1) & (reached < own).any(axis=1)).any()


def test_known_costs_are_looked_up_in_full_where_they_do_not_add_up() -> None:
    problem, costs = additive()

    def coupled(genomes):
        found = costs(genomes)
        found[:, 1] += 2.0 * genomes[:, 1] * genomes[:, 3]
        return found

    def known(genomes):
        return coupled(genomes) * [np.nan, 1.0]

    searcher = made(dataclasses.replace(problem, known=known), combine="dynamic")
    ran(searcher, coupled, 33)
    for winner in searcher.winners(BUDGETS):
        (own,) = coupled(np.array([winner.genome]))
        assert winner.costs[1] == own[1] <= winner.budget


def test_limits_on_known_costs_are_kept() -> None:
    problem, costs = additive(("accuracy", "latency<=4"))
    asked = ran(made(problem), costs, 64)
    assert (costs(asked[40:])[:, 1] <= 4).all()


def test_latency_that_is_unknown_is_regressed() -> None:
    problem, costs = additive()
    blind = dataclasses.replace(problem, known=lambda g: np.full((len(g), 2), np.nan))
    searcher = made(blind, combine="dynamic")
    ran(searcher, costs, 40)
    (winner,) = searcher.winners([6.0])
    (own,) = costs(np.array([winner.genome]))
    assert winner.low[1] < winner.costs[1] < winner.high[1]
    assert own[1] == pytest.approx(winner.costs[1], abs=0.3)


@pytest.mark.parametrize("objectives", [("accuracy",), ("accuracy", "latency", "params")])
def test_one_and_three_objectives(objectives) -> None:
    problem, costs = additive(objectives)
    searcher = made(problem, combine="dynamic")
    asked = ran(searcher, costs, 60)
    assert len(np.unique(asked, axis=0)) == len(asked)
    assert costs(asked)[:, 0].min() == pytest.approx(costs(every(problem))[:, 0].min(), abs=1.0)


def test_paper_s_regression_recovers_pseudo_gradients() -> None:
    """Costs that are sums of type-wise slopes are predicted exactly."""
    problem, _ = additive()
    slopes = np.random.default_rng(3).uniform(-3, 3, (4, 3))

    def costs(genomes):
        values = np.full((len(genomes), 2), 1.0)
        values[:, 0] = -70
        for block in range(4):
            kind, width = genomes[:, 2 * block], genomes[:, 2 * block + 1]
            values[:, 0] -= slopes[block, kind] * width / 2
        return values

    searcher = made(problem, regression="paper", variants=8, explore="none")
    ran(searcher, costs, 33)
    genomes = every(problem)
    mean, error = searcher.predict(genomes)
    assert mean[:, 0] == pytest.approx(costs(genomes)[:, 0])
    assert error == pytest.approx(0, abs=1e-4)
    far = searcher.moments.n[0]
    searcher.tell(Observations.exact(genomes[-1:], costs(genomes[-1:])))
    assert searcher.moments.n[0] == far  # the paper fits perturbations alone


def test_paper_leaves_the_resolution_alone() -> None:
    problem, costs = additive(resolution=True)
    asked = ran(made(problem, regression="paper", variants=2), costs, 9, batch=1)
    assert (asked[:, 0] == 0).all()


def test_paper_without_its_reference_starts_from_the_mean() -> None:
    problem, costs = additive()
    searcher = made(problem, regression="paper")
    genomes = every(problem)[1:3]
    searcher.tell(Observations.exact(genomes, costs(genomes)))
    assert searcher.predict(np.zeros((1, 8), dtype=int))[0][0, 0] == costs(genomes)[:, 0].mean()


def test_perturbations_are_learned_from_as_planned() -> None:
    """GENet's canonical form moves layers between super-blocks; the regression must not see it."""
    space = registry.create("space", "genet(resolution=192)")

    def known(genomes):
        return np.stack([np.full(len(genomes), np.nan), genomes.sum(axis=1)], axis=1)

    goals = (parse_objective("accuracy"), parse_objective("params"))
    problem = Problem(space.genes, space.reference, goals, space.canonical, known)
    searcher = made(problem, regression="paper", variants=3)
    for _ in range(22):
        genomes = searcher.ask(1)
        searcher.tell(Observations.exact(genomes, np.array([[-50.0, genomes.sum()]])))
    assert searcher.moments.n[0] == len(searcher.plan) == 22
    assert np.isfinite(searcher.anchor).all()


@pytest.mark.parametrize("space", ["genet(types=all)", "gpunet", "efficientnet_x", "moga"])
def test_spaces_of_the_papers(space: str) -> None:
    built = registry.create("space", space)
    goals = (parse_objective("accuracy"), parse_objective("latency"))
    weights = np.random.default_rng(0).uniform(0.1, 1, len(built.genes))

    def costs(genomes):
        share = genomes / np.maximum(built.sizes - 1, 1)
        return np.stack([-(share**0.5) @ weights, share @ weights[::-1]], axis=1)

    def known(genomes):
        return costs(genomes) * [np.nan, 1]

    problem = Problem(built.genes, built.reference, goals, built.canonical, known)
    searcher = made(problem, variants=3, choices=300, kept=64)
    asked = ran(searcher, costs, 48, batch=16)
    assert len(np.unique(asked, axis=0)) == 48
    assert len(searcher.winners([float(costs(asked)[:, 1].max())]))


def test_results_of_others_replace_perturbations() -> None:
    problem, costs = additive()
    searcher = made(problem, variants=5)
    theirs = every(problem)[100:118]
    searcher.tell(Observations.exact(theirs, costs(theirs)))
    asked = ran(searcher, costs, 5, batch=1)
    assert (asked.reshape(5, 4, 2).any(axis=2).sum(axis=1) <= 1).tolist()[:3] == [True] * 3
    assert searcher._asked == 3


def test_state_of_another_regression_is_refused() -> None:
    problem, _ = additive()
    state = made(problem, regression="paper").state_dict()
    with pytest.raises(FormatError, match="give the searcher the options that it had"):
        made(problem).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variants": 0}, "variants is 0; give an integer of 1 or more"),
        ({"draws": True}, "draws is True; give an integer"),
        ({"choices": 1.5}, "choices is 1.5; give an integer"),
        ({"regression": "lasso"}, "regression is 'lasso'; give 'ridge' or 'paper'"),
        ({"combine": "all"}, "combine is 'all'; give 'auto', 'dynamic', 'enumerate' or 'random'"),
        ({"explore": "ucb"}, "explore is 'ucb'; give 'thompson' or 'none'"),
        ({"budgets": []}, r"budgets are \[\]; give one or more finite numbers"),
        ({"budgets": [np.inf]}, r"budgets are \[inf\]; give one or more finite numbers"),
        ({"budgets": [9, -3]}, r"budgets are \[9, -3\], of latency, which is above 0 .* above 0"),
    ],
)
def test_options_are_checked(options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(additive()[0], **options)


def test_budgets_of_what_is_maximised_are_its_negatives() -> None:
    problem, _ = additive(("accuracy", "params:max"))
    negated = dataclasses.replace(problem, known=lambda genomes: -problem.known(genomes))
    assert made(negated, budgets=[-3]).budgets == (-3.0,)


@pytest.mark.parametrize("combine", ["enumerate", "dynamic"])
def test_budgets_below_all_known_costs_are_refused(combine) -> None:
    problem, _ = additive()  # its cheapest network costs 1
    with pytest.raises(UsageError, match="but no network costs less than 1; give a budget of that"):
        made(problem, budgets=[0.5, 1e-7], combine=combine)
    assert made(problem, budgets=[0.5, 1.0], combine=combine).budgets == (0.5, 1.0)


def test_the_closest_is_asked_for_where_nothing_is_predicted_within_the_budgets() -> None:
    problem, costs = additive()
    blind = dataclasses.replace(problem, known=lambda g: np.full((len(g), 2), np.nan))
    searcher = made(blind, budgets=[1e-7], explore="none", variants=3)
    ran(searcher, costs, 48)
    asked = costs(searcher.ask(1))
    everything = costs(every(problem))
    assert asked[0, 1] < np.quantile(everything[:, 1], 0.05)


def test_what_cannot_be_done_is_said() -> None:
    single, _ = additive(("accuracy",))
    with pytest.raises(UsageError, match="budgets need a second objective"):
        made(single, budgets=[1.0])
    with pytest.raises(UsageError, match="nothing to predict from: tell two exact results"):
        made(additive()[0]).predict(np.zeros((1, 8), dtype=int))
    with pytest.raises(UsageError, match="say within which budgets"):
        made(additive()[0]).winners()
    genes = tuple(Gene(f"g{i}", f"g{i}", "categorical", tuple(range(9))) for i in range(6))
    goals = (parse_objective("accuracy"), parse_objective("latency"))
    large = Problem(genes, (0,) * 6, goals, lambda g: g, lambda g: np.full((len(g), 2), np.nan))
    with pytest.raises(UsageError, match="531441 genomes are too many to enumerate"):
        made(large, combine="enumerate")
    with pytest.raises(UsageError, match="the paper's regression needs ordinal genes"):
        made(large, regression="paper")


@pytest.mark.parametrize(
    ("kind", "genes", "size"),
    [("ordinal", 30, 6), ("categorical", 25, 6), ("ordinal", 70, 2), ("categorical", 70, 2)],
)
def test_a_super_block_may_be_larger_than_numpy_can_count(kind, genes, size) -> None:
    listed = tuple(Gene(f"g{i}", "all", kind, tuple(range(size))) for i in range(genes))
    problem = dataclasses.replace(make_problem(), genes=listed, reference=(0,) * genes)
    searcher = LLR(problem, np.random.default_rng(0))
    for _ in range(6):
        genomes = searcher.ask(4)
        assert len(genomes) == 4
        searcher.tell(Observations.exact(genomes, true_costs(genomes)))
    if kind == "categorical":
        with pytest.raises(UsageError, match="types, too many for slopes of their own"):
            LLR(problem, np.random.default_rng(0), regression="paper")
