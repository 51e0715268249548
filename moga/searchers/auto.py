"""The searcher for those who do not want to choose."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moga.contracts import Genomes, Observations, Problem
from moga.errors import Exhausted
from moga.searchers.arguments import check_integer
from moga.searchers.base import BaseSearcher
from moga.searchers.bayes import Bayes
from moga.searchers.improvement import MOST_OBJECTIVES
from moga.searchers.local import LocalSearch
from moga.searchers.nsga2 import NSGA2

__all__ = ["Auto"]


class Auto(BaseSearcher):
    """Bayesian optimisation while results are few, then local search on all that was learned.

    `Bayes` needs the fewest evaluations, but thinks for tens of milliseconds an ask and fits at
    most so many points; `LocalSearch` thinks for less than a millisecond, and is the best of the
    simple ones from a few hundred results on. Both are told everything from the beginning, so that
    the second starts from the front of the first. Problems of more than three objectives, whose
    fronts hold most of what was evaluated, are NSGA-II's alone. Until it switches, it proposes what
    the first alone proposes from the same seed.

    Args:
        problem: what is searched.
        rng: consumed by the first; the second gets a child of it.
        switch: number of results told from which on the second proposes.

    Raises:
        UsageError: a negative `switch`.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        switch: int = 400,
    ) -> None:
        check_integer("switch", switch, 0)
        super().__init__(problem, rng)
        self.switch, self.told = switch, 0
        few = len(problem.objectives) <= MOST_OBJECTIVES
        (second,) = rng.spawn(1)
        self.bayes = Bayes(problem, rng) if few else None
        self.later = LocalSearch(problem, second) if few else NSGA2(problem, rng)

    def _ask(self, n: int, attempt: int) -> Genomes:  # noqa: ARG002 - they draw anew each time
        try:
            if self.bayes is not None and self.told < self.switch:
                return self.bayes.ask(n)
            return self.later.ask(n)
        except Exhausted:
            # what is left was offered by the other: the caller finds out whether anything is new
            return self._stack([np.zeros(len(self.sizes), dtype=np.int64)])

    def _tell(self, observations: Observations) -> None:
        self.told += len(observations)
        self.later.tell(observations)
        if self.bayes is not None:
            self.bayes.tell(observations)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "count": self.told,
            "bayes": None if self.bayes is None else self.bayes.state_dict(),
            "later": self.later.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.told = int(state["count"])
        self.later.load_state_dict(state["later"])
        if self.bayes is not None:
            self.bayes.load_state_dict(state["bayes"])
