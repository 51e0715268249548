"""Journal: the append-only truth about a run; RunLock: one process a run directory.

A journal is a text file, one record a line. A line is a JSON object without spaces, its keys in
this order, for example:

.. code-block:: json

    {"data":{"batch":0},"kind":"asked","n":0,"v":1,"crc":"53b1f6fd"}

``v`` is the version of the format, ``n`` counts lines from 0, ``kind`` and ``data`` are the record,
and ``crc`` is the CRC-32 (IEEE 802.3, eight hex digits) of the line as it stands with
``,"crc":"..."`` left out. A write is one line, synced before the next begins: whatever a kill or a
power cut tears is therefore in the last line, which nobody has acted on. A bad last line is cut off
when the journal is opened, and damage anywhere else is refused.
"""

import dataclasses
import fcntl
import json
import os
import socket
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from moga.contracts import Bounded, Failed, Measured, Outcome
from moga.errors import FormatError, RunInUse
from moga.files import canonical_json, sync_dir

__all__ = ["Journal", "Record", "RunLock", "outcome_from_json", "outcome_to_json"]

_VERSION: Final = 1
_MARK: Final = b',"crc":"'
_TAIL: Final = len(_MARK) + len('01234567"}')


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a journal.

    Args:
        n: its sequence number, from 0.
        kind: what it records.
        data: its content, as JSON values.
    """

    n: int
    kind: str
    data: Any


class Journal:
    """An append-only file of records that survives a kill at any moment. Open it with `open`.

    Args:
        file: the file, open for reading and appending, unbuffered.
        records: what stands in it.
        torn_bytes: how much of a torn last line was cut off.

    Attributes:
        records: what stood in the file when it was opened; `append` does not add to it.
        torn_bytes: length of the torn last line that was cut off on opening; 0 where there was
            none.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "journal.jsonl"
        >>> with Journal.open(path) as journal:
        ...     journal.append("asked", {"batch": 0})
        ...     journal.append("asked", {"batch": 1})
        >>> with Journal.open(path) as journal:
        ...     journal.records[1]
        Record(n=1, kind='asked', data={'batch': 1})
    """

    def __init__(self, file: IO[bytes], records: tuple[Record, ...], torn_bytes: int) -> None:
        self._file, self.records, self.torn_bytes = file, records, torn_bytes
        self._next = len(records)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> "Journal":
        """Open a journal, creating it where there is none; read and verify what is there.

        A torn last line is cut off, durably. To read only needs no lock: nothing is changed, and
        a last line that another process is writing is left out.

        Raises:
            FormatError: damage elsewhere, a gap in the sequence, or a line of another version.
        """
        path = Path(path)
        file = path.open("rb" if read_only else "a+b", buffering=0)
        try:
            file.seek(0)
            content = file.readall()
            records, good = _read(content, path)
            if not read_only:
                if good < len(content):
                    file.truncate(good)
                    os.fsync(file.fileno())
                sync_dir(path.parent)
        except BaseException:
            file.close()
            raise
        return cls(file, records, len(content) - good)

    def append(self, kind: str, data: Any) -> None:
        """Append a record; when this returns, it is on the disk.

        One line, one write, one sync. Several lines a sync would let a power cut tear one and keep
        the next, which could not be told from damage. Where anything fails, nothing is appended.

        Raises:
            ValueError: NaN or infinity in the data; None stands for what is unknown.
            TypeError: data that JSON cannot express.
            OSError: the disk refuses, for example because it is full.
        """
        line = _line(self._next, kind, data)
        before = os.fstat(self._file.fileno()).st_size
        try:
            self._write(line)
        except BaseException:
            # Half a line left here would become damage in the middle with the next append.
            self._file.truncate(before)
            raise
        self._next += 1

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:  # a full disk or a signal can cut a write short
            rest = rest[os.write(self._file.fileno(), rest) :]
        os.fsync(self._file.fileno())

    def __len__(self) -> int:
        return self._next

    def close(self) -> None:
        """Close the file. Everything is on the disk already."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _line(n: int, kind: str, data: Any) -> bytes:
    body = canonical_json({"data": data, "kind": kind, "n": n, "v": _VERSION}).encode()
    return b'%b%b%08x"}\n' % (body[:-1], _MARK, zlib.crc32(body))


def _read(content: bytes, path: Path) -> tuple[tuple[Record, ...], int]:
    """Return the records of a journal, and the length of its good part."""
    lines = content.split(b"\n")
    complete, rest = lines[:-1], lines[-1]
    records: list[Record] = []
    good = 0
    for n, line in enumerate(complete):
        record = _parse(line, n, path)
        if record is None:
            if n == len(complete) - 1 and not rest:
                break
            raise FormatError(
                f"{path}, line {n + 1}: the line is damaged, and lines follow it. Restore the file "
                f"from a copy, or give up what follows and keep the first {n} lines (head -n {n})"
            )
        records.append(record)
        good += len(line) + 1
    return tuple(records), good


def _parse(line: bytes, n: int, path: Path) -> Record | None:
    """Return the record of a line, or None where the line is damaged."""
    body, check = line[:-_TAIL] + b"}", line[-_TAIL:]
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    version = value.get("v")
    if isinstance(version, int) and version != _VERSION:
        raise FormatError(
            f"{path}, line {n + 1}: expected a journal of version {_VERSION}, got version "
            f"{version}. Continue this run with the moga that began it, or start another one"
        )
    if check != b'%b%08x"}' % (_MARK, zlib.crc32(body)):
        return None
    if value["n"] != n:
        raise FormatError(
            f"{path}, line {n + 1}: expected sequence number {n}, got {value['n']}. Lines are "
            "missing, repeated or out of order; restore the file from a copy, or keep the first "
            f"{n} lines (head -n {n})"
        )
    return Record(n, value["kind"], value["data"])


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values; `outcome_from_json` reads them."""
    match outcome:
        case Measured(values, spread):
            return {"type": "measured", "values": dict(values), "spread": dict(spread)}
        case Bounded(values, fidelity):
            return {"type": "bounded", "values": dict(values), "fidelity": fidelity}
        case Failed(reason, kind):
            return {"type": "failed", "reason": reason, "kind": kind}


def outcome_from_json(value: Any) -> Outcome:
    """Read what `outcome_to_json` wrote.

    Raises:
        FormatError: no outcome.
    """
    match value:
        case {"type": "measured", "values": dict(values), "spread": dict(spread)}:
            return Measured(values, spread)
        case {"type": "bounded", "values": dict(values), "fidelity": float(fidelity)}:
            return Bounded(values, fidelity)
        case {
            "type": "failed",
            "reason": str(reason),
            "kind": ("error" | "timeout" | "nan" | "lost") as kind,
        }:
            return Failed(reason, kind)
    raise FormatError(
        f"expected an outcome of type measured, bounded or failed with its fields, got {value!r}; "
        "was the journal written by another version of moga?"
    )


class RunLock:
    """Keeps a run directory for this process, until `release` or its end (kill -9 too).

    The file ``lock`` in the directory is locked by the kernel (flock) and stays when released:
    removing it would let two processes lock two files of the same name. It says who holds it, and
    is empty once released, so that reading a finished run leaves all its files as they were.

    Args:
        directory: the run directory; made where there is none.

    Raises:
        RunInUse: another process, or another lock in this one, has the directory.
    """

    def __init__(self, directory: str | Path) -> None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / "lock").open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            self._file.close()
            raise RunInUse(
                f"{directory} is in use by {holder}. Wait until it ends or stop it, or name "
                "another directory with --storage"
            ) from None
        self._file.truncate(0)
        self._file.write(
            canonical_json({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        )

    def _holder(self) -> str:
        self._file.seek(0)
        try:
            holder = json.loads(self._file.read())
            return f"process {holder['pid']} on {holder['host']}"
        except (ValueError, KeyError, TypeError):
            return "another process"  # which has locked the file and not yet written its name

    def release(self) -> None:
        """Let others use the directory."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
