"""The operations of any torch module, by watching it run on tensors without data.

What `moga.networks.operations` says of moga's blocks, this says of timm's networks and others.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moga.errors import UsageError
from moga.networks.operations import Operation

__all__ = ["needs_no_data", "watch"]

_KINDS: Final = {
    **dict.fromkeys(("convolution", "addmm", "mm", "bmm"), "conv"),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), "norm"
    ),
    **dict.fromkeys(("relu", "hardtanh", "clamp", "clamp_min"), "relu"),
    "silu": "swish",
    "hardswish": "hswish",
    "sigmoid": "sigmoid",
    "hardsigmoid": "hard_sigmoid",
    **dict.fromkeys(("add", "sub"), "add"),
    **dict.fromkeys(("mean", "sum", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"), "reduce"),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"), "window"),
    **dict.fromkeys(("constant_pad_nd", "cat", "clone", "copy", "roll"), "copy"),
}
_COPYLESS: Final = ("_unsafe_view", "_reshape_alias", "detach", "empty", "lift_fresh")


def watch(module: nn.Module, input_shape: tuple[int, int, int]) -> tuple[Operation, ...]:
    """Return the operations of a module in evaluation mode for one image, in running order.

    Args:
        module: any that takes images; it is not changed.
        input_shape: channels, height and width of an image.

    Raises:
        UsageError: a module that cannot run without data.
    """
    ghost = copy.deepcopy(module).to("meta").eval()
    recorder = _Recorder()
    with needs_no_data(module, input_shape), torch.no_grad(), recorder:
        ghost(torch.empty(1, *input_shape, device="meta"))
    return tuple(recorder.operations)


@contextmanager
def needs_no_data(module: nn.Module, input_shape: Sequence[int]) -> Iterator[None]:
    """Turn what torch raises where a module needs values into an error that names the module.

    Raises:
        UsageError: torch has no kernel without data, or shapes do not fit.
    """
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(
            f"{type(module).__name__} cannot run on images of shape {input_shape} without data: "
            f"{first}"
        ) from error


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own is untyped
    """Writes one operation a call down."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        name = func.overloadpacket.__name__.rstrip("_")
        if read and written and not func.is_view and name not in _COPYLESS:
            self.operations.extend(_operations(name, args, read, written[0]))
        return out


def _operations(name: str, args: Sequence[Any], read: list[Tensor], out: Tensor) -> list[Operation]:
    kind = _KINDS.get(name, "other")
    if name == "convolution":
        return _convolution(args[0], args[1], args[2] is not None, int(args[8]), out)
    if kind == "conv":
        return [_product(read, out)]
    if kind == "norm":
        return [Operation("norm", out.numel(), out.numel(), 2 * read[1].numel())]
    if name == "mul":
        kind = "scale" if min(map(Tensor.numel, read)) < out.numel() else "other"
    if kind == "add" and len(read) == 1:
        kind = "other"  # a number is added
    return [Operation(kind, sum(map(Tensor.numel, read)), out.numel())]


def _convolution(
    x: Tensor, weight: Tensor, bias: bool, groups: int, out: Tensor
) -> list[Operation]:
    values, channels = out.numel(), out.shape[1]
    found = [
        Operation(
            "conv",
            x.numel(),
            values,
            weight.numel(),
            values * weight[0].numel(),
            out.shape[0] * math.prod(out.shape[2:]),
            channels,
            groups,
        )
    ]
    if bias:
        found.append(Operation("bias", values, values, channels))
    return found


def _product(read: list[Tensor], out: Tensor) -> Operation:
    """A matrix product: its second factor is the layer's weights."""
    first, second = read[-2:]
    inner = second.shape[-2]
    positions, channels = out.numel() // out.shape[-1], out.shape[-1]
    return Operation(
        "conv", first.numel(), out.numel(), second.numel(), out.numel() * inner, positions, channels
    )
