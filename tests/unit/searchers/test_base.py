import dataclasses
import json

import numpy as np
import pytest

from moga.contracts import Gene, Observations, Problem, parse_objective
from moga.errors import Exhausted, FormatError, InvalidGenome, UsageError
from moga.searchers import base
from moga.searchers.base import BaseSearcher, Opening, starting_genomes

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


class Careless(Stubborn):
    """Proposes whatever it was given."""

    def __init__(self, problem, rng, proposal) -> None:
        super().__init__(problem, rng)
        self.proposal = proposal

    def _ask(self, n, attempt):
        return self.proposal


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
    with pytest.raises(FormatError, match=r"genes of \[3, 3\] values and 2 objectives was"):
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


def test_unseen_genomes_are_canonical_and_stand_once() -> None:
    searcher = Stubborn(problem((2, 4), canonical=lambda g: np.where(g[:, :1] == 0, 0, g)), rng())
    searcher.tell(Observations.exact(np.array([[1, 1]]), np.ones((1, 2))))
    genomes = np.array([[0, 3], [1, 1], [0, 2], [1, 3]])
    assert searcher.unseen(genomes).tolist() == [[0, 0], [1, 3]]


def test_results_that_others_asked_for_are_counted() -> None:
    searcher = Stubborn(problem(), rng())
    own = searcher.ask(1)
    theirs = np.array([[1, 1, 1], [2, 2, 2], [1, 2, 1]])
    costs = np.array([[1, 1], [2, 2], [NAN, 3], [4, 4]])
    searcher.tell(Observations.exact(np.concatenate([own, theirs]), costs))
    assert searcher.foreign == 2  # of the three, one failed
    again = Stubborn(problem(), rng())
    again.load_state_dict(searcher.state_dict())
    assert again.foreign == 2


def test_what_others_brought_shortens_the_beginning() -> None:
    opening = Opening(np.arange(10)[:, None])
    assert opening.take(4, foreign=0).ravel().tolist() == [0, 1, 2, 3]
    assert opening.take(4, foreign=4).ravel().tolist() == [4, 5]
    assert len(opening.take(4, foreign=99)) == 0


def test_what_was_given_is_asked_whatever_others_brought() -> None:
    opening = Opening.of(problem(), [[2, 2, 2], [0, 1, 2], [1, 1, 1]], 8, rng())
    assert opening.take(2, foreign=99).tolist() == [[2, 2, 2], [0, 1, 2]]
    again = Opening(np.empty((0, 3), dtype=np.int64))
    again.load_state_dict(opening.state_dict())
    for each in (opening, again):
        assert each.take(4, foreign=99).tolist() == [[1, 1, 1]]
        assert len(each.take(4, foreign=99)) == 0
        assert len(each.take(9, foreign=0)) == 5


def test_given_genomes_start_and_sobol_fills_up() -> None:
    given = [[2, 2, 2], [0, 1, 2]]
    start = starting_genomes(problem(), given, 6, rng())
    assert start.shape == (6, 3)
    assert start[:2].tolist() == given
    assert starting_genomes(problem(), given, 1, rng()).tolist() == given


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        ("lhs", UsageError, "start is 'lhs'; give 'sobol' or 'uniform', or a list of genomes"),
        ([[1, 2]], InvalidGenome, r"genomes of shape \(1, 2\).*integers of shape \(n, 3\)"),
        ([[0.5, 1, 1]], InvalidGenome, "type float64; give integers"),
        ([[0, 0, 0], [0, 3, 0]], InvalidGenome, "genome 1 of start has 3 for gene 'g1'.*0 to 2"),
    ],
)
def test_impossible_starts_are_refused(start, error, words) -> None:
    with pytest.raises(error, match=words):
        starting_genomes(problem(), start, 4, rng())


@pytest.mark.parametrize(
    ("proposal", "words"),
    [
        ([[1.7, 0, 0]], r"what Careless proposed holds .* type float64; give integers"),
        ([1, 2, 0], r"what Careless proposed holds genomes of shape \(3,\)"),
        (None, r"what Careless proposed holds genomes of shape \(\) and type object"),
        ([[0, 0, 3]], "genome 0 of what Careless proposed has 3 for gene 'g2'; allowed: 0 to 2"),
    ],
)
def test_a_method_that_proposes_no_genomes_is_named(proposal, words) -> None:
    searcher = Careless(problem(), rng(), proposal)
    with pytest.raises(InvalidGenome, match=words):
        searcher.ask(2)
    assert not searcher.seen
