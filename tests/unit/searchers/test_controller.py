import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from moga.contracts import Observations, parse_objective
from moga.errors import FormatError, UsageError
from moga.searchers.controller import Controller, _Learner, _Policy, accuracy_reward
from moga.searchers.random import RandomSearch
from moga.testing.searchers import make_problem, true_costs

SMALL = {"hidden": 16, "batch": 10}


def made(problem=None, seed=0, **options) -> Controller:
    problem = problem or make_problem((6,) * 6)
    return Controller(problem, np.random.default_rng(seed), **{**SMALL, **options})


def run(searcher, n, batch=10, objectives=2) -> np.ndarray:
    asked = []
    while sum(map(len, asked)) < n:
        asked.append(searcher.ask(batch))
        searcher.tell(Observations.exact(asked[-1], true_costs(asked[-1], objectives)))
    return np.concatenate(asked)


def test_reward_by_hand() -> None:
    accuracy, latency = np.array([80.0, 80, 80]), np.array([50.0, 100, 200])
    soft = accuracy_reward(accuracy, latency, 100.0, -0.07)
    assert soft == pytest.approx([83.977, 80, 76.211], abs=1e-3)
    data_centre = accuracy_reward(accuracy, latency, 100.0, -0.09)
    assert data_centre == pytest.approx([85.149, 80, 75.162], abs=1e-3)
    assert accuracy_reward(accuracy, latency, 100.0, -0.07, hard=True).tolist() == [80, 80, 40]
    targets = np.array([50.0, 50, 400])
    assert accuracy_reward(accuracy, latency, targets, -1.0) == pytest.approx([80, 40, 160])


def test_latency_of_nothing_is_not_worth_infinity() -> None:
    assert accuracy_reward(np.array([50.0]), np.array([0.0]), 1.0, -1.0) == pytest.approx([5e4])


def test_several_targets_have_the_hard_form() -> None:
    assert made(targets=[2.0, 3]).hard
    assert not made(targets=[2.0]).hard
    assert not made(targets=[2.0, 3], hard=False).hard


def test_rewards_of_failures() -> None:
    searcher = made(targets=[2.0])
    costs = np.array([[-70.0, 2.0], [np.nan, np.nan], [np.nan, 3.0]])
    assert searcher.rewards(costs, np.zeros(3, dtype=int)).tolist() == [70, 0, 0]
    scalar = made(make_problem((6,) * 6, 3), targets=2)
    scalar.units = np.array([[-50.0, 2, 100], [10.0, 1, 50]])
    rows = np.array([[-60.0, 1, 100], [-30, 3, 100], [np.nan, 3, 3]])
    goals = np.zeros(3, dtype=int)
    scalar.goals = np.array([[1.0, 2, 0.5], [1, 1, 1]])
    assert scalar.rewards(rows, goals) == pytest.approx([3, -4, -4])


def test_default_targets_are_latencies_of_the_space() -> None:
    problem = make_problem((6,) * 6)
    searcher = made(problem)
    sample = np.random.default_rng(1).integers(0, 6, (4000, 6))
    latencies = true_costs(sample)[:, 1]
    shares = [(latencies <= target).mean() for target in searcher.goals]
    assert shares == pytest.approx([0.05, 0.2625, 0.475, 0.6875, 0.9], abs=0.05)
    assert len(made(targets=1).goals) == 1
    assert made(targets=[1.5, 3]).goals.tolist() == [1.5, 3]


def test_targets_come_from_the_first_results_where_latency_is_unknown() -> None:
    searcher = made(make_problem((6,) * 6, known=False), targets=3)
    assert np.isnan(searcher.goals).all()
    asked = run(searcher, 10)
    expected = np.quantile(true_costs(asked)[:, 1], [0.05, 0.475, 0.9])
    assert searcher.goals == pytest.approx(expected)


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_policy_learns_what_is_good(algorithm: str) -> None:
    """A bandit: four values a gene, reward the share of genes that hold the last one."""
    policy = _Policy(np.full(5, 4), goals=1, hidden=16, seed=0)
    learner = _Learner(policy, algorithm, rate=0.02, entropy=0.0, epochs=4, clip=0.2)
    goals = np.zeros(20, dtype=np.int64)
    for _ in range(60):
        genomes, odds = policy.draw(goals, 1.0)
        rewards = (genomes == 3).mean(axis=1)
        learner.step(genomes, goals, odds, (rewards - rewards.mean()) / (rewards.std() + 1e-6))
    assert (policy.draw(goals, 1.0)[0] == 3).mean() > 0.9


def test_policy_writes_for_its_target() -> None:
    policy = _Policy(np.full(4, 3), goals=2, hidden=16, seed=0)
    learner = _Learner(policy, "ppo", rate=0.02, entropy=0.0, epochs=4, clip=0.2)
    goals = np.arange(20) % 2
    for _ in range(80):
        genomes, odds = policy.draw(goals, 1.0)
        rewards = (genomes == 2 * goals[:, None]).mean(axis=1)
        learner.step(genomes, goals, odds, (rewards - rewards.mean()) / (rewards.std() + 1e-6))
    genomes, _ = policy.draw(goals, 1.0)
    assert (genomes == 2 * goals[:, None]).mean() > 0.9


def test_entropy_keeps_a_policy_from_converging() -> None:
    left = []
    for bonus in (0.0, 1.0):
        policy = _Policy(np.full(3, 4), goals=1, hidden=16, seed=0)
        learner = _Learner(policy, "ppo", rate=0.02, entropy=bonus, epochs=4, clip=0.2)
        goals = np.zeros(20, dtype=np.int64)
        for _ in range(60):
            genomes, odds = policy.draw(goals, 1.0)
            learner.step(genomes, goals, odds, (genomes == 0).mean(axis=1) - 0.5)
        left.append(float(policy.odds(genomes, goals)[1].detach()))
    assert left[0] < 0.3
    assert left[1] > 0.6


def test_probabilities_are_those_of_the_draws() -> None:
    policy = _Policy(np.array([2, 3]), goals=1, hidden=8, seed=1)
    policy.parameters["output_bias"].data = torch.tensor([1.0, -1, 0.5, 0, -2])
    every = np.stack(np.unravel_index(np.arange(6), (2, 3)), axis=1)
    odds, _ = policy.odds(every, np.zeros(6, dtype=np.int64))
    shares = odds.detach().exp().numpy()
    assert shares.sum() == pytest.approx(1)
    drawn, own = policy.draw(np.zeros(20_000, dtype=np.int64), 1.0)
    rows = drawn @ [3, 1]
    assert np.bincount(rows, minlength=6) / 20_000 == pytest.approx(shares, abs=0.015)
    assert np.exp(own) == pytest.approx(shares[rows], rel=1e-4)
    flat, _ = policy.draw(np.zeros(20_000, dtype=np.int64), 1e6)
    assert np.bincount(flat @ [3, 1], minlength=6) / 20_000 == pytest.approx(1 / 6, abs=0.015)


def test_adam_is_torch_s() -> None:
    policies = [_Policy(np.full(3, 4), goals=1, hidden=8, seed=0) for _ in range(2)]
    learner = _Learner(policies[0], "reinforce", rate=0.01, entropy=0.1, epochs=1, clip=0.2)
    adam = torch.optim.Adam(policies[1].parameters.values(), lr=0.01)
    goals = np.zeros(8, dtype=np.int64)
    genomes, odds = policies[0].draw(goals, 1.0)
    gains = np.linspace(-1, 1, 8)
    for _ in range(3):
        learner.step(genomes, goals, odds, gains)
        now, entropy = policies[1].odds(genomes, goals)
        weight = torch.exp(now.detach() - torch.from_numpy(odds).float()).clamp(max=2)
        loss = -(weight * torch.from_numpy(gains).float() * now).mean() - 0.1 * entropy
        adam.zero_grad()
        loss.backward()
        adam.step()
    for name, parameter in policies[0].parameters.items():
        other = policies[1].parameters[name].detach().numpy()
        assert parameter.detach().numpy() == pytest.approx(other, abs=1e-5)


def test_better_than_random_on_a_large_space() -> None:
    """Mean reward of the last 100 of 400 evaluations, for one target."""
    problem = make_problem((8,) * 8)
    target = [10.0]

    def late(searcher):
        costs = true_costs(run(searcher, 400)[-100:])
        return accuracy_reward(-costs[:, 0], costs[:, 1], target[0], -0.07).mean()

    ours = late(made(problem, targets=target, hidden=32))
    chance = late(RandomSearch(problem, np.random.default_rng(0)))
    assert ours > 1.25 * chance


def test_repeats_are_learned_from_and_not_offered() -> None:
    searcher = made(make_problem((3, 3, 3, 3)), targets=[5.0], entropy=0.0)
    asked = run(searcher, 70)
    assert len(np.unique(asked, axis=0)) == len(asked)
    assert searcher.repeats > 10
    steps = searcher.learner.steps / searcher.learner.epochs
    assert steps * 10 + len(searcher._buffer) > 70 - 25  # what the base offers is not learned from


def test_only_repeats_move_the_policy_between_tells() -> None:
    problem = make_problem((2, 2, 2))
    searcher = made(problem, targets=[1.0], batch=4)
    every = np.stack(np.unravel_index(np.arange(8), (2, 2, 2)), axis=1)
    searcher.tell(Observations.exact(every[:7], true_costs(every[:7])))
    assert (searcher.learner.steps, searcher._buffer) == (0, [])  # others' results: left out
    assert searcher.ask(8).tolist() == [[1, 1, 1]]
    assert searcher.repeats > 0
    assert searcher.learner.steps + len(searcher._buffer) > 0


def test_failures_and_limits_teach_reward_0() -> None:
    searcher = made(targets=[5.0])
    genomes = searcher.ask(10)
    costs = true_costs(genomes)
    costs[:3] = np.nan
    violations = np.where(np.arange(10) == 4, 0.5, 0.0)
    told = Observations.exact(genomes, costs)
    told = dataclasses.replace(told, violations=violations, bounded=np.arange(10) == 9)
    searcher.tell(told)
    assert np.isnan([row[0] for _, row in searcher._buffer]).sum() == 4
    assert len(searcher._buffer) == 9
    assert not searcher._pending


def test_three_objectives_have_weights_for_targets() -> None:
    searcher = made(make_problem((6,) * 6, 3), targets=4)
    assert searcher.goals.shape == (4, 3)
    assert searcher.goals.sum(axis=1) == pytest.approx(1)
    run(searcher, 40, objectives=3)
    assert searcher.learner.steps > 0
    problem = make_problem((6,) * 6)
    goals = (parse_objective("accuracy"), parse_objective("params:max"))
    both = made(dataclasses.replace(problem, objectives=goals), targets=3)
    assert both.goals.tolist() == [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    assert made(make_problem((6,) * 6, 1)).goals.tolist() == [[1]]


def test_columns_may_stand_the_other_way_round() -> None:
    problem = make_problem((6,) * 6)
    swapped = dataclasses.replace(
        problem,
        objectives=problem.objectives[::-1],
        known=lambda genomes: problem.known(genomes)[:, ::-1],
    )
    costs = np.array([[4.0, -60.0]])
    assert made(swapped, targets=[4.0]).rewards(costs, np.zeros(1, dtype=int)).tolist() == [60]


def test_state_of_another_policy_is_refused() -> None:
    state = made(hidden=8).state_dict()
    with pytest.raises(FormatError, match=r"weights 'tokens' of shape \(41, 16\) were expected"):
        made().load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "a2c"}, "algorithm is 'a2c'; give 'ppo' or 'reinforce'"),
        ({"batch": 0}, "batch is 0; give an integer of 1 or more"),
        ({"targets": 0}, "targets is 0; give an integer of 1 or more"),
        ({"targets": "fast"}, "targets are 'fast'; give numbers"),
        ({"targets": [0.0]}, r"targets are \[0.0\]; give numbers above 0"),
        ({"targets": []}, r"targets are \[\]; give numbers above 0"),
        ({"exponent": 0.07}, "exponent w is 0.07; give a number of 0 or less"),
        ({"learning_rate": 0}, "learning_rate is 0; give a number above 0"),
        ({"entropy": -1}, "entropy is -1; give a number of 0 or more"),
        ({"clip": 1}, "clip is 1; give a number between 0 and 1"),
    ],
)
def test_options_are_checked(options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(**options)


def test_targets_need_accuracy_and_one_minimised_objective() -> None:
    with pytest.raises(UsageError, match="targets are for accuracy and one minimised objective"):
        made(make_problem((6,) * 6, 3), targets=[3.0])


def test_torch_is_imported_late() -> None:
    code = "import moga.searchers.controller, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
