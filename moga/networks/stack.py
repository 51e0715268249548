"""Many blocks as one whose numbers are arrays, so that what follows from blocks is found at once.

`moga.networks.count` and `moga.networks.operations` compute with a block's numbers and branch on
its structure. Blocks of one structure take the same branches: given arrays instead of integers, the
same code describes all of them, exactly, in the time of one.
"""

import dataclasses
from collections.abc import Hashable, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.network import Block

__all__ = ["BlockStack", "structure"]

_NUMBERS: Final = ("in_channels", "out_channels", "hidden_channels", "se_channels")
_SIZE: Final = ("height", "width")
_SHARED: Final = tuple(
    field.name for field in dataclasses.fields(Block) if field.name not in (*_NUMBERS, *_SIZE)
)
_shared, _numbers = attrgetter(*_SHARED), attrgetter(*_NUMBERS)


def structure(block: Block) -> Hashable:
    """Return what blocks of one stack share: all but widths and sizes; and whether it has SE."""
    return (*_shared(block), block.se_channels > 0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockStack(Block):
    """Blocks of one structure as one: channels and sizes are arrays of shape (n,).

    Nothing is checked, for the blocks were. It cannot be hashed, so that no cache holds one.
    """

    @classmethod
    def of(
        cls,
        models: Sequence[Block],
        model: NDArray[np.int64],
        height: NDArray[np.int64],
        width: NDArray[np.int64],
    ) -> "BlockStack":
        """Stack n blocks of one `structure`.

        Args:
            models: what the blocks are, but for the size of their images.
            model: shape (n,): position in `models`, at least one.
            height: shape (n,): rows of the image that enters.
            width: shape (n,): its columns.
        """
        used, position = np.unique(model, return_inverse=True)
        numbers = np.array([_numbers(models[index]) for index in used], dtype=np.int64)
        fields: dict[str, Any] = dict(zip(_SHARED, _shared(models[used[0]]), strict=True))
        fields |= zip(_NUMBERS, numbers[position].T, strict=True)
        return cls(**fields | {"height": height, "width": width})

    def __post_init__(self) -> None:
        """Check nothing."""
