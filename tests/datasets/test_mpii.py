"""MPII's three forms: the same persons in all of them, the real JSON B, the sample's photographs, damaged files."""

import gzip
import importlib
import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from helpers.crops import Warp, cut_person
from helpers.mpii_folders import NOTHING, crowd, form_a, form_b, people, person, rectangle, structs, write

from llpp.data.person_crop import PersonCrop
from llpp.datasets.isolated_reader import read_in_subprocess
from llpp.datasets.mpii.dataset import MpiiHumanPose
from llpp.datasets.mpii.mat_format import read_official
from llpp.datasets.mpii.persons import build_persons
from llpp.errors import ConfigError, DataError
from llpp.geometry import compute_scale

pytestmark = pytest.mark.slow  # large files

DATA = Path(os.environ.get("LLPP_DATA", "data"))
REAL, SAMPLE = DATA / "mpii", DATA / "mpii_sample"
needs_real = pytest.mark.skipif(not (REAL / "mpii_annotations.json.gz").is_file(), reason="no MPII annotations here")
needs_sample = pytest.mark.skipif(not (SAMPLE / "images").is_dir(), reason="no MPII photographs here")


def dataset(folder, **settings):
    return MpiiHumanPose(str(folder), **{"val": 1, **settings})


def by_id(data):
    return {i: n for n, i in enumerate(data.records.ids)}


@pytest.mark.parametrize("form", ["mat", "A", "B"])
def test_every_form_tells_the_same_persons(tmp_path, form):
    data = dataset(write(tmp_path, form))
    table, rows = data.records, by_id(data)
    assert set(rows) == {"mpii/a#0", "mpii/a#1", "mpii/b#0", "mpii/c#0"}
    assert sorted(table.split.tolist())[0] == "test" and table.split[rows["mpii/b#0"]] == "test"
    assert {table.split[rows["mpii/a#0"]], table.split[rows["mpii/c#0"]]} == {"train", "val"}
    for p, name in zip(people(), ("a#0", "a#1", "b#0", "c#0"), strict=True):
        row = rows[f"mpii/{name}"]
        expected = np.minimum(p["visible"], 1) * 2 if form == "A" else p["visible"]
        assert table.labels.visible[row].tolist() == expected.tolist()
        known = p["visible"] > 0
        np.testing.assert_array_equal(table.labels.joints[row, known], p["joints"][known] - 1)
        x, y = p["centre"]  # 200 px × 0.4 = 80 across, its middle 15 × 0.4 = 6 lower and counted from 0
        np.testing.assert_allclose(table.boxes[row], [x - 1 - 40, y - 1 + 6 - 40, 80, 80], rtol=1e-6)
    assert table.ground_truth_boxes and table.box_source == "annotation"
    assert any("occluded joints" in note for note in table.notes) == (form == "A")


@pytest.mark.parametrize(("form", "estimated"), [("mat", False), ("A", True), ("B", True)])
def test_head_sizes_are_the_rectangles_diagonals_or_named_estimates(tmp_path, form, estimated):
    """A rectangle of 30 × 40 has a diagonal of 50, and MPII's head points lie 0.8 × 50 = 40 apart."""
    size = dataset(write(tmp_path, form), head_slide=0.2).get_normaliser("head")
    np.testing.assert_allclose(size.values, 50, rtol=1e-6)
    assert size.estimated.all() == estimated == size.estimated.any() and ("0.8" in size.source) == estimated


def test_a_person_without_head_points_has_no_head_size(tmp_path):
    persons = [*people(), person("d.png", 20, 30, missing=[9])]
    data = dataset(write(tmp_path, "B", persons))
    size, row = data.get_normaliser("head"), by_id(data)["mpii/d#0"]
    assert np.isnan(size.values[row]) and not size.estimated[row] and np.isfinite(np.delete(size.values, row)).all()


def gt_valid(folder, persons, **change):
    joints = np.stack([p["joints"] for p in persons], axis=2)
    missing = np.stack([p["visible"] == 0 for p in persons], axis=1).astype(float)
    boxes = np.zeros((2, 2, len(persons)))
    boxes[1] = np.array([[30.0], [72.0]])  # diagonal 78
    content = {"headboxes_src": boxes, "pos_gt_src": joints, "jnt_missing": missing, **change}
    scipy.io.savemat(folder / "gt_valid.mat", content)


@pytest.mark.parametrize("tests", [1, 3])
def test_form_a_takes_the_test_persons_heads_from_gt_valid(tmp_path, tests):
    tested = [person(f"t{n}.png", 40, 40, test=True, missing=[2]) for n in range(tests)]
    write(tmp_path, "A", [*people()[:2], person("c.png", 9, 9), *tested])
    gt_valid(tmp_path, tested)
    data = dataset(tmp_path)
    size, test = data.get_normaliser("head"), data.records.split == "test"
    assert test.sum() == tests and not size.estimated[test].any() and size.estimated[~test].all()
    np.testing.assert_allclose(size.values, np.where(test, 78, 50))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"headboxes_src": np.zeros((2, 2, 7))}, "expected those of the 1 persons"),
        ({"pos_gt_src": np.full((16, 2, 1), 55.0)}, "does not belong to valid.json: joints of 'b.png'"),
        ({"jnt_missing": "none"}, "has no numbers in jnt_missing"),
    ],
)
def test_a_gt_valid_of_other_persons_is_refused(tmp_path, change, reason):
    write(tmp_path, "A")
    gt_valid(tmp_path, [people()[2]], **change)
    with pytest.raises(DataError, match=reason):
        dataset(tmp_path)


def test_the_official_files_odd_entries_are_left_out_and_counted(tmp_path):
    place = {"scale": 1.0, "objpos": {"x": 5.0, "y": 5.0}}
    bare = {k: v for k, v in rectangle(people()[0]).items() if k not in ("x1", "y1", "x2", "y2")}
    nowhere = {**rectangle(people()[0]), "objpos": NOTHING, "scale": NOTHING}
    point = {"x": 7.0, "y": 9.0, "id": 4.0}  # a single struct, without is_visible
    one = {"annopoints": {"point": point}, **place}
    more = [
        ({"image": {"name": "test.png"}, "annorect": structs([place])}, 0),
        ({"image": {"name": "empty.png"}, "annorect": NOTHING}, 1),
        ({"image": {"name": "blank.png"}, "annorect": structs([{"annopoints": NOTHING, **place}])}, 1),
        ({"image": {"name": "bare.png"}, "annorect": structs([bare])}, 1),
        ({"image": {"name": "nowhere.png"}, "annorect": structs([nowhere])}, 1),
        ({"image": {"name": "one.png"}, "annorect": structs([{"annopoints": NOTHING, **place}, one])}, 1),
    ]
    data = dataset(write(tmp_path, "mat", more=more))
    rows, table = by_id(data), data.records
    assert set(rows) == {"mpii/a#0", "mpii/a#1", "mpii/b#0", "mpii/c#0", "mpii/bare#0", "mpii/one#1"}
    assert table.labels.joints[rows["mpii/one#1"], 4].tolist() == [6, 8]
    assert table.labels.visible[rows["mpii/one#1"]].tolist() == [0, 0, 0, 0, 2] + [0] * 11
    size = data.get_normaliser("head")
    assert size.estimated[rows["mpii/bare#0"]] and size.values[rows["mpii/bare#0"]] == pytest.approx(50)
    notes = " ".join(table.notes)
    for left_out in ("1 published test image", "2 training images without", "1 person without centre and scale"):
        assert left_out in notes
    assert "mpii/one#1" not in by_id(dataset(tmp_path, box="joints")), "one joint makes no box"
    assert "mpii/nowhere#0" in by_id(dataset(tmp_path, box="joints"))


def test_persons_without_joints_or_centre_are_left_out_and_counted(tmp_path):
    persons = [*people(), person("d.png", 9, 9, missing=range(16)), {**person("e.png", 9, 9), "centre": [-1.0, -1.0]}]
    data = dataset(write(tmp_path, "A", persons))
    assert not {"mpii/d#0", "mpii/e#0"} & set(data.records.ids)
    assert {"1 person without joints left out", "1 person without centre and scale left out"} <= {*data.records.notes}


def test_boxes_around_joints_or_none(tmp_path):
    write(tmp_path, "B")
    hull, whole = (dataset(tmp_path, box=box).records for box in ("joints", "image"))
    # x from 30 to 60; y from 30 (head top) to 70 (neck); counted from 0
    np.testing.assert_array_equal(hull.boxes[0], [29, 29, 30, 40])
    assert hull.ground_truth_boxes and np.isnan(whole.boxes).all() and not whole.ground_truth_boxes


def test_the_head_top_slides_towards_the_neck_where_both_are_known(tmp_path):
    persons = [*people(), person("d.png", 20, 30, missing=[8])]
    write(tmp_path, "B", persons)
    still, slid = (dataset(tmp_path, head_slide=share) for share in (0.0, 0.25))
    moved = slid.records.labels.joints - still.records.labels.joints
    rows = by_id(still)
    assert moved[rows["mpii/a#0"], 9].tolist() == [0, 10] and not moved[rows["mpii/d#0"], 9].any()
    assert not np.nan_to_num(np.delete(moved, 9, axis=1)).any()


def test_validation_takes_whole_images_out_of_training_and_train_is_limited(tmp_path):
    write(tmp_path, "B", crowd())
    all_of_it, few, other = (
        dataset(tmp_path, val=10, **more).records for more in ({}, {"train": 8}, {"split_seed": 1})
    )
    split = dict(zip(all_of_it.ids, all_of_it.split.tolist(), strict=True))
    count = Counter(split.values())
    assert count["test"] == 1 + 2 + 3 + 1 + 2 and 10 <= count["val"] <= 12 and sum(count.values()) == len(crowd())
    assert Counter(few.split.tolist()) == {"test": 9, "val": count["val"], "train": 8}
    assert all(split[i] == s for i, s in zip(few.ids, few.split, strict=True))
    assert set(all_of_it.images) == {p["image"] for p in crowd()}
    assert split != dict(zip(other.ids, other.split.tolist(), strict=True))
    assert (all_of_it.may_start == (all_of_it.split == "train")).all()


def test_a_list_that_is_named_wins_over_the_forms_flag(tmp_path):
    write(tmp_path, "B")
    (tmp_path / "mine.txt").write_text("\ufeffc.png\n")
    data = dataset(tmp_path, validation_list="mine.txt")
    assert [i for i, s in zip(data.records.ids, data.records.split, strict=True) if s == "test"] == ["mpii/c#0"]


def test_without_a_published_split_one_is_drawn_and_noted(tmp_path):
    (tmp_path / "annotations.json").write_text(json.dumps(form_a(crowd())))
    table = dataset(tmp_path, val=6).records
    count = Counter(table.split.tolist())
    assert 6 <= count["val"] <= 8 and 6 <= count["test"] <= 8 and count["train"] >= len(crowd()) - 16
    assert any("no published split" in note for note in table.notes)


def test_joints_land_on_the_pixels_they_name(tmp_path):
    """A dot on each joint of a drawn image; the crop is 250 × 0.4 = 100 pixels, so nothing is scaled."""
    data = dataset(write(tmp_path, "B"))
    p, row = people()[0], by_id(data)["mpii/a#0"]
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    for k in range(0, 16, 3):
        image[int(p["joints"][k, 1]) - 1, int(p["joints"][k, 0]) - 1] = 255  # MATLAB's pixels
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), image)
    table = data.records
    crop = cut_person(
        PersonCrop(100),
        data.load(row),
        table.boxes[row],
        table.labels.joints[row],
        table.labels.visible[row],
        Warp(),
        data.skeleton.flip_order,
    )
    assert compute_scale(crop.matrix) == pytest.approx(1)
    for k in range(0, 16, 3):
        x, y = np.round(crop.joints[k]).astype(int)
        window = crop.image[y - 1 : y + 2, x - 1 : x + 2, 0].astype(float)
        ys, xs = np.mgrid[y - 1 : y + 2, x - 1 : x + 2]
        found = [(window * axis).sum() / window.sum() for axis in (xs, ys)]
        np.testing.assert_allclose(found, crop.joints[k], atol=0.02)


@needs_sample
@pytest.mark.parametrize("box", ["scale", "joints"])
def test_the_samples_persons_fill_their_crops(box):
    data = dataset(SAMPLE, box=box)
    data.check()
    raw = {entry["image"]: entry for entry in json.loads((SAMPLE / "annotations.json").read_text())}
    table = data.records
    assert len(table.ids) == 5 and set(table.split.tolist()) == {"train", "val", "test"}
    for row, name in enumerate(table.images):
        crop = cut_person(
            PersonCrop(256),
            data.load(row),
            table.boxes[row],
            table.labels.joints[row],
            table.labels.visible[row],
            Warp(),
            data.skeleton.flip_order,
        )
        known = crop.joints[crop.visible > 0]
        assert len(known) >= 14 and (known > 0).all() and (known < 256).all()
        assert np.ptp(known, axis=0).max() > 256 / 2.2, "the person fills about half of the crop or more"
        if box == "scale":
            x, y, scale = *raw[name]["center"], raw[name]["scale"]
            middle = crop.matrix @ [x - 1, y - 1 + 15 * scale, 1]
            np.testing.assert_allclose(middle[:2], 127.5, atol=1e-3)
            assert compute_scale(crop.matrix) == pytest.approx(256 / (200 * scale * 1.25), rel=1e-5)


@pytest.fixture(scope="module")
def real():
    return MpiiHumanPose(str(REAL)) if (REAL / "mpii_annotations.json.gz").is_file() else None


@pytest.mark.slow
@needs_real
def test_the_real_file_has_its_published_numbers(real):
    """Counts of the papers' split; shares of joints from an independent count of the same persons."""
    table, test = real.records, real.records.split == "test"
    assert (~test).sum() == 22246 and test.sum() == 2958 and 500 <= (table.split == "val").sum() < 520
    names = np.array(table.images)
    assert len(set(names[test])) == 2729 and len(set(names[~test])) == 14679 and len(set(names)) == 2729 + 14679
    assert (table.labels.visible == 0).mean() == pytest.approx(0.067, abs=5e-4)
    assert (table.labels.visible == 1).mean() == pytest.approx(0.215, abs=5e-4)
    whole = (table.labels.visible > 0).all(axis=1)
    assert (whole & ~test).sum() == 14975 and (whole & test).sum() == 2017


@pytest.mark.slow
@needs_real
def test_the_usual_list_is_the_files_own_flag(real):
    listed = (REAL / "newell_validation_images.txt").read_bytes().decode().split("\r\n")
    tested = {i for i, s in zip(real.records.images, real.records.split, strict=True) if s == "test"}
    assert {name for name in listed if name} == tested and len([n for n in listed if n]) == 2958


@pytest.mark.slow
@needs_real
def test_head_points_give_the_head_rectangles_back(real):
    """MPII's rectangles have whole corners: the middle of the head's two points and 1/0.8 of their distance fit one.

    Published rectangles of the first two persons: 627–706 × 100–198 and 841–902 × 145–228.
    """
    size = real.get_normaliser("head")
    assert size.values[:2].tolist() == pytest.approx([np.hypot(79, 98), np.hypot(61, 83)], abs=2e-3)
    neck, top = real.records.labels.joints[:, 8].astype(float) + 1, real.records.labels.joints[:, 9].astype(float) + 1
    made = ~((neck % 1 == 0) & (top % 1 == 0)).all(axis=1) & np.isfinite(size.values)
    assert made.sum() > 0.9 * len(neck)
    for row in np.flatnonzero(made)[::12]:
        twice, length = np.round(neck[row] + top[row]).astype(int), float(size.values[row])
        width = np.arange(twice[0] % 2, int(length) + 2, 2)  # odd or even, as the middle's halves tell
        height = np.sqrt(np.maximum(length**2 - width**2, 0))
        height = np.round((height - twice[1] % 2) / 2) * 2 + twice[1] % 2
        assert np.abs(np.hypot(width, height) - length).min() < 3e-3


def test_mpii_is_measured_by_heads_unless_told_otherwise(compose):
    assert compose("dataset=mpii").pck.name == "PCKh"
    assert compose("dataset=mpii", "pck=torso").pck.name == "PCK"
    assert compose("dataset=mpii", "pck=pckh_paper").pck.name == "PCKh-paper"


def refused(folder, *words, read=dataset, **settings):
    """The one sentence that a folder is refused with."""
    with pytest.raises(DataError) as caught:
        read(folder, **settings)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 700
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "x/../a.png", "a\\b.png", "C:a.png"])
@pytest.mark.parametrize("form", ["mat", "A", "B"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, form, name):
    persons = people()
    persons[3]["image"] = name
    refused(write(tmp_path, form, persons), "leads out of the folder", repr(name))


@pytest.mark.parametrize("name", [None, 7, "", "..", "a\0.png", "x" * 300, ["a.png"]])
def test_what_is_no_name_is_refused(tmp_path, name):
    persons = people()
    persons[0]["image"] = name
    (tmp_path / "annotations.json").write_text(json.dumps(form_a(persons)))
    refused(tmp_path, "annotations.json, entry 0: the image's name is", "expected")


def official_persons(folder):
    """The official file alone, read in this process, which takes a tenth of the time."""
    path = folder / "mpii_human_pose_v1_u12_1.mat"
    return build_persons(read_official(path)[0], path.name)


HUGE, NAN, INF = 1e300, float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joint_self": [[1.0, 2.0]] * 16}, "joint_self is"),
        ({"joint_self": [[1.0, 2.0, 1.0]] * 15}, "expected 16 × 3 numbers"),
        ({"joint_self": [[1.0, 2.0, 1.0]] * 15 + [[1.0]]}, "expected 16 × 3 numbers"),
        ({"joint_self": "none"}, "joint_self is 'none'"),
        ({"joint_self": None}, "joint_self is None"),
        ({"joint_self": [[NAN, 2.0, 1.0]] * 16}, "r_ankle at (nan, 2)"),
        ({"joint_self": [[2.0, HUGE, 0.0]] * 16}, "r_ankle at (2, 1e+300)"),
        ({"joint_self": [[INF, 2.0, 1.0]] * 16}, "r_ankle at (inf, 2)"),
        ({"joint_self": [[10**400, 2, 1]] * 16}, "joint_self is"),
        ({"joint_self": [[1.0, 2.0, 7.0]] * 16}, "visibility in joint_self has 7; expected 0 or 1"),
        ({"scale_provided": -1.0}, "scale -1; expected a number above 0"),
        ({"scale_provided": 0}, "scale 0;"),
        ({"scale_provided": NAN}, "scale nan;"),
        ({"scale_provided": 1e9}, "scale 1e+09;"),
        ({"scale_provided": "big"}, "scale_provided is 'big'; expected a number"),
        ({"scale_provided": {}}, "scale_provided is {}; expected a number"),
        ({"objpos": [NAN, 1.0]}, "a centre at (nan, 1)"),
        ({"objpos": [1.0, -HUGE]}, "a centre at (1, -1e+300)"),
        ({"objpos": [1.0]}, "expected 2 numbers"),
        ({"isValidation": 2}, "isValidation has 2; expected 0 or 1"),
        ({"isValidation": None}, "isValidation is None"),
        ({"people_index": 1.5}, "people_index is 1.5"),
        ({"people_index": NAN}, "people_index is nan"),
    ],
)
def test_numbers_that_cannot_be_meant_name_entry_and_value(tmp_path, change, words):
    rows = form_b(people())
    rows[1] |= change
    (tmp_path / "mpii_annotations.json").write_text(json.dumps(rows))
    refused(tmp_path, "mpii_annotations.json, entry 1", words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joints_vis": [1] * 15}, "expected 16 numbers"),
        ({"joints_vis": [2] * 16}, "joints_vis has 2; expected 0 or 1"),
        ({"joints": [[1, 2, 3]] * 16}, "expected 16 × 2 numbers"),
        ({"joints": [[1, HUGE]] * 16}, "r_ankle at (1, 1e+300)"),
        ({"scale": -3}, "scale -3;"),
        ({"center": "left"}, "center is 'left'; expected 2 numbers"),
    ],
)
def test_form_as_numbers_are_checked_too(tmp_path, change, words):
    rows = form_a(people())
    rows[1] |= change
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    refused(tmp_path, "annotations.json, entry 1", words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"[", "cannot be read"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'[{"image": "a", "center": ' + b"9" * 5000 + b"}]", "cannot be read"),
        (gzip.compress(b"[" + b"1," * 1000, mtime=0)[:-20], "cannot be read"),
        (b"\x1f\x8b nothing", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"MATLAB 5.0 MAT-file, but not really", "cannot be read"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64, " + bytes(84) + b"\x00\x02IM" + bytes(500), "cannot be read"),
        (b"[]", "expected a list of persons"),
        (b"{}", "expected a list of persons"),
        (b"[1, 2]", "expected a list of persons"),
        (b'[{"keypoints": []}]', "has persons with ['keypoints']; expected image, center"),
        (json.dumps([*form_b(people()), {}]).encode(), "entry 4: the image's name is None"),
    ],
)
def test_a_file_of_no_known_form_is_refused(tmp_path, content, words):
    (tmp_path / "annotations.json").write_bytes(content)
    refused(tmp_path, "annotations.json", words)


def test_a_truncated_official_file_is_refused(tmp_path):
    write(tmp_path, "mat")
    path = tmp_path / "mpii_human_pose_v1_u12_1.mat"
    path.write_bytes(path.read_bytes()[:2000])
    refused(tmp_path, path.name, "is truncated or no MATLAB 5 file")


def spoilt(**change):
    """An annolist entry with one rectangle, whose first joint or itself is changed."""
    rect = rectangle(people()[0])
    point = {key: change[key] for key in ("x", "y", "id", "is_visible") if key in change}
    points = [{"x": 1.0, "y": 2.0, "id": 3.0, "is_visible": 1.0, **point}]
    rect |= {key: value for key, value in change.items() if key not in point}
    return {"image": {"name": "d.png"}, "annorect": structs([rect | {"annopoints": {"point": structs(points)}}])}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": 16.0}, "a joint's id is 16.0; expected 0 to 15"),
        ({"id": NOTHING}, "a joint's id is None; expected 0 to 15"),
        ({"is_visible": "maybe"}, "a joint's is_visible is 'maybe'; expected a number"),
        ({"is_visible": 3.0}, "is_visible is 3; expected 0, 1 or nothing"),
        ({"x": "left"}, "a joint's x is 'left'; expected a number"),
        ({"x": HUGE}, "l_hip at (1e+300, 2)"),
        ({"y": NAN}, "l_hip at (1, nan)"),
        ({"scale": -2.0}, "scale -2; expected a number above 0"),
        ({"scale": {"x": 1.0}}, "expected a number"),
        ({"scale": np.ones((2, 2))}, "expected a number"),
        ({"x1": -HUGE}, "a head rectangle with diagonal 1e+300"),
        ({"objpos": {"x": INF, "y": 1.0}}, "a centre at (inf, 1)"),
    ],
)
def test_the_official_files_numbers_are_checked(tmp_path, change, words):
    write(tmp_path, "mat", more=[(spoilt(**change), 1)])
    refused(tmp_path, "mpii_human_pose_v1_u12_1.mat, annolist(4)", words, read=official_persons)


@pytest.mark.parametrize(
    "content",
    [
        {"other": 1.0},
        {"RELEASE": 3.0},
        {"RELEASE": {"annolist": 1.0, "img_train": 1.0}},
        {"RELEASE": {"annolist": structs([{"image": 3.0}]), "img_train": np.ones(1)}},
        {"RELEASE": {"annolist": structs([{"image": NOTHING}]), "img_train": np.ones(5)}},
        {"RELEASE": {"annolist": structs([{"image": {"name": "a.png"}}]), "img_train": "x"}},
        {"RELEASE": {"annolist": structs([{"image": {"name": "a.png"}, "annorect": "x"}]), "img_train": 1.0}},
    ],
)
def test_other_matlab_files_are_refused(tmp_path, content):
    scipy.io.savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", content)
    refused(tmp_path, "mpii_human_pose_v1_u12_1.mat", read=official_persons)


def test_a_file_that_crashes_its_reader_is_refused(tmp_path, monkeypatch):
    """As damaged files do with SciPy's, which looks types up beyond the end of its table."""
    (tmp_path / "frail.py").write_text("import os\n\ndef read(path):\n    os.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(DataError, match=r"mine.mat cannot be read \(its reader crashed\); it is probably damaged"):
        read_in_subprocess(importlib.import_module("frail").read, tmp_path / "mine.mat")


def test_missing_annotations_say_what_is_looked_for(tmp_path):
    refused(
        tmp_path, "no MPII annotations in", "train.json with valid.json", "dataset.root=…", "see docs/datasets.md"
    )
    refused(tmp_path, "no MPII annotations at", "mine.json", annotations="mine.json")


def test_annotations_alone_are_built_and_the_images_asked_for(tmp_path):
    data = dataset(write(tmp_path, "B"))
    with pytest.raises(
        DataError, match=r"no MPII images in .*images, only annotations next to it.*see docs/datasets.md$"
    ):
        data.check()
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/c.png"), np.zeros((4, 4, 3), dtype=np.uint8))
    data.check()


def test_a_list_of_other_images_is_refused(tmp_path):
    (tmp_path / "annotations.json").write_text(json.dumps(form_a(people())))
    path = tmp_path / "newell_validation_images.txt"
    for content, words in ((b"z.png", "none of those"), (b"a.png\nb.png\nc.png", "all of"), (b"\xff\xfe", "be read")):
        path.write_bytes(content)
        refused(tmp_path, path.name, words, "dataset.validation_list=…")
    path.write_bytes(b"../b.png")
    refused(tmp_path, path.name, "leads out")


@pytest.mark.parametrize("form", ["A", "B"])
def test_an_image_in_training_and_validation_is_refused(tmp_path, form):
    write(tmp_path, form, [*people(), person("a.png", 5, 5, test=True)])
    refused(tmp_path, "put image 'a.png' into training and validation")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"box": "tight"}, "dataset.box='tight' is not known; use scale, joints or image"),
        ({"head_slide": 1.5}, "dataset.head_slide=1.5"),
        ({"val": 0}, "dataset.val=0"),
        ({"val": 9}, "dataset.val=9 does not split 4 persons"),
        ({"train": 0}, "dataset.train=0"),
        ({"annotations": ["a", "b", "c"]}, "names 3 files"),
        ({"annotations": ["mpii_annotations.json.gz"] * 2}, "only form A has"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, words):
    write(tmp_path, "B")
    with pytest.raises(ConfigError) as caught:
        dataset(tmp_path, **settings)
    assert words in str(caught.value)
