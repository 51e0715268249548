"""Devices that are here to be measured: this machine's processor and GPUs, by several engines."""

import dataclasses
import functools
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np

from moga.contracts import Progress, Silent
from moga.devices.base import Latency
from moga.devices.engines.base import Engine
from moga.devices.isolated import Isolated
from moga.devices.profile import (
    Chunks,
    ChunkTimer,
    Missing,
    Spread,
    Timed,
    here,
    profile_space,
)
from moga.devices.speed import PROBES, at_stored_speed, how_much_slower, note_change
from moga.devices.store import ValueStore
from moga.devices.timing import PROTOCOL, Sampling, Subject, measure
from moga.devices.walks import successions
from moga.errors import UsageError
from moga.files import cache_dir, digest
from moga.network import Network
from moga.networks.count import count_macs
from moga.spaces.base import Space
from moga.spaces.cost import CostTable

__all__ = ["HostDevice", "cpu", "cuda", "onnxruntime", "tensorrt"]


class HostDevice:
    """A device that is here to be measured; it satisfies `Device` and `Measures`.

    Values of blocks are cached by what decides them (`fingerprint`): processor, cores, versions,
    threads, precision, batch, clock, allocator, and the number of the protocol.

    Args:
        name: what users call it.
        engine: what runs networks on it.
        sampling: how often blocks and networks are timed.
        refresh: ignore cached values, and replace them.
        missing: what becomes of blocks without a time, see `moga.devices.profile.Missing`.
        spread: carries the timing of blocks to workers; default: this process.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        sampling: Sampling | None = None,
        refresh: bool = False,
        missing: Missing = "measure",
        spread: Spread = here,
    ) -> None:
        self.name, self.engine = name, engine
        self.sampling, self.refresh = sampling or Sampling(), refresh
        self.missing, self._spread = missing, spread
        self.about: dict[str, Any] = {}  # a paper's protocol: more that tables tell of themselves
        self._rng = np.random.default_rng()  # orders of rounds only: times are never reproducible

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def batch(self) -> int:
        """Images a batch."""
        return self.engine.batch

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides a time here."""
        return digest({"settings": dict(self.engine.settings), "protocol": PROTOCOL})

    @property
    def store(self) -> ValueStore:
        """The cached values of this device, in moga's cache folder."""
        path = cache_dir("tables", self.fingerprint) / "values.jsonl"
        return ValueStore(path, self.engine.settings)

    def latency(self, network: Network) -> Latency:
        """Measure one network end to end.

        Raises:
            MeasurementFailed: it cannot be built or run.
        """
        return self.measure([network])[0]

    def by_blocks(self, network: Network, progress: Progress | None = None) -> Latency:
        """Sum the times of a network's blocks; those that are not cached are timed now, and kept.

        So a table fills itself on demand, as GPUNet's does (section 3.1). A few of the network's
        cached blocks, those of most work, are timed once more beside them, and what is new is
        brought to the speed of those.

        Raises:
            MeasurementFailed: a block cannot be built or run.
        """
        store, blocks = self.store, list(dict.fromkeys(network))
        known = store.read(blocks, self.sampling.rounds)
        if lacking := [block for block in blocks if block not in known]:
            cached = sorted((block for block in blocks if block in known), key=count_macs)
            probes = cached[-PROBES:]
            subjects = [*lacking, *probes]
            timed = measure(
                self.engine,
                subjects,
                dataclasses.replace(self.sampling, seconds=0.0),
                self._rng,
                progress or Silent(),
                phase="time missing blocks",
                successions=successions([network], subjects),
            )
            now: dict[Subject, Latency] = dict(zip(subjects, timed, strict=True))
            slower = how_much_slower(now, {block: known[block] for block in probes})
            note_change(progress or Silent(), slower - 1)
            fresh = at_stored_speed(now, slower, besides=probes)
            store.write(fresh)
            known |= fresh
        values = [known[block] for block in network]
        error = math.hypot(*(value.spread or 0.0 for value in values))
        count = min(value.count for value in values)
        return Latency(math.fsum(v.ms for v in values), error, count, "table", self.batch)

    def measure(
        self, networks: Sequence[Network], progress: Progress | None = None
    ) -> list[Latency]:
        """Measure networks end to end in shuffled rounds: one latency a network, in order.

        Raises:
            MeasurementFailed: one cannot be built or run.
        """
        return measure(self.engine, networks, self.sampling, self._rng, progress or Silent())

    def table(self, space: Space, progress: Progress | None = None) -> CostTable:
        """Build the latency table of a space, by timing what is not cached.

        Raises:
            UsageError: a space with too many distinct blocks; blocks that may not be timed.
            MeasurementFailed: a block cannot be built or run.
        """
        return self.table_beside(space, (), progress)[0]

    def table_beside(
        self, space: Space, networks: Sequence[Network], progress: Progress | None = None
    ) -> tuple[CostTable, list[Latency]]:
        """Do as `table`, and return a latency for each of some networks that the table never used.

        They are timed in the same rounds, or were in those that the cached blocks come from; where
        neither holds, as with workers or predicted blocks, no latency is returned.

        Raises:
            UsageError: a space with too many distinct blocks; blocks that may not be timed.
            MeasurementFailed: a block or network cannot be built or run.
        """
        table = profile_space(
            space,
            self.engine,
            device=self.name,
            store=self.store,
            sampling=self.sampling,
            rng=self._rng,
            progress=progress,
            refresh=self.refresh,
            missing=self.missing,
            spread=self._spread,
            beside=networks,
        )
        known = self.store.read(networks, self.sampling.rounds)
        latencies = [known[one] for one in networks] if len(known) == len(set(networks)) else []
        return dataclasses.replace(table, provenance={**table.provenance, **self.about}), latencies


def _sampling(seconds: float, rounds: int) -> Sampling:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (number and math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"seconds is {seconds!r}; give 0 or more")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 2:
        raise UsageError(f"rounds is {rounds!r}; give an integer of 2 or more")
    return Sampling(rounds=rounds, seconds=seconds, most=max(400, rounds))


def _spread(workers: int, cpus: int, gpus: int) -> Spread:
    """Return what carries blocks to so many Ray workers; 0: to none, but times them here."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise UsageError(f"workers is {workers!r}; give 0 for this process, or how many Ray actors")
    if workers and importlib.util.find_spec("ray") is None:
        raise UsageError(
            "workers need Ray, which is not installed: pip install ray, or leave workers out"
        )
    by_ray = functools.partial(_by_ray, workers=workers, cpus=cpus, gpus=gpus)
    return by_ray if workers else here


def _by_ray(
    work: ChunkTimer,
    chunks: Chunks,
    record: Callable[[int, Timed], None],
    *,
    workers: int,
    cpus: int,
    gpus: int,
) -> Iterator[Timed]:
    from moga.runtime.map import ray_map

    return ray_map(work, chunks, record=record, workers=workers, cpus=cpus, gpus=gpus)


def _name(kind: str, given: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """Return the device's name: with all that makes it another device than the usual one."""
    differing = [f"{key}={value}" for key, value in given.items() if value != usual[key]]
    return f"{kind}({', '.join(differing)})" if differing else kind


_TORCH = "moga.devices.engines.torch:TorchEngine"


def cpu(
    batch: int = 1,
    threads: int = 1,
    seconds: float = 25.0,
    rounds: int = 30,
    refresh: bool = False,
    *,
    missing: str = "measure",
    mode: str = "eager",
    precision: str = "fp32",
    channels_last: bool = False,
    workers: int = 0,
) -> HostDevice:
    """Return this host's processor: torch, by default in eager mode, FP32.

    All is timed in a process of its own with a fixed allocator (`moga.devices.isolated`).

    Args:
        batch: images a batch.
        threads: threads within an operation.
        seconds: time for a table's rounds, or for those of whole networks, beyond `rounds`; with
            ``missing=predict``, all that may be spent on timing blocks.
        rounds: rounds at the least.
        refresh: ignore cached values.
        missing: blocks without a time are timed ("measure"); those of the greatest use while the
            seconds last, and the others predicted and marked ("predict"); or the table is refused
            ("refuse").
        mode: eager or compile (`torch.compile`).
        precision: fp32, bf16 or fp16.
        channels_last: keep images with their channels last.
        workers: Ray actors that time blocks, each with as many CPUs as `threads`; 0: this process.

    Raises:
        UsageError: an argument out of range.
    """
    usual = {"batch": 1, "threads": 1, "mode": "eager", "precision": "fp32", "channels_last": False}
    given = dict(zip(usual, (batch, threads, mode, precision, channels_last), strict=True))
    return HostDevice(
        _name("cpu", given, usual),
        Isolated(_TORCH, given),
        sampling=_sampling(seconds, rounds),
        refresh=refresh,
        missing=cast(Missing, missing),
        spread=_spread(workers, threads, 0),
    )


def cuda(
    mode: str = "graph",
    precision: str = "fp16",
    batch: int = 1,
    channels_last: bool = True,
    seconds: float = 25.0,
    *,
    rounds: int = 30,
    refresh: bool = False,
    missing: str = "measure",
    workers: int = 0,
) -> HostDevice:
    """Return this host's NVIDIA GPU: torch, timed by CUDA events.

    This engine was not run on hardware for this release.

    Args:
        mode: eager, graph (CUDA graphs) or compile (`torch.compile`).
        precision: fp32, bf16 or fp16.
        batch: images a batch.
        channels_last: keep images with their channels last, as tensor cores want them.
        seconds: as of `cpu`.
        rounds: rounds at the least.
        refresh: ignore cached values.
        missing: as of `cpu`.
        workers: Ray actors that time blocks, each with one GPU; 0: this process.

    Raises:
        UsageError: an argument out of range, or no CUDA.
    """
    given = {"mode": mode, "precision": precision, "batch": batch, "channels_last": channels_last}
    usual = {"mode": "graph", "precision": "fp16", "batch": 1, "channels_last": True}
    engine = Isolated(_TORCH, {**given, "device": "cuda"})
    return HostDevice(
        _name("cuda", given, usual),
        engine,
        sampling=_sampling(seconds, rounds),
        refresh=refresh,
        missing=cast(Missing, missing),
        spread=_spread(workers, 1, 1),
    )


def onnxruntime(
    provider: str = "cpu",
    batch: int = 1,
    threads: int = 1,
    precision: str = "fp32",
    seconds: float = 25.0,
    *,
    rounds: int = 30,
    refresh: bool = False,
    missing: str = "measure",
    workers: int = 0,
) -> HostDevice:
    """Return what ONNX Runtime runs networks on here.

    Only the provider cpu was run for this release.

    Args:
        provider: cpu, cuda, tensorrt, coreml, openvino, ..., or the provider's full name.
        batch: images a batch.
        threads: threads within an operation.
        precision: fp32, fp16, or int8 by Q/DQ nodes.
        seconds: as of `cpu`.
        rounds: rounds at the least.
        refresh: ignore cached values.
        missing: as of `cpu`.
        workers: Ray actors that time blocks, each with as many CPUs as `threads`, and one GPU for
            the providers of NVIDIA's; 0: this process.

    Raises:
        MissingExtra: ONNX or ONNX Runtime is not installed.
        UsageError: an argument out of range, a provider that this ONNX Runtime does not have.
    """
    from moga.devices.engines.onnxruntime import on_nvidia

    given = {"provider": provider, "batch": batch, "threads": threads, "precision": precision}
    usual = {"provider": "cpu", "batch": 1, "threads": 1, "precision": "fp32"}
    return HostDevice(
        _name("onnxruntime", given, usual),
        Isolated("moga.devices.engines.onnxruntime:OnnxRuntimeEngine", given),
        sampling=_sampling(seconds, rounds),
        refresh=refresh,
        missing=cast(Missing, missing),
        spread=_spread(workers, threads, int(on_nvidia(provider))),
    )


def tensorrt(
    precision: str = "fp16",
    batch: int = 1,
    workspace_gb: float = 10.0,
    seconds: float = 25.0,
    *,
    rounds: int = 30,
    trtexec: bool = False,
    refresh: bool = False,
    missing: str = "measure",
    workers: int = 0,
) -> HostDevice:
    """Return this host's NVIDIA GPU under TensorRT 10 or 11: GPU compute time.

    This engine is written against TensorRT's documentation and not verified on hardware.

    Args:
        precision: fp32, fp16 (strongly typed), or int8 by Q/DQ nodes.
        batch: images a batch.
        workspace_gb: memory that the builder may use, in GiB.
        seconds: as of `cpu`.
        rounds: rounds at the least.
        trtexec: use the program of this name instead of the Python API.
        refresh: ignore cached values.
        missing: as of `cpu`.
        workers: Ray actors that time blocks, each with one GPU; 0: this process.

    Raises:
        MissingExtra: TensorRT, ONNX or ONNX Runtime is not installed.
        UsageError: an argument out of range, no CUDA, no trtexec.
    """
    usual = {"precision": "fp16", "batch": 1, "workspace_gb": 10.0, "trtexec": False}
    given = dict(zip(usual, (precision, batch, workspace_gb, trtexec), strict=True))
    name = "TrtexecEngine" if trtexec else "TensorRTEngine"
    arguments = {"precision": precision, "batch": batch, "workspace_gb": workspace_gb}
    return HostDevice(
        _name("tensorrt", given, usual),
        Isolated(f"moga.devices.engines.tensorrt:{name}", arguments),
        sampling=_sampling(seconds, rounds),
        refresh=refresh,
        missing=cast(Missing, missing),
        spread=_spread(workers, 1, 1),
    )
