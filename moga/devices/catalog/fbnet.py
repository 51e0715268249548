"""FBNet's space on the same 23 device settings: tables fitted to whole networks timed by HELP.

HELP (Lee et al. 2021, arXiv 2106.08630; MIT licence) gives the times of 5,000 random networks of
FBNet's space on each device. ``fbnet.npz`` holds what `moga.devices.fit.fit_table` makes of all
5,000; ``benchmarks/fitted_tables.py --write`` builds it. That the images had 32 x 32 pixels follows
from the times: three numbers (multiply-adds, bytes, convolutions) explain them to 1.4 % on eyeriss
and 3.4 % on the FPGA when counted at 32 pixels, to 2.6 and 5.5 % when counted at 224.

The tables are of the space at 32 pixels. They are used for any number of classes, though the last
layer is that of the networks timed (of CIFAR-100, as HELP says), whose time is in the constant.
Standard errors are those of one new timing, noise included. pixel3, raspi4, fpga and eyeriss are
sums of a table to the last digit: their times were never measured end to end.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.devices.table import TableSource
from moga.errors import UsageError
from moga.files import atomic_path, canonical_json
from moga.spaces.base import Space
from moga.spaces.cost import CostTable
from moga.spaces.fbnet import FBNetSpace

__all__ = ["FBNET_DEVICES", "RESOLUTION", "fbnet_source", "fbnet_table", "write_fbnet"]

RESOLUTION: Final = 32
"""Side of the images of the networks that were timed, in pixels."""
FBNET_DEVICES: Final = (
    *("1080ti_1", "1080ti_32", "1080ti_64", "2080ti_1", "2080ti_64"),
    *("titan_rtx_32", "titan_rtx_64", "titanx_1", "titanx_32", "titanx_64"),
    *("titanxp_1", "titanxp_32", "titanxp_64", "gold_6226", "silver_4114", "silver_4210r"),
    *("essential_ph_1", "pixel2", "pixel3", "samsung_a50", "raspi4", "fpga", "eyeriss"),
)
"""The settings; a GPU's suffix is its batch size."""
_PATH: Final = Path(__file__).with_name("fbnet.npz")
_CLASSES: Final = (10, 100, 1000)


def fbnet_source(name: str) -> TableSource:
    """Return where a device's table of FBNet's space comes from; nothing is read yet."""
    return TableSource(partial(fbnet_table, name), _spaces)


def fbnet_table(name: str, space: Space) -> CostTable:
    """Return the fitted table of one device.

    Raises:
        UsageError: the space at another resolution.
    """
    if getattr(space, "resolution", None) != RESOLUTION:
        raise UsageError(
            f"the device {name!r} knows fbnet(resolution={RESOLUTION}), not {space.spec}; take "
            "that space, or a device that measures, such as cpu"
        )
    header, arrays = _content()
    entry = header[name]
    return CostTable(
        "latency",
        "ms",
        space,
        _per_slot(space, arrays[name]),
        _per_slot(space, arrays[f"{name}_se"]),
        constant=entry["constant"],
        grid=entry["grid"],
        provenance=entry["provenance"],
    )


def write_fbnet(tables: Mapping[str, CostTable], path: Path = _PATH) -> None:
    """Write fitted tables as the catalogue's data: (22, 9) numbers and as many errors a device."""
    content: dict[str, NDArray[Any]] = {}
    header = {}
    for name, table in tables.items():
        content[name] = _stack(table.space, table.arrays)
        content[f"{name}_se"] = _stack(table.space, table.spread)
        header[name] = {
            "constant": table.constant,
            "grid": table.grid,
            "provenance": dict(table.provenance),
        }
    content["header"] = np.array(canonical_json(header))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **content)


def _spaces() -> Sequence[Space]:
    return [FBNetSpace(RESOLUTION, classes) for classes in _CLASSES]


@lru_cache(maxsize=1)
def _content() -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    with np.load(_PATH, allow_pickle=False) as file:
        arrays = {name: file[name].astype(float) for name in file.files if name != "header"}
        return json.loads(str(file["header"])), arrays


def _stack(space: Space, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Stack the arrays of the slots that have genes: (layers, operations)."""
    pairs = zip(space.slots, arrays, strict=True)
    return np.array([array for slot, array in pairs if slot.genes], dtype=np.float32)


def _per_slot(space: Space, stacked: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return tuple(
        stacked[slot.genes[0]] if slot.genes else np.zeros(slot.shape) for slot in space.slots
    )
