import xml.etree.ElementTree as ET

import pytest

from moga.network import Block
from moga.report.drawing import describe, draw, legend
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg):
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.fixture
def network():
    return MoGASpace(resolution=32, num_classes=10).decode([0, 11] + [2] * 12)


def bars(svg):
    return [rect for rect in parse(svg).iter(f"{SVG}rect") if rect.get("class") != "edge"]


def test_every_block_is_a_row_with_its_kernel_and_expansion(network):
    drawn = draw(network, "A")
    rows = parse(drawn).findall(f"{SVG}g")
    assert len(rows) == len(network) == 20
    third, fourth = bars(drawn)[2], bars(drawn)[3]
    assert third.get("fill") == "var(--k3)"
    assert fourth.get("fill") == "var(--k7)"
    assert float(fourth.get("width")) == 2 * float(third.get("width"))
    assert float(fourth.get("height")) > float(third.get("height"))


def test_squeeze_and_excitation_is_marked(network):
    circles = list(parse(draw(network, "A")).iter(f"{SVG}circle"))
    assert len(circles) == 1
    assert "squeeze-and-excitation" in draw(network, "A")


def test_the_picture_says_its_blocks_in_words(network):
    words = parse(draw(network, "A")).get("aria-label")
    assert words.startswith("Blocks of network A, first to last: conv 3x3")
    assert words.count("mbconv") == 14
    assert words.endswith("linear, 10 classes")


def test_names_are_escaped(network):
    assert "<b>" not in draw(network, '<b>"')


def test_equal_cells_stand_once_with_their_edges():
    network = NASBench201().decode([0, 1, 2, 3, 4, 0])
    drawn = draw(network, "N")
    assert drawn.count(" cell · ") == 3
    edges = [r for r in parse(drawn).iter(f"{SVG}rect") if r.get("width") == "18"]
    assert len(edges) == 18


def test_the_legend_explains_what_occurs(network):
    shown = legend([network])
    assert "kernel 7" in shown
    assert "squeeze-and-excitation" in shown
    assert "avgpool" not in shown
    assert "avgpool" in legend([NASBench201().decode([4] * 6)])


def test_describe_a_block():
    block = Block(
        operation="mbconv",
        in_channels=8,
        out_channels=16,
        height=8,
        width=8,
        kernel=5,
        stride=2,
        hidden_channels=24,
        se_channels=6,
    )
    assert describe(block) == (
        "mbconv 5x5, expansion 3, squeeze-and-excitation, stride 2, 16 channels"
    )
