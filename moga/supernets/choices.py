"""What each slot of a space can choose, and where accuracies of its networks can come from."""

from moga.errors import UsageError
from moga.network import Block
from moga.spaces.base import Slot, Space
from moga.spaces.nasbench201 import NASBench201
from moga.spaces.subspace import Subspace

__all__ = ["accuracy_from", "choices", "tabulated"]


def choices(space: Space) -> tuple[tuple[Block, ...], ...]:
    """Return for each slot its blocks, where it is fixed, or the block of each choice of its gene.

    Raises:
        UsageError: a slot of another kind; no supernet spans such a space.
    """
    try:
        return tuple(_of_slot(space, slot) for slot in space.slots)
    except UsageError as error:
        raise UsageError(f"{error}. {accuracy_from(space)}") from None


def _of_slot(space: Space, slot: Slot) -> tuple[Block, ...]:
    if slot.derived or len(slot.genes) > 1:
        reads = [space.genes[gene].name for gene in slot.genes] + [d.name for d in slot.derived]
        raise UsageError(
            f"slot {slot.name!r} of {space.spec} reads {', '.join(reads)}; a supernet needs slots "
            "that are fixed or choose one block by one gene"
        )
    if not slot.genes:
        return tuple(block for block, times in slot.entry(()) or () for _ in range(times))
    blocks = []
    for choice in range(slot.shape[0]):
        entry = slot.entry((choice,)) or ()
        if len(entry) != 1 or entry[0][1] != 1:
            raise UsageError(
                f"choice {choice} of slot {slot.name!r} of {space.spec} gives "
                f"{sum(times for _, times in entry)} blocks; a supernet needs exactly one"
            )
        blocks.append(entry[0][0])
    return tuple(blocks)


def tabulated(space: Space) -> NASBench201 | None:
    """Return the space whose table has the accuracies of a space's networks, or None."""
    while isinstance(space, Subspace):
        space = space.space
    return space if isinstance(space, NASBench201) else None


def accuracy_from(space: Space) -> str:
    """Say what can give accuracies of a space's networks, for messages."""
    if tabulated(space) is not None:
        return f"Accuracies of {space.name} come from a table: evaluator='tabular', the default"
    if _spanned(space):
        return f"Accuracies of {space.name} come from evaluator='supernet', or an object of yours"
    return (
        f"No evaluator that ships gives accuracies of {space.name}: in Python, pass an object of "
        "your own as evaluator= (examples/own_evaluator.py has one); or search without accuracy, "
        "as with --objectives latency,macs:max"
    )


def _spanned(space: Space) -> bool:
    """Whether a supernet spans a space."""
    try:
        return bool([_of_slot(space, slot) for slot in space.slots])
    except UsageError:
        return False
