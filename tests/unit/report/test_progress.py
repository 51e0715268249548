import io

import pytest

from moga.report.progress import LineProgress, LiveProgress, auto


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fail(progress, error, clock):
    with progress:
        progress.phase("search", 10)
        clock.now = 3
        raise error


def test_lines_begin_end_and_are_rate_limited():
    stream, clock = io.StringIO(), Clock()
    with LineProgress(stream, clock=clock) as progress:
        progress.phase("train", 20, "epochs")
        for done in range(1, 21):
            clock.now += 1
            progress.advance(done, loss=2.0 / done)
        progress.phase("search")
        progress.note("a note")
    assert stream.getvalue().splitlines() == [
        "train (20 epochs) ...",
        "train: 5/20 epochs, 5.0 s, about 15.0 s left, loss 0.4",
        "train: 10/20 epochs, 10.0 s, about 10.0 s left, loss 0.2",
        "train: 15/20 epochs, 15.0 s, about 5.0 s left, loss 0.1333",
        "train: 20/20 epochs, 20.0 s, loss 0.1",
        "train: done in 20.0 s (loss 0.1)",
        "search ...",
        "a note",
        "search: done in 0.0 s",
    ]


def test_a_slow_start_and_earlier_sessions_do_not_count_as_speed():
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, clock=clock)
    progress.phase("search", 200)
    for clock.now, done in ((100, 100), (106, 130)):
        progress.advance(done)
    assert stream.getvalue().splitlines()[1:] == [
        "search: 100/200, 1 min 40 s",
        "search: 130/200, 1 min 46 s, about 14.0 s left",
    ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_lines_say_where_a_run_stopped(error):
    stream, clock = io.StringIO(), Clock()
    with pytest.raises(error):
        fail(LineProgress(stream, clock=clock), error, clock)
    assert stream.getvalue().endswith("search: stopped after 3.0 s\n")


def test_the_live_display_keeps_finished_phases_and_shows_figures(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    stream, clock = Terminal(), Clock()
    with LiveProgress(stream, clock=clock) as progress:
        progress.phase("train", 20, "epochs")
        clock.now = 65
        progress.advance(10, loss=1.25)
        progress.note("half [of] it")
        progress.phase("search", 5)
        progress.advance(5, front_size=3)
    shown = stream.getvalue()
    assert "half [of] it" in shown
    assert "train" in shown
    assert "1 min 05 s" in shown
    assert "loss 1.25" in shown
    assert "front size 3" in shown


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_live_display_gives_the_cursor_back_after_an_error(monkeypatch, error):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(error):
        fail(LiveProgress(stream), error, Clock())
    shown = stream.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "✗" in shown


def test_an_advance_before_any_phase_shows_nothing():
    stream = Terminal()
    with LiveProgress(stream) as progress:
        progress.advance(3)
    assert "3" not in stream.getvalue()


def test_auto_asks_the_stream():
    assert isinstance(auto(Terminal()), LiveProgress)
    assert isinstance(auto(io.StringIO()), LineProgress)
