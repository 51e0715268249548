"""Errors of the library as messages and exit codes, the same for every command."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from moga.cli.show import print_message
from moga.errors import MogaError, UsageError

__all__ = ["exits"]


@contextlib.contextmanager
def exits(directory: Callable[[], str | Path | None] = lambda: None) -> Iterator[None]:
    """Turn errors into a message and an exit code; `directory` names the run for Ctrl-C."""
    try:
        yield
    except UsageError as error:
        print_message(f"error: {error}")
        raise typer.Exit(2) from error
    except MogaError as error:
        print_message(f"failed: {error}")
        raise typer.Exit(1) from error
    except OSError as error:
        if error.filename is None:  # not about a file: a bug, which its traceback tells more of
            raise
        print_message(f"failed: {error.filename}: {error.strerror}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        run = directory()
        begun = run is not None and Path(run, "run.json").exists()
        hint = f"; continue with: moga resume {run}" if begun else ""
        print_message(f"interrupted{hint}")
        raise typer.Exit(130) from error
