"""Devices that ship with moga as tables: 23 settings on which all of NAS-Bench-201 was timed.

On as many settings, most of them the same, 5,000 networks of FBNet's space were timed; a table is
fitted to those (see `moga.devices.catalog.fbnet`). A device knows the spaces that were timed on it.

V100, T4 and others know any space, by roofline (see `moga.devices.catalog.rooflines`).

The times are those of HELP (Lee et al. 2021, "Hardware-adaptive Efficient Latency Prediction for
NAS via Meta-Learning", arXiv 2106.08630; MIT licence), as it gives them. A GPU's suffix is its
batch size; eyeriss is a simulator.

HELP gives one time a network of NAS-Bench-201, and no spread. But 1,500 pairs of its networks
compute the same in another order (`NASBench201.twins`), so that each was timed twice: what the two
times differ by is their noise. Which of two is the slower follows from their operations on
2080ti_256 (R2 .79, at a spread of .1 %) and titan_rtx_32 (.26) alone. The standard errors of a
device are one share of the latency, the root mean square of those differences; its noise grid
follows. On fpga and eyeriss all pairs agree to the last digit: those times were computed, not
measured, and their spread is not known.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from moga.devices.base import Device, of_batch, with_noise
from moga.devices.catalog.fbnet import FBNET_DEVICES, fbnet_source
from moga.devices.catalog.rooflines import ROOFLINES
from moga.devices.table import TableDevice, TableSource
from moga.spaces.base import Space
from moga.spaces.cost import CostTable
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.nasbench201 import DATA, DEVICES, NASBench201

__all__ = ["CATALOG", "batch_of"]

_GPUS: Final = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")


def batch_of(name: str) -> int:
    """Return the images a batch of a device of HELP's: a GPU's suffix."""
    model, _, suffix = name.rpartition("_")
    return int(suffix) if model in _GPUS else 1


def _table(name: str, space: Space) -> CostTable:
    known = cast(NASBench201, space)
    ms, twins = known.latency_ms(name), known.twins
    share = _share(ms[twins])
    shape = space.slots[0].shape
    provenance = {
        "method": "table",
        "device": name,
        **of_batch(batch_of(name)),
        "source": "HELP (Lee et al. 2021)",
        "spread_from": (
            "nothing: the times were computed, for networks that stand twice have equal ones"
            if math.isnan(share)
            else f"{len(twins)} networks timed twice"
        ),
    }
    arrays, spread = (ms.reshape(shape),), ((share * ms).reshape(shape),)
    return with_noise(CostTable("latency", "ms", space, arrays, spread, provenance=provenance))


def _share(twice: NDArray[np.float64]) -> float:
    """Return the standard error of one time over that time, from two each: (pairs, 2).

    nan where all pairs are equal: nothing was timed.
    """
    difference = np.subtract(*twice.T)
    if not difference.any():
        return math.nan
    return float(np.sqrt((difference**2).sum() / 2 / (twice.mean(axis=1) ** 2).sum()))


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
