"""COCO keypoints JSON: real and made up, of other skeletons, mistyped and hostile."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.coco_folders import JOINTS, STANDING, annotation, content, folder, written

from llpp.config import build
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.errors import ConfigError, DataError, LlppError

SAMPLE = Path(os.environ.get("LLPP_DATA", "data")) / "coco_sample"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of COCO is not on this machine")


def test_persons_are_read_with_coordinates_visibility_and_box(tmp_path):
    data = CocoKeypoints(str(folder(tmp_path)))
    data.check()
    table, row = data.records, data.records.ids.index("coco/0003.png#103")
    assert table.labels.joints[row, :4].tolist() == [[50, 10], [60, 20], [40, 20], [58, 50]]
    assert np.isnan(table.labels.joints[row, 4]).all() and table.labels.visible[row].tolist() == [2, 2, 1, 2, 0]
    assert table.boxes[row].tolist() == [30, 5, 40, 60.5] and table.ground_truth_boxes
    assert data.load(row).shape == (70, 90, 3)
    assert data.skeleton.joints == tuple(JOINTS) and data.skeleton.flip_pairs == ((1, 2), (3, 4))
    assert data.skeleton.edges == ((0, 1), (0, 2), (1, 3), (2, 4))
    # only right shoulder (40, 20) to left hip (58, 50) has both ends
    assert data.get_normaliser("torso").values[row] == pytest.approx(np.hypot(18, 30))
    assert data.get_normaliser("box").values[row] == pytest.approx(60.5)


def test_boxes_can_come_from_the_joints_or_be_the_image(tmp_path):
    table = content()
    table["annotations"][0]["keypoints"] = [5, 5, 2] + [0] * 12  # a single joint
    for entry in table["annotations"]:
        del entry["bbox"]
    root = str(folder(tmp_path, table))
    hulls = CocoKeypoints(root, box="joints").records
    assert hulls.boxes[0].tolist() == [40, 10, 20, 40] and len(hulls.ids) == 9
    assert hulls.notes == ("1 annotations whose labelled joints span no box (box=joints) are left out",)
    whole = CocoKeypoints(root, box="image").records
    assert np.isnan(whole.boxes).all() and len(whole.ids) == 10 and not whole.ground_truth_boxes
    with pytest.raises(
        DataError, match=r"annotation 101 has no usable bbox, and no other one has; .* dataset.box to jo"
    ):
        CocoKeypoints(root)


def test_crowds_empty_and_dangling_annotations_are_left_out_and_counted(tmp_path):
    table = content()
    table["annotations"] += [
        annotation(201, 1, iscrowd=1, keypoints="anything", bbox=None),
        annotation(202, 2, keypoints=[7, 7, 0] * 5, bbox=[0, 0, 0, 0]),
        annotation(203, 2, keypoints=[]),
        annotation(204, 999),
        annotation(205, 3, category_id=7),
        annotation(206, 3, category_id=8),  # of another category that the file knows: none of our business
    ]
    table["categories"].append({"id": 8, "name": "ball"})
    data = CocoKeypoints(str(folder(tmp_path, table)))
    assert len(data.records.ids) == 10
    assert data.records.notes == (
        "1 annotations of category 7, which is none of the file's (1 'person', 8 'ball'), are left out",
        "1 annotations of crowds are left out",
        "1 annotations of images that the file does not list are left out",
        "2 annotations without a labelled joint are left out",
    )


def test_persons_of_one_image_share_a_split_which_the_files_order_does_not_change(tmp_path):
    table = content(20)
    sitting = [50, 10, 2, *STANDING[3:]]
    sitting[4] = 25
    table["annotations"] += [annotation(300 + n, n, keypoints=sitting) for n in range(1, 21)]
    data = CocoKeypoints(written(tmp_path, table))
    homes = dict(zip(data.records.ids, data.records.split.tolist(), strict=True))
    images = {i: [s for k, s in homes.items() if k.startswith(f"coco/{i:04d}.png#")] for i in range(1, 21)}
    assert all(len(found) == 2 and len(set(found)) == 1 for found in images.values())
    counts = {s: sum(found[0] == s for found in images.values()) for s in ("train", "val", "test")}
    assert counts == {"train": 14, "val": 2, "test": 4}  # a tenth and two tenths of 20
    for entries in table.values():
        entries.reverse()
    again = CocoKeypoints(written(tmp_path, table)).records
    assert dict(zip(again.ids, again.split.tolist(), strict=True)) == homes
    other = CocoKeypoints(written(tmp_path, table), split_seed=1).records
    assert dict(zip(other.ids, other.split.tolist(), strict=True)) != homes
    few = CocoKeypoints(written(tmp_path, table), val=3, test=5, train=4).records
    assert [(few.split == s).sum() for s in ("train", "val", "test")] == [8, 6, 10]
    assert set(few.split[few.may_start]) == {"train"}


def test_splits_may_have_files_and_folders_of_their_own(tmp_path, compose):
    train, test = content(8), content(4)
    for entry in test["images"]:
        entry["file_name"] = f"9{entry['file_name']}"
    (tmp_path / "annotations").mkdir()
    folder(tmp_path, train, "annotations/person_keypoints_train2017.json", "train2017")
    folder(tmp_path, test, "annotations/person_keypoints_val2017.json", "val2017")
    data = build.make_dataset(compose("dataset=coco2017", f"dataset.root={tmp_path}", "dataset.val=3"))
    assert [len(data.records.select_rows(s)) for s in ("train", "val", "test")] == [5, 3, 4]
    row = data.records.select_rows("test")[0]
    assert data.records.images[row] == "val2017/90001.png" and data.load(row).shape == (70, 90, 3)
    for image in (tmp_path / "val2017").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"none of the test images is there, for example .*val2017/90001.png; put"):
        data.check()


def test_one_image_never_stands_in_two_splits(tmp_path):
    folder(tmp_path, content(8), "a.json")
    same = content(8)
    for entry in same["annotations"]:
        entry["id"] += 1000
    folder(tmp_path, same, "b.json")
    with pytest.raises(DataError, match="stands in the splits"):
        CocoKeypoints(str(tmp_path), annotations={"train": "a.json", "test": "b.json"}, val=2)
    both = CocoKeypoints(str(tmp_path), annotations=["a.json", "b.json"])  # the same persons again
    assert len(both.records.ids) == len(set(both.records.images)) == 8
    assert both.records.notes == ("8 annotations repeat another one exactly and are merged",)


def test_images_without_annotations_are_listed_on_demand(tmp_path):
    table = content(12)
    del table["annotations"][9:]
    table["annotations"].append(annotation(300, 12, keypoints=[0] * 15))  # somebody looked at it
    root = str(folder(tmp_path, table))
    assert "2 images without annotations are left out" in CocoKeypoints(root).records.notes
    found = CocoKeypoints(root, unlabelled=True).records
    rows = [found.ids.index(f"coco/{n:04d}.png") for n in (10, 11)]
    assert len(found.ids) == 11 and (found.split[rows] == "train").all()
    assert not found.may_start[rows].any() and not found.labels.visible[rows].any()
    assert np.isnan(found.labels.joints[rows]).all() and np.isnan(found.boxes[rows]).all()


def test_an_image_is_unlabelled_only_if_no_file_annotates_it(tmp_path):
    first, second = content(12), content(12)
    del first["annotations"][4:], second["annotations"][:4], second["annotations"][6:]  # 1 to 4, 5 to 10
    folder(tmp_path, first, "a.json")
    folder(tmp_path, second, "b.json")
    found = CocoKeypoints(str(tmp_path), annotations=["a.json", "b.json"], unlabelled=True).records
    assert sorted(i for i in found.ids if "#" not in i) == ["coco/0011.png", "coco/0012.png"] and len(found.ids) == 12


def test_a_pool_without_any_annotation_is_a_dataset_too(tmp_path):
    table = content(5)
    del table["annotations"]
    root = str(folder(tmp_path, table))
    pool = CocoKeypoints(root, unlabelled=True).records
    assert len(pool.ids) == 5 and set(pool.split) == {"train"}
    with pytest.raises(DataError, match="has no person with a labelled joint"):
        CocoKeypoints(root)


def test_other_skeletons_lack_a_torso_and_are_measured_by_their_box(tmp_path):
    table = content(
        joints=["tip", "l_wing", "r_wing", "tail", "l_foot"], edges=[[0, 1], [0, 2], [0, 3], [4, 4], [1, 9], 5]
    )
    data = CocoKeypoints(str(folder(tmp_path, table)))
    assert data.skeleton.edges == ((0, 1), (0, 2), (0, 3))  # an edge from 0: this file counts from there
    assert "3 skeleton edges between joints that do not exist are left out" in data.records.notes
    assert [data.skeleton.joints[j] for j in data.skeleton.unpaired] == ["l_foot"]
    assert data.get_normaliser("box").values == pytest.approx(60.5)
    with pytest.raises(ConfigError, match=r"pck.normaliser=torso: dataset coco has none for any person; use .*box"):
        data.get_normaliser("torso")


def test_a_category_is_chosen_by_name_or_number_if_there_are_several(tmp_path):
    table = content()
    table["categories"] += [
        {"id": 2, "name": "dog", "keypoints": ["nose", "tail"]},
        {"id": 3, "name": "car"},  # no joints: no choice
    ]
    table["annotations"] += [annotation(500 + n, n, category_id=2, keypoints=[1, 2, 2, 3, 4, 2]) for n in range(1, 6)]
    root = str(folder(tmp_path, table))
    with pytest.raises(ConfigError, match=r"category=null does not choose one .*; set it to one of 'person', 'dog'"):
        CocoKeypoints(root)
    with pytest.raises(ConfigError, match="category='car' does not choose"):
        CocoKeypoints(root, category="car")
    for wanted in ("dog", 2):
        assert CocoKeypoints(root, category=wanted).records.labels.joints.shape == (5, 2, 2)


def spoilt(**changes):
    """The first annotation with other values."""
    table = content()
    table["annotations"][0].update(changes)
    return table


def image_named(name):
    table = content()
    table["images"][0]["file_name"] = name
    return table


def kept(number, value):
    return [*STANDING[:number], value, *STANDING[number + 1 :]]


HOSTILE = {
    "truncated": (json.dumps(content())[:-40], "it is truncated or no JSON"),
    "empty": ("", "it is truncated or no JSON"),
    "deep": ("[" * 100_000, "it is truncated or no JSON"),
    "digits": ('{"images": ' + "9" * 5000 + "}", "it is truncated or no JSON"),
    "list": ("[]", "holds a list; expected an object with images, annotations and categories"),
    "no images": ({"categories": content()["categories"]}, "'images' is missing or no list of objects"),
    "numbers": ({**content(), "annotations": [1, 2]}, "'annotations' is missing or no list of objects"),
    "no joints": ({**content(), "categories": [{"id": 1, "name": "person"}]}, "no category with keypoints"),
    "twice": (content(joints=["nose"] * 5), "names a keypoint twice"),
    "escape": (content(joints=["\x1b[31mnose", *JOINTS[1:]]), "expected printable text"),
    "joint 5": (content(joints=[5, *JOINTS[1:]]), "a keypoint of category 'person' is called 5"),
    "joints": (content(joints="nose"), "the keypoints of category 'person' are no list of names"),
    "parent": (
        image_named("../../etc/passwd"),
        "image 1 has the file name '../../etc/passwd'; expected",
    ),
    "inner": (image_named("a/../../b.png"), "expected a path inside the folder of images"),
    "absolute": (image_named("/etc/passwd"), "expected a path inside the folder of images"),
    "drive": (image_named("C:\\secret.png"), "expected a path inside the folder of images"),
    "backslash": (image_named("..\\secret.png"), "expected a path inside the folder of images"),
    "dot": (image_named("."), "expected a path inside the folder of images"),
    "null byte": (image_named("a\0.png"), "the file of image 1 is called .*; expected printable text"),
    "surrogate": (image_named("\ud800.png"), "expected printable text"),
    "long": (image_named("a" * 1000), "expected printable text"),
    "no name": (image_named(None), "the file of image 1 is called None"),
    "image twice": ({**content(), "images": content()["images"] * 2}, "image id 1 occurs more than once"),
    "image id": (spoilt(image_id=[1]), r"annotation 101 has the image_id \[1\]; expected a whole number"),
    "true": (spoilt(image_id=True), "annotation 101 has the image_id True"),
    "huge id": (spoilt(id=10**30), "an annotation has the id 1000"),
    "word": (spoilt(keypoints="abc"), "keypoints of annotation 101: none; expected 3 × 5"),
    "short": (spoilt(keypoints=STANDING[:-1]), "keypoints of annotation 101: 14 numbers; expected 3 × 5"),
    "text": (spoilt(keypoints=kept(0, "50")), r"annotation 101 has a labelled joint at \('50', 10\)"),
    "nan": (spoilt(keypoints=kept(1, float("nan"))), r"annotation 101 has a labelled joint at \(50, nan\)"),
    "infinite": (spoilt(keypoints=kept(0, float("inf"))), "labelled joint at"),
    "far": (spoilt(keypoints=kept(0, -1e6)), "labelled joint at"),
    "enormous": (spoilt(keypoints=kept(0, 10**400)), "labelled joint at"),
    "null": (spoilt(keypoints=kept(0, None)), "labelled joint at"),
    "visibility": (spoilt(keypoints=kept(2, 3)), "annotation 101 has the visibility 3; expected 0 .not labelled"),
    "negative visibility": (spoilt(keypoints=kept(2, -0.5)), "annotation 101 has the visibility -0.5"),
}


@pytest.mark.parametrize(("text", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, text, sentence):
    root = written(tmp_path, text)
    with pytest.raises(DataError, match=sentence) as refused:
        CocoKeypoints(root, unlabelled=True)
    told = str(refused.value)
    assert "annotations.json" in told and "\n" not in told and len(told) < 600 and told.isprintable()


WILD = (None, True, -1, 0, 3.5, 10**30, float("nan"), -float("inf"), "", "a/../b", "\x1b[0m", [], [[]], {}, {"id": 1})


def places(node):
    """(container, key) of every value in nested lists and dictionaries."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


@pytest.mark.slow
def test_any_value_in_place_of_any_other_is_read_or_refused_in_words(tmp_path):
    read = refused = 0
    for number in range(len(list(places(content(3))))):
        box = ("annotation", "joints", "image")[number % 3]
        for value in WILD[number % 3 :: 3]:
            table = copy.deepcopy(content(3))
            container, key = list(places(table))[number]
            container[key] = value
            try:
                data = CocoKeypoints(written(tmp_path, table), val=1, test=1, box=box, unlabelled=True)
            except LlppError as error:
                assert str(error).isprintable()
                refused += 1
            else:
                known = data.records.boxes[np.isfinite(data.records.boxes).all(axis=1)]
                assert (
                    np.isfinite(data.records.labels.joints[data.records.labels.visible > 0]).all()
                    and (known[:, 2:] > 0).all()
                )
                assert all(path.is_relative_to(tmp_path / "images") for path in data.paths)
                read += 1
    assert min(read, refused) > 100


def test_coordinates_of_joints_that_are_not_labelled_may_be_anything(tmp_path):
    root = written(tmp_path, spoilt(keypoints=[*STANDING[:-3], None, float("nan"), 0]))
    assert np.isnan(CocoKeypoints(root).records.labels.joints[:, 4]).all()


def test_missing_files_say_where_they_were_expected(tmp_path):
    with pytest.raises(DataError, match=r"no annotations at .*nowhere/annotations.json; put .*see docs/datasets.md$"):
        CocoKeypoints(str(tmp_path / "nowhere"))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match=r"folder.json cannot be read"):
        CocoKeypoints(str(tmp_path), annotations="folder.json")
    data = CocoKeypoints(written(tmp_path, content()))
    with pytest.raises(DataError, match=r"none of the train images is there, .*; see docs/datasets.md$"):
        data.check()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"box": "tight"}, "dataset.box='tight' is not known"),
        ({"val": 0.5, "test": 0.5}, "dataset.val=0.5, dataset.test=0.5 leave no image to train on, of 10"),
        ({"val": -1}, "dataset.val=-1 is invalid; expected a share above 0 and below 1, or a number"),
        ({"orientation": "up"}, "dataset.orientation='up' is not known; use auto, file, upright"),
        ({"outside": "clip"}, "dataset.outside='clip' is not known; use drop, keep"),
        ({"strict": "yes"}, "dataset.strict='yes' is invalid; expected true or false"),
        ({"test": 1.5}, "dataset.test=1.5 is invalid"),
        ({"test": None}, "dataset.test=None is invalid"),
        ({"train": 0}, "dataset.train=0 is invalid"),
        ({"annotations": {"val": "a.json"}}, "dataset.annotations has files for val; expected train"),
        ({"annotations": {"train": 3}}, "train is 3; expected a file or a list of files"),
        ({"annotations": []}, r"train is \[\]; expected a file or a list of files"),
        ({"images": {"test": "images"}}, "dataset.images names no folder for train"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, sentence):
    root = str(folder(tmp_path))
    with pytest.raises(ConfigError, match=sentence):
        CocoKeypoints(root, **settings)


def test_files_of_one_dataset_share_their_joints(tmp_path):
    folder(tmp_path, name="a.json")
    folder(tmp_path, content(joints=JOINTS[::-1]), name="b.json")
    with pytest.raises(DataError, match=r"b.json names other keypoints than .*a.json"):
        CocoKeypoints(str(tmp_path), annotations=["a.json", "b.json"])


@needs_sample
def test_the_real_sample_is_read_as_published():
    data = CocoKeypoints(str(SAMPLE))
    data.check()
    table = data.records
    assert len(table.ids) == 12 and len(set(table.images)) == 4  # 14 annotations, 2 without joints
    row = table.ids.index("coco/000000000785.jpg#442619")
    assert table.labels.joints[row, 0].tolist() == [367, 81] and (table.labels.visible[row] == 2).all()
    np.testing.assert_allclose(table.boxes[row], [280.79, 44.73, 218.7, 346.68])
    pairs = {frozenset(data.skeleton.joints[j] for j in pair) for pair in data.skeleton.flip_pairs}
    sides = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    assert pairs == {frozenset((f"left_{part}", f"right_{part}")) for part in sides}
    edge = {data.skeleton.joints[j] for j in data.skeleton.edges[0]}
    assert edge == {"left_ankle", "left_knee"}  # [16, 14] in the file, which counts from 1
    assert not data.find_bad_images(range(12))
