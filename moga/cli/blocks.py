"""``moga profile --export-blocks`` and ``--import``: blocks out to a device, their times in."""

import dataclasses
from pathlib import Path

import typer

from moga.cli.show import print_json, print_message, print_profile

__all__ = ["BlockTimes", "export_folder", "import_times", "was_given"]


@dataclasses.dataclass(frozen=True)
class BlockTimes:
    """The options of ``moga profile`` that say what times are of.

    Args:
        batch: images a batch; None: 1, or the exported folder's.
        precision: as `importers.base.PRECISIONS`; "": not said.
        device: its name; "": not said.
        missing: what becomes of blocks without a time.
    """

    batch: int | None
    precision: str
    device: str
    missing: str


def export_folder(
    space: str,
    data: str | None,
    folder: Path,
    *,
    batch: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Write a space's blocks into a folder, and say how to go on."""
    from moga.devices.blockfiles import export_blocks
    from moga.plan import space_and_images
    from moga.report.progress import auto

    _, built = space_and_images(space, data)
    with auto() as progress:
        manifest, left = export_blocks(
            built, folder, batch=batch or 1, limit=limit, progress=progress
        )
    if as_json:
        files = {"blocks": len(manifest.blocks), "networks": len(manifest.networks), "left": left}
        print_json({"folder": str(folder), "space": built.spec, "batch": manifest.batch, **files})
        return
    print_message(
        f"{folder}: {len(manifest.blocks)} blocks and {len(manifest.networks)} whole networks of "
        f"{built.spec}, batch {manifest.batch}"
        + (f"; {left} files are still to be written: run this again" if left else "")
    )
    print_message(
        f"Time them on the device, put the times beside them, then: moga profile --import {folder}"
    )


def import_times(
    path: Path,
    space: str | None,
    data: str | None,
    times: BlockTimes,
    *,
    output: Path | None,
    as_json: bool,
) -> None:
    """Build a latency table from times that were measured elsewhere, save and print it.

    Without a space it is the exported folder's, or where there is no such folder "moga".
    """
    from moga.devices.blockfiles import MANIFEST
    from moga.devices.imported import import_table
    from moga.plan import space_and_images

    chosen = None
    if space is not None or data is not None or not (path / MANIFEST).exists():
        _, chosen = space_and_images(space or "moga", data)
    table = import_table(
        path,
        chosen,
        batch=times.batch,
        precision=times.precision,
        device=times.device,
        missing=times.missing,
    )
    device = "".join(c if c.isalnum() or c in "-_." else "_" for c in table.provenance["device"])
    target = output or Path(f"latency-{table.space.name}-{device}.npz")
    table.save(target)
    print_profile(table, None, target, as_json=as_json)


def was_given(context: typer.Context, option: str) -> bool:
    """Return whether the user said something of an option, or its default stands."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"
