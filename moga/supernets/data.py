"""Images for supernets: the bundled photographs, or a folder of class folders; three splits.

A supernet is trained on `train`; its batch-norm statistics are recalibrated on `calibration`, a
fixed part of the training images; `validation` is what accuracy is measured on.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moga.errors import FormatError, UsageError

__all__ = ["Images", "Subset", "load_data"]

_BUNDLED: Final = "sign_digits_32x32.npz"
_VALIDATION_FROM: Final = 5550
"""First `img_number` of the validation people, at a gap in the numbers: 21 % of the photographs."""
_CALIBRATION: Final = 256
_SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_TRAIN: Final = ("train", "training")
_VALIDATION: Final = ("val", "validation", "valid")
_SHARE: Final = 5
"""Where a folder has no split of its own, one image in this many of a class validates."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subset:
    """Images with labels.

    Args:
        images: uint8, shape (n, height, width, 3).
        labels: int64, shape (n,), from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A data set of square images of one size, split.

    Args:
        name: for reports.
        classes: class names, in the order of the labels.
        train: what weights are trained on.
        calibration: the training images that batch-norm statistics come from.
        validation: what accuracy is measured on.
    """

    name: str
    classes: tuple[str, ...]
    train: Subset
    calibration: Subset
    validation: Subset

    @property
    def resolution(self) -> int:
        """Side of an image in pixels."""
        return int(self.train.images.shape[1])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @cached_property
    def digest(self) -> str:
        """A hash of every pixel, label and class name, and of the split."""
        sha = hashlib.sha256("\0".join(self.classes).encode())
        for subset in (self.train, self.calibration, self.validation):
            sha.update(str(subset.images.shape).encode())
            sha.update(np.ascontiguousarray(subset.images).tobytes())
            sha.update(np.ascontiguousarray(subset.labels).tobytes())
        return sha.hexdigest()[:16]


def load_data(folder: str | Path | None = None, *, resolution: int | None = None) -> Images:
    """Read a data set.

    Args:
        folder: a folder with one folder of images a class, or with ``train`` and ``val`` folders
            that hold such class folders. Without a split of its own, every fifth image of a class,
            in the order of names, validates. None: the bundled photographs of hand signs
            (ardamavi/Sign-Language-Digits-Dataset, Apache-2.0): 10 classes, 32 pixels; the people
            of the validation split appear in no training image.
        resolution: side in pixels to which a folder's images are brought: the shorter side is
            resized, then the centre cropped. Default 64, which suits a CPU; training time grows
            with its square.

    Raises:
        UsageError: no such folder, fewer than two classes, too few images, an unreadable image.

    Example:
        >>> images = load_data()
        >>> images.resolution, images.num_classes, len(images.train) + len(images.validation)
        (32, 10, 2062)
    """
    if folder is None:
        if resolution not in (None, 32):
            raise UsageError(
                f"resolution is {resolution}, but the bundled photographs have 32 pixels; leave it "
                "out, or pass a folder of images"
            )
        return _bundled()
    side = 64 if resolution is None else resolution
    if side < 8:
        raise UsageError(f"resolution is {side}; give 8 pixels or more")
    return _folder(Path(folder).expanduser(), side)


def _bundled() -> Images:
    source = resources.files("moga").joinpath("data", _BUNDLED)
    with resources.as_file(source) as path, np.load(path) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
        numbers = arrays["img_number"]
    # Sorted by number, so that every run of training images, whatever the file's order, is alike.
    order = np.lexsort((labels, numbers))
    images, labels, numbers = images[order], labels[order], numbers[order]
    unseen = numbers >= _VALIDATION_FROM
    train = Subset(images[~unseen], labels[~unseen])
    validation = Subset(images[unseen], labels[unseen])
    return _join("sign_digits_32x32", tuple("0123456789"), train, validation)


def _join(name: str, classes: tuple[str, ...], train: Subset, validation: Subset) -> Images:
    spread = np.linspace(0, len(train) - 1, min(_CALIBRATION, len(train))).astype(np.int64)
    calibration = Subset(train.images[spread], train.labels[spread])
    return Images(name, classes, train, calibration, validation)


def _folder(root: Path, resolution: int) -> Images:
    if not root.is_dir():
        raise UsageError(
            f"no such folder: {root}; give a folder that holds one folder of images a class"
        )
    train_root = _subfolder(root, _TRAIN)
    validation_root = _subfolder(root, _VALIDATION)
    if (train_root is None) != (validation_root is None):
        has, lacks = ("train", "val") if train_root else ("val", "train")
        raise UsageError(f"{root} has a folder {has!r} but no {lacks!r}; give both, or neither")
    files = _class_files(train_root or root)
    if validation_root is None:
        train_files, validation_files = _stratify(files)
    else:
        train_files, validation_files = files, _same_classes(_class_files(validation_root), files)
    return _join(
        root.resolve().name,
        tuple(files),
        _read(train_files, resolution),
        _read(validation_files, resolution),
    )


def _subfolder(root: Path, names: Sequence[str]) -> Path | None:
    found = [root / name for name in names if (root / name).is_dir()]
    return found[0] if found else None


def _class_files(root: Path) -> dict[str, list[Path]]:
    """Return class name -> its image files, both in the order of names."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    found = {
        folder.name: sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        for folder in folders
    }
    found = {name: paths for name, paths in found.items() if paths}
    if len(found) < 2:
        raise UsageError(
            f"{root} holds {len(found)} class folders with images; give at least 2 "
            f"(images end in {', '.join(_SUFFIXES)})"
        )
    return found


def _stratify(
    files: Mapping[str, list[Path]],
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    for name, paths in files.items():
        if len(paths) < _SHARE:
            raise UsageError(
                f"class {name!r} has {len(paths)} images; give at least {_SHARE}, of which one "
                "validates, or make your own split with the folders train and val"
            )
    train = {
        n: [p for i, p in enumerate(ps) if i % _SHARE != _SHARE - 1] for n, ps in files.items()
    }
    return train, {name: paths[_SHARE - 1 :: _SHARE] for name, paths in files.items()}


def _same_classes(
    validation: dict[str, list[Path]], train: Mapping[str, list[Path]]
) -> dict[str, list[Path]]:
    if set(validation) != set(train):
        differing = sorted(set(validation) ^ set(train))
        raise UsageError(
            f"train and val have different classes; only one of them has {', '.join(differing)}"
        )
    return validation


def _read(files: Mapping[str, list[Path]], resolution: int) -> Subset:
    images = [_image(path, resolution) for paths in files.values() for path in paths]
    labels = [label for label, paths in enumerate(files.values()) for _ in paths]
    return Subset(np.stack(images), np.array(labels, dtype=np.int64))


def _image(path: Path, resolution: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
            fitted = ImageOps.fit(upright, (resolution, resolution), Image.Resampling.BICUBIC)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"cannot read the image {path}: {error}") from error
    return np.asarray(fitted, dtype=np.uint8)
