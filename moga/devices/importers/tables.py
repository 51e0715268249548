"""Rows of CSV and Parquet files, each with the place that messages name: file and line, or row."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moga.errors import FormatError

__all__ = ["Row", "read_table"]

Row = Mapping[str, Any]
"""Column -> value; "" where there is none. Values of a CSV file are texts without blanks around."""


def read_table(path: Path) -> list[tuple[str, Row]]:
    """Read a CSV file with a header, or a Parquet file.

    Args:
        path: the file; ``.parquet`` says that it is one.

    Returns:
        Each row with its place: ``times.csv, line 2`` is the first below the header, counted as an
        editor does, where the row begins; ``times.parquet, row 1`` is the first.

    Raises:
        FormatError: no such file, another kind of file, values that are separated by semicolons or
            tabs, a column that stands twice, a row of more or fewer values than the header has, or
            no rows.
    """
    rows = list(_parquet(path) if path.suffix == ".parquet" else _csv(path))
    if not rows:
        raise FormatError(f"{path} has no rows; expected a header and one time a row")
    return rows


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader, columns, line = csv.reader(file, strict=True), list[str](), 1
            for values in reader:
                where, line = f"{path}, line {line}", reader.line_num + 1
                stripped = [value.strip() for value in values]
                if not columns:
                    columns = stripped
                    _check_commas(columns, where)
                    _check_once(columns, path)
                elif values:
                    if len(values) != len(columns):
                        raise FormatError(
                            f"{where}: {len(values)} values; expected {len(columns)}, as in the "
                            "header"
                        )
                    yield where, dict(zip(columns, stripped, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} is no CSV file: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        _check_once(pq.read_schema(path).names, path)
        rows = pq.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise FormatError(f"{path} is no Parquet file: {error}") from error
    for index, row in enumerate(rows, start=1):
        filled = {key: "" if value is None else value for key, value in row.items()}
        yield f"{path}, row {index}", filled


def _check_commas(columns: Sequence[str], where: str) -> None:
    """Refuse what spreadsheets write in countries where the decimal sign is a comma."""
    for separator in (";", "\t") if len(columns) == 1 else ():
        if separator in columns[0]:
            raise FormatError(
                f"{where}: values are separated by {separator!r}; expected commas, and points in "
                "numbers: 0.5, not 0,5"
            )


def _check_once(columns: Sequence[str], path: Path) -> None:
    if twice := [repr(name) for name, count in Counter(columns).items() if count > 1]:
        raise FormatError(
            f"{path} has more than one column {', '.join(twice)}; keep the one that is meant"
        )
