import json
import math

import pytest

from moga.devices.importers.trtexec import read_trtexec_profile, read_trtexec_times
from moga.errors import FormatError, UsageError


def trace(compute, copies=0.05):
    """One inference as TensorRT 8 to 10 write it."""
    start = 10.0
    return {
        "startEnqMs": start,
        "endEnqMs": start + 0.02,
        "startH2dMs": start,
        "endH2dMs": start + copies,
        "startComputeMs": start + copies,
        "endComputeMs": start + copies + compute,
        "startD2hMs": start + copies + compute,
        "endD2hMs": start + 2 * copies + compute,
        "h2dMs": copies,
        "computeMs": compute,
        "d2hMs": copies,
        "latencyMs": compute + 2 * copies,
    }


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_times_are_those_of_computing(tmp_path):
    path = write(tmp_path / "block.times.json", [trace(t) for t in [0.5] * 9 + [7.0]])
    reading = read_trtexec_times(path)
    assert (reading.value, reading.count, reading.per_image) == (0.5, 10, False)
    assert reading.spread == 0
    assert reading.subject == "block.times.json"
    assert reading.latency(8).batch == 8
    assert read_trtexec_times(path, "latencyMs").value == pytest.approx(0.6)


def test_the_old_fields_are_read_as_well(tmp_path):
    old = {"startInMs": 1.0, "endInMs": 1.1, "inMs": 0.1, "computeMs": 2.0, "outMs": 0.1}
    path = write(tmp_path / "t.json", [{**old, "latencyMs": 2.2, "endToEndMs": 2.4}] * 3)
    assert read_trtexec_times(path).value == 2.0


def test_a_wrong_trace_is_refused(tmp_path):
    path = write(tmp_path / "t.json", [trace(0.5), trace(-0.5)])
    with pytest.raises(FormatError, match=r"t.json, entry 2: computeMs is -0.5 ms"):
        read_trtexec_times(path)
    with pytest.raises(FormatError, match="entry 1: expected an object with computeMs"):
        read_trtexec_times(write(tmp_path / "u.json", [{"name": "x"}]))
    path = write(tmp_path / "v.json", [trace(0.5), {"computeMs": int("9" * 400)}])
    with pytest.raises(
        FormatError, match=r"v.json, entry 2: computeMs is 9+\.\.\.9+; expected a n"
    ):
        read_trtexec_times(path)
    with pytest.raises(UsageError, match="time is 'enqueueMs'; give one of computeMs, latencyMs"):
        read_trtexec_times(path, "enqueueMs")


LAYER = {"timeMs": 30.0, "averageMs": 0.3, "medianMs": 0.29, "percentage": 60.0}


def test_a_profile_is_the_sum_of_its_layers(tmp_path):
    layers = [{"name": "conv", **LAYER}, {"name": "relu", **LAYER, "averageMs": 0.2}]
    reading = read_trtexec_profile(write(tmp_path / "p.json", [{"count": 100}, *layers]))
    assert reading.value == pytest.approx(0.5)
    assert (reading.count, reading.spread) == (100, None)
    assert reading.parts == (("conv", 0.3), ("relu", 0.2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"count": 3}], r'expected a profile of trtexec: \{"count": runs\}, then layers'),
        ([{"name": "a"}, {"name": "b"}], "expected a profile of trtexec"),
        ([{"count": 3}, {"name": "a"}], "expected an object with name, averageMs"),
        (
            [{"count": 3}, {"name": "a", "averageMs": -1}],
            "entry 2: averageMs is -1; expected a fin",
        ),
        ([{"count": 3}, {"name": "a", "averageMs": math.inf}], "entry 2: averageMs is inf; expect"),
        ([{"count": math.nan}, {"name": "a", **LAYER}], "entry 1: count is nan; expected an integ"),
        ([{"count": math.inf}, {"name": "a", **LAYER}], "entry 1: count is inf; expected an integ"),
        ([{"count": 3.7}, {"name": "a", **LAYER}], "entry 1: count is 3.7; expected an integer"),
        ([{"count": None}, {"name": "a", **LAYER}], "entry 1: count is None; expected a number"),
        ([{"count": 3}, {"name": "a", "averageMs": 0}], "the sum of the layers is 0.0 ms"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path, content, message):
    with pytest.raises(FormatError, match=message):
        read_trtexec_profile(write(tmp_path / "p.json", content))
