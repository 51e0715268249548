"""The kernels of every block of a space: found once, then any device's table is arithmetic."""

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga._version import __version__
from moga.devices.kernels import Kernel, KernelArrays, Rules, fuse
from moga.errors import UsageError
from moga.files import atomic_path, cache_dir
from moga.networks.operations import operations
from moga.spaces.base import Slot, Space
from moga.spaces.cost import slot_blocks
from moga.spaces.entries import SlotBlocks, find_blocks

__all__ = ["SpaceKernels", "space_kernels"]

_CACHED_FROM: Final = 20_000
"""Distinct blocks from which on kernels are kept in moga's cache."""
_CHECKED: Final = 50
_MOST: Final = 5_000_000


@dataclasses.dataclass(frozen=True)
class SpaceKernels:
    """The kernels of a space's distinct blocks, and where the blocks stand.

    Args:
        kernels: one owner a distinct block.
        slots: one a slot of the space.
        image: numbers that the first block reads, of the first slot's shape.
    """

    kernels: KernelArrays
    slots: tuple[SlotBlocks, ...]
    image: NDArray[np.float64]


def space_kernels(space: Space, rule: Rules) -> SpaceKernels:
    """Return the kernels of a space's blocks as an engine's rules make them.

    Large results are kept in moga's cache (`files.cache_dir`); a stored one is used where it
    equals what is computed now for some of its blocks.

    Raises:
        UsageError: a space with more than 5,000,000 entries, or whose first slot can be empty.
    """
    size = sum(int(np.prod(slot.shape, dtype=np.int64)) for slot in space.slots)
    if size > _MOST:
        raise UsageError(
            f"{space.spec} has {size:,} entries of slots, more than {_MOST:,}; fix a gene"
        )
    path = cache_dir("kernels") / f"{space.digest}-{rule.name}-{__version__}.npz"
    stored = _load(path) if size >= _CACHED_FROM else None
    if stored is not None and _holds(stored, space, rule):
        return stored
    found = _find(space, rule)
    if found.kernels.count >= _CACHED_FROM:
        _save(found, path)
    return found


def _find(space: Space, rule: Rules) -> SpaceKernels:
    blocks, slots = find_blocks(space.slots)
    kernels = KernelArrays.of([fuse(operations(block), rule) for block in blocks])
    return SpaceKernels(kernels, slots, _images(space, space.slots[0]))


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


def _save(found: SpaceKernels, path: Path) -> None:
    kernels = found.kernels
    content: dict[str, NDArray[Any]] = {
        "columns": kernels.columns,
        "kernel": kernels.kernel.astype(np.int32),
        "lengths": np.bincount(kernels.owner, minlength=kernels.count).astype(np.int16),
        "image": found.image,
    }
    for number, slot in enumerate(found.slots):
        content |= {
            f"shape_{number}": np.array(slot.shape, dtype=np.int64),
            f"entry_{number}": slot.entry,
            f"block_{number}": slot.block,
            f"times_{number}": slot.times,
            f"absent_{number}": slot.absent,
        }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **content)


def _load(path: Path) -> SpaceKernels | None:
    """Read what `_save` wrote; None where nothing readable is there, and it is found again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        lengths = content["lengths"].astype(np.int64)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        kernels = KernelArrays(
            content["columns"], content["kernel"].astype(np.int64), owner, len(lengths)
        )
        count = sum(name.startswith("shape_") for name in content)
        slots = tuple(_read_slot(content, number) for number in range(count))
        return SpaceKernels(kernels, slots, content["image"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _read_slot(content: dict[str, NDArray[np.int32]], number: int) -> SlotBlocks:
    entry, block, times, absent = (
        content[f"{name}_{number}"] for name in ("entry", "block", "times", "absent")
    )
    return SlotBlocks(tuple(content[f"shape_{number}"].tolist()), entry, block, times, absent)


def _holds(stored: SpaceKernels, space: Space, rule: Rules) -> bool:
    """Whether a stored result is of this space and still what the code computes."""
    if [slot.shape for slot in stored.slots] != [slot.shape for slot in space.slots]:
        return False
    rng = np.random.default_rng(0)
    ends = np.cumsum(np.bincount(stored.kernels.owner, minlength=stored.kernels.count))
    for slot, found in zip(space.slots, stored.slots, strict=True):
        if not len(found.entry):
            continue
        for use in rng.integers(0, len(found.entry), max(1, _CHECKED // len(space.slots))):
            index = np.unravel_index(int(found.entry[use]), slot.shape) if slot.shape else ()
            blocks = slot.entry([int(i) for i in index]) or ()
            expected = [fuse(operations(block), rule) for block, _ in blocks]
            if _kernels_of(stored, ends, int(found.block[use])) not in expected:
                return False
    return True


def _kernels_of(stored: SpaceKernels, ends: NDArray[np.int64], block: int) -> Sequence[Kernel]:
    start = int(ends[block - 1]) if block else 0
    columns = stored.kernels.columns[:, stored.kernels.kernel[start : ends[block]]]
    return [Kernel(*row) for row in columns.T.tolist()]
