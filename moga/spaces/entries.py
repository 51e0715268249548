"""Which blocks stand in which entries of a space's slots, as arrays.

Every block is made and compared once; whatever is then known of blocks (times, kernels, features)
becomes one array a slot by arithmetic. A space of GPUNet's kind has 660,000 entries.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moga.errors import UsageError
from moga.network import Block
from moga.spaces.base import Blocks, Slot
from moga.spaces.cost import slot_blocks

__all__ = ["SizedBlocks", "SlotBlocks", "find_blocks", "find_sized"]

_CHECKED: Final = 20
"""Entries of a slot that are made to see that its `side` holds."""
_USES: Final = np.dtype([("entry", np.int32), ("block", np.int32), ("times", np.int32)])


@dataclasses.dataclass(frozen=True)
class SlotBlocks:
    """Which blocks stand in a slot's entries.

    Args:
        shape: of the slot.
        entry: shape (uses,): flat index of an entry.
        block: shape (uses,): number of a block in it.
        times: shape (uses,): how often.
        absent: shape (absent,): flat indices of entries that cannot occur.
    """

    shape: tuple[int, ...]
    entry: NDArray[np.int32]
    block: NDArray[np.int32]
    times: NDArray[np.int32]
    absent: NDArray[np.int32]

    @property
    def size(self) -> int:
        """How many entries it has, absent ones too."""
        return math.prod(self.shape)

    def add(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum a value a block over each entry: (blocks,) -> the slot's shape, nan where absent."""
        return self._filled(self.times * values[self.block])

    def add_squares(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each entry's error from errors of blocks: (blocks,) -> the slot's shape.

        Blocks err independently; the runs of one block err together.
        """
        return np.sqrt(self._filled((self.times * errors[self.block]) ** 2))

    def _filled(self, each: NDArray[np.float64]) -> NDArray[np.float64]:
        flat: NDArray[np.float64] = np.bincount(self.entry, each, self.size).astype(np.float64)
        flat[self.absent] = np.nan
        return flat.reshape(self.shape)

    def any(self, marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whether an entry has a marked block: (blocks,) -> the slot's shape."""
        flat = np.zeros(self.size, dtype=np.bool_)
        flat[self.entry[marks[self.block]]] = True
        return flat.reshape(self.shape)


def find_blocks(slots: Sequence[Slot]) -> tuple[list[Block], tuple[SlotBlocks, ...]]:
    """Return the distinct blocks of slots in the order of the slots, and where each stands."""
    numbers: dict[Block, int] = {}
    found = tuple(_of(slot, numbers) for slot in slots)
    return list(numbers), found


def _of(slot: Slot, numbers: dict[Block, int]) -> SlotBlocks:
    uses: list[tuple[int, int, int]] = []
    strides = [math.prod(slot.shape[axis + 1 :]) for axis in range(len(slot.shape))]
    present = np.zeros(math.prod(slot.shape), dtype=np.bool_)
    for index, blocks in slot_blocks(slot):
        flat = sum(i * stride for i, stride in zip(index, strides, strict=True))
        present[flat] = True
        for block, times in blocks:
            uses.append((flat, numbers.setdefault(block, len(numbers)), times))
    table = np.array(uses, dtype=_USES)
    entry, block_of, times_of = (np.ascontiguousarray(table[name]) for name in _USES.names or ())
    absent = np.flatnonzero(~present).astype(np.int32)
    return SlotBlocks(slot.shape, entry, block_of, times_of, absent)


@dataclasses.dataclass(frozen=True)
class SizedBlocks:
    """Many blocks, each as another one with an image of its own.

    Args:
        models: a block for each combination of all but height and width.
        model: shape (blocks,): position in `models`.
        height: shape (blocks,): rows of the image that enters.
        width: shape (blocks,): its columns.
    """

    models: list[Block]
    model: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]

    def block(self, number: int) -> Block:
        """Make one of the blocks."""
        model: Block = self.models[self.model[number]]
        height, width = int(self.height[number]), int(self.width[number])
        return dataclasses.replace(model, height=height, width=width)


def find_sized(slots: Sequence[Slot]) -> tuple[SizedBlocks, tuple[SlotBlocks, ...]]:
    """Return the blocks of slots and where each stands, as `find_blocks` but without making all.

    Where a slot says what sets the size of its images (`Slot.side`), its entries are listed at the
    first value of that; at the others they have the same blocks with other images. A block that
    several slots have is there several times.

    Raises:
        UsageError: a slot whose `side` does not hold for a sample of its entries.
    """
    models: list[Block] = []
    rows: list[NDArray[np.int64]] = []  # model, height and width of each slot's blocks
    found = []
    for slot in slots:
        blocks, where, sizes = _all_blocks(slot) if slot.side is None else _sized(slot, slot.side)
        numbers = np.arange(len(blocks)).repeat(sizes.shape[1])
        own = np.column_stack([numbers, sizes.reshape(-1, 2)])
        if slot.side is not None:
            _check(slot, SizedBlocks(blocks, *own.T), where)
        found.append(dataclasses.replace(where, block=where.block + sum(map(len, rows))))
        rows.append(own + np.array([len(models), 0, 0]))
        models += blocks
    return SizedBlocks(models, *np.concatenate(rows).T), tuple(found)


_Found = tuple[list[Block], SlotBlocks, NDArray[np.int64]]
"""A slot's models, its entries, and the images of each model: (models, images, 2). Block number
`model * images + image` is the model with that image."""


def _all_blocks(slot: Slot) -> _Found:
    blocks, (where,) = find_blocks([slot])
    sizes = np.array([_size(block) for block in blocks], dtype=np.int64)
    return blocks, where, sizes.reshape(-1, 1, 2)


def _sized(slot: Slot, side: int) -> _Found:
    blocks, (first,) = find_blocks([_at_first(slot, side)])
    images = np.arange(slot.shape[side], dtype=np.int32)
    cells = np.arange(math.prod(slot.shape), dtype=np.int32).reshape(slot.shape)
    cells = np.moveaxis(cells, side, -1).reshape(first.size, len(images))
    where = SlotBlocks(
        slot.shape,
        cells[first.entry].ravel(),
        np.add.outer(first.block * len(images), images).ravel(),
        first.times.repeat(len(images)),
        cells[first.absent].ravel(),
    )
    sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for entry, number in zip(first.entry.tolist(), first.block.tolist(), strict=True):
        if _size(blocks[number]) not in sizes:
            alike = [_entry(slot, cell) or () for cell in cells[entry].tolist()]
            if len({len(uses) for uses in alike}) > 1:
                raise _unlike(slot, int(cells[entry, 0]))
            for same in zip(*alike, strict=True):
                sizes[_size(same[0][0])] = [_size(block) for block, _ in same]
    each = np.array([sizes[_size(block)] for block in blocks], dtype=np.int64)
    return blocks, where, each.reshape(-1, len(images), 2)


def _size(block: Block) -> tuple[int, int]:
    return block.height, block.width


def _at_first(slot: Slot, side: int) -> Slot:
    """Return a slot with one value along an axis, the first."""
    genes = tuple(
        values[:1] if axis == side else values for axis, values in enumerate(slot.gene_values)
    )
    derived = tuple(
        dataclasses.replace(each, values=each.values[:1]) if axis == side else each
        for axis, each in enumerate(slot.derived, start=len(genes))
    )
    return dataclasses.replace(slot, gene_values=genes, derived=derived)


def _entry(slot: Slot, flat: int) -> Blocks | None:
    return slot.entry([int(index) for index in np.unravel_index(flat, slot.shape)])


def _check(slot: Slot, sized: SizedBlocks, where: SlotBlocks) -> None:
    """Compare a sample of entries with what the slot says of them."""
    for flat in np.random.default_rng(0).integers(0, where.size, _CHECKED).tolist():
        uses = np.flatnonzero(where.entry == flat)
        listed = [(sized.block(where.block[use]), int(where.times[use])) for use in uses]
        found: Blocks | None = None if flat in where.absent else tuple(listed)
        if found != _entry(slot, flat):
            raise _unlike(slot, flat)


def _unlike(slot: Slot, flat: int) -> UsageError:
    return UsageError(
        f"slot {slot.name!r} says that along its axis {slot.side} blocks differ in the size of "
        f"their images alone (side={slot.side}), but its entry {flat} is not like those at other "
        "sizes; give side=None"
    )
