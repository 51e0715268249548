import dataclasses
from typing import Any

import numpy as np
import pytest

from moga.errors import NotInSpace, UsageError
from moga.network import Network
from moga.registry import create
from moga.spaces.moga import CHOICES, MoGASpace


def test_the_choices_stand_in_the_papers_order() -> None:
    assert len(CHOICES) == 12
    assert CHOICES[0] == (3, 3, False)
    assert CHOICES[3] == (3, 5, True)
    assert CHOICES[11] == (6, 7, True)


def test_the_papers_skeleton_at_224_pixels() -> None:
    network = MoGASpace().decode([0] * 14)
    layers = network.blocks[2:16]
    assert network.input_shape == (3, 224, 224)
    assert [b.out_channels for b in network.blocks[:2]] == [16, 16]
    assert [b.out_channels for b in layers] == [24] * 2 + [40] * 3 + [80] * 4 + [112] * 2 + [
        160
    ] * 3
    assert [b.stride for b in layers] == [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]
    assert [b.activation for b in layers] == ["relu"] * 5 + ["hswish"] * 9
    heights = [224, 112, 112, 56, 56, 28, 28, 28, *[14] * 6, 7, 7, 7, 7, 1, 1]
    assert [b.height for b in network.blocks] == heights
    assert [b.out_channels for b in network.blocks[16:]] == [960, 960, 1280, 1000]
    assert network.blocks[1].shortcut == "none"


def test_the_published_rules_of_a_layer() -> None:
    space = MoGASpace()
    block = space.decode([11] * 14).blocks[2]
    assert (block.hidden_channels, block.kernel) == (16 * 6, 7)
    assert (block.se_channels, block.se_gate, block.se_activation) == (24, "hard_sigmoid", "")
    assert space.decode([10] * 14).blocks[2].se_channels == 0
    shortcuts = [block.shortcut for block in space.decode([0] * 14).blocks[2:16]]
    assert [s == "identity" for s in shortcuts] == [
        *(False, True, False, True, True, False, True, True, True),
        *(False, True, False, True, True),
    ]
    dense = space.decode([0] * 14).blocks[18]
    assert (dense.norm_eps, dense.bias, dense.activation) == (None, False, "hswish")


@pytest.mark.parametrize(
    ("arguments", "stride", "last_side"),
    [
        ({"resolution": 224}, 2, 7),
        ({"resolution": 64}, 2, 2),
        ({"resolution": 32}, 2, 1),
        ({"resolution": 31}, 1, 2),
        ({"resolution": 32, "stem_stride": 1}, 1, 2),
        ({"resolution": 224, "stem_stride": 1}, 1, 14),
    ],
)
def test_the_stem_adapts_to_small_images(
    arguments: dict[str, Any], stride: int, last_side: int
) -> None:
    network = MoGASpace(**arguments).decode([0] * 14)
    assert network.blocks[0].stride == stride
    assert network.blocks[16].height == last_side


def test_the_default_width_is_the_papers_for_large_images_and_small_below() -> None:
    assert MoGASpace(224).width == 1
    assert MoGASpace(64).width == 1
    assert MoGASpace(32).width == 0.35
    assert MoGASpace(32, 1.0).width == 1


def test_width_rounds_as_mobilenet_does() -> None:
    network = MoGASpace(32, 0.35, 10).decode([0] * 14)
    assert [b.out_channels for b in network.blocks] == (
        [8, 8, 8, 8, 16, 16, 16, *[32] * 4, 40, 40, 56, 56, 56, 336, 336, 448, 10]
    )
    assert network.num_classes == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 7}, "resolution is 7; give an integer of 8 pixels or more"),
        ({"resolution": 32.0}, "resolution is 32.0; give an integer"),
        ({"width": 0.01}, "width is 0.01; give a multiplier between 0.05 and 8"),
        ({"width": float("nan")}, "width is nan; give a multiplier"),
        ({"width": "wide"}, "width is 'wide'; give a multiplier"),
        ({"num_classes": 0}, "num_classes is 0; give 1 or more"),
        ({"stem_stride": 3}, "stem_stride is 3; give 1, 2 or None"),
    ],
)
def test_values_that_make_no_network_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        MoGASpace(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("space", [MoGASpace(), MoGASpace(32, 0.5, 10), MoGASpace(48)])
def test_spec_builds_the_space_again(space: MoGASpace) -> None:
    again = create("space", space.spec)
    assert again.digest == space.digest
    genome = [*range(12), 3, 4]
    assert again.decode(genome) == space.decode(genome)


def test_defaults_are_the_papers() -> None:
    assert MoGASpace().default_objectives == ("accuracy*.4", "latency*.4", "params:max*.2")
    assert MoGASpace().genes[0].factors == (2, 3, 2)
    assert MoGASpace().default_evaluator == "supernet"
    assert MoGASpace().size == 12**14


def test_encode_names_a_block_from_another_skeleton() -> None:
    space = MoGASpace()
    blocks = list(space.decode([5] * 14).blocks)
    blocks[7] = dataclasses.replace(blocks[7], activation="relu")
    with pytest.raises(NotInSpace, match="block 7 of the network does not fit slot 'layer_5'"):
        space.encode(Network(tuple(blocks)))
    with pytest.raises(NotInSpace, match="block 0 of the network does not fit slot 'stem'"):
        MoGASpace(192).encode(space.decode([0] * 14))


def test_encode_reverses_decode() -> None:
    space = MoGASpace(32)
    for genome in np.random.default_rng(0).integers(0, 12, (20, 14)):
        assert space.encode(space.decode(genome)) == tuple(genome)
