"""Trained supernets, kept and found again."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from moga.contracts import Progress, Silent
from moga.errors import FormatError, UsageError
from moga.files import atomic_path, cache_dir, canonical_json, digest
from moga.spaces.base import Space
from moga.supernets.data import Images
from moga.supernets.supernet import Sharing, Supernet, load_parameters
from moga.supernets.training import CPU_DEMO, Recipe, Training, train

__all__ = ["CODE_VERSION", "load_supernet", "save_supernet", "trained_supernet"]

CODE_VERSION: Final = 1
"""Raise whenever the same settings would give other weights: old checkpoints are then not used."""
_FORMAT: Final = "moga-supernet"


def trained_supernet(
    space: Space,
    images: Images,
    recipe: Recipe = CPU_DEMO,
    *,
    sharing: Sharing = "entangled",
    seed: int = 0,
    progress: Progress | None = None,
    cache: bool = True,
) -> tuple[Supernet, Training]:
    """Return a trained supernet: the cached one where everything that decides it is the same.

    What decides it: the space, every pixel of the images, the recipe, how weights are shared, and
    the seed. Checkpoints lie in the folder ``supernets`` of moga's cache (`moga.files.cache_dir`).

    Args:
        space: what the supernet spans.
        images: what it is trained on.
        recipe: how.
        sharing: "entangled" or "separate".
        seed: of weights, minibatches and paths.
        progress: is told of the training, or that there was none.
        cache: False: train, and keep nothing.

    Raises:
        UsageError: images that do not fit the space, or a space that no supernet spans.
    """
    progress = progress or Silent()
    settings = {
        "version": CODE_VERSION,
        "space": space.digest,
        "images": images.digest,
        "recipe": recipe.to_dict(),
        "sharing": sharing,
        "seed": seed,
    }
    path = cache_dir("supernets") / f"{digest(settings)}.safetensors" if cache else None
    if path is not None and path.exists():
        found = _load_kept(path, space, sharing, progress)
        if found is not None:
            return found
    supernet = Supernet(space, sharing, seed=seed)
    training = train(supernet, images, recipe, seed=seed, progress=progress)
    if path is not None:
        save_supernet(supernet, path, training, settings)
    return supernet, training


def _load_kept(
    path: Path, space: Space, sharing: Sharing, progress: Progress
) -> tuple[Supernet, Training] | None:
    try:
        supernet, training = load_supernet(path, space, sharing)
    except FormatError as error:
        progress.note(f"training again, for the checkpoint cannot be used: {error}")
        return None
    progress.note(
        f"reusing the supernet trained before in {training.seconds:.0f} s ({path.name}; "
        "space, images, recipe and seed are the same)"
    )
    return supernet, training


def save_supernet(
    supernet: Supernet, path: str | Path, training: Training, settings: dict[str, Any]
) -> None:
    """Write a supernet's parameters as safetensors, with how they came about in the metadata."""
    weights = {
        name: np.ascontiguousarray(parameter.detach().numpy())
        for name, parameter in supernet.named_parameters()
    }
    metadata = {
        "format": _FORMAT,
        "training": canonical_json(dataclasses.asdict(training)),
        "settings": canonical_json(settings),
        "space": supernet.space.spec,
    }
    with atomic_path(Path(path)) as temporary:
        save_file(weights, temporary, metadata=metadata)


def load_supernet(
    path: str | Path, space: Space, sharing: Sharing = "entangled"
) -> tuple[Supernet, Training]:
    """Read what `save_supernet` wrote; the supernet is in evaluation mode.

    Raises:
        FormatError: a damaged file, one of another kind, or of another supernet.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise FormatError(f"{path} is no supernet: its format is {metadata.get('format')}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            training = Training(**json.loads(metadata["training"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} cannot be read as a supernet: {error}") from error
    try:
        supernet = load_parameters(Supernet(space, sharing), weights)
    except UsageError as error:
        raise FormatError(f"{path}: {error}") from error
    return supernet.eval(), training
