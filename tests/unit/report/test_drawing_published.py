import pytest

from moga.network import OPERATIONS, Block, Network
from moga.networks import zoo
from moga.report.drawing import describe, draw, legend


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("genet_light", ["XX 3x3, expansion 1", "BL 3x3", "DW 3x3"]),
        ("gpunet_2", ["fused mbconv 5x5, expansion 6, squeeze-and-excitation, stride 2"]),
        ("efficientnet_x_b0_gpu", ["conv 2x2, stride 2, 128 channels", "separable 2x2"]),
    ],
)
def test_published_networks_are_drawn(name: str, words: list[str]) -> None:
    network = zoo.network(name)
    drawn = draw(network, name)
    for word in words:
        assert word in drawn
    assert "kernel 3" in legend([network])


def test_every_kind_of_block_has_a_name() -> None:
    for operation in OPERATIONS:
        one = operation == "linear"
        hidden = operation in ("mbconv", "fused_mbconv", "xx", "bl", "dw")
        block = Block(
            operation=operation,
            in_channels=4,
            out_channels=4,
            height=1 if one else 8,
            width=1 if one else 8,
            hidden_channels=8 if hidden else 0,
            edges=("skip",) * 6 if operation == "cell201" else (),
        )
        assert describe(block)


def test_batch_to_space_does_not_shrink() -> None:
    given = {"in_channels": 4, "out_channels": 4, "stride": 2}
    there = Block(operation="space_to_batch", height=8, width=8, **given)
    back = Block(operation="batch_to_space", height=4, width=4, batch_factor=4, **given)
    drawn = draw(Network((there, back)), "there and back")
    assert "space to batch · 4 ↓<" in drawn
    assert "batch to space · 4<" in drawn
