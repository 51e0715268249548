"""CostTable: every additive cost of a space as one small array a slot.

The cost of a million genomes is then a gather and a sum. Latency on any device, parameters and MACs
share this one mechanism.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga._version import __version__
from moga.contracts import Genomes, is_number
from moga.errors import FormatError, UsageError
from moga.files import atomic_path, cache_dir, canonical_json, digest
from moga.network import Block
from moga.networks.count import COUNTERS
from moga.spaces.base import Slot, Space, sample_uniform

__all__ = ["FINISHES", "CostTable", "CostTables", "Finish", "count_table", "slot_blocks"]

_FORMAT: Final = "moga-cost-table"
_VERSION: Final = 1
_CHUNK: Final = 1 << 13
_GROUP: Final = 1 << 11
"""Entries of slots that are added up beforehand: few enough for the processor's first cache."""
_CACHED_FROM: Final = 10_000
_CHECKED: Final = 20
_SAMPLE: Final = 4096
"""Random networks whose times must be of one order."""
_ABSURD: Final = 1000
"""A network that takes so many times the median one is none."""
_LONGEST_MS: Final = 3.6e6
"""An hour. No device is given longer for a batch."""
_OF_BLOCKS: Final = ("measured", "imported", "roofline")
"""Methods that give each block its own time. An entry may be 0, for it may have no block; that of a
fitted table may be negative, for its entries are known by their sums alone."""
_ARCHIVE: Final = b"PK\x03\x04"
"""How a zip file begins, as every .npz is one."""
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy and json raise on files that are no archive of arrays with a JSON header."""
_HEADER: Final = {"metric": str, "unit": str, "space": str, "finish": str, "provenance": dict}
_AGAIN: Final = "Build the table again: measure, fit or import it"


@dataclasses.dataclass(frozen=True)
class Finish:
    """What turns several additive columns into one cost; it never falls where a column rises.

    Args:
        columns: how many it takes.
        function: (n, columns) -> (n,).
    """

    columns: int
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _smooth_maximum(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 6-norm of each row, all values 0 or more: (n, columns) -> (n,)."""
    squares = columns * columns
    return np.asarray(np.cbrt(np.sqrt((squares * squares * squares).sum(axis=1))))


FINISHES: Final[Mapping[str, Finish]] = {"smooth_maximum_of_2": Finish(2, _smooth_maximum)}
"""Named, so that a table in a file says which is its own. smooth_maximum_of_2: a device that
computes while its host launches is as slow as the slower of the two (`devices.roofline`)."""


def slot_blocks(slot: Slot) -> Iterator[tuple[tuple[int, ...], tuple[tuple[Block, int], ...]]]:
    """Yield every entry of a slot: its index in the slot's array, and its blocks with times."""
    indices, values = np.ndindex(*slot.shape), itertools.product(*slot.axes)
    for index, chosen in zip(indices, values, strict=True):
        if (blocks := slot.blocks(*chosen)) is not None:
            yield index, blocks


@dataclasses.dataclass(frozen=True)
class CostTable:
    """One array a slot; the cost of a genome is the constant plus the sum of its entries.

    With a `finish`, entries are rows of several columns: the columns are summed, the finish makes
    one number of the sums, and the constant is added last.

    Args:
        metric: what it gives: "latency", "params", "macs".
        unit: its unit, "ms" for latency.
        space: the space that it belongs to.
        arrays: one a slot, of the slot's shape; nan where no network has that entry.
        spread: standard errors, of the same shapes, nan where they were not measured; () where the
            values are exact.
        constant: what every network costs besides.
        grid: costs are rounded to multiples of this noise step where they are compared; 0: never.
        provenance: how it came about, as JSON values: method, device, versions, settings.
        finish: a key of `FINISHES`; arrays then have one axis more, its columns; "": none.
        relative_error: a standard error that all of the table shares, relative to the cost.
        predicted: True where a part of the entry was predicted and not measured, of the same
            shapes; () where nothing was.

    Raises:
        ValueError: where shapes do not match the space's slots; an unknown finish, or one with a
            spread of entries.
    """

    metric: str
    unit: str
    space: Space
    arrays: tuple[NDArray[Any], ...]
    spread: tuple[NDArray[np.float64], ...] = ()
    constant: float = 0.0
    grid: float = 0.0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    predicted: tuple[NDArray[np.bool_], ...] = ()
    finish: str = ""
    relative_error: float = 0.0

    def __post_init__(self) -> None:
        if self.finish and (self.finish not in FINISHES or self.spread):
            raise ValueError(
                f"cost table {self.metric}: finish {self.finish!r}; expected one of "
                f"{', '.join(FINISHES)}, and no spread of entries"
            )
        columns = (FINISHES[self.finish].columns,) if self.finish else ()
        shapes = [slot.shape for slot in self.space.slots]
        for name, arrays, expected in (
            ("arrays", self.arrays, [(*shape, *columns) for shape in shapes]),
            ("spread", self.spread, shapes if self.spread else []),
            ("predicted", self.predicted, shapes if self.predicted else []),
        ):
            if [array.shape for array in arrays] != expected:
                raise ValueError(f"cost table {self.metric}: {name} do not match {shapes}")

    def __call__(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the cost of each genome: (n, genes) -> (n,), in `unit`."""
        if not self.finish:
            return self._sum(self.arrays, genomes) + self.constant
        return FINISHES[self.finish].function(self.columns(genomes)) + self.constant

    def columns(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the additive columns, before the finish and the constant: -> (n, columns)."""
        count = FINISHES[self.finish].columns if self.finish else 1
        parts = [self._sum(self._column(index), genomes) for index in range(count)]
        return np.stack(parts, axis=1)

    def _column(self, index: int) -> tuple[NDArray[Any], ...]:
        if not self.finish:
            return self.arrays
        return tuple(array[..., index] for array in self.arrays)

    def standard_error(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the standard error of each cost: (n, genes) -> (n,); nan: not measured.

        Entries err independently; `relative_error` is shared, and comes on top.
        """
        squares = np.zeros(len(np.atleast_2d(genomes)))
        if self.spread:
            squares += self._sum(tuple(array**2 for array in self.spread), genomes)
        if self.relative_error:
            squares += (self.relative_error * self(genomes)) ** 2
        return np.sqrt(squares)

    @property
    def uncertain(self) -> bool:
        """Whether standard errors are there; nan where they were not measured."""
        return bool(self.spread or self.relative_error)

    def predicted_slots(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return in how many slots each cost rests on a prediction: (n, genes) -> (n,)."""
        if not self.predicted:
            return np.zeros(len(np.atleast_2d(genomes)), dtype=np.int64)
        return self._sum(self.predicted, genomes).astype(np.int64)

    def _sum(self, arrays: tuple[NDArray[Any], ...], genomes: Genomes) -> NDArray[np.float64]:
        genomes = np.atleast_2d(genomes)
        total = np.zeros(len(genomes))
        for start in range(0, len(genomes), _CHUNK):  # chunks stay in the processor's cache
            chunk = np.asfortranarray(genomes[start : start + _CHUNK])
            part = total[start : start + _CHUNK]
            known: dict[int, NDArray[np.int64]] = {}
            for slot, array in zip(self.space.slots, arrays, strict=True):
                if array.ndim == 0:
                    part += array[()]
                else:
                    part += array.ravel().take(slot.flat_index(chunk, known))
        return total

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of the cost over the whole space: the sums of each slot's smallest and largest.

        Where slots share genes, no network need reach them.
        """
        pairs = [
            (array, tuple(range(len(slot.shape))))
            for slot, array in zip(self.space.slots, self.arrays, strict=True)
        ]
        low = sum(np.nanmin(array, axis=axes) for array, axes in pairs)
        high = sum(np.nanmax(array, axis=axes) for array, axes in pairs)
        both = np.stack([low, high])
        if self.finish:
            both = FINISHES[self.finish].function(both)
        return float(self.constant + both[0]), float(self.constant + both[1])

    @property
    def digest(self) -> str:
        """A hash of the values and the space."""
        values = [np.nan_to_num(array.astype(float), nan=-1.0).tolist() for array in self.arrays]
        finished = [self.finish] if self.finish else []
        return digest([self.metric, self.space.digest, self.constant, self.grid, values, *finished])

    def check(self) -> None:
        """Check that the values can be, as `save` and `load` do.

        Entries are finite (nan only where the slot has no such entry) and, where each was timed or
        counted by itself or goes into a finish, 0 or more; errors and the noise grid are 0 or more.
        A timed entry of 0 that stands alone among others along each of its genes has no block. Of a
        table in ms, 4,096 random networks take more than 0 ms and are of one order, and none
        of the space takes more than an hour.

        Raises:
            ValueError: naming the slot and the entry, or the network.
        """
        for name, low in (("constant", -math.inf), ("grid", 0.0), ("relative_error", 0.0)):
            value = getattr(self, name)
            if not (is_number(value) and value >= low):
                allowed = "a finite number" if low else "a finite number, 0 or more"
                raise ValueError(f"its {name} is {value!r}; expected {allowed}")
        method = self.provenance.get("method")
        own = bool(self.finish) or self.metric in COUNTERS or method in _OF_BLOCKS
        for slot, array in zip(self.space.slots, self.arrays, strict=True):
            _check_entries(slot, array, self.unit, 0.0 if own else -math.inf)
            if self.unit == "ms" and method in _OF_BLOCKS and not self.finish:
                _check_zeros(slot, array)
        for slot, array in zip(self.space.slots, self.spread, strict=False):  # () where exact
            _check_spread(slot, array, self.unit)
        if self.unit == "ms":
            self._check_networks()

    def _check_networks(self) -> None:
        """Check that a table in ms gives networks times.

        Raises:
            ValueError: naming the network.
        """
        with np.errstate(over="ignore"):
            _, most = self.bounds
        if not 0 < most <= _LONGEST_MS:
            raise ValueError(
                f"networks would take up to {most:g} ms; expected more than 0, an hour at most"
            )
        genomes = sample_uniform(self.space.sizes, _SAMPLE, np.random.default_rng(0))
        ms = self(genomes)
        usual = float(np.nanmedian(ms))
        wrong = (ms <= 0) | (ms > _ABSURD * abs(usual))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"the network {' '.join(map(str, genomes[row].tolist()))} would take {ms[row]:g} "
                f"ms, the median one {usual:g} ms; expected times above 0 of one order"
            )

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file: the arrays, and a JSON header with the space's digest.

        Raises:
            UsageError: values that cannot be, as `check` says; nothing is written.
        """
        try:
            self.check()
        except ValueError as error:
            raise UsageError(f"{path} is not written, for {error}. {_AGAIN}") from error
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
            "finish": self.finish,
            "relative_error": self.relative_error,
        }
        content: dict[str, NDArray[Any]] = {"header": np.array(canonical_json(header))}
        content |= {f"array_{index}": array for index, array in enumerate(self.arrays)}
        content |= {f"spread_{index}": array for index, array in enumerate(self.spread)}
        content |= {f"predicted_{index}": array for index, array in enumerate(self.predicted)}
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **content)

    @staticmethod
    def read_header(path: Path) -> dict[str, Any]:
        """Read what a stored table says of itself: metric, unit, space (its text), provenance...

        Raises:
            FormatError: none or a damaged file, one of another kind, or another version.
        """
        try:
            with Path(path).open("rb") as opened:
                archive = opened.read(len(_ARCHIVE)) == _ARCHIVE
            if not archive:  # of which numpy would only say that it holds no pickles
                raise ValueError("expected .npz, as CostTable.save writes")
            with np.load(path, allow_pickle=False) as file:
                header = dict(json.loads(str(file["header"])))
        except _UNREADABLE as error:
            raise FormatError(f"{path} is no cost table: {error}") from error
        if header.get("format") != _FORMAT or header.get("version") != _VERSION:
            raise FormatError(f"{path}: expected a cost table of version {_VERSION}")
        for name, kind in _HEADER.items():
            if not isinstance(value := header.get(name, kind()), kind):
                raise FormatError(
                    f"{path} is a damaged cost table: its {name} is {value!r}; expected "
                    f"{'a text' if kind is str else 'an object'}. {_AGAIN}"
                )
        return header

    @classmethod
    def load(cls, path: Path, space: Space) -> "CostTable":
        """Read what `save` wrote, and check it.

        Raises:
            FormatError: a damaged file, another version, a table of another space, or values that
                cannot be, as `check` says.
        """
        header = cls.read_header(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        except _UNREADABLE as error:
            raise FormatError(f"{path} is no cost table: {error}") from error
        if header.get("space_digest") != space.digest:
            raise FormatError(
                f"{path} is a table of the space {header.get('space')}, not of {space.spec}; "
                "build one for this space with `moga profile`"
            )
        count = range(len(space.slots))
        try:
            table = cls(
                metric=header["metric"],
                unit=header["unit"],
                space=space,
                arrays=tuple(content[f"array_{i}"] for i in count),
                spread=tuple(content[f"spread_{i}"] for i in count if f"spread_{i}" in content),
                constant=header["constant"],
                grid=header["grid"],
                provenance=header["provenance"],
                finish=header.get("finish", ""),
                relative_error=header.get("relative_error", 0.0),
                predicted=tuple(
                    content[f"predicted_{i}"] for i in count if f"predicted_{i}" in content
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{path} is a damaged cost table: {error}. {_AGAIN}") from error
        try:
            table.check()
        except ValueError as error:
            raise FormatError(f"{path}: {error}. {_AGAIN}") from error
        return table


def _check_entries(slot: Slot, array: NDArray[Any], unit: str, low: float) -> None:
    """Check one slot's entries; what its blocks are is asked where one is nan alone."""
    if array.dtype.kind not in "iuf":
        raise ValueError(f"the slot {slot.name} holds {array.dtype}; expected numbers")
    fine = np.isfinite(array)
    if low == 0:
        fine &= array >= 0
    if fine.all():
        return
    for index in np.argwhere(~fine).tolist():
        value, place = array[tuple(index)], index[: len(slot.shape)]
        if np.isnan(value) and slot.entry(place) is None:
            continue
        raise ValueError(
            f"the slot {slot.name} has {f'{value:g} {unit}'.strip()} at its entry {place}; "
            f"expected a finite number{', 0 or more' if low == 0 else ''}"
        )


def _check_zeros(slot: Slot, array: NDArray[Any]) -> None:
    """Check that entries of 0 ms which are not 0 all along one of the slot's axes have no block.

    To ask it of all entries of 0 would make too many: GPUNet's slots have 124,400 without a block.
    """
    zero = array == 0
    alone = zero.copy()
    for axis in range(zero.ndim):
        if zero.shape[axis] > 1:
            alone &= ~zero.all(axis=axis, keepdims=True)
    for index in np.argwhere(alone).tolist():
        if slot.entry(index):
            raise ValueError(
                f"the slot {slot.name} has 0 ms at its entry {index}, where a block stands; "
                "expected a time above 0"
            )


def _check_spread(slot: Slot, array: NDArray[Any], unit: str) -> None:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"the slot {slot.name} has a spread of {array.dtype}; expected numbers")
    wrong = (array < 0) | np.isinf(array)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"the slot {slot.name} has a spread of {f'{array[tuple(place)]:g} {unit}'.strip()} at "
            f"its entry {place}; expected a standard error, 0 or more, nan where it was not "
            "measured"
        )


def count_table(
    space: Space,
    metric: str,
    counter: Callable[[Block], int] | None = None,
    *,
    cached: bool | None = None,
) -> CostTable:
    """Build the exact table of an additive metric that follows from blocks alone.

    Large tables of "params" and "macs" are kept in moga's cache (`files.cache_dir`). A stored one
    is used only where it equals direct counts of random networks of the space.

    Args:
        space: any space.
        metric: "params" or "macs", or a name of your own with a `counter`.
        counter: block -> integer; default: `networks.count.COUNTERS[metric]`.
        cached: whether to use the cache; None: where the space has 10,000 entries or more. Never
            with a counter of your own.
    """
    if cached is None:
        cached = sum(math.prod(slot.shape) for slot in space.slots) >= _CACHED_FROM
    if counter is not None or not cached:
        return _count(space, {metric: counter or COUNTERS[metric]})[metric]
    paths = {name: _cached_at(space, name) for name in COUNTERS}
    with contextlib.suppress(FormatError):
        table = CostTable.load(paths[metric], space)
        if _holds(table):
            return table
    tables = _count(space, COUNTERS)
    for name, path in paths.items():
        tables[name].save(path)
    return tables[metric]


def _cached_at(space: Space, metric: str) -> Path:
    return cache_dir("tables") / f"{space.digest}-{metric}-{__version__}.npz"


def _count(space: Space, counters: Mapping[str, Callable[[Block], int]]) -> dict[str, CostTable]:
    """Build several tables at once: making the blocks takes longer than counting them."""
    counts: dict[Block, NDArray[np.int64]] = {}
    stacks = []
    for slot in space.slots:
        stack = np.full((*slot.shape, len(counters)), np.nan)
        for index, blocks in slot_blocks(slot):
            total = np.zeros(len(counters), dtype=np.int64)
            for block, times in blocks:
                if block not in counts:
                    counts[block] = np.array([counter(block) for counter in counters.values()])
                total += times * counts[block]
            stack[index] = total
        stacks.append(stack)
    provenance = {"method": "counted"}
    return {
        metric: CostTable(
            metric,
            "",
            space,
            tuple(s[..., row].copy() for s in stacks),
            provenance=provenance,
        )
        for row, metric in enumerate(counters)
    }


def _holds(table: CostTable) -> bool:
    """Whether a stored table still says what is counted: code may have changed since."""
    space, counter = table.space, COUNTERS[table.metric]
    rng = np.random.default_rng(0)
    genomes = sample_uniform(space.sizes, _CHECKED, rng)
    direct = [sum(counter(block) for block in space.decode(genome)) for genome in genomes]
    return bool(np.array_equal(table(genomes), direct))


class CostTables:
    """Several tables of one space, evaluated together: what they share is computed once.

    Where a genome stands in a slot's array is the same for all tables. Besides, neighbouring slots
    that read few genes and nothing derived are added up into one array beforehand, so that three
    layers of MoGA's space take one gather. Sums are in another order than those of `CostTable`, so
    that values that are no integers may differ in their last bit.

    Args:
        tables: at least one, all of the same space.

    Raises:
        ValueError: tables of different spaces.

    Example:
        >>> from moga.spaces.moga import MoGASpace
        >>> space = MoGASpace()
        >>> tables = CostTables([count_table(space, "params"), count_table(space, "macs")])
        >>> tables(np.zeros((1, 14), dtype=np.int64)).astype(int).tolist()
        [[3388224, 153014064]]
    """

    def __init__(self, tables: Sequence[CostTable]) -> None:
        if len({table.space.digest for table in tables}) != 1:
            raise ValueError("cost tables that are evaluated together must be of one space")
        self.tables = tuple(tables)
        self._finished = any(table.finish for table in tables)
        widths = [FINISHES[table.finish].columns if table.finish else 1 for table in tables]
        self._ends = np.cumsum(widths)
        rows = [
            (table, column) for table, n in zip(tables, widths, strict=True) for column in range(n)
        ]
        self._constants = np.array([[0.0 if table.finish else table.constant] for table, _ in rows])
        self._groups: list[tuple[Slot, list[NDArray[np.float64]]]] = []
        for position, slot in enumerate(tables[0].space.slots):
            arrays = [
                np.asarray(table._column(column)[position], dtype=np.float64)  # noqa: SLF001
                for table, column in rows
            ]
            self._add(slot, arrays)

    def _add(self, slot: Slot, arrays: list[NDArray[np.float64]]) -> None:
        """Take a slot up, into the last group where that stays small."""
        if not slot.shape:
            self._constants = self._constants + np.array([[array[()]] for array in arrays])
            return
        if self._groups:
            last, before = self._groups[-1]
            apart = not (slot.derived or last.derived or set(slot.genes) & set(last.genes))
            if apart and math.prod(slot.shape) * math.prod(last.shape) <= _GROUP:
                genes, values = last.genes + slot.genes, last.gene_values + slot.gene_values
                sums = [np.add.outer(a, b) for a, b in zip(before, arrays, strict=True)]
                self._groups[-1] = (
                    dataclasses.replace(last, genes=genes, gene_values=values),
                    sums,
                )
                return
        self._groups.append((slot, arrays))

    def __call__(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the cost of each genome by each table: (n, genes) -> (n, tables)."""
        genomes = np.atleast_2d(genomes)
        costs = np.empty((len(self._constants), len(genomes)))
        costs[:] = self._constants
        for start in range(0, len(genomes), _CHUNK):
            chunk = np.asfortranarray(genomes[start : start + _CHUNK])
            known: dict[int, NDArray[np.int64]] = {}
            for slot, arrays in self._groups:
                flat = slot.flat_index(chunk, known)
                for row, array in zip(costs, arrays, strict=True):
                    row[start : start + _CHUNK] += array.ravel().take(flat)
        return self._finish(costs).T if self._finished else costs.T

    def _finish(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn the rows of all columns into one row a table: (columns, n) -> (tables, n)."""
        costs = np.empty((len(self.tables), rows.shape[1]))
        for number, (table, end) in enumerate(zip(self.tables, self._ends, strict=True)):
            if table.finish:
                finish = FINISHES[table.finish]
                columns = rows[end - finish.columns : end].T
                costs[number] = finish.function(columns) + table.constant
            else:
                costs[number] = rows[end - 1]
        return costs
