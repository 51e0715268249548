import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moga.devices.importers.tables import read_table
from moga.errors import FormatError


def test_lines_are_those_that_an_editor_shows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('\ufeffname , ms\n\na, 1 \n"two\nlines",2\n\nb,3\n', encoding="utf-8")
    assert read_table(path) == [
        (f"{path}, line 3", {"name": "a", "ms": "1"}),
        (f"{path}, line 4", {"name": "two\nlines", "ms": "2"}),
        (f"{path}, line 7", {"name": "b", "ms": "3"}),
    ]


def test_rows_of_parquet_are_counted_and_nothing_is_an_empty_text(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": ["a", None], "ms": [1.5, 2.5]}), path)
    assert read_table(path) == [
        (f"{path}, row 1", {"name": "a", "ms": 1.5}),
        (f"{path}, row 2", {"name": "", "ms": 2.5}),
    ]


def test_a_column_stands_once(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,a,b ,c\n1,2,3,4,5\n")
    with pytest.raises(FormatError, match=r"more than one column 'a', 'b'; keep the one"):
        read_table(path)
    path = tmp_path / "t.parquet"
    columns = [pa.array([1]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["ms", "ms"]), path)
    with pytest.raises(FormatError, match=r"t.parquet has more than one column 'ms'"):
        read_table(path)


@pytest.mark.parametrize(("separator", "shown"), [(";", "';'"), ("\t", r"'\\t'")])
def test_tables_of_spreadsheets_with_decimal_commas_are_told(tmp_path, separator, shown):
    path = tmp_path / "t.csv"
    path.write_text(f"digest{separator}ms\na{separator}0,5\n")
    message = rf"t\.csv, line 1: values are separated by {shown}; expected commas, and points in nu"
    with pytest.raises(FormatError, match=message):
        read_table(path)


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n"])
def test_files_without_rows_are_refused(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"t\.csv has no rows; expected a header and one time"):
        read_table(path)
