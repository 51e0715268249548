"""The conformance suite must find what is wrong with a searcher."""

import numpy as np
import pytest

from moga.errors import Exhausted
from moga.searchers import RandomSearch
from moga.spaces.base import mutate
from moga.testing.searchers import SearcherConformance, make_problem, true_costs


class Floats(RandomSearch):
    def ask(self, n):
        return super().ask(n).astype(float)


class Greedy(RandomSearch):
    def ask(self, n):
        return super().ask(n + 1)


class OutOfRange(RandomSearch):
    def ask(self, n):
        return super().ask(n) + 1


class Forgetful(RandomSearch):
    def ask(self, n):
        return super().ask(n) * 0


class Unseeded(RandomSearch):
    def __init__(self, problem, rng):
        super().__init__(problem, np.random.default_rng())


class Sleepy(RandomSearch):
    def ask(self, n):
        return super().ask(n)[:0]


class Endless(RandomSearch):
    def ask(self, n):
        try:
            return super().ask(n)
        except Exhausted:
            return self._stack([])


class StatelessGenerator(RandomSearch):
    def load_state_dict(self, state):
        own = self.rng.bit_generator.state
        super().load_state_dict(state)
        self.rng.bit_generator.state = own


class ObjectState(RandomSearch):
    def state_dict(self):
        return {**super().state_dict(), "problem": self.problem}


class Live(RandomSearch):
    def __init__(self, problem, rng):
        super().__init__(problem, rng)
        self.count = np.zeros(1)

    def tell(self, observations):
        self.count += 1
        super().tell(observations)

    def state_dict(self):
        return {**super().state_dict(), "count": self.count}


class Raising(RandomSearch):
    def tell(self, observations):
        if observations.failed.any():
            raise ValueError("no costs")
        super().tell(observations)


class Writing(RandomSearch):
    def tell(self, observations):
        super().tell(observations)
        observations.costs[:] = 0


class Slowing(RandomSearch):
    def ask(self, n):
        sorted(self._seen, key=lambda key: key)
        return super().ask(n)


class Deaf(RandomSearch):
    def tell(self, observations):
        pass


class Admiring(RandomSearch):
    """Takes what failed, or breaks a limit, for the best, and mutates it."""

    def __init__(self, problem, rng):
        super().__init__(problem, rng)
        self.best = np.empty((0, len(problem.genes)), dtype=np.int64)

    def tell(self, observations):
        rows = observations.failed | (observations.violations > 0)
        self.best = np.concatenate([self.best, observations.genomes[rows]])
        super().tell(observations)

    def _ask(self, n, attempt):
        if not len(self.best):
            return super()._ask(n, attempt)
        parents = self.best[self.rng.integers(len(self.best), size=n)]
        return mutate(parents, self.sizes, self.rng)


class Credulous(RandomSearch):
    def load_state_dict(self, state):
        super().load_state_dict({**state, "sizes": self.sizes, "objectives": 2})


BAD = {
    Floats: ("test_genomes_are_integers_in_range_and_never_repeat", "float64, not int64"),
    Greedy: ("test_ask_returns_no_more_than_was_asked_for", "12 genomes; 11 were asked for"),
    OutOfRange: ("test_genomes_are_integers_in_range_and_never_repeat", "out of range"),
    Forgetful: ("test_failures_and_bounds_are_taken_and_not_proposed_again", "1 are distinct"),
    Admiring: ("test_failures_and_broken_limits_attract_nothing", "% of what is asked"),
    Credulous: ("test_state_of_another_problem_is_refused", "of another problem was taken"),
    Unseeded: ("test_same_generator_same_genomes", "the same generator gave other genomes"),
    Sleepy: ("test_search_goes_on_where_everything_fails", "nothing was proposed"),
    Endless: ("test_small_space_is_offered_once_and_then_exhausted", "neither proposes nor says"),
    StatelessGenerator: (
        "test_state_goes_through_json_and_continues_where_it_was",
        "other genomes are asked than without it",
    ),
    ObjectState: ("test_state_goes_through_json_and_continues_where_it_was", "not JSON"),
    Live: ("test_state_does_not_change_when_the_search_goes_on", "state changed when"),
    Raising: ("test_search_goes_on_where_everything_fails", "no costs"),
    Writing: ("test_arguments_are_not_changed", "tell changed the costs"),
    Slowing: ("test_work_of_an_ask_does_not_grow_with_history", "calls at first"),
    RandomSearch: ("test_what_is_known_is_used", "known change nothing of what is asked"),
    Deaf: ("test_genomes_of_others_are_learned_and_not_proposed", "offered, though it may not"),
}


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_what_is_wrong_is_found(kind) -> None:
    class Suite(SearcherConformance):
        def make(self, problem, rng):
            return kind(problem, rng)

    name, words = BAD[kind]
    with pytest.raises((AssertionError, ValueError, TypeError), match=words or None):
        getattr(Suite(), name)()


def test_a_suite_without_a_searcher_says_what_to_write() -> None:
    with pytest.raises(NotImplementedError, match="derive a class and write `make"):
        SearcherConformance().test_arguments_are_not_changed()


def test_true_costs_conflict() -> None:
    problem = make_problem(objectives=3)
    genomes = np.array([[0] * 6, [3, 2, 4, 1, 3, 2]])
    costs = true_costs(genomes, 3)
    assert costs[1, 0] < costs[0, 0]
    assert (costs[1, 1:] > costs[0, 1:]).all()
    known = problem.known(genomes)
    assert np.isnan(known[:, 0]).all()
    assert (known[:, 1:] == costs[:, 1:]).all()
