"""The latency of whole candidates measured during a search, as EfficientNet-X did (section 4)."""

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from typing import Any

from moga import registry
from moga.contracts import Measured, Outcome, Silent
from moga.devices.base import Device, Measures
from moga.devices.host import HostDevice
from moga.errors import UsageError
from moga.files import cache_dir
from moga.network import Network

__all__ = ["LatencyEvaluator"]


class LatencyEvaluator:
    """An evaluator of one metric, latency: each network is timed end to end.

    One process of a machine measures at a time (a lock in moga's cache sees to it), but whatever
    else runs there disturbs: the device should have nothing else to do, and a search one worker.

    Args:
        device: a name, text, or a device that measures.
        blocks: sum the times of the network's blocks instead, timing those that have none yet: a
            table that fills itself on demand, as GPUNet's.

    Raises:
        UsageError: a device that cannot measure.

    Example:
        ``Search(space, "cpu", evaluator=["supernet", "latency"], workers=1)``
    """

    metrics = ("latency",)

    def __init__(self, device: Device | str = "cpu", *, blocks: bool = False) -> None:
        found: Device = registry.create("device", device)
        if not isinstance(found, HostDevice if blocks else Measures):
            raise UsageError(
                f"the device {found.name!r} cannot measure networks during a search; choose one "
                "that is here, such as cpu"
            )
        self.device, self.blocks = found, blocks

    def describe(self) -> dict[str, Any]:
        """Return where its latencies come from, as JSON values, for the run's files."""
        device = self.device
        about: dict[str, Any] = {
            "device": device.name,
            "provenance": "table" if self.blocks else "measured",
            "unit": "ms a batch",
        }
        if isinstance(device, HostDevice):
            about |= {"batch": device.batch, "settings": dict(device.engine.settings)}
        return {"latency": about}

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return the latency of each network, in ms a batch, with its standard error."""
        with _exclusive():
            if self.blocks and isinstance(self.device, HostDevice):
                latencies = [self.device.by_blocks(network) for network in networks]
            elif isinstance(self.device, Measures):
                latencies = self.device.measure(networks, Silent())
        return [
            Measured(
                {"latency": latency.ms},
                {} if latency.spread is None else {"latency": latency.spread},
            )
            for latency in latencies
        ]


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Keep other processes of this machine from measuring meanwhile."""
    with (cache_dir("tables") / "measuring.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
