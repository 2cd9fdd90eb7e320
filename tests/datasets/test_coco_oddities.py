"""COCO files as tools write them: accepted and counted, or with dataset.strict=true refused."""

import json
import shutil

import numpy as np
import pytest
from helpers.coco_folders import JOINTS, STANDING, content, folder, written

from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.errors import ConfigError, DataError

HULL = [40, 10, 20, 40]  # of STANDING's labelled joints


def read(root, **settings):
    return CocoKeypoints(str(root), **settings)


def changed(**changes):
    """The first annotation with other values."""
    table = content()
    table["annotations"][0].update(changes)
    return table


def renamed(key, kind, *names):
    """One kind of id in one list of the file written in another way."""
    table = content()
    for name in names:
        for entry in table[name]:
            entry[key] = kind(entry[key])
    return table


def with_fractions():
    table = content()
    for entry in table["annotations"]:
        entry["keypoints"] = [*STANDING[:2], 0.104, *STANDING[3:5], 1.4, *STANDING[6:]]
    return table


def nested():
    table = content()
    for entry in table["annotations"]:
        entry["keypoints"] = np.reshape(STANDING, (5, 3)).tolist()
    return table


def several_categories():
    table = content()
    table["categories"].append({**table["categories"][0], "id": 2, "name": "rider"})
    for entry in table["annotations"][5:]:
        entry["category_id"] = 2
    return table


ODD = {
    "text ids": (renamed("image_id", str, "annotations"), "10 ids in quotes", "annotation 101 has the image_id '1'"),
    "decimal ids": (renamed("id", float, "images"), "10 ids with a decimal point", "an image has the id 1.0"),
    "text categories": (renamed("id", str, "categories"), "1 ids in quotes", "category 'person' has the id '1'"),
    "no id": (changed(id=None), "1 annotations without an id", "number 1 of image 1"),
    "nested": (nested(), "10 annotations with a list for each joint", "annotation 101"),
    "fractions": (with_fractions(), "20 joints with a fraction", "annotation 101 has the visibility 0.104"),
    "merged": (several_categories(), "1 sets of categories with the same joints", "'person', 'rider'"),
    "flat box": (
        changed(bbox=[1, 2, 0, 5]),
        "1 annotations without a usable bbox",
        r"101 has the bbox \[1, 2, 0, 5\]",
    ),
    "thin box": (changed(bbox=[1, 2, 1e-60, 5]), "without a usable bbox", r"the bbox \[1, 2, 1e-60, 5\]"),
    "negative box": (changed(bbox=[1, 2, 10, -5]), "without a usable bbox", r"the bbox \[1, 2, 10, -5\]"),
    "nan box": (changed(bbox=[1, 2, float("nan"), 5]), "without a usable bbox", r"the bbox \[1, 2, nan, 5\]"),
    "short box": (changed(bbox=[1, 2, 3]), "without a usable bbox", r"the bbox \[1, 2, 3\]"),
    "no box": (changed(bbox=None), "1 annotations without a usable bbox", "annotation 101 has the bbox None"),
}


@pytest.mark.parametrize(("table", "note", "sentence"), ODD.values(), ids=ODD)
def test_what_tools_write_is_counted_and_means_the_same_unless_strict(tmp_path, table, note, sentence):
    plain = read(written(tmp_path, content()))
    root = written(tmp_path, table)
    odd = read(root)
    (found,) = odd.records.notes
    assert note in found
    assert odd.records.split.tolist() == plain.records.split.tolist()
    np.testing.assert_array_equal(odd.records.labels.joints, plain.records.labels.joints)
    assert odd.records.images == plain.records.images
    if "box" in note:
        assert odd.records.boxes[0].tolist() == HULL
        np.testing.assert_array_equal(odd.records.boxes[1:], plain.records.boxes[1:])
    else:
        np.testing.assert_array_equal(odd.records.boxes, plain.records.boxes)
    with pytest.raises(
        DataError, match=rf"annotations.json: .*{sentence}.* only with dataset.strict=false; set it, or"
    ):
        read(root, strict=True)


def test_a_usual_file_is_accepted_by_strict_reading(tmp_path):
    assert read(folder(tmp_path), strict=True).records.notes == ()


def test_ids_in_quotes_and_as_numbers_are_the_same_id(tmp_path):
    table = content(3)
    table["images"][1]["id"] = "2"
    table["annotations"][2]["image_id"] = 3.0
    assert (
        read(written(tmp_path, table), val=1, test=1).records.ids
        == read(written(tmp_path, content(3)), val=1, test=1).records.ids
    )
    table["images"][2]["id"] = "2"
    with pytest.raises(DataError, match="image id 2 occurs more than once"):
        read(written(tmp_path, table))
    table["images"][2]["id"] = "007"  # no number as one would write it
    table["annotations"][2]["image_id"] = "007"
    assert len(read(written(tmp_path, table), val=1, test=1).records.ids) == 3


def test_annotations_without_an_id_of_their_own_are_numbered_within_their_image(tmp_path):
    table = content(4)
    first, second, third, fourth = table["annotations"]
    table["annotations"] = [
        {**first, "id": None},
        {**first, "id": 0},
        {**first, "id": 0},
        {**second, "id": 0},
        {**third, "id": None},
        fourth,
    ]
    found = read(written(tmp_path, table), val=1, test=1, repeats="keep").records
    names = {name.partition("#")[2] for name in found.ids if "0001" in name}
    assert names == {"p1", "0", "p3"}
    assert {name.partition("#")[2] for name in found.ids if "0001" not in name} == {"0", "p1", "104"}
    # An annotation of another image changes none of these.
    table["annotations"].insert(0, {**second, "id": None})
    again = read(written(tmp_path, table), val=1, test=1, repeats="keep").records
    assert set(again.ids) - set(found.ids) == {"coco/0002.png#p1"}
    assert set(found.ids) <= set(again.ids)
    for kind in ("annotations without an id", "an id of the same image", "an id that one of another image has"):
        assert sum(kind in note for note in again.notes) == 1


@pytest.mark.parametrize(
    ("before", "note"),
    [
        ("images\\", "12 file names are read without the folder of images before them"),
        ("images/", "12 file names are read without the folder of images before them"),
        ("C:\\Users\\me\\shots\\images\\", "12 absolute file names are read by their end"),
        ("/home/me/export/", "12 absolute file names are read by their end"),
        ("/home/me/images/", "12 absolute file names are read by their end"),
    ],
)
def test_names_from_another_machine_are_found_in_the_folder(tmp_path, before, note):
    plain = read(folder(tmp_path, content(12)))
    table = content(12)
    for entry in table["images"]:
        entry["file_name"] = before + entry["file_name"]
    (tmp_path / "images" / "0001.png").unlink()  # one that is missing changes nothing
    (tmp_path / "annotations.json").write_text(json.dumps(table))
    data = read(tmp_path)
    assert data.records.images == plain.records.images and data.records.ids == plain.records.ids
    assert len(data.records.notes) == 1 and data.records.notes[0].startswith(note)
    with pytest.raises(DataError, match=r"image 1: '.*0001.png': .* only with dataset.strict=false"):
        read(tmp_path, strict=True)


@pytest.mark.parametrize(("key", "found"), [("category_id", "category 7"), ("image_id", "images that the file")])
def test_annotations_of_what_is_not_listed_are_refused_if_the_file_has_to_keep_to_the_format(tmp_path, key, found):
    root = written(tmp_path, changed(**{key: 7 if key == "category_id" else 99}))
    assert any(f"1 annotations of {found}" in note for note in read(root).records.notes)
    with pytest.raises(DataError, match=rf"annotation 101: annotations of {found}.* only with dataset.strict=false"):
        read(root, strict=True)


def test_names_with_other_spaces_than_the_usual_one_are_names(tmp_path):
    """As macOS writes them for screenshots, and Japanese keyboards."""
    table = content(6)
    for entry in table["images"]:
        entry["file_name"] = f"Screenshot\u3000{entry['id']} at 9.41\u202fAM.png"
    data = read(folder(tmp_path, table), val=1, test=1)
    assert data.load(0).ndim == 3 and "\u202fAM.png" in data.records.ids[0]


def test_an_image_is_without_annotations_only_if_no_file_has_some(tmp_path):
    """Two people share the images of a project, and a tool lists all of them for both."""
    first, second = content(6), content(6)
    first["annotations"] = first["annotations"][:3]
    second["annotations"] = second["annotations"][3:5]
    written(tmp_path, first)
    (tmp_path / "second.json").write_text(json.dumps(second))
    records = read(tmp_path, annotations=["annotations.json", "second.json"], val=1, test=1).records
    assert len(records.ids) == 5 and records.notes == ("1 images without annotations are left out",)


def test_a_zero_in_quotes_is_no_crowd(tmp_path):
    table = content()
    for entry in table["annotations"]:
        entry["iscrowd"] = "0"
    table["annotations"][0]["iscrowd"] = "1"
    records = read(written(tmp_path, table)).records
    assert len(records.ids) == 9 and "1 annotations of crowds are left out" in records.notes


def test_two_names_that_are_read_as_one_file_are_counted(tmp_path):
    """Frames of two days have the same numbers, and only one day's are there."""
    folder(tmp_path, content(6))
    table = content(6)
    for entry, number in zip(table["images"], (1, 2, 3, 1, 2, 3), strict=True):
        entry["file_name"] = f"/data/day{1 + (entry['id'] > 3)}/{number:04d}.png"
    (tmp_path / "annotations.json").write_text(json.dumps(table))
    notes = read(tmp_path, val=1, test=1).records.notes
    (note,) = [note for note in notes if "same file" in note]
    assert note.startswith("3 file names are read as the same file as another one, which is wrong if")
    assert "image 4: '/data/day2/0001.png', as '/data/day1/0001.png'" in note


def test_backslashes_between_folders_of_images_are_slashes(tmp_path):
    folder(tmp_path, content(12))
    (tmp_path / "images" / "day1").mkdir()
    table = content(12)
    for entry in table["images"]:
        shutil.move(tmp_path / "images" / entry["file_name"], tmp_path / "images" / "day1")
        entry["file_name"] = f"day1\\{entry['file_name']}"
    (tmp_path / "annotations.json").write_text(json.dumps(table))
    data = read(tmp_path)
    assert data.records.images[0].startswith("images/day1/") and data.load(0).shape == (70, 90, 3)
    (note,) = data.records.notes
    assert note.startswith("12 file names with backslashes are read as with slashes: image 1: 'day1")


def test_a_folder_within_the_images_that_has_their_name_stays(tmp_path):
    table = content(12)
    for entry in table["images"]:
        entry["file_name"] = f"images/{entry['file_name']}"
    (tmp_path / "images" / "images").mkdir(parents=True)
    data = read(folder(tmp_path, table))
    assert data.records.images[0].startswith("images/images/") and data.records.notes == ()
    shutil.rmtree(tmp_path / "images")
    assert read(tmp_path).records.images == data.records.images  # without files nothing speaks for a change


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "C:\\secret.png", "C:other.png", "/images/../../0001.png", "..\\0001.png"]
)
def test_names_that_lead_elsewhere_are_refused_whole(tmp_path, name):
    root = folder(tmp_path)
    table = content()
    table["images"][0]["file_name"] = name
    (root / "annotations.json").write_text(json.dumps(table))
    with pytest.raises(DataError) as refused:
        read(root)
    assert f"image 1 has the file name {name!r}; expected a path inside" in str(refused.value)


def test_long_names_are_never_cut_off(tmp_path):
    name = f"{'holidays/' * 40}0001.png"
    table = content()
    table["images"][0]["file_name"] = f"../{name}"
    with pytest.raises(DataError) as refused:
        read(written(tmp_path, table))
    assert name in str(refused.value)


def animals():
    """Dogs with five joints and cats with three, two of which have the same names."""
    table = content(12)
    table["categories"][0]["name"] = "dog"
    table["categories"].append(
        {"id": 2, "name": "cat", "keypoints": ["tail", "right_hip", "nose"], "skeleton": [[1, 3]]}
    )
    for entry in table["annotations"][6:]:
        entry |= {"category_id": 2, "keypoints": [70, 60, 2, 65, 50, 1, 40, 20, 2]}
    return table


def test_categories_with_other_joints_are_united_by_name_if_they_are_listed(tmp_path):
    root = written(tmp_path, animals())
    with pytest.raises(
        ConfigError, match=r"category=null does not choose .* one of 'dog', 'cat', or to a list of them"
    ):
        read(root)
    data = read(root, category=["dog", "cat"])
    assert data.skeleton.joints == (*JOINTS, "tail") and data.skeleton.edges[-1] == (5, 0)  # tail to nose
    labels = data.records.labels
    row = data.records.ids.index("coco/0007.png#107")
    assert labels.visible[row].tolist() == [2, 0, 0, 0, 1, 2]
    assert labels.joints[row, [0, 4, 5]].tolist() == [[40, 20], [65, 50], [70, 60]]
    assert len(read(root, category="cat").records.ids) == 6
    with pytest.raises(ConfigError, match=r"category=\['dog', 'cow'\] does not choose"):
        read(root, category=["dog", "cow"])


def test_what_is_left_out_is_counted_by_its_true_reason(tmp_path):
    table = content(12)
    for entry in table["annotations"][:6]:
        entry["category_id"] = 0
    found = read(written(tmp_path, table)).records.notes
    assert found == (
        "6 annotations of category 0, which is none of the file's (1 'person'), are left out",
        "6 images with annotations of other categories only are left out",
    )
    for entry in table["annotations"]:
        entry["category_id"] = 0
    with pytest.raises(
        DataError, match="no person with a labelled joint: 12 annotations of category 0, which is none"
    ):
        read(written(tmp_path, table))
    table["annotations"] = []
    with pytest.raises(DataError, match="it has no annotations at all, for 12 images; export it again"):
        read(written(tmp_path, table))
    elsewhere = content(12)
    for entry in elsewhere["annotations"]:
        entry["image_id"] += 500
    with pytest.raises(
        DataError, match="12 annotations of images that the file does not list are left out; 12 images"
    ):
        read(written(tmp_path, elsewhere))


def test_several_files_name_theirs(tmp_path):
    folder(tmp_path, changed(bbox=None), "a.json")
    folder(tmp_path, {**content(), "images": content()["images"][:5]}, "b.json")
    table = json.loads((tmp_path / "b.json").read_text())
    for entry in table["annotations"]:
        entry["id"] += 1000
    (tmp_path / "b.json").write_text(json.dumps(table))
    notes = read(tmp_path, annotations=["a.json", "b.json"]).records.notes
    assert any(note.startswith("a.json: 1 annotations without a usable bbox") for note in notes)


def test_validation_or_test_images_can_be_done_without(tmp_path):
    root = folder(tmp_path)
    for settings, expected in (({"val": 0}, {"train", "test"}), ({"val": 0.0, "test": 0}, {"train"})):
        assert set(read(root, **settings).records.split.tolist()) == expected
