"""Files that are never half-written, one canonical JSON, hashes, and where caches lie."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moga.errors import UsageError

__all__ = [
    "atomic_path",
    "atomic_write",
    "cache_dir",
    "canonical_json",
    "check_folder",
    "check_target",
    "digest",
    "sync_dir",
]


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: where a float is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable (fsync of the directory itself)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path`, synced, when the block succeeds.

    Nothing is left behind where the block raises, and a reader sees the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        sync_dir(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a whole file so that it is there complete or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def check_target(path: str | Path) -> None:
    """Refuse a path where no file can be written, before the work whose result goes there.

    Raises:
        UsageError: a folder is there, a file stands where its folder would, or that is read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the path of a file")
    _check_parent(path)


def check_folder(path: str | Path) -> None:
    """Refuse a path where no folder can be made, nor is one.

    Raises:
        UsageError: a file is there, or where a folder above it would be, or that is read-only.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; give the path of a folder")
    _check_parent(path / "file")


def _check_parent(path: Path) -> None:
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UsageError(f"{path} cannot be written: {above} is a file; choose another path")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: {above} is read-only; choose another path")


def cache_dir(*parts: str) -> Path:
    """Return (and make) a folder of moga's cache: $MOGA_CACHE, else ~/.cache/moga."""
    root = os.environ.get("MOGA_CACHE")
    base = (
        Path(root)
        if root
        else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "moga"
    )
    path = base.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
