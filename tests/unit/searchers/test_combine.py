import itertools

import numpy as np
import pytest

from moga.pareto import hypervolume
from moga.searchers.combine import added_area, best_combinations, undominated


def groups(seed: int, sizes=(4, 6, 5, 3)) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=n) for n in sizes], [rng.normal(size=n) for n in sizes]


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_trying_all_combinations(seed: int) -> None:
    latencies, scores = groups(seed)
    picked, latency, score = best_combinations(latencies, scores, most=10_000)
    every = np.array(list(itertools.product(*(range(len(group)) for group in latencies))))
    total = sum(group[choice] for group, choice in zip(latencies, every.T, strict=True))
    worth = sum(group[choice] for group, choice in zip(scores, every.T, strict=True))
    for budget in np.quantile(total, [0, 0.01, 0.1, 0.5, 1]):
        best = worth[total <= budget + 1e-9].max()
        assert score[latency <= budget + 1e-9].max() == pytest.approx(best)
    own = [g[c] for g, c in zip(latencies, picked.T, strict=True)]
    assert sum(own) == pytest.approx(latency)
    assert (np.diff(latency) > 0).all()
    assert (np.diff(score) > 0).all()


def test_thinned_combinations_lose_an_interval_a_group_at_most() -> None:
    latencies, scores = groups(0, (30,) * 6)
    _, latency, score = best_combinations(latencies, scores, most=16)
    _, exact_latency, exact_score = best_combinations(latencies, scores, most=10**6)
    assert len(latency) <= 16 < len(exact_latency)
    assert (latency[0], score[-1]) == pytest.approx((exact_latency[0], exact_score[-1]))
    interval = sum(np.ptp(group) for group in latencies) / 14
    for at, best in zip(exact_latency, exact_score, strict=True):
        assert score[latency <= at + 6 * interval].max() >= best - 1e-9


def test_no_groups_make_the_empty_combination() -> None:
    picked, latency, score = best_combinations([], [], 8)
    assert (picked.shape, latency.tolist(), score.tolist()) == ((1, 0), [0], [0])


def test_undominated_rows() -> None:
    latency, score = np.array([2.0, 1, 3, 1, 2]), np.array([5.0, 1, 5, 2, 4])
    assert undominated(latency, score).tolist() == [3, 0]


def test_added_area_by_hand() -> None:
    front = np.array([[1.0, 3], [2, 1], [2, 2]])  # the last is dominated
    corner = np.array([4.0, 4.0])
    points = np.array([[0.0, 3.5], [1.5, 2], [3, 3], [3, 0], [5, 0]])
    assert added_area(points, front, corner).tolist() == [0.5, 0.5, 0, 1, 0]
    assert added_area(points[:1], front[:0], corner).tolist() == [2]


def test_added_area_is_the_gain_of_hypervolume() -> None:
    rng = np.random.default_rng(0)
    front, points = rng.random((20, 2)), rng.random((50, 2))
    before = hypervolume(front, [1, 1])
    gains = [hypervolume(np.concatenate([front, [p]]), [1, 1]) - before for p in points]
    assert added_area(points, front, np.ones(2)) == pytest.approx(gains)
