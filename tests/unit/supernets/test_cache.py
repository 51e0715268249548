import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from moga.contracts import Silent
from moga.errors import FormatError
from moga.files import cache_dir
from moga.supernets import cache
from moga.supernets.cache import load_supernet, trained_supernet
from moga.supernets.data import Subset
from moga.supernets.training import Recipe, train

QUICK = Recipe(optimizer="sgd", rate=0.05, steps=1, batch=16)


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(autouse=True)
def trainings(tmp_path, monkeypatch):
    """Keep the cache in a folder of the test's own, and count trainings."""
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
    done = []

    def counting(*args, **kwargs):
        done.append(args)
        return train(*args, **kwargs)

    monkeypatch.setattr(cache, "train", counting)
    return done


def checkpoints():
    return sorted(cache_dir("supernets").glob("*"))


def test_the_same_supernet_is_trained_once(space, images, trainings):
    progress = Notes()
    first, training = trained_supernet(space, images, QUICK, progress=progress)
    assert progress.notes == []
    again, kept = trained_supernet(space, images, QUICK, progress=progress)
    assert len(trainings) == 1
    assert len(checkpoints()) == 1
    assert kept == training
    assert not again.training
    assert "reusing the supernet trained before" in progress.notes[0]
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_whatever_decides_the_weights_trains_anew(space, wider, images, trainings, monkeypatch):
    trained_supernet(space, images, QUICK)
    pixels = images.train.images.copy()
    pixels[0, 0, 0, 0] ^= 1
    changed = dataclasses.replace(images, train=Subset(pixels, images.train.labels))
    trained_supernet(space, changed, QUICK)
    trained_supernet(wider, images, QUICK)
    trained_supernet(space, images, dataclasses.replace(QUICK, rate=0.06))
    trained_supernet(space, images, QUICK, sharing="separate")
    trained_supernet(space, images, QUICK, seed=1)
    monkeypatch.setattr(cache, "CODE_VERSION", 0)
    trained_supernet(space, images, QUICK)
    assert len(trainings) == len(checkpoints()) == 7


def test_without_cache_nothing_is_kept(space, images, trainings):
    for _ in range(2):
        trained_supernet(space, images, QUICK, cache=False)
    assert len(trainings) == 2
    assert checkpoints() == []


def test_a_damaged_checkpoint_is_trained_again_and_said(space, images, trainings):
    trained_supernet(space, images, QUICK)
    path = checkpoints()[0]
    path.write_bytes(path.read_bytes()[:1000])
    progress = Notes()
    trained_supernet(space, images, QUICK, progress=progress)
    assert len(trainings) == 2
    assert "training again, for the checkpoint cannot be used" in progress.notes[0]
    trained_supernet(space, images, QUICK)
    assert len(trainings) == 2


def test_an_interrupted_training_leaves_nothing(space, images, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained_supernet(space, images, QUICK)
    assert checkpoints() == []


def test_files_of_another_kind_are_refused(space, images, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FormatError, match="is no supernet: its format is None"):
        load_supernet(tmp_path / "other.safetensors", space)
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(FormatError, match="cannot be read as a supernet"):
        load_supernet(tmp_path / "torn.safetensors", space)
    trained_supernet(space, images, QUICK)
    with pytest.raises(FormatError, match="these weights are of another supernet"):
        load_supernet(checkpoints()[0], space, "separate")
