import numpy as np
import pytest

from moga.pareto import hypervolume
from moga.searchers.improvement import boxes, expected_improvement, expected_volume

REFERENCE = {1: np.ones(1), 2: np.array([1.0, 1.2]), 3: np.array([1.0, 1.2, 0.9])}


def a_front(objectives: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random((12, objectives))


def test_expected_improvement_against_samples() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.5, 400_000)
    sampled = np.maximum(0.1 - draws, 0).mean()
    exact = expected_improvement(np.array(0.1), np.array(0.3), np.array(0.5))
    assert exact == pytest.approx(sampled, rel=0.01)


def test_expected_improvement_without_deviation() -> None:
    got = expected_improvement(np.array([1.0, 1.0]), np.array([0.4, 1.5]), np.zeros(2))
    assert got.tolist() == [0.6, 0.0]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_known_costs_add_exactly_what_the_hypervolume_grows_by(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    front, reference = a_front(objectives, rng), REFERENCE[objectives]
    points = rng.random((40, objectives)) * 1.3
    points[0] = 0
    got = expected_volume(points, np.zeros_like(points), front, reference)
    before = hypervolume(front, reference)
    grown = [hypervolume(np.concatenate([front, p[None]]), reference) - before for p in points]
    assert got == pytest.approx(np.array(grown), abs=1e-12)
    assert got.max() > 0


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("unknown", [1, 2])
def test_uncertain_costs_against_samples(objectives: int, unknown: int) -> None:
    rng = np.random.default_rng(7)
    front, reference = a_front(objectives, rng), REFERENCE[objectives]
    mean = rng.random((1, objectives)) * 0.5
    deviation = np.zeros_like(mean)
    deviation[0, :unknown] = 0.3
    draws = mean + deviation * rng.normal(size=(4000, objectives))
    before = hypervolume(front, reference)
    sampled = np.mean([hypervolume(np.vstack([front, d]), reference) for d in draws]) - before
    got = expected_volume(mean, deviation, front, reference)[0]
    assert got == pytest.approx(sampled, rel=0.08)


def test_an_empty_front_leaves_the_whole_box() -> None:
    got = expected_volume(np.zeros((1, 2)), np.zeros((1, 2)), np.empty((0, 2)), np.array([2.0, 3]))
    assert got.tolist() == [6.0]


def test_boxes_do_not_overlap_and_leave_nothing_out() -> None:
    rng = np.random.default_rng(1)
    front, reference = a_front(3, rng), REFERENCE[3]
    lower, upper, levels = boxes(front, reference)
    points = rng.random((500, 3)) * reference
    inside = np.ones((500, len(lower)), dtype=bool)
    for d, level in enumerate(levels):
        inside &= (points[:, None, d] > level[lower[:, d]]) & (
            points[:, None, d] < level[upper[:, d]]
        )
    dominated = (front[None] <= points[:, None]).all(axis=2).any(axis=1)
    assert (inside.sum(axis=1) == ~dominated).all()
