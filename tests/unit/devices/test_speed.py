import pytest

from moga.contracts import Silent
from moga.devices.base import Latency
from moga.devices.speed import at_stored_speed, how_much_slower, note_change


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def test_new_times_are_brought_to_the_speed_of_the_stored():
    before = {"a": Latency(10.0, 0.1, 5), "b": Latency(0.1, 0.01, 5)}
    now = {"a": Latency(12.0, 0.1, 5), "b": Latency(0.12, 0.01, 5), "c": Latency(2.4, 0.6, 7)}
    slower = how_much_slower(now, before)
    assert slower == pytest.approx(1.2)
    stored = at_stored_speed(now, slower, besides=before)
    assert list(stored) == ["c"]
    assert (stored["c"].ms, stored["c"].spread) == (pytest.approx(2.0), pytest.approx(0.5))
    assert stored["c"].count == 7


def test_small_blocks_do_not_tell_the_speed():
    before = {"large": Latency(10.0, 0.1, 5), "small": Latency(0.01, 0.01, 5)}
    now = {"large": Latency(10.0, 0.1, 5), "small": Latency(0.03, 0.01, 5)}
    assert how_much_slower(now, before) == pytest.approx(1, abs=0.003)
    assert how_much_slower(now, {}) == 1


def test_only_a_large_change_is_worth_a_note():
    notes = Notes()
    note_change(notes, 0.09)
    assert notes.texts == []
    note_change(notes, -0.25)
    assert notes.texts[0].startswith("The machine takes 25 % less time than when the stored blocks")
    assert "refresh=true" in notes.texts[0]
