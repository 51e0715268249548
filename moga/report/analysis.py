"""Pictures of an analysis: the rank of convolutions by stage, and the roofline of a device.

Each is one HTML file that needs no network. Every text that comes from a file is escaped.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from moga.files import atomic_write
from moga.report.style import STYLE

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["StageSpectrum", "WorkPoint", "rank_figure", "roofline_figure", "write_figure"]

_NEUTRAL: Final = "#8a8f98"
_ACCENT: Final = "#e8590c"
_MEMORY: Final = "#3fa7d6"
_COMPUTE: Final = "#c2347f"
_CONFIG: Final = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,  # plotly's button would upload the picture to its maker
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


class StageSpectrum(Protocol):
    """What `rank_figure` draws of a stage (`moga.networks.analyze.StageRank`)."""

    @property
    def stage(self) -> str:
        """Its name."""

    @property
    def kernels(self) -> int:
        """How many kernels it has."""

    @property
    def spectrum(self) -> NDArray[np.float64]:
        """Mean normalised singular values, evenly spaced from the first to the last."""


class WorkPoint(Protocol):
    """What `roofline_figure` draws of a part (`moga.networks.intensity.Intensity`)."""

    @property
    def name(self) -> str:
        """Of the part."""

    @property
    def intensity(self) -> float:
        """Operations a byte."""

    @property
    def attainable(self) -> float:
        """Operations a second at most."""

    @property
    def least_ms(self) -> float:
        """The least time."""

    @property
    def limit(self) -> str:
        """What bounds it: memory or compute."""


def rank_figure(stages: Sequence[StageSpectrum]) -> "go.Figure":
    """Draw the mean normalised singular values of each stage's kernels: one line a stage."""
    import plotly.graph_objects as go
    from plotly.colors import sample_colorscale

    places = [0.1 + 0.8 * index / len(stages) for index in range(len(stages))]
    colours = sample_colorscale("Viridis", places)
    figure = go.Figure()
    for stage, colour in zip(stages, colours, strict=True):
        name = f"{html.escape(stage.stage)} ({stage.kernels})"
        figure.add_trace(
            go.Scatter(
                x=np.linspace(0, 100, len(stage.spectrum)).tolist(),
                y=stage.spectrum.tolist(),
                mode="lines",
                name=name,
                line={"color": colour, "width": 2.5},
                hovertemplate=f"{name}<br>%{{x:.0f}} % of the rank: %{{y:.3f}}<extra></extra>",
            )
        )
    _style(figure, "index of the singular value, % of the rank", "singular value, of the largest")
    figure.update_yaxes(range=[0, 1.02])
    return figure


def roofline_figure(
    parts: Sequence[WorkPoint], whole: WorkPoint, *, peak: float, bandwidth: float
) -> "go.Figure":
    """Draw a device's roofline, and each part of a network below or on it.

    Args:
        parts: the network's parts; those without work or traffic are left out.
        whole: the network.
        peak: operations a second.
        bandwidth: bytes a second.
    """
    import plotly.graph_objects as go

    drawn = [part for part in parts if part.intensity > 0 and part.attainable > 0]
    ridge = peak / bandwidth
    seen = [part.intensity for part in drawn] + [ridge]
    low, high = 0.5 * min(seen), 4 * max(seen)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[low, ridge, high],
            y=[low * bandwidth / 1e12, peak / 1e12, peak / 1e12],
            mode="lines",
            name=f"{peak / 1e12:g} TFLOP/s, {bandwidth / 1e9:g} GB/s",
            line={"color": _NEUTRAL, "width": 2.5},
            hovertemplate=f"ridge at {ridge:.3g} operations a byte<extra></extra>",
        )
    )
    for limit, colour in (("memory", _MEMORY), ("compute", _COMPUTE)):
        chosen = [part for part in drawn if part.limit == limit]
        if chosen:
            figure.add_trace(_points(chosen, f"bound by {limit}", colour, size=9))
    if whole.intensity > 0:
        figure.add_trace(_points([whole], "whole network", _ACCENT, size=15, symbol="star"))
    _style(figure, "operational intensity, operations a byte", "attainable TFLOP/s")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


def _points(
    parts: Sequence[WorkPoint], name: str, colour: str, *, size: int, symbol: str = "circle"
) -> "go.Scatter":
    import plotly.graph_objects as go

    return go.Scatter(
        x=[part.intensity for part in parts],
        y=[part.attainable / 1e12 for part in parts],
        mode="markers",
        name=name,
        marker={"color": colour, "size": size, "symbol": symbol, "opacity": 0.85},
        text=[f"{html.escape(part.name)}: at least {part.least_ms:.4g} ms" for part in parts],
        hovertemplate="%{text}<br>I = %{x:.3g}, %{y:.3g} TFLOP/s<extra></extra>",
    )


def _style(figure: "go.Figure", x: str, y: str) -> None:
    axis = {"zeroline": False, "automargin": True}
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 60, "r": 16, "t": 36, "b": 54},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": _NEUTRAL, "activecolor": _ACCENT},
        height=560,
        xaxis={**axis, "title": {"text": x}},
        yaxis={**axis, "title": {"text": y}},
    )


def write_figure(figure: "go.Figure", path: str | Path, *, title: str, caption: str) -> Path:
    """Write a picture as a page of its own, whole or not at all, and return its path.

    Args:
        figure: what to show.
        path: the HTML file.
        title: its heading.
        caption: what is to be said below it: conventions, sources.
    """
    from plotly.offline import get_plotlyjs

    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id="figure", config=_CONFIG)
    name, text = html.escape(title), html.escape(caption)
    atomic_write(
        Path(path),
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{name}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n'
        f"<script>{get_plotlyjs()}</script>\n</head>\n<body>\n<header><h1>{name}</h1></header>\n"
        f'<main><figure><div role="img" aria-label="{name}">{drawn}</div>\n'
        f"<figcaption>{text}</figcaption></figure></main>\n</body>\n</html>\n",
    )
    return Path(path)
