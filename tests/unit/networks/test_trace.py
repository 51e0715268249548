"""Work and traffic: what moga counts from blocks and what operators do must be the same."""

import pytest
import torch
from torch import Tensor, nn

from moga.errors import UsageError
from moga.network import ACTIVATIONS, Block, Network
from moga.networks import zoo
from moga.networks.build import build_network
from moga.networks.count import convolutions, count_macs
from moga.networks.trace import FUSIONS, Traced, fusion_named, trace

NAMES = ("moga_a", "genet_light", "gpunet_0", "gpunet_d1", "efficientnet_x_b0_tpu", "mobilenetv2")


def weights_of(block: Block) -> int:
    """Weights and biases of convolutions, without norms."""
    found = convolutions(block)
    return sum(part.params - 2 * part.norm * part.out_channels for part in found)


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_agree_with_the_count_from_blocks(name: str) -> None:
    network, batch = zoo.network(name, resolution=64), 3
    with torch.device("meta"):
        module = build_network(network)
    traced = trace(module, network.input_shape, batch=batch, fusion="convolutions")
    assert [part.name for part in traced] == [f"blocks.{i}" for i in range(len(network))]
    for part, block in zip(traced, network, strict=True):
        values = sum(convolution.values for convolution in convolutions(block))
        assert part.macs == batch * count_macs(block)
        assert part.moved == batch * values + weights_of(block)


class _Small(nn.Module):
    """8 channels of 4x4: convolution, norm, activation, addition, pooling, concatenation."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = activation or nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.norm(self.conv(x))) + x
        return torch.cat([out.mean((2, 3)), out.amax((2, 3))], 1)


IMAGE, KERNEL = 8 * 4 * 4, 8 * 8 * 9


@pytest.mark.parametrize(
    ("fusion", "moved"),
    [
        ("convolutions", 2 * IMAGE * 2 + KERNEL),
        # convolution; the shortcut; two reductions; the concatenation
        ("fused", 2 * (2 * IMAGE + IMAGE + 2 * (IMAGE + 8) + 32) + KERNEL),
        # and norm (with four vectors), activation, and all of the addition
        (
            "eager",
            2 * (2 * IMAGE + 2 * IMAGE + 2 * IMAGE + 3 * IMAGE + 2 * (IMAGE + 8) + 32)
            + KERNEL
            + 32,
        ),
    ],
)
def test_traffic_by_hand(fusion: str, moved: int) -> None:
    traced = trace(_Small(), (8, 4, 4), batch=2, fusion=fusion_named(fusion))
    assert sum(part.moved for part in traced) == moved
    assert sum(part.macs for part in traced) == 2 * KERNEL * 16


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_fused(name: str) -> None:
    block = {"operation": "conv", "in_channels": 4, "out_channels": 4, "height": 8, "width": 8}
    network = Network((Block(**block, kernel=3, norm_eps=1e-3, activation=name),))
    module = build_network(network)
    fused = trace(module, network.input_shape, fusion="fused")
    assert fused == trace(module, network.input_shape, fusion="convolutions")
    eager = trace(module, network.input_shape, fusion="eager")
    assert eager[0].moved > fused[0].moved


def test_padding_costs_memory_only_where_it_is_not_fused() -> None:
    shape = {"in_channels": 4, "out_channels": 4, "height": 8, "width": 8, "kernel": 2, "stride": 2}
    network = Network((Block(operation="conv", **shape, padding="same"),))
    odd = Network((Block(operation="conv", **{**shape, "height": 7, "width": 7}, padding="same"),))
    moved = [
        trace(build_network(net), net.input_shape, fusion="fused")[0].moved
        for net in (network, odd)
    ]
    assert moved == [4 * 64 + 4 * 16 + 64, 4 * 49 + 4 * 16 + 64]
    eager = trace(build_network(odd), odd.input_shape, fusion="eager")[0].moved
    assert eager == moved[1] + 4 * 49 - 4 * 49 + 4 * 64 + (4 * 64 - 4 * 49) + 4 * 49


def test_copies_count_and_views_do_not() -> None:
    block = {"in_channels": 4, "out_channels": 4, "height": 8, "width": 8}
    network = Network((Block(operation="space_to_batch", **block, stride=2),))
    traced = trace(build_network(network), network.input_shape, batch=2)
    assert traced == (Traced("blocks.0", 0, 2 * 2 * 4 * 64),)


def test_matrix_products_with_and_without_bias() -> None:
    for bias in (True, False):
        traced = trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=bias)), (3, 2, 2), batch=4)
        assert [(part.macs, part.moved) for part in traced] == [
            (4 * 60, 4 * 12 + 60 + 5 * bias + 4 * 5)
        ]


class _Bare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2))


def test_operators_of_the_module_itself() -> None:
    assert trace(_Bare(), (3, 2, 2), batch=2) == (Traced("(top)", 2 * 9 * 4, 2 * (12 + 12 + 9)),)


def test_the_module_is_not_changed() -> None:
    module = _Small().train()
    trace(module, (8, 4, 4))
    assert module.training
    assert module.norm.training
    assert not module.conv.weight.is_meta
    assert not module.conv._forward_hooks
    ghost = module.to("meta")
    trace(ghost, (8, 4, 4))
    assert ghost.training
    assert not ghost.conv._forward_hooks


class _Looks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_traced() -> None:
    with pytest.raises(UsageError, match=r"_Looks cannot run on images of shape \(3, 4, 4\)"):
        trace(_Looks(), (3, 4, 4))
    with pytest.raises(UsageError, match="_Small cannot run on images"):
        trace(_Small(), (3, 4, 4))
    with pytest.raises(UsageError, match="batch is 0; give an integer of 1 or more"):
        trace(_Small(), (8, 4, 4), batch=0)


def test_conventions_have_names() -> None:
    assert [fusion_named(name) for name in FUSIONS] == list(FUSIONS)
    with pytest.raises(UsageError, match="fusion is 'none'; give one of fused, eager"):
        fusion_named("none")
