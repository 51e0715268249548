"""Devices and engines whose times are known functions, for tests of whatever takes a device."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from moga.contracts import Progress
from moga.devices.base import Latency
from moga.devices.engines.base import Run
from moga.devices.profile import sum_blocks, unique_blocks
from moga.errors import MeasurementFailed
from moga.network import Block, Network
from moga.networks.count import count_macs
from moga.spaces.base import Space
from moga.spaces.cost import CostTable
from moga.spaces.entries import find_blocks

__all__ = ["FakeDevice", "FakeEngine", "block_ms"]


def block_ms(block: Block) -> float:
    """Return a time that depends on the block alone: 10 us, and 1 us a thousand MACs."""
    return 0.01 + 1e-6 * count_macs(block)


class FakeEngine:
    """An engine that computes its times instead of measuring them, and remembers what it was asked.

    Args:
        ms: the time of a block; a network's is the sum of its blocks' and `overhead`.
        overhead: what a network takes besides, in ms.
        speed: factor of the run with this number, counted from 0 over all runs; default 1.
        broken: subjects that cannot be prepared.
        broken_operation: blocks of this operation cannot be prepared either; "": none.
        batch: images a batch.
    """

    def __init__(
        self,
        ms: Callable[[Block], float] = block_ms,
        *,
        overhead: float = 0.0,
        speed: Callable[[int], float] = lambda _run: 1.0,
        broken: Callable[[Block | Network], bool] = lambda _subject: False,
        broken_operation: str = "",
        batch: int = 1,
    ) -> None:
        self.ms, self.overhead, self.speed, self.broken = ms, overhead, speed, broken
        self.broken_operation = broken_operation
        self.batch = batch
        self.prepared: list[Block | Network] = []
        self.visits: list[Block | Network] = []
        self.inside = False

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides its times."""
        return {"engine": "fake", "overhead": self.overhead, "batch": self.batch}

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Remember that it is open."""
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def true_ms(self, subject: Block | Network) -> float:
        """Return what a block or network takes at speed 1."""
        if isinstance(subject, Block):
            return self.ms(subject)
        return math.fsum(self.ms(block) for block in subject) + self.overhead

    def prepare(self, subject: Block | Network) -> Run:
        """Note the subject.

        Raises:
            MeasurementFailed: it is one of the broken.
        """
        named = isinstance(subject, Block) and subject.operation == self.broken_operation
        if named or self.broken(subject):
            raise MeasurementFailed(f"the fake engine cannot run {subject}")
        self.prepared.append(subject)

        def run() -> float:
            number = len(self.visits)
            self.visits.append(subject)
            return self.true_ms(subject) * self.speed(number)

        return run


class FakeDevice:
    """A device whose table and measurements agree exactly; satisfies `Device` and `Measures`.

    Args:
        name: what it is called.
        ms: the time of a block.
        grid: its noise grid in ms.
    """

    def __init__(
        self, name: str = "fake", ms: Callable[[Block], float] = block_ms, *, grid: float = 0.0
    ) -> None:
        self.name, self.ms, self.grid = name, ms, grid

    def latency(self, network: Network) -> Latency:
        """Return the sum of the blocks' times."""
        return Latency(math.fsum(self.ms(block) for block in network), 0.0, 1, "measured")

    def measure(
        self,
        networks: Sequence[Network],
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[Latency]:
        """Return the sum of the blocks' times of each."""
        return [self.latency(network) for network in networks]

    def table(self, space: Space, progress: Progress | None = None) -> CostTable:  # noqa: ARG002
        """Return the exact table of a space."""
        values = {block: Latency(self.ms(block), 0.0, 1) for block in unique_blocks(space)}
        arrays, spread = sum_blocks(*find_blocks(space.slots), values)
        provenance = {"method": "fake", "device": self.name}
        return CostTable("latency", "ms", space, arrays, spread, 0.0, self.grid, provenance)
