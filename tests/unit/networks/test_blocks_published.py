"""The kinds of blocks that the published networks are made of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moga.errors import InvalidBlock
from moga.network import Block, Network
from moga.networks.blocks import build_block
from moga.networks.count import convolutions, count_macs, count_params

EPS = {"norm_eps": 1e-3}


def _block(operation: str, **values: Any) -> Block:
    given = {"in_channels": 4, "out_channels": 4, "height": 12, "width": 8, **values}
    return Block(operation=operation, **given)


FUSED = {"hidden_channels": 12, "kernel": 3, "activation": "swish", **EPS}
GENET = {"hidden_channels": 6, "kernel": 3, "activation": "relu", **EPS}

BLOCKS = [
    pytest.param(
        _block("fused_mbconv", out_channels=6, stride=2, se_channels=1, **FUSED),
        (4 * 12 * 9 + 24) + (12 + 1) + (12 + 12) + (12 * 6 + 12),
        (4 * 12 * 9 + 12 * 6) * 24 + 24,
        id="fused-se-stride",
    ),
    pytest.param(
        _block("fused_mbconv", shortcut="identity", **FUSED),
        (4 * 12 * 9 + 24) + (12 * 4 + 8),
        (4 * 12 * 9 + 12 * 4) * 96,
        id="fused-identity",
    ),
    pytest.param(
        _block("fused_mbconv", stride=2, padding="zero", **FUSED),
        (4 * 12 * 9 + 24) + (12 * 4 + 8),
        (4 * 12 * 9 + 12 * 4) * 5 * 3,
        id="fused-zero-padding",
    ),
    pytest.param(
        _block("xx", out_channels=8, stride=2, shortcut="conv", **GENET),
        (4 * 6 * 9 + 12) + (6 * 8 * 9 + 16) + (4 * 8 + 16),
        (4 * 6 * 9 + 6 * 8 * 9 + 4 * 8) * 24,
        id="xx-conv",
    ),
    pytest.param(
        _block("xx", shortcut="identity", **GENET),
        (4 * 6 * 9 + 12) + (6 * 4 * 9 + 8),
        2 * 4 * 6 * 9 * 96,
        id="xx-identity",
    ),
    pytest.param(
        _block("bl", out_channels=8, stride=2, shortcut="conv", **GENET),
        (4 * 6 + 12) + (6 * 6 * 9 + 12) + (6 * 8 + 16) + (4 * 8 + 16),
        4 * 6 * 96 + (6 * 6 * 9 + 6 * 8 + 4 * 8) * 24,
        id="bl-conv",
    ),
    pytest.param(
        _block("dw", out_channels=8, stride=2, shortcut="conv", **GENET),
        (4 * 6 + 12) + (6 * 9 + 12) + (6 * 8 + 16) + (4 * 8 + 16),
        4 * 6 * 96 + (6 * 9 + 6 * 8 + 4 * 8) * 24,
        id="dw-conv",
    ),
    pytest.param(
        _block("dw", shortcut="identity", **GENET),
        (4 * 6 + 12) + (6 * 9 + 12) + (6 * 4 + 8),
        (4 * 6 + 6 * 9 + 6 * 4) * 96,
        id="dw-identity",
    ),
    pytest.param(
        _block("mbconv", out_channels=8, hidden_channels=4, kernel=3, groups=2, **EPS),
        (4 * 2 + 8) + (4 * 9 + 8) + (8 * 2 + 16),
        (4 * 2 + 4 * 9 + 8 * 2) * 96,
        id="mbconv-groups",
    ),
    pytest.param(
        _block("conv", out_channels=16, kernel=2, stride=2, padding="same", **EPS),
        4 * 16 * 4 + 32,
        4 * 16 * 4 * 24,
        id="space-to-depth",
    ),
    pytest.param(
        _block("dsconv", kernel=2, padding="same", shortcut="identity", **EPS),
        (4 * 4 + 8) + (16 + 8),
        (16 + 16) * 96,
        id="even-kernel",
    ),
    pytest.param(_block("space_to_batch", stride=2), 0, 0, id="space_to_batch"),
    pytest.param(_block("batch_to_space", stride=2, batch_factor=4), 0, 0, id="batch_to_space"),
]


@pytest.mark.parametrize(("block", "params", "macs"), BLOCKS)
def test_counts_by_hand_and_the_module_agrees(block: Block, params: int, macs: int) -> None:
    assert count_params(block) == params
    assert count_macs(block) == macs
    module = build_block(block)
    assert sum(p.numel() for p in module.parameters()) == params
    assert _macs_of(module, block) == macs


@pytest.mark.parametrize(("block", "params", "macs"), BLOCKS)
def test_the_module_gives_what_the_block_says(block: Block, params: int, macs: int) -> None:
    images = 2 * block.batch_factor
    x = torch.randn(images, block.in_channels, block.height, block.width)
    out = build_block(block).eval()(x)
    assert out.shape == (2 * block.out_batch_factor, block.out_channels, *block.out_size)


def _macs_of(module: nn.Module, block: Block) -> int:
    """Count multiply-adds of one input image by watching every convolution run."""
    seen: list[int] = []

    def watch(layer: nn.Module, _inputs: Any, out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        seen.append(out.numel() * layer.weight[0].numel())

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(watch)
    module.eval()(torch.zeros(block.batch_factor, block.in_channels, block.height, block.width))
    assert len(seen) == len(convolutions(block))
    return sum(seen)


def test_squeeze_and_excitation_costs_once_an_image_of_space_to_batch() -> None:
    values = {"hidden_channels": 8, "kernel": 3, "se_channels": 2, **EPS}
    once, often = _block("mbconv", **values), _block("mbconv", batch_factor=4, **values)
    assert count_macs(often) == 4 * count_macs(once)
    assert count_params(often) == count_params(once)


def test_genet_blocks_activate_after_the_sum() -> None:
    """With zeroed last norms a block is its shortcut through the activation."""
    for operation in ("xx", "bl", "dw"):
        module = build_block(_block(operation, shortcut="identity", **GENET)).eval()
        nn.init.zeros_(module.last.bn.weight)
        x = torch.randn(2, 4, 12, 8)
        torch.testing.assert_close(module(x), torch.relu(x))


def test_a_fused_block_is_linear_after_its_projection() -> None:
    module = build_block(_block("fused_mbconv", shortcut="identity", **FUSED)).eval()
    nn.init.zeros_(module.project.bn.weight)
    x = torch.randn(2, 4, 12, 8)
    torch.testing.assert_close(module(x), x)


def test_channel_shuffle_deals_each_group_out_to_all() -> None:
    module = build_block(
        _block("mbconv", hidden_channels=6, kernel=3, groups=2, activation="relu", **EPS)
    )
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert module.shuffle(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_space_to_batch_makes_images_of_phases_and_batch_to_space_puts_them_back() -> None:
    there = build_block(_block("space_to_batch", stride=2))
    back = build_block(
        _block("batch_to_space", stride=2, batch_factor=4, height=6, width=4),
    )
    x = torch.randn(3, 4, 12, 8)
    phases = there(x)
    assert phases.shape == (12, 4, 6, 4)
    torch.testing.assert_close(phases[4 + 2], x[1, :, 1::2, 0::2])
    assert torch.equal(back(phases), x)


def test_a_network_through_space_to_batch_and_back() -> None:
    blocks = (
        _block("space_to_batch", stride=2),
        _block("conv", kernel=3, height=6, width=4, batch_factor=4, **EPS),
        _block("batch_to_space", stride=2, height=6, width=4, batch_factor=4),
        _block("pool"),
    )
    assert Network(blocks).blocks[-1].batch_factor == 1
    assert Network.from_json(Network(blocks).to_json()) == Network(blocks)


def test_images_must_be_the_same_from_block_to_block() -> None:
    expected = r"block 1 \(conv\) has batch_factor 1, but block 0 \(space_to_batch\) gives 4 images"
    with pytest.raises(InvalidBlock, match=expected):
        Network((_block("space_to_batch", stride=2), _block("conv", height=6, width=4)))


XX: dict[str, Any] = {"operation": "xx", **GENET}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operation": "fused_mbconv", "kernel": 3}, "hidden_channels is 0, allowed: 1 or more"),
        ({**XX, "hidden_channels": 0}, "hidden_channels is 0, allowed: 1 or more, for this"),
        ({**XX, "se_channels": 2}, "se_channels is 2, allowed: 0, for this operation has none"),
        ({**XX, "padding": "zero"}, "padding is 'zero', allowed: 'symmetric' or 'same', for the"),
        ({**XX, "kernel": 2}, "kernel is 2, allowed: an odd number with symmetric padding"),
        ({**XX, "groups": 2}, "groups is 2, allowed: 1, for only conv and mbconv have groups"),
        ({**XX, "shortcut": "identity", "stride": 2}, "'none' where the channels or the image's"),
        (
            {"operation": "fused_mbconv", "hidden_channels": 8, "shortcut": "conv"},
            "shortcut is 'conv', allowed: 'none' or 'identity' for this operation",
        ),
        (
            {"operation": "mbconv", "hidden_channels": 9, "groups": 2},
            "groups is 2, allowed: a divisor of hidden_channels, 9",
        ),
        ({"operation": "space_to_batch", "stride": 3}, "width is 8, allowed: a multiple of 3"),
        ({"operation": "space_to_batch", "stride": 5}, "height is 12, allowed: a multiple of 5"),
        ({"operation": "space_to_batch", "stride": 2, "kernel": 2}, "kernel is 2, allowed: 1"),
        (
            {"operation": "batch_to_space", "stride": 2, "batch_factor": 2},
            "batch_factor is 2, allowed: a multiple of 4, the stride squared",
        ),
        (
            {"operation": "batch_to_space", "stride": 2, "batch_factor": 4, "out_channels": 8},
            "out_channels is 8, allowed: 4, the channels that enter",
        ),
        (
            {"operation": "linear", "height": 1, "width": 1, "batch_factor": 4},
            "batch_factor is 4, allowed: 1, for batch_to_space must come before",
        ),
    ],
)
def test_blocks_that_cannot_exist(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidBlock, match=message):
        _block(**values)
