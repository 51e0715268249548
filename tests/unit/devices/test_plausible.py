import re

import pytest

from moga.devices.plausible import speed_caution


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
