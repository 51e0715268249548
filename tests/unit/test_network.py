import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from moga.errors import FormatError, InvalidBlock
from moga.network import Block, Network

CONV: dict[str, Any] = {
    "operation": "conv",
    "in_channels": 8,
    "out_channels": 8,
    "height": 16,
    "width": 16,
}
MBCONV: dict[str, Any] = {**CONV, "operation": "mbconv", "hidden_channels": 24}
CELL: dict[str, Any] = {**CONV, "operation": "cell201", "edges": ("skip",) * 6}
LINEAR: dict[str, Any] = {**CONV, "operation": "linear", "height": 1, "width": 1}


def small_network() -> Network:
    conv = Block(**{**CONV, "in_channels": 3, "kernel": 3, "stride": 2, "norm_eps": 1e-5})
    cell = Block(**{**CELL, "height": 8, "width": 8})
    pool = Block(operation="pool", in_channels=8, out_channels=8, height=8, width=8)
    linear = Block(**{**LINEAR, "out_channels": 10, "bias": True})
    return Network((conv, cell, pool, linear))


def test_messages_call_blocks_and_networks_by_name_and_size() -> None:
    network = small_network()
    block = network.blocks[0]
    assert str(block) == f"block-{block.digest} (conv 3x3 stride 2 3->8 at 16x16)"
    assert block.summary == "conv 3x3 stride 2 3->8 at 16x16"
    assert str(network) == f"network-{network.digest} (4 blocks, from 16x16)"
    assert str(Block(**MBCONV)).endswith(" (mbconv 1x1 8->24->8 at 16x16)")
    assert repr(block).startswith("Block(operation='conv'")


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (CONV, {"in_channels": 8.0}, "in_channels is 8.0, allowed: an integer"),
        (CONV, {"in_channels": True}, "in_channels is True, allowed: an integer"),
        (CONV, {"activation": 3}, "activation is 3, allowed: a text"),
        (CONV, {"bias": 1}, "bias is 1, allowed: True or False"),
        (CONV, {"norm_eps": "1e-5"}, "norm_eps is '1e-5', allowed: a number or None"),
        (CELL, {"edges": ["skip"] * 6}, "allowed: a tuple"),
        (CONV, {"operation": "fire"}, "operation is 'fire', allowed: 'conv', 'dsconv', 'mbconv'"),
        (CONV, {"activation": "gelu"}, "activation is 'gelu', allowed: 'none', 'relu'"),
        (CONV, {"se_activation": "gelu"}, "se_activation is 'gelu', allowed: '', 'none'"),
        (CONV, {"se_gate": "tanh"}, "se_gate is 'tanh', allowed: 'sigmoid', 'hard_sigmoid'"),
        (CONV, {"padding": "valid"}, "padding is 'valid', allowed: 'symmetric', 'same', 'zero'"),
        (CONV, {"shortcut": "dense"}, "shortcut is 'dense', allowed: 'none', 'identity', 'conv'"),
        (CONV, {"in_channels": 0}, "in_channels is 0, allowed: 1 or more"),
        (CONV, {"out_channels": 0}, "out_channels is 0, allowed: 1 or more"),
        (CONV, {"height": 0}, "height is 0, allowed: 1 or more"),
        (CONV, {"width": -1}, "width is -1, allowed: 1 or more"),
        (CONV, {"kernel": 0}, "kernel is 0, allowed: 1 or more"),
        (CONV, {"stride": 0}, "stride is 0, allowed: 1 or more"),
        (CONV, {"groups": 0}, "groups is 0, allowed: 1 or more"),
        (CONV, {"batch_factor": 0}, "batch_factor is 0, allowed: 1 or more"),
        (MBCONV, {"hidden_channels": -1}, "hidden_channels is -1, allowed: 0 or more"),
        (MBCONV, {"se_channels": -1}, "se_channels is -1, allowed: 0 or more"),
        (CONV, {"hidden_channels": 4}, "hidden_channels is 4, allowed: 0, for this operation has"),
        (CONV, {"se_channels": 4}, "se_channels is 4, allowed: 0, for this operation has none"),
        (CONV, {"norm_eps": 0.0}, "norm_eps is 0.0, allowed: None, or between 0 and 1"),
        (CONV, {"norm_eps": float("nan")}, "norm_eps is nan, allowed: None, or between 0 and 1"),
        (MBCONV, {"hidden_channels": 0}, "hidden_channels is 0, allowed: 1 or more, for this"),
        (CELL, {"kernel": 3}, "kernel is 3, allowed: 1, for this operation has no kernel"),
        (CELL, {"stride": 2}, "stride is 2, allowed: 1, for this operation has no stride"),
        (CELL, {"out_channels": 16}, "out_channels is 16, allowed: 8, the channels that enter"),
        (CONV, {"kernel": 2}, "kernel is 2, allowed: an odd number with symmetric padding"),
        (CELL, {"groups": 2}, "groups is 2, allowed: 1, for only conv and mbconv have groups"),
        (CONV, {"groups": 3}, "groups is 3, allowed: a divisor of in_channels and out_channels"),
        (LINEAR, {"height": 2}, "height is 2, allowed: 1, for a linear layer follows pooling"),
        (LINEAR, {"width": 3}, "width is 3, allowed: 1, for a linear layer follows pooling"),
        (CELL, {"edges": ("skip",) * 5}, "allowed: six operations for cell201, none for others"),
        (CONV, {"edges": ("skip",) * 6}, "allowed: six operations for cell201, none for others"),
        (CELL, {"edges": ("conv5x5",) * 6}, "allowed: 'none', 'skip', 'conv1x1', 'conv3x3'"),
        (CONV, {"shortcut": "identity", "stride": 2}, "'none' where the channels or the image's"),
        (CONV, {"shortcut": "identity", "out_channels": 4}, "'none' where the channels or the"),
        (
            CONV,
            {"shortcut": "identity", "kernel": 3, "padding": "zero"},
            "'none' where the channels or the image's size change",
        ),
        (CONV, {"shortcut": "conv"}, "allowed: 'none' or 'identity' for this operation"),
        (CONV, {"kernel": 17, "padding": "zero"}, "kernel is 17, allowed: at most the image's"),
    ],
)
def test_an_impossible_block_names_field_value_and_cure(
    base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    Block(**base)
    with pytest.raises(InvalidBlock) as caught:
        Block(**{**base, **change})
    assert message in str(caught.value)
    operation = change.get("operation", base["operation"])
    assert str(caught.value).startswith(f"block {operation!r}: ")


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({}, (15, 9)),
        ({"kernel": 3}, (15, 9)),
        ({"kernel": 3, "stride": 2}, (8, 5)),
        ({"kernel": 3, "stride": 2, "padding": "same"}, (8, 5)),
        ({"kernel": 3, "padding": "zero"}, (13, 7)),
        ({"kernel": 2, "stride": 2, "padding": "zero"}, (7, 4)),
        ({"operation": "pool"}, (1, 1)),
    ],
)
def test_out_size(change: dict[str, Any], size: tuple[int, int]) -> None:
    assert Block(**{**CONV, "height": 15, "width": 9, **change}).out_size == size


def test_blocks_are_frozen_and_hash_by_value() -> None:
    one, two = Block(**CELL), Block(**CELL)
    assert hash(one) == hash(two)
    assert one == two
    assert one != dataclasses.replace(one, height=8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.height = 4  # type: ignore[misc]


def test_to_dict_keeps_what_is_not_default_and_comes_back() -> None:
    block = Block(**{**CELL, "norm_eps": 1e-5})
    assert block.to_dict() == {**CELL, "edges": ["skip"] * 6, "norm_eps": 1e-5}
    assert Block.from_dict(block.to_dict()) == block


def test_from_dict_refuses_unknown_and_missing_fields() -> None:
    with pytest.raises(FormatError, match=r"unknown fields \['colour'\]; known: operation, in_ch"):
        Block.from_dict({**CONV, "colour": 1})
    with pytest.raises(FormatError, match=r"lacks the fields \['height', 'width'\]"):
        Block.from_dict({k: v for k, v in CONV.items() if k not in ("height", "width")})


def test_a_network_needs_blocks_that_fit() -> None:
    with pytest.raises(InvalidBlock, match="at least one block"):
        Network(())
    with pytest.raises(InvalidBlock) as caught:
        Network((Block(**CONV), Block(**{**CONV, "in_channels": 4})))
    assert str(caught.value) == (
        "block 1 (conv) takes channels x height x width (4, 16, 16), "
        "but block 0 (conv) gives (8, 16, 16)"
    )


def test_network_properties() -> None:
    network = small_network()
    assert len(network) == 4
    assert [block.operation for block in network] == ["conv", "cell201", "pool", "linear"]
    assert network.input_shape == (3, 16, 16)
    assert network.num_classes == 10
    assert hash(network) == hash(small_network())


def test_digest_follows_the_blocks() -> None:
    network = small_network()
    assert network.digest == small_network().digest
    other = Network((*network.blocks[:-1], dataclasses.replace(network.blocks[-1], bias=False)))
    assert other.digest != network.digest


def test_json_both_ways(tmp_path: Path) -> None:
    network = small_network()
    assert Network.from_json(network.to_json()) == network
    assert "\n" not in network.to_json()
    network.save(tmp_path / "network.json")
    assert Network.load(tmp_path / "network.json") == network


def _json(**change: Any) -> str:
    return json.dumps({**json.loads(small_network().to_json()), **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: "),
        ("[]", 'expected a JSON object with "format": "moga-network"'),
        (_json(format="other"), 'expected a JSON object with "format": "moga-network"'),
        (_json(version=2), "format version is 2; this moga reads 1"),
        (_json(extra=1), "unknown fields in a network's JSON: ['extra']"),
        (_json(blocks=3), '"blocks" must be a list of objects'),
        (_json(blocks=[3]), '"blocks" must be a list of objects'),
    ],
)
def test_from_json_refuses(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        Network.from_json(text)
    assert message in str(caught.value)
    path = tmp_path / "network.json"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        Network.load(path)
    assert str(caught.value).startswith(f"{path}: ")
