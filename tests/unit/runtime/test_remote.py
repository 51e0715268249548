from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from moga import registry
from moga.contracts import Gene, Genomes, Observations, Problem, Searcher
from moga.errors import Exhausted, UnknownName
from moga.runtime.remote import remote

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def factory() -> Any:
    """Return a searcher class that is local, so that it travels by value."""

    class Counting(Searcher):
        """Proposes random genomes, counts what it is told in place, and ends after 6 genomes."""

        def __init__(self, problem: Problem, rng: np.random.Generator, *, most: int) -> None:
            self.problem, self.rng, self.most = problem, rng, most
            self.counts = np.zeros(50_000)  # too large to travel within a message
            self.asked = 0

        def ask(self, n: int) -> Genomes:
            if self.asked >= self.most:
                raise Exhausted("all of it was asked for")
            self.asked += n
            return self.rng.integers(0, self.problem.sizes, size=(n, len(self.problem.genes)))

        def tell(self, observations: Observations) -> None:
            if len(observations) == 0:
                raise ValueError("nothing told")
            self.counts[0] += len(observations)

        def state_dict(self) -> dict[str, Any]:
            return {"counts": self.counts, "rng": self.rng.bit_generator.state, "asked": self.asked}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.counts, self.asked = state["counts"], state["asked"]
            self.rng.bit_generator.state = state["rng"]

    return Counting


def test_remote_searcher_is_a_searcher() -> None:
    genes = tuple(Gene(f"g{i}", "", "categorical", (0, 1, 2)) for i in range(3))
    problem = Problem(genes, (0, 0, 0), (), lambda g: g, lambda g: np.zeros((len(g), 0)))
    make = factory()
    here = make(problem, np.random.default_rng(5), most=6)
    there = remote(make, problem, np.random.default_rng(5), most=6, cpus=0.5)
    assert isinstance(there, Searcher)
    try:
        for searcher in (here, there):
            searcher.tell(Observations.exact(searcher.ask(3), np.zeros((3, 2))))
        state = there.state_dict()
        assert state["counts"][0] == 3
        expected = here.ask(3)
        np.testing.assert_array_equal(there.ask(3), expected)
        with pytest.raises(Exhausted, match="all of it was asked for") as caught:
            there.ask(1)
        assert caught.type is Exhausted
        with pytest.raises(ValueError, match="nothing told"):
            there.tell(Observations.exact(np.zeros((0, 3)), np.zeros((0, 2))))
        state["counts"][0] = 10  # what arrives is writable, here and there
        there.load_state_dict(state)
        genomes = there.ask(3)
        np.testing.assert_array_equal(genomes, expected)
        genomes[0, 0] = 1
        there.tell(Observations.exact(genomes, np.zeros((3, 2))))
        assert there.state_dict()["counts"][0] == 13
    finally:
        there.close()


def test_what_a_factory_raises_is_raised_here() -> None:
    searcher = remote(registry.create, "searcher", "nope2")
    try:
        for _ in range(2):
            with pytest.raises(UnknownName, match=r"unknown searcher 'nope2'\. .*Known: auto"):
                searcher.ask(1)
    finally:
        searcher.close()
