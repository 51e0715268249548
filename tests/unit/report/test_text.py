import math

import pytest

from moga.report.text import (
    ABSENT,
    big,
    column,
    duration,
    label,
    unmeasured,
    value_text,
    with_error,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (2.5e9, "2.50 G"),
        (None, ABSENT),
    ],
)
def test_counts_are_short(value, text):
    assert big(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (61.2345, 2.14, "61.2 ± 2.1"),
        (61.2345, 4.2, "61 ± 4"),
        (0.08187, 0.00021, "0.08187 ± 0.00021"),
        (0.08187, None, "0.0819"),
        (123.456, math.nan, "123"),
        (0.0, None, "0.00"),
        (math.nan, 1.0, ABSENT),
    ],
)
def test_an_error_decides_the_digits(value, error, text):
    assert with_error(value, error) == text


def test_durations():
    assert [duration(s) for s in (0, 59.94, 60, 3599, 3600)] == [
        *("0.0 s", "59.9 s", "1 min 00 s", "59 min 59 s", "1 h 00 min")
    ]
    assert duration(None) == ABSENT


def test_names_of_columns():
    assert column("latency") == "latency_ms"
    assert label("params", unit=True) == "parameters"
    assert label("latency_ms@x") == "latency on x"
    assert value_text("latency_ms@x", 1.5, 0.1) == "1.50 ± 0.10 ms"
    assert value_text("macs", 2e6) == "2.00 M"


def test_what_has_no_measured_spread_is_named():
    assert unmeasured([{"latency_ms": 1.0, "latency_ms_se": 0.0, "accuracy": 3.0}]) == []
    assert unmeasured([{"latency_ms": None, "latency_ms_se": None}]) == []
    assert unmeasured([]) == []
    both = {"latency_ms@a": 1.0, "latency_ms_se@a": 0.1, "latency_ms@b": 2.0}
    assert unmeasured([both]) == ["The spread of the latency on b was not measured."]
