"""Interactive pictures of a run, by plotly: the front, and the hypervolume over evaluations.

Colours of text, axes and grid are left to the page's style sheet, so that one figure serves a light
and a dark page. Every text that comes from a file is escaped: plotly reads its labels as HTML.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from moga.report.run import Run
from moga.report.text import label, value_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["DRAWN", "SCALE", "front_axes", "front_figure", "hypervolume_figure"]

SCALE: Final = ("#3fa7d6", "#6f6fd8", "#c2347f")
"""Few to many: readable on white and on black."""

DRAWN: Final = 5000
"""At most so many evaluations are drawn behind the front, evenly spaced in their order."""

_ACCENT: Final = "#e8590c"
_NEUTRAL: Final = "#8a8f98"
_LINE: Final = "#6f6fd8"


def front_axes(run: Run) -> list[tuple[str, str]]:
    """Return (x, y) columns of the pictures of the front: one a latency, against accuracy.

    Without one of them the other metrics step in; [] where the run has fewer than two.
    """
    columns = run.metric_columns
    if len(columns) < 2:
        return []
    y = columns[0]
    latencies = [name for name in columns[1:] if name.startswith("latency_ms")]
    return [(x, y) for x in latencies or columns[1:2]]


def front_figure(run: Run, x: str, y: str) -> "go.Figure":
    """Draw all evaluations lightly, the front boldly (colour: parameters), the family by name.

    Args:
        run: what to draw.
        x: column along the horizontal axis.
        y: column along the vertical axis.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_trace(_all_evaluations(run, x, y))
    figure.add_trace(_front(run, x, y))
    if run.members:
        figure.add_trace(_family(run, x, y))
    _style(figure, label(x, unit=True), label(y, unit=True))
    return figure


def hypervolume_figure(run: Run) -> "go.Figure":
    """Draw the share of the objectives' box that the front dominates, after each evaluation."""
    import plotly.graph_objects as go

    values = run.evaluated["hypervolume"].to_numpy(dtype=float)
    steps = np.arange(1, len(values) + 1)
    kept = np.flatnonzero(
        np.diff(values, prepend=np.nan) != 0
    )  # a step line needs its corners only
    kept = np.unique(np.append(kept, len(values) - 1)) if len(values) else kept
    figure = go.Figure(
        go.Scatter(
            x=steps[kept].tolist(),
            y=values[kept].tolist(),
            mode="lines",
            line={"color": _LINE, "width": 2.5, "shape": "hv"},
            fill="tozeroy",
            fillcolor="rgba(111,111,216,.14)",
            hovertemplate="after %{x:,} evaluations: %{y:.4f}<extra></extra>",
        )
    )
    _style(figure, "evaluations", "hypervolume, normalised")
    figure.update_layout(showlegend=False, height=320)
    figure.update_yaxes(rangemode="tozero")
    return figure


def _hover(run: Run, values: pd.Series, heading: str) -> str:
    lines = [f"<b>{html.escape(heading)}</b>"]
    for name in run.metric_columns:
        base, at, device = name.partition("@")
        text = value_text(name, values.get(name), values.get(f"{base}_se{at}{device}"))
        lines.append(f"{html.escape(label(name))}: {html.escape(text)}")
    return "<br>".join(lines)


def _numbers(frame: pd.DataFrame, name: str) -> list[float | None]:
    if name not in frame:
        return [None] * len(frame)
    return [float(v) if np.isfinite(v) else None for v in frame[name].to_numpy(dtype=float)]


def _bars(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return error bars of a column; {} where nothing is known of its error."""
    base, at, device = name.partition("@")
    errors = _numbers(frame, f"{base}_se{at}{device}")
    if not any(errors):
        return {}
    array = [error or 0.0 for error in errors]
    return {"type": "data", "array": array, "thickness": 1, "width": 0, "color": _NEUTRAL}


def _all_evaluations(run: Run, x: str, y: str) -> "go.Scatter":
    import plotly.graph_objects as go

    rest = run.measured[~run.measured["on_front"].astype(bool)]
    if len(rest) > DRAWN:
        rest = rest.iloc[np.linspace(0, len(rest) - 1, DRAWN).astype(int)]
    return go.Scatter(
        x=_numbers(rest, x),
        y=_numbers(rest, y),
        mode="markers",
        name="evaluated",
        marker={"size": 5, "color": _NEUTRAL, "opacity": 0.35},
        hovertext=[_hover(run, row, f"evaluation {row['order']}") for _, row in rest.iterrows()],
        hoverinfo="text",
    )


def _front(run: Run, x: str, y: str) -> "go.Scatter":
    import plotly.graph_objects as go

    front = run.front.sort_values(x, kind="stable")
    params = _numbers(front, "params")
    marker: dict[str, Any] = {"size": 10, "line": {"width": 1, "color": "rgba(255,255,255,.7)"}}
    if any(value is not None for value in params):
        bar = {"title": {"text": "parameters"}, "thickness": 12, "len": 0.8, "outlinewidth": 0}
        marker |= {"color": params, "colorscale": _scale(), "showscale": True, "colorbar": bar}
    else:
        marker["color"] = _LINE
    return go.Scatter(
        x=_numbers(front, x),
        y=_numbers(front, y),
        mode="markers",
        name="front",
        marker=marker,
        error_x=_bars(front, x),
        error_y=_bars(front, y),
        hovertext=[
            _hover(run, row, f"front, evaluation {row['order']}") for _, row in front.iterrows()
        ],
        hoverinfo="text",
    )


def _scale() -> list[list[Any]]:
    return [[index / (len(SCALE) - 1), colour] for index, colour in enumerate(SCALE)]


def _family(run: Run, x: str, y: str) -> "go.Scatter":
    import plotly.graph_objects as go

    frame = pd.DataFrame([dict(member.values) for member in run.members])
    names = [html.escape(member.name) for member in run.members]
    return go.Scatter(
        x=_numbers(frame, x),
        y=_numbers(frame, y),
        mode="markers+text",
        name="family",
        text=[f"<b>{name}</b>" for name in names],
        textposition="top center",
        textfont={"size": 17, "color": _ACCENT},
        marker={
            "size": 18,
            "symbol": "circle-open",
            "color": _ACCENT,
            "line": {"width": 2.5, "color": _ACCENT},
        },
        hovertext=[_hover(run, row, f"member {m.name}") for m, (_, row) in _rows(run, frame)],
        hoverinfo="text",
    )


def _rows(run: Run, frame: pd.DataFrame) -> Sequence[tuple[Any, tuple[Any, pd.Series]]]:
    return list(zip(run.members, frame.iterrows(), strict=True))


def _style(figure: "go.Figure", x: str, y: str) -> None:
    axis = {"zeroline": False, "showline": False, "automargin": True, "ticks": ""}
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 60, "r": 16, "t": 36, "b": 54},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": _NEUTRAL, "activecolor": _ACCENT},
        hovermode="closest",
        height=500,
        xaxis={**axis, "title": {"text": html.escape(x)}},
        yaxis={**axis, "title": {"text": html.escape(y)}},
    )
