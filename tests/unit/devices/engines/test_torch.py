import gc
import json

import pytest
import torch

from moga.devices.engines.torch import TorchEngine, _CopiedWeights, _off_the_heap
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201

SPACES = [MoGASpace(16, 0.1, 10), NASBench201()]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_every_kind_of_block_and_whole_networks_run(space):
    network = space.decode(space.reference)
    engine = TorchEngine(batch=2)
    with engine.session():
        for subject in (*dict.fromkeys(network), network):
            assert engine.prepare(subject)() > 0


def test_a_session_puts_everything_back():
    before = torch.get_num_threads(), gc.isenabled()
    engine = TorchEngine(threads=1)
    with engine.session():
        assert torch.get_num_threads() == 1
        assert torch.is_inference_mode_enabled()
        assert not gc.isenabled()
    assert (torch.get_num_threads(), gc.isenabled()) == before
    assert not torch.is_inference_mode_enabled()


def test_preparing_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with TorchEngine().session():
        TorchEngine().prepare(SPACES[0].decode([0] * 14))
    assert torch.equal(torch.rand(2), expected)


def test_settings_say_what_decides_a_time(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    settings = TorchEngine(batch=3).settings
    assert settings["torch"] == torch.__version__
    assert settings["allocator"]["MALLOC_TRIM_THRESHOLD_"] == "1000000"
    assert (settings["batch"], settings["threads"], settings["cores"] >= 1) == (3, 1, True)
    assert settings["cpu"]
    assert settings["clock"] == "thread CPU time"
    assert json.loads(json.dumps(settings)) == settings


def test_a_block_that_torch_cannot_run_is_named():
    engine = TorchEngine()
    huge = Block(operation="linear", in_channels=2**31, out_channels=2**31, height=1, width=1)
    with engine.session(), pytest.raises(MeasurementFailed, match=r"cannot run block-.*linear"):
        engine.prepare(huge)
    network = Network((huge,))
    with engine.session(), pytest.raises(MeasurementFailed) as failed:
        engine.prepare(network)
    assert str(failed.value).startswith(f"torch cannot run network-{network.digest} (1 blocks,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch is 0; give an integer of 1 or more"),
        ({"threads": True}, "threads is True; give an integer"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        TorchEngine(**arguments)


def test_blocks_that_feed_each_other_are_the_network():
    network = SPACES[0].decode([0] * 14)
    engine = TorchEngine()
    with engine.session():
        given = None
        for step in [engine.step(block) for block in network]:
            ms, given = step(given)
            assert ms > 0
        assert given.shape == (1, 10)
        ms, whole = engine.step(network)(None)
    assert whole.shape == (1, 10)
    assert ms > 0


def test_weights_are_copied_at_the_scale_that_torch_gives_them():
    torch.manual_seed(0)
    drawn = torch.nn.Conv2d(64, 640, 3)  # more weights than random numbers that are copied
    with _CopiedWeights():
        copied = torch.nn.Conv2d(64, 640, 3)
    assert copied.weight.requires_grad
    for one in (drawn.weight.detach(), copied.weight.detach()):
        assert one.abs().max() == pytest.approx(1 / 24, rel=1e-3)
        assert one.std() == pytest.approx(1 / 24 / 3**0.5, rel=1e-2)
    assert len(copied.weight.unique()) > 100_000
    assert (copied.weight[0] != copied.weight[1]).float().mean() > 0.99


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_outside_the_heap_are_the_same_weights(channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)).eval()
    module = module.to(memory_format=layout)
    image = torch.randn(2, 3, 8, 8).to(memory_format=layout)
    expected, before = module(image), [p.data_ptr() for p in module.parameters()]
    strides = [p.stride() for p in module.parameters()]
    moved = _off_the_heap(module, image)
    after = [tensor.data_ptr() for tensor in [*module.parameters(), *module.buffers(), moved]]
    assert not set(before) & set(after)
    assert max(after) - min(after) < 1 << 16
    assert all(address % 64 == 0 for address in after)
    assert [p.stride() for p in module.parameters()] == strides
    assert torch.equal(module(moved), expected)
    assert [p.requires_grad for p in module.parameters()] == [True] * 4


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_runs_with_channels_last(precision):
    network = SPACES[0].decode([0] * 14)
    engine = TorchEngine(batch=2, precision=precision, channels_last=True)
    with engine.session():
        assert engine.prepare(network)() > 0
    assert engine.settings["precision"] == precision
    assert engine.settings["memory format"] == "channels last"


@pytest.mark.slow
def test_compiled_blocks_run():
    engine = TorchEngine(mode="compile")
    with engine.session():
        assert engine.prepare(SPACES[0].decode([0] * 14).blocks[1])() > 0
    assert engine.settings["engine"] == "torch compile"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "graph"}, "mode is 'graph'; give one of eager, compile"),
        ({"precision": "int8"}, "precision is 'int8'; give one of fp32, fp16, bf16"),
        ({"device": "tpu"}, "device is 'tpu'; give one of cpu, cuda"),
    ],
)
def test_other_words_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        TorchEngine(**arguments)


def test_without_a_gpu_cuda_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="torch finds no CUDA here; the device cuda needs an NVID"):
        TorchEngine(device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["eager", "graph", "compile"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_blocks_and_networks_run_on_a_gpu(mode, precision):
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")
    network = SPACES[0].decode([0] * 14)
    engine = TorchEngine(device="cuda", mode=mode, precision=precision, channels_last=True)
    assert engine.settings["verified"] == "not run on hardware in this release"
    with engine.session():
        for subject in (network.blocks[1], network):
            assert 0 < engine.prepare(subject)() < 1000
