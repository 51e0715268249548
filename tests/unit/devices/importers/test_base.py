import dataclasses
import math

import pytest

from moga.devices.base import Latency
from moga.devices.importers.base import (
    Reading,
    load_json,
    milliseconds,
    number,
    precision_of,
    records,
    span,
    summarise,
    whole,
)
from moga.errors import FormatError


def test_units_become_milliseconds():
    assert milliseconds("2", "s", "t.csv, line 2") == 2000
    assert milliseconds("2", "us", "t.csv, line 2") == pytest.approx(0.002)
    assert milliseconds(5, "ms", "t.csv, line 2") == 5


@pytest.mark.parametrize(
    ("value", "unit", "message"),
    [
        ("-0.3", "ms", r"t.csv, line 7: latency is -0.3 ms; expected a positive, finite time"),
        ("0", "ms", "expected a positive, finite time"),
        ("nan", "ms", "expected a positive, finite time"),
        ("inf", "s", "expected a positive, finite time"),
        ("fast", "ms", "t.csv, line 7: latency is 'fast'; expected a number"),
        (None, "ms", "latency is None; expected a number"),
        ("1e9", "ms", "longer than an hour; is the unit right"),
        ("1e-9", "ms", "shorter than a nanosecond"),
        ("1", "seconds", "the unit is 'seconds'; expected one of s, ms, us, ns"),
    ],
)
def test_impossible_times_are_refused(value, unit, message):
    with pytest.raises(FormatError, match=message):
        milliseconds(value, unit, "t.csv, line 7")


def test_a_reading_of_an_image_is_multiplied_with_the_batch():
    of_image = Reading("a", "block", 0.5, True, "here", spread=0.1, count=3)
    assert of_image.latency(64) == Latency(32.0, 6.4, 3, "imported", 64)
    of_batch = Reading("a", "block", 0.5, False, "here")
    assert of_batch.latency(64) == Latency(0.5, None, 0, "imported", 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": True}, "t.csv, line 3: True ms; expected a finite time above 0"),
        ({"value": math.nan}, "t.csv, line 3: nan ms; expected a finite time above 0"),
        ({"value": 0.0}, r"t.csv, line 3: 0\.0 ms; expected a finite time above 0"),
        ({"spread": True}, "t.csv, line 3: spread is True ms; expected 0 or more"),
        ({"spread": -1.0}, "t.csv, line 3: spread is -1.0 ms; expected 0 or more"),
        ({"count": 1.5}, "t.csv, line 3: count 1.5 and batch None; expected integers of 0 or more"),
        ({"batch": True}, "t.csv, line 3: count 0 and batch True; expected integers of 0 or more"),
    ],
)
def test_a_reading_names_its_row_where_a_number_is_out_of_range(change, message):
    reading = Reading("x", "block", 1.0, False, "t.csv, line 3")
    with pytest.raises(FormatError, match=message):
        dataclasses.replace(reading, **change)


def test_true_is_no_time():
    with pytest.raises(FormatError, match=r"t\.json, entry 1: ms is True; expected a number"):
        milliseconds(True, "ms", "t.json, entry 1", "ms")


def test_times_are_summarised_without_a_tenth_at_either_end():
    times = [1.0] * 9 + [100.0]
    mean, error = summarise(times)
    assert mean == 1.0
    assert error == 0.0
    assert summarise([3.0]) == (3.0, None)
    assert summarise([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2) / math.sqrt(2)))


def test_json_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1,")
    with pytest.raises(FormatError, match=r"a.json is no JSON file"):
        load_json(tmp_path / "a.json")
    with pytest.raises(FormatError, match=r"b.json is no JSON file"):
        load_json(tmp_path / "b.json")


def test_json_of_too_many_brackets_is_refused(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(FormatError, match=r"deep.json is no JSON file: maximum recursion depth"):
        load_json(tmp_path / "deep.json")


def test_an_integer_that_no_float_holds_is_no_number():
    with pytest.raises(FormatError, match=r"^here: ms is 9{18}\.\.\.9{19}; expected a number$"):
        number(int("9" * 400), "ms", "here")


def test_integers_may_be_written_as_floats():
    assert whole("8.0", "batch", "here") == 8
    assert whole(8.0, "batch", "here") == 8
    for wrong in ("0", "-3", "2.5", "nan", "inf", math.nan, math.inf):
        message = rf"here: batch is {wrong}; expected an integer of 1 or more"
        with pytest.raises(FormatError, match=message):
            whole(wrong, "batch", "here")
    with pytest.raises(FormatError, match="here: batch is ''; expected a number"):
        whole("", "batch", "here")


def test_spans_are_finite_and_not_negative():
    assert [span("0", "dur", "here"), span(2.5, "dur", "here")] == [0.0, 2.5]
    for wrong in ("-1", "nan", "inf"):
        with pytest.raises(FormatError, match=rf"here: dur is {wrong}; expected a finite number"):
            span(wrong, "dur", "here")


def test_precisions_have_one_name():
    given = ("", "FP16", "half", "bfloat16", "int8")
    assert [precision_of(text, "here") for text in given] == ["", "fp16", "fp16", "bf16", "int8"]
    with pytest.raises(FormatError, match="here: precision is 'fp12'; expected one of fp32, tf32"):
        precision_of("fp12", "here")


def test_records_name_the_entry(tmp_path):
    with pytest.raises(FormatError, match="expected a JSON list of at least one object"):
        records({}, ("a",), tmp_path)
    with pytest.raises(FormatError, match="entry 2: expected an object with a"):
        records([{"a": 1}, {"b": 1}], ("a",), tmp_path)
    with pytest.raises(FormatError, match="x is '1,5'; expected a number"):
        number("1,5", "x", "here")
