import dataclasses
import json

import numpy as np
import pytest

from moga.contracts import Gene, Observations, Problem, parse_objective
from moga.errors import Exhausted, FormatError, InvalidGenome, UsageError
from moga.searchers import base
from moga.searchers.base import BaseSearcher

NAN = np.nan


def problem(sizes=(3, 3, 3), canonical=lambda genomes: genomes) -> Problem:
    genes = tuple(Gene(f"g{i}", "all", "categorical", tuple(range(n))) for i, n in enumerate(sizes))
    objectives = (parse_objective("accuracy"), parse_objective("latency"))
    return Problem(
        genes, (0,) * len(sizes), objectives, canonical, lambda g: np.full((len(g), 2), NAN)
    )


class Stubborn(BaseSearcher):
    """Proposes the same genome for ever."""

    def __init__(self, problem, rng) -> None:
        super().__init__(problem, rng)
        self.attempts: list[int] = []
        self.told: list[Observations] = []

    def _ask(self, n, attempt):
        self.attempts.append(attempt)
        return np.zeros((n, len(self.sizes)), dtype=np.int64)

    def _tell(self, observations) -> None:
        self.told.append(observations)


class Waiting(Stubborn):
    def _ask(self, n, attempt):
        return np.empty((0, len(self.sizes)), dtype=np.int64)


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_small_space_is_offered_once_each_and_then_exhausted() -> None:
    searcher = Stubborn(problem(), rng())
    batches = [searcher.ask(5) for _ in range(6)]
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 5, 2]
    offered = np.concatenate(batches)
    assert len(np.unique(offered, axis=0)) == 27
    assert searcher.attempts[:3] == [0, 1, 2]
    with pytest.raises(Exhausted, match="nothing is left to propose after 27 genomes"):
        searcher.ask(1)


def test_told_genomes_are_not_offered() -> None:
    searcher = Stubborn(problem((2, 2)), rng())
    searcher.tell(Observations.exact(np.array([[0, 0], [1, 1]]), np.ones((2, 2))))
    offered = searcher.ask(4)
    assert sorted(offered.tolist()) == [[0, 1], [1, 0]]


def test_genomes_of_one_network_are_offered_once_in_canonical_form() -> None:
    fold = problem((2, 4), canonical=lambda g: np.where(g[:, :1] == 0, g * [1, 0], g))
    searcher = Stubborn(fold, rng())
    offered = searcher.ask(8)
    assert sorted(offered.tolist()) == [[0, 0], [1, 0], [1, 1], [1, 2], [1, 3]]
    with pytest.raises(Exhausted, match="after 5 genomes"):
        searcher.ask(1)


def test_large_space_falls_back_to_random_genomes() -> None:
    searcher = Stubborn(problem((10,) * 12), rng())
    offered = np.concatenate([searcher.ask(50) for _ in range(4)])
    assert len(np.unique(offered, axis=0)) == 200


def test_large_space_of_few_networks_ends() -> None:
    searcher = Stubborn(problem((10,) * 12, canonical=lambda g: g * 0), rng())
    assert len(searcher.ask(3)) == 1
    with pytest.raises(Exhausted, match="after 1 genomes"):
        searcher.ask(3)


def test_waiting_is_no_exhaustion() -> None:
    assert Waiting(problem(), rng()).ask(3).shape == (0, 3)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_asking_for_nothing_is_refused(n) -> None:
    with pytest.raises(UsageError, match="ask for 1 or more"):
        Stubborn(problem(), rng()).ask(n)


def test_what_cannot_rank_is_kept_from_the_method() -> None:
    searcher = Stubborn(problem(), rng())
    genomes = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]])
    costs = np.array([[1, 1], [NAN, 1], [2, 2], [NAN, 3], [4, 4], [5, 5.0]])
    told = dataclasses.replace(
        Observations.exact(genomes, costs),
        bounded=np.array([0, 0, 1, 0, 0, 0], dtype=bool),
        violations=np.array([0, 0, 0, 0.5, NAN, 0]),
    )
    searcher.tell(told)
    # exact, outside a limit (accuracy unknown), exact
    assert searcher.told[0].genomes.tolist() == genomes[[0, 3, 5]].tolist()
    assert searcher.failures == 1
    assert searcher.seen == 6


def test_repeats_are_told_once_but_a_bound_may_become_exact() -> None:
    searcher = Stubborn(problem(), rng())
    exact = Observations.exact(np.array([[0, 0, 0]]), np.ones((1, 2)))
    searcher.tell(dataclasses.replace(exact, bounded=np.array([True])))
    assert len(searcher.told) == 0
    searcher.tell(exact)
    searcher.tell(exact)
    assert len(searcher.told) == 1


def test_observations_of_another_problem_are_refused() -> None:
    searcher = Stubborn(problem(), rng())
    with pytest.raises(InvalidGenome, match="4 genes and 1 costs; this problem has 3 genes and 2"):
        searcher.tell(Observations.exact(np.zeros((1, 4), int), np.zeros((1, 1))))


def test_state_continues_where_it_was() -> None:
    first, second = Stubborn(problem(), rng()), Stubborn(problem(), rng(9))
    first.ask(7)
    first.tell(Observations.exact(np.array([[2, 2, 2]]), np.ones((1, 2))))
    state = first.state_dict()
    json.dumps(state["rng"])
    second.load_state_dict(state)
    assert first.ask(9).tolist() == second.ask(9).tolist()
    assert first.seen == second.seen


def test_state_of_another_problem_is_refused() -> None:
    state = Stubborn(problem(), rng()).state_dict()
    with pytest.raises(FormatError, match="state over 2 genes was expected"):
        Stubborn(problem((3, 3)), rng()).load_state_dict(state)
    other = Stubborn(problem(), np.random.Generator(np.random.Philox(0)))
    with pytest.raises(FormatError, match="random numbers of PCG64"):
        other.load_state_dict(state)


def test_enumeration_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, calls = Stubborn(problem(), rng()), []
    original = base.np.unravel_index
    monkeypatch.setattr(base.np, "unravel_index", lambda *a: (calls.append(1), original(*a))[1])
    for _ in range(5):
        searcher.ask(5)
    assert len(calls) == 1
