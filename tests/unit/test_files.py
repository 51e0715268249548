from pathlib import Path

import pytest

from moga.errors import UsageError
from moga.files import (
    atomic_path,
    atomic_write,
    cache_dir,
    canonical_json,
    check_folder,
    check_target,
    digest,
)


def test_canonical_json_sorts_keys_and_leaves_no_spaces() -> None:
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([value])


def test_digest_is_the_same_for_the_same_value_on_every_machine() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) == "43258cff783fe703"
    assert len(digest([], length=7)) == 7


def test_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    atomic_write(path, "first, and long")
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_atomic_write_leaves_the_old_file_where_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    atomic_write(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_atomic_write_respects_the_umask(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("x")
    atomic_write(atomic, "x")
    assert atomic.stat().st_mode == plain.stat().st_mode


def test_cache_dir_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path / "own"))
    assert cache_dir("tables", "cpu") == tmp_path / "own" / "tables" / "cpu"
    assert (tmp_path / "own" / "tables" / "cpu").is_dir()
    monkeypatch.delenv("MOGA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "moga"


def test_targets_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_target(tmp_path / "file")
    check_target(tmp_path / "new" / "deep" / "file")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deep")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    with pytest.raises(UsageError, match="is a folder; give the path of a file"):
        check_target(tmp_path)
    with pytest.raises(UsageError, match="file is a file; give the path of a folder"):
        check_folder(tmp_path / "file")
    for check in (check_target, check_folder):
        with pytest.raises(UsageError, match=r"cannot be written: .*file is a file; choose anoth"):
            check(tmp_path / "file" / "below")


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UsageError, match="is read-only; choose another path"):
        check_target(tmp_path / "file")
