"""Networks as ONNX files: fixed or dynamic batch, norms folded on request, checked against torch.

The file is one self-contained model: input ``images`` (batch, channels, height, width), output
``logits``, or ``features_0``, ``features_1``... of a backbone; FP32; its metadata hold the digest
of the network. It is written by torch's exporter (``torch.onnx.export(dynamo=True)``), the only
one that is still developed.
"""

import contextlib
import copy
import dataclasses
import importlib.util
import math
import os
import re
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from moga.errors import ExportFailed, MissingExtra, UsageError
from moga.files import atomic_path, check_target
from moga.network import Network
from moga.networks.blocks import ConvNormAct
from moga.networks.build import build_network, load_weights
from moga.networks.count import convolutions, count_params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "OPSET",
    "TOLERANCE",
    "Exported",
    "available_bytes",
    "export_onnx",
    "fold_norms",
    "require_libraries",
]

OPSET: Final = 18
"""The oldest that the exporter writes, so that most engines read it."""

TOLERANCE: Final = 1e-4
"""Largest difference between ONNX Runtime and torch, as a share of the largest output."""

_OPSETS: Final = range(18, 24)
_MOST_BYTES: Final = 2**31 - 2**20
"""protobuf refuses messages of 2 GiB; a MiB is kept for the graph."""

_COPIES: Final = 5
"""Weights that exist at once: the module's, its folded copy, the exporter's, the serialised file,
and ONNX Runtime's."""

_OUT_OF_MEMORY: Final = re.compile(
    "not enough memory|can(no|')t allocate memory|bad.?alloc|failed to (serialize proto|allocate)",
    re.IGNORECASE,
)
"""How libraries say it without a MemoryError: torch, C++, protobuf, ONNX Runtime."""

_SETTLING_PIXELS: Final = 2 * 10**5
_DAMPING: Final = 0.25
_CHECKED_BATCHES: Final = (1, 3)
_TRACED_BATCH: Final = 2  # the tracer takes 1 for a constant


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: the file.
        inputs: shape of ``images``; its first entry is None where the batch is dynamic.
        outputs: names of the outputs.
        opset: version of ONNX's operators.
        nodes: operators in the graph.
        folded: batch norms that were folded into convolutions beforehand.
        size_bytes: of the file.
        difference: the largest difference between ONNX Runtime and torch, as a share of the
            largest output; None where it was not checked.
    """

    path: Path
    inputs: tuple[int | None, int, int, int]
    outputs: tuple[str, ...]
    opset: int
    nodes: int
    folded: int
    size_bytes: int
    difference: float | None


def fold_norms(module: nn.Module) -> nn.Module:
    """Return a copy, in evaluation mode, whose batch norms are folded into the convolutions before.

    The same function up to float error. Norms that follow no convolution stay (`norm_act` blocks),
    and so do those of modules that moga did not build.
    """
    folded = copy.deepcopy(module).eval()
    for part in _foldable(folded):
        norm = cast(Any, part.bn)
        part.conv = fuse_conv_bn_eval(cast(nn.Conv2d, part.conv), norm)
        part.bn = norm.act
    return folded


def _foldable(module: nn.Module) -> list[ConvNormAct]:
    parts = [part for part in module.modules() if isinstance(part, ConvNormAct)]
    return [part for part in parts if isinstance(part.bn, BatchNormAct2d)]


def export_onnx(
    network: Network | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    batch: int | None = 1,
    fold_norm: bool = False,
    opset: int = OPSET,
    check: bool = True,
    input_shape: tuple[int, int, int] | None = None,
) -> Exported:
    """Write a network as an ONNX file, whole or not at all.

    Args:
        network: as blocks, or as a module (which is not changed).
        path: the file; one that is there is replaced when all succeeded.
        weights: a safetensors file, for a network as blocks; None: initialised at random, with the
            norms' statistics from a few random images. (With norms that change nothing, a deep
            random network is chaotic: torch's FP32 and FP64 differ by a fifth.)
        batch: images a batch; None: any number.
        fold_norm: fold batch norms into the convolutions before them, and simplify the graph.
        opset: version of ONNX's operators, 18 to 23.
        check: compare with torch on random images, by ONNX Runtime; a dynamic batch with two sizes.
        input_shape: channels, height and width, for a module that moga did not build.

    Raises:
        MissingExtra: onnx, onnxscript or (to check) onnxruntime is not installed.
        UsageError: a batch or opset that cannot be; a network that does not fit into memory or
            into one file; memory that ran out on the way; operations that ONNX does not have, by
            name.
        FormatError: weights of another network.
        ExportFailed: the file computes something else than torch does; nothing is written.
    """
    require_libraries(check=check)
    path = Path(path)
    _check_arguments(path, weights, batch, opset)
    shape = _shape_of(network, input_shape)
    most = max(batch or max(_CHECKED_BATCHES), 0 if weights else _settling_batch(shape))
    _check_room(network, shape, most)
    with _telling_of_memory():
        module = _module_of(network, weights)
        count = len(_foldable(module)) if fold_norm else 0
        if fold_norm:
            module = fold_norms(module)
        program, outputs = _trace(module, shape, batch, opset, simplify=fold_norm)
        described = getattr(module, "network", None)
        if isinstance(described, Network):
            program.model.metadata_props["moga.network"] = described.digest
        with atomic_path(path) as temporary:
            program.save(str(temporary), external_data=False)
            difference = _difference(module, temporary, shape, batch) if check else None
            size = temporary.stat().st_size
    return Exported(
        path=path,
        inputs=(batch, *shape),
        outputs=outputs,
        opset=opset,
        nodes=len(program.model.graph),
        folded=count,
        size_bytes=size,
        difference=difference,
    )


@contextlib.contextmanager
def _telling_of_memory() -> Iterator[None]:
    """Turn memory that runs out, whichever library notices, into one error.

    `_check_room` estimates; others may take memory meanwhile.
    """
    try:
        yield
    except Exception as error:
        if not any(_is_out_of_memory(cause) for cause in _causes(error)):
            raise
        raise UsageError(
            "memory ran out during the export; nothing was written. Export a smaller network or "
            "batch, without the check, or on a machine with more"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def require_libraries(*, check: bool = True) -> None:
    """Check that what an export needs is installed, without loading it.

    Args:
        check: whether files are to be compared with torch, by ONNX Runtime.

    Raises:
        MissingExtra: it is not.
    """
    for library in ("onnx", "onnxscript", *(("onnxruntime",) if check else ())):
        if importlib.util.find_spec(library) is None:
            raise MissingExtra(library, "onnx")


def _check_arguments(path: Path, weights: str | Path | None, batch: int | None, opset: int) -> None:
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise UsageError(f"batch is {batch!r}; give an integer of 1 or more, or None for any")
    if opset not in _OPSETS:
        raise UsageError(f"opset is {opset!r}; give {_OPSETS.start} to {_OPSETS.stop - 1}")
    check_target(path)
    if weights is not None and not Path(weights).is_file():
        raise UsageError(f"weights: {weights} does not exist; give a safetensors file")


def _shape_of(
    network: Network | nn.Module, given: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    described = network if isinstance(network, Network) else getattr(network, "network", None)
    if given is not None:
        return given
    if isinstance(described, Network):
        return described.input_shape
    raise UsageError(
        f"{type(network).__name__} does not say what images it takes; pass "
        "input_shape=(channels, height, width)"
    )


def available_bytes() -> int:
    """Return how much memory this process may still take, as far as the system says."""
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    system = Path("/proc/meminfo")
    if system.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", system.read_text(encoding="ascii"))
        free += [int(found[1]) * 1024] if found else []
    most_addresses, _ = resource.getrlimit(resource.RLIMIT_AS)  # as `ulimit -v` sets it
    taken = Path("/proc/self/statm")
    if most_addresses != resource.RLIM_INFINITY and taken.is_file():
        pages = int(taken.read_text(encoding="ascii").split()[0])
        free.append(max(0, most_addresses - pages * os.sysconf("SC_PAGE_SIZE")))
    group = Path("/sys/fs/cgroup")
    files = (group / "memory.max", group / "memory.current")
    if all(file.is_file() for file in files):
        most, used = (file.read_text(encoding="ascii").strip() for file in files)
        free += [int(most) - int(used)] if most.isdigit() else []
    return min(free)


def _check_room(network: Network | nn.Module, shape: tuple[int, int, int], batch: int) -> None:
    """Refuse what cannot end well before any of it is allocated."""
    if isinstance(network, Network):
        weights = 4 * count_params(network)
        values = [part.values for block in network for part in convolutions(block)]
        images = 3 * 4 * batch * max(values, default=0)
    else:
        tensors = [*network.parameters(), *network.buffers()]
        weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        images = 4 * batch * math.prod(shape)
    if weights > _MOST_BYTES:
        raise UsageError(
            f"the weights take {weights / 2**30:.2f} GiB, but an ONNX file of one piece holds at "
            "most 2 GiB (protobuf's limit); export a smaller network"
        )
    needed, free = _COPIES * weights + images, available_bytes()
    if needed > free:
        raise UsageError(
            f"the export needs about {needed / 2**30:.2f} GiB of memory, but {free / 2**30:.2f} "
            "GiB are available; export a smaller network or batch, or on a machine with more"
        )


def _module_of(network: Network | nn.Module, weights: str | Path | None) -> nn.Module:
    if isinstance(network, Network):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # random weights are the same at every export
            module: nn.Module = build_network(network)
        if weights is not None:
            load_weights(module, weights)
        else:
            _settle_norms(module, network.input_shape)
        return module.eval()
    if weights is not None:
        raise UsageError("weights are for a network as blocks; this module has its own")
    return copy.deepcopy(network).cpu().eval()


def _settling_batch(shape: tuple[int, int, int]) -> int:
    return min(32, max(2, _SETTLING_PIXELS // (shape[1] * shape[2])))


def _settle_norms(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Let every norm normalise random images, and damp what blocks add to their shortcut.

    Trained networks are so; a random one in which rounding errors grow from block to block says
    nothing of an export.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this batch alone
    images = torch.randn(_settling_batch(shape), *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        module.train()(images)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        for part in module.modules():
            if getattr(part, "add", False) and (last := _last_norm(part)) is not None:
                last.weight.mul_(_DAMPING)


def _last_norm(block: nn.Module) -> nn.BatchNorm2d | None:
    """Return the norm before a block's addition."""
    for name in ("project", "last"):
        norm = getattr(getattr(block, name, None), "bn", None)
        if isinstance(norm, nn.BatchNorm2d):
            return norm
    return None


def _trace(
    module: nn.Module, shape: tuple[int, int, int], batch: int | None, opset: int, *, simplify: bool
) -> tuple[Any, tuple[str, ...]]:
    """Return the ONNX program and the names of its outputs."""
    images = torch.zeros(batch or _TRACED_BATCH, *shape)
    names = _output_names(module)
    dynamic = ({0: torch.export.Dim("batch", min=1)},) if batch is None else None
    try:
        program = torch.onnx.export(
            module,
            (images,),
            input_names=["images"],
            output_names=list(names),
            opset_version=opset,
            dynamic_shapes=dynamic,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise UsageError(f"ONNX cannot hold this network: {_reason(error)}") from error
    assert program is not None  # noqa: S101 - only the old exporter returns None
    _simplify(program.model, fuse=simplify)
    return program, names


def _output_names(module: nn.Module) -> tuple[str, ...]:
    taken: Sequence[int] | None = getattr(module, "taken", None)
    if taken is None:
        return ("logits",)
    return tuple(f"features_{index}" for index in range(len(taken)))


def _reason(error: Exception) -> str:
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    missing = dict.fromkeys(re.findall(r"No ONNX function found for <OpOverload\(op='(.+?)'", text))
    if missing:
        return f"it has no operator for {', '.join(missing)}"
    summary = text.partition("## Exception summary")[2].strip() or text
    return summary.splitlines()[0]


def _simplify(model: Any, *, fuse: bool) -> None:
    """Fold constants and, where `fuse`, merge operators; merging folds every batch norm as well."""
    from onnxscript import optimizer

    if fuse:
        optimizer.optimize_ir(model)
    else:
        optimizer.inline(model)
        optimizer.fold_constants(model)
        optimizer.remove_unused_nodes(model)


def _difference(
    module: nn.Module, file: Path, shape: tuple[int, int, int], batch: int | None
) -> float:
    """Return how far ONNX Runtime is from torch, as a share of the largest output.

    Raises:
        ExportFailed: more than `TOLERANCE`.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # its hints are not for the user of an export
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    rng = torch.Generator().manual_seed(0)
    seen = []
    for n in _CHECKED_BATCHES if batch is None else (batch,):
        images = torch.randn(n, *shape, generator=rng)
        with torch.inference_mode():
            expected = module(images)
        expected = [expected] if isinstance(expected, Tensor) else list(expected)
        found = session.run(None, {"images": images.numpy()})
        seen += [_relative(a.numpy(), b) for a, b in zip(expected, found, strict=True)]
    if wrong := [value for value in seen if not value <= TOLERANCE]:
        own = _own_error(module, images)
        if own > TOLERANCE:
            raise ExportFailed(
                f"ONNX Runtime differs from torch by {max(wrong):.2g} of the largest output, but "
                f"with these weights torch in FP32 is itself {own:.2g} off from FP64, so that "
                "nothing can be said; nothing was written. Give other weights, or leave out the "
                "check"
            )
        raise ExportFailed(
            f"ONNX Runtime differs from torch by {max(wrong):.2g} of the largest output, more "
            f"than {TOLERANCE:g}; nothing was written"
        )
    return max(seen)


def _own_error(module: nn.Module, images: Tensor) -> float:
    """Return how far torch in FP32 is from FP64."""
    with torch.inference_mode():
        short, long = module(images), copy.deepcopy(module).double()(images.double())
    pairs = [(short, long)] if isinstance(short, Tensor) else zip(short, long, strict=True)
    return max(_relative(b.float().numpy(), a.numpy()) for a, b in pairs)


def _relative(expected: "NDArray[np.float32]", found: "NDArray[np.float32]") -> float:
    """Return the largest difference over the largest value; nan where one is not finite."""
    if expected.shape != found.shape:
        return math.inf
    largest = float(abs(expected).max())
    return float(abs(expected - found).max()) / (largest or 1.0)
