"""``evaluator="supernet(...)"``: train a supernet, or find it, and evaluate by it."""

import dataclasses
from pathlib import Path

from moga.contracts import Progress, Silent
from moga.errors import UnknownName, UsageError
from moga.spaces.base import Space
from moga.supernets.cache import load_supernet, save_supernet, trained_supernet
from moga.supernets.choices import choices
from moga.supernets.data import Images
from moga.supernets.evaluators import SupernetEvaluator
from moga.supernets.supernet import Sharing
from moga.supernets.training import RECIPES, Recipe

__all__ = ["supernet"]


def supernet(
    space: Space,
    images: Images | None,
    *,
    recipe: str = "cpu_demo",
    sharing: Sharing = "entangled",
    steps: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    directory: Path | None = None,
    progress: Progress | None = None,
) -> SupernetEvaluator:
    """Return an evaluator by a supernet that is trained for this call, or was before.

    The weights of a run lie in its directory; those of all runs in moga's cache.

    Args:
        space: what the supernet spans.
        images: what it is trained and validated on.
        recipe: a name in `training.RECIPES`: "cpu_demo" takes minutes on two cores, "moga" is the
            paper's.
        sharing: "entangled", or "separate" as in the paper.
        steps: instead of the recipe's.
        epochs: instead of the recipe's.
        seed: of everything random.
        directory: of a run; None: no copy is kept there.
        progress: is told how far the training is.

    Raises:
        UnknownName: no such recipe.
        UsageError: no images, or a space that no supernet spans.
    """
    choices(space)  # before images are asked for
    if images is None:
        raise UsageError(
            f"a supernet of {space.spec} needs images; pass data=, a folder of classes. A space of "
            "your own takes it, or the bundled photographs, where it is declared with "
            "evaluator='supernet'"
        )
    chosen = _recipe(recipe, steps, epochs)
    kept = directory / "supernet.safetensors" if directory is not None else None
    if kept is not None and kept.exists():
        trained, training = load_supernet(kept, space, sharing)
    else:
        trained, training = trained_supernet(
            space, images, chosen, sharing=sharing, seed=seed, progress=progress or Silent()
        )
        if kept is not None:
            save_supernet(trained, kept, training, {"recipe": chosen.to_dict(), "seed": seed})
    details = {
        "recipe": recipe,
        **{key: value for key, value in chosen.to_dict().items() if value is not None},
        "sharing": sharing,
        **{f"training_{k}": v for k, v in dataclasses.asdict(training).items()},
        "images_train": len(images.train),
        "images_calibration": len(images.calibration),
        "images_validation": len(images.validation),
    }
    return SupernetEvaluator.of(trained, images, details)


def _recipe(name: str, steps: int | None, epochs: int | None) -> Recipe:
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    recipe = RECIPES[name]
    if steps is None and epochs is None:
        return recipe
    return dataclasses.replace(recipe, steps=steps, epochs=epochs)
