import math

import pytest

from moga.devices.importers import pixel
from moga.devices.importers.pixel import match_shapes, pixel_blocks
from moga.devices.profile import unique_blocks
from moga.errors import FormatError
from moga.network import Block
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.moga import MoGASpace


def test_all_72_blocks_are_there():
    values = pixel_blocks()
    assert len(values) == 72
    assert {value.provenance for value in values.values()} == {"imported"}
    assert {value.batch for value in values.values()} == {1}
    kinds = [tuple(block.operation for block in blocks) for blocks in values]
    assert kinds.count(("mbconv",)) == 66
    assert kinds.count(("dsconv",)) == 3
    assert kinds.count(("conv",)) == 2
    assert kinds.count(("pool", "linear")) == 1


def test_a_row_becomes_its_block_with_time_and_standard_error():
    block = Block(
        operation="mbconv",
        in_channels=24,
        out_channels=40,
        height=56,
        width=56,
        kernel=5,
        stride=2,
        hidden_channels=144,
        activation="relu6",
        padding="same",
        norm_eps=1e-3,
    )
    value = pixel_blocks()[(block,)]
    assert value.ms == pytest.approx(5.726016393442624)
    assert value.spread == pytest.approx(math.sqrt(0.06758241076579202 / 183))
    assert value.count == 183


@pytest.mark.parametrize(("space", "found"), [(MoGASpace(), 36), (FBNetSpace(), 8)])
def test_blocks_of_other_spaces_with_the_same_shapes_are_found(space, found):
    matched = match_shapes(pixel_blocks(), unique_blocks(space))
    assert len(matched) == found
    for block, value in matched.items():
        assert not block.se_channels
        same = [
            blocks[0]
            for blocks, other in pixel_blocks().items()
            if other == value and len(blocks) == 1
        ]
        names = ("operation", "in_channels", "out_channels", "kernel", "stride", "height")
        assert [getattr(same[0], n) for n in names] == [getattr(block, n) for n in names]


def test_a_wider_block_does_not_match():
    block = unique_blocks(MoGASpace())[2]
    assert match_shapes(pixel_blocks(), [block])
    wider = Block.from_dict({**block.to_dict(), "hidden_channels": 1 + block.hidden_channels})
    assert match_shapes(pixel_blocks(), [wider]) == {}


def test_an_unknown_key_is_refused():
    with pytest.raises(FormatError, match="row 1: cannot read 'Conv_9-input:1x1'"):
        pixel._blocks("Conv_9-input:1x1", "row 1")
