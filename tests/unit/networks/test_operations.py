from collections import Counter

import pytest
import torch
from torch import nn

from moga.errors import UsageError
from moga.network import Block
from moga.networks import zoo
from moga.networks.build import build_block
from moga.networks.count import count_macs
from moga.networks.operations import KINDS, operations
from moga.networks.watch import watch
from moga.spaces.nasbench201 import NASBench201


@pytest.mark.parametrize(
    "name",
    ["moga_a", "genet_light", "gpunet_0", "efficientnet_x_b0_gpu", "efficientnet_x_b3_tpu"],
)
def test_blocks_say_what_their_modules_run(name):
    network = zoo.network(name)
    with torch.device("meta"):
        module = zoo.create_model(name)
    listed = [operation for block in network for operation in operations(block)]
    assert listed == list(watch(module, network.input_shape))
    assert sum(operation.macs for operation in listed) == count_macs(network)


def _by_hand():
    values = {"in_channels": 16, "out_channels": 16, "height": 8, "width": 8, "norm_eps": 1e-3}
    yield Block(operation="mbconv", kernel=3, hidden_channels=32, groups=4, **values)
    yield Block(
        operation="mbconv", kernel=5, stride=2, hidden_channels=32, padding="same", **values
    )
    yield Block(operation="dsconv", kernel=3, se_channels=4, activation="hswish", **values)
    yield Block(operation="norm_act", activation="relu", **values)
    yield Block(operation="conv", kernel=3, groups=2, shortcut="identity", **values)
    yield from NASBench201().decode([0, 1, 2, 3, 4, 1]).blocks[1:8]


@pytest.mark.parametrize("block", list(_by_hand()), ids=lambda block: block.operation)
def test_other_blocks_do_so_too(block):
    module = build_block(block)
    shape = (block.in_channels, block.height, block.width)
    ours, theirs = operations(block), watch(module, shape)
    if block.operation == "cell201":  # "none" and pooling are done otherwise
        kinds = ("conv", "norm", "relu")
        assert Counter(op for op in ours if op.kind in kinds) == Counter(
            op for op in theirs if op.kind in kinds
        )
    else:
        assert Counter(ours) == Counter(theirs)
    assert {op.kind for op in ours} <= set(KINDS)


def test_one_image_stands_for_several_after_space_to_batch():
    block = Block(
        operation="space_to_batch", in_channels=3, out_channels=3, height=8, width=8, stride=2
    )
    (copy,) = operations(block)
    assert (copy.kind, copy.read, copy.written) == ("copy", 192, 192)


def test_what_is_watched_is_unchanged_and_must_run():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.SiLU(), nn.Flatten(), nn.Linear(4, 2))
    found = watch(module, (3, 3, 3))
    assert [op.kind for op in found] == ["conv", "bias", "swish", "conv"]
    assert (found[-1].macs, found[-1].weights, found[-1].channels) == (8, 8, 2)
    assert module.training
    assert not module[0].weight.is_meta
    with pytest.raises(UsageError, match=r"Sequential cannot run on images of shape \(1, 3, 3\)"):
        watch(module, (1, 3, 3))
