"""``moga devices``: every device that can be named, and how well it is known."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from moga.cli.exits import exits

if TYPE_CHECKING:
    from moga.devices.describe import Description

__all__ = ["devices"]

_HEADER = ("name", "hardware", "engine", "precision", "batch", "known by", "error", "spaces")


def devices(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list of JSON objects, for scripts.")
    ] = False,
) -> None:
    """List every device: hardware, engine, precision, batch, how it is known and its error.

    Most take arguments, as in "t4(precision=int8, batch=32)" or "cuda(mode=graph, batch=64)". A
    space is written as --space takes it. What was not run on real hardware, or an error that proves
    nothing, is marked with "!".
    """
    from moga.devices.describe import describe

    with exits():
        found = describe()
        if as_json:
            sys.stdout.write(json.dumps([dataclasses.asdict(entry) for entry in found]) + "\n")
            return
        _print(found)


def _print(found: Sequence["Description"]) -> None:
    sources: list[str] = []
    lines = [(*_HEADER, "source"), *(_line(entry, sources) for entry in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.write(
        "\nbatch: unless the name is given another; (of 1 to 64): those that a roofline was "
        "calibrated at.\n"
        "error: mean absolute error in percent of networks, or timings, that were left out; "
        "~ where nothing was measured: priors alone; - where it is not known.\n"
        'Two more take arguments: "table(path=...)", and "preset(name=...)" for a paper\'s '
        "protocol.\n"
    )
    cautions: dict[str, list[str]] = {}
    for entry in found:
        cautions.setdefault(entry.caution, []).append(entry.name)
    for caution, names in cautions.items():
        if caution:
            sys.stdout.write(f"! {', '.join(names)}: {caution}\n")
    for number, source in enumerate(sources, start=1):
        sys.stdout.write(f"[{number}] {source}\n")


def _batch(entry: "Description") -> str:
    from moga.devices.roofline import batches_text

    covered = entry.calibrated_batches
    return f"{entry.batch} (of {batches_text(covered)})" if covered else str(entry.batch)


def _line(entry: "Description", sources: list[str]) -> tuple[str, ...]:
    if entry.source not in sources:
        sources.append(entry.source)
    error = "-" if entry.error_percent is None else f"{entry.error_percent:g} %"
    if entry.error_kind == "priors alone":
        error = f"~{entry.error_percent:.0f} %"
    return (
        entry.name,
        entry.hardware or "-",
        entry.engine or "-",
        entry.precision or "-",
        _batch(entry),
        entry.provenance or "-",
        error,
        entry.spaces or "-",
        f"[{sources.index(entry.source) + 1}]" + (" !" if entry.caution else ""),
    )
