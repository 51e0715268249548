"""Random search: the baseline that every searcher must beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moga.contracts import Genomes, Observations, Problem
from moga.searchers.arguments import check_integer
from moga.searchers.base import BaseSearcher, Opening
from moga.spaces.base import sample_uniform

__all__ = ["RandomSearch"]


class RandomSearch(BaseSearcher):
    """Draws genomes independently and uniformly, without repeats; learns nothing.

    Args:
        problem: what is searched.
        rng: consumed.
        initial: how many genomes come from `start` first; more where it lists more.
        start: "sobol" (a scrambled Sobol sequence, which spreads them evenly over the space),
            "uniform", or a list of genomes, which "sobol" fills up to `initial`.

    Raises:
        UsageError: a negative `initial`, another start.
        InvalidGenome: genomes in `start` that are out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        initial: int = 0,
        start: str | Sequence[Sequence[int]] | Genomes = "sobol",
    ) -> None:
        check_integer("initial", initial, 0)
        super().__init__(problem, rng)
        self.opening = Opening.of(problem, start, initial, rng)

    def _ask(self, n: int, attempt: int) -> Genomes:  # noqa: ARG002 - every attempt is alike
        first = self.opening.take(n, self.foreign)
        return first if len(first) else sample_uniform(self.sizes, n, self.rng)

    def _tell(self, observations: Observations) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {**super().state_dict(), "opening": self.opening.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.opening.load_state_dict(state["opening"])
