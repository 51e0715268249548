"""How a run shows how far it is: a live display in a terminal, plain lines elsewhere.

Both are context managers: use them with ``with``, so that the terminal is left clean however the
block ends (an error and Ctrl-C as well).
"""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

from moga.report.text import duration

__all__ = ["LineProgress", "LiveProgress", "auto"]

_SECONDS_BETWEEN_LINES: Final = 5.0


def auto(stream: TextIO | None = None) -> "LiveProgress | LineProgress":
    """Return the display for a stream: live in a terminal, lines elsewhere.

    Args:
        stream: default: standard error, so that standard output holds results alone.
    """
    stream = stream or sys.stderr
    return LiveProgress(stream) if stream.isatty() else LineProgress(stream)


def _figures(values: Mapping[str, float | str]) -> str:
    """Return figures as one text: ``loss 1.23 · front 14``."""
    shown = [f"{name.replace('_', ' ')} {_figure(value)}" for name, value in values.items()]
    return " · ".join(shown)


def _figure(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class LineProgress:
    """Plain lines: one when a phase begins and ends, between them at most one every few seconds.

    Args:
        stream: where the lines go.
        every: seconds between two lines of a phase.
        clock: gives seconds; tests pass their own.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        every: float = _SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._every, self._clock = stream, every, clock
        self._name = ""
        self._unit = ""
        self._total: int | None = None
        self._done = 0
        self._values: dict[str, float | str] = {}
        self._began = self._last = clock()
        self._first: tuple[float, int] | None = None

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """End the phase before, with a line, and begin this one, with a line."""
        self._end("done")
        self._name, self._total, self._unit = name, total, unit
        self._done, self._values = 0, {}
        self._began = self._last = self._clock()
        self._first = None
        size = f" ({total} {unit}".rstrip() + ")" if total is not None else ""
        self._write(f"{name}{size} ...")

    def advance(self, done: int, **values: float | str) -> None:
        """Remember how far the phase is; write it where the last line is old enough."""
        self._done = done
        self._values |= values
        now = self._clock()
        self._first = self._first or (now, done)
        if now - self._last >= self._every:
            self._last = now
            self._write(f"{self._name}: {self._state()}")

    def note(self, text: str) -> None:
        """Write a line."""
        self._write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end("done" if kind is None else "stopped")

    def _state(self) -> str:
        count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        parts = [f"{count} {self._unit}".strip(), duration(self._clock() - self._began)]
        if (left := self._left()) is not None:
            parts.append(f"about {duration(left)} left")
        if self._values:
            parts.append(_figures(self._values))
        return ", ".join(parts)

    def _left(self) -> float | None:
        """Return seconds to go; None where no speed is known.

        Speed counts from the first advance: a slow start, or what a continued run had done before,
        says nothing of it.
        """
        if self._first is None or self._total is None:
            return None
        began, before = self._first
        done = self._done - before
        if done <= 0 or self._done >= self._total:
            return None
        return (self._clock() - began) * (self._total - self._done) / done

    def _end(self, how: str) -> None:
        if self._name:
            spent = duration(self._clock() - self._began)
            figures = f" ({_figures(self._values)})" if self._values else ""
            link = "in" if how == "done" else "after"
            self._write(f"{self._name}: {how} {link} {spent}{figures}")
        self._name = ""

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class LiveProgress:
    """A live line with a bar for the current phase; earlier phases stay as finished lines above it.

    Args:
        stream: a terminal.
        clock: gives seconds; tests pass their own.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._clock = clock
        self._display = Progress(
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[figures]}", style="dim", markup=False),
            console=Console(file=stream),
            redirect_stdout=False,  # results go there, and must not pass through the display
        )
        self._task: TaskID | None = None
        self._name = ""
        self._unit = ""
        self._total: int | None = None
        self._values: dict[str, float | str] = {}
        self._began = clock()

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Turn the phase before into a finished line, and begin this one."""
        self._display.start()
        self._end("✓", "green")
        self._name, self._unit, self._total, self._values = name, unit, total, {}
        self._began = self._clock()
        self._task = self._display.add_task(name, total=total, count=self._count(0), figures="")

    def advance(self, done: int, **values: float | str) -> None:
        """Move the bar, and show the figures beside it."""
        if self._task is None:
            return
        self._values |= values
        self._display.update(
            self._task, completed=done, count=self._count(done), figures=_figures(self._values)
        )

    def note(self, text: str) -> None:
        """Print a line above the bar; it stays."""
        self._display.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end(*(("✓", "green") if kind is None else ("✗", "red")))
        finally:
            self._display.stop()

    def _count(self, done: int) -> str:
        count = f"{done}" if self._total is None else f"{done}/{self._total}"
        return f"{count} {self._unit}".strip()

    def _end(self, mark: str, style: str) -> None:
        if self._task is None:
            return
        from rich.text import Text

        self._display.remove_task(self._task)
        self._task = None
        figures = f"  {_figures(self._values)}" if self._values else ""
        line = Text.assemble(
            (f"{mark} ", style),
            (self._name, "bold"),
            (f"  {duration(self._clock() - self._began)}{figures}", "dim"),
        )
        self._display.console.print(line)
