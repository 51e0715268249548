"""From what a paper prints (ratios, multipliers, repeats) to resolved blocks: a function a family.

Each function takes the family's `rules` and one network's `architecture`, both as they stand in
`published/*.json`, and the input's side in pixels, and returns blocks up to the classifier's input;
`build_family` adds the pooling (where the family has none of its own) and the classifier.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from moga.errors import UnknownName
from moga.network import Block, Network

__all__ = ["FAMILIES", "build_family", "make_divisible"]

Values = Mapping[str, Any]


def make_divisible(width: float, divisor: int = 8) -> int:
    """Round a width as MobileNet does: to a multiple, never below 90 % of it.

    Sandler et al. 2018, the authors' code; the rule of EfficientNet and of GPUNet's expansions too.

    Example:
        >>> make_divisible(18), make_divisible(35.2), make_divisible(3)
        (24, 32, 8)
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


@dataclasses.dataclass
class _Chain:
    """Blocks in the making: each takes the image that the one before it gives."""

    height: int
    width: int
    channels: int = 3
    blocks: list[Block] = dataclasses.field(default_factory=list)

    def add(self, operation: str, out: int, **values: Any) -> None:
        block = Block(
            operation=operation,
            in_channels=self.channels,
            out_channels=out,
            height=self.height,
            width=self.width,
            **values,
        )
        self.blocks.append(block)
        (self.height, self.width), self.channels = block.out_size, out

    def residual(self, operation: str, out: int, *, stride: int, **values: Any) -> None:
        """Add a block with an identity shortcut where nothing changes size."""
        shortcut = "identity" if stride == 1 and out == self.channels else "none"
        self.add(operation, out, stride=stride, shortcut=shortcut, **values)

    def pool(self) -> None:
        self.add("pool", self.channels)


def _repeated(stage: Values) -> Iterator[int]:
    """Yield the stride of each block of a stage: the stage's own, then 1."""
    for index in range(stage["repeats"]):
        yield stage["stride"] if index == 0 else 1


def _moga(chain: _Chain, rules: Values, genome: list[int]) -> None:
    """Chu, Zhang, Xu 2020 (arXiv 1908.01314); widths and squeeze-and-excitation as in the code.

    The squeeze is floor(expanded / 4), its inner activation the block's own, its gate hard-sigmoid.
    The separable block has no shortcut, the layer after the pooling neither norm nor bias.
    """
    norm = {"norm_eps": rules["norm_eps"]}
    wide, hidden_head = rules["head"]
    chain.add("conv", rules["stem"], kernel=3, stride=2, activation="hswish", **norm)
    chain.add("dsconv", rules["stem"], kernel=3, activation="relu", **norm)
    for (out, stride, activation), choice in zip(rules["layers"], genome, strict=True):
        expansion, kernel, se = 3 + 3 * (choice // 6), (3, 5, 7)[choice % 6 // 2], choice % 2
        hidden = chain.channels * expansion
        chain.residual(
            "mbconv",
            out,
            stride=stride,
            kernel=kernel,
            hidden_channels=hidden,
            se_channels=hidden // 4 if se else 0,
            se_gate="hard_sigmoid" if se else "sigmoid",
            activation=activation,
            **norm,
        )
    chain.add("conv", wide, activation="hswish", **norm)
    chain.pool()
    chain.add("conv", hidden_head, activation="hswish")


def _genet(chain: _Chain, rules: Values, architecture: Values) -> None:
    """Lin et al. 2020 (arXiv 2006.14090): super-blocks of plain convolutions, XX, BL and DW.

    The inner width is round(out x ratio) for all three; the shortcut is the identity or a strided
    1x1 convolution with norm; ReLU everywhere.
    """
    common = {"activation": "relu", "norm_eps": rules["norm_eps"]}
    for row in architecture["superblocks"]:
        for stride in _repeated(row):
            values = {"kernel": row["kernel"], "stride": stride, **common}
            if row["type"] == "conv":
                chain.add("conv", row["out"], **values)
                continue
            same = stride == 1 and chain.channels == row["out"]
            chain.add(
                row["type"],
                row["out"],
                hidden_channels=round(row["out"] * row["ratio"]),
                shortcut="identity" if same else "conv",
                **values,
            )


def _gpunet(chain: _Chain, rules: Values, architecture: Values) -> None:
    """Wang et al. 2022 (arXiv 2205.00841), by the two builders of the released code.

    Plain (0, 1, 2): expanded widths rounded to 8, squeeze of .25 of the block's *input*, and fused
    blocks of stride 2 without any padding. Distilled (D1, D2): no rounding, no squeeze.
    """
    plain = architecture["builder"] == "plain"
    norm = {"norm_eps": rules["norm_eps"][architecture["builder"]]}
    stem, head = architecture["stem"], architecture["head"]
    for stride in (2, *(1,) * (stem["repeats"] - 1)):
        chain.add("conv", stem["out"], kernel=3, stride=stride, activation=stem["act"], **norm)
    for row in architecture["stages"]:
        for stride in _repeated(row):
            common = {"kernel": row["kernel"], "activation": row["act"], **norm}
            if row["type"] == "conv":
                chain.add("conv", row["out"], stride=stride, **common)
                continue
            expansion = row["expansion"]
            hidden = chain.channels * expansion
            hidden = make_divisible(hidden) if plain else hidden
            unpadded = plain and row["type"] == "fused_mbconv" and stride == 2
            chain.residual(
                row["type"],
                row["out"],
                stride=stride,
                hidden_channels=hidden,
                se_channels=round(hidden * 0.25 / expansion) if row["se"] else 0,
                padding="zero" if unpadded else "symmetric",
                **common,
            )
    chain.add("conv", head["width"], activation="relu", **norm)
    if head["hidden"]:
        chain.pool()
        chain.add("conv", head["hidden"], activation="relu")


def _efficientnet_x(chain: _Chain, rules: Values, architecture: Values) -> None:
    """Li et al. 2021 (arXiv 2102.05610), by the released code; see `_efficientnet_x_stage`."""
    width, flavour = architecture["width"], rules["flavours"][architecture.get("flavour", "code")]
    common = {"norm_eps": flavour["norm_eps"], "padding": flavour["padding"]}

    def scale(channels: int) -> int:
        return make_divisible(channels * width)

    activations = flavour["activations"]
    chain.add("conv", scale(rules["stem"]), kernel=3, stride=2, activation=activations[0], **common)
    nominal = chain.channels
    for number, (stage, activation) in enumerate(
        zip(rules["stages"], activations[1:-1], strict=True)
    ):
        repeats = math.ceil(architecture["depth"] * stage["repeats"])
        row = {**stage, "repeats": repeats, "out": scale(stage["out"]), "activation": activation}
        squeeze = 0.25 * architecture["se_coefficient"]
        if number == 0:
            nominal = _space_to_depth_stage(chain, row, nominal, squeeze, flavour)
        else:
            ends = number == 1
            nominal = _efficientnet_x_stage(chain, row, nominal, squeeze, flavour, ends=ends)
    chain.add("conv", scale(rules["head"]), activation=activations[-1], **common)


def _space_to_depth_stage(
    chain: _Chain, row: Values, nominal: int, squeeze: float, flavour: Values
) -> int:
    """Stage 3: a strided 2x2 convolution to four times the width, then separable blocks in it.

    Kernels are halved there (a 3x3 becomes 2x2), for the image has half the sides. timm halves
    only the first block's. Returns the width that the paper's table gives to what leaves.
    """
    norm, act = {"norm_eps": flavour["norm_eps"]}, {"activation": row["activation"]}
    chain.add("conv", 4 * nominal, kernel=2, stride=2, padding="same", **act, **norm)
    for index in range(row["repeats"]):
        halved = index == 0 or flavour["halve_all"]
        kernel = (row["kernel"] + 1) // 2 if halved else row["kernel"]
        first = index == 0
        width = nominal if first else 4 * row["out"]
        chain.residual(
            "dsconv",
            4 * row["out"],
            stride=1,
            kernel=kernel,
            se_channels=max(1, int(width * squeeze)),
            padding="same" if kernel % 2 == 0 else flavour["padding"],
            **act,
            **norm,
        )
    return int(row["out"])


def _efficientnet_x_stage(
    chain: _Chain,
    row: Values,
    nominal: int,
    squeeze: float,
    flavour: Values,
    *,
    ends: bool = False,
) -> int:
    """Stages 4 to 9. Where `ends`, the first block leaves space-to-depth: its stride becomes 1.

    That block's expansion counts from the nominal width, not from the four times wider one that
    enters; its squeeze as well, but in timm's flavour.
    """
    for stride in _repeated(row):
        entered = chain.channels if flavour["squeeze_of_entering"] else nominal
        chain.residual(
            row["type"],
            row["out"],
            stride=1 if ends else stride,
            kernel=row["kernel"],
            hidden_channels=nominal * row["expansion"],
            se_channels=max(1, int(entered * squeeze)),
            activation=row["activation"],
            padding=flavour["padding"],
            norm_eps=flavour["norm_eps"],
        )
        nominal = row["out"]
    return nominal


def _efficientnet(chain: _Chain, rules: Values, architecture: Values) -> None:
    """Tan and Le 2019 (arXiv 1905.11946): B0's stages, widths and depths multiplied.

    Padding and norm epsilon are those of timm's `efficientnet_b0`..`b7`; the authors' TensorFlow
    pads "same" with epsilon 1e-3, which changes no count here.
    """
    common = {"activation": "swish", "norm_eps": rules["norm_eps"]}

    def scale(channels: int) -> int:
        return make_divisible(channels * architecture["width"])

    chain.add("conv", scale(rules["stem"]), kernel=3, stride=2, **common)
    for stage in rules["stages"]:
        repeats = math.ceil(architecture["depth"] * stage["repeats"])
        for stride in _repeated({**stage, "repeats": repeats}):
            plain = stage["expansion"] == 1
            chain.residual(
                "dsconv" if plain else "mbconv",
                scale(stage["out"]),
                stride=stride,
                kernel=stage["kernel"],
                hidden_channels=0 if plain else chain.channels * stage["expansion"],
                se_channels=max(1, int(chain.channels * 0.25)),
                **common,
            )
    chain.add("conv", scale(rules["head"]), **common)


def _mobilenet(chain: _Chain, rules: Values, architecture: Values) -> None:
    """MobileNetV2 (arXiv 1801.04381, Table 2) and V3-Large (arXiv 1905.02244, Table 1).

    V3's squeeze is a quarter of the *expanded* width, rounded to 8, with ReLU inside and a
    hard-sigmoid gate; its layer after the pooling has a bias and no norm. Padding as in timm.
    """
    norm, head = {"norm_eps": rules["norm_eps"]}, architecture["head"]
    stem = architecture["stem"]
    chain.add("conv", stem["out"], kernel=3, stride=2, activation=stem["act"], **norm)
    for row in architecture["stages"]:
        for stride in _repeated(row):
            plain = row["expansion"] == 1
            hidden = make_divisible(chain.channels * row["expansion"])
            squeeze = {
                "se_channels": make_divisible(hidden * 0.25),
                "se_gate": "hard_sigmoid",
                "se_activation": "relu",
            }
            chain.residual(
                "dsconv" if plain else "mbconv",
                row["out"],
                stride=stride,
                kernel=row["kernel"],
                hidden_channels=0 if plain else hidden,
                activation=row["act"],
                **(squeeze if row["se"] else {}),
                **norm,
            )
    chain.add("conv", head["width"], activation=head["act"], **norm)
    if head["hidden"]:
        chain.pool()
        chain.add("conv", head["hidden"], activation=head["act"], bias=True)


FAMILIES: Final[Mapping[str, Callable[[_Chain, Values, Any], None]]] = {
    "moga": _moga,
    "genet": _genet,
    "gpunet": _gpunet,
    "efficientnet_x": _efficientnet_x,
    "efficientnet": _efficientnet,
    "mobilenet": _mobilenet,
}
"""Family -> the function that resolves its ratios."""


def build_family(
    family: str, rules: Values, architecture: Any, *, resolution: int, num_classes: int
) -> Network:
    """Build a network from what `published/*.json` holds.

    Args:
        family: a key of `FAMILIES`.
        rules: what all networks of the family share.
        architecture: what makes this one.
        resolution: side of the (square) image in pixels.
        num_classes: classes of the last layer.

    Raises:
        UnknownName: no such family.
        InvalidBlock: the image is too small for the network.
    """
    if family not in FAMILIES:
        raise UnknownName("family of networks", family, FAMILIES)
    chain = _Chain(resolution, resolution)
    FAMILIES[family](chain, rules, architecture)
    if not any(block.operation == "pool" for block in chain.blocks):
        chain.pool()
    chain.add("linear", num_classes, bias=True)
    return Network(tuple(chain.blocks))
