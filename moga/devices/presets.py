"""How the papers measured latency, by name: batch, precision, repetitions, and what a figure is.

In moga every latency is in ms a batch (`Latency.ms`). Papers differ: `Preset.unit` says what theirs
is in, and `Preset.figure` turns one into the other, so that the two are never mixed.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from moga.devices.base import Latency
from moga.devices.host import HostDevice
from moga.devices.timing import Sampling
from moga.errors import UnknownName, UsageError
from moga.registry import create

__all__ = ["PRESETS", "Preset", "preset"]

Unit = Literal["ms a batch", "ms an image"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A paper's protocol.

    Args:
        name: what users call it.
        engine: name of the device in the registry that carries it out.
        arguments: of that device.
        batches: the batch sizes that the paper used, its own first; () for any.
        repetitions: runs that count.
        trim: share left out at either end.
        unit: what the paper's figures are in.
        hardware: what the paper measured on.
        source: where the paper says so.
        departs: where moga differs from it.
    """

    name: str
    engine: str
    arguments: Mapping[str, Any]
    batches: tuple[int, ...]
    repetitions: int
    trim: float
    unit: Unit
    hardware: str
    source: str
    departs: str

    @property
    def sampling(self) -> Sampling:
        """How often this preset times: its repetitions, no more and no fewer."""
        return Sampling(rounds=self.repetitions, most=self.repetitions, trim=self.trim)

    def figure(self, latency: Latency) -> float:
        """Return a latency as the paper gives it, in `unit`.

        Raises:
            UsageError: a latency of a batch that the paper did not use.
        """
        if latency.batch not in self.batches:
            raise UsageError(
                f"the preset {self.name} is of batch {' or '.join(map(str, self.batches))}; this "
                f"latency is of batch {latency.batch}"
            )
        return latency.ms / latency.batch if self.unit == "ms an image" else latency.ms


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="genet",
                engine="cuda",
                arguments={"mode": "eager", "precision": "fp16"},
                batches=(64, 32),
                repetitions=30,
                trim=0.1,
                unit="ms an image",
                hardware="V100, PyTorch FP16",
                source="Lin et al. 2020, arXiv 2006.14090, section 4: the mean of 30 repetitions "
                "without 10 % at either end",
                departs="shuffled rounds over all networks, instead of one network after another",
            ),
            Preset(
                name="gpunet",
                engine="tensorrt",
                arguments={"precision": "fp16", "workspace_gb": 10.0},
                batches=(1,),
                repetitions=1000,
                trim=0.1,
                unit="ms a batch",
                hardware="GV100, TensorRT 8 FP16, 10 GB workspace, GPU compute time",
                source="Wang et al. 2022, arXiv 2205.00841, section 3.1: 1,000 runs",
                departs="TensorRT 10 or 11; shuffled rounds; the mean without 10 % at either end",
            ),
            Preset(
                name="efficientnet_x",
                engine="cuda",
                arguments={"mode": "graph", "precision": "fp16"},
                batches=(128,),
                repetitions=30,
                trim=0.1,
                unit="ms a batch",
                hardware="V100 and TPUv3, 128 images",
                source="Li et al. 2021, arXiv 2102.05610, section 4",
                departs="torch instead of TensorFlow; the paper gives no repetitions",
            ),
            Preset(
                name="moga",
                engine="cpu",
                arguments={},
                batches=(1,),
                repetitions=30,
                trim=0.1,
                unit="ms a batch",
                hardware="a phone's GPU, batch 1",
                source="Chu et al. 2020, arXiv 1908.01314, section 3.2",
                departs="this machine's processor instead of the phone's GPU; the paper gives no "
                "repetitions",
            ),
        )
    }
)
"""The protocols by name."""


def preset(
    name: str = "",
    batch: int | None = None,
    *,
    seconds: float = 600.0,
    missing: str = "measure",
    refresh: bool = False,
    workers: int = 0,
) -> HostDevice:
    """Return the device that measures by a paper's protocol.

    Args:
        name: a key of `PRESETS`; needed.
        batch: one of the paper's batches; None: its first.
        seconds: with ``missing=predict``, all that may be spent on timing blocks.
        missing: what becomes of blocks without a time, as of `host.cpu`.
        refresh: ignore cached values.
        workers: Ray actors that time blocks; 0: this process.

    Raises:
        UnknownName: no such preset.
        UsageError: no name, another batch; what the engine needs is not there.
        MissingExtra: the engine's library is not installed.
    """
    if not name:
        raise UsageError(
            "the device 'preset' needs the name of a protocol, as in preset(name=genet); known: "
            f"{', '.join(PRESETS)}"
        )
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    found = PRESETS[name]
    chosen = found.batches[0] if batch is None else batch
    if chosen not in found.batches:
        raise UsageError(
            f"the preset {name} is of batch {' or '.join(map(str, found.batches))}; got {batch}"
        )
    device: HostDevice = create(
        "device",
        found.engine,
        batch=chosen,
        seconds=seconds,
        missing=missing,
        refresh=refresh,
        workers=workers,
        **found.arguments,
    )
    device.sampling = dataclasses.replace(found.sampling, seconds=device.sampling.seconds)
    device.name = f"preset(name={name}, batch={chosen})"
    how = f" (ms a batch, divided by {chosen})" if found.unit == "ms an image" else ""
    device.about = {
        "preset": name,
        "paper": found.source,
        "paper_hardware": found.hardware,
        "paper_unit": found.unit + how,
        "departs": found.departs,
    }
    return device
