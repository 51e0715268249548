"""What ``moga networks`` prints: every published network, as counted here beside its paper."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["print_networks"]


def print_networks(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the rows of `moga.networks.zoo.table`: a table with notes, or a list of JSON objects.

    Args:
        rows: what `zoo.table` gave.
        as_json: print the list alone, for scripts.
    """
    if as_json:
        sys.stdout.write(json.dumps(list(rows), allow_nan=False) + "\n")
        return
    notes: list[str] = []
    lines = [_HEADER, *(_line(row, notes) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.write(
        "\nParameters and multiply-adds in millions, counted from the blocks; behind each the "
        "paper's figure.\n"
    )
    for number, note in enumerate(notes, start=1):
        sys.stdout.write(f"[{number}] {note}\n")
    shared = dict.fromkeys((row["family"], note) for row in rows for note in row["family_notes"])
    for family, note in shared:
        sys.stdout.write(f"[{family}] {note}\n")


_HEADER = ("name", "pixels", "params", "paper", "macs", "paper", "top-1", "notes")


def _line(row: Mapping[str, Any], notes: list[str]) -> tuple[str, ...]:
    for note in row["notes"]:
        if note not in notes:
            notes.append(note)
    numbers = [notes.index(note) + 1 for note in row["notes"]]
    return (
        row["name"],
        str(row["resolution"]),
        f"{row['params'] / 1e6:.3f}",
        _shown(row["published_params_m"]),
        f"{row['macs'] / 1e6:,.1f}",
        _shown(row["published_macs_m"]),
        _shown(row["top1"]),
        ",".join(map(str, numbers)),
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,}".removesuffix(".0")
