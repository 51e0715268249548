"""Every space against every published network, and every space as torch modules."""

import pickle

import numpy as np
import pytest
import torch

from moga import registry
from moga.errors import NotInSpace
from moga.networks import zoo
from moga.networks.build import build_network
from moga.networks.count import count_params
from moga.spaces.base import sample_uniform

OUTSIDE = {
    "genet_light": "gene 'stem.width'",
    "gpunet_0": "gene 's4.filters'",
    "gpunet_1": "gene 's5.filters'",
    "gpunet_d1": "gene 'resolution'",
    "gpunet_d2": "gene 's0.filters'",
    **{
        f"efficientnet_x_b{size}_{kind}": "height is .*; the space has 224"
        for size in range(1, 8)
        for kind in ("gpu", "tpu")
    },
    **{
        f"efficientnet_x_b{size}_original": "height is .*; the space has 224"
        for size in range(1, 8)
    },
    **{f"efficientnet_x_b{size}_timm": "height is .*; the space has 224" for size in (3, 5)},
}
"""What lies outside, and what the error says; scaled EfficientNet-X has other image sizes."""

NAMES = [name for name in zoo.names() if zoo.published(name).space]


def spec_of(name: str) -> str:
    master = name.removeprefix("genet_")
    return f"genet(master={master})" if master.startswith("net") else zoo.published(name).space


@pytest.mark.parametrize("name", NAMES)
def test_published_networks_encode_where_they_lie_inside(name: str) -> None:
    space, network = registry.create("space", spec_of(name)), zoo.network(name)
    if name in OUTSIDE:
        with pytest.raises(NotInSpace, match=OUTSIDE[name]):
            space.encode(network)
    else:
        genome = space.encode(network)
        assert space.decode(genome) == network
        assert tuple(space.canonical(np.array([genome]))[0]) == genome


def test_names_outside_are_names() -> None:
    assert set(OUTSIDE) <= set(NAMES)
    assert len(NAMES) - len(OUTSIDE) == 3 + 22 + 1 + 3


@pytest.mark.parametrize(
    "spec",
    [
        "genet(resolution=32, num_classes=7)",
        "genet(master=net3, types=all, resolution=32, num_classes=7)",
        "gpunet(resolution=32, num_classes=7)",
        "efficientnet_x(resolution=32, num_classes=7)",
        "fbnet(resolution=32, num_classes=7)",
        "subspace(space='fbnet(resolution=32, num_classes=7)', fixed={'layer_3': skip})",
    ],
)
def test_random_networks_run_and_have_the_parameters_that_are_counted(spec: str) -> None:
    space = registry.create("space", spec.replace("skip", "'skip'"))
    for genome in sample_uniform(space.sizes, 2, np.random.default_rng(0)):
        network = space.decode(genome)
        module = build_network(network).eval()
        assert sum(p.numel() for p in module.parameters()) == count_params(network)
        with torch.inference_mode():
            assert module(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


@pytest.mark.parametrize("spec", ["genet", "gpunet", "efficientnet_x", "fbnet"])
def test_spaces_travel_to_workers(spec: str) -> None:
    space = registry.create("space", spec)
    genome = sample_uniform(space.sizes, 1, np.random.default_rng(0))
    network = space.decode(genome)
    again = pickle.loads(pickle.dumps(space))
    assert again.digest == space.digest
    assert again.decode(genome) == network
    assert registry.create("space", space.spec).digest == space.digest
