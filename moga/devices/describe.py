"""What each device that can be named is: hardware, engine, precision, batch, known error. No torch.

``moga devices`` lists it. Nothing is measured and no engine is started to say it.
"""

import dataclasses
from collections.abc import Iterator
from typing import Final

from moga import registry
from moga.devices.catalog import batch_of
from moga.devices.catalog.fbnet import FBNET_DEVICES, RESOLUTION, fbnet_table
from moga.devices.catalog.rooflines import ROOFLINES, roofline_device
from moga.runtime.environment import cpu_model
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.nasbench201 import DEVICES, NASBench201

__all__ = ["Description", "describe"]

_HERE: Final = {
    "cpu": ("torch", "fp32", ""),
    "cuda": ("torch", "fp16", "its code was not run on hardware for this release"),
    "onnxruntime": ("onnxruntime", "fp32", "only its provider cpu was run for this release"),
    "tensorrt": (
        "tensorrt",
        "fp16",
        "written against TensorRT's documentation, not verified on hardware",
    ),
}
"""Devices that are measured where moga runs -> engine, usual precision, and what to beware of."""
_NEEDS_ARGUMENTS: Final = ("table", "preset")
_HELP_HARDWARE: Final = {
    "1080ti": "NVIDIA GTX 1080 Ti",
    "2080ti": "NVIDIA RTX 2080 Ti",
    "titan_rtx": "NVIDIA Titan RTX",
    "titanx": "NVIDIA Titan X",
    "titanxp": "NVIDIA Titan Xp",
    "gold_6226": "Intel Xeon Gold 6226",
    "gold_6240": "Intel Xeon Gold 6240",
    "silver_4114": "Intel Xeon Silver 4114",
    "silver_4210r": "Intel Xeon Silver 4210R",
    "essential_ph_1": "Essential PH-1 phone",
    "pixel2": "Google Pixel 2",
    "pixel3": "Google Pixel 3",
    "samsung_a50": "Samsung Galaxy A50",
    "samsung_s7": "Samsung Galaxy S7",
    "raspi4": "Raspberry Pi 4",
    "fpga": "FPGA",
    "eyeriss": "Eyeriss (simulated)",
}
_NOT_STATED: Final = "not stated"
_EXACT_PERCENT: Final = 0.01
"""A fit with less error than this found the sums of a table, and no measurements."""
_EXACT: Final = (
    "its published times of fbnet fit exactly, as sums of a table do: they were never measured end "
    "to end, and the error of 0 % proves nothing"
)
_HELP: Final = "HELP (Lee et al. 2021, arXiv 2106.08630)"


@dataclasses.dataclass(frozen=True)
class Description:
    """One device, or one of the spaces that a device of tables knows.

    Args:
        name: what `moga.registry.create` takes.
        hardware: in words.
        engine: what runs networks; "not stated" where the source does not say, "" for a plug-in.
        precision: as `engine`.
        batch: images a batch, unless the name is given another.
        provenance: how its latencies are known, one of `devices.base.PROVENANCES`.
        spaces: "any", or the space that it knows, as `moga.registry.create` takes it; what the
            text leaves out may be anything.
        error_percent: expected error of a network's time, in percent; None where it is not known.
        error_kind: of what: "networks left out", "priors alone", "timings left out", or "".
        source: of the measurements.
        caution: what was not run on real hardware, or an error that proves nothing; "": neither.
        calibrated_batches: a roofline's, in ascending order; () where it has no calibration.
    """

    name: str
    hardware: str
    engine: str
    precision: str
    batch: int
    provenance: str
    spaces: str
    error_percent: float | None
    error_kind: str
    source: str
    caution: str = ""
    calibrated_batches: tuple[int, ...] = ()


def describe() -> list[Description]:
    """Return all devices that have a name: measured here, by roofline, by table, of plug-ins."""
    found = [*_here(), *_rooflines(), *_tables()]
    known = {entry.name for entry in found}.union(_NEEDS_ARGUMENTS)
    others = [name for name in registry.names("device") if name not in known]
    plugins = (Description(n, "", "", "", 1, "", "", None, "", "a plug-in") for n in others)
    return [*found, *plugins]


def _here() -> Iterator[Description]:
    gpu = "an NVIDIA GPU of this host"
    hardware = {"cpu": f"this host: {cpu_model()}", "cuda": gpu, "tensorrt": gpu}
    source = "measured when asked for; moga profile prints the error"
    for name, (engine, precision, caution) in _HERE.items():
        where = hardware.get(name, "this host")
        kind = (1, "measured", "any", None, "")
        yield Description(name, where, engine, precision, *kind, source, caution)


def _rooflines() -> Iterator[Description]:
    for name in ROOFLINES:
        device = roofline_device(name)
        yield Description(
            name,
            device.sheet.title,
            device.engine.name,
            device.precision,
            device.batch,
            "roofline",
            "any",
            round(100 * device.error, 1),
            device.error_kind,
            device.source or "not calibrated: priors alone",
            calibrated_batches=device.batches,
        )


def _tables() -> Iterator[Description]:
    for name in dict.fromkeys((*DEVICES, *FBNET_DEVICES)):
        hardware = _HELP_HARDWARE.get(name) or _HELP_HARDWARE.get(name.rpartition("_")[0], "")
        how = (name, hardware, _NOT_STATED, _NOT_STATED, batch_of(name))
        if name in DEVICES:
            yield Description(*how, "table", NASBench201.name, None, "", _HELP)
        if name in FBNET_DEVICES:
            space = f"{FBNetSpace.name}(resolution={RESOLUTION})"  # of any number of classes
            error = float(fbnet_table(name, FBNetSpace(RESOLUTION)).provenance["cv_mape"])
            known = (space, round(error, 1), "timings left out", _HELP)
            yield Description(*how, "fitted", *known, _EXACT if error < _EXACT_PERCENT else "")
