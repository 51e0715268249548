"""ONNX Runtime, on this host's CPU or by another of its providers."""

import contextlib
import gc
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from moga.devices.engines.base import Clock, Run, timed
from moga.devices.engines.nvidia import gpu_and_driver
from moga.devices.engines.onnx import INPUT, PRECISIONS, exporter, images_of, require, write_onnx
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network

__all__ = ["OnnxRuntimeEngine", "on_nvidia"]

_PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "dml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
_CPU: Final = "CPUExecutionProvider"


def on_nvidia(provider: str) -> bool:
    """Return whether a provider, by its short or full name, runs on an NVIDIA GPU."""
    return provider in {
        name for short in ("cuda", "tensorrt") for name in (short, _PROVIDERS[short])
    }


class OnnxRuntimeEngine:
    """ONNX Runtime with all its graph optimisations; input and output are bound beforehand.

    With another provider than the CPU's, times are by the wall and include copies of input and
    output; such providers were not run for this release.

    Args:
        provider: a short name (cpu, cuda, tensorrt, coreml, openvino, dml, xnnpack, qnn), or the
            full one.
        batch: images a batch.
        threads: threads within an operation.
        precision: "fp32", "fp16" or "int8".

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        UsageError: an argument out of range, or a provider that is not there.
    """

    def __init__(
        self, provider: str = "cpu", batch: int = 1, threads: int = 1, precision: str = "fp32"
    ) -> None:
        for name, value in (("batch", batch), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; give an integer of 1 or more")
        if precision not in PRECISIONS:
            raise UsageError(f"precision is {precision!r}; give one of {', '.join(PRECISIONS)}")
        for library in ("onnx", "onnxscript", "onnxruntime"):
            require(library, "onnx")
        import onnxruntime

        self.provider = _PROVIDERS.get(provider, provider)
        there = onnxruntime.get_available_providers()
        if self.provider not in there:
            raise UsageError(
                f"this ONNX Runtime has no {self.provider}, only {', '.join(there)}; install the "
                "build of ONNX Runtime that brings it (onnxruntime-gpu for cuda and tensorrt)"
            )
        self.batch, self.threads, self.precision = batch, threads, precision
        # another provider works beside the calling thread
        self.clock = Clock(threads if self.provider == _CPU else 2)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Provider, hardware (NVIDIA's GPU too), version, threads, precision, batch and clock."""
        import onnxruntime

        from moga.devices.engines.torch import TorchEngine

        host = TorchEngine(1, self.threads).settings
        return {
            "engine": "onnxruntime",
            "provider": self.provider,
            "onnxruntime": onnxruntime.__version__,
            "exporter": exporter(),
            **{key: host[key] for key in ("cpu", "cores", "instructions", "libc", "allocator")},
            **(gpu_and_driver() if on_nvidia(self.provider) else {}),
            "threads": self.threads,
            "precision": self.precision,
            "batch": self.batch,
            "clock": self.clock.name,
            **({} if self.provider == _CPU else {"verified": "not run with this provider"}),
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Leave garbage collection out; undone at the end."""
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()

    def prepare(self, subject: Block | Network) -> Run:
        """Export a block or a network with random weights, load the file, and try it.

        Raises:
            MeasurementFailed: ONNX Runtime cannot run it, or ONNX cannot hold it.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "subject.onnx"
            try:
                write_onnx(subject, path, batch=self.batch, precision=self.precision)
                session = onnxruntime.InferenceSession(
                    str(path), options, providers=[self.provider]
                )
                binding = session.io_binding()
                binding.bind_cpu_input(INPUT, images_of(subject, self.batch, self.precision))
                for output in session.get_outputs():
                    binding.bind_output(output.name)
                session.run_with_iobinding(binding)
            except Exception as error:
                # ONNX Runtime's errors have no common base but Exception
                raise MeasurementFailed(
                    f"ONNX Runtime cannot run {subject}: {type(error).__name__}: {error}"
                ) from error

        def run() -> None:
            session.run_with_iobinding(binding)

        return timed(run, self.clock)
