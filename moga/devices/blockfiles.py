"""A space's blocks as ONNX files, to be timed on another device, and the manifest that names them.

Each distinct block becomes ``block-DIGEST.onnx``, and a few whole networks ``network-DIGEST.onnx``:
they tell what a network takes beside its blocks. Time each file, and read the times back with
`moga.devices.imported`.
"""

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from moga.contracts import Progress, Silent
from moga.devices.profile import MOST_BLOCKS, anchor_networks, few_blocks, needed_blocks
from moga.errors import FormatError, MogaError, UsageError
from moga.files import atomic_write, canonical_json, check_folder
from moga.network import Block, Network
from moga.spaces.base import Space

__all__ = ["MANIFEST", "Manifest", "export_blocks"]

MANIFEST: Final = "manifest.json"
_FORMAT: Final = "moga-blocks"
_VERSION: Final = 1
_HOW: Final = (
    "Time every .onnx file on the device, at the batch of its shape, and put the times into this "
    "folder: a CSV with the columns file and ms (milliseconds a batch), or a file for each model "
    "named after it (NAME.json of trtexec --exportTimes or of ONNX Runtime's profiler, NAME.txt of "
    "TensorFlow Lite's benchmark_model). Then: moga profile --import FOLDER"
)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder of exported blocks holds.

    Args:
        space: the text that builds the space.
        space_digest: the space's digest.
        batch: images a batch of every file.
        fold: whether batch norms are folded into the convolutions.
        blocks: all distinct blocks of the space, or those most needed of a large one.
        networks: the whole networks.
    """

    space: str
    space_digest: str
    batch: int
    fold: bool
    blocks: tuple[Block, ...]
    networks: tuple[Network, ...]

    @cached_property
    def subjects(self) -> Mapping[str, Block | Network]:
        """Name of a file without ``.onnx`` -> what is in it."""
        return {
            **{f"network-{network.digest}": network for network in self.networks},
            **{f"block-{block.digest}": block for block in self.blocks},
        }

    def save(self, folder: Path) -> None:
        """Write it as JSON into a folder, whole or not at all."""
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "space": self.space,
            "space_digest": self.space_digest,
            "batch": self.batch,
            "fold": self.fold,
            "unit": "ms a batch",
            "how": _HOW,
            "files": [self._entry(name, subject) for name, subject in self.subjects.items()],
        }
        atomic_write(Path(folder) / MANIFEST, json.dumps(content, indent=1) + "\n")

    def _entry(self, name: str, subject: Block | Network) -> dict[str, Any]:
        first = subject if isinstance(subject, Block) else subject.blocks[0]
        images = self.batch * first.batch_factor
        entry: dict[str, Any] = {
            "file": f"{name}.onnx",
            "digest": name.rpartition("-")[2],
            "input": "images",
            "shape": [images, first.in_channels, first.height, first.width],
        }
        if isinstance(subject, Block):
            return entry | {"block": subject.to_dict()}
        return entry | {"network": json.loads(subject.to_json())}

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read what `save` wrote.

        Raises:
            FormatError: no manifest, a damaged one, or one of another version.
        """
        path = Path(folder) / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (_FORMAT, _VERSION):
                raise FormatError(f"{path}: expected {_FORMAT} of version {_VERSION}")
            files = content["files"]
            networks = [canonical_json(file["network"]) for file in files if "network" in file]
            return cls(
                space=str(content["space"]),
                space_digest=str(content["space_digest"]),
                batch=int(content["batch"]),
                fold=bool(content["fold"]),
                blocks=tuple(Block.from_dict(file["block"]) for file in files if "block" in file),
                networks=tuple(Network.from_json(text) for text in networks),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, MogaError):
                raise
            raise FormatError(f"{path} is no manifest of exported blocks: {error}") from error


def export_blocks(
    space: Space,
    folder: str | Path,
    *,
    batch: int = 1,
    fold: bool = True,
    networks: int = 4,
    limit: int | None = None,
    check: bool = True,
    progress: Progress | None = None,
) -> tuple[Manifest, int]:
    """Write a space's blocks, and a few whole networks, as ONNX files with a manifest.

    Files that are there are left as they are, so that an export that was interrupted, or limited,
    goes on where it stopped. One file takes about a second. Of a large space, of more than 5,000
    distinct blocks, those come first that are needed most (`profile.needed_blocks`), `limit` files
    more each time; `imported.import_table` predicts the others, with ``missing="predict"``.

    Args:
        space: any space.
        folder: made where it is not there.
        batch: images a batch.
        fold: fold batch norms into the convolutions, as engines do.
        networks: how many whole networks, random but always the same for a space.
        limit: write at most so many files now; must be given where the space is large.
        check: compare each file with torch, by ONNX Runtime.
        progress: is told of each file.

    Returns:
        The manifest, and how many of the space's files are still to be written.

    Raises:
        UsageError: a number out of range, a large space and no limit, a folder with another export,
            or a file in its place.
        MissingExtra: the libraries of the export are not installed.
        ExportFailed: a file computes something else than torch does.
    """
    if batch < 1 or networks < 0 or (limit is not None and limit < 1):
        raise UsageError(
            f"batch {batch}, networks {networks} and limit {limit}: give 1, 0 and 1 or more"
        )
    from moga.networks.export import require_libraries

    require_libraries(check=check)
    folder, progress = Path(folder), progress or Silent()
    check_folder(folder)
    before = Manifest.load(folder) if (folder / MANIFEST).exists() else None
    anchors = anchor_networks(space, networks) if networks else []
    wanted = Manifest(space.spec, space.digest, batch, fold, (), tuple(anchors))
    if before is not None and dataclasses.replace(before, blocks=()) != wanted:
        raise UsageError(
            f"{folder} holds an export of another space, batch or number of networks; choose "
            "another folder, or remove it"
        )
    blocks, behind = _chosen(space, folder, before or wanted, limit)
    wanted = dataclasses.replace(wanted, blocks=tuple(blocks))
    folder.mkdir(parents=True, exist_ok=True)
    wanted.save(folder)
    left = {n: s for n, s in wanted.subjects.items() if not (folder / f"{n}.onnx").exists()}
    now = list(left.items())[:limit]
    progress.phase("write ONNX files", len(now), "files")
    for done, (name, subject) in enumerate(now, start=1):
        _export(subject, folder / f"{name}.onnx", batch=batch, fold=fold, check=check)
        progress.advance(done)
    return wanted, len(left) - len(now) + behind


def _chosen(
    space: Space, folder: Path, before: Manifest, limit: int | None
) -> tuple[list[Block], int]:
    """Return the blocks that the manifest is to list, and how many others the space has.

    All of them; of a large space those listed `before`, and more, so that `limit` files lack.
    """
    if (blocks := few_blocks(space)) is not None:
        return blocks, 0
    if limit is None:
        raise UsageError(
            f"the space {space.spec} has more than {MOST_BLOCKS} distinct blocks; say how many "
            "files to write with --limit, in Python limit=, such as 300: those come first that are "
            "needed most, and the import predicts the others (--missing predict)"
        )
    lacking = sum(not (folder / f"{name}.onnx").exists() for name in before.subjects)
    count = len(before.blocks) + max(limit - lacking, 0)
    blocks = needed_blocks(space)
    return blocks[:count], max(len(blocks) - count, 0)


def _export(subject: Block | Network, path: Path, *, batch: int, fold: bool, check: bool) -> None:
    from moga.networks.export import export_onnx

    network = Network((subject,)) if isinstance(subject, Block) else subject
    images = batch * network.blocks[0].batch_factor
    export_onnx(network, path, batch=images, fold_norm=fold, check=check)
