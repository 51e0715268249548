import numpy as np
import pytest

from moga.devices.base import Latency
from moga.devices.predict import BlockRoofline
from moga.devices.profile import unique_blocks
from moga.errors import UsageError
from moga.spaces.moga import MoGASpace
from moga.testing.devices import block_ms

BLOCKS = unique_blocks(MoGASpace(224, 1.0, 1000))


def test_it_predicts_blocks_that_were_left_out():
    chosen = np.random.default_rng(0).permutation(len(BLOCKS))
    timed = {BLOCKS[i]: Latency(block_ms(BLOCKS[i])) for i in chosen[:60]}
    rest = [BLOCKS[i] for i in chosen[60:]]
    model = BlockRoofline.fit(timed)
    ratio = model(rest) / [block_ms(block) for block in rest]
    assert np.abs(np.log(ratio)).mean() < 0.1
    assert model.blocks == 60
    assert 0 < model.error < 0.3
    assert model([]).shape == (0,)


def test_the_left_out_error_is_that_of_leaving_out():
    values = {block: Latency(block_ms(block)) for block in BLOCKS[:40]}
    noise = np.random.default_rng(1).normal(0, 0.2, 40)
    noisy = {
        block: Latency(value.ms * float(np.exp(n)))
        for (block, value), n in zip(values.items(), noise, strict=True)
    }
    assert 0.15 < BlockRoofline.fit(noisy).error < 0.4


def test_a_wrong_time_stands_out_from_the_others():
    values = {block: Latency(block_ms(block)) for block in BLOCKS[:60]}
    values[BLOCKS[17]] = Latency(1000 * block_ms(BLOCKS[17]))
    left_out = BlockRoofline.fit(values).left_out
    assert max(left_out, key=lambda block: abs(left_out[block])) == BLOCKS[17]
    assert left_out[BLOCKS[17]] > 3


def test_what_was_left_out_is_what_the_others_predict():
    values = {block: Latency(block_ms(block)) for block in BLOCKS[::2]}
    model = BlockRoofline.fit(values)
    block = BLOCKS[10]
    others = BlockRoofline.fit({b: value for b, value in values.items() if b != block})
    expected = np.log(block_ms(block) / others([block])[0])
    assert model.left_out[block] == pytest.approx(expected, abs=0.05)


def test_too_few_blocks_are_refused():
    values = {block: Latency(1.0) for block in BLOCKS[:11]}
    with pytest.raises(UsageError, match=r"11 blocks are timed, too few .*at least 12"):
        BlockRoofline.fit(values | {BLOCKS[20]: Latency(0.0)})
