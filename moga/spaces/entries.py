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

from moga.network import Block
from moga.spaces.base import Slot
from moga.spaces.cost import slot_blocks

__all__ = ["SlotBlocks", "find_blocks"]

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
