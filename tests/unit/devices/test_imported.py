import dataclasses
import json
import math
import re

import numpy as np
import pytest

from moga.devices import blockfiles, imported
from moga.devices.base import Latency
from moga.devices.blockfiles import export_blocks
from moga.devices.imported import constant_caution, import_table, network_times, table_of
from moga.devices.importers.base import Reading
from moga.devices.importers.rows import read_rows
from moga.devices.profile import MOST_BLOCKS, needed_blocks, sum_blocks, unique_blocks
from moga.errors import FormatError, UsageError
from moga.networks.count import count_macs
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTable
from moga.spaces.efficientnet_x import EfficientNetXSpace
from moga.spaces.entries import find_blocks
from moga.spaces.moga import MoGASpace
from moga.testing import devices as testing

SPACE = MoGASpace(resolution=8, width=0.05, num_classes=2)
BLOCKS = unique_blocks(SPACE)
OTHER = MoGASpace(resolution=16, width=0.05, num_classes=2)
HEADER = "file,ms,batch,precision,device,spread,count"


def block_ms(block):
    return 0.01 + 1e-5 * count_macs(block)


def readings(**more):
    return [
        Reading(f"block-{block.digest}.onnx", "", block_ms(block), False, f"row {n}", **more)
        for n, block in enumerate(BLOCKS, start=1)
    ]


@pytest.fixture
def phone(monkeypatch, tmp_path):
    """A folder with an export of the space at batch 2, and the networks' manifest."""
    monkeypatch.setattr(blockfiles, "_export", lambda _subject, path, **_: path.write_text(""))
    folder = tmp_path / "phone"
    manifest, _ = export_blocks(SPACE, folder, batch=2)
    return folder, manifest


def write_times(folder, manifest, overhead=0.0):
    rows = [HEADER]
    for name, subject in manifest.subjects.items():
        network = name.startswith("network")
        ms = math.fsum(map(block_ms, subject)) + overhead if network else block_ms(subject)
        rows.append(f"{name}.onnx,{ms!r},2,fp16,pixel,{ms / 100!r},30")
    (folder / "times.csv").write_text("\n".join(rows))


def test_blocks_go_out_and_their_times_come_back_as_the_same_table(phone, tmp_path):
    folder, manifest = phone
    write_times(folder, manifest)
    table = import_table(folder)
    values = {block: Latency(block_ms(block), block_ms(block) / 100, 30) for block in BLOCKS}
    arrays, spread = sum_blocks(*find_blocks(SPACE.slots), values)
    for found, expected in zip(table.arrays + table.spread, arrays + spread, strict=True):
        np.testing.assert_allclose(found, expected)
    assert table.constant == pytest.approx(0, abs=1e-12)
    assert table.grid > 0
    assert table.provenance["spread_percent"] > 0
    assert table.predicted == ()
    assert table.space.spec == SPACE.spec
    provenance = table.provenance
    assert provenance["method"] == "imported"
    assert (provenance["device"], provenance["batch"], provenance["precision"]) == (
        *("pixel", 2),
        "fp16",
    )
    assert (provenance["rounds"], provenance["anchors"]) == (30, 4)
    assert provenance["unit"] == "ms a batch"
    macs, ms = sum(map(count_macs, BLOCKS)), sum(map(block_ms, BLOCKS))
    assert provenance["gmacs_per_s"] == pytest.approx(2 * macs / ms / 1e6)
    assert provenance["source"] == "phone"
    table.save(tmp_path / "t.npz")
    genomes = sample_uniform(SPACE.sizes, 5, np.random.default_rng(0))
    loaded = CostTable.load(tmp_path / "t.npz", SPACE)
    np.testing.assert_array_equal(loaded(genomes), table(genomes))


def test_whole_networks_give_the_constant_and_the_error(phone):
    folder, manifest = phone
    write_times(folder, manifest, overhead=0.5)
    table = import_table(folder, device="mine")
    assert table.constant == pytest.approx(0.5)
    assert table.provenance["anchor_error_percent"] == pytest.approx(0, abs=1e-9)
    assert table.provenance["device"] == "mine"


def test_networks_may_be_genomes_and_json():
    genomes = [[0] * 14, [11] * 14]
    sums = [math.fsum(map(block_ms, SPACE.decode(genome))) for genome in genomes]
    texts = [" ".join(map(str, genomes[0])), SPACE.decode(genomes[1]).to_json()]
    whole = [
        Reading(texts[0], "genome", sums[0] + 0.1, False, "a"),
        Reading(texts[1], "network", sums[1] + 0.3, False, "b"),
    ]
    table = table_of(SPACE, [*readings(), *whole])
    assert table.constant == pytest.approx(0.2)
    left_out = [0.2 / (sums[0] + 0.1), 0.2 / (sums[1] + 0.3)]
    assert table.provenance["anchor_error_percent"] == pytest.approx(100 * np.mean(left_out))
    assert table_of(SPACE, [*readings(), whole[0]]).provenance["anchor_error_percent"] is None


def test_times_of_files_of_other_programs_find_their_blocks(phone):
    folder, manifest = phone
    for number, (name, subject) in enumerate(manifest.subjects.items()):
        if name.startswith("network"):
            continue
        us = 1e3 * block_ms(subject)
        if number % 3 == 0:
            trace = [{"computeMs": us / 1e3, "latencyMs": us}] * 4
            (folder / f"{name}.times.json").write_text(json.dumps(trace))
        elif number % 3 == 1:
            line = f"Inference timings in us: Init: 9, Inference (avg): {us!r}\n"
            (folder / f"{name}.txt").write_text(f"count=50 first=1 avg={us!r} std=1\n\n{line}")
        else:
            runs = [{"name": "model_run", "dur": us}] * 3
            (folder / f"{name}_2026-01-02.json").write_text(json.dumps(runs))
    table = import_table(folder)
    expected = table_of(SPACE, readings(), batch=2)
    for found, array in zip(table.arrays, expected.arrays, strict=True):
        np.testing.assert_allclose(found, array)
    assert table.provenance["precision"] == "not stated"
    assert table.provenance["anchors"] == 0


def test_a_file_of_times_needs_a_space(tmp_path):
    rows = [f"'{block.digest}',{1e3 * block_ms(block)},us" for block in BLOCKS]
    path = tmp_path / "times.csv"
    path.write_text("\n".join(["digest,latency,unit,of", *(f"{row},image" for row in rows)]))
    table = import_table(path, SPACE, batch=8)
    assert table.arrays[0] == pytest.approx(8 * (block_ms(BLOCKS[0]) + block_ms(BLOCKS[1])))
    assert np.isnan(table.standard_error(np.zeros((1, 14), dtype=np.int64))).all()
    assert (table.grid, table.provenance["spread_percent"]) == (0, None)
    with pytest.raises(UsageError, match=r"has no manifest.json; say of which space"):
        import_table(path)


def test_blocks_may_be_json_in_a_table(tmp_path):
    rows = [json.dumps(block.to_dict()).replace('"', '""') for block in BLOCKS]
    path = tmp_path / "times.csv"
    path.write_text("block,ms\n" + "".join(f'"{row}",1.5\n' for row in rows))
    table = import_table(path, SPACE)
    assert table.arrays[1].min() == 1.5


def test_missing_blocks_are_refused_with_names_or_predicted_and_marked():
    known = readings(spread=0.001)
    with pytest.raises(
        FormatError, match=f"2 of the space's {len(BLOCKS)} blocks have no time"
    ) as e:
        table_of(SPACE, known[:5] + known[7:])
    for block in BLOCKS[5:7]:
        assert f"block-{block.digest} (mbconv" in str(e.value)
    assert str(e.value).endswith('(--missing predict, in Python missing="predict")')
    with pytest.raises(FormatError, match="and 5 more"):
        table_of(SPACE, known[:-10])
    table = table_of(SPACE, known[:5] + known[7:], missing="predict")
    full = table_of(SPACE, known)
    assert table.provenance["blocks_predicted"] == 2
    assert table.provenance["method"] == "imported"
    assert 0 < table.provenance["prediction_error_percent"] < 50
    assert sum(int(array.sum()) for array in table.predicted) == 2
    for marks, found, expected in zip(table.predicted, table.arrays, full.arrays, strict=True):
        np.testing.assert_allclose(found[~marks], expected[~marks])
        np.testing.assert_allclose(found[marks], expected[marks], rtol=0.5)
    assert full.predicted == ()
    for spread in (array for row in (table, full) for array in row.spread):
        assert not np.isnan(spread).any()
    silent = table_of(SPACE, known[:5] + known[7:-1] + readings()[-1:], missing="predict")
    genomes = sample_uniform(SPACE.sizes, 50, np.random.default_rng(0))
    assert np.isnan(silent.standard_error(genomes)).all()  # all networks have the last block
    with pytest.raises(UsageError, match="missing is 'guess'; give one of refuse, predict"):
        table_of(SPACE, known, missing="guess")


def test_too_few_blocks_predict_nothing():
    blocks = len(BLOCKS)
    message = f"3 of the space's {blocks} blocks have a time, too few .*: time more of them$"
    with pytest.raises(UsageError, match=message):
        table_of(SPACE, readings()[:3], missing="predict")
    with pytest.raises(FormatError, match=f"{blocks - 3} of the .* more; time them$"):
        table_of(SPACE, readings()[:3])


def with_row(**changes):
    listed = readings()
    values = {name: getattr(listed[3], name) for name in Reading.__dataclass_fields__}
    listed[3] = Reading(**{**values, **changes})
    return listed


OTHER_BLOCK = json.dumps(unique_blocks(OTHER)[0].to_dict())
IMPOSSIBLE = json.dumps({**BLOCKS[0].to_dict(), "kernel": 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"subject": readings()[2].subject},
            "row 4: block-.* was already timed in row 3; keep one",
        ),
        (
            {"subject": "block-0123456789abcdef"},
            "row 4: .* names no block and no network of .*moga",
        ),
        ({"subject": "stem"}, "row 4: 'stem' names no block and no network of the space"),
        ({"subject": OTHER_BLOCK}, "row 4: .* is it a table of another space"),
        ({"subject": IMPOSSIBLE}, "row 4: block 'conv': kernel is 0"),
        ({"subject": "{"}, "row 4: Expecting property name"),
        ({"subject": "0 1", "kind": "genome"}, "row 4: a genome of moga has 14 genes"),
        ({"subject": "a b", "kind": "genome"}, "row 4: the genome is 'a b'; expected integers"),
        ({"subject": "moga_z", "kind": "network"}, "row 4: unknown network 'moga_z'"),
        ({"subject": "moga_a", "kind": "network"}, "row 4: .*block"),
        ({"batch": 64}, "row 4: a time at batch 64; expected batch 1"),
        (
            {"value": 5e-5},
            "row 4: 5e-05 ms for block-.*; nothing computes a block in less than 0.0001",
        ),
        (
            {"value": 1000 * block_ms(BLOCKS[3])},
            r"row 4: 201.04 ms for block-\w{16} \(mbconv .*\), where by the other blocks one with "
            r"as much work takes about 0.1\d ms; 1 of 90 times are so far off. Are they in another",
        ),
    ],
)
def test_a_wrong_row_is_named(changes, message):
    listed = with_row(**changes)
    with pytest.raises(FormatError, match=message):
        table_of(SPACE, listed)


def test_a_time_far_from_the_roofline_is_named(monkeypatch):
    monkeypatch.setattr(imported, "check_units", lambda *_: None)
    message = (
        r"row 4: .* ms for block-\w{16} \(mbconv .*\), which by all others should take about 0"
    )
    for factor in (400, 1000):
        with pytest.raises(FormatError, match=message):
            table_of(SPACE, with_row(value=factor * block_ms(BLOCKS[3])))
    table_of(SPACE, with_row(value=200 * block_ms(BLOCKS[3])))


@pytest.mark.parametrize("factor", [1e3, 1e-3])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
def test_units_that_are_mixed_unsaid_are_refused(factor, share):
    rng = np.random.default_rng(0)
    wrong = rng.permutation(len(BLOCKS)) < share * len(BLOCKS)
    listed = [
        dataclasses.replace(one, value=50 * one.value * rng.lognormal(sigma=0.4) * times)
        for one, times in zip(readings(), np.where(wrong, factor, 1), strict=True)
    ]
    first = listed[int(np.argmax(wrong))]
    message = f"{first.where}: {first.value:g} ms for .*; {wrong.sum()} of 90 times are so far off"
    with pytest.raises(FormatError, match=message):
        table_of(SPACE, listed)


@pytest.mark.parametrize("factor", [1e3, 64, 8, 1e-3])
def test_networks_in_another_unit_or_of_another_batch_than_their_blocks_are_refused(factor):
    genome = [0] * 14
    ms = math.fsum(map(block_ms, SPACE.decode(genome)))
    whole = Reading(" ".join(map(str, genome)), "genome", factor * ms, False, "row n")
    message = f"row n: {factor * ms:g} ms for a network whose blocks take {ms:.3g} ms together"
    with pytest.raises(FormatError, match=message):
        table_of(SPACE, [*readings(), whole])


def test_a_constant_above_what_blocks_take_is_cautioned():
    genome = [0] * 14
    ms = math.fsum(map(block_ms, SPACE.decode(genome)))
    row = Reading(" ".join(map(str, genome)), "genome", 2 * ms, False, "row n")
    assert constant_caution(table_of(SPACE, [*readings(), row])) == ""
    row = dataclasses.replace(row, value=4 * ms)
    message = rf"take {3 * ms:.3g} ms beyond their blocks, which take about \S+ ms: are both of the"
    assert re.search(message, constant_caution(table_of(SPACE, [*readings(), row])))


def test_blocks_of_a_large_space_come_back_and_the_others_are_predicted(tmp_path):
    space = EfficientNetXSpace()

    def law(block):
        return testing.block_ms(block) + 1e-5 * block.in_channels * block.height * block.width

    blocks = needed_blocks(space)
    assert len(blocks) > MOST_BLOCKS
    rows = [Reading(b.digest, "", law(b), False, f"row {n}") for n, b in enumerate(blocks[:60])]
    with pytest.raises(
        FormatError, match=f"{len(blocks) - 60} of the space's {len(blocks)} blocks"
    ):
        table_of(space, rows)
    table = table_of(space, rows, missing="predict")
    assert table.provenance["blocks_predicted"] == len(blocks) - 60
    genomes = sample_uniform(space.sizes, 20, np.random.default_rng(0))
    true = [math.fsum(map(law, space.decode(genome))) for genome in genomes]
    np.testing.assert_allclose(table(genomes), true, rtol=0.1)


def test_impossible_speed_is_refused():
    block = unique_blocks(MoGASpace())[10]
    reading = Reading(json.dumps(block.to_dict()), "block", 1e-6, False, "row 1")
    with pytest.raises(FormatError, match=r"row 1: 1e-06 ms for .* multiply-adds a second, more"):
        table_of(MoGASpace(), [reading])


def test_precisions_and_devices_do_not_mix():
    mixed = readings(precision="fp16")
    mixed[5] = with_row(precision="fp32")[3]
    with pytest.raises(FormatError, match="row 4: precision fp32, but row 1 has fp16"):
        table_of(SPACE, mixed)
    mixed = readings(device="pixel")
    mixed[5] = with_row(device="nexus")[3]
    with pytest.raises(FormatError, match="row 4: device nexus, but row 1 has pixel"):
        table_of(SPACE, mixed)
    with pytest.raises(FormatError, match="row 1: a time in fp16; expected int8"):
        table_of(SPACE, readings(precision="fp16"), precision="int8")
    with pytest.raises(UsageError, match="precision is 'fp12'; give one of fp32"):
        table_of(SPACE, readings(), precision="fp12")
    assert table_of(SPACE, readings(), precision="int8").provenance["precision"] == "int8"


def test_blocks_that_sum_to_more_than_the_networks_are_refused():
    whole = Reading(" ".join(["11"] * 14), "genome", 0.2, False, "row n")
    with pytest.raises(FormatError, match="the fastest network would take no time"):
        table_of(SPACE, [*readings(), whole])


def test_another_space_or_batch_than_the_export_is_refused(phone):
    folder, manifest = phone
    write_times(folder, manifest)
    with pytest.raises(UsageError, match="was exported at batch 2, not 1"):
        import_table(folder, batch=1)
    with pytest.raises(UsageError, match=r"holds blocks of the space .*, not of moga\(res"):
        import_table(folder, OTHER)
    assert import_table(folder, SPACE, batch=2).provenance["batch"] == 2


def test_times_at_another_batch_than_the_export_are_refused(phone):
    folder, manifest = phone
    write_times(folder, manifest)
    path = folder / "times.csv"
    path.write_text(
        path.read_text().replace(",2,fp16", ",1,fp16", 3).replace(",1,fp16", ",2,fp16", 2)
    )
    with pytest.raises(
        FormatError, match=r"times.csv, line 4: a time at batch 1; expected batch 2"
    ):
        import_table(folder)


def test_times_of_networks_alone(tmp_path):
    path = tmp_path / "times.csv"
    genomes = [[0] * 14, [1] * 14]
    rows = [f"{' '.join(map(str, genome))},{n}.5,4" for n, genome in enumerate(genomes, start=1)]
    path.write_text("\n".join(["genome,latency_ms,batch", *rows]))
    found = network_times(read_rows(path), SPACE, batch=4)
    assert [value.ms for value in found.values()] == [1.5, 2.5]
    assert [SPACE.encode(network) for network in found] == [tuple(genome) for genome in genomes]
    SPACE.decode(genomes[0]).save(tmp_path / "first.json")
    path.write_text("network,latency_ms\nfirst.json,9\n")
    assert [value.ms for value in network_times(read_rows(path), SPACE).values()] == [9]
    path.write_text("network,latency_ms\ngone.json,9\n")
    with pytest.raises(FormatError, match=r"line 2: .*gone.json does not exist"):
        network_times(read_rows(path), SPACE)
    with pytest.raises(FormatError, match="names no block and no network"):
        network_times(readings(), SPACE)
    text = json.dumps(BLOCKS[0].to_dict())
    with pytest.raises(FormatError, match=r"x: .* names no block and no network"):
        network_times([Reading(text, "block", 1.0, False, "x")], SPACE)


def test_times_of_an_image_need_a_batch_that_somebody_says(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{block.digest},1,ms,image" for block in unique_blocks(SPACE)]
    path.write_text("\n".join(["digest,latency,unit,of", *rows]))
    message = "line 2: the time of an image, but nothing says how many images a batch has; give a"
    with pytest.raises(FormatError, match=message):
        import_table(path, SPACE)
    assert import_table(path, SPACE, batch=1).provenance["batch"] == 1
