"""The order of a round: random walks, in which each block reads what the one before it gave.

A block's time depends on what ran before it: where its input lies in memory and in the caches, and
which buffers the allocator has at hand. Timed after blocks that no network has there, the blocks of
MoGA's space at 224 pixels differed by up to .5 ms from the same blocks within networks (of 15 ms),
more than many networks differ from each other. In a walk a block finds what it finds in a network,
but for its weights, which nothing has read since the round before.
"""

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

import numpy as np

from moga.network import Network

__all__ = ["Succession", "Walks", "successions"]

Succession = tuple[int, int]
"""Which subject some network runs right after which: positions of the first and of the second."""

_RUN_UP: Final = 2
"""How many at most are run again, one after another, on the way to one that was not visited."""

Visit = tuple[int, bool]
"""Which is run, and whether for the first time in this round."""


def successions(networks: Iterable[Network], subjects: Sequence[Hashable]) -> list[Succession]:
    """Return which of some subjects are blocks that come one right after the other in networks."""
    position = {subject: index for index, subject in enumerate(subjects)}
    found: dict[Succession, None] = {}
    for network in networks:
        for first, second in itertools.pairwise(network):
            if first in position and second in position:
                found[position[first], position[second]] = None
    return list(found)


class Walks:
    """Draws the walks of one round after another.

    Args:
        subjects: how many there are.
        successions: what may be run on what another gave; without any, each is a walk of its own.
    """

    def __init__(self, subjects: int, successions: Iterable[Succession] = ()) -> None:
        self._after: list[list[int]] = [[] for _ in range(subjects)]
        self._before: list[list[int]] = [[] for _ in range(subjects)]
        for first, second in sorted(set(successions)):
            self._after[first].append(second)
            self._before[second].append(first)
        self._sources = [
            index for index, after in enumerate(self._after) if after and not self._before[index]
        ]

    def draw(self, rng: np.random.Generator) -> list[list[Visit]]:
        """Return the walks of a round, in the order in which they are to be run.

        Each subject comes for the first time exactly once. A walk begins where networks do, and
        goes on at random to a successor that was not visited yet. Where there is none, it goes by
        up to two that were visited to the next one, or ends; one that no walk comes to so begins a
        walk of its own.

        Args:
            rng: consumed.
        """
        left = [True] * len(self._after)
        fresh = [len(after) for after in self._after]  # successors that were not visited yet
        walks: list[list[Visit]] = []

        def away(index: int) -> int:
            """Return how many are run again before one that was not visited, at most 3."""
            if left[index]:
                return 0
            if fresh[index]:
                return 1
            return 2 if any(fresh[one] for one in self._after[index]) else 3

        def visit(index: int) -> None:
            walks[-1].append((index, left[index]))
            if left[index]:
                left[index] = False
                for one in self._before[index]:
                    fresh[one] -= 1

        def walk(index: int) -> None:
            walks.append([])
            visit(index)
            while after := self._after[index]:
                distances = [away(one) for one in after]
                if (nearest := min(distances)) > _RUN_UP:
                    break
                fitting = [i for i, far in zip(after, distances, strict=True) if far == nearest]
                index = fitting[rng.integers(len(fitting))]
                visit(index)

        sources = list(self._sources)
        while sources:
            which = int(rng.integers(len(sources)))
            if away(sources[which]) <= _RUN_UP:
                walk(sources[which])
            else:  # and it will never come nearer again
                sources.pop(which)
        for index in rng.permutation(len(left)).tolist():
            if left[index]:
                walk(index)
        return [walks[position] for position in rng.permutation(len(walks))]
