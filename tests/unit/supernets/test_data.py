import numpy as np
import pytest
from PIL import Image

from moga.errors import FormatError, UsageError
from moga.supernets.data import load_data


def write(folder, count, size=(20, 12), colour=100):
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((size[1], size[0], 3), (colour + number) % 256, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


def test_the_bundled_photographs_are_split_by_people():
    images = load_data()
    assert (len(images.train), len(images.validation)) == (1625, 437)
    assert images.classes == tuple("0123456789")
    assert images.train.images.shape == (1625, 32, 32, 3)
    assert images.train.images.dtype == np.uint8
    assert images.train.labels.dtype == np.int64
    for subset in (images.train, images.validation):
        counts = np.bincount(subset.labels, minlength=10)
        assert counts.max() - counts.min() <= 5


def test_calibration_images_are_training_images_of_all_classes():
    images = load_data()
    train = {image.tobytes() for image in images.train.images}
    assert all(image.tobytes() in train for image in images.calibration.images)
    assert len(images.calibration) == 256
    assert (np.bincount(images.calibration.labels) > 10).all()


def test_no_photograph_stands_on_both_sides():
    images = load_data()
    train = {image.tobytes() for image in images.train.images}
    assert not any(image.tobytes() in train for image in images.validation.images)


def test_digest_follows_the_pixels_and_is_stable(tmp_path):
    write(tmp_path / "a" / "one", 10)
    write(tmp_path / "a" / "two", 10, colour=30)
    write(tmp_path / "b" / "one", 10)
    write(tmp_path / "b" / "two", 10, colour=31)
    first, again = (load_data(tmp_path / "a", resolution=16) for _ in range(2))
    other = load_data(tmp_path / "b", resolution=16)
    assert first.digest == again.digest != other.digest
    assert load_data().digest == load_data().digest


def test_a_folder_is_resized_cropped_and_split_by_class(tmp_path):
    write(tmp_path / "cat", 10)
    write(tmp_path / "dog", 5, size=(7, 31), colour=200)
    images = load_data(tmp_path, resolution=8)
    assert images.classes == ("cat", "dog")
    assert images.resolution == 8
    assert images.num_classes == 2
    assert np.bincount(images.train.labels).tolist() == [8, 4]
    assert np.bincount(images.validation.labels).tolist() == [2, 1]
    assert images.validation.images[:, 0, 0, 0].tolist() == [104, 109, 204]


def test_a_folder_is_64_pixels_by_default(tmp_path):
    write(tmp_path / "cat", 5)
    write(tmp_path / "dog", 5)
    assert load_data(tmp_path).resolution == 64


def test_train_and_val_folders_are_the_split(tmp_path):
    for split, count in (("train", 4), ("val", 3)):
        for name in ("cat", "dog"):
            write(tmp_path / split / name, count)
    images = load_data(str(tmp_path), resolution=8)
    assert (len(images.train), len(images.validation)) == (8, 6)


def test_grey_and_transparent_images_become_rgb(tmp_path):
    write(tmp_path / "cat", 5)
    write(tmp_path / "dog", 5)
    Image.new("L", (9, 9), 7).save(tmp_path / "cat" / "000.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 0)).save(tmp_path / "cat" / "001.png")
    images = load_data(tmp_path, resolution=8)
    assert images.train.images[:2, 4, 4].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_no_such_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no such folder: .*absent; give a folder that holds"):
        load_data(tmp_path / "absent")


def test_fewer_than_two_classes(tmp_path):
    write(tmp_path / "cat", 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds 1 class folders with images; give at least 2"):
        load_data(tmp_path)


def test_too_few_images(tmp_path):
    write(tmp_path / "cat", 5)
    write(tmp_path / "dog", 4)
    with pytest.raises(UsageError, match="class 'dog' has 4 images; give at least 5"):
        load_data(tmp_path)


def test_half_a_split(tmp_path):
    write(tmp_path / "train" / "cat", 5)
    with pytest.raises(UsageError, match="has a folder 'train' but no 'val'"):
        load_data(tmp_path)


def test_different_classes_in_the_splits(tmp_path):
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "cow")):
        write(tmp_path / split / name, 2)
    with pytest.raises(UsageError, match="only one of them has cow, dog"):
        load_data(tmp_path)


def test_an_unreadable_image_is_named(tmp_path):
    write(tmp_path / "cat", 5)
    write(tmp_path / "dog", 5)
    (tmp_path / "dog" / "002.png").write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"cannot read the image .*dog/002\.png"):
        load_data(tmp_path)


def test_a_resolution_that_is_too_small(tmp_path):
    with pytest.raises(UsageError, match="resolution is 4; give 8 pixels or more"):
        load_data(tmp_path, resolution=4)


def test_the_photographs_have_one_resolution():
    with pytest.raises(UsageError, match="the bundled photographs have 32 pixels"):
        load_data(resolution=64)
