"""Timed values of blocks and networks, kept by machine, so that no space times them twice."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from moga.devices.base import Latency
from moga.errors import FormatError
from moga.files import atomic_write, canonical_json, digest
from moga.network import Block, Network

__all__ = ["ValueStore"]

_FORMAT: Final = "moga-latency-values"
_VERSION: Final = 1


def _key(subject: Block | Network) -> str:
    if isinstance(subject, Block):
        return f"block-{digest(subject.to_dict())}"
    return f"network-{subject.digest}"


class ValueStore:
    """Latencies by block or network, in one JSON file.

    Two processes that write at once keep a whole file, but the values of one of them may be lost
    and are then timed again.

    Args:
        path: the file; made when first written.
        settings: what decides the times, written beside them for the reader.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = Path(path), dict(settings)

    def read(
        self, subjects: Iterable[Block | Network], rounds: int
    ) -> dict[Block | Network, Latency]:
        """Return what is stored of these, timed at least `rounds` times.

        Raises:
            FormatError: a damaged file, naming it.
        """
        stored = self._load()
        found = {}
        for subject in subjects:
            value = stored.get(_key(subject))
            if value is not None and value["count"] >= rounds:
                found[subject] = Latency(**value)
        return found

    def write(self, values: Mapping[Block | Network, Latency]) -> None:
        """Add values to the file; those of the same subjects are replaced.

        Raises:
            FormatError: the file that is there is damaged.
        """
        stored = self._load()
        stored |= {_key(subject): dataclasses.asdict(value) for subject, value in values.items()}
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "settings": self.settings,
            "values": stored,
        }
        atomic_write(self.path, canonical_json(content) + "\n")

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (_FORMAT, _VERSION):
                raise FormatError(
                    f"{self.path}: expected {_FORMAT} of version {_VERSION}; move the file away "
                    "and the blocks are timed again"
                )
            values: dict[str, dict[str, Any]] = content["values"]
            for value in values.values():
                Latency(**value)
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(
                f"{self.path} is damaged ({error}); remove it and the blocks are timed again"
            ) from error
        return values
