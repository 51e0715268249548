"""Work and memory traffic of any torch module, by watching its operators run without data.

The module runs on torch's "meta" device, where tensors have shapes but no values, so that a batch
of 128 images costs nothing. What counts as traffic depends on what the engine fuses:

- ``fused`` (what compilers such as XLA and TensorRT do): convolutions, matrix products, reductions,
  pooling, concatenations and copies read their operands and write their result. Element-wise
  operators, norms and padding join the kernel beside them: only a further operand of the result's
  kind is read (the shortcut of an addition).
- ``eager``: every operator reads its operands and writes its result.
- ``convolutions``: only those of convolutions and matrix products, as `moga.networks.count` does.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moga.errors import UsageError
from moga.networks.watch import needs_no_data

__all__ = ["FUSIONS", "Fusion", "Traced", "fusion_named", "trace"]

Fusion = Literal["fused", "eager", "convolutions"]
FUSIONS: Final[tuple[Fusion, ...]] = ("fused", "eager", "convolutions")

_PRODUCTS: Final = ("convolution", "addmm", "mm", "bmm", "baddbmm")
_NORMS: Final = (
    *("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"),
    *("cudnn_batch_norm", "_batch_norm_with_update"),
)
_COPYLESS: Final = ("_unsafe_view", "_reshape_alias", "detach", "empty", "lift_fresh")
_PADS: Final = ("constant_pad_nd",)
_COPIES: Final = ("clone", "copy")
_UNTAGGED: Final = ("hardswish",)
"""Element-wise operators that torch does not tag as such."""


def fusion_named(name: str) -> Fusion:
    """Return a convention by its name.

    Raises:
        UsageError: no such convention.
    """
    for known in FUSIONS:
        if name == known:
            return known
    raise UsageError(f"fusion is {name!r}; give one of {', '.join(FUSIONS)}")


@dataclasses.dataclass(frozen=True)
class Traced:
    """What a part of a module costs for one batch.

    Args:
        name: the part: the first components of its modules' names.
        macs: multiply-adds of convolutions and matrix products.
        moved: numbers that are read or written.
    """

    name: str
    macs: int
    moved: int


def trace(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    batch: int = 1,
    fusion: Fusion = "fused",
    depth: int = 2,
) -> tuple[Traced, ...]:
    """Return the cost of each part of a module, in the order in which they first run.

    Args:
        module: any that takes images; it is not changed.
        input_shape: channels, height and width of an image.
        batch: images a batch.
        fusion: what counts as traffic (the module's docstring).
        depth: how many components of the modules' names tell parts apart; 2 gives moga's blocks.

    Raises:
        UsageError: an unknown fusion, a batch below 1, or a module that cannot run without data.
    """
    fusion = fusion_named(fusion)
    if batch < 1:
        raise UsageError(f"batch is {batch!r}; give an integer of 1 or more")
    ghost = module if _is_meta(module) else copy.deepcopy(module).to("meta")
    was_training = [part for part in ghost.modules() if part.training]
    recorder = _Recorder(fusion)
    try:
        ghost.eval()
        hooks = _named(ghost, recorder, depth)
        with needs_no_data(module, input_shape), torch.no_grad(), hooks, recorder:
            ghost(torch.empty(batch, *input_shape, device="meta"))
    finally:
        for part in was_training:
            part.training = True
    return tuple(Traced(name, *cost) for name, cost in recorder.costs.items())


def _is_meta(module: nn.Module) -> bool:
    return all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))


@contextmanager
def _named(module: nn.Module, recorder: "_Recorder", depth: int) -> Iterator[None]:
    """Tell the recorder in which part the operators run."""
    with ExitStack() as hooks:
        for name, part in module.named_modules():
            short = ".".join(name.split(".")[:depth])
            enter, leave = recorder.hooks(short)
            hooks.callback(part.register_forward_pre_hook(enter).remove)
            hooks.callback(part.register_forward_hook(leave).remove)
        yield


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own is untyped
    """Adds up, for each part, multiply-adds and numbers moved."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fusion = fusion
        self.costs: dict[str, tuple[int, int]] = {}
        self._parts: list[str] = []
        self._unpadded: dict[int, tuple[Tensor, int]] = {}

    def hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Return what runs before and after a module of this part."""

        def enter(*_: Any) -> None:
            self._parts.append(name)

        def leave(*_: Any) -> None:
            self._parts.pop()

        return enter, leave

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if read and written:
            self._count(func, read, written)
        return out

    def _count(self, func: Any, read: list[Tensor], written: list[Tensor]) -> None:
        name = func.overloadpacket.__name__.rstrip("_")
        if name in _COPYLESS or func.is_view:
            return
        if name in _PADS and self.fusion != "eager":
            size = self._size(read[0])
            self._unpadded[id(written[0])] = (written[0], size)  # held, so that the id stays its
            return
        macs = _macs(name, read, written[0]) if name in _PRODUCTS else 0
        moved = self._moved(func, name, read, written)
        part = self._parts[-1] or "(top)"
        before = self.costs.get(part, (0, 0))
        self.costs[part] = (before[0] + macs, before[1] + moved)

    def _moved(self, func: Any, name: str, read: list[Tensor], written: list[Tensor]) -> int:
        # further results are indices and statistics for training
        everything = sum(map(self._size, read)) + written[0].numel()
        if name in _PRODUCTS or self.fusion == "eager":
            return everything
        if self.fusion == "convolutions" or name in _NORMS:
            return 0
        fused = torch.Tag.pointwise in func.tags or name in _UNTAGGED
        if fused and name not in _COPIES:  # which torch calls element-wise too
            sizes = sorted(map(self._size, read))
            return sum(sizes[:-1])
        return everything

    def _size(self, tensor: Tensor) -> int:
        """Return how many numbers of a tensor are in memory: padding and repeats are not."""
        if id(tensor) in self._unpadded:
            return self._unpadded[id(tensor)][1]
        pairs = zip(tensor.shape, tensor.stride(), strict=True)
        size = 1
        for length, stride in pairs:
            size *= length if stride else 1
        return size


def _macs(name: str, read: list[Tensor], out: Tensor) -> int:
    if name == "convolution":
        return out.numel() * read[1][0].numel()
    inner = read[-1].shape[-2]  # of the second factor: (..., inner, columns)
    return out.numel() * inner
