import dataclasses
import math

import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices import profile as profiling
from moga.devices.base import Latency
from moga.devices.profile import (
    ChunkTimer,
    _chunk_size,
    anchor_networks,
    block_uses,
    profile_space,
    sum_blocks,
    unique_blocks,
)
from moga.devices.store import ValueStore
from moga.devices.timing import Sampling
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network
from moga.networks.count import count_macs
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTable
from moga.spaces.entries import find_blocks
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201
from moga.testing.devices import FakeEngine, block_ms

QUICK = Sampling(rounds=6, seconds=0, warmups=1)


@pytest.fixture
def store(tmp_path):
    return ValueStore(tmp_path / "values.jsonl", {})


def profile(space, engine, store, rng, **settings):
    settings = {"sampling": QUICK, **settings}
    return profile_space(space, engine, device="fake", store=store, rng=rng, **settings)


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def test_unique_blocks_are_those_of_all_networks(space, rng):
    blocks = unique_blocks(space)
    assert len(blocks) == len(set(blocks)) == 126  # 14 x 12 + 6, less what layers share
    for genome in sample_uniform(space.sizes, 20, rng):
        assert set(space.decode(genome)) <= set(blocks)


def test_a_space_of_too_many_blocks_is_refused():
    with pytest.raises(UsageError, match="more than 5000 distinct blocks, too many to time"):
        unique_blocks(NASBench201())


def test_anchors_are_distinct_and_always_the_same(space):
    assert len(set(anchor_networks(space, 6))) == 6
    assert anchor_networks(space, 6) == anchor_networks(MoGASpace(32, 0.35, 10), 6)
    assert anchor_networks(space, 3) == anchor_networks(space, 6)[:3]


def test_the_table_is_the_sum_of_the_blocks(space, store, rng):
    engine = FakeEngine()
    table = profile(space, engine, store, rng)
    genomes = sample_uniform(space.sizes, 50, rng)
    true = [engine.true_ms(space.decode(genome)) for genome in genomes]
    np.testing.assert_allclose(table(genomes), true, rtol=1e-12)
    assert (table.metric, table.unit) == ("latency", "ms")
    assert table.constant == pytest.approx(0, abs=1e-9)
    assert table.provenance["method"] == "measured"
    assert table.provenance["settings"] == dict(engine.settings)
    assert table.provenance["blocks"] == 126
    assert table.provenance["rounds"] == 6
    path = store.path.with_name("table.npz")
    table.save(path)
    loaded = CostTable.load(path, space)
    assert (loaded.digest, loaded.provenance) == (table.digest, table.provenance)


def test_what_networks_take_besides_becomes_the_constant(space, store, rng):
    table = profile(space, FakeEngine(overhead=0.25), store, rng)
    assert table.constant == pytest.approx(0.25)
    assert table.provenance["constant_spread_ms"] == pytest.approx(0, abs=1e-9)


def test_spread_and_grid_follow_the_noise(space, store, rng):
    noise = np.random.default_rng(0)
    engine = FakeEngine(speed=lambda run: 1 + 0.1 * noise.standard_normal())
    table = profile(space, engine, store, rng)
    error = np.median(table.standard_error(sample_uniform(space.sizes, 500, rng)))
    assert error > 0
    assert f"{table.grid:e}"[0] in "125"
    assert 0.6 < table.grid / error < 1.6


def test_stored_values_are_reused_by_another_space(space, store, rng):
    notes = Notes()
    profile(space, FakeEngine(), store, rng)
    same = FakeEngine()
    again = profile(space, same, store, rng, progress=notes)
    assert same.prepared == []
    assert again.provenance["blocks_reused"] == 126
    assert again.provenance["drift"] is None
    assert notes.texts == ["126 of 126 blocks were timed before on this machine; reused."]
    more_classes, other = MoGASpace(32, 0.35, 20), FakeEngine()
    profile(more_classes, other, store, rng)
    timed = [subject for subject in other.prepared if isinstance(subject, Block)]
    assert [block.operation for block in timed if block not in set(unique_blocks(space))] == [
        "linear"
    ]
    assert len(timed) == 1 + 7  # that, and what tells how fast the machine is now
    assert sum(isinstance(subject, Network) for subject in other.prepared) == 6


def test_refresh_and_more_rounds_time_again(space, store, rng):
    profile(space, FakeEngine(), store, rng)
    refreshed, longer = FakeEngine(), FakeEngine()
    profile(space, refreshed, store, rng, refresh=True)
    profile(space, longer, store, rng, sampling=dataclasses.replace(QUICK, rounds=7))
    assert len(refreshed.prepared) == len(longer.prepared) == 126 + 6


def test_a_block_that_cannot_run_fails_the_profile(space, store, rng):
    engine = FakeEngine(broken=lambda subject: isinstance(subject, Block) and subject.kernel == 7)
    with pytest.raises(MeasurementFailed, match="the fake engine cannot run"):
        profile(space, engine, store, rng)
    assert not engine.inside
    assert not store.path.exists()


def test_sum_blocks_adds_errors_in_squares(space):
    values = {block: Latency(1.0, 0.1, 5) for block in unique_blocks(space)}
    arrays, spread = sum_blocks(*find_blocks(space.slots), values)
    assert [float(array.ravel()[0]) for array in arrays] == [2.0, *[1.0] * 14, 4.0]
    assert float(spread[0]) == pytest.approx(0.1 * math.sqrt(2))
    assert float(spread[-1]) == pytest.approx(0.2)


def test_networks_timed_among_the_blocks_see_the_same_machine(space, store, rng):
    genomes = sample_uniform(space.sizes, 5, rng)
    networks = [space.decode(genome) for genome in genomes]
    engine = FakeEngine(overhead=0.3, speed=lambda run: 1.0 if run < 700 else 1.6)
    table = profile(space, engine, store, rng, beside=networks)
    latencies = store.read(networks, QUICK.rounds)
    measured = [latencies[network].ms for network in networks]
    np.testing.assert_allclose(table(genomes), measured, rtol=0.01)
    assert table.provenance["sampling"]["seconds"] == 0
    assert table.provenance["anchors"] == 6


def test_many_blocks_are_stored_set_by_set_and_brought_to_one_speed(space, store, rng, monkeypatch):
    monkeypatch.setattr(profiling, "_AT_ONCE", 50)
    blocks = unique_blocks(space)
    a_round = 42 + 6  # of 126 blocks in three sets, and anchors

    def speed(run):
        if run >= 2 * 7 * a_round:
            raise KeyboardInterrupt
        return 1.0 if run < 7 * a_round else 1.5

    with pytest.raises(KeyboardInterrupt):
        profile(space, FakeEngine(speed=speed), store, rng)
    assert len(store.read(blocks, QUICK.rounds)) == 2 * 42
    slow, notes = FakeEngine(speed=lambda _: 2.0), Notes()
    table = profile(space, slow, store, rng, progress=notes)
    assert set(slow.prepared) == set(blocks[2::3]) | set(anchor_networks(space, 6))
    assert notes.texts[0].startswith("84 of 126 blocks were timed before")
    genomes = sample_uniform(space.sizes, 50, rng)
    true = [FakeEngine().true_ms(space.decode(genome)) for genome in genomes]
    np.testing.assert_allclose(table(genomes), true, rtol=1e-9)
    assert table.provenance["drift"] == pytest.approx(1.0)


def test_networks_beside_are_left_out_where_nothing_is_timed_at_once(space, store, rng):
    networks = anchor_networks(space, 9)[6:]
    profile(space, FakeEngine(), store, rng)
    profile(space, FakeEngine(), store, rng, beside=networks)
    assert store.read(networks, 1) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", 1),
        ("seconds", -1.0),
        ("seconds", math.inf),
        ("most", 29),
        ("warmups", 0),
        ("trim", 0.5),
        ("anchors", 1),
        ("rounds", 2.5),
        ("most", True),
        ("seconds", True),
        ("seconds", math.nan),
        ("trim", False),
    ],
)
def test_sampling_names_the_number_out_of_range(field, value):
    with pytest.raises(UsageError, match=f"sampling: {field} is {value}; allowed"):
        Sampling(**{field: value})


def test_uses_are_the_average_number_in_a_random_network(space):
    uses = block_uses(space)
    assert set(uses) == set(unique_blocks(space))
    networks = len(space.decode([0] * 14).blocks)
    assert sum(uses.values()) == pytest.approx(networks)
    assert uses[space.decode([0] * 14).blocks[0]] == 1.0


def test_a_budget_times_what_is_used_most_and_predicts_and_marks_the_rest(space, store, rng):
    engine, notes = FakeEngine(), Notes()
    table = profile(space, engine, store, rng, missing="predict", progress=notes)
    timed = {subject for subject in engine.prepared if isinstance(subject, Block)}
    assert len(timed) == 24  # one chunk, for no seconds are given
    uses = block_uses(space)
    often = sorted(uses, key=lambda block: -uses[block])
    assert set(often[:9]) <= timed
    works = np.array([count_macs(block) for block in uses])
    ranks = [np.mean(works < count_macs(block)) for block in timed]
    assert np.histogram(ranks, bins=4, range=(0, 1))[0].min() >= 2  # small and large ones
    assert table.provenance["blocks_predicted"] == 126 - 24
    assert table.provenance["method"] == "measured"
    assert table.provenance["predicted_by"] == "a roofline fitted to the other blocks"
    assert 0 < table.provenance["prediction_error_percent"] < 100
    genomes = sample_uniform(space.sizes, 50, rng)
    true = np.array([engine.true_ms(space.decode(genome)) for genome in genomes])
    assert np.abs(table(genomes) / true - 1).mean() < 0.25
    expected = [
        sum(
            any(block not in timed for block, _ in slot.entry([int(genome[g]) for g in slot.genes]))
            for slot in space.slots
        )
        for genome in genomes
    ]
    assert table.predicted_slots(genomes).tolist() == expected
    path = store.path.with_name("table.npz")
    table.save(path)
    loaded = CostTable.load(path, space)
    np.testing.assert_array_equal(loaded.predicted_slots(genomes), expected)
    assert "24 of 126 blocks are timed." in notes.texts


def test_what_every_call_costs_is_taken_off_predicted_tables_too(space, store, rng):
    call = 0.02
    engine = FakeEngine(lambda block: call + 1e-7 * count_macs(block), overhead=-19 * call)
    table = profile(space, engine, store, rng, missing="predict")
    assert table.provenance["blocks_predicted"] == 126 - 24
    assert table.constant == pytest.approx(-19 * call, rel=0.1)
    assert table.provenance["constant_ms"] == table.constant
    genomes = sample_uniform(space.sizes, 50, rng)
    true = np.array([engine.true_ms(space.decode(genome)) for genome in genomes])
    assert np.abs(table(genomes) / true - 1).mean() < 0.1
    assert np.mean((table(genomes) - table.constant) / true - 1) > 0.5


@pytest.mark.parametrize("overhead", [0.0, -0.02, "all but 10 us of the network timed"])
def test_predicted_tables_have_no_constant_by_chance_or_that_leaves_no_time(
    space, store, rng, overhead
):
    if isinstance(overhead, str):  # more than the space's smallest network would take
        smallest = min(anchor_networks(space, 6), key=lambda one: sum(map(count_macs, one)))
        overhead = 0.01 - FakeEngine().true_ms(smallest)
    table = profile(space, FakeEngine(overhead=overhead), store, rng, missing="predict")
    assert (table.constant, "constant_ms" in table.provenance) == (0.0, False)


def test_a_budget_that_suffices_predicts_nothing(space, store, rng):
    sampling = dataclasses.replace(QUICK, seconds=60)
    table = profile(
        space, FakeEngine(overhead=0.5), store, rng, missing="predict", sampling=sampling
    )
    assert table.predicted == ()
    assert "blocks_predicted" not in table.provenance
    assert table.constant == pytest.approx(0.5)


def test_a_kill_loses_one_chunk_at_most(space, store, rng):
    blocks = list(block_uses(space))
    broken = FakeEngine(broken=lambda subject: subject == blocks[60])
    sampling = dataclasses.replace(QUICK, seconds=60)
    with pytest.raises(MeasurementFailed):
        profile(space, broken, store, rng, missing="predict", sampling=sampling)
    kept = store.read(blocks, 6)
    assert len(kept) >= 24
    again = FakeEngine()
    profile(space, again, store, rng, missing="predict", sampling=sampling)
    timed_again = {subject for subject in again.prepared if isinstance(subject, Block)}
    probes = 7
    assert len(timed_again & set(kept)) <= probes


def test_a_budget_is_not_exceeded_by_blocks_larger_than_those_before(space, store, rng):
    def late(block):
        return 1e-3 * count_macs(block) ** 2

    left = 2.0
    values = {
        b: Latency(late(b), 0.0, 6) for b in sorted(unique_blocks(space), key=count_macs)[:60]
    }
    rest = sorted(unique_blocks(space), key=count_macs)[60:]
    expected = np.cumsum([late(block) * 10 / 1e3 for block in rest])
    size = _chunk_size(rest, values, left, 10)
    assert size <= max(1, np.searchsorted(expected, 4 * left))
    assert _chunk_size(rest, values, math.inf, 10) == 64


def test_chunks_are_brought_to_the_speed_of_the_first(space, store, rng):
    slowing = FakeEngine(speed=lambda run: 1.0 if run < 32 * 7 else 1.5)
    sampling = dataclasses.replace(QUICK, seconds=60)
    table = profile(space, slowing, store, rng, missing="predict", sampling=sampling)
    values = store.read(unique_blocks(space), 6)
    for block, value in values.items():
        assert value.ms == pytest.approx(block_ms(block))
    assert table.provenance["drift"] == pytest.approx(0.5)


def test_a_profile_that_goes_on_is_brought_to_the_speed_of_what_was_timed(space, store, rng):
    def killed(run):
        if run >= 32 * 7 + 40 * 7:
            raise KeyboardInterrupt
        return 1.0

    options = {"missing": "predict", "sampling": dataclasses.replace(QUICK, seconds=60)}
    with pytest.raises(KeyboardInterrupt):
        profile(space, FakeEngine(speed=killed), store, rng, **options)
    before = len(store.read(unique_blocks(space), 6))
    assert 0 < before < 126
    notes = Notes()
    table = profile(space, FakeEngine(speed=lambda _: 2.0), store, rng, progress=notes, **options)
    assert [text[:34] for text in notes.texts if "stored" in text] == [
        "The machine takes 100 % more time "
    ]
    values = store.read(unique_blocks(space), 6)
    assert len(values) == 126
    for block, value in values.items():
        assert value.ms == pytest.approx(block_ms(block))
    assert table.provenance["drift"] == pytest.approx(1.0)


@pytest.mark.parametrize("at_once", [512, 40])
def test_blocks_timed_at_once_after_a_budget_are_brought_to_its_speed(
    space, store, rng, monkeypatch, at_once
):
    monkeypatch.setattr(profiling, "_AT_ONCE", at_once)
    profile(space, FakeEngine(overhead=0.3), store, rng, missing="predict")
    before = store.read(unique_blocks(space), 6)
    assert 0 < len(before) < 126
    slower = FakeEngine(overhead=0.3, speed=lambda _: 1.4)
    networks = anchor_networks(space, 9)[6:]
    notes = Notes()
    table = profile(space, slower, store, rng, beside=networks, progress=notes)
    (note,) = [text for text in notes.texts if "stored blocks" in text]
    assert note.startswith(
        "The machine takes 40 % more time than when the stored blocks were timed"
    )
    assert "(refresh=true, of the device)" in note
    assert_stored_at_speed_1(space, store, [*anchor_networks(space, 6), *networks], 0.3)
    genomes = sample_uniform(space.sizes, 50, rng)
    true = [slower.true_ms(space.decode(genome)) for genome in genomes]
    np.testing.assert_allclose(table(genomes), true, rtol=1e-9)
    assert table.constant == pytest.approx(0.3)
    assert table.provenance["drift"] == pytest.approx(0.4)
    again = {s for s in slower.prepared if isinstance(s, Block)} & set(before)
    assert 0 < len(again) <= 7


@pytest.mark.parametrize("missing", ["predict", "measure"])
@pytest.mark.parametrize("known", [0, 2])
def test_anchors_timed_after_all_blocks_are_brought_to_their_speed(
    space, store, rng, missing, known
):
    anchors, first = anchor_networks(space, 6), FakeEngine(overhead=0.3)
    subjects = [*unique_blocks(space), *anchors[:known]]
    store.write({one: Latency(first.true_ms(one), 0.0, 6) for one in subjects})
    slower = FakeEngine(overhead=0.3, speed=lambda _: 1.4)
    table = profile(space, slower, store, rng, missing=missing)
    assert_stored_at_speed_1(space, store, anchors, 0.3)
    assert table.constant == pytest.approx(0.3)
    assert table.provenance["drift"] == pytest.approx(0.4)
    assert len([s for s in slower.prepared if isinstance(s, Block)]) == (0 if known else 7)


def assert_stored_at_speed_1(space, store, networks, overhead):
    engine = FakeEngine(overhead=overhead)
    subjects = [*unique_blocks(space), *networks]
    values = store.read(subjects, 6)
    assert len(values) == len(subjects)
    for subject, value in values.items():
        assert value.ms == pytest.approx(engine.true_ms(subject))


def test_one_chunk_alone_has_no_drift(space, store, rng):
    sampling = dataclasses.replace(QUICK, seconds=0)
    table = profile(space, FakeEngine(), store, rng, missing="predict", sampling=sampling)
    assert table.provenance["blocks_predicted"] > 0
    assert table.provenance["drift"] is None


def test_a_chunk_s_speed_is_that_of_its_time_and_not_of_its_smallest_blocks(space, store, rng):
    """Four of the seven probes, a twentieth of their time, are slower from the second chunk on."""

    class Evicting(FakeEngine):
        def prepare(self, subject):
            run = super().prepare(subject)
            small = self.true_ms(subject) < 0.1
            return lambda: run() * (1.5 if small and len(self.visits) > 31 * 7 else 1.0)

    engine = Evicting(lambda block: 1e3 * block_ms(block) ** 3)
    sampling = dataclasses.replace(QUICK, seconds=60)
    table = profile(space, engine, store, rng, missing="predict", sampling=sampling)
    large = [block for block in unique_blocks(space) if engine.true_ms(block) > 0.1]
    values = store.read(large, 6)
    assert len(values) == len(large) > 50
    for block, value in values.items():
        assert value.ms == pytest.approx(engine.true_ms(block), rel=0.05)
    assert 0 < table.provenance["drift"] < 0.05


def test_blocks_without_a_time_are_refused_on_demand(space, store, rng):
    message = (
        r"126 of the 126 blocks of moga.* have no time on this device, the first is "
        r"block-\w+ \(.*\); have them timed"
    )
    with pytest.raises(UsageError, match=message):
        profile(space, FakeEngine(), store, rng, missing="refuse")
    profile(space, FakeEngine(), store, rng)
    again = FakeEngine()
    profile(space, again, store, rng, missing="refuse")
    assert again.prepared == []
    with pytest.raises(UsageError, match="missing is 'guess'; give one of measure, predict"):
        profile(space, again, store, rng, missing="guess")


def test_workers_of_another_kind_are_refused(space):
    timer = ChunkTimer(FakeEngine(), {"engine": "fake", "cpu": "other"}, QUICK, [], ())
    with pytest.raises(MeasurementFailed, match="a worker has cpu None, the table is of cpu"):
        timer(unique_blocks(space)[:2])


def test_the_largest_chunk_fits_into_memory():
    large = Block(operation="linear", in_channels=2**14, out_channels=2**13, height=1, width=1)
    assert _chunk_size([large] * 24, {}, 60.0, 40) == 2
    assert _chunk_size([large], {large: Latency(1e6, 0, 30)}, 1.0, 40) == 1
