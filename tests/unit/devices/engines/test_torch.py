import gc
import json

import pytest
import torch

from moga.devices.engines.torch import TorchEngine
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block
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
    with engine.session(), pytest.raises(MeasurementFailed, match=r"cannot run Block.*linear"):
        engine.prepare(huge)


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
