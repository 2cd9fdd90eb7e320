"""Where each image stands, what a project waits for, and what a round trains on."""

import random

import numpy as np
import pytest
from helpers.plain_labels import PlainProject, labelled, make_index, make_project

from llpp.errors import StateError
from llpp.journal.answers import Answer, PersonLabel
from llpp.journal.fold import fold_answers
from llpp.journal.journal import append_answers, read_journal
from llpp.journal.snapshot import STATES, read_snapshot, write_snapshot
from llpp.labelling.asked import AskedRow
from llpp.labelling.released import read_released
from llpp.labelling.states import (
    BatchCounts,
    build_snapshot,
    describe_time,
    find_states,
    read_batches,
    release_open,
)

IMAGES = [f"{letter}.jpg" for letter in "abcdefgh"]


@pytest.fixture
def mice(tmp_path):
    return PlainProject(tmp_path, conditions=dict.fromkeys(IMAGES, "ok"))


def find(project, **settings):
    folder = project.folder
    batches = read_batches(folder)
    return find_states(project.fold(), batches, project.index, read_released(folder.released), **settings)


def skipped(image):
    return {"names": [image], "status": "skipped"}


def test_each_image_has_one_state_and_those_of_the_pool_have_none(mice):
    mice.ask(0, IMAGES[:5])
    mice.put(labelled("a.jpg"), skipped("b.jpg"), {"names": ["c.jpg"], "status": "empty"}, labelled("h.jpg"))
    mice.read()
    mice.conditions |= {"e.jpg": "missing"}
    states = find(mice)
    assert states.state == {
        "a.jpg": "labelled",
        "b.jpg": "skipped",
        "c.jpg": "empty",
        "d.jpg": "open",
        "e.jpg": "missing",
        "h.jpg": "labelled",
    }
    assert states.batches[0] == BatchCounts(0, labelled=1, empty=1, skipped=1, open=1, missing=1, released=0)
    assert states.list_images("labelled") == ["a.jpg", "h.jpg"] and states.counts["open"] == 1


def test_a_label_comes_back_with_its_file(mice):
    mice.put(labelled("a.jpg"))
    mice.read()
    states = []
    for condition in ("ok", "missing", "changed", "unreadable", "apart", "ok"):
        mice.conditions["a.jpg"] = condition
        states.append(find(mice).state["a.jpg"])
    assert states == ["labelled", "missing", "missing", "missing", "labelled", "labelled"]
    mice.conditions["a.jpg"] = "changed"
    assert find(mice, accept_changed=True).state["a.jpg"] == "labelled"


def test_an_image_that_the_index_does_not_have_is_missing(mice):
    mice.put(labelled("a.jpg"))
    mice.read()
    del mice.conditions["a.jpg"]
    assert find(mice).state == {"a.jpg": "missing"}


def test_a_retracted_image_is_open_if_it_was_asked_for_and_else_back_in_the_pool(mice):
    mice.ask(0, ["a.jpg"])
    mice.put(labelled("a.jpg"), labelled("b.jpg"))
    mice.read()
    mice.put()
    mice.read(retract=True)
    assert find(mice).state == {"a.jpg": "open"}


def test_a_batch_is_described_by_what_was_answered():
    counts = BatchCounts(1, labelled=31, empty=2, skipped=4, open=13, missing=0, released=0)
    assert counts.describe() == "round 1, 37 of 50 answered (31 labelled, 4 skipped, 2 empty), 13 open"


def test_missing_images_are_not_waited_for():
    counts = BatchCounts(0, labelled=1, empty=0, skipped=0, open=1, missing=3, released=5)
    assert "1 of 2 answered" in counts.describe() and "1 open, 3 missing" in counts.describe()
    assert counts.share == 0.5
    assert BatchCounts(0, 0, 0, 0, 0, missing=3, released=0).share == 1.0


@pytest.mark.parametrize(
    ("answered", "asked", "enough"), [(0, 50, 0.0), (4, 50, 0.0), (3, 10, 0.3), (7, 10, 0.7), (49, 50, 0.9)]
)
def test_the_share_that_is_named_is_reached(answered, asked, enough):
    counts = BatchCounts(0, answered, 0, 0, asked - answered, 0, 0)
    assert counts.reached == enough
    assert counts.share >= enough


def test_released_images_are_in_the_pool_until_they_are_asked_for_again(mice):
    mice.ask(0, IMAGES[:4])
    mice.put(labelled("a.jpg"))
    mice.read()
    assert release_open(mice.folder, find(mice), read_batches(mice.folder)) == 3
    states = find(mice)
    assert states.state == {"a.jpg": "labelled"}
    assert states.batches[0] == BatchCounts(0, labelled=1, empty=0, skipped=0, open=0, missing=0, released=3)
    assert release_open(mice.folder, states, read_batches(mice.folder)) == 0

    mice.ask(1, ["b.jpg", "e.jpg"])
    states = find(mice)
    assert states.state == {"a.jpg": "labelled", "b.jpg": "open", "e.jpg": "open"}
    assert states.batches[0] == BatchCounts(0, labelled=1, empty=0, skipped=0, open=0, missing=0, released=3)
    assert states.batches[1] == BatchCounts(1, labelled=0, empty=0, skipped=0, open=2, missing=0, released=0)

    # What people answered after the release counts all the same.
    mice.put(skipped("c.jpg"), name="late.json")
    mice.read()
    assert find(mice).state["c.jpg"] == "skipped"
    assert find(mice).batches[0].released == 2


def test_a_damaged_list_of_released_images_is_named(mice):
    mice.folder.released.parent.mkdir(exist_ok=True)
    for text in ("{", "[1]", '{"a": null}'):
        mice.folder.released.write_text(text)
        with pytest.raises(StateError, match=r"released\.json is damaged"):
            read_released(mice.folder.released)


def test_a_snapshot_has_a_row_per_person_and_one_per_image_without(tmp_path):
    boxes = {"a.jpg": [("a.jpg#1", (140.0, 50.0, 30.0, 30.0))], "b.jpg": [("b.jpg#1", (0.0, 0.0, 9.0, 9.0))]}
    mice = PlainProject(tmp_path, project=make_project(boxes="boxes.json"), boxes=boxes)
    mice.ask(3, ["b.jpg"])
    persons = [
        {"joints": {"nose": (10, 11, 2), "right_hand": (12, 13, 1)}, "box": (8, 9, 10, 10)},
        {"joints": {"nose": (150, 60, 2)}, "id": "a.jpg#1"},
    ]
    mice.put({"names": ["a.jpg"], "status": "labelled", "persons": persons})
    mice.read()
    snapshot = build_snapshot(4, 50, mice.project.joints, mice.fold(), find(mice), boxes)
    assert (snapshot.round, snapshot.budget, snapshot.joints) == (4, 50, ("nose", "left_hand", "right_hand"))
    assert snapshot.ids == ["a.jpg#1", "a.jpg#h1", "b.jpg"]
    assert snapshot.images == ["a.jpg", "a.jpg", "b.jpg"]
    assert [STATES[code] for code in snapshot.state] == ["labelled", "labelled", "open"]
    nan = float("nan")
    np.testing.assert_array_equal(snapshot.visible, [[2, 0, 0], [2, 0, 1], [0, 0, 0]])
    expected = [[[150, 60], [nan, nan], [nan, nan]], [[10, 11], [nan, nan], [12, 13]], [[nan, nan]] * 3]
    np.testing.assert_array_equal(snapshot.points, expected)
    # The first person's label has no box, so it is the project's.
    np.testing.assert_array_equal(snapshot.boxes, [[140, 50, 30, 30], [8, 9, 10, 10], [nan] * 4])

    write_snapshot(snapshot, tmp_path / "labels.parquet")
    again = read_snapshot(tmp_path / "labels.parquet")
    assert again.ids == snapshot.ids and again.points.tobytes() == snapshot.points.tobytes()
    assert again.seconds is None, "no tool has counted them"


def test_labels_of_a_missing_image_are_not_trained_on(mice):
    mice.put(labelled("a.jpg"))
    mice.read()
    mice.conditions["a.jpg"] = "missing"
    snapshot = build_snapshot(0, 10, mice.project.joints, mice.fold(), find(mice))
    assert snapshot.ids == ["a.jpg"] and STATES[snapshot.state[0]] == "missing"
    assert not snapshot.visible.any() and np.isnan(snapshot.points).all()


def test_a_snapshot_has_the_same_bytes_whatever_the_order_of_the_journal(tmp_path):
    answers = []
    for number in range(30):
        persons = tuple(PersonLabel(f"{number}.jpg#{n}", {"nose": (float(number), float(n), 2)}) for n in (1, 2, 10))
        time = f"2026-11-27T08:{number:02d}:00Z"
        answer = Answer(
            f"{number}.jpg", "labelled", persons, "drawn", "", "coco", time, None, "", "", "", str(number)
        )
        answers.append(answer)
    index = make_index(dict.fromkeys((f"{number}.jpg" for number in range(30)), "ok"))
    written = set()
    for seed in range(3):
        path = tmp_path / f"{seed}/labels.jsonl"
        append_answers(path, random.Random(seed).sample(answers, len(answers)))
        folded = fold_answers(read_journal(path))
        snapshot = build_snapshot(0, 0, ("nose",), folded, find_states(folded, {}, index, {}))
        write_snapshot(snapshot, tmp_path / f"{seed}.parquet")
        written.add((tmp_path / f"{seed}.parquet").read_bytes())
    assert len(written) == 1


def test_a_batch_of_an_image_that_was_answered_before_counts_as_answered(mice):
    mice.put(labelled("a.jpg"))
    mice.read()
    rows = [AskedRow("a.jpg", "1.jpg", "train", 1, False, None, "")]
    states = find_states(mice.fold(), {0: rows}, mice.index, {})
    assert states.batches[0].describe().startswith("round 0, 1 of 1 answered (1 labelled, ")


def test_the_time_that_labelling_took_is_said_as_far_as_it_is_known(mice, tmp_path):
    assert describe_time({}) == ""
    mice.put(skipped("d.jpg"), labelled("c.jpg"))
    mice.read()
    assert describe_time(mice.fold()) == ""

    mice.ask(
        0, ["b.jpg", "e.jpg"], {image: [PersonLabel(image, {"nose": (1.0, 1.0, 2)})] for image in ("b.jpg", "e.jpg")}
    )
    entries = [labelled(image, seconds=seconds) for image, seconds in (("a.jpg", 61), ("b.jpg", 40), ("e.jpg", 36))]
    mice.put(*entries, {**skipped("f.jpg"), "seconds": 15}, name="timed.json")
    mice.read()
    assert describe_time(mice.fold()) == "labelling took 3 min, 38 s an image; drawn 61 s, edited 38 s"
    write_snapshot(build_snapshot(1, 5, mice.project.joints, mice.fold(), find(mice)), tmp_path / "labels.parquet")
    assert read_snapshot(tmp_path / "labels.parquet").seconds == 61 + 40 + 36 + 15


def test_an_edit_replaces_the_time_that_the_tool_had_counted_so_far(mice):
    for minute, seconds in ((5, 20.0), (6, 29.0)):
        time = f"2026-11-27T08:{minute:02d}:00Z"
        mice.put(labelled("a.jpg", joints={"nose": (minute, 1, 2)}, seconds=seconds, answered_at=time))
        mice.read()
    assert describe_time(mice.fold()) == "labelling took 29 s, 29 s an image"
