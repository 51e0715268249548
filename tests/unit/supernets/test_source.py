"""``evaluator="supernet(...)"``."""

import re
from pathlib import Path

import pytest

from moga.errors import UnknownName, UsageError
from moga.registry import create
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201
from moga.supernets.data import Images, load_data
from moga.supernets.source import supernet


@pytest.fixture(scope="module")
def images() -> Images:
    return load_data()


def space() -> MoGASpace:
    return MoGASpace(resolution=32, width=0.1, num_classes=10, stem_stride=2)


def test_a_run_keeps_its_weights(
    tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    run.mkdir()
    first = supernet(space(), images, steps=1, directory=run)
    assert (run / "supernet.safetensors").exists()
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path / "another"))
    again = create("evaluator", "supernet(steps=1)", space=space(), images=images, directory=run)
    assert again.describe()["digest"] == first.describe()["digest"]
    assert again.describe()["training_steps"] == 1
    assert not (tmp_path / "another" / "supernets").exists()


def test_unknown_recipe(images: Images) -> None:
    with pytest.raises(UnknownName, match=r"unknown recipe 'mogga'\. Did you mean 'moga'"):
        supernet(space(), images, recipe="mogga")


def test_without_images() -> None:
    with pytest.raises(UsageError, match=re.escape("needs images; pass data=, a folder")):
        supernet(space(), None)
    with pytest.raises(UsageError, match="Accuracies of nasbench201 come from a table"):
        supernet(NASBench201(), None)


def test_steps_and_epochs(images: Images) -> None:
    with pytest.raises(UsageError, match="either epochs or steps"):
        supernet(space(), images, steps=1, epochs=1)
