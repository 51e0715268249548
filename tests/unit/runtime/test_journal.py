import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from moga.contracts import Bounded, Failed, Measured, Outcome
from moga.errors import FormatError, RunInUse
from moga.runtime.journal import Journal, Record, RunLock, outcome_from_json, outcome_to_json


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(path: Path, count: int = 3) -> list[bytes]:
    """Write a journal of `count` records; return its lines."""
    with Journal.open(path) as journal:
        for i in range(count):
            journal.append("step", {"i": i, "x": 0.1 * i})
    return path.read_bytes().splitlines(keepends=True)


def line(**fields: object) -> bytes:
    """Build a line with a right checksum, by the rule in the module's docstring."""
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'.encode()


class TestAppendAndOpen:
    def test_creates_an_empty_file(self, path: Path) -> None:
        with Journal.open(path) as journal:
            assert (journal.records, journal.torn_bytes, len(journal)) == ((), 0, 0)
        assert path.read_bytes() == b""

    def test_reads_what_was_appended_and_goes_on_counting(self, path: Path) -> None:
        data = {"genomes": [[1, 2]], "unknown": None, "text": "ä\n", "x": 0.1}
        with Journal.open(path) as journal:
            journal.append("asked", data)
        with Journal.open(path) as journal:
            assert journal.records == (Record(0, "asked", data),)
            journal.append("a", 1)
            journal.append("b", [])
            assert len(journal) == 3
        with Journal.open(path) as journal:
            assert [(r.n, r.kind) for r in journal.records] == [(0, "asked"), (1, "a"), (2, "b")]

    def test_format_of_a_line_is_final(self, path: Path) -> None:
        with Journal.open(path) as journal:
            journal.append("asked", {"batch": 0})
        assert path.read_bytes() == line(data={"batch": 0}, kind="asked", n=0, v=1)
        assert (
            path.read_text() == '{"data":{"batch":0},"kind":"asked","n":0,"v":1,"crc":"53b1f6fd"}\n'
        )

    def test_one_write_and_one_sync_a_record(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        real_write, real_sync = os.write, os.fsync
        with Journal.open(path) as journal:
            monkeypatch.setattr(os, "write", lambda *a: (calls.append("write"), real_write(*a))[1])
            monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), real_sync(fd))[1])
            journal.append("a", {"x": [0.5] * 3000})
        assert calls == ["write", "sync"]

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_refuses_nan_and_writes_nothing(self, path: Path, bad: float) -> None:
        with Journal.open(path) as journal:
            with pytest.raises(ValueError, match="not JSON compliant"):
                journal.append("bad", {"x": bad})
            with pytest.raises(TypeError, match="not JSON serializable"):
                journal.append("bad", np.float32(1))
            assert len(journal) == 0
        assert path.read_bytes() == b""

    def test_full_disk_leaves_no_half_line(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = write(path)
        real = os.write
        with Journal.open(path) as journal:
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", lambda fd, content: _half_then_full(real, fd, content))
                with pytest.raises(OSError, match="No space left"):
                    journal.append("lost", {"x": "y" * 100})
            assert path.read_bytes() == b"".join(before)
            journal.append("kept", 1)
        with Journal.open(path) as journal:
            assert [r.kind for r in journal.records] == ["step", "step", "step", "kept"]

    def test_short_writes_are_continued(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        with Journal.open(path) as journal:
            monkeypatch.setattr(os, "write", lambda fd, content: real(fd, content[:7]))
            journal.append("a", "x" * 50)
            journal.append("b", 2)
        with Journal.open(path) as journal:
            assert [r.kind for r in journal.records] == ["a", "b"]


def _half_then_full(real, fd, content):
    if len(content) > 60:
        return real(fd, content[: len(content) // 2])
    raise OSError(28, "No space left on device")


class TestTornTail:
    @pytest.mark.parametrize("kept", [1, 10, -1])
    def test_line_without_its_end_is_cut_off(self, path: Path, kept: int) -> None:
        lines = write(path)
        path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
        with Journal.open(path) as journal:
            assert len(journal.records) == 2
            assert journal.torn_bytes == len(lines[2][:kept])
            assert path.read_bytes() == b"".join(lines[:2])
            journal.append("again", None)
        with Journal.open(path) as journal:
            assert (journal.records[-1], journal.torn_bytes) == (Record(2, "again", None), 0)

    def test_last_line_with_a_wrong_checksum_is_cut_off(self, path: Path) -> None:
        lines = write(path)
        path.write_bytes(b"".join(lines[:2]) + lines[2].replace(b'"i":2', b'"i":7'))
        with Journal.open(path) as journal:
            assert (len(journal.records), journal.torn_bytes) == (2, len(lines[2]))

    @pytest.mark.parametrize("page", [0, 1, 2])
    def test_page_that_never_reached_the_disk(self, path: Path, page: int) -> None:
        """A power cut keeps any of the last write's pages; the others read as zeros."""
        write(path, 2)
        good = path.stat().st_size
        with Journal.open(path) as journal:
            journal.append("answered", {"values": [0.5] * 3000})
        content = bytearray(path.read_bytes())
        lost = slice(good + 4000 * page, good + 4000 * (page + 1))
        content[lost] = bytes(len(content[lost]))
        path.write_bytes(content)
        with Journal.open(path) as journal:
            assert (len(journal.records), journal.torn_bytes) == (2, len(content) - good)

    @pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b"[]\n", b"garbage\n"])
    def test_garbage_at_the_end_is_cut_off(self, path: Path, tail: bytes) -> None:
        lines = write(path)
        path.write_bytes(b"".join(lines) + tail)
        with Journal.open(path) as journal:
            assert (len(journal.records), journal.torn_bytes) == (3, len(tail))


class TestDamage:
    def refused(self, path: Path, content: bytes, match: str) -> None:
        path.write_bytes(content)
        with pytest.raises(FormatError, match=match):
            Journal.open(path)
        assert path.read_bytes() == content

    def test_every_byte_of_a_line_in_the_middle_counts(self, path: Path) -> None:
        lines = write(path)
        for at in range(len(lines[1]) - 1):
            bad = bytearray(lines[1])
            bad[at] ^= 1
            expected = r"line 2: .*(damaged|version)"
            self.refused(path, lines[0] + bytes(bad) + lines[2], expected)

    def test_damage_in_the_middle_says_what_to_do(self, path: Path) -> None:
        lines = write(path)
        content = lines[0] + lines[1].replace(b'"i":1', b'"i":9') + lines[2]
        self.refused(path, content, r"line 2: the line is damaged, .*head -n 1\)")

    def test_damaged_line_before_a_torn_one(self, path: Path) -> None:
        lines = write(path)
        content = lines[0] + lines[1].replace(b'"i":1', b'"i":9') + lines[2][:-5]
        self.refused(path, content, "line 2: the line is damaged")

    @pytest.mark.parametrize("order", [(0, 2), (1,), (0, 0), (0, 2, 1)])
    def test_gap_or_repeat_in_the_sequence(self, path: Path, order: tuple[int, ...]) -> None:
        lines = write(path)
        self.refused(
            path, b"".join(lines[i] for i in order), r"expected sequence number \d, got \d\. Lines"
        )

    @pytest.mark.parametrize("count", [0, 2])
    def test_other_version_even_with_another_checksum(self, path: Path, count: int) -> None:
        lines = write(path, 2)[:count]
        newer = b'{"v":2,"n":0,"sha":"abc"}\n'
        self.refused(
            path,
            b"".join(lines) + newer,
            rf"line {count + 1}: expected a journal of version 1, got version 2\. Continue",
        )


WRITER = """
import sys
from moga.runtime.journal import Journal
journal = Journal.open(sys.argv[1])
print(len(journal), flush=True)
while True:
    journal.append("batch", {"x": [0.5] * 12000})
    print(len(journal), flush=True)
"""


def test_sigkill_of_the_writer_loses_nothing_that_append_returned(path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
            told = process.stdout.read().split()
        with Journal.open(path) as journal:
            assert len(journal) >= int(told[-1] if told else 0)
            lengths.append(len(journal))
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0


HOLDER = """
import sys, time
from moga.runtime.journal import RunLock
lock = RunLock(sys.argv[1])
print("locked", flush=True)
time.sleep(60)
"""


class TestRunLock:
    def test_another_process_is_named_and_a_killed_one_holds_nothing(self, tmp_path: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            host = socket.gethostname()
            with pytest.raises(RunInUse, match=f"in use by process {process.pid} on {host}. Wait"):
                RunLock(tmp_path)
            process.kill()
        with RunLock(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()

    def test_released_lock_can_be_taken_again(self, tmp_path: Path) -> None:
        directory = tmp_path / "new" / "run"
        with RunLock(directory), pytest.raises(RunInUse, match=f"process {os.getpid()} on"):
            RunLock(directory)
        RunLock(directory).release()

    def test_release_leaves_an_empty_file_and_may_be_repeated(self, tmp_path: Path) -> None:
        lock = RunLock(tmp_path)
        lock.release()
        lock.release()
        assert (tmp_path / "lock").read_bytes() == b""

    def test_holder_that_has_not_written_its_name(self, tmp_path: Path) -> None:
        with RunLock(tmp_path):
            (tmp_path / "lock").write_text("")
            with pytest.raises(RunInUse, match="in use by another process"):
                RunLock(tmp_path)


class TestOutcomes:
    @pytest.mark.parametrize(
        "outcome",
        [
            Measured({"accuracy": 0.7}, {"accuracy": 0.01}),
            Measured({"accuracy": 1.0}),
            Bounded({"accuracy": 0.5}, 0.25),
            Failed("ValueError: no", "error"),
            Failed("gone", "lost"),
        ],
        ids=str,
    )
    def test_through_json_and_back(self, outcome: Outcome) -> None:
        assert outcome_from_json(json.loads(json.dumps(outcome_to_json(outcome)))) == outcome

    @pytest.mark.parametrize(
        "value",
        [None, {}, {"type": "measured"}, {"type": "failed", "reason": "x", "kind": "bored"}],
        ids=str,
    )
    def test_no_outcome(self, value: object) -> None:
        with pytest.raises(FormatError, match="expected an outcome of type measured"):
            outcome_from_json(value)
