from typing import Any

import pytest
import torch

from moga.errors import UsageError
from moga.network import Block, Network
from moga.networks import zoo
from moga.networks.model import Backbone, Classifier, build_model


def small(**arguments: Any) -> Any:
    return zoo.create_model("moga_c", resolution=64, num_classes=5, **arguments)


def test_a_classifier_splits_into_features_and_head() -> None:
    model = small().eval()
    assert isinstance(model, Classifier)
    x = torch.randn(2, 3, 64, 64)
    features = model.forward_features(x)
    assert features.shape == (2, 960, 2, 2)
    torch.testing.assert_close(model.forward_head(features), model(x))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    assert model.get_classifier().out_features == model.num_classes == 5


def test_reset_classifier() -> None:
    model = small()
    model.reset_classifier(9)
    assert (model.num_classes, model.network.num_classes) == (9, 9)
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 9)
    with pytest.raises(UsageError, match="num_classes is 0; give an integer of 1 or more"):
        model.reset_classifier(0)
    with pytest.raises(UsageError, match="global_pool is 'max'; these networks have 'avg' only"):
        model.reset_classifier(3, "max")


def test_dropout_before_the_classifier_while_training() -> None:
    torch.manual_seed(0)
    model = small(drop_rate=0.5)
    features = model.eval().forward_features(torch.randn(1, 3, 64, 64))
    kept = model.forward_head(features, pre_logits=True)
    model.train()
    dropped = model.forward_head(features, pre_logits=True)
    assert int((dropped == 0).sum()) > int((kept == 0).sum()) + 400


@pytest.mark.parametrize("rate", [-0.1, 1, 2])
def test_a_drop_rate_that_cannot_be(rate: float) -> None:
    with pytest.raises(UsageError, match=f"drop_rate is {rate}; give a number from 0 to below 1"):
        small(drop_rate=rate)


def test_a_backbone_gives_the_strides_that_a_detector_reads() -> None:
    backbone = small(features_only=True).eval()
    assert isinstance(backbone, Backbone)
    maps = backbone(torch.randn(2, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [
        *((2, 24, 16, 16), (2, 40, 8, 8), (2, 112, 4, 4), (2, 160, 2, 2)),
    ]
    assert backbone.feature_info.channels() == [m.shape[1] for m in maps]
    assert backbone.feature_info.reduction() == [4, 8, 16, 32]
    assert backbone.feature_info.module_name() == ["blocks.3", "blocks.6", "blocks.12", "blocks.15"]


def test_levels_can_be_chosen() -> None:
    backbone = small(features_only=True, out_indices=(0, -1))
    assert backbone.feature_info.reduction() == [2, 32]
    coarse = small(features_only=True, out_indices=(1,))
    assert len(coarse.blocks) == 4


def test_levels_that_are_not_there() -> None:
    with pytest.raises(UsageError, match=r"out_indices is \[5\]; this network has the levels 0 to"):
        small(features_only=True, out_indices=(5,))
    with pytest.raises(UsageError, match=r"out_indices is \[\]; this network has the levels 0 to"):
        small(features_only=True, out_indices=())
    with pytest.raises(UsageError, match="out_indices needs features_only=True"):
        small(out_indices=(1,))


def test_a_network_that_does_not_classify() -> None:
    conv = Block(operation="conv", in_channels=3, out_channels=8, height=8, width=8, stride=4)
    with pytest.raises(UsageError, match="a classifier needs a pooling and a linear layer"):
        build_model(Network((conv,)))
    assert len(build_model(Network((conv, conv_after(conv))), features_only=True)(_image())) == 1


def conv_after(block: Block) -> Block:
    return Block(operation="conv", in_channels=8, out_channels=8, height=2, width=2, kernel=3)


def _image() -> torch.Tensor:
    return torch.randn(1, 3, 8, 8)
