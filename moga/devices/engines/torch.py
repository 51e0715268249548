"""PyTorch, on this host's CPU or on an NVIDIA GPU: eager, CUDA graphs or `torch.compile`.

It needs torch, timm and numpy alone. The GPU's part was not run on hardware for this release.
"""

import contextlib
import gc
import itertools
import math
import mmap
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from moga.devices.engines.base import Clock, Run, Step
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network
from moga.networks.blocks import build_block
from moga.networks.build import build_network

__all__ = ["MODES", "PRECISIONS", "TorchEngine", "by_events"]

MODES: Final = ("eager", "graph", "compile")
PRECISIONS: Final[Mapping[str, torch.dtype]] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_ALLOCATOR: Final = ("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")
"""Variables that change the C allocator, and with it times by up to a third."""

_WARM_UPS: Final = 3  # before a graph is captured, as torch's documentation asks
_ALIGNMENT: Final = 64


class TorchEngine:
    """PyTorch with random weights; in eager mode batch norm and activations are not folded.

    Args:
        batch: images a batch.
        threads: threads within an operation, on the CPU.
        device: "cpu" or "cuda".
        mode: "eager", "graph" (CUDA graphs; on a GPU) or "compile".
        precision: "fp32", "fp16" or "bf16", of weights and images.
        channels_last: keep images and weights with their channels last.

    Raises:
        UsageError: an argument out of range, or a GPU where torch finds none.
    """

    def __init__(
        self,
        batch: int = 1,
        threads: int = 1,
        *,
        device: str = "cpu",
        mode: str = "eager",
        precision: str = "fp32",
        channels_last: bool = False,
    ) -> None:
        for name, value in (("batch", batch), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; give an integer of 1 or more")
        for name, text, allowed in (
            ("device", device, ("cpu", "cuda")),
            ("mode", mode, MODES if device == "cuda" else ("eager", "compile")),
            ("precision", precision, tuple(PRECISIONS)),
        ):
            if text not in allowed:
                raise UsageError(f"{name} is {text!r}; give one of {', '.join(allowed)}")
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                "torch finds no CUDA here; the device cuda needs an NVIDIA GPU, its driver, and a "
                "torch that was built for CUDA (https://pytorch.org says how to install it)"
            )
        self.batch, self.threads, self.device, self.mode = batch, threads, device, mode
        self.precision, self.channels_last = precision, channels_last
        self.clock = Clock(threads)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Hardware, versions, threads, mode, precision, batch, clock and allocator."""
        return {
            "engine": f"torch {self.mode}",
            "torch": torch.__version__,
            "precision": self.precision,
            "batch": self.batch,
            "memory format": "channels last" if self.channels_last else "contiguous",
            **(self._gpu() if self.device == "cuda" else self._cpu()),
        }

    def _cpu(self) -> dict[str, Any]:
        return {
            "cpu": _cpu_model(),
            "cores": os.cpu_count() or 1,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": self.threads,
            "clock": self.clock.name,
            "libc": " ".join(platform.libc_ver()),
            "allocator": {
                name: value
                for name, value in sorted(os.environ.items())
                if name.startswith(_ALLOCATOR)
            },
        }

    def _gpu(self) -> dict[str, Any]:
        found = torch.cuda.get_device_properties(0)
        return {
            "gpu": found.name,
            "memory": f"{found.total_memory / 2**30:.0f} GiB",
            "capability": f"{found.major}.{found.minor}",
            "cuda": torch.version.cuda,
            "driver": _driver(),
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "tf32": torch.backends.cudnn.allow_tf32,
            "clock": "CUDA events",
            "verified": "not run on hardware in this release",
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Set the threads, leave autograd and garbage collection out; undone at the end."""
        threads, collecting = torch.get_num_threads(), gc.isenabled()
        benchmark = torch.backends.cudnn.benchmark
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = self.device == "cuda"
        gc.collect()
        gc.disable()
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = benchmark
            if collecting:
                gc.enable()

    def prepare(self, subject: Block | Network) -> Run:
        """Build a block or a network in evaluation mode, with random weights and input; try it.

        Raises:
            MeasurementFailed: torch cannot build or run it.
        """
        step = self.step(subject)
        return lambda: step(None)[0]

    def step(self, subject: Block | Network) -> Step:
        """Do as `prepare`; on the CPU, a block can be run on another's output. On a GPU it is not.

        On the CPU, weights and images lie outside the heap, which so has nothing but what a run
        needs meanwhile: otherwise the weights of all that is timed leave gaps in it, and buffers
        come to lie elsewhere, and colder, within a network than in a block alone.

        Raises:
            MeasurementFailed: torch cannot build or run it.
        """
        try:
            with torch.inference_mode():
                return self._on_gpu(subject) if self.device == "cuda" else self._on_cpu(subject)
        except (RuntimeError, ValueError) as error:
            raise MeasurementFailed(f"torch cannot run {subject}: {error}") from error

    def _on_gpu(self, subject: Block | Network) -> Step:
        module, image = self._built(subject)
        call: Callable[[], object] = partial(module, image)
        if self.mode == "graph":
            call = _captured(module, image)
        call()
        timed = by_events(call)
        return lambda _: (timed(), None)

    def _on_cpu(self, subject: Block | Network) -> Step:
        module, image = self._built(subject)
        module(image)
        ms = self.clock.ms

        def run(given: torch.Tensor | None) -> tuple[float, torch.Tensor]:
            found: list[torch.Tensor] = []
            entered = image if given is None else given
            return ms(lambda: found.append(module(entered))), found[0]

        return run

    def _built(self, subject: Block | Network) -> tuple[Any, torch.Tensor]:
        """Return the module, compiled where that is the mode, and an image for it."""
        first = subject if isinstance(subject, Block) else subject.blocks[0]
        images = self.batch * first.batch_factor
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        kind: dict[str, Any] = {"device": self.device, "dtype": PRECISIONS[self.precision]}
        with torch.random.fork_rng(devices=[]), _CopiedWeights():  # the caller's numbers stay
            torch.manual_seed(0)
            built: nn.Module = (
                build_block(subject) if isinstance(subject, Block) else build_network(subject)
            )
            image = torch.randn(images, first.in_channels, first.height, first.width)
        module = cast(Any, built).eval().to(**kind, memory_format=layout)
        image = image.to(**kind, memory_format=layout)
        if self.device == "cpu":
            image = _off_the_heap(module, image)
        return torch.compile(module) if self.mode == "compile" else module, image


class _CopiedWeights(TorchFunctionMode):
    """Fills weights with copies of the same random numbers, at the scale that torch gives them.

    To draw each anew takes a third of the time in which a block is built.
    """

    drawn = 2 * torch.rand(1 << 18, generator=torch.Generator().manual_seed(0)) - 1

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        del types
        given = kwargs or {}
        if func is not nn.init.kaiming_uniform_:
            return func(*args, **given)
        weight: torch.Tensor = given["tensor"]
        bound = math.sqrt(6 / ((1 + given["a"] ** 2) * weight[0].numel()))
        for part in torch.split(weight.detach().view(-1), len(self.drawn)):
            torch.mul(self.drawn[: len(part)], bound, out=part)
        return weight


def _off_the_heap(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Move a module's weights and an image to memory of their own; return the image there."""
    moved = [*module.parameters(), *module.buffers(), image]
    sizes = [tensor.numel() * tensor.element_size() for tensor in moved]
    starts = [0, *itertools.accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]
    memory = torch.frombuffer(mmap.mmap(-1, starts[-1]), dtype=torch.uint8)
    there = []
    for tensor, size, start in zip(moved, sizes, starts, strict=False):
        flat = memory[start : start + size].view(tensor.dtype)
        there.append(flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor))
    for tensor, copy in zip(moved, there, strict=True):
        tensor.data = copy
    return there[-1]


def _captured(module: nn.Module, image: torch.Tensor) -> Callable[[], object]:
    """Return the replay of a CUDA graph of one run."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            module(image)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        module(image)
    return graph.replay


def by_events(call: Callable[[], object]) -> Run:
    """Time a call by the GPU's own clock: from the first kernel's start to the last one's end."""
    event: Callable[..., Any] = torch.cuda.Event
    begin, end = event(enable_timing=True), event(enable_timing=True)

    def run() -> float:
        begin.record()
        call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return run


def _driver() -> str:
    """Return the version of NVIDIA's driver, as the kernel module says it."""
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        return text.splitlines()[0].removeprefix("NVRM version:").strip()
    return "unknown"


def _cpu_model() -> str:
    """Return the processor's name as the kernel gives it, else what Python knows."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware"):
                return value.strip()
    return platform.processor() or platform.machine()
