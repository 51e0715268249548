"""Random search: the baseline that every searcher must beat."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moga.contracts import Genomes, Observations, Problem
from moga.searchers.arguments import check_integer
from moga.searchers.base import BaseSearcher
from moga.spaces.base import sample_sobol, sample_uniform

__all__ = ["RandomSearch"]


class RandomSearch(BaseSearcher):
    """Draws genomes independently and uniformly, without repeats; learns nothing.

    Args:
        problem: what is searched.
        rng: consumed.
        start: how many genomes come from a scrambled Sobol sequence before that, which spreads
            them evenly over the space; 0 for none.

    Raises:
        UsageError: a negative `start`.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, *, start: int = 0) -> None:
        check_integer("start", start, 0)
        super().__init__(problem, rng)
        self.initial = sample_sobol(self.sizes, start, rng) if start else self._stack([])

    def _ask(self, n: int, attempt: int) -> Genomes:  # noqa: ARG002 - every attempt is alike
        if len(self.initial):
            first, self.initial = self.initial[:n], self.initial[n:]
            return first
        return sample_uniform(self.sizes, n, self.rng)

    def _tell(self, observations: Observations) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {**super().state_dict(), "initial": self.initial}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.initial = np.array(state["initial"], dtype=np.int64)
