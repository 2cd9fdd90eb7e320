"""COCO files: what is written, by an independent reader, and what editors and CVAT save."""

import json
import zipfile
from pathlib import Path

import pytest
from helpers.label_batches import JOINTS, SUGGESTED, make_batch

from llpp.errors import DataError
from llpp.oracles.coco import CocoTool
from llpp.oracles.tool import ReadOptions, WriteOptions

SAMPLES = Path(__file__).parents[3] / "shared/data/field_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files of other projects are not here")
MICE = {"id": 1, "name": "mouse", "keypoints": list(JOINTS), "skeleton": []}
SEEN = [10, 20, 2, 0, 0, 0, 30.5, 40, 1, 0, 0, 0]


def read(path, **options):
    return CocoTool().read(path, ReadOptions(joints=JOINTS, **options))


def read_content(tmp_path, annotations, images=None, categories=(MICE,), **options):
    path = tmp_path / "saved.json"
    images = images or [{"id": 7, "file_name": "a.png", "width": 100, "height": 80}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": list(categories)}))
    return read(path, **options)


def annotation(keypoints, number=1, **facts):
    return {"id": number, "image_id": 7, "category_id": 1, "iscrowd": 0, "keypoints": keypoints} | facts


def test_pycocotools_reads_what_is_written(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    batch = make_batch(tmp_path, several=True)
    (path,) = CocoTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions())
    api = coco.COCO(str(path))
    assert [image["file_name"] for image in api.loadImgs(api.getImgIds())] == [image.name for image in batch.images]
    (category,) = api.loadCats(api.getCatIds())
    assert category["id"] == 1 and category["keypoints"] == list(JOINTS)
    assert category["skeleton"] == [[1, 2], [1, 3], [1, 4]], "counted from 1"
    first, other, second = api.loadAnns(api.getAnnIds())
    assert first["keypoints"] == [60.25, 50.5, 2, 50, 40, 2, 72.5, 41, 1, 60, 150.75, 2]
    assert first["num_keypoints"] == 4 and first["bbox"] == [30, 20, 70, 160] and first["area"] == 11200
    assert second["keypoints"][9:] == [0, 0, 0], "the tail is not labelled"
    assert second["bbox"] == [80.5, 50.25, 20.5, 9.75], "around its joints, as it has no box"
    assert other["image_id"] == first["image_id"] != second["image_id"]
    assert first["score"] > second["score"] and first["llpp"] == {"predicted_loss": 0.5}

    # Compared with itself as a result, all of it is right.
    results = api.loadRes([{**one, "score": 1.0} for one in api.loadAnns(api.getAnnIds())])
    compared = evaluation.COCOeval(api, results, "keypoints")
    compared.params.kpt_oks_sigmas = compared.params.kpt_oks_sigmas[:4]
    compared.evaluate()
    compared.accumulate()
    compared.summarize()
    assert compared.stats[0] == 1.0


@needs_samples
def test_joints_are_found_through_their_category():
    content = read(SAMPLES / "coco/mixed_animals/annotations.json")
    mouse, fly = content.entries[0].persons
    listed = json.loads((SAMPLES / "coco/mixed_animals/annotations.json").read_text())
    for person, animal, category in zip((mouse, fly), listed["annotations"], listed["categories"], strict=False):
        names = category["keypoints"]
        assert sorted(person.joints) == sorted(names)
        assert person.joints[names[2]][:2] == tuple(animal["keypoints"][6:8])


@needs_samples
def test_files_that_write_1_for_visible_joints_are_read_as_those_that_write_2():
    def joints(name, **options):
        content = read(SAMPLES / "coco" / name / "annotations.json", **options)
        return content, [person.joints for entry in content.entries for person in entry.persons]

    as_coco, occluded = joints("visibility_binary")
    assert "set label.visibility=binary" in as_coco.remarks[0]
    assert {place[2] for person in occluded for place in person.values()} == {1}
    as_binary, visible = joints("visibility_binary", visibility="binary")
    assert not as_binary.remarks
    assert {place[2] for person in visible for place in person.values()} == {2}
    ternary, same = joints("visibility_ternary")
    assert not ternary.remarks
    assert [sorted(person) for person in same] == [sorted(person) for person in visible]
    assert {place[2] for person in same for place in person.values()} == {1, 2}


@needs_samples
def test_an_image_without_annotation_is_empty_only_if_somebody_has_reviewed_it():
    path = SAMPLES / "coco/flat_images/annotations_negative_frame.json"
    statuses = {entry.names[0]: entry.status for entry in read(path).entries}
    assert statuses == {"image_001.jpg": "labelled", "image_002.jpg": "open", "image_003.jpg": "labelled"}
    reviewed = {entry.names[0]: entry.status for entry in read(path, empty="reviewed").entries}
    assert reviewed == statuses | {"image_002.jpg": "empty"}


@needs_samples
def test_cvats_coco_export_is_read():
    content = read(SAMPLES / "cvat/coco_keypoints_1.0/annotations/person_keypoints_val.json")
    (entry,) = content.entries
    assert entry.names == ("b.jpg",) and entry.size == (5, 10)
    (person,) = entry.persons
    assert person.joints == {"a_1": (1, 2, 2), "a_2": (3, 4, 2), "a_3": (2, 3, 2)}, "the other one is a crowd"
    assert person.box == (0, 0, 1, 2)


def test_a_zip_of_cvats_with_several_parts_is_read(tmp_path):
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("train", "val"):
            images = [{"id": 7, "file_name": f"{part}/a.png", "width": 100, "height": 80}]
            content = {"images": images, "annotations": [annotation(SEEN)], "categories": [MICE]}
            archive.writestr(f"annotations/person_keypoints_{part}.json", json.dumps(content))
        archive.writestr("images/train/a.png", b"not read")
    assert CocoTool().recognises(path, path.read_bytes())
    assert [entry.names[0] for entry in read(path).entries] == ["train/a.png", "val/a.png"]


def test_cvats_export_of_labels_that_are_no_skeletons_is_refused_with_the_way_out(tmp_path):
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(30)]
    points = [{"id": number, "name": name, "keypoints": [], "skeleton": []} for number, name in enumerate(JOINTS, 1)]
    with pytest.raises(DataError) as error:
        read_content(tmp_path, [], images, points)
    assert (
        "has 4 categories without keypoints and no annotation at all, which is what CVAT writes if the labels are of "
        "type points; export 'CVAT for images 1.1' instead, or make the label a skeleton"
    ) in str(error.value)


def test_ids_of_categories_with_gaps_and_other_categories_do_no_harm(tmp_path):
    categories = [{"id": 1, "name": "cage"}, {**MICE, "id": 17}, {"id": 22, "name": "food", "keypoints": []}]
    cage = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 50, 50]}
    mouse = annotation(SEEN, 2, category_id=17, bbox=[5, 6, 40, 50])
    (entry,) = read_content(tmp_path, [cage, mouse], None, categories).entries
    (person,) = entry.persons
    assert person.joints == {"nose": (10, 20, 2), "right ear": (30.5, 40, 1)} and person.box == (5, 6, 40, 50)


def test_unlabelled_joints_may_be_anywhere_and_crowds_are_left_out(tmp_path):
    keypoints = [10, 20, 2, -7, "x", 0, 30, 40, 2, None, 1e99, 0]
    crowd = annotation(SEEN, 2, iscrowd=1)
    content = read_content(tmp_path, [annotation(keypoints), crowd])
    assert content.entries[0].persons[0].joints == {"nose": (10, 20, 2), "right ear": (30, 40, 2)}
    assert not content.rejections
    (entry,) = read_content(tmp_path, [crowd], empty="reviewed").entries
    assert entry.status == "open", "somebody is there"


def test_a_person_without_joints_is_no_answer_and_not_nobody(tmp_path):
    (entry,) = read_content(tmp_path, [annotation([0] * 12)], empty="reviewed").entries
    assert entry.status == "open"


BAD = {
    "expected 3 × 4": annotation([1, 2, 2]),
    "joint 'nose' is at (nan, 20)": annotation([float("nan"), 20, *SEEN[2:]]),
    "has the visibility 3": annotation([10, 20, 3, *SEEN[3:]]),
    "its category 5 has no keypoints": annotation(SEEN, category_id=5),
}


@pytest.mark.parametrize("reason", BAD)
def test_an_image_with_an_annotation_that_cannot_be_used_is_not_read_in_part(tmp_path, reason):
    images = [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}]
    annotations = [BAD[reason], annotation(SEEN, 2), annotation(SEEN, 3, image_id=8)]
    content = read_content(tmp_path, annotations, images)
    (rejection,) = content.rejections
    assert rejection.entry == "annotation 1" and reason in rejection.reason and "'a.png'" in rejection.reason
    assert [entry.names for entry in content.entries] == [("b.png",)], "half of the persons would be wrong"


def test_annotations_of_images_that_are_not_listed_are_rejected(tmp_path):
    content = read_content(tmp_path, [annotation(SEEN, image_id=99)])
    assert "its image 99 is not listed" in content.rejections[0].reason
    assert content.entries[0].status == "open"


def test_names_that_lead_out_of_the_folder_are_rejected(tmp_path):
    images = [{"id": 7, "file_name": "../../a.png"}, {"id": 8, "file_name": "ok.png"}]
    content = read_content(tmp_path, [annotation(SEEN, image_id=8)], images)
    assert "leads out of its folder" in content.rejections[0].reason
    assert [entry.names for entry in content.entries] == [("ok.png",)]


def test_half_a_pixel_is_added_and_taken_off(tmp_path):
    batch = make_batch(tmp_path)
    (path,) = CocoTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions(half_pixel=True))
    written = json.loads(path.read_text())["annotations"][0]
    assert written["keypoints"][:2] == [60.75, 51.0]
    back = read(path, half_pixel=True).entries[0].persons[0].joints
    assert back == SUGGESTED[0]
