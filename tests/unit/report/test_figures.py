import dataclasses

import numpy as np
import pandas as pd
import pytest

from moga.report import figures
from moga.report.figures import front_axes, front_figure, hypervolume_figure
from moga.report.run import read_run


@pytest.fixture
def run(run_directory):
    return read_run(run_directory)


def with_evaluations(run, frame):
    return dataclasses.replace(run, evaluations=frame)


def test_the_front_shows_all_front_and_family(run):
    rest, front, family = front_figure(run, "latency_ms", "accuracy").data
    assert len(rest.x) + len(front.x) == len(run.measured)
    assert list(front.marker.color) == run.front["params"].tolist()
    assert list(front.error_y.array) == run.front["accuracy_se"].tolist()
    assert [text.strip("</b>") for text in family.text] == ["A", "B", "C"]
    assert "latency: " in front.hovertext[0]
    assert "±" in front.hovertext[0]


def test_failed_evaluations_are_not_drawn(run):
    rest = front_figure(run, "latency_ms", "accuracy").data[0]
    assert None not in rest.y


def test_texts_from_files_are_escaped(run):
    members = tuple(dataclasses.replace(m, name="<img src=x>") for m in run.members)
    drawn = front_figure(dataclasses.replace(run, members=members), "latency_ms", "accuracy")
    assert drawn.data[2].text[0] == "<b>&lt;img src=x&gt;</b>"
    assert "<img" not in drawn.data[2].hovertext[0]


def test_without_family_parameters_and_errors(run):
    frame = run.evaluations.drop(columns=["params", "accuracy_se", "latency_ms_se"])
    bare = dataclasses.replace(with_evaluations(run, frame), members=())
    rest, front = front_figure(bare, "latency_ms", "accuracy").data
    assert isinstance(front.marker.color, str)
    assert front.error_y.array is None
    assert len(rest.x) > 0


def test_many_evaluations_are_thinned(run, monkeypatch):
    monkeypatch.setattr(figures, "DRAWN", 10)
    assert len(front_figure(run, "latency_ms", "accuracy").data[0].x) == 10


def test_axes_follow_the_metrics(run):
    assert front_axes(run) == [("latency_ms", "accuracy")]
    several = run.evaluations.rename(columns={"latency_ms": "latency_ms@a", "macs": "latency_ms@b"})
    assert front_axes(with_evaluations(run, several)) == [
        ("latency_ms@a", "accuracy"),
        ("latency_ms@b", "accuracy"),
    ]
    without = run.evaluations.drop(columns=["latency_ms"])
    assert front_axes(with_evaluations(run, without)) == [("params", "accuracy")]
    alone = run.evaluations.drop(columns=["latency_ms", "params", "macs"])
    assert front_axes(with_evaluations(run, alone)) == []


def test_the_hypervolume_line_keeps_every_step(run):
    values = [0.0, 0.0, 0.5, 0.5, 0.5, 0.7, 0.7]
    frame = pd.DataFrame({"hypervolume": values, "status": "measured"})
    line = hypervolume_figure(with_evaluations(run, frame)).data[0]
    drawn = np.interp(np.arange(len(line.x)), np.arange(len(line.x)), line.y)
    assert list(line.x) == [1, 3, 6, 7]
    assert list(drawn) == [0.0, 0.5, 0.7, 0.7]


def test_the_hypervolume_line_counts_what_was_evaluated(run):
    frame = pd.DataFrame(
        {
            "hypervolume": [0.0, 0.0, 0.5, 0.7],
            "status": ["skipped", "skipped", "failed", "measured"],
        }
    )
    line = hypervolume_figure(with_evaluations(run, frame)).data[0]
    assert (list(line.x), list(line.y)) == ([1, 2], [0.5, 0.7])
