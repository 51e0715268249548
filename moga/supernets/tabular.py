"""Accuracy read from NAS-Bench-201's table instead of trained."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Measured, Outcome
from moga.errors import UsageError
from moga.network import Network
from moga.spaces.base import Space
from moga.spaces.nasbench201 import NASBench201
from moga.supernets.choices import accuracy_from, tabulated

__all__ = ["TabularEvaluator"]


class TabularEvaluator:
    """Looks up the accuracy of NAS-Bench-201's networks after 12 epochs of real training.

    The search sees validation accuracy alone; `test_accuracy` is for the report. It holds no
    table: the process that evaluates reads it on first use, so it travels to a worker in a few
    hundred bytes. Standard errors are not in the table, so outcomes carry none.

    Args:
        space: NAS-Bench-201's, or a part of it; decides the data set.

    Raises:
        UsageError: another space.
    """

    def __init__(self, space: Space) -> None:
        whole = tabulated(space)
        if whole is None:
            raise UsageError(
                f"the table has accuracies of the space nasbench201; the space is {space.spec}. "
                f"{accuracy_from(space)}"
            )
        self._data = whole.data

    @property
    def metrics(self) -> tuple[str, ...]:
        """Accuracy alone."""
        return ("accuracy",)

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return the validation accuracy in % of each network, in order.

        Raises:
            NotInSpace: a network of another space.
        """
        space = NASBench201(self._data)
        found = space.accuracy("valid")[_rows(space, networks)]
        return [Measured({"accuracy": float(value)}) for value in found]

    def test_accuracy(self, networks: Sequence[Network]) -> NDArray[np.float64]:
        """Return the test accuracy in % of n networks, shape (n,), for the report only.

        Raises:
            NotInSpace: a network of another space.
        """
        space = NASBench201(self._data)
        return space.accuracy("test")[_rows(space, networks)]


def _rows(space: NASBench201, networks: Sequence[Network]) -> NDArray[np.int64]:
    genomes = [space.encode(network) for network in networks]
    return space.index(np.array(genomes, dtype=np.int64).reshape(-1, len(space.genes)))
