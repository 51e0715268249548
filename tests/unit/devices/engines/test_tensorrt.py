import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from moga.contracts import Silent
from moga.devices.engines.tensorrt import (
    TensorRTEngine,
    TrtexecEngine,
    compute_ms,
    trtexec_command,
)
from moga.devices.timing import Sampling, TimesRounds
from moga.errors import FormatError, MeasurementFailed, MissingExtra, UsageError
from moga.spaces.moga import MoGASpace

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

BLOCK = MoGASpace(16, 0.1, 10).decode([0] * 14).blocks[2]

FAKE = """#!{python}
import json, sys
options = dict(a[2:].partition("=")[::2] for a in sys.argv[1:])
if "fail" in {mode!r}:
    print("[E] Error[4]: no implementation"); sys.exit(1)
import onnx
onnx.checker.check_model(onnx.load(options["onnx"]))
runs = 1 if "few" in {mode!r} else int(options["iterations"])
times = [dict(startEnqMs=i, endEnqMs=i + .01, startH2dMs=0, endH2dMs=0, startComputeMs=i,
              endComputeMs=i + .5, startD2hMs=0, endD2hMs=0, h2dMs=0, computeMs=.5 + i / 1000,
              d2hMs=0, latencyMs=.5) for i in range(runs)]
json.dump(times, open(options["exportTimes"], "w"))
"""


@pytest.fixture
def trtexec(tmp_path, monkeypatch):
    def install(mode=""):
        path = tmp_path / "trtexec"
        path.write_text(FAKE.format(python=sys.executable, mode=mode))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}")
        monkeypatch.setenv("MOGA_CACHE", str(tmp_path))

    return install


def test_the_program_times_a_real_file_as_often_as_asked(trtexec):
    trtexec()
    engine = TrtexecEngine(precision="int8")
    assert isinstance(engine, TimesRounds)
    sampling = Sampling(rounds=4, seconds=0, warmups=2)
    rng = np.random.default_rng(0)
    times = engine.time_rounds([BLOCK], sampling, rng, Silent(), "time")
    np.testing.assert_allclose(times, [[0.502], [0.503], [0.504], [0.505]])
    assert engine.settings["verified"].endswith("not verified on hardware")
    assert engine.settings["gpu"] == "unknown"


def test_a_program_that_fails_is_quoted(trtexec, monkeypatch):
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    monkeypatch.setattr(
        "moga.devices.engines.tensorrt.write_onnx",
        lambda subject, path, batch, precision: onnx.save(model, path),
    )
    trtexec("fail")
    with pytest.raises(
        MeasurementFailed, match=r"trtexec ended with 1 on Block.*no implementation"
    ):
        TrtexecEngine().prepare(BLOCK)()
    trtexec("few")
    with pytest.raises(MeasurementFailed, match=r"trtexec timed Block.* 1 times, not 10"):
        TrtexecEngine().prepare(BLOCK)()


def test_the_command_is_strongly_typed_and_times_the_gpu_alone():
    command = trtexec_command(
        "trtexec", Path("a.onnx"), Path("t.json"), runs=1000, timing_cache=Path("c.timing")
    )
    assert command[0] == "trtexec"
    assert {
        *("--onnx=a.onnx", "--stronglyTyped", "--memPoolSize=workspace:10240M"),
        *("--iterations=1000", "--noDataTransfers", "--exportTimes=t.json"),
        "--timingCacheFile=c.timing",
    } <= set(command)
    assert not {"--fp16", "--int8", "--best"} & set(command)  # TensorRT 11 knows them no more


@pytest.mark.parametrize(
    "content", [{"computeMs": 1}, [{"latencyMs": 1}], [{"computeMs": -1.0}], [{"computeMs": "x"}]]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "times.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"times\.json"):
        compute_ms(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch is 0; give an integer"),
        ({"precision": "bf16"}, "precision is 'bf16'; give one of fp32, fp16, int8"),
        ({"workspace_gb": 0}, "workspace_gb is 0; give a number above 0"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    for engine in (TensorRTEngine, TrtexecEngine):
        with pytest.raises(UsageError, match=message):
            engine(**arguments)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"trtexec is not on the PATH; it comes with NVIDIA's"):
        TrtexecEngine()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorrt" else 1)
    with pytest.raises(MissingExtra, match=r"pip install 'moga\[tensorrt\]'"):
        TensorRTEngine()


@pytest.mark.tensorrt
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_block_runs_on_a_gpu(precision, tmp_path, monkeypatch):
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
    assert TensorRTEngine(precision=precision).prepare(BLOCK)() > 0
