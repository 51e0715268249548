"""The kernels of every block of a space: found at once, then any device's table is arithmetic."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moga.devices.kernels import KernelArrays, Rules, fuse
from moga.errors import UsageError
from moga.network import Block
from moga.networks.operations import operations, stacked_operations
from moga.networks.stack import BlockStack, structure
from moga.spaces.base import Slot, Space
from moga.spaces.cost import slot_blocks
from moga.spaces.entries import SlotBlocks, find_sized

__all__ = ["SpaceKernels", "block_kernels", "space_kernels"]

_MOST: Final = 5_000_000


@dataclasses.dataclass(frozen=True)
class SpaceKernels:
    """The kernels of a space's blocks, and where the blocks stand.

    Args:
        kernels: one owner a block.
        slots: one a slot of the space.
        image: numbers that the first block reads, of the first slot's shape.
    """

    kernels: KernelArrays
    slots: tuple[SlotBlocks, ...]
    image: NDArray[np.float64]


def space_kernels(space: Space, rule: Rules) -> SpaceKernels:
    """Return the kernels of a space's blocks as an engine's rules make them.

    Blocks of one structure are described at once (`networks.stack`).

    Raises:
        UsageError: a space with more than 5,000,000 entries, whose first slot can be empty, or one
            of whose slots is not as it says (`Slot.side`).
    """
    size = sum(int(np.prod(slot.shape, dtype=np.int64)) for slot in space.slots)
    if size > _MOST:
        raise UsageError(
            f"{space.spec} has {size:,} entries of slots, more than {_MOST:,}; fix a gene"
        )
    blocks, slots = find_sized(space.slots)
    sizes = blocks.height, blocks.width
    kernels = block_kernels(blocks.models, rule, blocks.model, sizes)
    return SpaceKernels(kernels, slots, _images(space, space.slots[0]))


def block_kernels(
    models: Sequence[Block],
    rule: Rules,
    model: NDArray[np.int64],
    sizes: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> KernelArrays:
    """Return the kernels of n blocks, each of one of some models and a size of its own.

    Args:
        models: blocks.
        rule: what the engine fuses.
        model: which of them each block is, shape (n,).
        sizes: height and width of each, shape (n,) both.
    """
    numbers: dict[Hashable, int] = {}
    of_model = [numbers.setdefault(structure(one), len(numbers)) for one in models]
    of_block = np.array(of_model, dtype=np.int64)[model]
    ends = np.cumsum(np.bincount(of_block))
    groups = []
    for members in np.split(np.argsort(of_block, kind="stable"), ends[:-1]):
        stack = BlockStack.of(models, model[members], *(size[members] for size in sizes))
        groups.append((members, fuse(stacked_operations(stack), rule)))
    return KernelArrays.of(groups, len(of_block))


def _images(space: Space, slot: Slot) -> NDArray[np.float64]:
    images = np.full(slot.shape, np.nan)
    for index, blocks in slot_blocks(slot):
        if not blocks:
            raise UsageError(
                f"the first slot of {space.spec} can be empty, so that a network's input is not "
                "known from it; give the space a stem"
            )
        images[index] = operations(blocks[0][0])[0].read
    return images
