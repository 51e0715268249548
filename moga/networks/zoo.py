"""Every published network: by name, as blocks, as a module, and its figures beside ours.

Names are the papers' in lower case with underscores: `moga_a`, `genet_light`, `genet_net1` (Table
6's manual networks), `gpunet_0`, `gpunet_d1`, `efficientnet_x_b0_gpu`, `efficientnet_x_b0_tpu`,
`efficientnet_x_b0_original` (the original compound scaling), `efficientnet_x_b3_timm` (timm's
reading), `mobilenetv2`, `mobilenetv3_large`, `efficientnet_b0`.

The data are `published/*.json`, one file a family: format, version, family, title, space (whose
networks they are; "" for baselines), source, notes, rules (what the family shares) and networks.
A network has name, resolution, params and macs (as counted here, integer for integer), notes
(where the paper disagrees with its own code), published figures (params_m and macs_m in millions,
top1 and top5 in percent, latency_ms with device, engine, precision and batch as far as stated; a
source of its own where it differs), and its architecture, or MoGA's genome.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moga.errors import FormatError, UnknownName, UsageError
from moga.network import Network
from moga.networks.adapt import adapt
from moga.networks.count import count_macs, count_params
from moga.networks.families import FAMILIES, build_family

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Published",
    "create_model",
    "describe",
    "names",
    "network",
    "published",
    "read_family",
    "table",
]

_FORMAT: Final = "moga-published"
_VERSION: Final = 1
_FAMILY_FIELDS: Final = (
    *("format", "version", "family", "title", "space", "source", "notes", "rules", "networks"),
)
_NETWORK_FIELDS: Final = ("name", "resolution", "params", "macs", "notes", "published")
_ARCHITECTURE_FIELDS: Final = ("genome", "architecture")
_CLASSES: Final = 1000


@dataclasses.dataclass(frozen=True)
class Published:
    """One published network: what its paper says, and how to build it.

    Args:
        name: as `network` takes it.
        title: as the paper prints it.
        family: a key of `families.FAMILIES`.
        space: the search space whose network it is; "" for a baseline.
        resolution: side of the image that the figures are for.
        params: parameters as counted here.
        macs: multiply-adds of one image at `resolution`, as counted here.
        figures: params_m, macs_m, top1, top5, latency_ms: what the paper prints, where it does.
        source: where the figures stand.
        notes: where the paper disagrees with its own code, and choices of ours.
        family_notes: the same, for the whole family.
        rules: what the family shares.
        architecture: what `build_family` resolves.
    """

    name: str
    title: str
    family: str
    space: str
    resolution: int
    params: int
    macs: int
    figures: Mapping[str, Any]
    source: str
    notes: tuple[str, ...]
    family_notes: tuple[str, ...]
    rules: Mapping[str, Any] = dataclasses.field(repr=False)
    architecture: Any = dataclasses.field(repr=False)


def read_family(text: str, where: str = "the text") -> tuple[Published, ...]:
    """Read a file of published networks (the format is in this module's docstring).

    Raises:
        FormatError: no JSON, another format or version, an unknown family, unknown or missing
            fields.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise FormatError(f'{where}: expected a JSON object with "format": "{_FORMAT}"')
    if data.get("version") != _VERSION:
        raise FormatError(
            f"{where} has format version {data.get('version')!r}; this moga reads {_VERSION}"
        )
    _check_fields(data, _FAMILY_FIELDS, where)
    if data["family"] not in FAMILIES:
        raise FormatError(f"{where}: family {data['family']!r}; known: {', '.join(FAMILIES)}")
    return tuple(_read_network(entry, data, where) for entry in data["networks"])


def _check_fields(data: Any, fields: Sequence[str], where: str) -> None:
    if not isinstance(data, dict):
        raise FormatError(f"{where}: expected an object with the fields {', '.join(fields)}")
    if unknown := sorted(set(data) - set(fields)):
        raise FormatError(f"{where} has unknown fields {unknown}; known: {', '.join(fields)}")
    if missing := [name for name in fields if name not in data]:
        raise FormatError(f"{where} lacks the fields {missing}")


def _read_network(entry: Any, data: Mapping[str, Any], where: str) -> Published:
    given = [field for field in _ARCHITECTURE_FIELDS if isinstance(entry, dict) and field in entry]
    if len(given) != 1:
        raise FormatError(f"{where}: a network needs exactly one of {_ARCHITECTURE_FIELDS}")
    _check_fields(entry, (*_NETWORK_FIELDS, given[0]), f"{where}: network {entry.get('name')!r}")
    figures = dict(entry["published"])
    return Published(
        name=entry["name"].lower().replace("-", "_"),
        title=entry["name"],
        family=data["family"],
        space=data["space"],
        resolution=entry["resolution"],
        params=entry["params"],
        macs=entry["macs"],
        figures=figures,
        source=figures.pop("source", data["source"]),
        notes=tuple(entry["notes"]),
        family_notes=tuple(data["notes"]),
        rules=data["rules"],
        architecture=entry[given[0]],
    )


@cache
def _catalog() -> dict[str, Published]:
    folder = resources.files("moga.networks").joinpath("published")
    found: dict[str, Published] = {}
    for family in FAMILIES:
        file = f"{family}.json"
        for entry in read_family(folder.joinpath(file).read_text(encoding="utf-8"), file):
            found[entry.name] = entry
    return found


def names(space: str | None = None) -> tuple[str, ...]:
    """Return the names of all published networks, or of one search space ("" for baselines)."""
    return tuple(
        name for name, entry in _catalog().items() if space is None or entry.space == space
    )


def published(name: str) -> Published:
    """Return what is published of a network.

    Raises:
        UnknownName: no such network; lists near names.
    """
    if name not in _catalog():
        raise UnknownName("network", name, _catalog())
    return _catalog()[name]


def network(name: str, resolution: int | None = None, num_classes: int | None = None) -> Network:
    """Return a published network as blocks.

    Args:
        name: one of `names()`.
        resolution: side of the image in pixels; None: the published one.
        num_classes: None: ImageNet's 1000.

    Raises:
        UnknownName: no such network.
        UsageError: a resolution or class count below 1.

    Example:
        >>> network("moga_a").num_classes
        1000
        >>> network("gpunet_0", resolution=224).input_shape
        (3, 224, 224)
    """
    entry = published(name)
    built = build_family(
        entry.family,
        entry.rules,
        entry.architecture,
        resolution=entry.resolution,
        num_classes=_CLASSES,
    )
    return adapt(built, resolution=resolution, num_classes=num_classes)


def create_model(
    name: str | Path | Network,
    *,
    num_classes: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    weights: str | Path | None = None,
    resolution: int | None = None,
    in_channels: int | None = None,
    drop_rate: float = 0.0,
) -> "nn.Module":
    """Build a published network, or one that a search found, as a torch module.

    Args:
        name: one of `names()`, the path of a network's JSON file (as `Network.save` and a run's
            family write it), or a `Network`.
        num_classes: outputs; None keeps the network's own (published ones: 1000).
        features_only: build a backbone instead, which gives a list of feature maps at reductions 4
            to 32 and has timm's `.feature_info`.
        out_indices: levels of such a backbone, counted from the finest (reduction 2 is 0).
        weights: a safetensors file with the network's weights; None: initialised at random, for
            no trained weights are published with moga.
        resolution: side of the image in pixels that `module.network` is to say; modules run on
            other sizes as well.
        in_channels: channels of the image; None keeps the network's own.
        drop_rate: dropout before the classifier while training.

    Returns:
        A module, images (n, channels, h, w) -> logits (n, num_classes), or -> list of feature maps.

    Raises:
        UnknownName: neither a published network nor a file.
        UsageError: a class count or resolution below 1, or a `drop_rate` outside 0 to 1; levels
            that the network does not have.
        FormatError: a damaged file, or one of another version.
        InvalidBlock: a file with an impossible network.
    """
    base = name if isinstance(name, Network) else describe(name)
    built = adapt(base, resolution=resolution, num_classes=num_classes, in_channels=in_channels)
    from moga.networks.model import build_model

    return build_model(
        built,
        features_only=features_only,
        out_indices=out_indices,
        drop_rate=drop_rate,
        weights=weights,
    )


def describe(name: str | Path) -> Network:
    """Return a published network, or the one in a JSON file, as blocks.

    Raises:
        UnknownName: neither a published network nor a file.
        UsageError: a JSON file that does not exist.
        FormatError: a damaged file, or one of another version.
        InvalidBlock: a file with an impossible network.
    """
    if isinstance(name, str) and name in _catalog():
        return network(name)
    path = Path(name)
    if path.is_file():
        return Network.load(path)
    if isinstance(name, Path) or path.suffix == ".json":
        raise UsageError(f"{path} does not exist; give a network's JSON file or a published name")
    raise UnknownName("network", name, _catalog())


def _difference(ours: int, theirs_m: float | None) -> float | None:
    """Percent by which the published figure lies above (+) or below (-) what is counted."""
    return None if theirs_m is None else round(100 * (theirs_m * 1e6 / ours - 1), 2)


def _row(entry: Published) -> dict[str, Any]:
    built = network(entry.name)
    params, macs = count_params(built), count_macs(built)
    params_m, macs_m = entry.figures.get("params_m"), entry.figures.get("macs_m")
    return {
        "name": entry.name,
        "title": entry.title,
        "family": entry.family,
        "space": entry.space,
        "resolution": entry.resolution,
        "params": params,
        "macs": macs,
        "published_params_m": params_m,
        "published_macs_m": macs_m,
        "params_difference_percent": _difference(params, params_m),
        "macs_difference_percent": _difference(macs, macs_m),
        "top1": entry.figures.get("top1"),
        "latency_ms": list(entry.figures.get("latency_ms", ())),
        "source": entry.source,
        "notes": list(entry.notes),
        "family_notes": list(entry.family_notes),
    }


def table() -> list[dict[str, Any]]:
    """Return one row a published network: counted now from its blocks, beside what is published.

    `*_difference_percent` is how far the published figure lies above (+) or below (-) the count;
    None where nothing is published.
    """
    return [_row(entry) for entry in _catalog().values()]
