"""CostTable: every additive cost of a space as one small array a slot.

The cost of a million genomes is then a gather and a sum. Latency on any device, parameters and MACs
share this one mechanism.
"""

import dataclasses
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes
from moga.errors import FormatError
from moga.files import atomic_path, canonical_json, digest
from moga.network import Block
from moga.networks.count import COUNTERS
from moga.spaces.base import Slot, Space

__all__ = ["CostTable", "count_table", "slot_blocks"]

_FORMAT: Final = "moga-cost-table"
_VERSION: Final = 1
_CHUNK: Final = 1 << 16
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy and json raise on files that are no archive of arrays with a JSON header."""


def slot_blocks(slot: Slot) -> Iterator[tuple[tuple[int, ...], tuple[tuple[Block, int], ...]]]:
    """Yield every entry of a slot: its index in the slot's array, and its blocks with times."""
    for index in np.ndindex(*slot.shape):
        if (blocks := slot.entry(index)) is not None:
            yield index, blocks


@dataclasses.dataclass(frozen=True)
class CostTable:
    """One array a slot; the cost of a genome is the constant plus the sum of its entries.

    Args:
        metric: what it gives: "latency", "params", "macs".
        unit: its unit, "ms" for latency.
        space: the space that it belongs to.
        arrays: one a slot, of the slot's shape; nan where no network has that entry.
        spread: standard errors, of the same shapes; () where the values are exact.
        constant: what every network costs besides.
        grid: costs are rounded to multiples of this noise step where they are compared; 0: never.
        provenance: how it came about, as JSON values: method, device, versions, settings.

    Raises:
        ValueError: where shapes do not match the space's slots.
    """

    metric: str
    unit: str
    space: Space
    arrays: tuple[NDArray[Any], ...]
    spread: tuple[NDArray[np.float64], ...] = ()
    constant: float = 0.0
    grid: float = 0.0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = [slot.shape for slot in self.space.slots]
        for name, arrays in (("arrays", self.arrays), ("spread", self.spread or self.arrays)):
            if [array.shape for array in arrays] != shapes:
                raise ValueError(f"cost table {self.metric}: {name} do not match {shapes}")

    def __call__(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the cost of each genome: (n, genes) -> (n,), in `unit`."""
        return self._sum(self.arrays, genomes) + self.constant

    def standard_error(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the standard error of each cost, entries independent: (n, genes) -> (n,)."""
        if not self.spread:
            return np.zeros(len(np.atleast_2d(genomes)))
        return np.sqrt(self._sum(tuple(array**2 for array in self.spread), genomes))

    def _sum(self, arrays: tuple[NDArray[Any], ...], genomes: Genomes) -> NDArray[np.float64]:
        genomes = np.atleast_2d(genomes)
        total = np.zeros(len(genomes))
        for start in range(0, len(genomes), _CHUNK):  # chunks stay in the processor's cache
            chunk, part = genomes[start : start + _CHUNK], total[start : start + _CHUNK]
            for slot, array in zip(self.space.slots, arrays, strict=True):
                part += array[()] if array.ndim == 0 else array.ravel().take(slot.flat_index(chunk))
        return total

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of the cost over the whole space: the sums of each slot's smallest and largest.

        Where slots share genes, no network need reach them.
        """
        low = sum(float(np.nanmin(array)) for array in self.arrays)
        high = sum(float(np.nanmax(array)) for array in self.arrays)
        return self.constant + low, self.constant + high

    @property
    def digest(self) -> str:
        """A hash of the values and the space."""
        values = [np.nan_to_num(array.astype(float), nan=-1.0).tolist() for array in self.arrays]
        return digest([self.metric, self.space.digest, self.constant, self.grid, values])

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file: the arrays, and a JSON header with the space's digest."""
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "metric": self.metric,
            "unit": self.unit,
            "space": self.space.spec,
            "space_digest": self.space.digest,
            "constant": self.constant,
            "grid": self.grid,
            "provenance": dict(self.provenance),
        }
        content: dict[str, NDArray[Any]] = {"header": np.array(canonical_json(header))}
        content |= {f"array_{index}": array for index, array in enumerate(self.arrays)}
        content |= {f"spread_{index}": array for index, array in enumerate(self.spread)}
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **content)

    @classmethod
    def load(cls, path: Path, space: Space) -> "CostTable":
        """Read what `save` wrote.

        Raises:
            FormatError: a damaged file, another version, or a table of another space.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            header = dict(json.loads(str(content["header"])))
        except _UNREADABLE as error:
            raise FormatError(f"{path} is no cost table: {error}") from error
        if header.get("format") != _FORMAT or header.get("version") != _VERSION:
            raise FormatError(f"{path}: expected a cost table of version {_VERSION}")
        if header.get("space_digest") != space.digest:
            raise FormatError(
                f"{path} is a table of the space {header.get('space')}, not of {space.spec}; "
                "build one for this space with `moga profile`"
            )
        count = range(len(space.slots))
        try:
            return cls(
                metric=header["metric"],
                unit=header["unit"],
                space=space,
                arrays=tuple(content[f"array_{i}"] for i in count),
                spread=tuple(content[f"spread_{i}"] for i in count if f"spread_{i}" in content),
                constant=header["constant"],
                grid=header["grid"],
                provenance=header["provenance"],
            )
        except (KeyError, ValueError) as error:
            raise FormatError(f"{path} is a damaged cost table: {error}") from error


def count_table(
    space: Space, metric: str, counter: Callable[[Block], int] | None = None
) -> CostTable:
    """Build the exact table of an additive metric that follows from blocks alone.

    Args:
        space: any space.
        metric: "params" or "macs", or a name of your own with a `counter`.
        counter: block -> integer; default: `networks.count.COUNTERS[metric]`.
    """
    counter = counter or COUNTERS[metric]
    arrays = []
    for slot in space.slots:
        array = np.full(slot.shape, np.nan)
        for index, blocks in slot_blocks(slot):
            array[index] = math.fsum(times * counter(block) for block, times in blocks)
        arrays.append(array)
    return CostTable(metric, "", space, tuple(arrays), provenance={"method": "counted"})
