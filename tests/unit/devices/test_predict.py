import numpy as np
import pytest

from moga.devices.base import Latency
from moga.devices.kernels import RULES, KernelArrays, Rates, fuse, kernel_ms
from moga.devices.predict import BlockRoofline
from moga.devices.profile import unique_blocks
from moga.errors import UsageError
from moga.network import Block
from moga.networks.operations import operations
from moga.spaces.moga import MoGASpace
from moga.testing.devices import block_ms

BLOCKS = unique_blocks(MoGASpace(224, 1.0, 1000))
FAR = Block(
    operation="conv", in_channels=512, out_channels=2048, height=96, width=96, kernel=7, groups=8
)


def roofline_ms(blocks, engine="pytorch", batch=1):
    """Return what a device of 4 x 10^9 numbers a second and 20 us a launch takes."""
    fused = [fuse(operations(block), RULES[engine]) for block in blocks]
    each = [(np.array([number]), kernels) for number, kernels in enumerate(fused)]
    kernels = KernelArrays.of(each, len(blocks))
    rates = Rates(dense=80, depthwise=6, grouped=9, values=4, wide=4, idle=0.5)
    return kernels.total(kernel_ms(kernels, batch, rates) + 0.02)


def timed(blocks, ms, batch=1):
    pairs = zip(blocks, np.asarray(ms).tolist(), strict=True)
    return {block: Latency(value, batch=batch) for block, value in pairs}


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("engine", ["pytorch", "tensorrt"])
def test_a_device_that_is_a_roofline_is_known_from_few_blocks(engine, batch):
    chosen = [BLOCKS[i] for i in np.random.default_rng(0).permutation(len(BLOCKS))]
    few, rest = chosen[:24], chosen[24:]
    model = BlockRoofline.fit(timed(few, roofline_ms(few, engine, batch), batch), RULES[engine])
    off = np.abs(np.log(model(rest) / roofline_ms(rest, engine, batch)))
    assert off.mean() < 0.02
    assert np.quantile(off, 0.95) < 0.08


def test_far_from_all_timed_blocks_the_roofline_remains():
    wide = np.array([1.5 if block.kernel == 5 else 1.0 for block in BLOCKS])
    model = BlockRoofline.fit(timed(BLOCKS, wide * roofline_ms(BLOCKS)))
    alone = np.exp(model.roofline.log_ms([FAR, *BLOCKS]))
    found = model([FAR, *BLOCKS])
    assert found[0] == pytest.approx(alone[0], rel=0.02)
    off = np.abs(np.log(alone[1:] / (wide * roofline_ms(BLOCKS))))
    left = np.abs(np.log(found[1:] / (wide * roofline_ms(BLOCKS))))
    assert left.mean() < off.mean() / 4


def test_it_predicts_blocks_that_were_left_out():
    chosen = np.random.default_rng(0).permutation(len(BLOCKS))
    values = {BLOCKS[i]: Latency(block_ms(BLOCKS[i])) for i in chosen[:60]}
    rest = [BLOCKS[i] for i in chosen[60:]]
    model = BlockRoofline.fit(values)
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
    model = BlockRoofline.fit(noisy)
    assert 0.15 < model.spread < 0.4
    # normal errors of that spread
    assert model.error == pytest.approx(np.sqrt(2 / np.pi) * model.spread, rel=0.25)
    said = model.provenance(3)
    assert (said["blocks_predicted"], said["prediction_error_percent"]) == (3, 100 * model.error)


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
    with pytest.raises(
        UsageError, match=r"11 blocks took a time, too few .*at least 12 .*more of them"
    ):
        BlockRoofline.fit(values | {BLOCKS[20]: Latency(0.0)})
