"""Block -> torch module, one class a kind of block, on `timm.layers`.

Parameter names are part of the contract: a supernet's slices and saved weights use them.
"""

from collections.abc import Callable
from typing import Final

import torch
from timm.layers import BatchNormAct2d, SqueezeExcite, create_conv2d, get_act_layer
from torch import Tensor, nn

from moga.network import Block

__all__ = ["ACTIVATION_LAYERS", "ConvNormAct", "build_block"]

ACTIVATION_LAYERS: Final[dict[str, type[nn.Module]]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "swish": nn.SiLU,
}
_GATES: Final = {"sigmoid": "sigmoid", "hard_sigmoid": "hard_sigmoid"}
_PADDING: Final = {"symmetric": "", "same": "same", "zero": "valid"}


class ConvNormAct(nn.Module):
    """Convolution, batch norm where `eps` is given, activation where it is not "none".

    timm's own `ConvNormAct` drops the activation where there is no norm; MoGA's 1280 layer has one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: str = "symmetric",
        eps: float | None = None,
        activation: str = "none",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = create_conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            groups=groups,
            padding=_PADDING[padding],
            bias=bias,
        )
        layer = ACTIVATION_LAYERS[activation]
        apply = activation != "none"
        self.bn: nn.Module
        if eps is not None:
            self.bn = BatchNormAct2d(out_channels, eps=eps, apply_act=apply, act_layer=layer)
        else:
            self.bn = layer(inplace=True) if apply else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h', w')."""
        out: Tensor = self.bn(self.conv(x))
        return out


def _squeeze_excite(block: Block, channels: int) -> nn.Module:
    if not block.se_channels:
        return nn.Identity()
    module: nn.Module = SqueezeExcite(
        channels,
        rd_channels=block.se_channels,
        act_layer=ACTIVATION_LAYERS[block.se_activation or block.activation],
        gate_layer=get_act_layer(_GATES[block.se_gate]),
    )
    return module


class _Conv(ConvNormAct):
    def __init__(self, block: Block) -> None:
        super().__init__(
            block.in_channels,
            block.out_channels,
            block.kernel,
            stride=block.stride,
            groups=block.groups,
            padding=block.padding,
            eps=block.norm_eps,
            activation=block.activation,
            bias=block.bias,
        )
        self.add = block.shortcut == "identity"

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out + x if self.add else out


class _ChannelShuffle(nn.Module):
    """Deal the channels of each group out to all groups, between the two grouped 1x1 convolutions.

    FBNet (Wu et al. 2019, arXiv 1812.03443, section 3.1) takes it from ShuffleNet and does not say
    where it stands; ours stands where ShuffleNet's does, between the first 1x1 and the depthwise.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        dealt = x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2)
        return dealt.reshape(n, c, h, w)


def _spatial(block: Block, in_channels: int, out_channels: int, groups: int = 1) -> ConvNormAct:
    """The kxk convolution of a block: its stride, padding, norm and activation."""
    return ConvNormAct(
        in_channels,
        out_channels,
        block.kernel,
        stride=block.stride,
        groups=groups,
        padding=block.padding,
        eps=block.norm_eps,
        activation=block.activation,
    )


class _MBConv(nn.Module):
    """Expansion (absent in a dsconv), depthwise, squeeze-and-excitation, linear projection."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        hidden = block.hidden_channels or block.in_channels
        eps, activation = block.norm_eps, block.activation
        self.expand: nn.Module = nn.Identity()
        if block.operation == "mbconv":
            self.expand = ConvNormAct(
                block.in_channels, hidden, groups=block.groups, eps=eps, activation=activation
            )
        self.shuffle = _ChannelShuffle(block.groups) if block.groups > 1 else nn.Identity()
        self.depthwise = ConvNormAct(
            hidden,
            hidden,
            block.kernel,
            stride=block.stride,
            groups=hidden,
            padding=block.padding,
            eps=eps,
            activation=activation,
        )
        self.se = _squeeze_excite(block, hidden)
        self.project = ConvNormAct(hidden, block.out_channels, groups=block.groups, eps=eps)
        self.add = block.shortcut == "identity"

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.se(self.depthwise(self.shuffle(self.expand(x)))))
        return out + x if self.add else out


class _FusedMBConv(nn.Module):
    """kxk convolution to the hidden width, squeeze-and-excitation, linear projection."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.expand = _spatial(block, block.in_channels, block.hidden_channels)
        self.se = _squeeze_excite(block, block.hidden_channels)
        self.project = ConvNormAct(block.hidden_channels, block.out_channels, eps=block.norm_eps)
        self.add = block.shortcut == "identity"

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.se(self.expand(x)))
        return out + x if self.add else out


class _GENetBlock(nn.Module):
    """XX, BL or DW: convolutions, the sum with the shortcut, then the activation.

    Lin et al. 2020 (arXiv 2006.14090), Fig. 4; all three are residual.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        hidden, out, eps = block.hidden_channels, block.out_channels, block.norm_eps
        if block.operation == "xx":
            self.first = _spatial(block, block.in_channels, hidden)
            self.middle: nn.Module = nn.Identity()
            self.last = ConvNormAct(hidden, out, block.kernel, padding=block.padding, eps=eps)
        else:
            groups = hidden if block.operation == "dw" else 1
            self.first = ConvNormAct(
                block.in_channels, hidden, eps=eps, activation=block.activation
            )
            self.middle = _spatial(block, hidden, hidden, groups)
            self.last = ConvNormAct(hidden, out, eps=eps)
        self.shortcut: nn.Module = nn.Identity()
        if block.shortcut == "conv":
            self.shortcut = ConvNormAct(block.in_channels, out, stride=block.stride, eps=eps)
        self.add = block.shortcut != "none"
        self.activation = ACTIVATION_LAYERS[block.activation]()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.middle(self.first(x)))
        activated: Tensor = self.activation(out + self.shortcut(x) if self.add else out)
        return activated


class _SpaceToBatch(nn.Module):
    """(n, c, h, w) -> (n*f*f, c, h/f, w/f): image n's phase (i, j) becomes image (n*f + i)*f + j.

    Li et al. 2021 (arXiv 2102.05610), section 3.1: a copy, no weights.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.factor = block.stride

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        f = self.factor
        phases = x.reshape(n, c, h // f, f, w // f, f).permute(0, 3, 5, 1, 2, 4)
        return phases.reshape(n * f * f, c, h // f, w // f)


class _BatchToSpace(nn.Module):
    """(n*f*f, c, h, w) -> (n, c, h*f, w*f): the inverse of `_SpaceToBatch`."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.factor = block.stride

    def forward(self, x: Tensor) -> Tensor:
        images, c, h, w = x.shape
        f = self.factor
        phases = x.reshape(images // (f * f), f, f, c, h, w).permute(0, 3, 4, 1, 5, 2)
        return phases.reshape(images // (f * f), c, h * f, w * f)


class _ReLUConvNorm(nn.Module):
    """NAS-Bench-201's order: ReLU first, then convolution and norm."""

    def __init__(
        self, in_channels: int, width: int, kernel: int, stride: int, block: Block
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(in_channels, width, kernel, stride=stride, eps=block.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(torch.relu(x))
        return out


class _Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def _cell_edge(operation: str, block: Block) -> nn.Module:
    width = block.in_channels
    if operation == "conv1x1":
        return _ReLUConvNorm(width, width, 1, 1, block)
    if operation == "conv3x3":
        return _ReLUConvNorm(width, width, 3, 1, block)
    if operation == "avgpool3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Identity() if operation == "skip" else _Zero()


class _Cell201(nn.Module):
    """Node j is the sum over i < j of edge i-j applied to node i (Dong and Yang 2020, Fig. 1)."""

    _ENDS: Final = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_cell_edge(edge, block) for edge in block.edges)

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]
        for (start, end), edge in zip(self._ENDS, self.edges, strict=True):
            value = edge(nodes[start])
            nodes[end] = value if nodes[end] is None else nodes[end] + value
        out = nodes[-1]
        assert out is not None  # noqa: S101 - every node has an incoming edge
        return out


class _Residual201(nn.Module):
    def __init__(self, block: Block) -> None:
        super().__init__()
        width = block.out_channels
        self.first = _ReLUConvNorm(block.in_channels, width, 3, block.stride, block)
        self.second = _ReLUConvNorm(width, width, 3, 1, block)
        self.shortcut: nn.Module = nn.Identity()
        if block.shortcut == "conv":
            pool = nn.AvgPool2d(block.stride, ceil_mode=True)
            self.shortcut = nn.Sequential(pool, nn.Conv2d(block.in_channels, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.second(self.first(x))
        return out


def _norm_act(block: Block) -> nn.Module:
    layer = ACTIVATION_LAYERS[block.activation]
    apply = block.activation != "none"
    eps = 1e-5 if block.norm_eps is None else block.norm_eps
    norm: nn.Module = BatchNormAct2d(block.in_channels, eps=eps, apply_act=apply, act_layer=layer)
    return norm


def _pool(_block: Block) -> nn.Module:
    return nn.AdaptiveAvgPool2d(1)


class _Linear(nn.Module):
    def __init__(self, block: Block) -> None:
        super().__init__()
        self.fc = nn.Linear(block.in_channels, block.out_channels, bias=block.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.flatten(1))
        return out


_BUILDERS: Final[dict[str, Callable[[Block], nn.Module]]] = {
    "conv": _Conv,
    "dsconv": _MBConv,
    "mbconv": _MBConv,
    "fused_mbconv": _FusedMBConv,
    "xx": _GENetBlock,
    "bl": _GENetBlock,
    "dw": _GENetBlock,
    "space_to_batch": _SpaceToBatch,
    "batch_to_space": _BatchToSpace,
    "cell201": _Cell201,
    "residual201": _Residual201,
    "norm_act": _norm_act,
    "pool": _pool,
    "linear": _Linear,
}


def build_block(block: Block) -> nn.Module:
    """Build the module of one block: (n, in, height, width) -> (n, out, *block.out_size).

    A linear layer gives (n, out). Weights are torch's default initialisation; `build_network`
    initialises a whole network.
    """
    return _BUILDERS[block.operation](block)
