import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moga.contracts import Observations
from moga.pareto.archive import Archive

VALUES = st.one_of(st.integers(0, 6).map(float), st.floats(0, 6, width=32), st.just(np.nan))
COSTS = st.tuples(st.integers(0, 25), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUES)
)
GRIDS = st.sampled_from([0.0, 0.5, 1.0])


def told(costs: np.ndarray) -> Observations:
    return Observations.exact(np.arange(len(costs))[:, None], costs)


def rounded(costs: np.ndarray, grid: float) -> np.ndarray:
    return np.round(costs / grid) * grid if grid else costs


@given(COSTS, GRIDS)
@settings(deadline=None)
def test_front_is_an_antichain_that_dominates_all_others(costs: np.ndarray, grid: float) -> None:
    archive = Archive(costs.shape[1], grid=[grid] * costs.shape[1])
    archive.add(told(costs))
    compared = rounded(archive.costs, grid)
    front = set(archive.front.tolist())
    for row, cost in enumerate(compared):
        better = (compared <= cost).all(axis=1) & (compared < cost).any(axis=1)
        assert better.any() == (row not in front)
    assert not np.isnan(archive.costs).any()


@given(COSTS, GRIDS, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(deadline=None)
def test_front_does_not_depend_on_the_order_of_insertion(costs, grid, random, batch) -> None:
    once = Archive(costs.shape[1], grid=[grid] * costs.shape[1])
    once.add(told(costs))
    order = list(range(len(costs)))
    random.shuffle(order)
    pieces = Archive(costs.shape[1], grid=[grid] * costs.shape[1])
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        pieces.add(Observations.exact(np.array(rows)[:, None], costs[rows]))
    assert once.genomes[once.front].tolist() == pieces.genomes[pieces.front].tolist()
    assert once.costs[once.front].tolist() == pieces.costs[pieces.front].tolist()


@given(COSTS, GRIDS)
@settings(deadline=None)
def test_hypervolume_never_falls(costs: np.ndarray, grid: float) -> None:
    archive = Archive(costs.shape[1], grid=[grid] * costs.shape[1])
    reference, last = [5.0] * costs.shape[1], 0.0
    for row in range(len(costs)):
        archive.add(Observations.exact(np.array([[row]]), costs[row : row + 1]))
        volume = archive.hypervolume(reference)
        assert volume >= last or volume == pytest.approx(last, rel=1e-12)
        last = volume
