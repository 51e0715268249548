import dataclasses
import math

import numpy as np
import pytest

from moga.devices.base import (
    PROVENANCES,
    Device,
    Latency,
    Measures,
    method_text,
    noise_grid,
    spread_percent,
    with_noise,
)
from moga.devices.catalog import CATALOG
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeDevice


def test_latency_says_what_it_is():
    latency = Latency(4.2, 0.1, 30, "measured")
    assert latency.unit == "ms a batch"
    assert str(latency) == "4.2 ± 0.1 ms (measured)"
    assert str(Latency(4.2, provenance="table")) == "4.2 ms (table; spread not measured)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ms": math.nan}, "a latency is nan ms; expected a finite number"),
        ({"ms": -1.0}, "a latency is -1.0 ms"),
        ({"ms": True}, "a latency is True ms"),
        ({"ms": "1"}, "a latency is '1' ms"),
        ({"ms": 1.0, "spread": True}, "spread is True; expected 0 or more, or None"),
        ({"ms": 1.0, "count": True}, "count True and batch 1; expected integers of 0 or more"),
        ({"ms": 1.0, "batch": 1.5}, "count 0 and batch 1.5"),
        ({"ms": 1.0, "spread": math.inf}, "spread is inf; expected 0 or more, or None"),
        ({"ms": 1.0, "count": -1}, "count -1 and batch 1; expected integers of 0 or more"),
        ({"ms": 1.0, "batch": 0}, "count 0 and batch 0"),
        ({"ms": 1.0, "provenance": "guessed"}, f"one of {', '.join(PROVENANCES)}"),
    ],
)
def test_impossible_latencies_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Latency(**arguments)


def test_the_noise_grid_of_a_table_is_near_its_standard_error():
    table = FakeDevice().table(MoGASpace(32, 0.35, 10))
    four = tuple(0.04 * array for array in table.arrays)  # a share of each slot's time
    noisy = with_noise(dataclasses.replace(table, spread=four))
    errors = noisy.standard_error(np.zeros((1, 14), dtype=np.int64))
    assert 0.4 < noisy.grid / errors[0] < 2.5
    assert f"{noisy.grid:e}"[0] in "125"
    assert 0.4 < noisy.provenance["spread_percent"] < 4  # slots err independently
    assert noisy.provenance["method"] == "fake"


def test_a_spread_that_was_not_measured_is_none_and_no_zero():
    table = FakeDevice().table(MoGASpace(32, 0.35, 10))
    assert spread_percent(table) == 0
    unknown = tuple(np.full_like(array, np.nan) for array in table.spread)
    for spread in (unknown, (*table.spread[:-1], unknown[-1]), ()):
        found = with_noise(dataclasses.replace(table, spread=spread))
        assert (found.grid, found.provenance["spread_percent"]) == (0, None)


def test_a_table_device_does_not_measure():
    assert isinstance(FakeDevice(), Device)
    assert isinstance(FakeDevice(), Measures)
    assert isinstance(CATALOG["pixel3"](), Device)
    assert not isinstance(CATALOG["pixel3"](), Measures)


@pytest.mark.parametrize(
    ("step", "grid"),
    [(0.0, 0.0), (1.0, 1.0), (1.3, 1.0), (1.5, 2.0), (3.3, 5.0), (8.0, 10.0), (0.00012, 0.0001)],
)
def test_noise_grid_is_1_2_or_5(step, grid):
    assert noise_grid(step) == pytest.approx(grid, rel=1e-12)


@pytest.mark.parametrize("step", [-0.1, math.nan, math.inf])
def test_noise_grid_refuses_what_is_no_noise(step):
    with pytest.raises(ValueError, match="expected a finite number, 0 or more"):
        noise_grid(step)


@pytest.mark.parametrize(
    ("blocks", "predicted", "text"),
    [
        (126, 0, "imported"),
        (8, 5, "imported, 62 % of blocks predicted"),
        (232_921, 232_640, "imported, over 99 % of blocks predicted"),
        (1000, 1, "imported, under 1 % of blocks predicted"),
    ],
)
def test_a_table_says_how_much_of_it_was_predicted(blocks, predicted, text):
    provenance = {"method": "imported", "blocks": blocks, "blocks_predicted": predicted}
    assert method_text(provenance) == text
