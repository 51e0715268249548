import numpy as np
import pytest

from moga.contracts import Gene, Problem, parse_objective
from moga.errors import FormatError, UsageError
from moga.searchers.mutation import HierarchicalMutation, Policy, Rates

GENES = (
    Gene("a", "one", "categorical", tuple(range(12)), factors=(2, 3, 2)),
    Gene("b", "one", "categorical", tuple(range(4))),
    Gene("fixed", "two", "categorical", (0,)),
)
OBJECTIVES = (parse_objective("accuracy"), parse_objective("latency"))


def known(genomes: np.ndarray) -> np.ndarray:
    """Latency grows with gene b alone; accuracy needs an evaluation."""
    return np.stack([np.full(len(genomes), np.nan), 1.0 + genomes[:, 1]], axis=1)


def unknown(genomes: np.ndarray) -> np.ndarray:
    return np.full((len(genomes), 2), np.nan)


def mutation(known=known, genes=GENES, **rates: float) -> HierarchicalMutation:
    problem = Problem(genes, (0,) * len(genes), OBJECTIVES, lambda g: g, known)
    return HierarchicalMutation(problem, Rates(**rates), step=0.5)


ALWAYS = {"mutation": 1.0}
RANDOM = {**ALWAYS, "random": 1.0, "reinforced": 0.0, "prior": 0.0}
PRIOR = {**ALWAYS, "random": 0.0, "reinforced": 0.0, "prior": 1.0}
CONTROLLER = {**ALWAYS, "random": 0.0, "reinforced": 1.0, "prior": 0.0, "controller": 1.0}
WHEEL = {**CONTROLLER, "controller": 0.0}
START = np.tile([5, 1, 0], (4000, 1))
CROSSED = np.ones(len(START), dtype=bool)


@pytest.mark.parametrize("rates", [RANDOM, PRIOR, CONTROLLER, WHEEL], ids=["r", "p", "c", "w"])
def test_one_gene_changes_and_stays_in_range(rates: dict[str, float]) -> None:
    mutated = mutation(**rates).mutate(START, np.random.default_rng(0), crossed=CROSSED)
    assert ((mutated != START).sum(axis=1) == 1).all()
    assert (mutated >= 0).all()
    assert (mutated < [12, 4, 1]).all()
    assert (START == [5, 1, 0]).all()


def test_share_that_mutates() -> None:
    crossed = np.arange(len(START)) < 3000
    mutated = mutation().mutate(START, np.random.default_rng(0), crossed=crossed)
    changed = (mutated != START).any(axis=1)
    assert changed[crossed].mean() == pytest.approx(0.4, abs=0.03)
    assert changed[~crossed].all()  # like a parent: as it is, it would be evaluated twice


def test_one_gene_of_those_that_can_change_is_mutated() -> None:
    mutated = mutation(**RANDOM).mutate(START, np.random.default_rng(0), crossed=CROSSED)
    assert ((mutated != START).sum(axis=1) == 1).all()
    assert (mutated[:, 2] == 0).all()  # a gene of one value


def test_random_mutation_changes_one_factor() -> None:
    mutated = mutation(**RANDOM).mutate(START, np.random.default_rng(0), crossed=CROSSED)
    values = mutated[mutated[:, 0] != 5, 0]
    digits = np.stack(np.unravel_index(values, (2, 3, 2)), axis=1)
    own = np.array(np.unravel_index(5, (2, 3, 2)))
    assert ((digits != own).sum(axis=1) == 1).all()
    which = (digits != own).argmax(axis=1)
    assert np.bincount(which, minlength=3) / len(which) == pytest.approx([1 / 3] * 3, abs=0.04)


def test_roulette_wheel_prefers_what_is_known_to_be_cheap() -> None:
    mutated = mutation(**WHEEL).mutate(START, np.random.default_rng(0), crossed=CROSSED)
    counts = np.bincount(mutated[mutated[:, 1] != 1, 1], minlength=4)
    assert counts[0] > counts[2] > counts[3] > 0
    assert counts[1] == 0


def test_without_known_costs_the_wheel_is_the_controller() -> None:
    wheel, controller = mutation(unknown, **WHEEL), mutation(unknown, **CONTROLLER)
    rngs = np.random.default_rng(0), np.random.default_rng(0)
    assert (
        wheel.mutate(START, rngs[0], crossed=CROSSED)
        == controller.mutate(START, rngs[1], crossed=CROSSED)
    ).all()


def results(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy is high where gene a is 7; latency, known, would reward the opposite."""
    genomes = np.random.default_rng(seed).integers(0, [12, 4, 1], size=(n, 3))
    good = genomes[:, 0] == 7
    return genomes, np.stack([np.where(good, -90.0, -10.0), np.where(good, 99.0, 1.0)], axis=1)


def test_controller_learns_the_cost_that_needs_an_evaluation() -> None:
    learner = mutation(**CONTROLLER)
    for seed in range(30):
        learner.learn(*results(70, seed), np.empty((0, 3), dtype=np.int64))
    probabilities = learner.policy.probabilities
    assert probabilities[0].argmax() == 7
    assert probabilities[0, 7] > 0.5
    assert probabilities.sum(axis=1) == pytest.approx([1, 1, 1])
    assert probabilities[1, 4:].tolist() == [0] * 8
    mutated = learner.mutate(START, np.random.default_rng(0), crossed=CROSSED)
    assert (mutated[mutated[:, 0] != 5, 0] == 7).mean() > 0.4


def test_equal_rewards_teach_nothing() -> None:
    policy = Policy(np.array([3, 2]), step=1.0)
    policy.learn(np.array([[0, 0], [1, 1]]), np.array([2.0, 2.0]))
    assert policy.probabilities[0].tolist() == pytest.approx([1 / 3] * 3)


def test_prior_repeats_what_the_front_holds() -> None:
    learner = mutation(**PRIOR)
    front = np.tile([3, 2, 0], (20, 1))
    learner.learn(*results(10, 0), front)
    mutated = learner.mutate(START, np.random.default_rng(0), crossed=CROSSED)
    assert (mutated[mutated[:, 0] != 5, 0] == 3).mean() == pytest.approx(21 / 31, abs=0.04)
    assert (mutated[mutated[:, 1] != 1, 1] == 2).mean() == pytest.approx(21 / 23, abs=0.04)


def test_space_of_one_genome_has_no_mutants() -> None:
    frozen = mutation(unknown, genes=(GENES[2],))
    assert (
        frozen.mutate(np.zeros((3, 1), int), np.random.default_rng(0), crossed=CROSSED[:3]).tolist()
        == [[0]] * 3
    )


def test_state_holds_what_was_learned() -> None:
    first, second = mutation(), mutation()
    first.learn(*results(50, 0), START[:4])
    second.load_state_dict(first.state_dict())
    assert (second.policy.probabilities == first.policy.probabilities).all()
    assert (second.prior == first.prior).all()
    with pytest.raises(FormatError, match=r"controller of shape \(1, 1\) was expected"):
        mutation(unknown, genes=(GENES[2],)).load_state_dict(first.state_dict())


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(UsageError, match=r"rate controller is 1\.5; give a number from 0 to 1"):
        Rates(controller=1.5)
    with pytest.raises(UsageError, match=r"must sum to 1"):
        Rates(random=0.5)
