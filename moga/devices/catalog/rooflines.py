"""Devices that nobody here has, by calibrated roofline: V100, T4, GV100, TPUv3, phones and others.

``calibrations.json`` holds what `RooflineDevice.calibrate` makes of the published tables
(``benchmarks/latency_models.py --write`` builds it); its errors are those of networks that were
left out. A device without a calibration has its data sheet and the engine's priors alone.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from moga.devices.roofline import RooflineDevice, data_sheets
from moga.errors import UnknownName

__all__ = ["FORMAT", "ROOFLINES", "calibrations", "roofline_device"]

FORMAT: Final = {"format": "moga-roofline-calibrations", "version": 1}


@cache
def calibrations() -> Mapping[str, Mapping[str, Any]]:
    """Return the calibrations that ship with moga, by the name of the device."""
    file = resources.files("moga.devices.catalog").joinpath("calibrations.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    return MappingProxyType({entry["name"]: entry for entry in content["calibrations"]})


def roofline_device(
    name: str, precision: str = "", batch: int | None = None, engine: str = ""
) -> RooflineDevice:
    """Return a device of the catalogue: ``t4(precision=int8, batch=32)``.

    Args:
        name: of a data sheet or a calibration.
        precision: "": the device's usual one.
        batch: images a batch; None: the smallest that its calibration covers, else 1.
        engine: a key of `roofline.ENGINES`; "": the device's usual one.

    Raises:
        UnknownName: no such device.
        UsageError: a precision without a peak, or a batch below 1.
    """
    if name not in calibrations() and name not in data_sheets():
        raise UnknownName("device", name, ROOFLINES)
    own = calibrations().get(name)
    sheet = data_sheets()[own["sheet"] if own else name]
    usual = (own["engine"], own["precision"]) if own else (sheet.engine, sheet.precision)
    wanted = (engine or usual[0], precision or usual[1])
    found = own if own and wanted == usual else _calibration(sheet.name, *wanted)
    usual_batch = min(found["batches"]) if found else 1
    batch = usual_batch if batch is None else batch
    given = {
        "precision": (precision, usual[1]),
        "batch": (batch, usual_batch),
        "engine": (engine, usual[0]),
    }
    changed = [
        f"{key}={value}" for key, (value, default) in given.items() if value not in ("", default)
    ]
    title = f"{name}({', '.join(changed)})" if changed else name
    kept = ("parameters", "spread", "error", "covered", "batches", "copy_gbs", "source")
    return RooflineDevice(
        title,
        sheet,
        engine=wanted[0],
        precision=wanted[1],
        batch=batch,
        **({key: found[key] for key in kept} if found else {}),
    )


def _calibration(sheet: str, engine: str, precision: str) -> Mapping[str, Any] | None:
    keys = (sheet, engine, precision)
    for entry in calibrations().values():
        if (entry["sheet"], entry["engine"], entry["precision"]) == keys:
            return entry
    return None


def _factory(name: str) -> Callable[..., RooflineDevice]:
    return partial(roofline_device, name)


ROOFLINES: Final[Mapping[str, Callable[..., RooflineDevice]]] = MappingProxyType(
    {name: _factory(name) for name in dict.fromkeys((*data_sheets(), *calibrations()))}
)
"""Name of a device -> what makes it; takes precision, batch and engine."""
