import numpy as np
import pytest

from moga.searchers.crowding import survive, weighted_crowding

INF = np.inf


def test_gaps_are_weighted_and_normalised_by_the_ranges_given() -> None:
    front = np.array([[0, 8.0], [1, 4], [3, 1], [4, 0]])
    distance = weighted_crowding(front, np.array([0.5, 2.0]), np.array([10.0, 16.0]))
    assert distance.tolist() == pytest.approx(
        [INF, 0.5 * 3 / 10 + 2 * 7 / 16, 0.5 * 3 / 10 + 2 * 4 / 16, INF]
    )


def test_what_does_not_count_keeps_no_boundary() -> None:
    front = np.array([[0, 5, 3.0], [1, 5, 9], [2, 5, 1], [3, 5, 2]])
    distance = weighted_crowding(front, np.array([1.0, 1.0, 0.0]), np.array([3.0, 0.0, 8.0]))
    assert distance.tolist() == pytest.approx([INF, 2 / 3, 2 / 3, INF])


def textbook_survivors(costs: np.ndarray, n: int) -> tuple[set[int], set[int]]:
    """Deb et al. 2002, written plainly; ranges are those of the whole population.

    Returns who survives for certain, and who is left to chance by a tie at the last place (several
    boundary points of the front that is split).
    """
    certain: set[int] = set()
    left = set(range(len(costs)))
    ranges = costs.max(axis=0) - costs.min(axis=0)
    while True:
        front = [
            i
            for i in left
            if not any(all(costs[j] <= costs[i]) and any(costs[j] < costs[i]) for j in left)
        ]
        if len(certain) + len(front) > n:
            break
        certain |= set(front)
        left -= set(front)
    if len(certain) == n:
        return certain, set()
    distance = dict.fromkeys(front, 0.0)
    for m in range(costs.shape[1]):
        ordered = sorted(front, key=lambda i: costs[i, m])
        distance[ordered[0]] = distance[ordered[-1]] = INF
        for before, i, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
            distance[i] += (costs[after, m] - costs[before, m]) / ranges[m]
    last = sorted(distance.values(), reverse=True)[n - len(certain) - 1]
    certain |= {i for i in front if distance[i] > last}
    tied = {i for i in front if distance[i] == last}
    return (certain | tied, set()) if len(certain | tied) == n else (certain, tied)


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_equal_weights_are_unweighted_nsga2(objectives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.random((60, objectives)) * [1, 100, 0.01][:objectives]
    weights = np.full(objectives, 0.3)
    rows, rank, _ = survive(costs, np.zeros(60), weights, 29, rng)
    certain, tied = textbook_survivors(costs, 29)
    chosen = set(rows.tolist())
    assert len(chosen) == 29
    assert certain <= chosen <= certain | tied
    assert (np.diff(rank) >= 0).all()


def test_most_populations_leave_nothing_to_chance() -> None:
    clear = [textbook_survivors(np.random.default_rng(s).random((60, 2)), 29)[1] for s in range(10)]
    assert sum(not tied for tied in clear) >= 5


def test_duplicates_are_crowded_like_others_not_filtered() -> None:
    costs = np.array([[0, 4.0], [1, 3], [2, 2], [2, 2], [3, 1], [4, 0]])
    _, _, crowding = survive(costs, np.zeros(6), np.ones(2), 6, np.random.default_rng(0))
    # gaps of the two copies: to the neighbour on one side, 0 to the copy
    assert sorted(crowding.tolist()) == pytest.approx([0.5, 0.5, 1.0, 1.0, INF, INF])


def test_weights_decide_who_is_lonely() -> None:
    costs = np.array([[0, 10.0], [1, 5], [1.2, 4.9], [6, 4.8], [10, 0]])
    first, *_ = survive(costs, np.zeros(5), np.array([1.0, 0.01]), 3, np.random.default_rng(0))
    second, *_ = survive(costs, np.zeros(5), np.array([0.01, 1.0]), 3, np.random.default_rng(0))
    assert set(first.tolist()) == {0, 3, 4}
    assert set(second.tolist()) == {0, 1, 4}


def test_ranges_are_those_of_the_population_not_of_the_front() -> None:
    front = [[0, 3.0], [1.0, 2.5], [1.5, 1.0], [3, 0]]
    far = [[3000.0, 4]]  # stretches the first objective, and is dominated
    weights, rng = np.ones(2), np.random.default_rng(0)
    rows, _, crowding = survive(np.array(front + far), np.zeros(5), weights, 5, rng)
    found = dict(zip(rows.tolist(), crowding.tolist(), strict=True))
    assert found[1] == pytest.approx(1.5 / 3000 + 2 / 4)
    assert found[2] == pytest.approx(2 / 3000 + 2.5 / 4)


def test_feasible_first_then_smaller_violation() -> None:
    costs = np.array([[0, 0], [np.nan, 0], [5, 5], [4, 6], [1, 1.0]])
    violations = np.array([0.3, 0.1, 0, 0, 0.2])
    rows, rank, crowding = survive(costs, violations, np.ones(2), 4, np.random.default_rng(0))
    assert set(rows[:2].tolist()) == {2, 3}
    assert rows[2:].tolist() == [1, 4]
    assert rank.tolist() == [0, 0, 1, 2]
    assert crowding[2:].tolist() == [0, 0]


def test_all_infeasible_or_nobody() -> None:
    rng = np.random.default_rng(0)
    rows, rank, _ = survive(np.zeros((3, 2)), np.array([3, 1, 2.0]), np.ones(2), 2, rng)
    assert (rows.tolist(), rank.tolist()) == ([1, 2], [0, 1])
    rows, *_ = survive(np.zeros((0, 2)), np.zeros(0), np.ones(2), 2, rng)
    assert rows.tolist() == []


def test_one_objective() -> None:
    costs = np.array([[3.0], [1.0], [2.0], [0.0]])
    rows, *_ = survive(costs, np.zeros(4), np.ones(1), 2, np.random.default_rng(0))
    assert rows.tolist() == [3, 1]


def test_whole_fronts_are_sorted_by_crowding_too() -> None:
    costs = np.array([[0.0, 1.0], [0.1, 0.9], [0.2, 0.5], [1.0, 0.0], [1.1, 1.1]])
    rows, rank, crowding = survive(costs, np.zeros(5), np.ones(2), 5, np.random.default_rng(0))
    assert rows.tolist() == [0, 3, 2, 1, 4]
    assert rank.tolist() == [0, 0, 0, 0, 1]
    assert crowding[2] > crowding[3]
