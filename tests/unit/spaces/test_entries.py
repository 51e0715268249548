import dataclasses

import numpy as np
import pytest

from moga.errors import UsageError
from moga.spaces.base import Slot
from moga.spaces.cost import slot_blocks
from moga.spaces.entries import find_blocks, find_sized
from moga.spaces.genet import GENetSpace
from moga.spaces.gpunet import GPUNetSpace
from moga.spaces.moga import MoGASpace


def test_every_block_is_found_once_in_the_order_of_the_slots():
    space = MoGASpace(32, 0.35, 10)
    blocks, found = find_blocks(space.slots)
    assert len(blocks) == len(set(blocks))
    assert blocks[0] == space.decode([0] * 14).blocks[0]
    assert [slot.shape for slot in found] == [slot.shape for slot in space.slots]
    assert [slot.size for slot in found] == [1, *[12] * 14, 1]


def test_sums_errors_and_marks_are_those_of_each_entry():
    space = GENetSpace(resolution=32, num_classes=10)
    slots = space.slots[:3]
    blocks, found = find_blocks(slots)
    values = np.random.default_rng(0).random(len(blocks))
    number = {block: index for index, block in enumerate(blocks)}
    marks = values > 0.9
    for slot, where in zip(slots, found, strict=True):
        total, error, marked = where.add(values), where.add_squares(values), where.any(marks)
        present = np.zeros(slot.shape, dtype=bool)
        for index, entry in slot_blocks(slot):
            present[index] = True
            each = [times * values[number[block]] for block, times in entry]
            assert np.isclose(total[index], sum(each))
            assert np.isclose(error[index], np.sqrt(sum(value**2 for value in each)))
            assert marked[index] == any(marks[number[block]] for block, _ in entry)
        assert np.isnan(total[~present]).all()
        assert not marked[~present].any()


def test_entries_that_cannot_occur_are_absent():
    slot = MoGASpace(32, 0.35, 10).slots[1]
    inner = slot.blocks

    def blocks(*values):
        return None if values == (slot.gene_values[0][2],) else inner(*values)

    _, (where,) = find_blocks([type(slot)(slot.name, slot.genes, slot.gene_values, blocks)])
    assert where.absent.tolist() == [2]
    assert np.isnan(where.add(np.ones(11))[2])


def listed(blocks, where):
    """The blocks of each entry, with times; None where it is absent."""
    entries = {int(flat): None for flat in where.absent}
    for flat in sorted(set(range(where.size)) - set(entries)):
        entries[flat] = ()
    for flat, number, times in zip(where.entry, where.block, where.times, strict=True):
        entries[int(flat)] += ((blocks[number], int(times)),)
    return entries


@pytest.mark.parametrize(
    "slots",
    [
        MoGASpace(32, 0.35, 10).slots,
        GENetSpace().slots[:4],
        GENetSpace().slots[-1:],
        GPUNetSpace().slots[:3],
        GPUNetSpace(32).slots[5:7],
        GPUNetSpace(224).slots[-3:],
    ],
    ids=["moga", "genet", "genet's head", "gpunet", "gpunet at 32 pixels", "gpunet's last"],
)
def test_sized_blocks_are_those_that_are_made_one_by_one(slots):
    blocks, found = find_blocks(slots)
    sized, also = find_sized(slots)
    made = [sized.block(number) for number in range(len(sized.model))]
    for one, other in zip(found, also, strict=True):
        assert one.shape == other.shape
        assert listed(blocks, one) == listed(made, other)


def test_absent_entries_are_so_at_every_size():
    slot = GENetSpace().slots[2]

    def blocks(*values):
        return None if values[2] == slot.gene_values[2][1] else slot.blocks(*values)

    holed = dataclasses.replace(slot, blocks=blocks)
    _, (one,) = find_blocks([holed])
    _, (other,) = find_sized([holed])
    assert one.absent.tolist() == sorted(other.absent.tolist())
    assert len(one.absent)


def sides(resolution, layers):
    """The blocks of a slot that is not as it says: more of them in large images."""
    slot = MoGASpace(resolution, 0.35, 10).slots[1]
    block = slot.entry([0])[0][0]
    return ((block, 1),) * (layers + (resolution > 40))


def times(resolution, layers):
    """So too: the same blocks, but more often."""
    return ((sides(32, 1)[0][0], layers + (resolution > 40)),)


def channels(resolution, layers):
    """So too: wider in large images."""
    return ((MoGASpace(32, resolution / 100, 10).slots[1].entry([0])[0][0], layers),)


@pytest.mark.parametrize("blocks", [sides, times, channels])
def test_a_slot_that_is_not_as_it_says_is_refused(blocks):
    slot = Slot("odd", (0, 1), ((32, 64), (1, 2)), blocks, side=0)
    with pytest.raises(UsageError, match=r"slot 'odd' .* \(side=0\), but .*; give side=None"):
        find_sized([slot])
    assert find_sized([dataclasses.replace(slot, side=None)])[0].models
