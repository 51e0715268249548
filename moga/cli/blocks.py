"""``moga profile --export-blocks`` and ``--import``: blocks out to a device, their times in."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import typer

from moga.cli.show import print_json, print_message, print_profile
from moga.errors import UsageError

__all__ = ["BlockTimes", "check_options", "export_folder", "import_times", "was_given"]

_GOES_WITH: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "device": ("",),
        "networks": ("",),
        "batch": ("--export-blocks", "--import", "--fit"),
        "limit": ("--export-blocks",),
        "precision": ("--import",),
        "device_name": ("--import", "--fit"),
        "missing": ("--import",),
    }
)
"""Parameter of ``moga profile`` -> the ways to a table that it belongs to; "": measuring."""


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
            built, folder, batch=1 if batch is None else batch, limit=limit, progress=progress
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
        + (" --missing predict, which predicts the blocks without a time" if left else "")
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


def check_options(context: typer.Context, way: str) -> None:
    """Refuse options that another way to a table takes than the one asked for.

    Args:
        context: of ``moga profile``.
        way: "--fit", "--import", "--export-blocks", or "": measuring.

    Raises:
        UsageError: such an option was given.
    """
    for parameter, ways in _GOES_WITH.items():
        if way not in ways and was_given(context, parameter):
            option = f"--{parameter.replace('_', '-')}"
            belongs = " and ".join(ways) if any(ways) else "measuring"
            inside = "" if way else f'; a device takes its own, such as "cpu({parameter}=...)"'
            raise UsageError(
                f"{option} goes with {belongs}, not with {way or 'measuring'}"
                + (inside if parameter in ("batch", "missing", "precision") else "")
            )


def was_given(context: typer.Context, option: str) -> bool:
    """Return whether the user said something of an option, or its default stands."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"
