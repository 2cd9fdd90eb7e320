"""Persons that are annotated more than once, in one COCO file or in several."""

import copy

import numpy as np
import pytest
from helpers.coco_folders import STANDING, annotation, content, folder, written

from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.coco.duplicates import count_near_repeats
from llpp.errors import ConfigError, DataError
from llpp.ids import Ids

OTHER = [51, *STANDING[1:]]  # the nose, one pixel to the right


def test_persons_who_are_annotated_twice_are_one_person_and_counted(tmp_path):
    table = content(10)
    table["annotations"] += [annotation(200 + n, n) for n in range(1, 11)]
    data = CocoKeypoints(written(tmp_path, table))
    assert len(data.records.ids) == 10 and all(int(name.split("#")[1]) < 200 for name in data.records.ids)
    assert data.records.notes == ("10 annotations repeat another one exactly and are merged",)


def test_what_a_joint_that_is_not_labelled_has_for_coordinates_makes_no_other_person(tmp_path):
    table = content(5)
    table["annotations"].append(annotation(200, 1, keypoints=[*STANDING[:-3], 17, 17, 0]))
    assert len(CocoKeypoints(written(tmp_path, table)).records.ids) == 5


@pytest.mark.parametrize(
    "changes", [{"keypoints": OTHER}, {"keypoints": [*STANDING[:2], 1, *STANDING[3:]]}, {"bbox": [30, 5, 40, 61]}]
)
def test_persons_who_differ_in_a_joint_or_box_are_two(tmp_path, changes):
    table = content(5)
    table["annotations"].append(annotation(200, 1, **changes))
    data = CocoKeypoints(written(tmp_path, table))
    assert len(data.records.ids) == 6
    assert data.records.notes == (
        "1 pairs of annotations in one image have nearly the same box or exactly the same joints; both of "
        "each are used",
    )


@pytest.mark.parametrize("shift", [0, 1000])
def test_a_second_export_of_the_same_persons_adds_none(tmp_path, shift):
    first = content(8)
    second = copy.deepcopy(first)
    del second["images"][3:], second["annotations"][3:]
    for entry in second["annotations"]:
        entry["id"] += shift
    folder(tmp_path, first, "a.json")
    folder(tmp_path, second, "b.json")
    records = CocoKeypoints(str(tmp_path), annotations=["a.json", "b.json"]).records
    assert len(records.ids) == 8 and records.notes == ("3 annotations repeat another one exactly and are merged",)


def test_one_annotation_with_two_contents_is_refused_by_name(tmp_path):
    first = content(8)
    second = copy.deepcopy(first)
    second["annotations"][2]["keypoints"] = OTHER
    folder(tmp_path, first, "a.json")
    folder(tmp_path, second, "b.json")
    with pytest.raises(DataError) as refused:
        CocoKeypoints(str(tmp_path), annotations=["a.json", "b.json"])
    assert str(refused.value) == (
        f"{tmp_path}/a.json and {tmp_path}/b.json both have the annotation 'coco/0003.png#103' of image "
        "'images/0003.png', with other joints or another box; leave out the file that is out of date, or, if these "
        "are two persons, give one of them another id"
    )


def test_repeats_can_be_kept_as_older_runs_have_them(tmp_path):
    table = content(5)
    table["annotations"].append(annotation(200, 1))
    records = CocoKeypoints(written(tmp_path, table), repeats="keep").records
    assert len(records.ids) == 6
    with pytest.raises(ConfigError, match=r"dataset\.repeats='drop' is not known; use merge, keep"):
        CocoKeypoints(str(tmp_path), repeats="drop")


def test_pairs_with_nearly_the_same_box_are_counted_within_an_image():
    boxes = np.array(
        [
            [0, 0, 100, 100],
            [0, 0, 100, 100],  # equal, of another image
            [5, 0, 100, 100],  # of the first image: 95 × 100 of 105 × 100 pixels are shared, 0.905
            [6, 0, 100, 100],  # 94 of 106, 0.887, with the first; 99 of 101 with the one before
            [np.nan] * 4,
            [np.nan] * 4,
            [0, 0, 0, 100],
            [0, 0, 0, 100],
        ],
        dtype=np.float32,
    )
    images = Ids(["a", "b", "a", "a", "a", "a", "a", "a"])
    joints = np.arange(16, dtype=np.float32).reshape(8, 1, 2)
    assert count_near_repeats(images, boxes, joints) == 2
    assert count_near_repeats(images, np.full((8, 4), np.nan, dtype=np.float32), joints) == 0


def test_a_repeat_with_another_box_or_none_is_counted_as_well(tmp_path):
    table = content(5)
    table["annotations"] += [annotation(200, 1, bbox=None), annotation(201, 2, bbox=[0, 0, 90, 70])]
    records = CocoKeypoints(written(tmp_path, table), val=1, test=1).records
    assert len(records.ids) == 7
    assert any(note.startswith("2 pairs of annotations in one image have nearly the same") for note in records.notes)


def test_images_of_one_stem_have_ids_of_their_own(tmp_path):
    table = content(12)
    table["images"][10]["file_name"] = "new.jpg"
    table["images"][11]["file_name"] = "new.png"
    del table["annotations"][10:]
    root = written(tmp_path, table)
    ids = CocoKeypoints(root, unlabelled=True).records.ids
    assert {"coco/new.jpg", "coco/new.png", "coco/0001.png#101"} <= set(ids)
    older = content(12)
    assert "coco/0001#101" in CocoKeypoints(written(tmp_path, older), ids="stem").records.ids
    with pytest.raises(ConfigError, match=r"dataset\.ids='name' is not known; use file, stem"):
        CocoKeypoints(root, ids="name")
