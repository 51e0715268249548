import math
from collections import Counter

import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices.profile import anchor_networks, unique_blocks
from moga.devices.timing import (
    Rounds,
    Sampling,
    after_effects,
    measure,
    steady,
    summarise,
    time_rounds,
    trimmed_mean,
)
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeEngine, block_ms

QUICK = Sampling(rounds=6, seconds=0, warmups=1)
SPACE = MoGASpace(resolution=32, width=0.35, num_classes=10)


@pytest.fixture
def space():
    return SPACE


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class Notes(Silent):
    def __init__(self):
        self.texts, self.phases, self.done = [], [], []

    def phase(self, name, total=None, unit=""):
        self.phases.append((name, total))

    def advance(self, done, **values):
        self.done.append(done)

    def note(self, text):
        self.texts.append(text)


def test_each_round_visits_everything_once_in_a_new_order(space, rng):
    engine, sampling = FakeEngine(), Sampling(rounds=5, seconds=0, warmups=2)
    blocks = unique_blocks(space)[:9]
    notes = Notes()
    found = time_rounds(engine, blocks, sampling, rng=rng, progress=notes, phase="time")
    visits = engine.visits
    rounds = [tuple(visits[start : start + 9]) for start in range(0, len(visits), 9)]
    assert len(rounds) == 2 + 5
    assert all(Counter(one) == Counter(blocks) for one in rounds)
    assert len(set(rounds[2:])) == 5
    np.testing.assert_array_equal(found.ms, [[block_ms(block) for block in blocks]] * 5)
    in_turn = [blocks[index] for index in found.order.argsort(axis=None) % 9]
    assert in_turn == visits[2 * 9 :]
    assert notes.phases == [("time: build and warm up", 9), ("time", 5)]
    assert notes.done == [*range(1, 10), *range(1, 6)]
    assert not engine.inside


def test_rounds_fill_the_seconds_up_to_the_most(space, rng):
    sampling = Sampling(rounds=2, seconds=1000, most=11)
    block = unique_blocks(space)[:1]
    found = time_rounds(FakeEngine(), block, sampling, rng=rng, progress=Silent(), phase="time")
    assert found.ms.shape == found.order.shape == (11, 1)


class Feeding(FakeEngine):
    """Hands names on, and takes a tenth of the time of a block that is given something."""

    def step(self, subject):
        run = self.prepare(subject)
        return lambda given: (run() / (10 if given else 1), str(subject))


def test_an_engine_that_can_hands_on_what_a_block_gave(rng):
    blocks = list(dict.fromkeys(SPACE.decode([0] * 14)))[:3]
    sampling = Sampling(rounds=4, seconds=0, warmups=1)
    settings = {"rng": rng, "progress": Silent(), "phase": "time", "successions": [(0, 1), (1, 2)]}
    engine, alone = Feeding(), FakeEngine()
    ms = [block_ms(block) for block in blocks]
    given = time_rounds(engine, blocks, sampling, **settings)
    np.testing.assert_allclose(given.ms, [[ms[0], ms[1] / 10, ms[2] / 10]] * 4)
    np.testing.assert_array_equal(given.order, np.arange(12).reshape(4, 3))
    np.testing.assert_array_equal(given.before, [[-1, 0, 1]] * 4)
    assert engine.visits == blocks * 5
    np.testing.assert_allclose(time_rounds(alone, blocks, sampling, **settings).ms, [ms] * 4)


def test_trimmed_mean_leaves_a_tenth_out_at_either_end():
    times = np.array([[-1e9, *[5.0] * 4, *[7.0] * 4, 1e9]]).T
    mean, error = trimmed_mean(times, 0.1)
    assert mean == [6.0]
    deviation = math.sqrt(10 / 9)  # winsorised: five times 5, five times 7
    assert error[0] == pytest.approx(deviation / (0.8 * math.sqrt(10)))
    assert trimmed_mean(times, 0)[0] != mean


def test_standard_error_of_the_trimmed_mean_is_right(rng):
    means, errors = trimmed_mean(rng.normal(10, 1, (40, 4000)), 0.1)
    assert errors.mean() == pytest.approx(means.std(), rel=0.05)


def in_order(ms):
    order = np.arange(ms.size).reshape(ms.shape)
    return Rounds(ms, order, np.full_like(order, -1))


def test_steady_takes_a_changing_speed_out(rng):
    true = rng.uniform(1, 5, 60)
    speed = np.where(np.arange(60) % 4 == 0, 1.0, 1.7)[:, None]
    calm, found = steady(in_order(true * speed))
    np.testing.assert_allclose(calm, np.broadcast_to(true * np.quantile(speed, 0.25), (60, 60)))
    assert found.max() / found.min() == pytest.approx(1.7)


def test_steady_takes_out_what_slowed_a_part_of_a_round(rng):
    true = rng.uniform(1, 5, 200)
    rounds = in_order(np.tile(true, (20, 1)) * rng.normal(1, 0.01, (20, 200)))
    rounds.ms[7, 50:150] *= 1.5
    calm, _ = steady(rounds)
    np.testing.assert_allclose(calm[7] / true, calm[6] / true, rtol=0.1)


def test_steady_goes_by_the_order_in_which_all_ran(rng):
    true = rng.uniform(1, 5, 100)
    order = np.array([rng.permutation(100) + 100 * index for index in range(30)])
    slow = np.where(order % 100 < 50, 1.0, 1.4)
    calm, _ = steady(Rounds(true * slow, order, np.full_like(order, -1)))
    off = calm / true / np.median(calm / true)
    assert np.abs(off - 1).mean() < 0.03  # at the steps alone


def test_steady_keeps_most_noise_of_few_columns(rng):
    ms = rng.normal(10, 1, (50, 2))
    calm, _ = steady(in_order(ms))
    assert np.corrcoef(calm.ravel(), ms.ravel())[0, 1] > 0.95
    assert calm.mean() == pytest.approx(10, rel=0.05)


def pairs(rng, effects, noise=0.02):
    """Return times of 12 subjects, each run after one of the 12 at random, with its effect."""
    own, before = rng.uniform(1, 2, 12), rng.integers(-1, 12, (200, 12))
    given = np.where(before >= 0, effects[before], 0)
    return own, (own + given) * rng.normal(1, noise, (200, 12)), before


def test_after_effects_are_found(rng):
    effects = rng.normal(0, 0.2, 12)
    own, ms, before = pairs(rng, effects)
    found = after_effects(ms, before)
    np.testing.assert_allclose(found, effects, atol=0.03)
    sampling, order = Sampling(rounds=2), np.arange(ms.size).reshape(ms.shape)
    latencies, _ = summarise(Rounds(ms, order, before), sampling, 1, Silent())
    total = [latency.ms for latency in latencies]
    assert np.corrcoef(total, own + effects)[0, 1] > 0.99


def test_there_are_no_after_effects_in_noise(rng):
    _, ms, before = pairs(rng, np.zeros(12))
    assert np.abs(after_effects(ms, before)).max() < 0.005
    assert not after_effects(ms, np.full_like(before, -1)).any()
    assert not after_effects(ms, np.where(before == 3, 3, -1)).any()


def test_a_tiny_block_keeps_half_of_its_time_whatever_its_effect(rng):
    _, ms, before = pairs(rng, np.array([-0.9, *[0.2] * 11]))
    ms[:, 0] = 0.01
    order = np.arange(ms.size).reshape(ms.shape)
    latencies, _ = summarise(Rounds(ms, order, before), Sampling(rounds=2), 1, Silent())
    assert 0.004 < latencies[0].ms < 0.006


def test_measure_gives_known_times_in_order(space, rng):
    engine = FakeEngine(overhead=0.5, batch=4)
    networks = anchor_networks(space, 3)
    latencies = measure(engine, networks, QUICK, rng, Silent())
    assert [latency.ms for latency in latencies] == pytest.approx(
        [engine.true_ms(network) for network in networks]
    )
    assert {(latency.count, latency.provenance, latency.batch) for latency in latencies} == {
        (6, "measured", 4)
    }
    assert measure(engine, [], QUICK, rng, Silent()) == []


def test_a_machine_that_slows_down_is_noticed(space, rng):
    networks, notes = anchor_networks(space, 2), Notes()
    steady_engine = FakeEngine()
    measure(steady_engine, networks, QUICK, rng, notes)
    assert notes.texts == []
    slowing = FakeEngine(speed=lambda run: 1.0 if run < 8 else 1.5)
    measure(slowing, networks, QUICK, rng, notes)
    assert "second half of the rounds took 50 % more time" in notes.texts[0]
