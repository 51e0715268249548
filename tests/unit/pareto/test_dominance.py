import numpy as np
import pytest

from moga.errors import UsageError
from moga.pareto.dominance import hypervolume, nondominated, nondominated_ranks

NAN = np.nan


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def test_nondominated_keeps_all_copies_and_never_a_failed_row() -> None:
    costs = [[1, 3], [2, 1], [2, 2], [1, 3], [NAN, 0], [-np.inf, 0]]
    assert nondominated(costs).tolist() == [True, True, False, True, False, False]


def test_failed_rows_do_not_dominate() -> None:
    assert nondominated([[NAN, 0], [5, 5]]).tolist() == [False, True]


def test_nothing_is_nondominated_among_nothing() -> None:
    assert nondominated(np.empty((0, 2))).tolist() == []
    assert nondominated([[NAN, NAN]]).tolist() == [False]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_ranks_peel_fronts_one_by_one(objectives: int) -> None:
    costs = np.random.default_rng(objectives).integers(0, 6, size=(40, objectives)).astype(float)
    expected, left, rank = np.full(40, -1), list(range(40)), 0
    while left:
        front = [i for i in left if not any(dominates(costs[j], costs[i]) for j in left)]
        expected[front] = rank
        left, rank = [i for i in left if i not in front], rank + 1
    assert nondominated_ranks(costs).tolist() == expected.tolist()
    assert (nondominated(costs) == (expected == 0)).all()


def test_failed_rows_rank_last() -> None:
    assert nondominated_ranks([[NAN, 0], [1, 1], [2, 2]]).tolist() == [3, 0, 1]


def test_hypervolume_of_a_hand_computed_front() -> None:
    # boxes (4-1)x(4-3) and (4-2)x(4-1), overlapping in (4-2)x(4-3)
    assert hypervolume([[1, 3], [2, 1], [3, 3], [NAN, 0]], [4, 4]) == pytest.approx(3 + 6 - 2)


def test_hypervolume_beyond_the_reference_is_nothing() -> None:
    assert hypervolume([[5, 0], [4, 1]], [4, 4]) == 0
    assert hypervolume(np.empty((0, 2)), [4, 4]) == 0


def test_hypervolume_of_one_objective() -> None:
    assert hypervolume([[1.0], [3.0]], [4.0]) == pytest.approx(3)


def test_normalised_hypervolume_is_a_share_of_the_box() -> None:
    assert hypervolume([[2, 2]], [4, 4], ideal=[0, 0]) == pytest.approx(0.25)
    assert hypervolume([[0, 0]], [4, 4], ideal=[0, 0]) == pytest.approx(1)
    assert hypervolume([[-9, 2]], [4, 4], ideal=[0, 0]) == pytest.approx(0.5)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"costs must have the shape \(n, objectives\); got \(3,\)"
    ):
        nondominated([1, 2, 3])
    with pytest.raises(UsageError, match="reference point must be 2 finite costs"):
        hypervolume([[1, 2]], [4])
    with pytest.raises(UsageError, match="ideal point must be 2 finite costs"):
        hypervolume([[1, 2]], [4, 4], ideal=[0, NAN])
    with pytest.raises(UsageError, match=r"ideal point \[0.0, 4.0\] must be below the reference"):
        hypervolume([[1, 2]], [4, 4], ideal=[0, 4])
