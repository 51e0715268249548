"""Numerically the same networks as timm's: its weights in our modules give its outputs."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from moga.networks import zoo

LEAVES = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


def layers_as_they_run(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """Return convolutions, norms and linear layers in the order in which they run."""
    seen: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: seen.append(layer))
        for layer in model.modules()
        if isinstance(layer, LEAVES)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def disturb(model: nn.Module, seed: int) -> None:
    """Give norms statistics and scales of no network in particular, so that each counts."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.5, 1.5),
                (layer.weight.data, 0.7, 1.4),
                (layer.bias.data, -0.2, 0.2),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.bias.data.uniform_(-0.2, 0.2, generator=generator)


def take_over(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Copy every layer, in the order in which layers run; kinds and shapes must be the same."""
    mine, other = layers_as_they_run(ours, x), layers_as_they_run(theirs, x)
    assert len(mine) == len(other)
    for to, source in zip(mine, other, strict=True):
        assert [kind for kind in LEAVES if isinstance(to, kind)] == [
            kind for kind in LEAVES if isinstance(source, kind)
        ]
        to.load_state_dict(source.state_dict(), strict=True)


def compare(name: str, theirs: str, size: int, **arguments: Any) -> None:
    torch.manual_seed(7)
    reference = timm.create_model(theirs, **arguments).eval()
    model = zoo.create_model(name, **arguments).eval()
    disturb(reference, seed=11)
    count = sum(parameter.numel() for parameter in reference.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(13))
    take_over(model, reference, x)
    with torch.no_grad():
        expected, got = reference(x), model(x)
    scale = float(expected.std())
    # The classes differ and so do the two images: what is compared is no constant.
    assert scale > 0
    assert float((expected[0] - expected[1]).abs().max()) > 0.01 * scale
    assert float((got - expected).abs().max()) < 1e-4 * min(1.0, scale)


@pytest.mark.parametrize(
    ("name", "theirs", "size"),
    [
        ("genet_light", "gernet_s", 224),
        ("mobilenetv3_large", "mobilenetv3_large_100", 224),
        ("efficientnet_b0", "efficientnet_b0", 97),
    ],
)
def test_same_outputs_as_timm(name: str, theirs: str, size: int) -> None:
    compare(name, theirs, size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "size"),
    [
        ("genet_normal", "gernet_m", 224),
        ("genet_large", "gernet_l", 256),
        ("efficientnet_x_b3_timm", "efficientnet_x_b3", 300),
        ("efficientnet_x_b5_timm", "efficientnet_x_b5", 224),
        ("mobilenetv2", "mobilenetv2_100", 224),
        ("efficientnet_b3", "efficientnet_b3", 300),
        ("efficientnet_b7", "efficientnet_b7", 128),
    ],
)
def test_same_outputs_as_timm_for_large_networks(name: str, theirs: str, size: int) -> None:
    compare(name, theirs, size)


def test_a_wrong_epsilon_would_show() -> None:
    """The comparison is sharp enough for the norm's epsilon, the smallest of the traps."""
    model: Any = zoo.create_model("genet_light").eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(13))
    disturb(model, seed=11)
    with torch.no_grad():
        before = model(x)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = 1e-3
        after = model(x)
    assert float((after - before).abs().max()) > 1e-4 * float(before.std())
