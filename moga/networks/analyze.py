"""Which networks may be analysed, and how full the rank of their convolutions is.

`find_module` takes what the commands take: a published network, a network's JSON file, or timm's
name. `rank_table` gives the singular values of every convolution's kernel, as GENet's authors
looked at them to decide where full convolutions pay (Lin et al. 2020, "Neural Architecture Design
for GPU-Efficient Networks", arXiv 2006.14090, section 3.3): a stage whose kernels have a low
intrinsic rank can do with bottlenecks or depthwise convolutions.
"""

import dataclasses
import difflib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from moga.errors import FormatError, UnknownName, UsageError
from moga.network import Network
from moga.networks import zoo
from moga.networks.build import build_network, load_weights

__all__ = [
    "THRESHOLDS",
    "KernelRank",
    "StageRank",
    "find_module",
    "input_shape",
    "is_checkpoint",
    "rank_table",
    "read_checkpoint",
    "stage_table",
]

THRESHOLDS: Final = (0.5, 0.25, 0.1)
"""Shares of the largest singular value above which one counts towards the effective rank."""

_CHECKPOINTS: Final = (".safetensors", ".pth", ".pt", ".bin", ".tar")
_INSIDE: Final = ("state_dict_ema", "state_dict", "model_ema", "model")
_GRID: Final = 101


def is_checkpoint(model: str | Path) -> bool:
    """Say whether a name is that of a file with weights."""
    return Path(model).suffix in _CHECKPOINTS


def find_module(
    model: str | Path,
    *,
    weights: str | Path | None = None,
    pretrained: bool = False,
    meta: bool = False,
) -> nn.Module:
    """Build a published network, one from its JSON file, or one of timm's.

    Args:
        model: a name, or the path of a network's JSON file.
        weights: a safetensors file; None: initialised at random.
        pretrained: for timm's networks, let timm fetch its weights.
        meta: build it without data, for `moga.networks.trace`.

    Raises:
        UnknownName: none of the three.
        UsageError: a missing file; weights that timm cannot fetch, or for a network without data.
        FormatError: a damaged file, or weights of another network.
    """
    if meta and (weights is not None or pretrained):
        raise UsageError("weights are of no use to a network without data (meta=True)")
    if weights is not None and not Path(weights).is_file():
        raise UsageError(f"weights: {weights} does not exist; give a safetensors file")
    with torch.device("meta") if meta else nullcontext():
        described = _described(model)
        if described is None:
            module = _from_timm(str(model), pretrained=pretrained)
        elif pretrained:
            raise UsageError("pretrained is for timm's networks; moga ships no trained weights")
        else:
            module = build_network(described)
    if weights is not None:
        load_weights(module, weights)
    return module.eval()


def _described(model: str | Path) -> Network | None:
    """Return the network as blocks; None for a name that may be timm's."""
    path = Path(model)
    ours = isinstance(model, Path) or model in zoo.names()
    return zoo.describe(model) if ours or path.is_file() or path.suffix == ".json" else None


def _from_timm(name: str, *, pretrained: bool) -> nn.Module:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UnknownName("network", name, [*zoo.names(), *near])
    try:
        module: nn.Module = timm.create_model(name, pretrained=pretrained)
    except (RuntimeError, OSError) as error:
        raise UsageError(f"timm cannot make {name!r}: {error}") from error
    return module


def input_shape(module: nn.Module, resolution: int | None = None) -> tuple[int, int, int]:
    """Return channels, height and width of the images that a module takes.

    Raises:
        UsageError: the module says nothing of it and no resolution is given.
    """
    described = getattr(module, "network", None)
    shape = described.input_shape if isinstance(described, Network) else None
    if shape is None and isinstance(config := getattr(module, "default_cfg", None), Mapping):
        shape = config.get("input_size")
    if resolution is not None:
        if resolution < 1:
            raise UsageError(f"resolution is {resolution}; give an integer of 1 or more")
        return (shape[0] if shape else 3, resolution, resolution)
    if shape is None:
        raise UsageError(f"{type(module).__name__} does not say its images' size: give resolution")
    channels, height, width = shape
    return channels, height, width


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint: safetensors, or torch's own format without pickled code.

    Raises:
        UsageError: no such file, or a suffix that is no checkpoint's.
        FormatError: damaged, or it holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a checkpoint")
    if not is_checkpoint(path):
        raise UsageError(f"{path} is no checkpoint; known endings: {', '.join(_CHECKPOINTS)}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path} is no readable checkpoint: {reason}") from error
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _INSIDE if key in content), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    tensors = dict(content) if isinstance(content, Mapping) else {}
    found = {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        raise FormatError(f"{path} holds no tensors by name")
    return found


@dataclasses.dataclass(frozen=True)
class KernelRank:
    """The singular values of one convolution's kernel.

    Args:
        stage: to which part of the network it belongs.
        name: of the weight.
        shape: output channels, input channels a group, height, width.
        singular_values: sorted, the largest first, divided by the largest; all 0 for a kernel of
            zeros.
        effective_rank: threshold -> how many singular values are at least that share of the
            largest.
    """

    stage: str
    name: str
    shape: tuple[int, int, int, int]
    singular_values: NDArray[np.float64] = dataclasses.field(repr=False)
    effective_rank: Mapping[float, int]

    @property
    def full_rank(self) -> int:
        """How many singular values there are."""
        return len(self.singular_values)

    @property
    def depthwise(self) -> bool:
        """Whether each output channel sees one input channel."""
        return self.shape[1] == 1


@dataclasses.dataclass(frozen=True)
class StageRank:
    """The kernels of one stage together; depthwise kernels and 1-row ones are left out.

    Args:
        stage: its name.
        kernels: how many.
        rank: threshold -> mean effective rank, as a share of the full one.
        spectrum: mean normalised singular value at 101 places from the first (0) to the last (1).
    """

    stage: str
    kernels: int
    rank: Mapping[float, float]
    spectrum: NDArray[np.float64] = dataclasses.field(repr=False)


def rank_table(
    source: nn.Module | Mapping[str, Tensor], thresholds: Sequence[float] = THRESHOLDS
) -> tuple[KernelRank, ...]:
    """Return the singular values of every convolution's kernel, in the order of the weights.

    A kernel (out, in, k, k) is taken as the matrix (out, in*k*k), of a grouped convolution with the
    input channels of one group. How the paper reshapes kernels is not established. Nor is how it
    names stages: here a stage of a moga network is the reduction at which it computes ("1/4"), and
    that of any other model the name up to its first number ("layer1", "blocks.3").

    Args:
        source: a module, or weights by name.
        thresholds: shares of the largest singular value, between 0 and 1.

    Raises:
        UsageError: no convolution, or a threshold outside (0, 1].
        FormatError: a kernel that is not finite.
    """
    if wrong := [value for value in thresholds if not 0 < value <= 1]:
        raise UsageError(f"thresholds are shares of the largest value, above 0 to 1; got {wrong}")
    kernels = _kernels(source)
    if not kernels:
        raise UsageError("there is no convolution: no weight has four dimensions")
    stages = _stages(source)
    rows = []
    for name, kernel in kernels.items():
        values = _spectrum(name, kernel)
        effective = {value: int(np.count_nonzero(values >= value)) for value in thresholds}
        out, inside, height, width = kernel.shape
        stage = stages[name] if name in stages else _stage_by_name(name)
        rows.append(KernelRank(stage, name, (out, inside, height, width), values, effective))
    return tuple(rows)


def _kernels(source: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = source.state_dict() if isinstance(source, nn.Module) else source
    return {name: value for name, value in tensors.items() if value.dim() == 4}


def _spectrum(name: str, kernel: Tensor) -> NDArray[np.float64]:
    matrix = kernel.detach().cpu().to(torch.float64).numpy().reshape(len(kernel), -1)
    if not np.isfinite(matrix).all():
        raise FormatError(f"{name} holds values that are not finite")
    values: NDArray[np.float64] = np.linalg.svd(matrix, compute_uv=False)
    return values / (values[0] or 1.0)


def _stages(source: nn.Module | Mapping[str, Tensor]) -> dict[str, str]:
    """Return weight -> stage for a network of moga's; {} for others."""
    described = getattr(source, "network", None)
    if not isinstance(described, Network) or not isinstance(source, nn.Module):
        return {}
    reduction, by_block = 1, []
    for block in described:
        if block.operation == "batch_to_space":
            reduction //= block.stride
        else:
            reduction *= block.stride
        by_block.append(f"1/{reduction}")
    names = [name.split(".") for name in source.state_dict()]
    return {".".join(n): by_block[int(n[1])] for n in names if n[0] == "blocks"}


def _stage_by_name(name: str) -> str:
    parts = name.removesuffix(".weight").split(".")
    for index, part in enumerate(parts):
        if any(character.isdigit() for character in part):
            return ".".join(parts[: index + 1])
    return parts[0]


def stage_table(rows: Iterable[KernelRank]) -> tuple[StageRank, ...]:
    """Return one row a stage, in order: mean effective ranks, and the mean spectrum.

    Depthwise kernels are left out (their rank is at most that of the k*k window), and so are
    matrices with a single row or column.
    """
    stages: dict[str, list[KernelRank]] = {}
    for row in rows:
        if not row.depthwise and row.full_rank > 1:
            stages.setdefault(row.stage, []).append(row)
    return tuple(_stage(name, kernels) for name, kernels in stages.items())


def _stage(name: str, kernels: Sequence[KernelRank]) -> StageRank:
    grid = np.linspace(0, 1, _GRID)
    curves = [
        np.interp(grid, np.linspace(0, 1, kernel.full_rank), kernel.singular_values)
        for kernel in kernels
    ]
    rank = {
        value: float(
            np.mean([kernel.effective_rank[value] / kernel.full_rank for kernel in kernels])
        )
        for value in kernels[0].effective_rank
    }
    return StageRank(name, len(kernels), rank, np.mean(curves, axis=0))
