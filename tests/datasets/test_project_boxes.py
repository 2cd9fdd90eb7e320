"""The boxes of a project's images, from a file or from a detector that is an ONNX file."""

import hashlib
import json
import math
import sys

import numpy as np
import pytest
from helpers.onnx_models import INT64, field, linear_outputs, model, named_shape, node

from llpp.datasets.project import boxes as boxes_module
from llpp.datasets.project.boxes import read_boxes, update_boxes
from llpp.datasets.project.detector import fit_letterbox
from llpp.datasets.project.index import CONDITIONS, ProjectIndex
from llpp.datasets.project.project_file import ProjectFile, write_project
from llpp.errors import DataError, StateError
from llpp.ids import Ids
from llpp.journal.folder import LabellingFolder


def indexed(*names, size=(100, 80), **changes):
    """An index of images of one size, as it is after the first start."""
    count = len(names)
    columns = {
        "ids": Ids(names),
        "files": Ids(names),
        "is_own": np.zeros(count, dtype=bool),
        "found": Ids(names),
        "bytes": np.full(count, 1000),
        "changed_ns": np.zeros(count, dtype=np.int64),
        "digest": np.arange(count, dtype=np.uint64),
        "width": np.full(count, size[0], dtype=np.int32),
        "height": np.full(count, size[1], dtype=np.int32),
        "condition": np.zeros(count, dtype=np.uint8),
        "problem": Ids([""] * count),
        "group": Ids(names),
        "is_test": np.zeros(count, dtype=bool),
        "film": Ids([""] * count),
        "frame": np.full(count, -1),
        "seconds": np.full(count, np.nan),
        "thumbnail": np.zeros((count, 32, 32), dtype=np.uint8),
    }
    return ProjectIndex(**{**columns, **changes})


def never_read(row):
    raise AssertionError(f"the image of row {row} was read")


@pytest.fixture
def folder(tmp_path):
    return LabellingFolder(tmp_path / "labelling" / "mice")


def updated(setting, root, folder, index, read_image=never_read):
    """Boxes and remarks after a start, where boxes are read by another process."""
    _, remarks = update_boxes(setting, root, folder, index, read_image)
    return read_boxes(setting, folder), remarks


def saved(root, content, name="boxes.json"):
    text = content if isinstance(content, str) else json.dumps(content)
    (root / name).write_text(text)
    return name


def coco(boxes, size=(100, 80)):
    """COCO's annotations: (file name, box) and what else an annotation has."""
    names = list(dict.fromkeys(name for name, *_ in boxes))
    images = [{"id": n, "file_name": name, "width": size[0], "height": size[1]} for n, name in enumerate(names)]
    annotations = []
    for number, (name, box, *more) in enumerate(boxes):
        entry = {"id": number, "image_id": names.index(name), "category_id": 1, "bbox": box}
        annotations.append(entry | (more[0] if more else {}))
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "mouse"}]}


def test_one_person_in_each_image_needs_no_boxes(tmp_path, folder):
    facts, remarks = update_boxes("image", tmp_path, folder, indexed("a.png"), never_read)
    assert (facts, remarks) == ({}, [])
    assert read_boxes("image", folder) is None


@pytest.mark.parametrize("form", ["annotations", "detections", "table"])
def test_boxes_of_any_form_of_file_are_found_best_first(form, tmp_path, folder):
    rows = [("day1/a.png", [5, 6, 20, 30.5], 0.4), ("day1/a.png", [40, 6, 20, 30], 0.9), ("b.png", [1, 2, 3, 4], 1)]
    if form == "annotations":
        content = coco([(name, box, {"score": score}) for name, box, score in rows])
    elif form == "detections":
        content = [{"image_id": name, "category_id": 1, "bbox": box, "score": score} for name, box, score in rows]
    else:
        lines = [f"{name},{x},{y},{width},{height},{score}" for name, (x, y, width, height), score in rows]
        content = "\n".join(["image,x,y,width,height,score", *lines])
    name = saved(tmp_path, content)
    facts, remarks = update_boxes(name, tmp_path, folder, indexed("day1/a.png", "b.png", "c.png"), never_read)
    assert read_boxes(name, folder) == {
        "day1/a.png": [(40, 6, 20, 30), (5, 6, 20, 30.5)],
        "b.png": [(1, 2, 3, 4)],
    }
    assert remarks == []
    assert facts == {"boxes_sha256": hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}


def test_equal_scores_are_ordered_from_left_to_right(tmp_path, folder):
    name = saved(tmp_path, coco([("a.png", [50, 1, 9, 9]), ("a.png", [10, 2, 9, 9])]))
    boxes, _ = updated(name, tmp_path, folder, indexed("a.png"))
    assert boxes == {"a.png": [(10, 2, 9, 9), (50, 1, 9, 9)]}


def test_boxes_are_cut_at_the_border_and_useless_ones_are_counted(tmp_path, folder):
    table = [
        ("a.png", [-10, 70, 30, 30]),  # 20 × 10 of it are inside
        ("a.png", [100, 0, 20, 20]),
        ("a.png", [5, 5, 0, 10]),
        ("a.png", [5, 5, 10, 10], {"score": 0.29}),
        ("a.png", [5, 5, 10, 10], {"iscrowd": 1}),
        ("a.png", [5, 5, math.nan, 10]),
        ("a.png", "5 5 10 10"),
        ("a.png", [1, 1, 5, 5], {"score": "high"}),
        ("a.png", [1, 1, 5, 5], {"image_id": [0]}),
    ]
    name = saved(tmp_path, coco(table))
    boxes, remarks = updated(name, tmp_path, folder, indexed("a.png"))
    assert boxes == {"a.png": [(0, 70, 20, 10)]}
    assert remarks == [
        "1 boxes of crowds are left out: 4",
        "1 boxes of images that the file does not list are left out: [0]",
        "3 entries without a usable bbox (x, y, width, height) or score are left out: [5, 5, nan, 10] in 'a.png', "
        "'5 5 10 10' in 'a.png', [1, 1, 5, 5] in 'a.png'",
        "2 boxes outside of their image, or without an area, are left out: [100, 0, 20, 20] in a.png, "
        "[5, 5, 0, 10] in a.png",
        "1 boxes with a score below 0.3 are left out: 0.29 in a.png",
    ]


def test_images_are_found_by_the_end_of_their_path_where_only_one_has_it(tmp_path, folder):
    box = [1, 2, 30, 40]
    names = ["C:\\mice\\day1\\a.png", "/data/day2/a.png", "b.png", "elsewhere/c.png", "u\u0308.png", "a.png", "z.png"]
    name = saved(tmp_path, coco([(one, box) for one in names]))
    index = indexed("day1/a.png", "day2/a.png", "day1/b.png", "c.png", "x/c.png", "\u00fc.png")
    boxes, remarks = updated(name, tmp_path, folder, index)
    assert set(boxes) == {"day1/a.png", "day2/a.png", "day1/b.png", "\u00fc.png"}
    assert remarks == [
        "2 images of the file of boxes may be several of the project; write their folders: 'elsewhere/c.png', "
        "'a.png'",
        "1 images of the file of boxes are not in the project: 'z.png'",
    ]


def test_two_names_that_end_alike_do_not_share_an_image(tmp_path, folder):
    box = [1, 2, 30, 40]
    name = saved(tmp_path, coco([("old/a.png", box), ("new/a.png", box), ("old/b.png", box), ("b.png", box)]))
    boxes, remarks = updated(name, tmp_path, folder, indexed("a.png", "b.png"))
    assert boxes == {"b.png": [(1, 2, 30, 40)]}
    assert remarks == [
        "3 images of the file of boxes end as one image of the project does: 'old/a.png', 'new/a.png', 'old/b.png'"
    ]


def test_frames_are_found_by_their_id_and_by_their_file(tmp_path, folder):
    ids = Ids(["clip.mp4#000010", "clip.mp4#000020"])
    index = indexed(
        *ids,
        files=Ids(["frames/clip.mp4/000010.jpg", "frames/clip.mp4/000020.jpg"]),
        found=Ids(["clip.mp4", "clip.mp4"]),
        frame=np.array([10, 20]),
    )
    box = [1, 2, 30, 40]
    names = ["clip.mp4#000010", "clip.mp4/000020.jpg", "clip.mp4"]
    name = saved(tmp_path, coco([(one, box) for one in names]))
    boxes, remarks = updated(name, tmp_path, folder, index)
    assert set(boxes) == set(ids)
    assert remarks == ["1 images of the file of boxes are not in the project: 'clip.mp4'"]


def test_boxes_for_a_smaller_copy_are_scaled_and_those_of_another_shape_left_out(tmp_path, folder):
    name = saved(tmp_path, coco([("a.png", [5, 10, 20, 30])], size=(50, 40)))
    boxes, _ = updated(name, tmp_path, folder, indexed("a.png"))
    assert boxes == {"a.png": [(10, 20, 40, 60)]}

    turned = saved(tmp_path, coco([("a.png", [5, 10, 20, 30])], size=(80, 100)), "turned.json")
    other = LabellingFolder(folder.path / "other")
    boxes, remarks = updated(turned, tmp_path, other, indexed("a.png"))
    assert boxes == {}
    assert "'a.png' of 80 × 100 in the file, 100 × 80 here" in remarks[0]


def test_of_several_categories_persons_are_taken_and_otherwise_the_file_is_refused(tmp_path, folder):
    content = coco([("a.png", [1, 2, 30, 40]), ("a.png", [5, 6, 30, 40], {"category_id": 2})])
    content["categories"] = [{"id": 1, "name": "cup"}, {"id": 2, "name": "person"}, {"id": 3, "name": "cat"}]
    boxes, remarks = updated(saved(tmp_path, content), tmp_path, folder, indexed("a.png"))
    assert boxes == {"a.png": [(5, 6, 30, 40)]}
    assert remarks == ["1 boxes are of other categories than person and left out: 'cup'"]
    content["categories"][1]["name"] = "dog"
    with pytest.raises(DataError, match=r"boxes of 2 categories \('cup', 'dog'\); expected one"):
        updated(saved(tmp_path, content, "dogs.json"), tmp_path, folder, indexed("a.png"))


def test_an_image_keeps_its_boxes_and_a_new_file_has_those_of_new_images(tmp_path, folder):
    """Answers name persons by the numbers of their boxes."""
    name = saved(tmp_path, coco([("a.png", [1, 2, 30, 40])]))
    updated(name, tmp_path, folder, indexed("a.png", "b.png"))
    saved(tmp_path, coco([("a.png", [9, 9, 30, 40]), ("b.png", [5, 5, 6, 6]), ("c.png", [7, 7, 8, 8])]))
    boxes, remarks = updated(name, tmp_path, folder, indexed("a.png", "b.png", "c.png"))
    assert boxes == {"a.png": [(1, 2, 30, 40)], "b.png": [(5, 5, 6, 6)], "c.png": [(7, 7, 8, 8)]}
    assert remarks == [
        "1 images keep the boxes that they have, by which persons are numbered, in place of others: a.png"
    ]


def test_an_image_of_new_content_gets_new_boxes(tmp_path, folder):
    name = saved(tmp_path, coco([("a.png", [1, 2, 30, 40])]))
    updated(name, tmp_path, folder, indexed("a.png"))
    saved(tmp_path, coco([("a.png", [9, 9, 30, 40])]))
    accepted = indexed("a.png", digest=np.array([77], dtype=np.uint64))
    boxes, _ = updated(name, tmp_path, folder, accepted)
    assert boxes == {"a.png": [(9, 9, 30, 40)]}


def test_a_file_is_looked_for_in_the_current_folder_and_then_below_the_root(tmp_path, folder, monkeypatch):
    for place, x in (("here", 1), ("root", 2)):
        (tmp_path / place).mkdir()
        saved(tmp_path / place, coco([("a.png", [x, 2, 30, 40])]))
    monkeypatch.chdir(tmp_path / "here")
    boxes, _ = updated("boxes.json", tmp_path / "root", folder, indexed("a.png"))
    assert boxes == {"a.png": [(1, 2, 30, 40)]}
    (tmp_path / "here" / "boxes.json").unlink()
    other = LabellingFolder(folder.path / "other")
    boxes, _ = updated("boxes.json", tmp_path / "root", other, indexed("a.png"))
    assert boxes == {"a.png": [(2, 2, 30, 40)]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"images": [', r"cannot be read .*; it is truncated or no JSON"),
        ("[" * 100_000, "cannot be read"),
        ({"images": []}, "'images' or 'annotations' is missing; expected COCO's images and annotations"),
        ([{"image_id": 17, "bbox": [1, 2, 3, 4]}], "image_id 17, which names no file; write each image's file name"),
        ("name,left,top\na.png,1,2\n", "is no file of boxes; expected .* CSV with image,x,y,width,height"),
        ("", "is no file of boxes"),
        ("\x08\x08onnx", r"a detector is set as dataset.boxes=onnx:"),
        ("image,x,y,width,height\na.png,1,2,,4\na.png,1,2\n", "has no usable box"),
        ([1, None, "x"], "has no usable box"),
        (coco([("other/z.png", [1, 2, 3, 4])]), "boxes for 1 images, 'other/z.png' among them, and none of these"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(content, sentence, tmp_path, folder):
    name = saved(tmp_path, content)
    with pytest.raises(DataError, match=sentence):
        update_boxes(name, tmp_path, folder, indexed("a.png"), never_read)
    assert not folder.boxes.exists()


@pytest.mark.parametrize("setting", ["boxes.json", "onnx:model.onnx"])
def test_a_missing_file_is_named_with_both_places(setting, tmp_path, folder):
    with pytest.raises(DataError, match=rf"dataset.boxes={setting}: there is no file .* or {tmp_path}"):
        update_boxes(setting, tmp_path, folder, indexed("a.png"), never_read)


@pytest.mark.parametrize("damage", [b"", b"PAR1"])
def test_a_damaged_table_is_refused_by_ranks_and_made_again_at_the_next_start(damage, tmp_path, folder):
    name = saved(tmp_path, coco([("a.png", [1, 2, 30, 40])]))
    boxes, _ = updated(name, tmp_path, folder, indexed("a.png"))
    folder.boxes.write_bytes(damage)
    with pytest.raises(StateError, match=f"start llpp label with dataset.boxes={name} to make it again"):
        read_boxes(name, folder)
    assert updated(name, tmp_path, folder, indexed("a.png"))[0] == boxes


def end_to_end(size=(64, 64)):
    """RTMDet's layout: one of class 0 whose numbers are the input's means, one of class 1, one of a low score."""
    dets = [[[10, 20, 30, 40, 0.9], [1, 1, 9, 9, 0.8], [1, 1, 9, 9, 0.1]]]
    means = [((0, 0, channel), channel) for channel in range(3)]
    return linear_outputs(size, {"dets": (dets, means), "labels": ([[0, 1, 0]], [])})


def yolox(cells, classes=2, size=(32, 32), added=()):
    """YOLOX's layout for 32 × 32: 16 cells of 8 pixels, 4 of 16, 1 of 32; `cells`: number → values."""
    output = np.zeros((1, 21, 5 + classes))
    for number, values in cells.items():
        output[0, number] = values
    return linear_outputs(size, {"output": (output, added)})


def uniform(red, green, blue, size=(100, 80)):
    """Images that have one colour."""
    return lambda row: np.full((size[1], size[0], 3), (red, green, blue), dtype=np.uint8)


def stored_model(root, content, name="model.onnx"):
    (root / name).write_bytes(content)
    return f"onnx:{name}"


def test_an_end_to_end_model_sees_normalised_blue_green_red_and_gives_corners(tmp_path, folder):
    setting = stored_model(tmp_path, end_to_end())
    index = indexed("a.png", size=(128, 128))
    boxes, _ = updated(setting, tmp_path, folder, index, uniform(181, 59, 161, size=(128, 128)))
    # blue (161 − 103.53) / 57.375, green (59 − 116.28) / 57.12, red (181 − 123.675) / 58.395; the image is twice as
    # large as the input.
    left, top, right = 2 * (10 + 1.0016558), 2 * (20 - 1.0028011), 2 * (30 + 0.9816765)
    assert list(boxes) == ["a.png"]
    assert len(boxes["a.png"]) == 1
    np.testing.assert_allclose(boxes["a.png"][0], (left, top, right - left, 80 - top), atol=1e-3)


def test_yolox_cells_are_decoded_by_hand(tmp_path, folder):
    cells = {
        # Column 1, row 2 of the grid of 8 pixels: centre ((0.5 + 1) · 8, (0.25 + 2) · 8) = (12, 18), sides 8 and 16.
        9: [0.5, 0.25, 0, math.log(2), 0.9, 1.0, 0.0],
        # Nearly the same, worse: the IoU is 1, it is the same person.
        10: [-0.5, 0.25, 0, math.log(2), 0.8, 1.0, 0.0],
        # Column 1, row 0 of the grid of 16 pixels: centre (24, 8), sides 16.
        17: [0.5, 0.5, 0, 0, 1.0, 0.95, 0.0],
        # The grid of 32 pixels, of class 1.
        20: [0.5, 0.5, 0, 0, 1.0, 0.0, 1.0],
        # 0.5 · 0.5 is below the limit.
        0: [0.5, 0.5, 0, 0, 0.5, 0.5, 0.0],
    }
    setting = stored_model(tmp_path, yolox(cells))
    index = indexed("a.png", size=(64, 64))
    boxes, _ = updated(setting, tmp_path, folder, index, uniform(0, 0, 0, size=(64, 64)))
    # The input is half the image, so everything is doubled.
    assert len(boxes["a.png"]) == 2
    np.testing.assert_allclose(boxes["a.png"], [(32, 0, 32, 32), (16, 20, 16, 32)], atol=1e-4)


def test_yolox_sees_blue_green_red_from_0_to_255(tmp_path, folder):
    """Each channel moves the centre of one cell's box by its mean, in strides of 8."""
    cells = {0: [-198.5, 0.5, 0, 0, 1.0, 1.0], 1: [-99.5, 0.5, 0, 0, 0.9, 1.0], 2: [-48.5, 0.5, 0, 0, 0.8, 1.0]}
    added = [((0, cell, 0), channel) for cell, channel in enumerate(range(3))]
    setting = stored_model(tmp_path, yolox(cells, classes=1, added=added))
    index = indexed("a.png", size=(32, 32))
    boxes, _ = updated(setting, tmp_path, folder, index, uniform(50, 100, 200, size=(32, 32)))
    # Blue: centre (200 − 198.5) · 8 = 12; green: (100 − 99.5 + 1) · 8 = 12; red: (50 − 48.5 + 2) · 8 = 28.
    np.testing.assert_allclose(boxes["a.png"], [(8, 0, 8, 8), (24, 0, 8, 8)], atol=1e-3)


def test_an_image_is_put_into_the_top_left_corner_and_grey_around_it():
    image = np.zeros((20, 40, 3), dtype=np.uint8)
    image[..., 0] = 255
    letterbox, factor = fit_letterbox(image, 80, 64)
    assert factor == 2
    assert letterbox.shape == (64, 80, 3)
    assert (letterbox[:40] == (0, 0, 255)).all()
    assert (letterbox[40:] == 114).all()


def test_each_image_is_looked_at_once_also_if_nobody_is_in_it(tmp_path, folder):
    setting = stored_model(tmp_path, yolox({}))
    looked_at = []

    def read_image(row):
        looked_at.append(row)
        return np.zeros((80, 100, 3), dtype=np.uint8)

    boxes, _ = updated(setting, tmp_path, folder, indexed("a.png", "b.png"), read_image)
    assert boxes == {}
    updated(setting, tmp_path, folder, indexed("a.png", "b.png"), read_image)
    updated(setting, tmp_path, folder, indexed("a.png", "b.png", "c.png"), read_image)
    assert looked_at == [0, 1, 2]


def test_an_interruption_costs_the_images_since_the_boxes_were_last_saved(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(boxes_module, "SAVE_EVERY", 2)
    setting = stored_model(tmp_path, end_to_end())
    index = indexed(*"abcdef")
    looked_at = []

    def read_image(row):
        if len(looked_at) == 5:
            raise KeyboardInterrupt
        looked_at.append(row)
        return np.zeros((80, 100, 3), dtype=np.uint8)

    with pytest.raises(KeyboardInterrupt):
        update_boxes(setting, tmp_path, folder, index, read_image)
    assert set(read_boxes(setting, folder)) == set("abcd")
    looked_at.clear()
    boxes, _ = updated(setting, tmp_path, folder, index, read_image)
    assert looked_at == [4, 5]
    assert set(boxes) == set("abcdef")


def test_an_image_that_cannot_be_read_is_named_and_looked_at_when_it_can(tmp_path, folder):
    setting = stored_model(tmp_path, end_to_end())

    def refuse(row):
        raise DataError("image a.png is truncated")

    boxes, remarks = updated(setting, tmp_path, folder, indexed("a.png"), refuse)
    assert boxes == {}
    assert remarks == ["1 images cannot be read and have no boxes: image a.png is truncated"]
    boxes, _ = updated(setting, tmp_path, folder, indexed("a.png"), uniform(0, 0, 0))
    assert list(boxes) == ["a.png"]


def test_missing_and_refused_images_are_not_read(tmp_path, folder):
    setting = stored_model(tmp_path, end_to_end())
    conditions = [CONDITIONS.index(name) for name in ("missing", "changed", "unreadable")]
    index = indexed("a.png", "b.png", "c.png", condition=np.array(conditions, dtype=np.uint8))
    assert updated(setting, tmp_path, folder, index) == ({}, [])


@pytest.mark.parametrize("is_table_lost", [False, True])
def test_another_model_is_refused_with_both_digests(is_table_lost, tmp_path, folder):
    setting = stored_model(tmp_path, end_to_end())
    facts, _ = update_boxes(setting, tmp_path, folder, indexed("a.png"), uniform(0, 0, 0))
    first = hashlib.sha256(end_to_end()).hexdigest()
    assert facts == {"boxes_sha256": first}
    if is_table_lost:
        project = ProjectFile("mice", str(tmp_path), ["nose"], [], "image", 60, setting, "", 0.2, facts=facts)
        write_project(project, folder.project_file)
        folder.boxes.unlink()
    stored_model(tmp_path, yolox({}))
    second = hashlib.sha256(yolox({})).hexdigest()
    with pytest.raises(StateError, match=f"has the SHA-256 {second}, and the boxes so far were found with {first}"):
        update_boxes(setting, tmp_path, folder, indexed("a.png", "b.png"), uniform(0, 0, 0))


def test_a_file_in_place_of_a_detector_is_refused(tmp_path, folder):
    update_boxes(stored_model(tmp_path, end_to_end()), tmp_path, folder, indexed("a.png"), uniform(0, 0, 0))
    name = saved(tmp_path, coco([("a.png", [1, 2, 30, 40])]))
    with pytest.raises(StateError, match=r"the boxes in .*boxes.parquet come from a model"):
        update_boxes(name, tmp_path, folder, indexed("a.png"), never_read)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no ONNX model"),
        (b"not a model, but long enough to look at", "is no ONNX model"),
        (end_to_end()[:-40], "is no ONNX model"),
        (field(1, 8) + b"\xff" * 20, "is no ONNX model"),
        (linear_outputs((1, 1), {"x": ([[1.0]], [])}), r"outputs of the shapes \(1, 1\) for 1 × 1; expected two"),
        (yolox({}, size=(64, 64)), r"outputs of the shapes \(1, 21, 7\) for 64 × 64; expected two outputs"),
        (yolox({9: [12, 18, 13, 16, 1, 1, 0]}), "in pixels already; export YOLOX without --decode_in_inference"),
        (end_to_end(size=("height", "width")), r"the shape \(1, 3, \?, \?\); expected .* such as 640 × 640"),
        (end_to_end(size=(100_000, 100_000)), r"the shape \(1, 3, 100000, 100000\); expected"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_in_a_sentence(content, sentence, tmp_path, folder):
    setting = stored_model(tmp_path, content)
    with pytest.raises(DataError, match=sentence):
        update_boxes(setting, tmp_path, folder, indexed("a.png"), never_read)


def suppressing():
    """An end-to-end model that ends as MMDeploy's do: two boxes of nearly one place, of which one is kept."""
    tensors = {
        "weight": np.zeros((8, 3, 1, 1), dtype=np.float32),
        "bias": np.array([8, 8, 24, 40, 8, 9, 24, 40], dtype=np.float32),
        "shape": np.array([1, 2, 4], dtype=np.int64),
        "scores": np.array([[[0.6, 0.9]]], dtype=np.float32),
        "most": np.array([10], dtype=np.int64),
        "overlap": np.array([0.5], dtype=np.float32),
        "least": np.array([0.05], dtype=np.float32),
        "last": np.array(2, dtype=np.int64),
        "flat": np.array([-1], dtype=np.int64),
        "column": np.array([1, -1, 1], dtype=np.int64),
        "row": np.array([1, -1], dtype=np.int64),
    }
    nodes = [
        node("GlobalAveragePool", ["input"], "means"),
        node("Conv", ["means", "weight", "bias"], "values", kernel_shape=[1, 1]),
        node("Reshape", ["values", "shape"], "boxes"),
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], "found"),
        node("Gather", ["found", "last"], "kept", axis=1),
        node("Gather", ["boxes", "kept"], "kept_boxes", axis=1),
        node("Reshape", ["scores", "flat"], "flat_scores"),
        node("Gather", ["flat_scores", "kept"], "kept_scores", axis=0),
        node("Reshape", ["kept_scores", "column"], "score_column"),
        node("Concat", ["kept_boxes", "score_column"], "dets", axis=2),
        node("Gather", ["found", "last"], "last_column", axis=1),
        node("Sub", ["last_column", "kept"], "zeros"),
        node("Reshape", ["zeros", "row"], "labels"),
    ]
    outputs = [named_shape("dets", (1, "n", 5)), named_shape("labels", (1, "n"), INT64)]
    return model(nodes, tensors, [named_shape("input", (1, 3, 64, 64))], outputs)


def test_a_model_with_a_layer_that_opencv_lacks_needs_onnxruntime(tmp_path, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    setting = stored_model(tmp_path, suppressing())
    with pytest.raises(DataError, match=r"OpenCV cannot run .*NonMaxSuppression.*; pip install onnxruntime"):
        update_boxes(setting, tmp_path, folder, indexed("a.png"), never_read)


def test_a_model_with_a_layer_that_opencv_lacks_is_run_by_onnxruntime(tmp_path, folder):
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is no dependency of llpp")
    setting = stored_model(tmp_path, suppressing())
    boxes, _ = updated(setting, tmp_path, folder, indexed("a.png", size=(64, 64)), uniform(0, 0, 0, size=(64, 64)))
    np.testing.assert_allclose(boxes["a.png"], [(8, 9, 16, 31)], atol=1e-4)
