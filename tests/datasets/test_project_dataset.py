"""dataset=project: what every rank reads of a snapshot, and what a replay reads of the journal."""

import json

import cv2
import numpy as np
import pytest
from helpers.project_folders import (
    JOINTS,
    draw,
    labelling_folder,
    make_images,
    open_folder,
    save,
    save_snapshot,
    scene,
    split_of,
    write_film,
)
from helpers.turned_jpegs import encode, store

from llpp.datasets.contract import check_first_image, check_records
from llpp.datasets.project.asked_dataset import NEVER_ASKED
from llpp.datasets.project.dataset import ProjectDataset
from llpp.errors import ConfigError, DataError, StateError
from llpp.journal.answers import Answer, PersonLabel
from llpp.journal.journal import append_answers
from llpp.journal.snapshot import STATES

NOSE = {"nose": (10.0, 12.0, 2), "tail": (20.0, 30.0, 1)}


def make_project(tmp_path, count=20):
    """A folder of images, and the ids of its training and test images."""
    root = tmp_path / "mice"
    make_images(root, count)
    _, index, _ = open_folder(root)
    splits = split_of(index)
    train = [image for image in index.ids if not splits[image]]
    test = [image for image in index.ids if splits[image]]
    return root, train, test


def load(root, snapshot=None, **settings):
    labelling = str(labelling_folder(root).path)
    snapshot = None if snapshot is None else str(snapshot)
    return ProjectDataset(str(root), labelling, snapshot=snapshot, **settings)


def rows_by_id(data):
    return {id_: row for row, id_ in enumerate(data.records.ids)}


def test_a_snapshot_gives_all_training_images_and_the_labelled_test_images(tmp_path):
    root, train, test = make_project(tmp_path)
    assert len(train) == 16 and len(test) == 4
    persons = [
        (train[0], train[0], "labelled", NOSE, None),
        (train[1], train[1], "open", {}, None),
        (train[2], train[2], "skipped", {}, None),
        (train[3], train[3], "empty", {}, None),
        (test[0], test[0], "labelled", NOSE, None),
        (test[1], test[1], "open", {}, None),
    ]
    data = load(root, save_snapshot(tmp_path / "labels.parquet", persons, budget=7))

    check_records(data)
    check_first_image(data)
    records = data.records
    assert [records.ids[row] for row in records.select_rows("train")] == train
    assert [records.ids[row] for row in records.select_rows("test")] == test[:1]
    assert data.empty_splits == {"val"} and data.is_live and data.budget == 7

    rows = rows_by_id(data)
    states = {image: data.states[rows[image]] for image in train}
    expected = dict.fromkeys(train, NEVER_ASKED)
    for place, state in enumerate(("labelled", "open", "skipped", "empty")):
        expected[train[place]] = STATES.index(state)
    assert states == expected and data.states.dtype == np.uint8
    assert [data.project_index.ids[row] for row in data.index.tolist()] == list(records.images)

    labelled = [id_ for id_, is_labelled in zip(records.ids, records.labels.is_labelled, strict=True) if is_labelled]
    assert sorted(labelled) == sorted([train[0], test[0]])
    assert [records.ids[row] for row in np.flatnonzero(records.may_start)] == [train[0]]
    row = rows[train[0]]
    assert records.labels.joints[row, JOINTS.index("nose")].tolist() == [10, 12]
    assert records.labels.visible[row].tolist() == [2, 0, 0, 1]
    assert np.isnan(records.labels.joints[row, 1]).all()
    assert np.array_equal(records.boxes, np.tile(np.float32([0, 0, 48, 32]), (17, 1)))
    assert data.get_normaliser("box").values.tolist() == [48] * 17
    assert np.array_equal(data.load(row), draw(int(train[0][2:6])))
    said = "\n".join(records.notes)
    assert "1 images were skipped" in said and "1 images show nobody" in said


def test_reading_a_snapshot_writes_nothing_and_needs_no_lock(tmp_path):
    root, train, _ = make_project(tmp_path)
    snapshot = save_snapshot(tmp_path / "labels.parquet", [(train[0], train[0], "labelled", NOSE, None)])
    lock = labelling_folder(root).path / "index.lock"
    lock.unlink()
    save(root / "new.png", draw(90))

    def look():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = look()
    data = load(root, snapshot)
    assert look() == before and "new.png" not in set(data.records.images)


def test_images_that_are_not_as_they_were_are_no_records_and_are_counted(tmp_path):
    root, train, _ = make_project(tmp_path)
    (root / train[0]).unlink()
    save(root / train[1], draw(70))
    (root / train[2]).write_bytes(b"")
    open_folder(root)
    persons = [(image, image, "labelled", NOSE, None) for image in train[:5]]
    persons[3] = (train[3], train[3], "missing", {}, None)
    data = load(root, save_snapshot(tmp_path / "labels.parquet", persons))
    assert set(data.records.images) == set(train[4:])
    said = "\n".join(data.records.notes)
    assert f"1 image whose file is missing is left out, for example {train[0]}" in said
    assert "1 image whose file has changed" in said and "1 image that cannot be read" in said


def test_more_persons_than_boxes_are_records_of_their_own(tmp_path):
    root, train, _ = make_project(tmp_path)
    image = train[0]
    persons = [
        (image, image, "labelled", NOSE, None),
        (f"{image}#h1", image, "labelled", {"nose": (4, 5, 2), "tail": (14, 25, 2)}, None),
        (f"{image}#h2", image, "labelled", NOSE, (1, 2, 30, 20)),
        (f"{image}#h3", image, "labelled", {"nose": (4, 5, 2)}, None),
    ]
    data = load(root, save_snapshot(tmp_path / "labels.parquet", persons))
    rows = rows_by_id(data)
    boxes = data.records.boxes
    assert boxes[rows[image]].tolist() == [0, 0, 48, 32]
    assert boxes[rows[f"{image}#h1"]].tolist() == [4, 5, 10, 20], "around its joints"
    assert boxes[rows[f"{image}#h2"]].tolist() == [1, 2, 30, 20]
    assert boxes[rows[f"{image}#h3"]].tolist() == [0, 0, 48, 32], "one joint spans no box"
    assert {data.records.images[rows[f"{image}#h{n}"]] for n in (1, 2, 3)} == {image}
    assert len(data.records.ids) == len(train) + 3


def test_frames_and_upright_copies_are_read_from_the_labelling_folder(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 6)
    upright = draw(3)
    (root / "turned.jpg").write_bytes(encode(store(upright, 6), 6))
    film = write_film(root / "clip.mp4", [scene(n) for n in range(6)])
    _, index, _ = open_folder(root, lossless=True)
    labels = [(image, image, "labelled", NOSE, None) for image in index.ids]
    data = load(root, save_snapshot(tmp_path / "labels.parquet", labels))
    film.unlink()
    rows = rows_by_id(data)
    assert np.abs(data.load(rows["turned.jpg"]).astype(int) - upright).mean() < 4
    frame = data.load(rows["clip.mp4#000004"])
    assert np.abs(frame[..., ::-1].astype(int) - scene(4)).mean() < 12
    assert data.get_file_name(rows["clip.mp4#000004"]) == "frames/clip.mp4/000004.png"
    assert data.get_file_name(rows["turned.jpg"]) == "upright/turned.jpg"
    assert all(path.is_file() for path in data.paths)
    group = data.records.group
    assert group[rows["clip.mp4#000004"]] == "clip.mp4 0-60 s" and group[rows["im0001.png"]] == "im0001.png"


def test_sixteen_bits_are_scaled_as_the_project_decided_at_its_start(tmp_path):
    root = tmp_path / "mice"
    root.mkdir()
    deep = (draw(1)[..., ::-1].astype(np.uint16) << 4) + 15
    for number in range(4):
        cv2.imwrite(str(root / f"{number}.png"), deep)
    project, index, _ = open_folder(root)
    assert project.facts["white"] == 4095, "twelve bits"
    labels = [(image, image, "labelled", NOSE, None) for image in index.ids]
    data = load(root, save_snapshot(tmp_path / "labels.parquet", labels))
    assert np.abs(data.load(0).astype(int) - draw(1)).max() <= 1
    assert data.decided == {"white": 4095, "background": [0, 0, 0]}
    assert index.thumbnail.mean() > 60, "thumbnails are not black either"


def test_a_snapshot_of_other_joints_or_none_is_refused(tmp_path):
    root, train, _ = make_project(tmp_path)
    with pytest.raises(StateError, match=r"labels\.parquet"):
        load(root, tmp_path / "labels.parquet")
    persons = [(train[0], train[0], "labelled", {"paw": (1, 2, 2)}, None)]
    with pytest.raises(StateError, match="paw"):
        load(root, save_snapshot(tmp_path / "labels.parquet", persons, joints=["paw"]))
    labelling_folder(root).index.write_bytes(b"")
    with pytest.raises(StateError, match="llpp label"):
        load(root, save_snapshot(tmp_path / "other.parquet", []))


def write_journal(root, answers):
    """Append answers (image, kind, joints) of one annotator to the project's journal."""
    listed = []
    for number, (image, kind, joints) in enumerate(answers):
        persons = [PersonLabel(image, joints)] if kind == "labelled" else []
        origin = "drawn" if kind == "labelled" else ""
        day = f"2026-11-{number % 28 + 1:02d}T08:30:00Z"
        listed.append(
            Answer(image, kind, persons, origin, "me", "coco", day, None, "0" * 64, "a.json", "", str(number))
        )
    append_answers(labelling_folder(root).journal, listed)


def test_without_a_snapshot_the_records_are_what_is_labelled_by_now(tmp_path):
    root, train, test = make_project(tmp_path)
    write_journal(
        root,
        [
            (train[0], "labelled", NOSE), (train[1], "skipped", {}), (train[2], "labelled", NOSE),
            (train[2], "retracted", {}), (test[0], "labelled", NOSE),
        ],
    )  # fmt: skip
    data = load(root, joints=JOINTS)
    assert sorted(data.records.ids) == sorted([train[0], test[0]]) and not data.is_live and data.budget is None
    data = load(root, joints=JOINTS, unlabelled=True)
    assert sorted(data.records.ids) == sorted([*train, test[0]])
    assert data.records.labels.is_labelled.sum() == 2


def test_where_two_annotators_disagree_the_newest_answer_counts_or_the_mean(tmp_path):
    root, train, _ = make_project(tmp_path)
    listed = []
    for annotator, day, x in (("anna", 2, 10.0), ("ben", 1, 20.0)):
        persons = (PersonLabel(train[0], {"nose": (x, 8.0, 2)}),)
        date = f"2026-11-0{day}T08:30:00Z"
        key = annotator
        answer = Answer(train[0], "labelled", persons, "drawn", annotator, "coco", date, None, "0" * 64, "a", "", key)
        listed.append(answer)
    append_answers(labelling_folder(root).journal, listed)
    for options, x in (({}, 10.0), ({"conflict": "mean"}, 15.0)):
        data = load(root, joints=JOINTS, **options)
        assert data.records.labels.joints[0, 0].tolist() == [x, 8.0]
    with pytest.raises(ConfigError, match=r"dataset\.conflict"):
        load(root, joints=JOINTS, conflict="error")


def test_a_project_without_labels_says_what_to_do(tmp_path):
    root, *_ = make_project(tmp_path)
    with pytest.raises(DataError, match=r"llpp label.*dataset\.unlabelled=true"):
        load(root)
    assert len(load(root, unlabelled=True).records.ids) == 16


def test_a_mistyped_file_of_boxes_is_no_decision_of_the_project(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 3)
    with pytest.raises(DataError, match=r"gone\.json"):
        open_folder(root, boxes="gone.json")
    assert not labelling_folder(root).project_file.exists()
    project, _, _ = open_folder(root)
    assert project.boxes == "image"


def test_boxes_of_a_file_make_a_record_each(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 10)
    images = []
    annotations = []
    for number in range(9):
        images.append({"id": number, "file_name": f"im{number:04d}.png", "width": 48, "height": 32})
        for place in range(1 + number % 2):
            box = [1 + place, 2, 20, 10 + number]
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 1, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "mouse"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    boxes = str(tmp_path / "boxes.json")
    _, index, _ = open_folder(root, boxes=boxes)
    splits = split_of(index)
    train = [f"im{number:04d}.png" for number in range(10) if not splits[f"im{number:04d}.png"]]
    image = next(image for image in train if int(image[2:6]) % 2)
    persons = [
        (f"{image}#2", image, "labelled", NOSE, None),
        (f"{image}#h1", image, "labelled", NOSE, (3, 3, 9, 9)),
    ]
    data = load(root, save_snapshot(tmp_path / "labels.parquet", persons), boxes=boxes)
    expected = [f"{image}#h1"]
    for name in train:
        number = int(name[2:6])
        expected += [f"{name}#{place + 1}" for place in range(1 + number % 2) if number < 9]
    assert sorted(data.records.ids) == sorted(expected)
    rows = rows_by_id(data)
    assert data.records.boxes[rows[f"{image}#h1"]].tolist() == [3, 3, 9, 9]
    assert {tuple(data.records.boxes[rows[f"{image}#{n}"]].tolist()[:3]) for n in (1, 2)} == {(1, 2, 20), (2, 2, 20)}
    labels = data.records.labels.is_labelled
    assert labels[rows[f"{image}#2"]] and labels[rows[f"{image}#h1"]] and not labels[rows[f"{image}#1"]]
    assert {int(data.states[rows[f"{image}#{n}"]]) for n in ("1", "2", "h1")} == {STATES.index("labelled")}
    assert data.records.box_source == "annotation"
