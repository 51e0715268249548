import itertools

import numpy as np
import pytest

from moga.errors import UsageError
from moga.pareto.choose import _nearest_distinct, equal_distance, knee, under_budgets

NAN = np.nan
LINE = np.array([[10.0 - i, float(i)] for i in range(11)])


def test_equal_distance_along_a_straight_front() -> None:
    assert equal_distance(LINE, 3).tolist() == [0, 5, 10]
    assert equal_distance(LINE, 6).tolist() == [0, 2, 4, 6, 8, 10]
    assert equal_distance(LINE, 2).tolist() == [0, 10]
    assert equal_distance(LINE, 1).tolist() == [5]


def test_equal_distance_does_not_depend_on_units_or_order() -> None:
    order = np.random.default_rng(0).permutation(11)
    chosen = equal_distance((LINE * [1000, 0.001])[order], 3)
    assert order[chosen].tolist() == [0, 5, 10]


def test_distance_is_arc_length_not_latency() -> None:
    # an L: down along accuracy, then along latency; half of the way is the corner
    bend = [[1.0, 0.0], [0.5, 0.001], [0.0, 0.002], [-0.001, 0.5], [-0.002, 1.0]]
    assert equal_distance(bend, 3).tolist() == [0, 2, 4]


def test_projection_drops_dominated_equal_and_failed_rows() -> None:
    costs = [[1, 1], [0, 2], [0, 2], [2, 2], [NAN, 0], [-1, 3]]
    assert equal_distance(costs, 9).tolist() == [0, 1, 5]
    assert equal_distance([[NAN, NAN]], 2).tolist() == []


def test_members_are_distinct_where_the_front_is_uneven() -> None:
    costs = [[3, 0.0], [2.99, 0.01], [2.98, 0.02], [0, 9]]
    chosen = equal_distance(costs, 3)
    assert chosen[0] == 0
    assert chosen[-1] == 3
    assert len(set(chosen.tolist())) == 3


def test_nearest_distinct_is_the_best_of_all_choices() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        along = np.sort(rng.random(8))
        targets = np.sort(rng.random(4))
        best = min(sum(abs(along[list(c)] - targets)) for c in itertools.combinations(range(8), 4))
        chosen = _nearest_distinct(along, targets)
        assert (np.diff(chosen) > 0).all()
        assert abs(along[chosen] - targets).sum() == pytest.approx(best)


def test_equal_distance_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(UsageError, match="along two costs, accuracy and latency; got 3 columns"):
        equal_distance(np.zeros((4, 3)), 2)
    with pytest.raises(UsageError, match="k is 0; choose 1 or more"):
        equal_distance(LINE, 0)


def test_under_budgets_takes_the_best_first_objective() -> None:
    costs = [[-80, 5], [-70, 1], [-80, 4], [-99, NAN], [-90, 9]]
    assert under_budgets(costs, 1, [0.5, 1, 4.5, 100]) == [None, 1, 2, 4]


def test_under_budgets_refuses_an_unknown_column() -> None:
    with pytest.raises(UsageError, match="column is 2; these costs have columns 0 to 1"):
        under_budgets(LINE, 2, [1])


def test_knee_is_farthest_from_the_chord() -> None:
    assert knee([[0, 10], [1, 2], [2, 1.9], [10, 0], [NAN, -5], [9, 9]]) == 1
    assert knee([[3, 3]]) == 0


def test_knee_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one valid row"):
        knee([[NAN, 1]])
