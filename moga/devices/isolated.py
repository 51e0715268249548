"""An engine in a process of its own, whose C allocator does not decide the times.

By default the C library gives large buffers back to the system and asks for them again (and fills
them with zeros) in every run: a third of a mobile network's time, and in whole networks other
than in single blocks, so that the sum of blocks falls 6-9 % below the whole. The settings that stop
it are read when a process starts. So everything that is to be compared is timed in a child that
has them.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import IO, Any, Final

import numpy as np

from moga.contracts import Progress
from moga.devices.engines.base import Engine, Run
from moga.devices.timing import Rounds, Sampling, Subject, time_rounds
from moga.devices.walks import Succession
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network

__all__ = ["ALLOCATOR", "Isolated", "serve"]

ALLOCATOR: Final[Mapping[str, str]] = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
"""Settings of glibc's allocator: no buffer is mapped alone, none is given back. A variable that the
user has set wins."""

_OWN_ALLOCATOR: Final = ("LD_PRELOAD", "GLIBC_TUNABLES")


class Isolated:
    """Runs another engine in a child process; satisfies `Engine` and `TimesRounds`.

    The child starts with the first rounds and lives until `close`, or the end of this object.

    Args:
        engine: what the child runs, ``"module:class"``.
        arguments: of that class, as JSON values.

    Raises:
        UsageError: what the engine itself refuses.
    """

    def __init__(self, engine: str, arguments: Mapping[str, Any]) -> None:
        self.reference, self.arguments = engine, dict(arguments)
        self._inner = _create(engine, self.arguments)
        self._child: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def __reduce__(self) -> tuple[type["Isolated"], tuple[str, dict[str, Any]]]:
        return Isolated, (self.reference, self.arguments)

    @property
    def batch(self) -> int:
        """Images a batch."""
        return self._inner.batch

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The engine's settings, with the allocator that the child has."""
        return {**self._inner.settings, "allocator": _allocator(), "process": "its own"}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Do nothing: the child holds a session of its own while it times."""
        yield

    def prepare(self, subject: Subject) -> Run:
        """Refuse: runs belong to the child.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"{subject}: an engine in a process of its own gives no single runs; call time_rounds"
        )

    def time_rounds(
        self,
        subjects: Sequence[Subject],
        sampling: Sampling,
        rng: np.random.Generator,
        progress: Progress,
        phase: str,
        *,
        successions: Sequence[Succession] = (),
    ) -> Rounds:
        """Time everything in shuffled rounds, in the child; see `timing.time_rounds`.

        Raises:
            MeasurementFailed: one cannot be built or run, or the child died.
        """
        child = self._started()
        request = {
            "subjects": [_to_json(subject) for subject in subjects],
            "sampling": vars(sampling),
            "seed": int(rng.integers(2**32)),
            "phase": phase,
            "successions": list(successions),
        }
        try:
            _send(_pipe(child.stdin), request)
            return self._answers(_pipe(child.stdout), progress)
        except (BrokenPipeError, EOFError):
            code = child.wait()
            raise MeasurementFailed(
                f"the measuring process ended with code {code} while it timed {len(subjects)} "
                "blocks and networks; a negative code is a signal, -9 mostly a lack of memory"
            ) from None
        except BaseException:
            self.close()
            raise

    def _answers(self, pipe: IO[bytes], progress: Progress) -> Rounds:
        while True:
            answer = _receive(pipe)
            match answer:
                case {"phase": [str(name), total, str(unit)]}:
                    progress.phase(name, total, unit)
                case {"advance": int(done)}:
                    progress.advance(done)
                case {"rounds": [ms, *rest]}:
                    return Rounds(np.array(ms), *(np.array(one, dtype=np.int64) for one in rest))
                case {"failed": str(text)}:
                    raise MeasurementFailed(text)

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            environment = {**os.environ, **_allocator(), "PYTHONPATH": os.pathsep.join(sys.path)}
            code = "from moga.devices.isolated import serve; serve()"
            self._child = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            self._end = weakref.finalize(self, _stop, self._child)
            _send(_pipe(self._child.stdin), {"engine": self.reference, "with": self.arguments})
        return self._child

    def close(self) -> None:
        """End the child."""
        if self._end is not None:
            self._end()
        self._child = self._end = None


def _stop(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):  # it may have died with something unread
                pipe.close()
    child.terminate()
    child.wait()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - opened with PIPE
    return pipe


def _allocator() -> dict[str, str]:
    """Return the variables that decide the child's allocator; the user's own win."""
    mine = {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
    return mine | {name: os.environ[name] for name in _OWN_ALLOCATOR if name in os.environ}


def _create(reference: str, arguments: Mapping[str, Any]) -> Engine:
    module, _, attribute = reference.partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)(**arguments)
    return engine


def _to_json(subject: Subject) -> Any:
    return subject.to_dict() if isinstance(subject, Block) else subject.to_json()


def _from_json(value: Any) -> Subject:
    return Network.from_json(value) if isinstance(value, str) else Block.from_dict(value)


def _send(pipe: IO[bytes], message: Any) -> None:
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


class _Told:
    """A `Progress` that sends what it is told to the parent, seldom enough to cost nothing."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        _send(self._pipe, {"phase": [name, total, unit]})

    def advance(self, done: int, **_values: float | str) -> None:
        _send(self._pipe, {"advance": done})

    def note(self, text: str) -> None:
        """Ignore the note: rounds make none."""


def serve() -> None:
    """Be the child: read what engine to make, then time what is asked until the input ends.

    Answers go to what was standard output; whatever a library prints goes to standard error.
    """
    try:
        with os.fdopen(os.dup(1), "wb") as answers:  # to close it writes what is left: it fails too
            os.dup2(2, 1)
            questions = sys.stdin.buffer
            first = _receive(questions)
            engine = _create(first["engine"], first["with"])
            gc.freeze()  # engines collect garbage before they time: not all of torch each time
            while True:
                _send(answers, _timed(engine, _receive(questions), _Told(answers)))
    except (EOFError, BrokenPipeError):
        return


def _timed(engine: Engine, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    try:
        rounds = time_rounds(
            engine,
            [_from_json(subject) for subject in request["subjects"]],
            Sampling(**request["sampling"]),
            rng=np.random.default_rng(request["seed"]),
            progress=progress,
            phase=request["phase"],
            successions=[(first, second) for first, second in request["successions"]],
        )
    except MeasurementFailed as error:
        return {"failed": str(error)}
    return {"rounds": [values.tolist() for values in rounds]}
