"""The machine that this runs on, as a device: torch, FP32, one thread and batch 1 by default."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from moga.contracts import Progress, Silent
from moga.devices.base import Latency
from moga.devices.engines.base import Engine
from moga.devices.profile import PROTOCOL, Sampling, measure, profile_space
from moga.devices.store import ValueStore
from moga.errors import UsageError
from moga.files import cache_dir, digest
from moga.network import Network
from moga.spaces.base import Space
from moga.spaces.cost import CostTable

__all__ = ["HostDevice", "cpu"]


class HostDevice:
    """A device that is here to be measured; it satisfies `Device` and `Measures`.

    Values of blocks are cached by what decides them (`fingerprint`): processor, cores, versions,
    threads, precision, batch, clock, allocator, and the number of the protocol.

    Args:
        name: what users call it.
        engine: what runs networks on it.
        sampling: how often blocks and networks are timed.
        refresh: ignore cached values, and replace them.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        sampling: Sampling | None = None,
        refresh: bool = False,
    ) -> None:
        self.name, self.engine = name, engine
        self.sampling, self.refresh = sampling or Sampling(), refresh
        self._rng = np.random.default_rng()  # orders of rounds only: times are never reproducible

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides a time here."""
        return digest({"settings": dict(self.engine.settings), "protocol": PROTOCOL})

    @property
    def store(self) -> ValueStore:
        """The cached values of this device, in moga's cache folder."""
        path = cache_dir("tables", self.fingerprint) / "values.json"
        return ValueStore(path, self.engine.settings)

    def latency(self, network: Network) -> Latency:
        """Measure one network end to end.

        Raises:
            MeasurementFailed: it cannot be built or run.
        """
        return self.measure([network])[0]

    def measure(
        self, networks: Sequence[Network], progress: Progress | None = None
    ) -> list[Latency]:
        """Measure networks end to end in shuffled rounds: one latency a network, in order.

        Raises:
            MeasurementFailed: one cannot be built or run.
        """
        return measure(self.engine, networks, self.sampling, self._rng, progress or Silent())

    def table(self, space: Space, progress: Progress | None = None) -> CostTable:
        """Build the latency table of a space, by timing what is not cached.

        Raises:
            UsageError: a space with too many distinct blocks.
            MeasurementFailed: a block cannot be built or run.
        """
        return profile_space(
            space,
            self.engine,
            device=self.name,
            store=self.store,
            sampling=self.sampling,
            rng=self._rng,
            progress=progress,
            refresh=self.refresh,
        )


def cpu(
    batch: int = 1,
    threads: int = 1,
    seconds: float = 15.0,
    rounds: int = 30,
    refresh: bool = False,
) -> HostDevice:
    """Return this host's processor: torch in eager mode, FP32.

    Args:
        batch: images a batch.
        threads: threads within an operation.
        seconds: time for a table's rounds, or for those of whole networks, beyond `rounds`.
        rounds: rounds at the least.
        refresh: ignore cached values.

    Raises:
        UsageError: a number out of range.
    """
    from moga.devices.engines.torch import TorchEngine

    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"seconds is {seconds}; give 0 or more")
    sampling = Sampling(rounds=rounds, seconds=seconds, most=max(400, rounds))
    name = "cpu" if (batch, threads) == (1, 1) else f"cpu(batch={batch}, threads={threads})"
    return HostDevice(name, TorchEngine(batch, threads), sampling=sampling, refresh=refresh)
