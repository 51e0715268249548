import json
from importlib import resources
from typing import Any

import pytest

from moga.network import Block, Network
from moga.networks.count import (
    COUNTERS,
    Convolution,
    convolutions,
    count_bytes,
    count_macs,
    count_params,
)
from moga.registry import create

PUBLISHED = json.loads(
    resources.files("moga").joinpath("networks/published/moga.json").read_text(encoding="utf-8")
)


@pytest.mark.golden
@pytest.mark.parametrize("entry", PUBLISHED["networks"], ids=lambda entry: entry["name"])
def test_the_published_networks_count_exactly(entry: dict[str, Any]) -> None:
    space = create("space", PUBLISHED["space"])
    network = space.decode(entry["genome"])
    assert count_params(network) == entry["params"]
    assert count_macs(network) == entry["macs"]
    assert space.encode(network) == tuple(entry["genome"])


@pytest.mark.golden
def test_the_integers_of_moga_a_b_and_c() -> None:
    """Written out, so that a change of the shipped file is noticed."""
    found = {entry["name"]: (entry["params"], entry["macs"]) for entry in PUBLISHED["networks"]}
    assert found == {
        "MoGA-A": (5159802, 304042176),
        "MoGA-B": (5506236, 248634720),
        "MoGA-C": (5488200, 221089920),
    }
    for entry in PUBLISHED["networks"]:
        figures = entry["published"]
        # The paper truncates parameters to one decimal, and its MACs are whole millions.
        assert figures["params_m"] == entry["params"] // 100_000 / 10
        assert abs(figures["macs_m"] - entry["macs"] / 1e6) < 1


def _block(operation: str, **values: Any) -> Block:
    given = {"in_channels": 4, "out_channels": 4, "height": 10, "width": 6, **values}
    return Block(operation=operation, **given)


EPS = {"norm_eps": 1e-5}
EDGES = {"edges": ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3", "conv3x3")}


@pytest.mark.parametrize(
    ("block", "params", "macs"),
    [
        pytest.param(
            _block("conv", out_channels=8, kernel=3, stride=2, **EPS),
            8 * 4 * 9 + 2 * 8,
            8 * 4 * 9 * 5 * 3,
            id="conv",
        ),
        pytest.param(
            _block("conv", out_channels=8, kernel=3, padding="zero", bias=True, groups=2),
            8 * 2 * 9 + 8,
            8 * 2 * 9 * 8 * 4,
            id="grouped-conv-zero-padding-bias",
        ),
        pytest.param(
            _block("conv", batch_factor=4, **EPS), 4 * 4 + 8, 4 * 4 * 60 * 4, id="space-to-batch"
        ),
        pytest.param(
            _block("dsconv", out_channels=6, kernel=5, stride=2, se_channels=2, **EPS),
            (4 * 25 + 8) + (4 * 2 + 2) + (2 * 4 + 4) + (4 * 6 + 12),
            4 * 25 * 15 + 4 * 2 * 2 + 4 * 6 * 15,
            id="dsconv-se",
        ),
        pytest.param(
            _block("mbconv", out_channels=6, hidden_channels=12, kernel=3, se_channels=3, **EPS),
            (4 * 12 + 24) + (12 * 9 + 24) + (12 * 3 + 3) + (3 * 12 + 12) + (12 * 6 + 12),
            4 * 12 * 60 + 12 * 9 * 60 + 2 * 12 * 3 + 12 * 6 * 60,
            id="mbconv-se",
        ),
        pytest.param(
            _block("mbconv", hidden_channels=12, kernel=3, stride=2, **EPS),
            (4 * 12 + 24) + (12 * 9 + 24) + (12 * 4 + 8),
            4 * 12 * 60 + 12 * 9 * 15 + 12 * 4 * 15,
            id="mbconv-stride",
        ),
        pytest.param(
            _block("cell201", **EDGES, **EPS),
            (16 + 8) + 2 * (16 * 9 + 8),
            16 * 60 + 2 * 16 * 9 * 60,
            id="cell201",
        ),
        pytest.param(
            _block("residual201", out_channels=8, stride=2, shortcut="conv", **EPS),
            (4 * 8 * 9 + 16) + (8 * 8 * 9 + 16) + 4 * 8,
            (4 * 8 * 9 + 8 * 8 * 9 + 4 * 8) * 15,
            id="residual201",
        ),
        pytest.param(
            _block("residual201", shortcut="identity"), 2 * 16 * 9, 2 * 16 * 9 * 60, id="residual"
        ),
        pytest.param(_block("norm_act", **EPS), 8, 0, id="norm_act"),
        pytest.param(_block("pool"), 0, 0, id="pool"),
        pytest.param(
            _block("linear", out_channels=10, height=1, width=1, bias=True), 50, 40, id="linear"
        ),
    ],
)
def test_counts_by_hand(block: Block, params: int, macs: int) -> None:
    assert count_params(block) == params
    assert count_macs(block) == macs


def test_a_network_counts_as_its_blocks() -> None:
    blocks = (_block("conv", **EPS), _block("norm_act", **EPS), _block("pool"))
    assert count_params(Network(blocks)) == sum(count_params(block) for block in blocks) == 32
    assert count_macs(list(blocks)) == 960


def test_bytes_are_weights_and_what_convolutions_read_and_write() -> None:
    block = _block("conv", out_channels=8, kernel=3, stride=2, **EPS)
    values = 4 * 60 + 8 * 15
    assert count_bytes(block) == 4 * (values + 8 * 4 * 9 + 16)
    assert count_bytes(block, batch=3, item=2) == 2 * (3 * values + 8 * 4 * 9 + 16)
    assert count_bytes([block, block]) == 2 * count_bytes(block)


def test_convolutions_list_every_layer_in_order() -> None:
    block = _block("mbconv", hidden_channels=12, kernel=5, se_channels=3, **EPS)
    assert [(c.in_channels, c.out_channels, c.kernel, c.groups) for c in convolutions(block)] == [
        (4, 12, 1, 1),
        (12, 12, 5, 12),
        (12, 3, 1, 1),
        (3, 12, 1, 1),
        (12, 4, 1, 1),
    ]
    assert convolutions(_block("linear", height=1, width=1)) == (
        Convolution(4, 4, 1, 1, (1, 1), (1, 1), norm=False, bias=False),
    )


def test_counters_by_name() -> None:
    assert {"params": count_params, "macs": count_macs} == COUNTERS
