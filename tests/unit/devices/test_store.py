import json

import pytest

from moga.devices.base import Latency
from moga.devices.store import ValueStore
from moga.errors import FormatError
from moga.spaces.moga import MoGASpace

NETWORK = MoGASpace(32, 0.35, 10).decode([0] * 14)
FIRST, SECOND = NETWORK.blocks[:2]


def test_values_come_back_by_block_and_network(tmp_path):
    store = ValueStore(tmp_path / "deep" / "values.json", {"cpu": "a"})
    assert store.read([FIRST, NETWORK], 1) == {}
    store.write({FIRST: Latency(1.5, 0.1, 30)})
    store.write({NETWORK: Latency(9.0, None, 40, batch=2)})
    again = ValueStore(store.path, {})
    assert again.read([FIRST, SECOND, NETWORK], 30) == {
        FIRST: Latency(1.5, 0.1, 30),
        NETWORK: Latency(9.0, None, 40, batch=2),
    }
    assert json.loads(store.path.read_text())["settings"] == {"cpu": "a"}


def test_values_of_too_few_rounds_are_not_used(tmp_path):
    store = ValueStore(tmp_path / "values.json", {})
    store.write({FIRST: Latency(1.5, 0.1, 30), SECOND: Latency(1.0, 0.1, 60)})
    assert set(store.read([FIRST, SECOND], 31)) == {SECOND}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged .*; remove it and the blocks are timed again"),
        ("[]", "is damaged"),
        ('{"format": "moga-latency-values", "version": 1}', "is damaged"),
        ('{"format": "moga-latency-values", "version": 9, "values": {}}', "of version 1; move"),
        (
            '{"format": "moga-latency-values", "version": 1, "values": {"block-0": {"ms": -1}}}',
            "a latency is -1 ms",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "values.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=message):
        ValueStore(path, {}).read([FIRST], 1)
    with pytest.raises(FormatError, match=r"values\.json"):
        ValueStore(path, {}).write({FIRST: Latency(1.0)})
    assert path.read_text() == content
