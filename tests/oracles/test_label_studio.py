"""Label Studio's raw JSON: a live server's export, public files, and all that people and other tools do to it."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.label_batches import JOINTS, SKELETON, make_batch

from llpp.errors import DataError
from llpp.journal.answers import PersonLabel
from llpp.oracles.label_studio import LabelStudioTool
from llpp.oracles.tool import AskedImage, LabelBatch, ReadOptions, WriteOptions

HERE = Path(__file__).parent
SAMPLES = Path(__file__).parents[3] / "shared/data/field_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files of other projects are not here")


def read(path, **options):
    return LabelStudioTool().read(path, ReadOptions(joints=JOINTS, **options))


def read_tasks(tmp_path, *tasks, **options):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    return read(path, **options)


def point(joint, x, y, number=None, **facts):
    region = {"type": "keypointlabels", "from_name": "joint", "to_name": "image", "image_rotation": 0}
    region |= {"original_width": 200, "original_height": 100, "id": number or f"{joint}-{x}"}
    return region | {"value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [joint]}} | facts


def box(number, x, y, width, height, **value):
    place = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["person"]} | value
    facts = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return {
        "type": "rectanglelabels",
        "from_name": "person",
        "to_name": "image",
        "id": number,
        "value": place,
    } | facts


def relation(start, end):
    return {"type": "relation", "from_id": start, "to_id": end, "direction": "right"}


def task(*regions, **annotation):
    data = {"image": "/data/local-files/?d=mice/round_00/images/a.png", "sample_id": "a.png"}
    return {"id": 1, "data": data, "annotations": [{"id": 5, "result": list(regions)} | annotation]}


def persons(content):
    (entry,) = content.entries
    return sorted(sorted(person.joints) for person in entry.persons)


def test_a_live_servers_export_is_read_as_it_was_answered():
    content = read(HERE / "label_studio_export.json")
    assert not content.rejections and not content.remarks
    by_image = {entry.image: entry for entry in content.entries}
    moved, skipped, untouched, drawn, empty, draft, removed = [by_image[f"day 1/mouse {n}.png"] for n in range(7)]
    states = [moved, skipped, untouched, drawn, empty, draft, removed]
    assert [entry.status for entry in states] == [
        "labelled", "skipped", "labelled", "labelled", "empty", "open", "labelled",
    ]  # fmt: skip
    assert [entry.untouched for entry in states] == [False, False, True, False, False, False, False]

    # 23.2205 % of 320 and 23.9699 % of 240 pixels: the browser dragged it twice as far to the right as down.
    joints = moved.persons[0].joints
    assert joints["nose"] == pytest.approx((74.3056, 57.5278, 2), abs=1e-3)
    assert joints["nose"][0] - 60.25 == pytest.approx(2 * (joints["nose"][1] - 50.5), abs=1e-6)
    # Set to occluded, where the server says that nothing has changed.
    assert joints["left ear"] == pytest.approx((50.0, 40.0, 1))
    assert joints["right ear"] == pytest.approx((72.5, 41.0, 1))
    assert joints["tail"] == pytest.approx((60.0, 150.75, 2))
    assert moved.persons[0].box == pytest.approx((30.0, 20.0, 70.0, 160.0)) and moved.size == (320, 240)

    assert [sorted(person.joints) for person in untouched.persons] == [sorted(JOINTS), ["nose", "tail"]]
    assert drawn.persons[0].joints["nose"][:2] == pytest.approx((63, 50), abs=0.25), "clicked there"
    assert drawn.persons[0].joints["tail"][:2] == pytest.approx((60, 150), abs=0.25)
    assert sorted(removed.persons[0].joints) == ["left ear", "nose", "right ear"]
    assert moved.annotator == "1" and moved.seconds == 5.63 and moved.answered_at == "2026-11-27T09:01:21Z"
    assert moved.names == ("drawn mice/round_00/images/0001_mouse.png", "0001_mouse.png")
    assert not draft.persons, "what was not submitted is no answer"


def test_a_live_server_keeps_predictions_as_they_are_written(tmp_path):
    joints = {"nose": (60.25, 50.5, 2), "left ear": (50.0, 40.0, 2), "right ear": (72.5, 41.0, 1)}
    person = PersonLabel("day 1/mouse 0.png", {**joints, "tail": (60.0, 150.75, 2)}, (30.0, 20.0, 70.0, 160.0))
    facts = {"relative": "", "size": (320, 240), "role": "train", "rank": 1, "reason": "made"}
    name = "0001_mouse.png"
    asked = AskedImage(person.id, Path(name), name, **facts, predicted_loss=0.5, suggested=(person,))
    batch = LabelBatch("drawn mice", 0, SKELETON, [asked], tmp_path)
    folder = tmp_path / "drawn mice" / "round_00"
    written = json.loads(LabelStudioTool().write(batch, folder, WriteOptions())[0].read_text())
    exported = json.loads((HERE / "label_studio_export.json").read_text())[0]
    assert written[0]["data"] == exported["data"]
    kept = exported["annotations"][0]["prediction"]
    assert written[0]["predictions"][0]["result"] == kept["result"]
    assert written[0]["predictions"][0]["score"] == pytest.approx(kept["score"])


def test_points_are_above_boxes_and_every_region_is_in_the_interface(tmp_path):
    batch = make_batch(tmp_path, several=True)
    tasks, interface = LabelStudioTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions())
    view = ElementTree.parse(interface).getroot()
    values = {}
    for tag in view:
        values[tag.get("name")] = [child.get("value") for child in tag]
    assert [label.get("model_index") for label in view.find("KeyPointLabels")] == ["0", "1", "2", "3"]
    result = json.loads(tasks.read_text())[0]["predictions"][0]["result"]
    kinds = [region["type"] for region in result]
    assert kinds.index("rectanglelabels") == len(kinds) - 2, (
        "the first region is on top, and would be dragged instead"
    )
    places = {}
    for region in result:
        assert region["to_name"] == "image" and region["from_name"] in values
        for key in ("keypointlabels", "rectanglelabels", "choices"):
            assert set(region["value"].get(key, [])) <= set(values[region["from_name"]])
        place = (region["value"]["x"], region["value"]["y"])
        assert places.setdefault(region["id"], place) == place, "a choice has the id and the place of its point"


def test_a_task_says_where_its_image_is_below_the_document_root(tmp_path):
    batch = make_batch(tmp_path / "root")
    folder = tmp_path / "Mäuse #1" / "round_00"
    tasks, _ = LabelStudioTool().write(batch, folder, WriteOptions())
    data = json.loads(tasks.read_text())[0]["data"]
    assert data["image"] == "/data/local-files/?d=M%C3%A4use%20%231/round_00/images/0000_maeuse_0.png"
    entry = LabelStudioTool().read(tasks, ReadOptions(joints=JOINTS)).entries[0]
    assert entry.names[0] == "Mäuse #1/round_00/images/0000_maeuse_0.png" and entry.image == "day 0/mäuse #0.png"


def test_test_images_show_nothing_of_the_model(tmp_path):
    batch = make_batch(tmp_path)
    tasks, _ = LabelStudioTool().write(batch, tmp_path / "mice" / "round_00", WriteOptions())
    blank = json.loads(tasks.read_text())[4]
    assert "predictions" not in blank and "llpp_predicted_loss" not in blank["data"]


@needs_samples
def test_the_same_frame_in_deeplabcut_and_label_studio_agrees():
    folder = SAMPLES / "pairs/deeplabcut_multi_animal_and_label_studio"
    rows = list(csv.reader((folder / "labeled-data/PrL-3_09072020/CollectedData_JohnDoe.csv").open()))
    individuals, parts, axes = rows[1], rows[2], rows[3]
    (frame,) = [row for row in rows if row[2] == "img12600.png"]
    expected = {}
    for column in range(3, len(frame)):
        if frame[column]:
            place = expected.setdefault(individuals[column], {}).setdefault(parts[column], [0.0, 0.0])
            place["xy".index(axes[column])] = float(frame[column])

    content = read(folder / "label_studio_export.json")
    (entry,) = [entry for entry in content.entries if "img12600.png" in entry.names]
    assert len(entry.persons) == len(expected) == 3
    left = [{name: place[:2] for name, place in person.joints.items()} for person in entry.persons]
    for joints in expected.values():
        (same,) = [
            found
            for found in left
            if found.keys() == joints.keys()
            and all(found[name] == pytest.approx(joints[name], abs=1e-7) for name in joints)
        ]
        left.remove(same)
    assert sorted(entry.seconds for entry in content.entries) == [7.531, 8096.165]


@needs_samples
def test_an_export_with_parents_and_relations_in_both_directions_is_one_person():
    content = read(SAMPLES / "label_studio/sdk_export_keypoints/data_keypoints.json")
    (entry,) = content.entries
    (person,) = entry.persons
    assert sorted(person.joints) == ["left_eye", "nose", "right_eye"]
    # 64.44… % of 216 and 39.29… % of 174 pixels.
    assert person.joints["nose"] == pytest.approx((139.2, 68.366, 2), abs=0.001)
    assert entry.annotator == "sergei@heartex.test" and entry.seconds == pytest.approx(172.763)


GROUPED = {
    "parents": [point("nose", 1, 1, parentID="A"), point("nose", 9, 9, parentID="B")],
    "relations to boxes": [
        point("nose", 1, 1, "p"),
        point("nose", 9, 9, "q"),
        relation("p", "A"),
        relation("q", "B"),
    ],
    "relations from boxes": [
        point("nose", 1, 1, "p"),
        point("nose", 9, 9, "q"),
        relation("A", "p"),
        relation("B", "q"),
    ],
    "both": [
        point("nose", 1, 1, "p", parentID="A"),
        point("nose", 9, 9, "q"),
        relation("q", "B"),
        relation("q", "q"),
    ],
}


@pytest.mark.parametrize("kind", GROUPED)
def test_points_are_grouped_by_parents_or_relations(tmp_path, kind):
    content = read_tasks(tmp_path, task(box("A", 0, 0, 5, 5), box("B", 5, 5, 10, 10), *GROUPED[kind]))
    (entry,) = content.entries
    found = {person.box: person.joints["nose"] for person in entry.persons}
    assert found == {(0, 0, 10, 5): (2, 1, 2), (10, 5, 20, 10): (18, 9, 2)}, "percent of 200 × 100 pixels"


def test_points_without_any_grouping_are_of_the_only_box_or_of_one_person(tmp_path):
    loose = [point("nose", 1, 1), point("tail", 2, 2)]
    content = read_tasks(tmp_path, task(box("A", 0, 0, 5, 5), *loose))
    assert persons(content) == [["nose", "tail"]] and content.entries[0].persons[0].box == (0, 0, 10, 5)
    content = read_tasks(tmp_path, task(*loose))
    assert persons(content) == [["nose", "tail"]] and content.entries[0].persons[0].box is None


def test_points_whose_box_was_deleted_stay_together(tmp_path):
    regions = [
        point("nose", 1, 1, parentID="A"),
        point("nose", 9, 9, parentID="B"),
        point("tail", 2, 2, parentID="A"),
    ]
    assert persons(read_tasks(tmp_path, task(*regions))) == [["nose"], ["nose", "tail"]]


UNUSABLE = {
    "the joint 'nose' occurs twice in one person": [point("nose", 1, 1), point("nose", 2, 2)],
    "these points belong to none: nose": [
        box("A", 0, 0, 5, 5),
        box("B", 5, 5, 5, 5),
        point("nose", 1, 1, parentID="A"),
        point("nose", 2, 2),
    ],
    "it has boxes or choices but no joint": [box("A", 0, 0, 5, 5)],
    "its image was turned": [point("nose", 1, 1, image_rotation=90)],
    "on images of different sizes": [point("nose", 1, 1), point("tail", 1, 1, original_width=300)],
    "give it one joint": [point("nose", 1, 1) | {"value": {"x": 1, "y": 1, "keypointlabels": ["nose", "tail"]}}],
    "expected percent of the image": [point("nose", float("nan"), 1)],
}


@pytest.mark.parametrize("reason", UNUSABLE)
def test_an_annotation_that_cannot_be_used_is_rejected_and_the_others_are_read(tmp_path, reason):
    content = read_tasks(tmp_path, task(*UNUSABLE[reason]), task(point("nose", 1, 1)) | {"id": 2})
    (rejection,) = content.rejections
    assert rejection.entry == "task 1, annotation 5" and reason in rejection.reason
    assert len(content.entries) == 1 and content.entries[0].status == "labelled"


def test_two_people_on_one_task_are_two_answers(tmp_path):
    both = task(point("nose", 1, 1), completed_by=3, unique_id="x-1", updated_at="2026-11-27T08:00:00+02:00")
    both["annotations"].append({"id": 6, "result": [], "completed_by": {"id": 4, "email": "b@example.org"}})
    first, second = read_tasks(tmp_path, both).entries
    assert (first.status, first.annotator, first.entry) == ("labelled", "3", "x-1")
    assert first.answered_at == "2026-11-27T06:00:00Z"
    assert (second.status, second.annotator, second.entry) == ("empty", "b@example.org", "6")
    assert second.answered_at == "" and second.seconds is None


def test_a_joint_is_occluded_by_a_choice_with_its_id(tmp_path):
    value = {"x": 1, "y": 1, "width": 0.5, "choices": ["occluded"]}
    choice = {"type": "choices", "from_name": "seen", "id": "p", "value": value}
    (entry,) = read_tasks(tmp_path, task(point("nose", 1, 1, "p"), point("tail", 2, 2, "q"), choice)).entries
    assert {name: place[2] for name, place in entry.persons[0].joints.items()} == {"nose": 1, "tail": 2}


def test_only_equal_joints_are_untouched_and_a_missing_one_is_a_change(tmp_path):
    suggested = [point("nose", 1, 1, "p"), point("tail", 2, 2, "q")]

    def is_untouched(*regions):
        copied = [region | {"origin": "prediction"} for region in regions]
        (entry,) = read_tasks(tmp_path, task(*copied, prediction={"result": suggested})).entries
        return entry.untouched

    assert is_untouched(*suggested)
    assert is_untouched(point("nose", 1.009, 1, "p"), suggested[1]), "less than 0.01 percent: clicked on, not moved"
    assert not is_untouched(point("nose", 1.011, 1, "p"), suggested[1])
    assert not is_untouched(suggested[0]), "the server calls what is left unchanged"


def test_predictions_of_other_models_are_untouched_if_the_server_says_so(tmp_path):
    other = task(point("nose", 1, 1, origin="prediction"), point("tail", 1, 2, origin="prediction"))
    del other["data"]["sample_id"]
    assert read_tasks(tmp_path, other).entries[0].untouched
    other["annotations"][0]["result"][0]["origin"] = "prediction-changed"
    assert not read_tasks(tmp_path, other).entries[0].untouched


def test_exports_of_older_versions_say_completions(tmp_path):
    old = task(point("nose", 50, 50))
    old["completions"] = old.pop("annotations")
    (entry,) = read_tasks(tmp_path, old).entries
    assert entry.persons[0].joints == {"nose": (100, 50, 2)}


def test_uploaded_images_are_named_without_what_the_server_puts_before(tmp_path):
    uploaded = task(point("nose", 1, 1))
    uploaded["data"] = {"image": "/data/upload/5/de3dc768-%C3%9Cbung_eins_2.PNG"}
    (entry,) = read_tasks(tmp_path, uploaded).entries
    assert entry.image == "" and entry.names[1:] == ("Übung_eins_2.PNG", "de3dc768-Übung_eins_2.PNG")


def test_regions_without_a_size_are_shares_of_the_image(tmp_path):
    bare = point("nose", 25, 75)
    del bare["original_width"]
    content = read_tasks(tmp_path, task(bare), half_pixel=True)
    (entry,) = content.entries
    assert entry.relative and entry.size is None and entry.persons[0].joints["nose"] == (0.25, 0.75, 2)
    assert "label.half_pixel is not applied" in content.remarks[0]


def test_half_a_pixel_is_taken_off_in_pixels_of_the_image(tmp_path):
    (entry,) = read_tasks(tmp_path, task(point("nose", 25, 75)), half_pixel=True).entries
    assert entry.persons[0].joints["nose"] == (49.5, 74.5, 2)


def test_exports_that_leave_things_out_are_refused_with_the_right_one(tmp_path):
    path = tmp_path / "min.json"
    path.write_text(json.dumps([{"image": "/data/a.png", "id": 1, "joint": [], "annotator": 1, "annotation_id": 3}]))
    assert LabelStudioTool().recognises(path, path.read_bytes())
    with pytest.raises(DataError, match="JSON-MIN, which says less than is needed; export the project as JSON"):
        read(path)


def test_an_export_of_nothing_is_no_mistake(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text("[]\n")
    assert LabelStudioTool().recognises(path, b"[]\n") and not read(path).entries
