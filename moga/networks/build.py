"""Network -> nn.Module, initialised; and its weights as safetensors."""

import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moga.errors import FormatError, UsageError
from moga.files import atomic_path
from moga.network import Network
from moga.networks.blocks import build_block

__all__ = [
    "NetworkModule",
    "build_network",
    "initialise_weights",
    "load_weights",
    "save_weights",
]


class NetworkModule(nn.Module):
    """A network as a torch module; `network` is what it was built from.

    Args:
        network: the description.
        drop_rate: dropout before the last linear layer while training, from 0 to below 1.

    Raises:
        UsageError: another `drop_rate`.
    """

    def __init__(self, network: Network, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop_rate < 1:
            raise UsageError(f"drop_rate is {drop_rate!r}; give a number from 0 to below 1")
        self.network = network
        self.blocks = nn.ModuleList(build_block(block) for block in network)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) images -> (n, classes) logits."""
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            if index == last:
                x = self.dropout(x)
            x = block(x)
        return x


def initialise_weights(module: nn.Module) -> None:
    """Initialise one layer (`module.apply` takes this).

    He initialisation by fan-out, as MobileNet and MoGA's published classes use it.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (fan_out // module.groups)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = 1.0 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build_network(network: Network, *, drop_rate: float = 0.0) -> NetworkModule:
    """Build and initialise a network (from torch's global generator, as torch users expect).

    Departs from MoGA's published classes for depthwise convolutions: they take the fan-out without
    dividing by the groups, which starts depthwise layers with tiny weights.
    """
    module = NetworkModule(network, drop_rate=drop_rate)
    module.apply(initialise_weights)
    return module


def save_weights(
    module: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a module's weights as safetensors, whole or not at all."""
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    with atomic_path(Path(path)) as temporary:
        save_file(state, temporary, metadata={"format": "pt", **(metadata or {})})


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load weights that `save_weights` wrote.

    Raises:
        FormatError: a damaged file, or weights of another network.
    """
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise FormatError(f"{path} does not hold this network's weights: {error}") from error
