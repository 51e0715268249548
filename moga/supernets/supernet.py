"""Supernet: every network of a space in one module, sharing weights.

`sharing="separate"` is the papers' supernet: own weights for each choice of each layer (Chu, Zhang,
Xu 2019, "FairNAS", arXiv 1907.01845; MoGA section 3). `sharing="entangled"` keeps one set of the
largest weights a layer, of which each choice uses a slice (the centre of the kernel, the first
channels), and batch norms of its own (after Cai et al. 2020, "Once-for-All", arXiv 1908.09791, and
Chen et al. 2021, "AutoFormer", arXiv 2107.00651, who gave entanglement its name). It learns from
little data in little time, where 12 separate blocks a layer see too few images each.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from moga.errors import UsageError
from moga.network import Block, Network
from moga.networks.blocks import ACTIVATION_LAYERS
from moga.networks.build import NetworkModule, build_network
from moga.spaces.base import Space
from moga.supernets.choices import choices

__all__ = ["SHARINGS", "Sharing", "Supernet", "load_parameters"]

Sharing = Literal["entangled", "separate"]
SHARINGS: Final = ("entangled", "separate")

_CHUNK_PIXELS: Final = 1 << 20
"""Pixels that pass at once while statistics are recalibrated, so that memory stays small."""


class Supernet(nn.Module):
    """All networks of a space whose slots are fixed, or choose one block by one gene.

    Args:
        space: what it spans.
        sharing: "entangled" or "separate", as the module's docstring says.
        seed: of the initial weights.

    Raises:
        UsageError: a slot of another kind, naming it; unknown sharing.

    Example:
        >>> from moga.spaces.moga import MoGASpace
        >>> supernet = Supernet(MoGASpace(resolution=16, width=0.1, num_classes=4))
        >>> supernet(torch.zeros(2, 3, 16, 16), (0,) * 14).shape
        torch.Size([2, 4])
    """

    def __init__(self, space: Space, sharing: Sharing = "entangled", *, seed: int = 0) -> None:
        super().__init__()
        if sharing not in SHARINGS:
            raise UsageError(f"sharing is {sharing!r}; give one of {', '.join(SHARINGS)}")
        self.space, self.sharing = space, sharing
        build: type[_Entangled | _Separate] = _Entangled if sharing == "entangled" else _Separate
        blocks_of = choices(space)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[_Layer] = [
                build(slot.name, blocks) if slot.genes else _Fixed(blocks)
                for slot, blocks in zip(space.slots, blocks_of, strict=True)
            ]
        self.layers = nn.ModuleList(layers)
        self.genes = tuple(slot.genes[0] if slot.genes else None for slot in space.slots)
        self._fixed = next((i for i, gene in enumerate(self.genes) if gene is not None), 0)
        for module in self.modules():
            if isinstance(module, BatchNormAct2d):
                module.momentum = None  # statistics average over all images since the last reset
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, genome: Sequence[int]) -> Tensor:
        """(n, 3, height, width) images -> (n, classes) logits of the genome's path."""
        return self.path(self.stem(x), genome)

    def stem(self, x: Tensor) -> Tensor:
        """Run the slots before the first choice; the same for all genomes."""
        for layer, _ in self._pairs()[: self._fixed]:
            x = layer(x, 0)
        return x

    def path(self, x: Tensor, genome: Sequence[int]) -> Tensor:
        """Run the rest, from what `stem` gave."""
        for layer, gene in self._pairs()[self._fixed :]:
            x = layer(x, 0 if gene is None else int(genome[gene]))
        return x

    def _pairs(self) -> list[tuple["_Layer", int | None]]:
        return list(zip(cast("Iterable[_Layer]", self.layers), self.genes, strict=True))

    def choices(self) -> dict[int, int]:
        """Return gene -> number of choices, for every gene that a slot reads."""
        sizes = self.space.sizes
        return {gene: int(sizes[gene]) for gene in self.genes if gene is not None}

    @torch.no_grad()
    def calibrate(self, x: Tensor, genome: Sequence[int]) -> None:
        """Set the batch-norm statistics of a path to those of images, shape (n, 3, height, width).

        Large batches pass in chunks whose statistics are averaged.
        """
        for layer, gene in self._pairs():
            for norm in layer.norms(0 if gene is None else int(genome[gene])):
                norm.reset_running_stats()
        mode = self.training
        self.train()
        try:
            for chunk in torch.split(x, max(1, _CHUNK_PIXELS // (x.shape[-1] * x.shape[-2]))):
                self(chunk, genome)
        finally:
            self.train(mode)

    def extract(self, genome: Sequence[int]) -> NetworkModule:
        """Return the genome's network on its own, with the weights and statistics it has here.

        Call `calibrate` first: the statistics are those of the last calibration. The result is in
        evaluation mode and shares no memory with the supernet.
        """
        with torch.random.fork_rng(devices=[]):
            module = build_network(self.space.decode(list(genome)))
        module.to(next(self.parameters()).dtype)
        state: dict[str, Tensor] = {}
        position = 0
        for layer, gene in self._pairs():
            for weights in layer.weights(0 if gene is None else int(genome[gene])):
                state |= {f"blocks.{position}.{name}": value for name, value in weights.items()}
                position += 1
        module.load_state_dict(state)
        return module.eval()


def load_parameters(supernet: Supernet, weights: Mapping[str, NDArray[np.float32]]) -> Supernet:
    """Set a supernet's parameters and return it.

    Raises:
        UsageError: parameters of another supernet.
    """
    own: dict[str, Tensor] = dict(supernet.named_parameters())
    given = {name: tuple(array.shape) for name, array in weights.items()}
    if given != {name: tuple(parameter.shape) for name, parameter in own.items()}:
        raise UsageError(
            f"these weights are of another supernet than {supernet.space.spec} with "
            f"{supernet.sharing} weights"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(torch.tensor(weights[name]))
    return supernet


def _build(block: Block) -> nn.Module:
    """Build one block, initialised as `build_network` does, but for `_start_as_identity`."""
    module: Any = build_network(Network((block,))).blocks[0]
    if block.operation == "mbconv":
        _start_as_identity(block, module.project.bn)
    return cast("nn.Module", module)


def _start_as_identity(block: Block, norm: BatchNormAct2d) -> None:
    """Let a block with a shortcut add nothing at first (Goyal et al. 2017, arXiv 1706.02677, 5.1).

    Random paths then begin shallow; without it they stay at chance for hundreds of steps.
    """
    if block.shortcut == "identity":
        nn.init.zeros_(norm.weight)


def _norms(module: nn.Module) -> list[BatchNormAct2d]:
    return [part for part in module.modules() if isinstance(part, BatchNormAct2d)]


class _Layer(nn.Module, ABC):
    """One slot: `forward(x, choice)`; its norms; its weights as its blocks' modules name them."""

    @abstractmethod
    def norms(self, choice: int) -> list[BatchNormAct2d]:
        """Return the norms that a choice runs through, in order."""

    @abstractmethod
    def weights(self, choice: int) -> list[dict[str, Tensor]]:
        """Return a choice's weights, a mapping a block, under its module's names."""


class _Fixed(_Layer):
    """The blocks of a slot without genes."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_build(block) for block in blocks)

    def forward(self, x: Tensor, _choice: int) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def norms(self, _choice: int) -> list[BatchNormAct2d]:
        return _norms(self)

    def weights(self, _choice: int) -> list[dict[str, Tensor]]:
        return [block.state_dict() for block in self.blocks]


class _Separate(_Layer):
    """A block of its own for each choice."""

    def __init__(self, _slot: str, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_build(block) for block in blocks)

    def forward(self, x: Tensor, choice: int) -> Tensor:
        out: Tensor = self.blocks[choice](x)
        return out

    def norms(self, choice: int) -> list[BatchNormAct2d]:
        return _norms(self.blocks[choice])

    def weights(self, choice: int) -> list[dict[str, Tensor]]:
        return [self.blocks[choice].state_dict()]


_SHARED: Final = (
    *("operation", "in_channels", "out_channels", "height", "width", "stride"),
    *("activation", "se_activation", "padding", "norm_eps", "batch_factor"),
)
"""Fields in which all choices of an entangled layer agree."""


class _Entangled(_Layer):
    """One set of the largest weights; each choice uses a slice, and has its own batch norms."""

    def __init__(self, slot: str, blocks: Sequence[Block]) -> None:
        super().__init__()
        _check_alike(slot, blocks)
        self.blocks = tuple(blocks)
        largest = dataclasses.replace(
            max(blocks, key=lambda block: block.se_channels),
            kernel=max(block.kernel for block in blocks),
            hidden_channels=max(block.hidden_channels for block in blocks),
            se_channels=max(block.se_channels for block in blocks),
        )
        module: Any = _build(largest)
        self.expand = nn.Parameter(module.expand.conv.weight.detach())
        self.depthwise = nn.Parameter(module.depthwise.conv.weight.detach())
        self.project = nn.Parameter(module.project.conv.weight.detach())
        self.se: Any = module.se
        self.choice_norms: Any = nn.ModuleList(_mbconv_norms(block) for block in blocks)

    def forward(self, x: Tensor, choice: int) -> Tensor:
        block, norm = self.blocks[choice], self.choice_norms[choice]
        # Taps further from the centre than the image is wide meet zeros only.
        kernel = min(block.kernel, 2 * min(block.height, block.width) - 1)
        hidden = block.hidden_channels
        y = norm["expand"](F.conv2d(x, self.expand[:hidden]))
        y = F.conv2d(
            y,
            self._centre(hidden, kernel),
            stride=block.stride,
            padding=kernel // 2,
            groups=hidden,
        )
        y = norm["depthwise"](y)
        if block.se_channels:
            y = self._squeeze_excite(y, block)
        y = norm["project"](F.conv2d(y, self.project[:, :hidden]))
        out: Tensor = y + x if block.shortcut == "identity" else y
        return out

    def _centre(self, hidden: int, kernel: int) -> Tensor:
        start = (self.depthwise.shape[-1] - kernel) // 2
        return self.depthwise[:hidden, :, start : start + kernel, start : start + kernel]

    def _squeeze_excite(self, y: Tensor, block: Block) -> Tensor:
        part = self._se_slices(block)
        gate = y.mean((2, 3), keepdim=True)
        gate = self.se.act(F.conv2d(gate, part["fc1.weight"], part["fc1.bias"]))
        gate = F.conv2d(gate, part["fc2.weight"], part["fc2.bias"])
        gated: Tensor = y * self.se.gate(gate)
        return gated

    def _se_slices(self, block: Block) -> dict[str, Tensor]:
        hidden, narrow = block.hidden_channels, block.se_channels
        return {
            "fc1.weight": self.se.fc1.weight[:narrow, :hidden],
            "fc1.bias": self.se.fc1.bias[:narrow],
            "fc2.weight": self.se.fc2.weight[:hidden, :narrow],
            "fc2.bias": self.se.fc2.bias[:hidden],
        }

    def norms(self, choice: int) -> list[BatchNormAct2d]:
        return _norms(self.choice_norms[choice])

    def weights(self, choice: int) -> list[dict[str, Tensor]]:
        """Return the slices and the norms, under the names that the block's own module has."""
        block, hidden = self.blocks[choice], self.blocks[choice].hidden_channels
        state = {
            "expand.conv.weight": self.expand[:hidden],
            "depthwise.conv.weight": self._centre(hidden, block.kernel),
            "project.conv.weight": self.project[:, :hidden],
        }
        if block.se_channels:
            state |= {f"se.{name}": value for name, value in self._se_slices(block).items()}
        for part, norm in self.choice_norms[choice].items():
            state |= {f"{part}.bn.{name}": value for name, value in norm.state_dict().items()}
        return [{name: value.detach() for name, value in state.items()}]


def _check_alike(slot: str, blocks: Sequence[Block]) -> None:
    first = blocks[0]
    for block in blocks:
        groups = f" of {block.groups} groups" if block.groups > 1 else ""
        shareable = block.operation == "mbconv" and not groups
        if not shareable or block.padding != "symmetric" or block.norm_eps is None:
            raise UsageError(
                f"slot {slot!r}: entangled weights need choices that are mbconv with symmetric "
                f"padding and norm, got {block.operation!r}{groups}; use sharing='separate'"
            )
        for field in _SHARED:
            if getattr(block, field) != getattr(first, field):
                raise UsageError(
                    f"slot {slot!r}: choices differ in {field}, which entangled weights cannot "
                    "share; use sharing='separate'"
                )
    if len({block.se_gate for block in blocks if block.se_channels}) > 1:
        raise UsageError(
            f"slot {slot!r}: choices differ in se_gate, which entangled weights cannot share; "
            "use sharing='separate'"
        )


def _mbconv_norms(block: Block) -> nn.ModuleDict:
    layer = ACTIVATION_LAYERS[block.activation]
    active = block.activation != "none"

    def norm(channels: int, apply: bool) -> BatchNormAct2d:
        return BatchNormAct2d(channels, eps=block.norm_eps, apply_act=apply, act_layer=layer)

    hidden, last = block.hidden_channels, norm(block.out_channels, False)
    _start_as_identity(block, last)
    return nn.ModuleDict(
        {"expand": norm(hidden, active), "depthwise": norm(hidden, active), "project": last}
    )
