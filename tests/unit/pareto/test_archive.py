import dataclasses

import numpy as np
import pytest

from moga.contracts import Observations
from moga.errors import UsageError
from moga.pareto.archive import Archive

NAN = np.nan


def results(costs: list[list[float]], first: int = 0) -> Observations:
    return Observations.exact(np.arange(first, first + len(costs))[:, None], np.array(costs))


def test_front_is_ordered_by_cost_and_rows_count_in_order_of_adding() -> None:
    archive = Archive(2)
    assert archive.add(results([[2, 1], [3, 3]])) == 2
    assert archive.add(results([[1, 2], [0, 9]], first=2)) == 2
    assert archive.front.tolist() == [3, 2, 0]
    assert archive.genomes.tolist() == [[0], [1], [2], [3]]
    assert archive.costs.tolist() == [[2, 1], [3, 3], [1, 2], [0, 9]]
    assert len(archive) == 4


def test_failed_bounded_and_violating_rows_are_left_out() -> None:
    told = dataclasses.replace(
        results([[0, 0], [1, NAN], [0, 0], [5, 5], [-np.inf, 0]]),
        violations=np.array([0.1, 0, 0, 0, 0]),
        bounded=np.array([False, False, True, False, False]),
        fidelity=np.array([1, 1, 0.5, 1, 1]),
    )
    archive = Archive(2)
    assert archive.add(told) == 1
    assert archive.costs[archive.front].tolist() == [[5, 5]]


def test_same_result_counts_once_and_ties_share_the_front() -> None:
    archive = Archive(2)
    archive.add(results([[1, 1], [1, 1]]))
    assert archive.add(results([[1, 1]])) == 0
    assert archive.front.tolist() == [0, 1]


def test_grid_keeps_noise_from_deciding() -> None:
    exact, coarse = Archive(2), Archive(2, grid=[0, 0.5])
    told = results([[1.0, 2.01], [1.0, 1.99]])
    exact.add(told)
    coarse.add(told)
    assert exact.front.tolist() == [1]
    assert coarse.front.tolist() == [1, 0]
    assert coarse.costs.tolist() == [[1.0, 2.01], [1.0, 1.99]]
    assert coarse.hypervolume([2, 4]) == pytest.approx(2)


def test_hypervolume_is_that_of_the_front() -> None:
    archive = Archive(2)
    assert archive.hypervolume([4, 4]) == 0
    archive.add(results([[1, 3], [2, 1], [3, 3]]))
    assert archive.hypervolume([4, 4]) == pytest.approx(7)
    assert archive.hypervolume([4, 4], ideal=[0, 0]) == pytest.approx(7 / 16)


def test_empty_archive() -> None:
    archive = Archive(3)
    assert archive.front.tolist() == []
    assert archive.costs.shape == (0, 3)
    assert archive.genomes.shape == (0, 0)
    assert archive.add(results([[NAN, NAN, NAN]])) == 0


def test_adding_costs_what_the_front_is_not_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    archive, sizes = Archive(2), []
    for i in range(50):
        archive.add(results([[100.0 - i, 100.0 - i]], first=i))
    from moga.pareto import archive as module

    original = module.nondominated
    monkeypatch.setattr(module, "nondominated", lambda c: (sizes.append(len(c)), original(c))[1])
    archive.add(results([[0, 0], [1, 1]], first=50))
    assert sizes == [3]


def test_other_fidelity_is_refused_and_nothing_is_added() -> None:
    archive = Archive(1)
    archive.add(results([[1.0]]))
    cheap = dataclasses.replace(results([[0.0]], first=1), fidelity=np.array([0.25]))
    with pytest.raises(UsageError, match=r"fidelity 1; got one of 0\.25\. Keep one archive"):
        archive.add(cheap)
    assert len(archive) == 1
    own = Archive(1, fidelity=0.25)
    assert own.add(cheap) == 1


def test_impossible_archives_are_refused() -> None:
    with pytest.raises(UsageError, match="1 or more objectives; got 0"):
        Archive(0)
    with pytest.raises(UsageError, match="grid must be 2 steps of 0 or more"):
        Archive(2, grid=[0.1])
    with pytest.raises(UsageError, match="grid must be 2 steps of 0 or more"):
        Archive(2, grid=[0.1, -1])
    with pytest.raises(UsageError, match="holds 2 costs a genome; got 3"):
        Archive(2).add(results([[1, 2, 3]]))
