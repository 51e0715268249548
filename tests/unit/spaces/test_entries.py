import numpy as np

from moga.spaces.cost import slot_blocks
from moga.spaces.entries import find_blocks
from moga.spaces.genet import GENetSpace
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
