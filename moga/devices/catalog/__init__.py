"""Devices that ship with moga as tables: 23 settings on which all of NAS-Bench-201 was timed.

On as many settings, most of them the same, 5,000 networks of FBNet's space were timed; a table is
fitted to those (see `moga.devices.catalog.fbnet`). A device knows the spaces that were timed on it.

V100, T4 and others know any space, by roofline (see `moga.devices.catalog.rooflines`).

The times are those of HELP (Lee et al. 2021, "Hardware-adaptive Efficient Latency Prediction for
NAS via Meta-Learning", arXiv 2106.08630; MIT licence), as it gives them. A GPU's suffix is its
batch size; eyeriss is a simulator. Standard errors are not known for NAS-Bench-201.

Noise grids for NAS-Bench-201: essential_ph_1, pixel2 and samsung_a50 were recorded in whole
milliseconds, so their grid is 1 ms; the others are taken as exact (grid 0), for their noise is not
known.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, cast

from moga.devices.base import Device
from moga.devices.catalog.fbnet import FBNET_DEVICES, fbnet_source
from moga.devices.catalog.rooflines import ROOFLINES
from moga.devices.table import TableDevice, TableSource
from moga.spaces.base import Space
from moga.spaces.cost import CostTable
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.nasbench201 import DATA, DEVICES, NASBench201

__all__ = ["CATALOG", "batch_of"]

_WHOLE_MS: Final = ("essential_ph_1", "pixel2", "samsung_a50")
_GPUS: Final = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")


def batch_of(name: str) -> int:
    """Return the images a batch of a device of HELP's: a GPU's suffix."""
    model, _, suffix = name.rpartition("_")
    return int(suffix) if model in _GPUS else 1


def _table(name: str, space: Space) -> CostTable:
    shape = space.slots[0].shape
    return CostTable(
        "latency",
        "ms",
        space,
        (cast(NASBench201, space).latency_ms(name).reshape(shape),),
        grid=1.0 if name in _WHOLE_MS else 0.0,
        provenance={"method": "table", "device": name, "source": "HELP (Lee et al. 2021)"},
    )


def _spaces() -> Sequence[Space]:
    return [NASBench201(data) for data in DATA]


def _device(name: str) -> TableDevice:
    sources = {}
    if name in DEVICES:
        sources[NASBench201.name] = TableSource(partial(_table, name), _spaces)
    if name in FBNET_DEVICES:
        sources[FBNetSpace.name] = fbnet_source(name)
    return TableDevice(name, sources, batch=batch_of(name))


_TABLES: Final = {
    name: partial(_device, name) for name in dict.fromkeys((*DEVICES, *FBNET_DEVICES))
}
CATALOG: Final[Mapping[str, Callable[..., Device]]] = MappingProxyType({**_TABLES, **ROOFLINES})
"""Name of a device -> what makes it; names cost nothing to list."""
