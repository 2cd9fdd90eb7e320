"""Whether COCO's labels lie where the file says, in images that lie as their labels were made."""

import json

import numpy as np
import pytest
from helpers.coco_folders import STANDING, annotation, content, written
from helpers.disc_folders import HEIGHT, WIDTH, count_on_colour, folder, table
from helpers.lsp_folders import folder as lsp_folder
from helpers.run_dirs import pose_task

from llpp.data.crop_cache.cache_key import compute_row_ids
from llpp.data.person_crop import PersonCrop
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.datasets.merged import MergedDataset
from llpp.errors import DataError
from llpp.inspection.image_sizes import describe_orientations, measure_images

CROP = PersonCrop(16, 1.25)
IN_IMAGES = {"bbox": [30, 5, 40, 60]}


def read(root, **settings):
    return CocoKeypoints(str(root), **settings)


def persons(*changes, size=(90, 70)):
    """A table with one person per change, besides three who are as they should be."""
    made = content(len(changes) + 3)
    for entry, change in zip(made["annotations"], changes, strict=False):
        entry.update(change)
    for entry in made["images"]:
        entry["width"], entry["height"] = size
    return made


def few(tmp_path, made, **settings):
    """A dataset of them in the file's order."""
    return read(written(tmp_path, made), val=1, test=1, **settings)


def of(data, number):
    return data.records.ids.index(f"coco/{number:04d}.png#{100 + number}")


def joints(*listed):
    """Keypoints in which the first ones are replaced."""
    return [*(value for point in listed for value in point), *STANDING[3 * len(listed) :]]


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_labels_made_on_upright_images_lie_on_their_joints_in_every_orientation(tmp_path, orientation):
    data = read(folder(tmp_path, orientation=orientation))
    assert count_on_colour(data) == (50, 50)
    assert data.load(0).shape == (HEIGHT, WIDTH, 3) and not data.find_bad_images(range(10))
    reduced, factor = data.load_reduced(0, 2)
    assert factor == 2 and reduced.shape == (HEIGHT // 2, WIDTH // 2, 3)
    whole = data.load(0).reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - whole).mean() < 3


def test_labels_made_on_stored_images_are_read_as_they_are_stored(tmp_path):
    made = table()
    for entry in made["images"]:
        entry["width"], entry["height"] = HEIGHT, WIDTH  # stored lying on its side, and labelled so
    data = read(folder(tmp_path, made, orientation=6))
    assert data.load(0).shape == (WIDTH, HEIGHT, 3)
    assert read(tmp_path, orientation="upright").load(0).shape == (HEIGHT, WIDTH, 3)
    assert count_on_colour(read(tmp_path, orientation="upright", outside="keep")) == (50, 50)


def test_without_a_size_in_the_file_images_are_read_as_they_are_stored(tmp_path):
    made = table()
    for entry in made["images"]:
        del entry["width"]
    data = read(folder(tmp_path, made, orientation=6))
    assert data.load(0).shape == (WIDTH, HEIGHT, 3)
    assert count_on_colour(read(tmp_path, orientation="upright")) == (50, 50)
    (note,) = data.records.notes
    assert note.startswith("10 images have no width and height in annotations.json")


def test_an_image_of_another_size_is_bad_and_the_sentence_has_both_sizes(tmp_path):
    made = table()
    made["images"][3]["width"] = 2 * WIDTH
    data = read(folder(tmp_path, made))
    (problem,) = data.find_bad_images(range(10)).values()
    assert "003.jpg has 96 × 72 pixels and its annotation says 192 × 72" in problem
    assert measure_images(data).problems == [problem]


def test_sizes_of_files_are_measured_and_turned_ones_counted(tmp_path):
    upright = read(folder(tmp_path / "a", orientation=8))
    measured = measure_images(upright)
    assert np.unique(measured.sizes, axis=0).tolist() == [[WIDTH, HEIGHT]] and measured.problems == []
    assert describe_orientations(measured) == ["images turned upright by their EXIF orientation: 10"]
    assert pose_task(upright).describe_positions(measured.sizes) == []
    as_stored = measure_images(read(tmp_path / "a", orientation="file"))
    assert np.unique(as_stored.sizes, axis=0).tolist() == [[HEIGHT, WIDTH]]
    assert describe_orientations(as_stored) == ["images with an EXIF orientation that are read as stored: 10"]
    merged = MergedDataset({"a": upright})
    assert count_on_colour(merged) == (50, 50) and measure_images(merged).turned == 10


def test_crops_of_images_that_are_read_another_way_up_have_other_keys(tmp_path):
    root = folder(tmp_path, orientation=6)
    found = []
    for orientation in ("auto", "upright", "file"):
        found.append(compute_row_ids(read(root, orientation=orientation), CROP, "").tobytes())
    assert len(set(found)) == 3


def test_crops_of_one_image_have_other_keys_where_two_files_read_it_another_way_up(tmp_path):
    made = table(3)
    root = folder(tmp_path, made, orientation=6)
    last, person = made["images"][-1], made["annotations"][-1]
    made["images"] = [{"id": last["id"], "file_name": last["file_name"]}]  # without a size: read as stored
    made["annotations"] = [{**person, "id": 9, "keypoints": [1, 1, 2, *person["keypoints"][3:]]}]
    (tmp_path / "more.json").write_text(json.dumps(made))
    data = read(root, annotations=["annotations.json", "more.json"], val=1, test=1)
    keys = compute_row_ids(data, CROP, "")
    upright, stored = data.records.ids.find_rows(["coco/002.jpg#2", "coco/002.jpg#9"]).tolist()
    assert data.load(upright).shape != data.load(stored).shape
    assert keys[upright].tobytes() != keys[stored].tobytes()


def test_joints_outside_of_their_image_are_left_out_and_named(tmp_path):
    made = persons({"keypoints": joints((500, 400, 2))}, {"keypoints": joints((50, -7, 1), (60, 20, 2))})
    data = few(tmp_path, made, box="joints")
    assert data.records.labels.visible[[of(data, 1), of(data, 2)], 0].tolist() == [0, 0]
    assert data.records.boxes[of(data, 1)].tolist() == [40, 20, 20, 30]  # around the other three
    assert data.records.notes == (
        "2 labelled joints outside of their image are left out (dataset.outside=drop): "
        "nose of annotation 101 at (500, 400) in 0001.png of 90 × 70 pixels, "
        "nose of annotation 102 at (50, -7) in 0002.png of 90 × 70 pixels",
    )
    kept = few(tmp_path, made, box="joints", outside="keep")
    assert kept.records.labels.joints[of(kept, 1), 0].tolist() == [500, 400]
    assert kept.records.notes[0].startswith("2 labelled joints outside of their image are kept (dataset.outside=k")


def test_joints_on_the_border_are_inside_whichever_way_tools_count(tmp_path):
    """Pixel centres are 0 to 89; from the pixels' corners on, the last one ends at 90."""
    on_border = {"keypoints": joints((90, 70, 2), (-0.5, 0, 2))}
    beyond = {"keypoints": joints((91.5, 70, 2))}
    data = few(tmp_path, persons(on_border, beyond))
    assert data.records.labels.visible[[of(data, 1), of(data, 2)], 0].tolist() == [2, 0]
    assert len(data.records.notes) == 1 and data.records.notes[0].startswith("1 labelled joints outside")


@pytest.mark.parametrize("visibility", [1, 2])
def test_joints_at_exactly_zero_are_left_out_whatever_the_file_says(tmp_path, visibility):
    made = persons({"keypoints": joints((0, 0, visibility))}, size=("?", None))
    data = few(tmp_path, made, box="joints")
    assert data.records.labels.visible[of(data, 1), 0] == 0
    assert data.records.boxes[of(data, 1)].tolist() == [40, 20, 20, 30]
    assert any(note.startswith("1 labelled joints at exactly (0, 0) are left out") for note in data.records.notes)
    kept = few(tmp_path, made, outside="keep").records
    assert kept.labels.joints[of(few(tmp_path, made, outside="keep"), 1), 0].tolist() == [0, 0]


def test_a_person_without_any_joint_in_the_image_is_left_out(tmp_path):
    far = [value + 500 if number % 3 < 2 else value for number, value in enumerate(STANDING)]
    data = few(tmp_path, persons({"keypoints": far}))
    assert "coco/0001.png#101" not in data.records.ids
    assert "1 annotations without a labelled joint inside their image are left out" in data.records.notes


def test_a_box_around_joints_that_are_left_out_is_drawn_again_around_the_others(tmp_path):
    """Tools write the hull of the points as bbox."""
    hull = {"keypoints": joints((0, 0, 2)), "bbox": [0, 0, 60, 50]}
    drawn = {"keypoints": joints((0, 0, 2)), "bbox": [10, 5, 60, 60]}
    data = few(tmp_path, persons(hull, drawn))
    assert data.records.boxes[[of(data, 1), of(data, 2)]].tolist() == [[40, 20, 20, 30], [10, 5, 60, 60]]


def test_a_box_that_was_cut_off_at_the_border_is_drawn_again_too(tmp_path):
    far = joints((500, 400, 2))  # the others are from (40, 20) to (60, 50)
    cut = {"keypoints": far, "bbox": [40, 20, 50, 50]}
    drawn = {"keypoints": far, "bbox": [40, 20, 30, 50]}
    data = few(tmp_path, persons(cut, drawn))
    assert data.records.boxes[[of(data, 1), of(data, 2)]].tolist() == [[40, 20, 20, 30], [40, 20, 30, 50]]


def test_joints_are_not_outside_of_an_image_whose_width_and_height_are_exchanged(tmp_path):
    """Only who has chosen an orientation may read such images at all."""
    in_wide = {"keypoints": joints((85, 30, 2)), "bbox": [40, 10, 48, 50]}
    in_none = {"keypoints": joints((85, 300, 2))}
    made = persons(in_wide, in_none, size=(70, 90))
    data = few(tmp_path, made, orientation="file")
    assert data.records.labels.visible[[of(data, 1), of(data, 2)], 0].tolist() == [2, 0]
    (note,) = data.records.notes
    assert note.startswith("1 labelled joints outside") and "annotation 102 at (85, 300)" in note
    assert few(tmp_path, made).records.labels.visible[of(data, 1), 0] == 0


def test_an_image_of_another_size_is_read_only_as_older_versions_did(tmp_path):
    made = table()
    for entry in made["images"]:
        entry.update(width=2 * WIDTH, height=2 * HEIGHT)
    root = folder(tmp_path, made)
    for settings in ({}, {"orientation": "file"}, {"outside": "keep"}):
        with pytest.raises(DataError, match=f"its annotation says {2 * WIDTH} × {2 * HEIGHT}"):
            read(root, **settings).load(0)
    assert read(root, orientation="file", outside="keep").load(0).shape == (HEIGHT, WIDTH, 3)


def as_shares(made):
    for entry in made["annotations"]:
        values = entry["keypoints"]
        entry["keypoints"] = [value / 90 if number % 3 < 2 else value for number, value in enumerate(values)]
    return made


def test_coordinates_as_shares_of_the_image_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"all coordinates of joints are between 0 and 1, .* multiply x by the image's"
    ):
        few(tmp_path, as_shares(persons()))
    with pytest.raises(DataError, match="all coordinates of boxes are between 0 and 1"):
        few(tmp_path, persons_with_boxes([0.3, 0.1, 0.4, 0.8]))


def persons_with_boxes(box):
    made = persons({})
    for entry in made["annotations"]:
        entry["bbox"] = box
    return made


def test_single_persons_with_shares_are_left_out(tmp_path):
    made = persons({})
    as_shares({"annotations": made["annotations"][:1]})
    data = few(tmp_path, made)
    assert "coco/0001.png#101" not in data.records.ids and len(data.records.ids) == 3
    assert data.records.notes[1].startswith("4 labelled joints of persons with coordinates from 0 to 1 only are left")


def test_boxes_that_look_like_corners_are_refused_unless_they_are_to_be_kept(tmp_path):
    made = persons_with_boxes([30, 5, 70, 66])  # 30 to 70, 5 to 66: or to 100, which is outside
    with pytest.raises(
        DataError, match=r"4 of 4 boxes reach beyond .* but none as x1, y1, x2, y2: they look like cor"
    ):
        few(tmp_path, made)
    kept = few(tmp_path, made, outside="keep")
    assert kept.records.boxes[0].tolist() == [30, 5, 70, 66]
    assert few(tmp_path, made, box="joints").records.notes == ()


def test_boxes_are_not_taken_for_corners_where_no_size_is_known(tmp_path):
    made = persons(*[{"bbox": [-8, 5, 70, 66]}] * 2, size=(0, 0))
    notes = few(tmp_path, made).records.notes
    assert any(note.startswith("2 boxes reach beyond their image: [-8, 5, 70, 66]") for note in notes)


def test_boxes_beyond_the_image_are_counted_and_stay(tmp_path):
    made = persons({"bbox": [30, 5, 70, 60]}, *[IN_IMAGES] * 7)
    made["annotations"][1]["bbox"] = [50, 5, 40.9, 65]  # a rounded one is inside
    data = few(tmp_path, made)
    assert data.records.boxes[of(data, 1)].tolist() == [30, 5, 70, 60]
    (note,) = data.records.notes
    assert note == "1 boxes reach beyond their image: [30, 5, 70, 60] of annotation 101 in 0001.png of 90 × 70 pixels"


def test_published_datasets_keep_joints_outside_and_llpp_data_counts_them(tmp_path):
    lsp_folder(tmp_path, count=20)
    data = LeedsSportsPose(str(tmp_path), val=2, test=2)
    task = pose_task(data)
    sizes = measure_images(data).sizes
    height, width = data.load(0).shape[:2]
    assert sizes[0].tolist() == [width, height]
    before = task.describe_positions(sizes)
    data.records.labels.joints[3, 2] = (width + 40, 5)
    (line,) = task.describe_positions(sizes)
    assert before == [] and data.records.ids[3] in line
    assert line.startswith("labelled joints outside of their image, which are kept: 1 (")


def test_annotated_images_of_one_file_stay_as_they_were(tmp_path):
    """A usual file is read to the bit as before there were such checks."""
    made = persons(*[{}] * 8)
    made["annotations"].append(annotation(300, 2, bbox=[10, 10, 20, 20], keypoints=joints((15, 15, 2))))
    data = few(tmp_path, made)
    assert data.records.notes == () and len(data.records.ids) == 12
    assert data.records.labels.joints[of(data, 1), :4].tolist() == [[50, 10], [60, 20], [40, 20], [58, 50]]
