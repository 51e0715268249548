"""EfficientNet-X's space: seven stages of MBConv or fused MBConv, and a reshaping of the image.

Li et al. 2021, "Searching for Fast Model Families on Datacenter Accelerators" (CVPR 2021, arXiv
2102.05610), sections 3 and 5: one configuration a stage, shared by its layers, on EfficientNet-B0's
skeleton (Tan and Le 2019, arXiv 1905.11946, Table 1), with what suits accelerators: fused MBConv,
the activation of each stage, and space-to-depth or space-to-batch before the first stage.

The paper's sets of candidates stand in an appendix that is not available. The sets here are ours;
they contain EfficientNet-B0 and EfficientNet-X-B0: kernels 3 and 5, expansions 1, 3 and 6, squeeze
ratios (of a block's *input*) 0, .25, .5 and 1, filters .8, 1 and 1.2 times B0's, rounded to
multiples of 8, and one layer less to one more than B0's.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

from moga.contracts import Gene, Genome
from moga.errors import UsageError
from moga.network import Block
from moga.networks.families import make_divisible
from moga.spaces.base import Blocks, Slot, Space
from moga.spaces.parts import check_classes, classifier, convolution

__all__ = ["RESHAPES", "EfficientNetXSpace"]

RESHAPES: Final = ("none", "space_to_depth", "space_to_batch")
"""What comes before stage 3. space_to_depth: a 2x2 convolution of stride 2 to four times the width;
stage 3 runs on its image with four times the widths and halved kernels (3 becomes 2, 5 becomes 3),
and stage 4's first block has stride 1 and expands as if the widths were not multiplied (the
authors' code). space_to_batch: the four phases of the image become images of their own, until stage
3 ends; the paper does not say where they are joined again."""

_BASE: Final = {
    3: (16, 1, 1, 3, 1),
    4: (24, 2, 2, 3, 6),
    5: (40, 2, 2, 5, 6),
    6: (80, 3, 2, 3, 6),
    7: (112, 3, 1, 5, 6),
    8: (192, 4, 2, 5, 6),
    9: (320, 1, 1, 3, 6),
}
"""EfficientNet-B0's stages by the paper's number: filters, layers, stride, kernel, expansion."""
_TYPES: Final = ("mbconv", "fused_mbconv")
_KERNELS: Final = (3, 5)
_EXPANSIONS: Final = (1, 3, 6)
_SQUEEZES: Final = (0.0, 0.25, 0.5, 1.0)
_WIDTHS: Final = (0.8, 1.0, 1.2)
_ACTIVATIONS: Final = ("relu", "swish")
_STEM: Final = 32
_HEAD: Final = 1280


class _Choice(NamedTuple):
    """What a stage's blocks share."""

    type: str
    kernel: int
    expansion: int
    se: float
    filters: int
    activation: str


_PARTS: Final = _Choice._fields


class EfficientNetXSpace(Space):
    """The stage-wise space of EfficientNet-X.

    Args:
        resolution: side of the (square) input image in pixels, a multiple of 4 (space-to-batch
            takes the image apart after the stem); the paper's is 224.
        num_classes: classes of the last layer.
        padding: of all convolutions: "same" (TensorFlow's, as the authors' code), or "symmetric"
            (PyTorch's, as timm's EfficientNets). 2x2 kernels are always padded "same".
        norm_eps: epsilon of the batch norms; timm's EfficientNets have 1e-5.

    Raises:
        UsageError: a value that makes no network.

    Example:
        >>> space = EfficientNetXSpace()
        >>> len(space.genes), len(space.decode(space.reference))
        (52, 20)
    """

    name = "efficientnet_x"

    def __init__(
        self,
        resolution: int = 224,
        num_classes: int = 1000,
        padding: str = "same",
        norm_eps: float = 1e-3,
    ) -> None:
        if not isinstance(resolution, int) or resolution < 16 or resolution % 4:
            raise UsageError(f"resolution is {resolution!r}; give a multiple of 4, 16 or more")
        check_classes(num_classes)
        if padding not in ("same", "symmetric"):
            raise UsageError(f"padding is {padding!r}; give 'same' or 'symmetric'")
        if not isinstance(norm_eps, float) or not 0 < norm_eps < 1:
            raise UsageError(f"norm_eps is {norm_eps!r}; give a number between 0 and 1")
        self.resolution, self.num_classes = resolution, num_classes
        self.padding, self.norm_eps = padding, norm_eps

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Resolution, classes, padding and the norms' epsilon."""
        return {
            "resolution": self.resolution,
            "num_classes": self.num_classes,
            "padding": self.padding,
            "norm_eps": self.norm_eps,
        }

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The reshaping, the stem's activation, seven genes a stage, and the head's activation."""
        genes = [
            Gene("reshape", "reshape", "categorical", RESHAPES),
            Gene("stem.activation", "stem", "categorical", _ACTIVATIONS),
        ]
        for number, (filters, layers, *_) in _BASE.items():
            group = f"stage_{number}"
            widths = tuple(sorted({make_divisible(filters * factor) for factor in _WIDTHS}))
            genes += [
                Gene(f"{group}.type", group, "categorical", _TYPES),
                Gene(f"{group}.kernel", group, "ordinal", _KERNELS),
                Gene(f"{group}.expansion", group, "ordinal", _EXPANSIONS),
                Gene(f"{group}.se", group, "ordinal", _SQUEEZES),
                Gene(f"{group}.filters", group, "ordinal", widths),
                Gene(f"{group}.activation", group, "categorical", _ACTIVATIONS),
                Gene(
                    f"{group}.layers",
                    group,
                    "ordinal",
                    tuple(range(max(1, layers - 1), layers + 2)),
                ),
            ]
        return (*genes, Gene("head.activation", "head", "categorical", _ACTIVATIONS))

    @property
    def reference(self) -> Genome:
        """EfficientNet-B0."""
        values: list[Any] = ["none", "swish"]
        for filters, layers, _, kernel, expansion in _BASE.values():
            values += [*_Choice("mbconv", kernel, expansion, 0.25, filters, "swish"), layers]
        pairs = zip(self.genes, [*values, "swish"], strict=True)
        return tuple(gene.values.index(value) for gene, value in pairs)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Stem, reshaping, two slots a stage (its first block, and the others), and the head."""
        side = -(-self.resolution // 2)
        reshape = partial(self._reshape, side)
        slots = [
            self._slot("stem", ("stem.activation",), self._stem),
            self._slot("reshape", ("reshape", "stage_3.activation"), reshape),
        ]
        for number, (_, _, stride, *_) in _BASE.items():
            slots += self._stage_slots(number, side, stride)
            side = -(-side // stride)
            if number == 3:
                join = partial(self._join, side)
                slots.append(self._slot("join", ("reshape", "stage_3.filters"), join))
        head = self._slot("head", ("head.activation", "stage_9.filters"), partial(self._head, side))
        return (*slots, head)

    def _stage_slots(self, number: int, side: int, stride: int) -> list[Slot]:
        name = f"stage_{number}"
        own = tuple(f"{name}.{part}" for part in _PARTS)
        before = () if number == 3 else (f"stage_{number - 1}.filters",)
        mode = ("reshape",) if number in (3, 4) else ()
        # Stage 4's other blocks run on the same image whatever the reshaping was.
        mode_others = mode if number == 3 else ()
        first = partial(self._first, number, side, stride)
        others = partial(self._others, -(-side // stride))
        return [
            self._slot(f"{name}.first", (*own, *before, *mode), first),
            self._slot(f"{name}.others", (*own, f"{name}.layers", *mode_others), others),
        ]

    def _slot(self, name: str, genes: tuple[str, ...], blocks: Any) -> Slot:
        names = [gene.name for gene in self.genes]
        positions = tuple(names.index(gene) for gene in genes)
        return Slot(name, positions, tuple(self.genes[i].values for i in positions), blocks)

    def _stem(self, activation: str) -> Blocks:
        return ((self._conv(3, _STEM, self.resolution, kernel=3, stride=2, act=activation), 1),)

    def _reshape(self, side: int, mode: str, activation: str) -> Blocks:
        if mode == "space_to_depth":
            return ((self._conv(_STEM, 4 * _STEM, side, kernel=2, stride=2, act=activation), 1),)
        if mode == "space_to_batch":
            block = Block(
                operation="space_to_batch",
                in_channels=_STEM,
                out_channels=_STEM,
                height=side,
                width=side,
                stride=2,
            )
            return ((block, 1),)
        return ()

    def _join(self, side: int, mode: str, filters: int) -> Blocks:
        if mode != "space_to_batch":
            return ()
        block = Block(
            operation="batch_to_space",
            in_channels=filters,
            out_channels=filters,
            height=side // 2,
            width=side // 2,
            stride=2,
            batch_factor=4,
        )
        return ((block, 1),)

    def _first(self, number: int, side: int, stride: int, *values: Any) -> Blocks:
        """Return a stage's first block from its genes, the filters before it, and the reshaping."""
        choice, rest = _Choice(*values[:6]), list(values[6:])
        channels = _STEM if number == 3 else rest.pop(0)
        mode = rest.pop() if rest else "none"
        if number == 3:
            return ((self._reshaped(choice, channels, side, mode), 1),)
        if mode == "space_to_depth":
            return ((self._block(choice, channels, -(-side // 2), enters=4 * channels), 1),)
        return ((self._block(choice, channels, side, stride=stride), 1),)

    def _others(self, side: int, *values: Any) -> Blocks:
        """Return a stage's blocks but the first, from its genes, layers, and the reshaping."""
        choice, layers, mode = _Choice(*values[:6]), values[6], (*values[7:], "none")[0]
        if layers == 1:
            return ()
        return ((self._reshaped(choice, choice.filters, side, mode, others=True), layers - 1),)

    def _reshaped(
        self, choice: _Choice, channels: int, side: int, mode: str, *, others: bool = False
    ) -> Block:
        """Return a block of stage 3 on the image that the reshaping leaves."""
        if mode == "space_to_batch":
            return self._block(choice, channels, side // 2, images=4)
        if mode == "space_to_depth":
            wide = choice._replace(filters=4 * choice.filters, kernel=(choice.kernel + 1) // 2)
            squeezed = 4 * channels if others else channels
            return self._block(wide, 4 * channels, -(-side // 2), squeezed=squeezed)
        return self._block(choice, channels, side)

    def _block(
        self,
        choice: _Choice,
        channels: int,
        side: int,
        *,
        stride: int = 1,
        enters: int | None = None,
        squeezed: int | None = None,
        images: int = 1,
    ) -> Block:
        """Build a block whose expansion and squeeze are counted from `channels` and `squeezed`.

        Args:
            choice: what the stage's blocks share.
            channels: width that the expansion multiplies.
            side: rows and columns that enter.
            stride: of the spatial convolution.
            enters: channels that enter, where they are others than `channels`.
            squeezed: width that the squeeze ratio multiplies, where it is another.
            images: the block's batch factor.
        """
        enters = channels if enters is None else enters
        plain = choice.type == "mbconv" and choice.expansion == 1
        squeeze = int((channels if squeezed is None else squeezed) * choice.se)
        return Block(
            operation="dsconv" if plain else choice.type,
            in_channels=enters,
            out_channels=choice.filters,
            height=side,
            width=side,
            kernel=choice.kernel,
            stride=stride,
            hidden_channels=0 if plain else channels * choice.expansion,
            se_channels=max(1, squeeze) if choice.se else 0,
            activation=choice.activation,
            padding="same" if choice.kernel % 2 == 0 else self.padding,
            norm_eps=self.norm_eps,
            shortcut="identity" if stride == 1 and enters == choice.filters else "none",
            batch_factor=images,
        )

    def _conv(
        self, channels: int, out: int, side: int, *, kernel: int, stride: int, act: str
    ) -> Block:
        return convolution(
            channels,
            out,
            side,
            kernel=kernel,
            stride=stride,
            activation=act,
            padding="same" if kernel % 2 == 0 else self.padding,
            norm_eps=self.norm_eps,
        )

    def _head(self, side: int, activation: str, channels: int) -> Blocks:
        conv = self._conv(channels, _HEAD, side, kernel=1, stride=1, act=activation)
        return tuple((block, 1) for block in (conv, *classifier(_HEAD, side, self.num_classes)))
