import json
import re
import stat
import sys
import types
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
if "--help" in sys.argv:
    print({banner!r}); sys.exit(0)
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
    def install(mode="", version="v100300"):
        path = tmp_path / "trtexec"
        banner = f"&&&& RUNNING TensorRT.trtexec [TensorRT {version}] # trtexec --help"
        path.write_text(FAKE.format(python=sys.executable, mode=mode, banner=banner))
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
    found = engine.time_rounds([BLOCK], sampling, rng, Silent(), "time")
    np.testing.assert_array_equal(found.order, [[0], [1], [2], [3]])
    np.testing.assert_allclose(found.ms, [[0.502], [0.503], [0.504], [0.505]])
    assert engine.settings["verified"].endswith("not verified on hardware")
    assert engine.settings["gpu"] == "unknown"


@pytest.mark.parametrize(
    ("version", "said"),
    [("v100300", r"10\.3\.0"), ("v110200", r"11\.2\.0"), ("", r"unknown \(\d+ bytes of \d+\)")],
)
def test_the_settings_tell_versions_of_tensorrt_apart(trtexec, version, said):
    trtexec(version=version)
    settings = TrtexecEngine().settings
    assert re.fullmatch(said, settings["tensorrt"])
    assert re.fullmatch(
        r"torch \S+, onnx \S+, onnxscript \S+, onnxruntime \S+", settings["exporter"]
    )


def test_a_program_that_fails_is_quoted(trtexec, monkeypatch):
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    monkeypatch.setattr(
        "moga.devices.engines.tensorrt.write_onnx",
        lambda subject, path, batch, precision: onnx.save(model, path),
    )
    trtexec("fail")
    with pytest.raises(
        MeasurementFailed, match=r"trtexec ended with 1 on block-.*no implementation"
    ):
        TrtexecEngine().prepare(BLOCK)()
    trtexec("few")
    with pytest.raises(MeasurementFailed, match=r"trtexec timed block-.* 1 times, not 10"):
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


def test_bindings_without_libraries_are_no_traceback(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be loaded: libnvinfer.*pip install .*tensorrt"):
        TensorRTEngine()


class FakeLibrary(types.ModuleType):
    """The part of TensorRT's documented Python API that builds an engine; notes what it is told."""

    def __init__(self, version):
        super().__init__("tensorrt")
        self.__version__, self.told, self.fails = version, {}, set()
        typed = {"STRONGLY_TYPED": 1} if version.startswith("10") else {}
        self.NetworkDefinitionCreationFlag = types.SimpleNamespace(**typed)
        self.Builder, self.OnnxParser = self._builder, self._parser
        self.MemoryPoolType = types.SimpleNamespace(WORKSPACE="workspace")

    def note(self, name, *values):
        self.told[name] = values

    def _builder(self, logger):
        profile = types.SimpleNamespace(set_shape=lambda *a: self.note("shape", *a))
        config = types.SimpleNamespace(
            set_memory_pool_limit=lambda *a: self.note("memory", *a),
            add_optimization_profile=lambda p: self.note("profile", p is profile),
            create_timing_cache=lambda known: known,
            set_timing_cache=lambda cache, ignore_mismatch: self.note("cache", cache),
            get_timing_cache=lambda: types.SimpleNamespace(serialize=lambda: b"timings"),
        )
        return types.SimpleNamespace(
            create_network=lambda flags: self.note("flags", flags),
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=lambda *a: None if "build" in self.fails else b"plan",
        )

    def _parser(self, network, logger):
        def parse(content):
            model = onnx.load_model_from_string(content)
            onnx.checker.check_model(model)
            self.note("input", model.graph.input[0])
            return "parse" not in self.fails

        return types.SimpleNamespace(parse=parse, num_errors=1, get_error=lambda i: "no such layer")


@pytest.fixture
def fake_library(monkeypatch, tmp_path):
    def install(version, **arguments):
        library = FakeLibrary(version)
        monkeypatch.setitem(sys.modules, "tensorrt", library)
        monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
        engine = object.__new__(TensorRTEngine)  # its checks need a GPU
        given = {"batch": 4, "precision": "fp16", "workspace_gb": 10.0, **arguments}
        settings = {"gpu": "Some GPU", "tensorrt": version}
        vars(engine).update(given, _logger=None, settings=settings)
        monkeypatch.setattr(engine, "_load", lambda plan, subject: lambda: plan)
        return library, engine

    return install


@pytest.mark.parametrize(("version", "flags"), [("10.13.0", 1 << 1), ("11.0.0", 0)])
def test_engines_are_built_as_documented(fake_library, tmp_path, version, flags):
    library, engine = fake_library(version)
    assert engine.prepare(BLOCK)() == b"plan"
    shape = (4, BLOCK.in_channels, BLOCK.height, BLOCK.width)
    assert library.told["flags"] == (flags,)
    assert library.told["memory"] == ("workspace", 10 << 30)
    assert library.told["shape"] == ("images", shape, shape, shape)
    assert library.told["profile"] == (True,)
    tensor = library.told["input"][0].type.tensor_type
    assert tensor.elem_type == onnx.TensorProto.FLOAT16
    assert tuple(size.dim_value for size in tensor.shape.dim) == shape
    assert library.told["cache"] == (b"",)
    engine.prepare(BLOCK)
    assert library.told["cache"] == (b"timings",)  # of the build before, from the file
    (file,) = (tmp_path / "tensorrt").iterdir()
    assert file.name == f"Some_GPU-{version}.timing"


@pytest.mark.parametrize(
    ("failing", "message"),
    [("parse", r"TensorRT cannot read block-.*no such layer"), ("build", "TensorRT cannot build")],
)
def test_what_tensorrt_refuses_is_a_failed_measurement(fake_library, failing, message):
    library, engine = fake_library("10.13.0", precision="fp32")
    library.fails.add(failing)
    with pytest.raises(MeasurementFailed, match=message):
        engine.prepare(BLOCK)


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
