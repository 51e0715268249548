import re
from typing import cast

import numpy as np
import pytest

from moga.devices.plausible import check_speed, check_units, speed_caution
from moga.devices.profile import unique_blocks
from moga.devices.roofline import RooflineDevice
from moga.errors import FormatError
from moga.networks.count import count_macs
from moga.networks.operations import operations
from moga.registry import create
from moga.spaces.moga import MoGASpace


@pytest.mark.parametrize("speed", [0.01, 0.6, 9e5, 1e6])
def test_speeds_of_devices_need_no_caution(speed):
    assert speed_caution(speed) == ""


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (0.0099, "0.0099 gmacs per s is less than .*the times are too long; are they in milli"),
        (1.01e6, "1e.06 gmacs per s is more than .*the times are too short; are they in milli"),
        (0.0, "0 gmacs per s is less"),
    ],
)
def test_no_device_has_such_a_speed(speed, words):
    assert re.search(words, speed_caution(speed))


def test_more_than_any_device_does_is_refused() -> None:
    check_speed(1e9, 1e-4, "t.csv, line 2", "a network")
    message = r"^t.csv, line 2: 9e-05 ms for a network would be 1e\+16 multiply-adds a second, more"
    with pytest.raises(FormatError, match=message):
        check_speed(1e9, 0.9e-4, "t.csv, line 2", "a network")


def test_the_least_number_above_0_is_a_time_of_another_unit() -> None:
    blocks = unique_blocks(MoGASpace(32))
    times = np.array([20.0 + count_macs(block) / 1e9 for block in blocks])
    times[3] = 5e-324
    with pytest.raises(
        FormatError, match=r"^row 3: 4\.94066e-324 ms for .* takes about 20 ms; 1 of "
    ):
        check_units(blocks, times, [f"row {row}" for row in range(len(blocks))])


@pytest.mark.parametrize("device", ["tpuv3", "t4_int8"])
@pytest.mark.parametrize("factor", [1000.0, 0.001])
@pytest.mark.parametrize("rank", [0, 1, 63, -2, -1])
def test_one_time_of_another_unit_is_refused_whatever_its_work(
    device: str, factor: float, rank: int
) -> None:
    blocks = sorted(unique_blocks(MoGASpace(32)), key=count_macs)
    model = cast(RooflineDevice, create("device", device))
    times = np.array([model.predict(operations(block)).ms for block in blocks])
    places = [f"row {row}" for row in range(len(blocks))]
    check_units(blocks, times, places)
    wrong = rank % len(blocks)
    times[wrong] *= factor
    with pytest.raises(FormatError, match=rf"^row {wrong}: .* another unit"):
        check_units(blocks, times, places)
