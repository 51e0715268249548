"""Latencies that papers print, as they print them."""

import csv
import dataclasses
from functools import cache
from importlib import resources

__all__ = ["PublishedLatency", "published_latencies"]


@dataclasses.dataclass(frozen=True)
class PublishedLatency:
    """One printed time.

    Args:
        table: of which paper: "genet", "efficientnet_x", "gpunet", "moga".
        device: the hardware.
        engine: what ran the network.
        precision: "" where it is not stated.
        batch: images a batch.
        network: as the paper names it; names may repeat, with another `top1`.
        top1: printed beside it, in percent.
        ms: milliseconds a batch.
        step_ms: the step to which `ms` is rounded, in ms a batch.
    """

    table: str
    device: str
    engine: str
    precision: str
    batch: int
    network: str
    top1: float
    ms: float
    step_ms: float


@cache
def published_latencies() -> tuple[PublishedLatency, ...]:
    """Return every time of the published tables; sources stand in the head of the file."""
    file = resources.files("moga.devices.catalog").joinpath("published_latency.csv")
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    return tuple(_row(row) for row in csv.DictReader(lines))


def _row(row: dict[str, str]) -> PublishedLatency:
    batch = int(row["batch"])
    times = {"image": batch, "batch": 1}[row["unit"]]
    decimals = len(row["ms"].partition(".")[2])
    return PublishedLatency(
        table=row["table"],
        device=row["device"],
        engine=row["engine"],
        precision=row["precision"],
        batch=batch,
        network=row["network"],
        top1=float(row["top1"]),
        ms=float(row["ms"]) * times,
        step_ms=10.0**-decimals * times,
    )
