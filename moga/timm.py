"""`import moga.timm` makes every published network known to timm.

    import timm, moga.timm
    timm.create_model("moga_a", num_classes=10)

timm has no hook for plug-ins, so its own scripts see these models through a launcher that imports
this module first:

    python -m moga.timm train.py --model moga_a ...

Names that timm has already (`efficientnet_b0` to `b7`) stay timm's; `REGISTERED` lists ours.
"""

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import register_model
from torch import nn

from moga.errors import UsageError
from moga.networks import zoo

__all__ = ["REGISTERED", "main"]

_MODULE: Final = "moga.timm.moga"
"""A module of timm's registry is the last part of a name: `timm.list_models(module="moga")`."""

_PASSED_ON: Final = ("num_classes", "features_only", "out_indices", "drop_rate")
_TIMMS_OWN: Final = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def _default_cfg(entry: zoo.Published) -> dict[str, Any]:
    """What timm's scripts read of a model: its input size and how images are prepared.

    The mean and deviation are ImageNet's usual; the crop is GPUNet's recipe's 1, else timm's .875.
    """
    last = len(zoo.network(entry.name)) - 1
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, entry.resolution, entry.resolution),
        "crop_pct": 1.0 if entry.family == "gpunet" else 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "blocks.0.conv",
        "classifier": f"blocks.{last}.fc",
        "license": "apache-2.0",
        "description": entry.source,
    }


def _arguments(name: str, pretrained: bool, given: dict[str, Any]) -> dict[str, Any]:
    """Turn timm's arguments into `zoo.create_model`'s.

    Raises:
        UsageError: pretrained weights, or an argument that these networks do not know.
    """
    if pretrained:
        raise UsageError(
            f"{name} has no published weights here; leave pretrained=False, or load your own with "
            "moga.create_model(..., weights=...) or timm's checkpoint_path"
        )
    known: dict[str, Any] = {key: given.pop(key) for key in _PASSED_ON if key in given}
    for key in _TIMMS_OWN:
        given.pop(key, None)
    if given.pop("global_pool", "avg") not in ("", "avg"):
        raise UsageError(f"{name}: global_pool must be 'avg', for these networks have no other")
    if given.pop("drop_path_rate", 0.0):
        raise UsageError(f"{name}: drop_path_rate must be 0, for blocks are never dropped here")
    known |= {"in_channels": given.pop("in_chans", None), "resolution": given.pop("img_size", None)}
    if given:
        expected = ", ".join((*_PASSED_ON, "global_pool", "drop_path_rate", "in_chans", "img_size"))
        raise UsageError(f"{name} does not take {sorted(given)}; it takes {expected}")
    return known


def _entrypoint(name: str, default_cfg: dict[str, Any]) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        model: Any = zoo.create_model(name, **_arguments(name, pretrained, dict(kwargs)))
        shape = model.network.input_shape
        cfg = {**default_cfg, "architecture": name, "input_size": shape}
        model.pretrained_cfg = model.default_cfg = cfg
        model.in_chans = shape[0]
        built: nn.Module = model
        return built

    create.__name__ = create.__qualname__ = name
    create.__module__ = _MODULE
    create.__doc__ = f"{zoo.published(name).title}; see moga.networks.zoo."
    return create


def _register() -> tuple[str, ...]:
    """Register once a process, though `python -m moga.timm` runs this module under two names."""
    if _MODULE in sys.modules:
        return tuple(sys.modules[_MODULE].__all__)
    free = [name for name in zoo.names() if not timm.is_model(name)]
    module: Any = ModuleType(_MODULE, "Published networks of moga, for timm's registry.")
    module.default_cfgs = {name: _default_cfg(zoo.published(name)) for name in free}
    module.__all__ = []
    sys.modules[_MODULE] = module
    for name in free:
        setattr(module, name, register_model(_entrypoint(name, module.default_cfgs[name])))
    return tuple(module.__all__)


REGISTERED: Final = _register()
"""The names that timm now knows through moga."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of timm's scripts (or any) with these models registered, as ``python SCRIPT`` would.

    Args:
        arguments: the script's path, then its arguments; None: the command line's.

    Raises:
        UsageError: no script, or one that does not exist.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        raise UsageError("which script? usage: python -m moga.timm SCRIPT [ARGUMENT ...]")
    script = Path(given[0])
    if not script.is_file():
        raise UsageError(f"{script} does not exist; give the path of a script such as train.py")
    sys.argv = given
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"moga.timm: {error}")
