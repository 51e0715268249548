import re

import numpy as np
import pandas as pd
import pytest

from moga.contracts import parse_constraint, parse_objective
from moga.report.limits import why_empty


def frame(latencies, status="skipped", **columns):
    content = {"latency_ms": latencies, "status": status, "on_front": False, **columns}
    return pd.DataFrame(content)


def goals(*texts):
    return [parse_objective(text) for text in texts]


def test_nothing_is_said_of_a_front_that_is_there():
    assert why_empty(frame([1.0, 2.0], on_front=[True, False]), goals("latency<=1")) == ""


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (
            "latency<=0.5",
            "The smallest latency of 3 proposed is 0.536 ms; the limit is 0.5. Give wider limits",
        ),
        ("latency>=4", "The largest latency of 3 proposed is 3 ms; the limit is 4"),
        ("latency<=1.9>=0.6", "The nearest latency of 3 proposed is 0.536 ms; the limit is 0.6"),
        ("latency<=0.53599", "is 0.53600000000000003 ms; the limit is 0.53598999999999997"),
    ],
)
def test_the_nearest_value_to_a_limit_that_no_network_keeps(limit, words):
    text = why_empty(frame([2.0, 0.536, 3.0]), goals("accuracy", limit))
    begin = "3 proposed networks exceed the limits by what the tables say, and were not evaluated. "
    assert text.startswith(begin)
    assert words in text


def test_of_what_only_an_evaluation_gives_the_evaluated_count():
    accuracy = [np.nan, 94.0, 93.0]
    status = ["skipped", "measured", "measured"]
    text = why_empty(frame([1.0, 2.0, 3.0], status, accuracy=accuracy), goals("accuracy>=95"))
    assert "1 proposed networks exceed" in text
    assert "; 2 evaluated ones break a limit. " in text
    assert "The largest accuracy of 2 evaluated is 94 %; the limit is 95. Give wider" in text


def test_counts_and_constraints():
    many = frame([1.0], params=[5_443_210])
    limits = [parse_constraint("params<=5.4e6")]
    assert "smallest parameters of 1 proposed is 5.44 M; the limit is 5.40 M" in why_empty(
        many, goals("latency"), limits
    )
    near = [parse_constraint("params<=5443209")]
    text = why_empty(many, goals("latency"), near)
    assert "is 5,443,210; the limit is 5,443,209" in text


def test_limits_that_hold_one_by_one_but_not_together():
    both = frame([1.0, 3.0], params=[9, 1])
    text = why_empty(both, goals("latency<=2", "params<=5"))
    assert re.search(r"Some networks keep each of the limits, but none that was .*all\. Give", text)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("failed", "2 evaluations failed"),
        ("bounded", "2 evaluations were stopped early"),
    ],
)
def test_what_no_limit_is_to_blame_for(status, words):
    assert why_empty(frame([1.0, 2.0], status), goals("latency<=3")) == words


def test_nothing_at_all():
    assert why_empty(frame([]), goals("latency<=3")) == "nothing has been evaluated"
