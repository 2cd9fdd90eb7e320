"""Relatives among images: which they are by their names, and that splits do not part them."""

import hashlib
from collections import Counter

import cv2
import numpy as np
import pytest
from helpers.coco_folders import content, written

from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.groups import assign_groups, suggest_groups
from llpp.datasets.image_folder import ImageFolder
from llpp.datasets.splits import draw_splits
from llpp.errors import ConfigError, DataError
from llpp.ids import Ids

HASH = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def named(names):
    """Annotations of one person in each image of these names."""
    table = content(len(names))
    for entry, name in zip(table["images"], names, strict=True):
        entry["file_name"] = name
    return table


def films(*counts):
    """Frames of several films, each in a folder of its own."""
    return [f"film{film}/frame{number:04d}.png" for film, count in enumerate(counts) for number in range(count)]


@pytest.mark.parametrize(
    ("group", "image", "found"),
    [
        ("folder", "images/day1/7.jpg", "images/day1"),
        ("source", f"images/photo_jpg.rf.{HASH}.jpg", "images/photo_jpg"),
        ("source", "images/photo.jpg", "images/photo.jpg"),
        ("film", "run_000123.jpg", "run"),
        ("film", "run/frame_12.png", "run/frame"),
        ("film", "run-12.jpg", "run"),
        ("film", "run.0012.jpg", "run"),
        ("film", f"run_0012_jpg.rf.{HASH}.jpg", "run"),
        ("film", "poster.jpg", "poster"),
        ("(cow[0-9]+)_", "images/cow7_12.jpg", "cow7"),
        ("cow[0-9]+", "images/cow7_12.jpg", "cow7"),
        ("cow[0-9]+", "images/horse.jpg", "images/horse.jpg"),
    ],
)
def test_the_group_of_an_image_is_read_from_its_path(group, image, found):
    # Others of other groups, one of which every choice here has a group for.
    others = ["images/cow1_1.jpg", f"other/cow2_2_jpg.rf.{HASH}.jpg"]
    assert assign_groups([image, *others], group)[0] == found


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (
            "fodler",
            r"dataset.group='fodler' matches none of 4 images, 'film0/frame0000.png' among them; expected null, ",
        ),
        ("(film", r"dataset.group='\(film' is no regular expression \(missing \)"),
        ("source", r"dataset.group='source' matches none of 4 images"),  # no name is a version's
        (7, "dataset.group=7 is invalid; expected null, folder, source or film, or a regular expression"),
        ("", "dataset.group='' is invalid"),
        ("frame", "dataset.group=frame puts all 4 images into one group, 'frame', and splits cannot share a group"),
    ],
)
def test_a_group_that_cannot_part_images_is_a_sentence(group, sentence):
    with pytest.raises(ConfigError, match=sentence):
        assign_groups(films(2, 2), group)


def test_without_groups_splits_are_those_of_ever():
    """In the order of `printf 0/a | b2sum` and so on: the first to val, the next two to test."""
    order = sorted("abcdef", key=lambda name: hashlib.blake2b(f"0/{name}".encode()).hexdigest())
    splits = ["val", "test", "test", "train", "train", "train"]
    assert draw_splits("fedcba", {"val": 1, "test": 2}, None, 0) == dict(zip(order, splits, strict=True))


def test_whole_groups_fill_splits_to_about_the_wanted_number():
    groups = {
        name: name[0] for name in ("a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3", "b4", "c1", "c2", "c3", "d1", "d2")
    }
    drawn = draw_splits(groups, {"val": 2, "test": 3}, None, 0, groups)
    # d is the only group of two images and c the only one of three: no other choice is as near to what is wanted.
    homes = {"a": "train", "b": "train", "c": "test", "d": "val"}
    assert drawn == {name: homes[group] for name, group in groups.items()}


def test_every_split_gets_a_group_even_if_all_are_too_large():
    groups = {f"{group}{number}": group for group in "abc" for number in range(4)}
    drawn = draw_splits(groups, {"val": 1, "test": 9}, None, 3, groups)
    assert Counter(drawn.values()) == {"train": 4, "val": 4, "test": 4}
    with pytest.raises(
        ConfigError, match=r"dataset.group makes 2 groups of 8 images \('[ab]', '[ab]'\), too few for"
    ):
        draw_splits([name for name in groups if groups[name] != "c"], {"val": 1, "test": 1}, None, 3, groups)


def test_training_images_beyond_the_limit_are_left_out_with_groups_too():
    groups = {f"{group}{number}": group for group in "abcd" for number in range(4)}
    drawn = draw_splits(groups, {"val": 4, "test": 4}, 3, 0, groups)
    assert sum(split == "train" for split in drawn.values()) == 3 and len(drawn) == 11


def test_frames_of_a_film_stand_in_one_split_and_sizes_are_told(tmp_path):
    root = written(tmp_path, named(films(8, 6, 4, 2)))
    data = CocoKeypoints(root, val=2, test=4, group="film")
    for number in range(4):
        rows = [row for row, image in enumerate(data.records.images) if f"film{number}/" in image]
        assert len(set(data.records.split[rows])) == 1
    assert data.records.notes == (
        "dataset.group=film makes 4 groups: train 14 images of 2, val 2 images of 1, test 4 images of 1",
    )
    assert data.records.group[0] == "images/film0/frame"
    by_folder = CocoKeypoints(root, val=2, test=4, group="folder").records
    assert by_folder.group[0] == "images/film0"


def test_files_that_part_a_group_are_refused_where_one_is_asked_for(tmp_path):
    table = named(films(4, 4, 4))
    for name, chosen in (("train", slice(0, 7)), ("test", slice(7, 12))):
        (tmp_path / name).mkdir()
        part = {**table, "images": table["images"][chosen], "annotations": table["annotations"][chosen]}
        written(tmp_path / name, part)
    files = {"train": "train/annotations.json", "test": "test/annotations.json"}
    CocoKeypoints(str(tmp_path), annotations=files, val=1)
    with pytest.raises(DataError, match=r"group 'images/film1/frame' stands in the splits"):
        CocoKeypoints(str(tmp_path), annotations=files, val=1, group="film")


def test_unlabelled_images_of_a_tested_film_are_left_out(tmp_path):
    table = named(films(4, 4, 4, 4))
    table["annotations"] = [entry for entry in table["annotations"] if entry["image_id"] % 4]  # three of each film
    data = CocoKeypoints(written(tmp_path, table), val=3, test=3, group="film", unlabelled=True)
    unlabelled = [image for image in data.records.ids if "#" not in image]
    assert len(unlabelled) == 2, "one of each film to train with"
    assert "2 unlabelled images are left out: others of their groups are in val or test" in data.records.notes


def test_versions_of_one_image_in_several_splits_are_noted(tmp_path):
    names = [f"photo{n}_jpg.rf.{version}{HASH[1:]}.jpg" for n in range(4) for version in "abc"]
    root = written(tmp_path, named(names))
    data = CocoKeypoints(root, val=2, test=2)
    homes = {}
    for image, split in zip(data.records.images, data.records.split, strict=True):
        homes.setdefault(image.split(".rf.")[0], set()).add(str(split))
    parted = sum(len(found) > 1 for found in homes.values())
    (note,) = data.records.notes
    assert note.startswith(f"{parted} of 4 source images have versions in several splits ('images/photo")
    assert note.endswith("dataset.group=source keeps them in one split")
    kept = CocoKeypoints(root, val=3, test=3, group="source").records
    assert "several splits" not in " ".join(kept.notes) and len(set(kept.group)) == 4


@pytest.mark.parametrize(
    ("names", "is_noted"),
    [
        (films(6, 6), True),
        ([f"cow_{n:03d}.jpg" for n in range(6)] + [f"pig_{n:03d}.jpg" for n in range(6)], True),
        ([f"{n:06d}.jpg" for n in range(20)], False),  # one series, as in most datasets
        ([f"im{n:04d}.jpg" for n in range(20)], False),
        ([f"train2017/{n:012d}.jpg" for n in range(20)], False),
        ([f"day{n}/photo.jpg" for n in range(20)], False),
        (films(6, 6) + [f"{name}.jpg" for name in "abcdefghijklmnopqrst"], False),  # a few films among other images
    ],
)
def test_films_are_suggested_only_where_several_series_are_parted(names, is_noted):
    split = np.array(["train", "test"] * 20)[: len(names)]
    found = suggest_groups(Ids(names), split)
    assert bool(found) == is_noted
    if is_noted:
        assert "if they are films, dataset.group=film keeps each in one split" in found[0]
        whole = np.array(["train"] * 6 + ["test"] * 6)
        assert not suggest_groups(Ids(names), whole)


def test_a_series_in_each_published_split_is_no_film():
    names = [f"train2017/{n:012d}.jpg" for n in range(10)] + [f"val2017/{n:012d}.jpg" for n in range(10)]
    split = np.array(["train"] * 8 + ["val"] * 2 + ["test"] * 10)
    assert not suggest_groups(Ids(names), split)


def write_images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((6, 8, 3), 90, dtype=np.uint8))


def test_classes_can_be_split_by_film_too(tmp_path):
    names = [f"{kind}/film{film}/{n}.png" for kind in ("cat", "dog") for film in range(3) for n in range(4)]
    write_images(tmp_path, *names)
    found = ImageFolder(str(tmp_path), val=4, test=4).records
    homes = {}
    for name, split in zip(found.ids, found.split, strict=True):
        homes.setdefault(name.rpartition("/")[0], set()).add(str(split))
    parted = sum(len(splits) > 1 for splits in homes.values())
    assert found.notes[0].startswith(f"{parted} series of numbered images stand in several splits each ('")
    records = ImageFolder(str(tmp_path), val=4, test=4, group="folder").records
    assert records.notes == (
        "dataset.group=folder makes 6 groups: train 16 images of 4, val 4 images of 1, test 4 images of 1",
    )
    with pytest.raises(ConfigError, match="makes one group of each class, so that every class is missing from some"):
        ImageFolder(str(tmp_path), group="^cat|^dog")


def test_numbers_in_folders_of_classes_are_no_films(tmp_path):
    write_images(tmp_path, *(f"{kind}/{kind}.{n}.png" for kind in ("cat", "dog") for n in range(8)))
    assert ImageFolder(str(tmp_path), val=3, test=3).records.notes == ()
