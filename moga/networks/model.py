"""Networks as modules that look like timm's: classifiers, and backbones that give feature maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import FeatureInfo
from torch import Tensor, nn

from moga.errors import FormatError, UsageError
from moga.network import Network
from moga.networks.adapt import adapt, feature_levels
from moga.networks.blocks import build_block
from moga.networks.build import NetworkModule, initialise_weights, load_weights

__all__ = ["Backbone", "Classifier", "build_model"]

_DETECTION: Final = (4, 8, 16, 32)
"""The reductions that a detector's neck reads."""


def _feature_dicts(network: Network) -> list[dict[str, Any]]:
    return [
        {"num_chs": level.channels, "reduction": level.reduction, "module": f"blocks.{level.index}"}
        for level in feature_levels(network)
    ]


class Classifier(NetworkModule):
    """A network with the methods that timm's scripts call. Images to logits.

    Args:
        network: ends with a linear layer.
        drop_rate: dropout before it while training.
    """

    def __init__(self, network: Network, *, drop_rate: float = 0.0) -> None:
        super().__init__(network, drop_rate=drop_rate)
        self.num_classes = network.num_classes
        self.num_features = self.head_hidden_size = network.blocks[-1].in_channels
        self.feature_info = _feature_dicts(network)
        self._pool = [block.operation for block in network].index("pool")

    def forward_features(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) images -> (n, c, h', w'): all up to the pooling."""
        for block in self.blocks[: self._pool]:
            x = block(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(n, c, h', w') -> (n, classes), or (n, num_features) where `pre_logits`."""
        for block in self.blocks[self._pool : -1]:
            x = block(x)
        x = self.dropout(x)
        if pre_logits:
            return x.flatten(1)
        logits: Tensor = self.blocks[-1](x)
        return logits

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        classifier: nn.Module = self.blocks[-1].get_submodule("fc")
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new last layer in, for another number of classes.

        Raises:
            UsageError: a class count below 1, or pooling other than the average.
        """
        if global_pool not in (None, "", "avg"):
            raise UsageError(f"global_pool is {global_pool!r}; these networks have 'avg' only")
        self.network = adapt(self.network, num_classes=num_classes)
        self.num_classes = num_classes
        layer = build_block(self.network.blocks[-1])
        layer.apply(initialise_weights)
        self.blocks[-1] = layer.to(next(self.parameters()).device)


class Backbone(nn.Module):
    """The part of a network that gives feature maps: images to a list, finest first.

    Args:
        network: any with a level at one of the reductions.
        out_indices: which levels, counted from the finest; None: those of reduction 4 to 32.

    Raises:
        UsageError: no such level.

    `feature_info` is timm's: `.channels()`, `.reduction()`, `.module_name()`.
    """

    def __init__(self, network: Network, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        levels = feature_levels(network)
        reductions = [level.reduction for level in levels]
        if out_indices is None:
            out_indices = [i for i, r in enumerate(reductions) if r in _DETECTION]
        wrong = [i for i in out_indices if not -len(levels) <= i < len(levels)]
        if wrong or not out_indices:
            raise UsageError(
                f"out_indices is {list(out_indices)}; this network has the levels "
                f"0 to {len(levels) - 1}, of reductions {reductions}"
            )
        chosen = sorted({i % len(levels) for i in out_indices})
        self.network = network
        self.feature_info = FeatureInfo(_feature_dicts(network), tuple(chosen))
        self.taken = tuple(levels[i].index for i in chosen)
        kept = network.blocks[: self.taken[-1] + 1]
        self.blocks = nn.ModuleList(build_block(block) for block in kept)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(n, channels, h, w) images -> one (n, c, h / reduction, w / reduction) a level."""
        found = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taken:
                found.append(x)
        return found

    def load_weights(self, path: str | Path) -> None:
        """Load this part of the weights that `save_weights` wrote for the whole network.

        Raises:
            FormatError: a damaged file, or weights of another network.
        """
        try:
            state = load_file(path)
            here = {k: v for k, v in state.items() if int(k.split(".")[1]) < len(self.blocks)}
            self.load_state_dict(here)
        except (SafetensorError, RuntimeError, OSError, ValueError, IndexError) as error:
            raise FormatError(f"{path} does not hold this network's weights: {error}") from error


def build_model(
    network: Network,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    drop_rate: float = 0.0,
    weights: str | Path | None = None,
) -> nn.Module:
    """Build a `Classifier`, or a `Backbone` where `features_only`, initialised or with weights.

    Raises:
        UsageError: no such levels, no such file, or a network that does not classify.
        FormatError: weights of another network, or a damaged file.
    """
    if weights is not None and not Path(weights).is_file():
        raise UsageError(f"weights: {weights} does not exist; give a safetensors file")
    if features_only:
        backbone = Backbone(network, out_indices)
        backbone.apply(initialise_weights)
        if weights is not None:
            backbone.load_weights(weights)
        return backbone
    if out_indices is not None:
        raise UsageError("out_indices needs features_only=True")
    operations = [block.operation for block in network]
    if "pool" not in operations or operations[-1] != "linear":
        raise UsageError("a classifier needs a pooling and a linear layer at its end")
    model = Classifier(network, drop_rate=drop_rate)
    model.apply(initialise_weights)
    if weights is not None:
        load_weights(model, weights)
    return model
