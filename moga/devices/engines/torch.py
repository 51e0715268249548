"""PyTorch in eager mode on this host's CPU, FP32."""

import contextlib
import gc
import os
import platform
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from moga.devices.engines.base import Clock, Run, timed
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network
from moga.networks.blocks import build_block
from moga.networks.build import build_network

__all__ = ["TorchEngine"]

_ALLOCATOR: Final = ("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")
"""Variables that change the C allocator, and with it times by up to a third."""


class TorchEngine:
    """Eager PyTorch on the CPU: batch norm and activations are not folded, weights are random.

    Args:
        batch: images a batch.
        threads: threads within an operation.

    Raises:
        UsageError: a number below 1.
    """

    def __init__(self, batch: int = 1, threads: int = 1) -> None:
        for name, value in (("batch", batch), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; give an integer of 1 or more")
        self.batch, self.threads = batch, threads
        self.clock = Clock(threads)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Processor, cores, versions, threads, precision, batch, clock and allocator."""
        return {
            "engine": "torch eager",
            "torch": torch.__version__,
            "cpu": _cpu_model(),
            "cores": os.cpu_count() or 1,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": self.threads,
            "precision": "fp32",
            "batch": self.batch,
            "clock": self.clock.name,
            "libc": " ".join(platform.libc_ver()),
            "allocator": {
                name: value
                for name, value in sorted(os.environ.items())
                if name.startswith(_ALLOCATOR)
            },
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Set the threads, leave autograd and garbage collection out; undone at the end."""
        threads, collecting = torch.get_num_threads(), gc.isenabled()
        torch.set_num_threads(self.threads)
        gc.collect()
        gc.disable()
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(threads)
            if collecting:
                gc.enable()

    def prepare(self, subject: Block | Network) -> Run:
        """Build a block or a network in evaluation mode, with random weights and input; try it.

        Raises:
            MeasurementFailed: torch cannot build or run it.
        """
        module: nn.Module
        first = subject if isinstance(subject, Block) else subject.blocks[0]
        images = self.batch * first.batch_factor
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.manual_seed(0)
            try:
                if isinstance(subject, Block):
                    module = build_block(subject)
                else:
                    module = build_network(subject)
                image = torch.randn(images, first.in_channels, first.height, first.width)
                with torch.inference_mode():
                    module.eval()(image)
            except (RuntimeError, ValueError) as error:
                raise MeasurementFailed(f"torch cannot run {subject}: {error}") from error
        return timed(partial(module, image), self.clock)


def _cpu_model() -> str:
    """Return the processor's name as the kernel gives it, else what Python knows."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware"):
                return value.strip()
    return platform.processor() or platform.machine()
