import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moga.errors import FormatError, UsageError
from moga.network import Block
from moga.networks.count import count_macs, count_params
from moga.spaces.base import Slot, Space, sample_uniform
from moga.spaces.cost import CostTable, CostTables, count_table, slot_blocks
from moga.spaces.fbnet import FBNetSpace
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201

SPACES = [
    pytest.param(MoGASpace(), id="moga"),
    pytest.param(MoGASpace(32, 0.35, 10), id="moga-32"),
    pytest.param(NASBench201(), id="nasbench201"),
]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("metric", "counter"), [("params", count_params), ("macs", count_macs)])
def test_the_table_equals_direct_counts(space: Space, metric: str, counter: Any) -> None:
    genomes = sample_uniform(space.sizes, 1000, np.random.default_rng(0))
    costs = count_table(space, metric)(genomes)
    assert costs.tolist() == [counter(space.decode(genome)) for genome in genomes]


def test_a_counter_of_ones_own() -> None:
    table = count_table(MoGASpace(), "blocks", lambda _block: 1)
    assert table([[0] * 14]).tolist() == [20]


def test_slot_blocks_gives_every_entry() -> None:
    space = MoGASpace()
    assert [len(list(slot_blocks(slot))) for slot in space.slots] == [1, *[12] * 14, 1]
    index, blocks = next(slot_blocks(space.slots[1]))
    assert index == (0,)
    assert all(isinstance(block, Block) and times == 1 for block, times in blocks)


def _table(space: Space, **change: Any) -> CostTable:
    rng = np.random.default_rng(7)
    arrays = tuple(rng.random(slot.shape) for slot in space.slots)
    spread = tuple(0.1 * np.ones(slot.shape) for slot in space.slots)
    values = {"constant": 2.0, "grid": 0.5, "provenance": {"method": "made"}, **change}
    return CostTable("latency", "ms", space, arrays, spread, **values)


def test_costs_are_the_constant_and_the_sum_of_entries() -> None:
    space = MoGASpace(32)
    table = _table(space)
    genome = [*range(12), 3, 4]
    expected = 2.0 + table.arrays[0] + table.arrays[-1]
    expected += sum(table.arrays[1 + i][gene] for i, gene in enumerate(genome))
    np.testing.assert_allclose(table(np.array([genome, genome])), [expected] * 2)


def test_many_genomes_cost_the_same_as_few() -> None:
    space = MoGASpace(32)
    table = _table(space)
    genomes = sample_uniform(space.sizes, (1 << 16) + 3, np.random.default_rng(0))
    np.testing.assert_array_equal(table(genomes)[-5:], table(genomes[-5:]))


@pytest.mark.parametrize("space", SPACES)
def test_tables_together_say_what_each_says(space: Space) -> None:
    counted = [count_table(space, metric) for metric in ("params", "macs")]
    together = CostTables([*counted, _table(space)])
    genomes = sample_uniform(space.sizes, (1 << 13) + 3, np.random.default_rng(0))
    costs = together(genomes)
    assert costs.shape == (len(genomes), 3)
    for column, table in enumerate(counted):
        np.testing.assert_array_equal(costs[:, column], table(genomes))
    np.testing.assert_allclose(costs[:, 2], _table(space)(genomes), rtol=1e-14)
    assert together(genomes[0]).tolist() == costs[:1].tolist()


def test_tables_together_must_be_of_one_space() -> None:
    with pytest.raises(ValueError, match="evaluated together must be of one space"):
        CostTables([_table(MoGASpace(32)), _table(MoGASpace(64))])


def test_counted_tables_are_cached_checked_and_counted_again_where_they_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
    space = MoGASpace(32)
    assert not list(tmp_path.iterdir())
    expected_table = count_table(space, "params")
    expected = expected_table.arrays
    assert not list(tmp_path.iterdir())
    count_table(space, "params", cached=True)
    files = sorted((tmp_path / "tables").iterdir())
    assert len(files) == 2
    macs, params = (CostTable.load(file, space) for file in files)
    assert (macs.metric, params.metric) == ("macs", "params")
    marked = dataclasses.replace(params, provenance={"method": "counted", "mark": 1})
    marked.save(files[1])
    assert count_table(space, "params", cached=True).provenance["mark"] == 1
    dataclasses.replace(marked, constant=1.0).save(files[1])
    again = count_table(space, "params", cached=True)
    assert "mark" not in again.provenance
    for one, two in zip(again.arrays, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    for broken in (np.nan, -1.0):
        _damaged(files[1], expected_table, "array_3", 5, broken)
        assert count_table(space, "params", cached=True).arrays[3][5] == expected[3][5]
    files[1].write_bytes(b"damaged")
    assert count_table(space, "params", cached=True).constant == 0


def test_standard_errors_add_as_squares() -> None:
    space = MoGASpace(32)
    genomes = np.zeros((3, 14), dtype=np.int64)
    np.testing.assert_allclose(_table(space).standard_error(genomes), [0.4] * 3)
    exact = dataclasses.replace(_table(space), spread=())
    assert exact.standard_error(genomes).tolist() == [0, 0, 0]
    assert exact.standard_error(genomes[0]).tolist() == [0]


def test_bounds_hold_for_every_genome() -> None:
    space = NASBench201()
    table = count_table(space, "params")
    assert table.bounds == (73306, 1531546)
    moga = count_table(MoGASpace(32), "macs")
    genomes = sample_uniform(MoGASpace(32).sizes, 1000, np.random.default_rng(0))
    low, high = moga.bounds
    assert low <= moga(genomes).min()
    assert moga(genomes).max() <= high


def test_save_and_load(tmp_path: Path) -> None:
    space = MoGASpace(32)
    table = _table(space)
    table.save(tmp_path / "table.npz")
    back = CostTable.load(tmp_path / "table.npz", space)
    assert back.digest == table.digest
    assert (back.metric, back.unit, back.constant, back.grid) == ("latency", "ms", 2.0, 0.5)
    assert back.provenance == {"method": "made"}
    for one, two in zip(table.arrays + table.spread, back.arrays + back.spread, strict=True):
        np.testing.assert_array_equal(one, two)


def test_save_and_load_without_spread(tmp_path: Path) -> None:
    table = count_table(NASBench201(), "macs")
    table.save(tmp_path / "table.npz")
    assert CostTable.load(tmp_path / "table.npz", NASBench201()).spread == ()


def test_digest_follows_values_and_space() -> None:
    table = _table(MoGASpace(32))
    digests = {
        table.digest,
        dataclasses.replace(table, constant=3.0).digest,
        dataclasses.replace(table, grid=0.0).digest,
        _table(MoGASpace(64)).digest,
    }
    assert len(digests) == 4


def test_shapes_must_match_the_slots() -> None:
    table = _table(MoGASpace(32))
    with pytest.raises(ValueError, match="cost table latency: arrays do not match"):
        dataclasses.replace(table, arrays=table.arrays[1:], spread=())
    with pytest.raises(ValueError, match="cost table latency: spread do not match"):
        dataclasses.replace(table, spread=table.spread[1:])


def test_load_refuses_a_table_of_another_space(tmp_path: Path) -> None:
    _table(MoGASpace(32)).save(tmp_path / "table.npz")
    with pytest.raises(FormatError, match=r"is a table of the space moga\(resolution=32, .* build"):
        CostTable.load(tmp_path / "table.npz", MoGASpace(64))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 damaged"])
def test_load_refuses_what_is_no_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is no cost table"):
        CostTable.load(path, MoGASpace())
    with pytest.raises(FormatError, match="is no cost table"):
        CostTable.load(tmp_path / "absent.npz", MoGASpace())


def _stored(path: Path, **change: Any) -> None:
    _table(MoGASpace(32)).save(path)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    header = json.loads(str(content["header"])) | change.pop("header", {})
    content = {**content, "header": np.array(json.dumps(header)), **change}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})


def test_load_refuses_a_truncated_file_a_lone_array_and_an_archive_without_header(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.npz"
    _table(MoGASpace(32)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FormatError, match="is no cost table"):
        CostTable.load(path, MoGASpace(32))
    np.save(tmp_path / "lone.npy", np.zeros(3))
    message = r"lone\.npy is no cost table: expected \.npz, as CostTable\.save writes"
    with pytest.raises(FormatError, match=message):
        CostTable.load(tmp_path / "lone.npy", MoGASpace(32))
    np.savez(path, array_0=np.zeros(3))
    with pytest.raises(FormatError, match="is no cost table"):
        CostTable.load(path, MoGASpace(32))


@pytest.mark.parametrize("header", [{"version": 2}, {"format": "other"}])
def test_load_refuses_another_version_or_kind(tmp_path: Path, header: dict[str, Any]) -> None:
    path = tmp_path / "table.npz"
    _stored(path, header=header)
    with pytest.raises(FormatError, match="expected a cost table of version 1"):
        CostTable.load(path, MoGASpace(32))


@pytest.mark.parametrize("array", [None, np.zeros(5)])
def test_load_refuses_missing_or_misshapen_arrays(tmp_path: Path, array: Any) -> None:
    path = tmp_path / "table.npz"
    _stored(path, array_3=array)
    with pytest.raises(FormatError, match="is a damaged cost table"):
        CostTable.load(path, MoGASpace(32))


def _damaged(path: Path, table: CostTable, name: str, index: Any, value: float) -> None:
    """Write a table with one number of an array changed."""
    table.save(path)
    with np.load(path) as file:
        content = {key: file[key] for key in file.files}
    content[name][index] = value
    np.savez(path, **content)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "array_3",
            np.nan,
            r"the slot layer_2 has nan ms at its entry \[5\]; expected a finite num",
        ),
        ("array_3", np.inf, r"the slot layer_2 has inf ms at its entry \[5\]"),
        ("array_3", -np.inf, r"the slot layer_2 has -inf ms at its entry \[5\]"),
        (
            "array_3",
            -100.0,
            r"the network \d.* would take -\d\S* ms, the median one \d.* above 0 of",
        ),
        ("array_3", 1e6, r"the network \d.* would take 1\S*e\+06 ms, the median one \d"),
        (
            "array_3",
            1e9,
            r"networks would take up to 1e\+09 ms; expected more than 0, an hour at m",
        ),
        ("array_3", 1.7e308, r"networks would take up to 1\.7e\+308 ms"),
        (
            "spread_3",
            -1.0,
            r"layer_2 has a spread of -1 ms at its entry \[5\]; expected a standard",
        ),
        ("spread_3", np.inf, r"layer_2 has a spread of inf ms at its entry \[5\]"),
    ],
)
def test_load_refuses_values_that_cannot_be(tmp_path, name, value, message):
    path = tmp_path / "t.npz"
    _damaged(path, _table(MoGASpace(32)), name, 5, value)
    with pytest.raises(FormatError, match=rf"t\.npz: .*{message}.* Build the table again"):
        CostTable.load(path, MoGASpace(32))


def test_a_spread_that_was_not_measured_is_nan(tmp_path):
    path = tmp_path / "t.npz"
    _damaged(path, _table(MoGASpace(32)), "spread_3", 5, np.nan)
    assert np.isnan(CostTable.load(path, MoGASpace(32)).spread[3][5])


@pytest.mark.parametrize("method", ["measured", "imported", "roofline"])
def test_times_of_blocks_are_above_0(tmp_path, method):
    table = _table(MoGASpace(32), provenance={"method": method})
    path = tmp_path / "t.npz"
    _damaged(path, table, "array_3", 5, 0.0)
    message = r"layer_2 has 0 ms at its entry \[5\], where a block stands; expected a time above 0"
    with pytest.raises(FormatError, match=message):
        CostTable.load(path, MoGASpace(32))
    _damaged(path, table, "array_3", 5, -0.001)
    message = r"layer_2 has -0\.001 ms at its entry \[5\]; expected a finite number, 0 or more"
    with pytest.raises(FormatError, match=message):
        CostTable.load(path, MoGASpace(32))


def test_entries_without_a_block_take_0_ms_and_no_others(tmp_path):
    path, space = tmp_path / "t.npz", FBNetSpace()
    arrays = tuple(array * 1e-6 for array in count_table(space, "macs").arrays)
    slot, entry = next(
        (number, int(np.flatnonzero(array == 0)[0]))
        for number, array in enumerate(arrays)
        if (array == 0).any()
    )
    table = CostTable("latency", "ms", space, arrays, provenance={"method": "measured"})
    table.save(path)
    assert CostTable.load(path, space).arrays[slot][entry] == 0
    arrays[slot][entry - 1] = 0.0
    with pytest.raises(UsageError, match=rf"has 0 ms at its entry \[{entry - 1}\], where a block"):
        table.save(path)


@pytest.mark.parametrize("method", ["fitted", "made"])
def test_entries_that_are_known_by_their_sums_alone_may_be_negative(tmp_path, method):
    path = tmp_path / "t.npz"
    table = _table(MoGASpace(32), provenance={"method": method})
    _damaged(path, table, "array_3", 5, -0.001)
    assert CostTable.load(path, MoGASpace(32)).arrays[3][5] == -0.001


def test_counts_and_columns_of_a_finish_are_not_negative(tmp_path):
    path, space = tmp_path / "t.npz", MoGASpace(32)
    _damaged(path, count_table(space, "params"), "array_3", 5, -1.0)
    with pytest.raises(FormatError, match=r"has -1 at its entry \[5\]; expected .* 0 or more"):
        CostTable.load(path, space)
    _damaged(path, two_columns(space), "array_3", (5, 1), -1.0)
    with pytest.raises(FormatError, match=r"has -1 ms at its entry \[5\]; expected .* 0 or more"):
        CostTable.load(path, space)


def test_a_space_without_parameters_counts_none(tmp_path):
    space = MoGASpace(32)
    nothing = tuple(np.zeros(slot.shape) for slot in space.slots)
    CostTable("params", "", space, nothing).save(tmp_path / "t.npz")
    assert CostTable.load(tmp_path / "t.npz", space).bounds == (0, 0)
    CostTable("latency", "ms", space, nothing, constant=1.0).save(tmp_path / "t.npz")
    with pytest.raises(UsageError, match="networks would take up to 0 ms; expected more than 0"):
        CostTable("latency", "ms", space, nothing).save(tmp_path / "t.npz")


def test_only_entries_of_no_network_may_lack_a_value(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    _damaged(path, _table(MoGASpace(32)), "array_3", 5, np.nan)
    asked = []

    def nowhere(slot, index):
        asked.append((slot.name, index))

    monkeypatch.setattr(Slot, "entry", nowhere)
    assert np.isnan(CostTable.load(path, MoGASpace(32)).arrays[3][5])
    assert asked == [("layer_2", [5])]
    _damaged(path, _table(MoGASpace(32)), "array_3", 5, np.inf)
    with pytest.raises(FormatError, match=r"layer_2 has inf ms at its entry \[5\]"):
        CostTable.load(path, MoGASpace(32))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"constant": float("nan")}, "its constant is nan; expected a finite number"),
        ({"constant": "2"}, "its constant is '2'; expected a finite number"),
        ({"grid": -1.0}, r"its grid is -1\.0; expected a finite number, 0 or more"),
        ({"grid": float("inf")}, "its grid is inf; expected a finite number, 0 or more"),
        ({"grid": True}, "its grid is True; expected a finite number, 0 or more"),
        ({"relative_error": -0.1}, r"its relative_error is -0\.1; expected a finite number, 0 or"),
        ({"relative_error": float("inf")}, "its relative_error is inf"),
        ({"provenance": ["measured"]}, r"its provenance is \['measured'\]; expected an object"),
        ({"unit": 3}, "its unit is 3; expected a text"),
        ({"finish": []}, r"its finish is \[\]; expected a text"),
    ],
)
def test_load_refuses_a_header_that_cannot_be(tmp_path, header, message):
    path = tmp_path / "t.npz"
    _stored(path, header=header)
    with pytest.raises(FormatError, match=rf"t\.npz.*: {message}.*Build the table again"):
        CostTable.load(path, MoGASpace(32))


@pytest.mark.parametrize("name", ["array_3", "spread_3"])
def test_load_refuses_arrays_of_no_numbers(tmp_path, name):
    path = tmp_path / "t.npz"
    _stored(path, **{name: np.array(["a"] * 12)})
    with pytest.raises(FormatError, match=r"the slot layer_2 .*<U1; expected numbers"):
        CostTable.load(path, MoGASpace(32))


def test_what_load_refuses_is_not_written(tmp_path):
    table = _table(MoGASpace(32), constant=float("inf"))
    message = r"t\.npz is not written, for its constant is inf; expected a finite number\. Build"
    with pytest.raises(UsageError, match=message):
        table.save(tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())


def two_columns(space, seed=0, **values):
    rng = np.random.default_rng(seed)
    arrays = tuple(rng.random((*slot.shape, 2)) for slot in space.slots)
    return CostTable("latency", "ms", space, arrays, finish="smooth_maximum_of_2", **values)


def test_a_finish_makes_one_cost_of_several_columns(tmp_path):
    space = MoGASpace(resolution=32)
    table = two_columns(space, constant=0.5, relative_error=0.1)
    genomes = sample_uniform(space.sizes, 40, np.random.default_rng(1))
    columns = table.columns(genomes)
    assert columns.shape == (40, 2)
    expected = 0.5 + (columns**6).sum(axis=1) ** (1 / 6)
    np.testing.assert_allclose(table(genomes), expected)
    np.testing.assert_allclose(table.standard_error(genomes), 0.1 * expected)
    assert table.uncertain
    low, high = table.bounds
    assert low <= table(genomes).min() <= table(genomes).max() <= high
    table.save(tmp_path / "t.npz")
    again = CostTable.load(tmp_path / "t.npz", space)
    np.testing.assert_array_equal(again(genomes), table(genomes))
    assert (again.finish, again.relative_error) == ("smooth_maximum_of_2", 0.1)
    assert again.digest == table.digest


def test_tables_with_and_without_a_finish_are_evaluated_together():
    space = MoGASpace(resolution=32)
    tables = [count_table(space, "macs"), two_columns(space, constant=1.0), two_columns(space, 2)]
    genomes = sample_uniform(space.sizes, 9000, np.random.default_rng(1))
    together = CostTables(tables)(genomes)
    assert together.shape == (9000, 3)
    np.testing.assert_allclose(together, np.stack([t(genomes) for t in tables], axis=1))


def test_a_finish_that_does_not_fit_is_refused():
    space = MoGASpace(resolution=32)
    arrays = tuple(np.zeros(slot.shape) for slot in space.slots)
    with pytest.raises(ValueError, match="finish 'max'; expected one of smooth_maximum_of_2"):
        CostTable("latency", "ms", space, arrays, finish="max")
    with pytest.raises(ValueError, match="and no spread of entries"):
        CostTable("latency", "ms", space, arrays, arrays, finish="smooth_maximum_of_2")
    with pytest.raises(ValueError, match="arrays do not match"):
        CostTable("latency", "ms", space, arrays, finish="smooth_maximum_of_2")
