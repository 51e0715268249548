import gc
import json

import pytest

from moga.devices.engines.onnxruntime import OnnxRuntimeEngine, on_nvidia
from moga.errors import MeasurementFailed, MissingExtra, UsageError
from moga.network import Block
from moga.spaces.moga import MoGASpace

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

NETWORK = MoGASpace(16, 0.1, 10).decode([0] * 14)


def test_blocks_and_networks_run_at_every_precision():
    for precision, subject in (("fp32", NETWORK), ("fp16", NETWORK.blocks[2])):
        engine = OnnxRuntimeEngine(batch=2, precision=precision)
        with engine.session():
            assert not gc.isenabled()
            run = engine.prepare(subject)
            assert run() > 0
        assert gc.isenabled()


def test_settings_say_what_decides_a_time():
    settings = OnnxRuntimeEngine(batch=3, precision="fp16").settings
    assert settings["provider"] == "CPUExecutionProvider"
    assert (settings["batch"], settings["precision"], settings["threads"]) == (3, "fp16", 1)
    assert "gpu" not in settings
    assert json.loads(json.dumps(settings)) == settings


def test_with_a_provider_of_nvidia_s_the_gpu_decides_a_time_as_well(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Some GPU, 600.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    settings = OnnxRuntimeEngine("cuda").settings
    assert (settings["gpu"], settings["driver"]) == ("Some GPU", "600.1")
    names = ("cuda", "TensorrtExecutionProvider", "cpu", "CoreMLExecutionProvider")
    assert [on_nvidia(name) for name in names] == [True, True, False, False]


def test_a_block_that_it_cannot_run_is_named():
    huge = Block(operation="linear", in_channels=2**31, out_channels=2**31, height=1, width=1)
    engine = OnnxRuntimeEngine()
    with pytest.raises(MeasurementFailed, match=r"ONNX Runtime cannot run block-.*linear"):
        engine.prepare(huge)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch is 0; give an integer of 1 or more"),
        ({"threads": True}, "threads is True; give an integer"),
        ({"precision": "fp8"}, "precision is 'fp8'; give one of fp32, fp16, int8"),
        ({"provider": "qnn"}, "has no QNNExecutionProvider, only .*CPUExecutionProvider.*install"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        OnnxRuntimeEngine(**arguments)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnx is not installed.*pip install 'moga\[onnx\]'"):
        OnnxRuntimeEngine()
