"""Pictures of an analysis hold what they were given, escaped, in one file."""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from moga.networks.analyze import StageRank
from moga.networks.intensity import Intensity
from moga.report.analysis import rank_figure, roofline_figure, write_figure


def stage(name: str, last: float) -> StageRank:
    return StageRank(name, 3, {0.5: 0.7}, np.linspace(1, last, 101))


def part(name: str, work: int, traffic: int, limit: str) -> Intensity:
    return Intensity(name, work, traffic, attainable=2e12, least_ms=0.5, limit=limit)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_one_line_a_stage(count: int) -> None:
    stages = [stage(f"1/{2**i}", 0.1 * i) for i in range(count)]
    figure = rank_figure(stages)
    assert [line.name for line in figure.data] == [f"1/{2**i} (3)" for i in range(count)]
    for line, drawn in zip(figure.data, stages, strict=True):
        assert line.y == tuple(drawn.spectrum)
        assert (line.x[0], line.x[-1]) == (0, 100)
    assert len({line.line.color for line in figure.data}) == count


def test_the_roof_and_the_points_below_it() -> None:
    parts = [
        part("0 conv", 40, 2, "memory"),
        part("1 <b>", 900, 3, "compute"),
        part("2 copy", 0, 5, "memory"),
        part("3 view", 0, 0, "none"),
    ]
    figure = roofline_figure(parts, part("network", 940, 10, "memory"), peak=100e12, bandwidth=1e12)
    roof, memory, compute, whole = figure.data
    assert tuple(roof.x) == (10, 100, 1200)
    assert tuple(roof.y) == (10, 100, 100)
    assert (tuple(memory.x), tuple(compute.x), tuple(whole.x)) == ((20,), (300,), (94,))
    assert tuple(whole.y) == (2,)
    assert compute.text == ("1 &lt;b&gt;: at least 0.5 ms",)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"


def test_a_network_without_work_has_only_a_roof() -> None:
    nothing = part("network", 0, 0, "none")
    figure = roofline_figure([nothing], nothing, peak=1e12, bandwidth=1e12)
    assert len(figure.data) == 1


def test_the_page_stands_alone_and_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "made" / "figure.html"
    figure = rank_figure([stage("<script>alert(1)</script>", 0)])
    assert isinstance(figure, go.Figure)
    assert write_figure(figure, path, title="<i>&", caption="batch <128>") == path
    text = path.read_text()
    assert "<title>&lt;i&gt;&amp;</title>" in text
    assert "batch &lt;128&gt;" in text
    assert "<script>alert(1)" not in text
    assert "Plotly.newPlot" in text
    assert "<script src" not in text
    assert "<link href" not in text
    assert [file.name for file in path.parent.iterdir()] == ["figure.html"]
