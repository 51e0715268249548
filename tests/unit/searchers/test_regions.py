import numpy as np
import pytest
from sklearn.svm import SVC

from moga.searchers.regions import Border, Region, backpropagate, inside, select


@pytest.fixture
def two_heaps() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 0.1, (20, 2)), rng.normal(1, 0.1, (12, 2))])
    return features, np.concatenate([np.full(20, 0.1), np.full(12, 0.9)])


def test_tree_separates_good_from_bad(two_heaps) -> None:
    features, rewards = two_heaps
    root = Region.learned(features, rewards, 10, np.random.default_rng(0))
    assert root.good is not None
    assert sorted(root.good.rows) == list(range(20, 32))
    assert (root.visits, root.good.visits, root.bad.visits) == (32, 12, 20)
    assert root.good.good is None  # rewards of one value have no two classes
    path = select(root, exploration=0.0)
    assert path == [root, root.good]
    assert inside(path, np.array([[1.0, 1.0], [0.0, 0.0]])).tolist() == [True, False]


def test_exploration_and_backpropagation_turn_to_what_was_visited_less(two_heaps) -> None:
    features, rewards = two_heaps
    root = Region.learned(features, rewards, 10, np.random.default_rng(0))
    path = select(root, exploration=0.5)
    assert path[1] is root.good
    for _ in range(200):
        backpropagate(path, 0.1)
    assert root.visits == 232
    assert root.good.total == pytest.approx(12 * 0.9 + 20)
    assert select(root, exploration=0.5)[1] is root.bad


def test_no_border_where_the_machine_contradicts_the_clusters() -> None:
    features = np.zeros((20, 1))  # nothing to tell them by: all fall on one side
    rewards = np.repeat([0.0, 1.0], 10)
    assert Border.between(features, rewards, np.random.default_rng(0)) is None
    assert Region.learned(features, rewards, 8, np.random.default_rng(0)).good is None


def test_no_border_among_equal_rewards(two_heaps) -> None:
    assert Border.between(two_heaps[0], np.ones(32), np.random.default_rng(0)) is None


@pytest.mark.parametrize("seed", range(3))
def test_border_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.random((60, 7))
    good = features[:, 0] + features[:, 1] ** 2 > 0.8
    border = Border.learned(features, good)
    machine = SVC(kernel="rbf", gamma="scale").fit(features, good)
    others = rng.random((500, 7))
    assert np.array_equal(border.predict(others), machine.predict(others))
    assert 50 < border.predict(others).sum() < 450
