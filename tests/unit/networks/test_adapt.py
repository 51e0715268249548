from typing import Any

import pytest

from moga.errors import UsageError
from moga.network import Block, Network
from moga.networks import zoo
from moga.networks.adapt import FeatureLevel, adapt, feature_levels


def test_resolution_classes_and_channels_change_and_nothing_else() -> None:
    network = zoo.network("moga_b")
    other = adapt(network, resolution=96, num_classes=5, in_channels=1)
    assert other.input_shape == (1, 96, 96)
    assert other.num_classes == 5
    assert adapt(other, resolution=224, num_classes=1000, in_channels=3) == network
    assert adapt(network) == network


def test_blocks_of_one_size_each() -> None:
    blocks = adapt(zoo.network("gpunet_0"), resolution=224).blocks
    assert [block.height for block in blocks if block.stride == 2] == [224, 112, 55, 27, 14]


@pytest.mark.parametrize("field", ["resolution", "num_classes", "in_channels"])
@pytest.mark.parametrize("value", [0, -3, 1.5, "8"])
def test_numbers_below_one_are_refused(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{field} is {value!r}; give an integer of 1 or more"):
        adapt(zoo.network("moga_a"), **{field: value})


def test_classes_need_a_linear_layer() -> None:
    conv = Block(operation="conv", in_channels=3, out_channels=8, height=8, width=8)
    with pytest.raises(UsageError, match="ends with a 'conv' block; only a linear layer at its"):
        adapt(Network((conv,)), num_classes=2)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("moga_a", [16, 24, 40, 112, 160]),
        ("genet_light", [13, 48, 48, 384, 256]),
        ("gpunet_1", [24, 64, 96, 288, 448]),
        ("gpunet_d2", [48, 64, 96, 272, 384]),
        ("efficientnet_x_b0_gpu", [32, 24, 40, 112, 320]),
        ("efficientnet_b0", [16, 24, 40, 112, 320]),
    ],
)
def test_feature_levels_of_published_networks(name: str, channels: list[int]) -> None:
    levels = feature_levels(zoo.network(name))
    assert [level.reduction for level in levels] == [2, 4, 8, 16, 32]
    assert [level.channels for level in levels] == channels


def test_images_split_by_space_to_batch_are_no_features() -> None:
    def block(operation: str, **values: Any) -> Block:
        given = {"in_channels": 3, "out_channels": 3, "height": 8, "width": 8, **values}
        return Block(operation=operation, **given)

    network = Network(
        (
            block("conv", kernel=3),
            block("space_to_batch", stride=2),
            block("conv", kernel=3, height=4, width=4, batch_factor=4),
            block("batch_to_space", stride=2, height=4, width=4, batch_factor=4),
            block("conv", kernel=3, stride=2),
        )
    )
    assert feature_levels(network) == (FeatureLevel(3, 3, 1), FeatureLevel(4, 3, 2))
