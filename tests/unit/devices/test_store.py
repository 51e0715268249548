import json

import pytest

from moga.devices.base import Latency
from moga.devices.store import ValueStore
from moga.errors import FormatError
from moga.spaces.moga import MoGASpace

NETWORK = MoGASpace(32, 0.35, 10).decode([0] * 14)
FIRST, SECOND = NETWORK.blocks[:2]


def test_values_come_back_by_block_and_network(tmp_path):
    store = ValueStore(tmp_path / "deep" / "values.jsonl", {"cpu": "a"})
    assert store.read([FIRST, NETWORK], 1) == {}
    store.write({FIRST: Latency(1.5, 0.1, 30)})
    store.write({NETWORK: Latency(9.0, None, 40, batch=2)})
    again = ValueStore(store.path, {})
    assert again.read([FIRST, SECOND, NETWORK], 30) == {
        FIRST: Latency(1.5, 0.1, 30),
        NETWORK: Latency(9.0, None, 40, batch=2),
    }
    assert json.loads(store.path.read_text().splitlines()[0])["settings"] == {"cpu": "a"}


def test_writing_appends_and_the_later_value_counts(tmp_path):
    store = ValueStore(tmp_path / "values.jsonl", {})
    store.write({FIRST: Latency(1.5, 0.1, 30)})
    before = store.path.read_bytes()
    store.write({FIRST: Latency(2.5, 0.1, 30)})
    assert store.path.read_bytes().startswith(before)
    assert store.read([FIRST], 1)[FIRST].ms == 2.5


def test_values_of_too_few_rounds_are_not_used(tmp_path):
    store = ValueStore(tmp_path / "values.jsonl", {})
    store.write({FIRST: Latency(1.5, 0.1, 30), SECOND: Latency(1.0, 0.1, 60)})
    assert set(store.read([FIRST, SECOND], 31)) == {SECOND}


def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_write(tmp_path):
    store = ValueStore(tmp_path / "values.jsonl", {})
    store.write({FIRST: Latency(1.5, 0.1, 30)})
    whole = store.path.read_bytes()
    store.write({SECOND: Latency(9.5, 0.1, 30)})
    store.path.write_bytes(store.path.read_bytes()[:-5])
    assert set(store.read([FIRST, SECOND], 1)) == {FIRST}
    store.write({SECOND: Latency(2.0, 0.1, 30)})
    assert store.path.read_bytes().startswith(whole)
    assert store.read([FIRST, SECOND], 1)[SECOND].ms == 2.0


HEADER = '{"format": "moga-latency-values", "version": 2, "settings": {}}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n", "line 1, is damaged .*; remove the file and the blocks are timed again"),
        ("[]\n", "line 1, is damaged"),
        ('{"format": "moga-latency-values", "version": 9}\n', "of version 2; move the file away"),
        (HEADER + '{"subject": "block-0"}\n', "line 2, is damaged"),
        (HEADER + '{"subject": "block-0", "value": {"ms": -1}}\n', "a latency is -1 ms"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "values.jsonl"
    path.write_text(content)
    with pytest.raises(FormatError, match=message):
        ValueStore(path, {}).read([FIRST], 1)
    with pytest.raises(FormatError, match=r"values\.jsonl"):
        ValueStore(path, {}).write({FIRST: Latency(1.0)})
    assert path.read_text() == content
