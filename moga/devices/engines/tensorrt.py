"""TensorRT 10 and 11, by its Python API or by the program ``trtexec``. The only door to tensorrt.

Written against NVIDIA's documentation, and **not verified on hardware**: what was tested are the
ONNX files that it consumes, and the reading of what ``trtexec`` writes.

Networks are strongly typed: their precision is that of the ONNX file (FP32, FP16, or INT8 by Q/DQ
nodes, see `moga.devices.engines.onnx`). TensorRT 11 knows nothing else; under 10 a flag says so.
The batch is given by the file and by an optimisation profile of exactly that shape. A timing cache
in moga's cache folder keeps what the builder found out about kernels: further engines on the same
GPU are built faster, of the same kernels.
"""

import contextlib
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from moga.contracts import Progress
from moga.devices.base import check_batch
from moga.devices.engines.base import Run
from moga.devices.engines.nvidia import gpu_and_driver
from moga.devices.engines.onnx import INPUT, PRECISIONS, exporter, images_of, require, write_onnx
from moga.devices.importers.base import load_json, milliseconds, records
from moga.devices.timing import Rounds, Sampling, Subject
from moga.devices.walks import Succession
from moga.errors import MeasurementFailed, UsageError
from moga.files import atomic_write, cache_dir
from moga.network import Block, Network

__all__ = ["TensorRTEngine", "TrtexecEngine", "compute_ms", "trtexec_command", "trtexec_version"]

_UNVERIFIED: Final = "written against TensorRT's documentation, not verified on hardware"
_GIB: Final = 1 << 30
_BANNER: Final = re.compile(r"\[TensorRT v(\d{6,})\]")
"""What trtexec says first; v100300 is 10.3.0."""


def _check(batch: int, precision: str, workspace_gb: float) -> None:
    check_batch(batch)
    if precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}; give one of {', '.join(PRECISIONS)}")
    if not workspace_gb > 0:
        raise UsageError(f"workspace_gb is {workspace_gb}; give a number above 0")
    for library in ("onnx", "onnxscript", "onnxruntime"):
        require(library, "onnx")


def _library() -> Any:
    """Load TensorRT's Python module.

    Raises:
        MissingExtra: it is not installed.
        UsageError: its bindings are there, but not the libraries that they need.
    """
    require("tensorrt", "tensorrt")
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise UsageError(
            f"tensorrt is installed, but cannot be loaded: {error}. Its bindings need TensorRT's "
            "libraries beside them, of the same version: pip install --force-reinstall "
            "'moga[tensorrt]', or NVIDIA's packages"
        ) from error
    return tensorrt


class TensorRTEngine:
    """TensorRT by its Python API; torch holds the GPU's memory and times by CUDA events.

    What is timed is the GPU's compute time: input and output lie in the GPU's memory, and copies to
    and from it are not part of it.

    Args:
        batch: images a batch.
        precision: "fp32", "fp16" or "int8".
        workspace_gb: memory that the builder may use, in GiB.

    Raises:
        MissingExtra: tensorrt, onnx, onnxscript or onnxruntime is not installed.
        UsageError: an argument out of range, a TensorRT before 10 or without its libraries, or no
            CUDA.
    """

    def __init__(self, batch: int = 1, precision: str = "fp16", workspace_gb: float = 10.0) -> None:
        _check(batch, precision, workspace_gb)
        trt = _library()
        import torch

        if int(trt.__version__.split(".", maxsplit=1)[0]) < 10:
            raise UsageError(f"TensorRT is {trt.__version__}; version 10 or 11 is needed")
        if not torch.cuda.is_available():
            raise UsageError("torch finds no CUDA here; TensorRT needs an NVIDIA GPU")
        self.batch, self.precision, self.workspace_gb = batch, precision, workspace_gb
        self._logger = trt.Logger(trt.Logger.ERROR)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """GPU, driver, versions, precision, batch, workspace and clock."""
        import tensorrt as trt

        from moga.devices.engines.torch import TorchEngine

        gpu = TorchEngine(device="cuda").settings
        return {
            "engine": "tensorrt",
            "tensorrt": trt.__version__,
            "exporter": exporter(),
            **{key: gpu[key] for key in ("gpu", "memory", "capability", "cuda", "driver")},
            "precision": self.precision,
            "batch": self.batch,
            "workspace": f"{self.workspace_gb:g} GiB",
            "clock": "CUDA events",
            "verified": _UNVERIFIED,
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold nothing: a built engine needs no modes."""
        yield

    def prepare(self, subject: Block | Network) -> Run:
        """Export, build and load the engine of a block or network, and try it.

        Raises:
            MeasurementFailed: TensorRT cannot build or run it.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "subject.onnx"
            write_onnx(subject, path, batch=self.batch, precision=self.precision)
            plan = self._build(path, subject)
        return self._load(plan, subject)

    def _build(self, path: Path, subject: Subject) -> bytes:
        import tensorrt as trt

        builder = trt.Builder(self._logger)
        flags = trt.NetworkDefinitionCreationFlag
        typed = getattr(flags, "STRONGLY_TYPED", None)  # from 11 on all networks are
        network = builder.create_network(0 if typed is None else 1 << int(typed))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(path.read_bytes()):
            reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise MeasurementFailed(f"TensorRT cannot read {subject}: {reasons}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(self.workspace_gb * _GIB))
        profile = builder.create_optimization_profile()
        shape = images_of(subject, self.batch, self.precision).shape
        profile.set_shape(INPUT, shape, shape, shape)
        config.add_optimization_profile(profile)
        file = self._timing_cache()
        known = file.read_bytes() if file.exists() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise MeasurementFailed(f"TensorRT cannot build {subject}")
        atomic_write(file, bytes(config.get_timing_cache().serialize()))
        return bytes(plan)

    def _timing_cache(self) -> Path:
        settings = self.settings
        name = f"{settings['gpu']}-{settings['tensorrt']}".replace(" ", "_").replace("/", "_")
        return cache_dir("tensorrt") / f"{name}.timing"

    def _load(self, plan: bytes, subject: Subject) -> Run:
        import tensorrt as trt
        import torch

        from moga.devices.engines.torch import by_events

        engine = trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        context = engine.create_execution_context() if engine is not None else None
        if context is None:
            raise MeasurementFailed(f"TensorRT cannot load the engine of {subject}")
        images = torch.from_numpy(images_of(subject, self.batch, self.precision)).cuda()
        context.set_input_shape(INPUT, tuple(images.shape))
        buffers = {INPUT: images}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if name not in buffers:
                kind = getattr(torch, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name)
                shape = tuple(context.get_tensor_shape(name))
                buffers[name] = torch.empty(shape, dtype=kind, device="cuda")
            context.set_tensor_address(name, buffers[name].data_ptr())
        stream = torch.cuda.current_stream()

        def call() -> tuple[bool, Any]:
            # the buffers and the engine must live as long as the context: they are held here
            return context.execute_async_v3(stream.cuda_stream), (buffers, engine)

        if not call()[0]:
            raise MeasurementFailed(f"TensorRT cannot run {subject}")
        stream.synchronize()
        return by_events(call)


class TrtexecEngine:
    """TensorRT by the program ``trtexec``, which times one file after another.

    So its rounds are not shuffled: each subject's runs follow each other, with warm caches.
    `moga.devices.timing` says what that does to a sum of blocks.

    Args:
        batch: images a batch.
        precision: "fp32", "fp16" or "int8".
        workspace_gb: memory that the builder may use, in GiB.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        UsageError: an argument out of range, or no trtexec.
    """

    def __init__(self, batch: int = 1, precision: str = "fp16", workspace_gb: float = 10.0) -> None:
        _check(batch, precision, workspace_gb)
        found = shutil.which("trtexec")
        if found is None:
            raise UsageError(
                "trtexec is not on the PATH; it comes with NVIDIA's TensorRT packages (not with "
                "pip). The Python API is used without trtexec=True: pip install 'moga[tensorrt]'"
            )
        self.program = found
        self.batch, self.precision, self.workspace_gb = batch, precision, workspace_gb

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Versions, GPU and driver as nvidia-smi gives them, precision, batch and workspace."""
        return {
            "engine": "trtexec",
            "program": self.program,
            "tensorrt": trtexec_version(self.program),
            "exporter": exporter(),
            **gpu_and_driver(),
            "precision": self.precision,
            "batch": self.batch,
            "workspace": f"{self.workspace_gb:g} GiB",
            "clock": "GPU compute time of trtexec",
            "verified": _UNVERIFIED,
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold nothing: the program starts anew for every subject."""
        yield

    def prepare(self, subject: Block | Network) -> Run:
        """Return a run that is the median of 10 by the program.

        Raises:
            MeasurementFailed: the program cannot build or run it.
        """

        def run() -> float:
            return statistics.median(self._times(subject, 10, 10))

        return run

    def time_rounds(
        self,
        subjects: Sequence[Subject],
        sampling: Sampling,
        rng: np.random.Generator,  # noqa: ARG002 - the order does not matter here
        progress: Progress,
        phase: str,
        *,
        successions: Sequence[Succession] = (),  # noqa: ARG002 - a program runs one file
    ) -> Rounds:
        """Time each subject by one start of the program.

        Raises:
            MeasurementFailed: the program cannot build or run one.
        """
        progress.phase(phase, len(subjects), "timed")
        columns = []
        for done, subject in enumerate(subjects, start=1):
            times = self._times(subject, sampling.rounds, sampling.warmups)
            columns.append(times[-sampling.rounds :])
            progress.advance(done)
        ms = np.array(columns)
        order = np.arange(ms.size).reshape(ms.shape)
        return Rounds(ms.T, order.T, np.full_like(order, -1).T)

    def _times(self, subject: Subject, runs: int, warmups: int) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            model, times = Path(folder) / "subject.onnx", Path(folder) / "times.json"
            write_onnx(subject, model, batch=self.batch, precision=self.precision)
            cache = cache_dir("tensorrt") / "trtexec.timing"
            command = trtexec_command(
                self.program,
                model,
                times,
                runs=runs + warmups,
                workspace_gb=self.workspace_gb,
                timing_cache=cache,
            )
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode or not times.exists():
                lines = (done.stdout + done.stderr).strip().splitlines()
                raise MeasurementFailed(
                    f"trtexec ended with {done.returncode} on {subject}: {' | '.join(lines[-5:])}"
                )
            found = compute_ms(times)
        if len(found) < runs:
            raise MeasurementFailed(f"trtexec timed {subject} {len(found)} times, not {runs}")
        return found


def trtexec_version(program: str) -> str:
    """Return the version of TensorRT that trtexec says in its first line, such as "10.3.0".

    Where it says none, "unknown" with the program's size and the second of its last change, so that
    another program does not pass for the same.
    """
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)  # noqa: S603
    if found := _BANNER.search(done.stdout + done.stderr):
        number = int(found[1])
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    known = Path(program).stat()
    return f"unknown ({known.st_size} bytes of {int(known.st_mtime)})"


def trtexec_command(
    program: str,
    model: Path,
    times: Path,
    *,
    runs: int,
    workspace_gb: float = 10.0,
    timing_cache: Path | None = None,
) -> list[str]:
    """Return the command that builds a file's engine and times so many runs of it.

    Strongly typed, without copies from and to the host, at least `runs` runs.

    Args:
        program: path of trtexec.
        model: the ONNX file; its shape is fixed.
        times: where the JSON of every run goes.
        runs: runs at the least.
        workspace_gb: memory that the builder may use, in GiB.
        timing_cache: kept between builds.
    """
    command = [
        program,
        f"--onnx={model}",
        "--stronglyTyped",
        f"--memPoolSize=workspace:{round(workspace_gb * 1024)}M",
        f"--iterations={runs}",
        "--duration=0",
        "--warmUp=200",
        "--avgRuns=1",
        "--noDataTransfers",
        "--useSpinWait",
        f"--exportTimes={times}",
    ]
    return command if timing_cache is None else [*command, f"--timingCacheFile={timing_cache}"]


def compute_ms(path: Path) -> list[float]:
    """Read the GPU compute time of every run from ``trtexec --exportTimes``, in milliseconds.

    Raises:
        FormatError: not such a file, or an impossible time, naming the entry.
    """
    entries = records(load_json(path), ("computeMs",), path)
    return [
        milliseconds(entry["computeMs"], "ms", f"{path}, entry {number}", "computeMs")
        for number, entry in enumerate(entries, start=1)
    ]
