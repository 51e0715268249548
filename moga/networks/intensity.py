"""Work, traffic, operational intensity, and the roofline of a device.

Li et al. 2021, "Searching for Fast Model Families on Datacenter Accelerators" (arXiv 2102.05610),
sections 2 and 3: a network of W operations and Q bytes of memory traffic has the operational
intensity I = W/Q, and a device gives it at most min(peak, I x bandwidth) operations a second.

Our conventions: W counts two operations a multiply-add (as devices' peaks do) of convolutions and
matrix products; Q is what `moga.networks.trace` says, weights once a batch.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from moga.contracts import is_number
from moga.errors import UnknownName, UsageError
from moga.network import Network
from moga.networks.trace import Fusion, trace

__all__ = [
    "BYTES",
    "Accelerator",
    "Intensity",
    "PublishedIntensity",
    "Roofline",
    "accelerator",
    "accelerators",
    "published_intensities",
    "roofline",
]

BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
)
"""Bytes of a number in memory."""

_OPERATIONS_A_MAC: Final = 2


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """What a device can do at most.

    Args:
        name: as `accelerator` takes it.
        title: in full.
        peak: precision -> operations a second.
        bandwidth: of its memory, bytes a second.
        source: where the figures stand.

    Raises:
        UsageError: a figure that is not a finite number above 0.
    """

    name: str
    title: str
    peak: Mapping[str, float]
    bandwidth: float
    source: str

    def __post_init__(self) -> None:
        peaks = {f"the peak for {precision}": peak for precision, peak in self.peak.items()}
        for key, value in {"the bandwidth": self.bandwidth, **peaks}.items():
            if not (is_number(value) and value > 0):
                raise UsageError(
                    f"accelerator {self.name}: {key} is {value!r}; give a number above 0"
                )

    def ridge(self, precision: str) -> float:
        """Return the intensity from which on computing, not memory, is the limit."""
        return self.peak_of(precision) / self.bandwidth

    def peak_of(self, precision: str) -> float:
        """Return operations a second.

        Raises:
            UsageError: the device's figure for this precision is not known.
        """
        if precision not in self.peak:
            raise UsageError(
                f"no peak of {self.name} is known for {precision!r}; known: "
                f"{', '.join(self.peak)}; or give the peak yourself"
            )
        return self.peak[precision]


@dataclasses.dataclass(frozen=True)
class Intensity:
    """Work and traffic of a part of a network, for one batch, against a device.

    Args:
        name: of the part; for a network of moga's, the number and kind of its block.
        operations: W.
        traffic_bytes: Q.
        attainable: operations a second at most: min(peak, I x bandwidth).
        least_ms: the least time: max(W / peak, Q / bandwidth).
        limit: "memory" or "compute", whichever takes longer; "none" where there is neither.
    """

    name: str
    operations: int
    traffic_bytes: int
    attainable: float
    least_ms: float
    limit: str

    @property
    def intensity(self) -> float:
        """I = W/Q, operations a byte; 0 without traffic."""
        return self.operations / self.traffic_bytes if self.traffic_bytes else 0.0


@dataclasses.dataclass(frozen=True)
class Roofline:
    """A network against a device.

    Args:
        parts: in the order in which they run.
        whole: their sums; its `least_ms` is the sum of the parts', its `attainable` what that
            gives.
        peak: operations a second.
        bandwidth: bytes a second.
        batch: images.
        precision: a key of `BYTES`.
        fusion: what counts as traffic.
    """

    parts: tuple[Intensity, ...]
    whole: Intensity
    peak: float
    bandwidth: float
    batch: int
    precision: str
    fusion: Fusion


@dataclasses.dataclass(frozen=True)
class PublishedIntensity:
    """A row of the paper's Table 3.

    Args:
        model: as the paper names it.
        network: what stands for it here, in the zoo or in timm.
        resolution: of timm's networks; None: the zoo's own.
        intensity: operations a byte.
        macs_g: multiply-adds in 10^9, which the paper calls FLOPs.
        execution_efficiency_percent: on TPUv3.
        latency_ms: device -> of a batch of 128.
        grouped: whether it has grouped convolutions that are not depthwise.
    """

    model: str
    network: str
    resolution: int | None
    intensity: float
    macs_g: float
    execution_efficiency_percent: float
    latency_ms: Mapping[str, float]
    grouped: bool


def _read(file: str) -> Mapping[str, Any]:
    folder = resources.files("moga.networks").joinpath("published")
    content: Mapping[str, Any] = json.loads(folder.joinpath(file).read_text(encoding="utf-8"))
    return content


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Return the devices whose figures ship with moga, by name."""
    found = {}
    for entry in _read("accelerators.json")["accelerators"]:
        peak = {precision: tera * 1e12 for precision, tera in entry["peak_tflops"].items()}
        found[entry["name"]] = Accelerator(
            name=entry["name"],
            title=entry["title"],
            peak=MappingProxyType(peak),
            bandwidth=entry["bandwidth_gbs"] * 1e9,
            source=entry["source"],
        )
    return MappingProxyType(found)


def accelerator(name: str) -> Accelerator:
    """Return a device's figures.

    Raises:
        UnknownName: no such device; lists near names.
    """
    if name not in accelerators():
        raise UnknownName("accelerator", name, accelerators())
    return accelerators()[name]


@cache
def published_intensities() -> tuple[PublishedIntensity, ...]:
    """Return the paper's Table 3 (Li et al. 2021)."""
    return tuple(PublishedIntensity(**row) for row in _read("intensity.json")["rows"])


def roofline(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    peak: float,
    bandwidth: float,
    batch: int = 128,
    precision: str = "fp16",
    fusion: Fusion = "fused",
) -> Roofline:
    """Return work, traffic and intensity of a module's parts, and what a device gives them.

    Args:
        module: any; a published network's parts are its blocks.
        input_shape: channels, height and width of an image.
        peak: operations a second, of the device at this precision.
        bandwidth: bytes a second, of the device's memory.
        batch: images a batch.
        precision: a key of `BYTES`: how many bytes a number has.
        fusion: what counts as traffic (`moga.networks.trace`).

    Raises:
        UsageError: an unknown precision or fusion; a peak or bandwidth not above 0; a module that
            cannot run without data.
    """
    if precision not in BYTES:
        raise UsageError(f"precision is {precision!r}; give one of {', '.join(BYTES)}")
    for name, value in (("peak", peak), ("bandwidth", bandwidth)):
        if not 0 < value < float("inf"):
            raise UsageError(f"{name} is {value!r}; give a number above 0")
    traced = trace(module, input_shape, batch=batch, fusion=fusion)
    kinds = _kinds(module)
    parts = tuple(
        _part(
            kinds.get(part.name, part.name),
            _OPERATIONS_A_MAC * part.macs,
            BYTES[precision] * part.moved,
            peak=peak,
            bandwidth=bandwidth,
        )
        for part in traced
    )
    return Roofline(parts, _whole(parts), peak, bandwidth, batch, precision, fusion)


def _kinds(module: nn.Module) -> dict[str, str]:
    """Return part -> its number and kind of block, for a network of moga's; {} for others."""
    described = getattr(module, "network", None)
    blocks = described.blocks if isinstance(described, Network) else ()
    return {f"blocks.{index}": f"{index} {block.operation}" for index, block in enumerate(blocks)}


def _part(name: str, work: int, traffic: int, *, peak: float, bandwidth: float) -> Intensity:
    computing, moving = work / peak, traffic / bandwidth
    seconds = max(computing, moving)
    limit = "compute" if computing > moving else "memory"
    return Intensity(
        name,
        work,
        traffic,
        attainable=work / seconds if seconds else 0.0,
        least_ms=1000 * seconds,
        limit=limit if seconds else "none",
    )


def _whole(parts: Sequence[Intensity]) -> Intensity:
    work = sum(part.operations for part in parts)
    traffic = sum(part.traffic_bytes for part in parts)
    milliseconds = sum(part.least_ms for part in parts)
    by_memory = sum(part.least_ms for part in parts if part.limit == "memory")
    return Intensity(
        "network",
        work,
        traffic,
        attainable=1000 * work / milliseconds if milliseconds else 0.0,
        least_ms=milliseconds,
        limit="memory" if 2 * by_memory >= milliseconds else "compute",
    )
