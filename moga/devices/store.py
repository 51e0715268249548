"""Timed values of blocks and networks, kept by machine, so that no space times them twice."""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from moga.devices.base import Latency
from moga.errors import FormatError
from moga.files import canonical_json, sync_dir
from moga.network import Block, Network

__all__ = ["ValueStore"]

_FORMAT: Final = "moga-latency-values"
_VERSION: Final = 2


def _key(subject: Block | Network) -> str:
    if isinstance(subject, Block):
        return f"block-{subject.digest}"
    return f"network-{subject.digest}"


class ValueStore:
    """Latencies by block or network: a text file that grows by a line a value.

    The first line is a header, each other one a JSON object with the keys ``subject`` and
    ``value``; of two lines on one subject the later counts. What `write` returned from is on the
    disk. A crash can tear the last line alone, which is then left out and cut off by the next
    write. Several processes may write at once (the file is locked while one does).

    Args:
        path: the file; made when first written.
        settings: what decides the times, written into the header for the reader.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = Path(path), dict(settings)

    def read(
        self, subjects: Iterable[Block | Network], rounds: int
    ) -> dict[Block | Network, Latency]:
        """Return what is stored of these, timed at least `rounds` times.

        Raises:
            FormatError: a damaged file, naming it and the line.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        stored, _ = self._parse(content)
        found = {}
        for subject in subjects if stored else ():
            value = stored.get(_key(subject))
            if value is not None and value.count >= rounds:
                found[subject] = value
        return found

    def write(self, values: Mapping[Block | Network, Latency]) -> None:
        """Append values; when this returns, they are on the disk.

        Raises:
            FormatError: the file that is there is damaged.
        """
        lines: list[dict[str, Any]] = [
            {"subject": _key(subject), "value": dataclasses.asdict(value)}
            for subject, value in values.items()
        ]
        with self._locked() as file:
            content = file.read()
            _, good = self._parse(content)
            file.truncate(good)
            if not good:
                header = {"format": _FORMAT, "version": _VERSION, "settings": self.settings}
                lines = [header, *lines]
            text = "".join(canonical_json(line) + "\n" for line in lines)
            file.seek(0, os.SEEK_END)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_dir(self.path.parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file

    def _parse(self, content: bytes) -> tuple[dict[str, Latency], int]:
        """Return the values by key, and the length of what is whole."""
        *lines, rest = content.split(b"\n")
        values: dict[str, Latency] = {}
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._check_header(entry)
                else:
                    values[entry["subject"]] = Latency(**entry["value"])
            except FormatError:
                raise
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FormatError(
                    f"{self.path}, line {number}, is damaged ({error}); remove the file and the "
                    "blocks are timed again"
                ) from error
        return values, len(content) - len(rest)

    def _check_header(self, header: Any) -> None:
        if (header["format"], header["version"]) != (_FORMAT, _VERSION):
            raise FormatError(
                f"{self.path}: expected {_FORMAT} of version {_VERSION}; move the file away and "
                "the blocks are timed again"
            )
