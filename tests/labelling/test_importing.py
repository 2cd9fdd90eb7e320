"""Files of a labelling tool → the journal: what counts, what is known, and what is refused with which sentence."""

import csv
import json
import os
import random
import zipfile
from datetime import UTC, datetime

import pytest
from helpers.plain_labels import PlainLabels, PlainProject, labelled, make_project
from hypothesis import given, settings
from hypothesis import strategies as st

from llpp.errors import ConfigError, StateError
from llpp.journal.answers import PersonLabel
from llpp.journal.journal import read_journal
from llpp.labelling.unpacking import list_label_files
from llpp.oracles.coco import CocoTool
from llpp.oracles.cvat import CvatTool
from llpp.oracles.label_studio import LabelStudioTool
from llpp.oracles.tool import FileContent


@pytest.fixture
def mice(tmp_path):
    return PlainProject(tmp_path)


def read_rejected(project):
    with project.folder.rejected.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def reasons(result):
    return [row.reason for row in result.rejected]


def set_time(path, minute):
    """Let a file be changed last at 08:`minute` of a day in 2026."""
    time = datetime(2026, 11, 27, 8, minute, tzinfo=UTC).timestamp()
    os.utime(path, (time, time))


def test_labelled_empty_and_skipped_images_are_three_answers(mice):
    nobody = {"names": ["b.jpg"], "status": "empty", "annotator": "7"}
    skipped = {"names": ["day1/d.jpg"], "status": "skipped"}
    waiting = {"names": ["c.jpg"], "status": "open"}
    path = mice.put(labelled("a.jpg", entry="31"), nobody, skipped, waiting)
    set_time(path, 5)
    result = mice.read()
    assert dict(result.counts) == {"labelled": 1, "empty": 1, "skipped": 1}
    assert result.entries == 3 and not result.rejected and result.describe_rejections() == ""
    first, second, _ = read_journal(mice.folder.journal)
    assert first.persons == (PersonLabel("a.jpg", {"nose": (10.0, 20.0, 2)}),)
    assert (first.origin, first.tool, first.file, first.entry) == ("drawn", "plain", "export.json", "31")
    assert first.answered_at == "2026-11-27T08:05:00Z" and first.seconds is None
    assert (second.annotator, second.persons, second.origin) == ("7", (), "")
    assert mice.list_kinds() == {"a.jpg": "labelled", "b.jpg": "empty", "day1/d.jpg": "skipped"}


def test_reading_the_same_files_again_changes_no_byte(mice):
    mice.put(labelled("a.jpg"), labelled("b.jpg", seconds=3.0, answered_at="2026-11-27T08:30:00Z"))
    mice.read()
    before = mice.folder.journal.read_bytes()
    again = mice.read()
    assert again.news == () and again.known == 2
    assert mice.folder.journal.read_bytes() == before


def test_a_copy_with_another_name_and_date_and_an_entry_twice_are_no_news(mice):
    path = mice.put(labelled("a.jpg"), labelled("a.jpg"))
    copy = mice.put(labelled("a.jpg"), name="export (1).json")
    set_time(path, 5)
    set_time(copy, 9)
    result = mice.read()
    assert len(result.news) == 1 and result.known == 2


def test_a_growing_export_adds_only_what_is_new(mice):
    mice.put(labelled("a.jpg"))
    mice.read()
    mice.put(labelled("a.jpg"), labelled("b.jpg"))
    assert [answer.image for answer in mice.read().news] == ["b.jpg"]


def test_an_edit_after_the_import_is_a_new_line_and_counts(mice):
    set_time(mice.put(labelled("a.jpg")), 5)
    mice.read()
    set_time(mice.put(labelled("a.jpg", joints={"nose": (11, 20, 2)})), 6)
    mice.read()
    assert len(read_journal(mice.folder.journal)) == 2
    assert mice.fold()["a.jpg"].persons[0].joints["nose"] == (11.0, 20.0, 2)


@pytest.mark.parametrize("has_times", [True, False])
def test_an_edit_that_is_taken_back_counts_where_the_tool_states_times(has_times, mice):
    for minute, x in ((5, 10), (6, 11), (7, 10)):
        stated = {"answered_at": f"2026-11-27T08:{minute:02d}:00Z"} if has_times else {}
        set_time(mice.put(labelled("a.jpg", joints={"nose": (x, 20, 2)}, **stated)), minute)
        mice.read()
    assert mice.fold()["a.jpg"].persons[0].joints["nose"][0] == (10.0 if has_times else 11.0)


class DatedFiles(PlainLabels):
    name = "dated"
    dates_files = True


def test_the_date_of_an_export_orders_its_answers_and_makes_none_of_them_news(mice):
    mice.tools = (DatedFiles(),)
    for minute, images in ((5, "a"), (6, "ab")):
        time = f"2026-11-27T08:{minute:02d}:00Z"
        mice.put(*(labelled(f"{image}.jpg", answered_at=time) for image in images))
        news = mice.read().news
    assert [(answer.image, answer.answered_at) for answer in news] == [("b.jpg", "2026-11-27T08:06:00Z")]


def test_an_older_export_that_is_read_later_does_not_win(mice):
    new = mice.put(labelled("a.jpg", answered_at="2026-11-27T10:00:00+01:00"), name="new.json")
    old = mice.put(labelled("a.jpg", joints={"nose": (1, 1, 2)}, answered_at="2026-11-27T08:59:00Z"), name="old.json")
    mice.read(new)
    mice.read(old)
    assert mice.fold()["a.jpg"].persons[0].joints["nose"] == (10.0, 20.0, 2)
    assert [answer.answered_at for answer in mice.fold()["a.jpg"].answers] == ["2026-11-27T09:00:00Z"]


def test_two_annotators_of_one_image_both_stay(mice):
    mice.put(labelled("a.jpg", annotator="ann"), labelled("a.jpg", annotator="ben", joints={"nose": (12, 20, 2)}))
    mice.read()
    assert len(mice.fold()["a.jpg"].answers) == 2 and mice.fold()["a.jpg"].disagrees
    with pytest.raises(ConfigError, match=r"ann and ben .* a\.jpg"):
        mice.fold("error")


def test_an_image_that_was_never_asked_for_is_welcome(mice):
    mice.ask(0, ["a.jpg"])
    mice.put(labelled("b.jpg"))
    assert dict(mice.read().counts) == {"labelled": 1}


def test_an_unknown_name_is_rejected_with_the_nearest_one_and_the_others_are_read(mice):
    mice.put(labelled("day1/dd.jpg"), labelled("a.jpg"))
    result = mice.read()
    assert dict(result.counts) == {"labelled": 1}
    assert result.describe_rejections() == f"1 of 2 entries not used, see {mice.folder.rejected}"
    (row,) = read_rejected(mice)
    assert (row["file"], row["entry"], row["nearest known name"]) == ("export.json", "day1/dd.jpg", "day1/d.jpg")
    assert row["reason"].startswith("the project has no image of this name")


def test_the_next_import_replaces_the_table_of_rejections(mice):
    mice.put(labelled("x.jpg"))
    mice.read()
    mice.put(labelled("a.jpg"))
    mice.read()
    assert read_rejected(mice) == []


def test_joints_go_by_name_and_unknown_ones_are_said_once_per_file(mice):
    joints = {"right_hand": (3, 4, 1), "left hand": (1, 1, 2), "nose": (5, 6, 2)}
    mice.put(labelled("a.jpg", joints=joints), labelled("b.jpg", joints=joints))
    mice.put(labelled("c.jpg", joints={"nose": (1, 2, 2), "tail": (0, 0, 2)}), name="other.json")
    result = mice.read()
    assert mice.fold()["a.jpg"].persons[0].joints == {"right_hand": (3.0, 4.0, 1), "nose": (5.0, 6.0, 2)}
    rows = [(row["file"], row["entry"], row["nearest known name"]) for row in read_rejected(mice)]
    assert rows == [("export.json", "joint left hand", "left_hand"), ("other.json", "joint tail", "")]
    assert "it has nose, left_hand, right_hand" in result.rejected[0].reason
    assert result.unused == 0 and result.describe_rejections().startswith("joints that the project does not have")


@pytest.mark.parametrize("joints", [{"tail": (1, 2, 2)}, {"nose": (1, 2, 0)}])
def test_a_label_without_a_joint_of_the_project_is_no_label(joints, mice):
    mice.put(labelled("a.jpg", joints=joints))
    assert "it has no labelled joint of the project" in mice.read().rejected[0].reason
    assert mice.list_kinds() == {}


@pytest.mark.parametrize(
    ("entry_size", "relative", "half_pixel", "expected"),
    [
        ((200, 100), False, False, (10.0, 20.0)),
        ((100, 50), False, False, (20.0, 40.0)),
        ((100, 50), False, True, (20.5, 40.5)),  # (10 + 0.5) · 2 − 0.5
        ((101, 51), False, False, (10 * 200 / 101, 20 * 100 / 51)),
        (None, True, False, (2000.0, 2000.0)),
    ],
)
def test_coordinates_become_pixels_of_the_projects_image(entry_size, relative, half_pixel, expected, mice):
    fields = {"size": entry_size} if entry_size else {}
    mice.put(labelled("a.jpg", relative=relative, **fields))
    mice.read(half_pixel=half_pixel)
    assert mice.fold()["a.jpg"].persons[0].joints["nose"][:2] == pytest.approx(expected)


@pytest.mark.parametrize("size", [(100, 200), (100, 48), (0, 0)])
@pytest.mark.parametrize("relative", [False, True])
def test_an_image_of_another_shape_is_rejected_with_both_sizes(size, relative, mice):
    mice.put(labelled("a.jpg", size=size, relative=relative))
    (reason,) = reasons(mice.read())
    assert f"{size[0]} × {size[1]} pixels, the project as 200 × 100" in reason


def test_boxes_are_scaled_like_joints_and_impossible_ones_left_out(mice):
    persons = [{"joints": {"nose": (10, 20, 2)}, "box": (5, 10, 20, 30)}]
    mice.put({"names": ["a.jpg"], "status": "labelled", "size": (100, 50), "persons": persons})
    persons = [{"joints": {"nose": (10, 20, 2)}, "box": (5, 10, -1, float("inf"))}]
    mice.put({"names": ["b.jpg"], "status": "labelled", "persons": persons}, name="other.json")
    mice.read()
    assert mice.fold()["a.jpg"].persons[0].box == (10.0, 20.0, 40.0, 60.0)
    assert mice.fold()["b.jpg"].persons[0].box is None


@pytest.mark.parametrize("x", [float("nan"), float("inf"), -2500, 1e9])
def test_impossible_coordinates_reject_the_entry(x, mice):
    mice.put(labelled("a.jpg", joints={"nose": (x, 20, 2)}), labelled("b.jpg"))
    result = mice.read()
    assert result.rejected[0].entry == "a.jpg" and "joint nose is at (" in result.rejected[0].reason
    assert mice.list_kinds() == {"b.jpg": "labelled"}


def test_a_visibility_that_no_tool_has_rejects_the_entry(mice):
    mice.put(labelled("a.jpg", joints={"nose": (1, 2, 3)}))
    assert reasons(mice.read()) == ["joint nose has visibility 3; expected 0, 1 or 2"]


def test_joints_outside_of_their_image_are_kept_and_counted(mice):
    mice.put(labelled("a.jpg", joints={"nose": (-30, 20, 2), "left_hand": (200, 100, 2), "right_hand": (5, 130, 1)}))
    result = mice.read()
    assert mice.fold()["a.jpg"].persons[0].joints["nose"] == (-30.0, 20.0, 2)
    (remark,) = result.remarks
    assert remark.startswith("2 of 3 new joints are outside of their image, and are used as well")
    assert mice.read().remarks == (), "it was said"


def test_joints_of_suggestions_that_count_for_nothing_are_not_counted_as_outside(mice):
    outside = {"nose": (-30.0, 20.0, 2)}
    mice.ask(0, ["a.jpg"], {"a.jpg": [PersonLabel("a.jpg", outside)]})
    mice.put(labelled("a.jpg", joints=outside))
    (remark,) = mice.read().remarks
    assert remark.startswith("suggestions that nobody has changed")


SUGGESTION = {"a.jpg": [PersonLabel("a.jpg", {"nose": (10.0, 20.0, 2), "left_hand": (50.0, 60.0, 2)})]}
AS_SUGGESTED = {"nose": (10.0, 20.0, 2), "left_hand": (50.0, 60.0, 2)}


def test_a_suggestion_that_nobody_has_changed_is_no_label(mice):
    mice.ask(0, ["a.jpg"], SUGGESTION)
    mice.put(labelled("a.jpg", joints=AS_SUGGESTED))
    result = mice.read()
    assert result.news == () and result.untouched == 1
    assert result.remarks == (
        "suggestions that nobody has changed do not count as labels (images: 1); if all of them were looked at, "
        "label.accept=unchanged counts them",
    )


def test_it_is_a_label_if_the_user_says_so_or_the_tool(mice):
    mice.ask(0, ["a.jpg", "b.jpg"], SUGGESTION | {"b.jpg": [PersonLabel("b.jpg", AS_SUGGESTED)]})
    mice.put(labelled("a.jpg", joints=AS_SUGGESTED, confirmed=True), labelled("b.jpg", joints=AS_SUGGESTED))
    mice.read()
    assert mice.list_kinds() == {"a.jpg": "labelled"}
    result = mice.read(accept="unchanged")
    assert [(answer.image, answer.origin) for answer in result.news] == [("b.jpg", "accepted")]
    assert mice.fold()["a.jpg"].answers[0].origin == "accepted"


def test_what_the_tool_calls_untouched_is_no_label_even_if_llpp_suggested_nothing(mice):
    mice.put(labelled("a.jpg", untouched=True))
    assert mice.read().untouched == 1 and mice.list_kinds() == {}


@pytest.mark.parametrize(
    ("joints", "origin"),
    [
        ({"nose": (10.019, 20.0, 2), "left_hand": (50.0, 59.981, 2)}, None),  # within 0.02 pixels
        ({"nose": (10.03, 20.0, 2), "left_hand": (50.0, 60.0, 2)}, "edited"),
        ({"nose": (10.0, 20.0, 2)}, "edited"),
        ({**AS_SUGGESTED, "right_hand": (1.0, 1.0, 2)}, "edited"),
        ({"nose": (10.0, 20.0, 1), "left_hand": (50.0, 60.0, 2)}, "edited"),  # found to be occluded
        ({"nose": (50.0, 60.0, 2), "left_hand": (10.0, 20.0, 2)}, "edited"),  # the same places, exchanged
    ],
)
def test_what_was_changed_is_edited(joints, origin, mice):
    mice.ask(0, ["a.jpg"], SUGGESTION)
    mice.put(labelled("a.jpg", joints=joints))
    assert [answer.origin for answer in mice.read().news] == ([origin] if origin else [])


def test_of_a_large_image_a_hundredth_of_a_percent_is_no_change(mice):
    """Tools that save percent with two digits lose half a pixel of 10,000."""
    mice.sizes = {"a.jpg": (10_000, 8000)}
    mice.ask(0, ["a.jpg"], SUGGESTION)
    mice.put(labelled("a.jpg", joints={"nose": (10.9, 20.0, 2), "left_hand": (50.0, 60.0, 2)}))
    assert mice.read().untouched == 1


def test_the_suggestion_of_an_earlier_batch_is_one_still(mice):
    mice.ask(0, ["a.jpg"], SUGGESTION)
    mice.ask(1, ["a.jpg"], {"a.jpg": [PersonLabel("a.jpg", {"nose": (90.0, 90.0, 2)})]})
    mice.put(labelled("a.jpg", joints=AS_SUGGESTED))
    assert mice.read().untouched == 1


def test_what_was_asked_for_without_a_suggestion_is_drawn(mice):
    mice.ask(0, ["a.jpg", "b.jpg"], SUGGESTION)
    mice.put(labelled("b.jpg", joints=AS_SUGGESTED))
    assert [answer.origin for answer in mice.read().news] == ["drawn"]


def two_persons(name, first=(10, 10), second=(150, 60), **fields):
    persons = []
    for x, y in (first, second):
        persons.append({"joints": {"nose": (x, y, 2)}, "box": (x - 5, y - 5, 20, 20)})
    return {"names": [name], "status": "labelled", "persons": persons, **fields}


def test_two_persons_where_each_image_has_one_are_rejected_with_the_remedy(mice):
    mice.put(two_persons("a.jpg"))
    assert reasons(mice.read()) == [
        "it has 2 persons, but with dataset.boxes=image each image has one; label one of them, or start a new "
        "project with dataset.boxes=FILE"
    ]


def test_persons_get_the_ids_of_the_boxes_that_they_overlap_and_the_others_new_ones(tmp_path):
    boxes = {"a.jpg": [("a.jpg#1", (148.0, 58.0, 20.0, 20.0)), ("a.jpg#2", (60.0, 60.0, 10.0, 10.0))]}
    mice = PlainProject(tmp_path, project=make_project(boxes="boxes.json"), boxes=boxes)
    mice.put(two_persons("a.jpg"), two_persons("b.jpg"))
    mice.read()
    # The second person's box is (145, 55, 20, 20): 17 · 17 pixels in common of 511.
    persons = {person.id: person.joints["nose"][0] for person in mice.fold()["a.jpg"].persons}
    assert persons == {"a.jpg#1": 150.0, "a.jpg#h1": 10.0}
    assert [person.id for person in mice.fold()["b.jpg"].persons] == ["b.jpg#h1", "b.jpg#h2"]


def test_an_id_that_the_file_carries_wins_over_the_place(tmp_path):
    boxes = {"a.jpg": [("a.jpg#1", (5.0, 5.0, 20.0, 20.0)), ("a.jpg#2", (145.0, 55.0, 20.0, 20.0))]}
    mice = PlainProject(tmp_path, project=make_project(boxes="boxes.json"), boxes=boxes)
    entry = two_persons("a.jpg")
    entry["persons"][0]["id"] = "a.jpg#2"
    entry["persons"][1]["id"] = "b.jpg#1"  # another image's
    mice.put(entry)
    mice.read()
    # What is left is box 1, far from the second person.
    persons = {person.id: person.joints["nose"][0] for person in mice.fold()["a.jpg"].persons}
    assert persons == {"a.jpg#2": 10.0, "a.jpg#h1": 150.0}


def test_persons_in_another_order_are_no_news(tmp_path):
    boxes = {"a.jpg": [("a.jpg#1", (5.0, 5.0, 20.0, 20.0))]}
    mice = PlainProject(tmp_path, project=make_project(boxes="boxes.json"), boxes=boxes)
    entry = two_persons("a.jpg", first=(150, 60), second=(100, 20))
    mice.put(entry)
    mice.read()
    mice.put({**entry, "persons": entry["persons"][::-1]})
    assert mice.read().news == ()


def test_labels_of_a_changed_image_are_refused_until_the_user_accepts_it(mice):
    mice.conditions["a.jpg"] = "changed"
    mice.put(labelled("a.jpg"), labelled("b.jpg"))
    (reason,) = reasons(mice.read())
    assert reason.startswith("the file of a.jpg has changed") and reason.endswith("label.changed=accept")
    assert mice.list_kinds() == {"b.jpg": "labelled"}
    assert not mice.read(changed="accept").rejected
    assert mice.list_kinds() == {"a.jpg": "labelled", "b.jpg": "labelled"}


@pytest.mark.parametrize("condition", ["missing", "unreadable", "apart"])
def test_labels_of_an_image_that_cannot_be_used_now_are_kept(condition, mice):
    mice.conditions["a.jpg"] = condition
    mice.put(labelled("a.jpg"))
    assert not mice.read().rejected and mice.list_kinds() == {"a.jpg": "labelled"}


def test_an_image_of_unknown_size_takes_pixels_but_no_shares(mice):
    mice.sizes = {"a.jpg": (0, 0)}
    mice.conditions["a.jpg"] = "unreadable"
    mice.put(labelled("a.jpg", size=(640, 480)), labelled("a.jpg", relative=True, annotator="ann"))
    assert "which is not known" in reasons(mice.read())[0]
    assert mice.fold()["a.jpg"].persons[0].joints["nose"] == (10.0, 20.0, 2)


def test_a_tab_that_was_left_open_counts_ten_medians(mice):
    seconds = (7.5, 8096.0, 5.0, None, -1.0, float("inf"))
    entries = [labelled("a.jpg", annotator=str(number), seconds=value) for number, value in enumerate(seconds)]
    mice.put(*entries)
    # Of 5, 7.5 and 8096, the median is 7.5.
    assert [answer.seconds for answer in mice.read().news] == [7.5, 75.0, 5.0, None, None, None]


def test_an_answer_that_is_gone_from_its_file_stays_unless_the_user_believes_it(mice):
    set_time(mice.put(labelled("a.jpg"), labelled("b.jpg")), 5)
    mice.read()
    set_time(mice.put(labelled("b.jpg")), 6)
    assert mice.read().news == ()
    assert mice.list_kinds() == {"a.jpg": "labelled", "b.jpg": "labelled"}
    (retracted,) = mice.read(retract=True).news
    assert (retracted.image, retracted.kind, retracted.answered_at) == ("a.jpg", "retracted", "2026-11-27T08:06:00Z")
    assert mice.list_kinds() == {"a.jpg": None, "b.jpg": "labelled"}
    assert mice.read(retract=True).news == ()
    # The annotation is back, exactly as it was.
    mice.put(labelled("a.jpg"), labelled("b.jpg"))
    mice.read(retract=True)
    assert mice.list_kinds() == {"a.jpg": "labelled", "b.jpg": "labelled"}
    mice.put(labelled("b.jpg"))
    mice.read(retract=True)
    assert mice.list_kinds() == {"a.jpg": None, "b.jpg": "labelled"}


def test_nothing_is_withdrawn_by_a_file_of_another_name_or_while_another_has_it(mice):
    first = mice.put(labelled("a.jpg"), name="first.json")
    mice.read()
    second = mice.put(labelled("b.jpg"), name="second.json")
    assert [answer.kind for answer in mice.read(second, retract=True).news] == ["labelled"]
    mice.put(labelled("a.jpg"), labelled("b.jpg"), name="second.json")
    mice.put(labelled("c.jpg"), name="first.json")
    assert [answer.image for answer in mice.read(first, second, retract=True).news] == ["c.jpg"]


def test_nothing_is_withdrawn_by_a_file_that_cannot_be_used_as_a_whole(mice):
    path = mice.put(labelled("a.jpg"), labelled("b.jpg"))
    mice.read()
    mice.put(labelled("b.jpg"), 7)
    result = mice.read(retract=True)
    assert result.news == ()
    assert result.remarks == ("export.json: no answer is withdrawn, because not all of its entries can be used",)
    path.write_text(path.read_text()[:-20])
    assert mice.read(retract=True).news == ()
    path.unlink()
    assert mice.read(retract=True).news == ()


def test_an_answer_that_is_listed_as_open_again_is_withdrawn_and_one_left_untouched_is_not(mice):
    mice.ask(0, ["a.jpg"], SUGGESTION)
    mice.put(labelled("a.jpg", joints=AS_SUGGESTED), labelled("b.jpg"))
    mice.read(accept="unchanged")
    mice.put(labelled("a.jpg", joints=AS_SUGGESTED), {"names": ["b.jpg"], "status": "open"})
    mice.read(retract=True)
    assert mice.list_kinds() == {"a.jpg": "labelled", "b.jpg": None}


def test_one_bad_entry_and_one_bad_file_stop_nothing(mice):
    mice.put("no object", labelled("a.jpg"))
    (mice.folder.inbox / "cut.json").write_text('{"plain": [{"na')
    (mice.folder.inbox / "notes.txt").write_text("call Ann")
    (mice.folder.inbox / "folder.json").mkdir()
    (mice.folder.inbox / "gone.json").symlink_to(mice.path / "nowhere")
    os.mkfifo(mice.folder.inbox / "pipe.json")
    mice.put(labelled("b.jpg"), name="zz.json")
    result = mice.read()
    assert mice.list_kinds() == {"a.jpg": "labelled", "b.jpg": "labelled"}
    found = {row.file: row.reason for row in result.rejected}
    assert found["export.json"] == "it is no object; export the file again"
    assert found["cut.json"] == "cut.json is cut off; export it again"
    assert found["notes.txt"] == "no labelling tool that llpp reads saves such a file; it reads those of Plain Labels"
    assert {"folder.json", "gone.json", "pipe.json"} < set(found)
    assert result.describe_rejections() == f"6 of 8 entries not used, see {mice.folder.rejected}"


def test_hidden_and_half_copied_files_are_passed_over(mice):
    for name in (".hidden.json", "export.json.part", "~lock.json", "export.json.crdownload"):
        mice.put(labelled("a.jpg"), name=name)
    result = mice.read()
    assert result.news == () and not result.rejected


class BrokenReader(PlainLabels):
    name = "broken"
    title = "Broken"

    def recognises(self, path, start):
        return start.startswith(b"broken")

    def read(self, path, options):
        return FileContent([{}["entries"]])


def test_a_readers_own_fault_rejects_the_file_only(mice):
    mice.tools = (BrokenReader(), PlainLabels())
    mice.put(labelled("a.jpg"))
    (mice.folder.inbox / "b.txt").write_text("broken")
    result = mice.read()
    assert reasons(result) == ["cannot be read as a file of Broken: KeyError: 'entries'"]
    assert mice.list_kinds() == {"a.jpg": "labelled"}


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "done"},
        {"joints": {"nose": ("left", 20, 2)}},
        {"joints": {"nose": (10**400, 20, 2)}},
        {"joints": {"nose": (10, 20)}},
        {"size": ("wide", "high")},
    ],
)
def test_values_that_no_reader_should_give_reject_the_entry_only(fields, mice):
    status = fields.get("status", "labelled")
    mice.put(labelled("a.jpg", **{**fields, "status": status}), labelled("b.jpg"))
    (row,) = mice.read().rejected
    assert row.entry == "a.jpg" and mice.list_kinds() == {"b.jpg": "labelled"}


def test_a_file_withdraws_only_answers_of_its_own_folder(mice):
    """DeepLabCut gives one name to the files of all films."""
    for film, image in (("film1", "a.jpg"), ("film2", "b.jpg")):
        mice.put(labelled(image), name=f"{film}/CollectedData.json")
    first, second = sorted(mice.folder.inbox.glob("*/*"))
    assert [answer.file for answer in mice.read(first, second).news] == [
        "film1/CollectedData.json",
        "film2/CollectedData.json",
    ]
    assert mice.read(second, retract=True).news == ()


class Impostor(PlainLabels):
    name = "impostor"
    title = "Impostor"


def test_a_file_that_two_tools_may_have_saved_is_the_projects_own_tools(mice):
    mice.tools = (Impostor(), PlainLabels())
    mice.put(labelled("a.jpg"))
    assert [answer.tool for answer in mice.read().news] == ["plain"]
    mice.project = make_project(tool="coco")
    assert reasons(mice.read()) == [
        "Impostor and Plain Labels may both have saved it, so it is not clear how to read it; export another format"
    ]


def test_a_zip_is_read_without_being_unpacked_by_the_user(mice):
    path = mice.put(labelled("a.jpg"))
    archive = mice.folder.inbox / "job 7.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(path, "annotations/default.json")
        file.writestr("images/a.jpg", b"pixels")
        file.writestr("README.txt", "exported by Ann")
        file.writestr("__MACOSX/annotations/._default.json", b"\x00")
    path.unlink()
    set_time(archive, 5)
    result = mice.read()
    assert not result.rejected
    (answer,) = result.news
    assert answer.file == "job 7.zip/annotations/default.json" and answer.answered_at == "2026-11-27T08:05:00Z"
    assert not mice.folder.unpacked.exists()


CVAT_XML = """<annotations><meta><dumped>2026-11-27 09:10:11.5+00:00</dumped></meta>
<image id="0" name="a.jpg" width="200" height="100">
<skeleton label="person" source="manual"><points label="nose" source="manual" points="10.5,20"/></skeleton>
</image></annotations>"""


def test_what_cvat_packs_is_recognised_by_its_content(tmp_path):
    mice = PlainProject(tmp_path, tools=(CvatTool(), CocoTool(), LabelStudioTool()))
    mice.folder.inbox.mkdir(parents=True)
    category = {"id": 2, "name": "mouse", "keypoints": ["nose"]}
    with zipfile.ZipFile(mice.folder.inbox / "images.zip", "w") as archive:
        archive.writestr("images/a.jpg", b"not read")
        archive.writestr("annotations.xml", CVAT_XML)
    with zipfile.ZipFile(mice.folder.inbox / "keypoints.zip", "w") as archive:
        for part, image in (("train", "b.jpg"), ("val", "c.jpg")):
            images = [{"id": 1, "file_name": image, "width": 200, "height": 100}]
            annotation = {"id": 1, "image_id": 1, "category_id": 2, "keypoints": [30, 40, 2]}
            content = {"images": images, "annotations": [annotation], "categories": [category]}
            archive.writestr(f"annotations/person_keypoints_{part}.json", json.dumps(content))
        archive.writestr("annotations/instances.json", json.dumps({"images": [], "annotations": [{}]}))
    result = mice.read()
    assert [(answer.image, answer.tool) for answer in result.news] == [
        ("a.jpg", "cvat"),
        ("b.jpg", "coco"),
        ("c.jpg", "coco"),
    ]
    assert result.news[0].answered_at == "2026-11-27T09:10:11.500000Z"
    assert [row.file for row in result.rejected] == ["keypoints.zip/annotations/instances.json"]


def test_a_file_of_an_archive_is_called_by_its_place_in_the_archive(tmp_path):
    mice = PlainProject(tmp_path, tools=(CvatTool(),))
    mice.folder.inbox.mkdir(parents=True)
    with zipfile.ZipFile(mice.folder.inbox / "job.zip", "w") as archive:
        archive.writestr("annotations.xml", '<annotations><track id="0" label="mouse"/></annotations>')
    assert reasons(mice.read()) == [
        "job.zip/annotations.xml holds tracks, which have joints at some frames only; export as 'CVAT for images 1.1'"
    ]


def test_a_zip_without_labels_is_rejected_with_the_tools_that_are_read(mice):
    mice.folder.inbox.mkdir()
    with zipfile.ZipFile(mice.folder.inbox / "images.zip", "w") as file:
        file.writestr("a.jpg", b"pixels")
        file.writestr("README.txt", "exported by Ann")
    assert reasons(mice.read()) == ["images.zip has no file that a labelling tool saves: Plain Labels"]


def test_a_damaged_journal_ends_the_import_before_anything_is_written(mice):
    mice.put(labelled("a.jpg"))
    mice.folder.journal.write_text("{}\n")
    with pytest.raises(StateError, match="line 1 of"):
        mice.read()
    assert mice.folder.journal.read_text() == "{}\n" and not mice.folder.rejected.exists()


@pytest.mark.slow
def test_after_a_kill_at_any_byte_of_the_append_the_same_command_completes_it(mice):
    mice.put(labelled("a.jpg"), labelled("b.jpg"), {"names": ["c.jpg"], "status": "skipped"})
    mice.read()
    whole = mice.folder.journal.read_bytes()
    for length in range(0, len(whole), 7):
        mice.folder.journal.write_bytes(whole[:length])
        mice.read()
        assert mice.folder.journal.read_bytes() == whole, length


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["a.jpg", "b.jpg"]),
        st.sampled_from(["ann", "ben", ""]),
        st.sampled_from(["labelled", "empty", "skipped", "open"]),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(entries=ENTRIES, has_times=st.booleans(), seed=st.integers(0, 2**16))
def test_imports_in_any_order_and_any_number_give_the_same_labels(tmp_path_factory, entries, has_times, seed):
    """Where no two answers of one annotator about one image have the same time."""
    rng = random.Random(seed)
    folds = []
    for repeated in (False, True):
        mice = PlainProject(tmp_path_factory.mktemp("mice"))
        paths = []
        for number, (image, annotator, status) in enumerate(entries):
            entry = {"names": [image], "status": status, "annotator": annotator}
            if status == "labelled":
                entry = labelled(image, joints={"nose": (number, 1, 2)}, annotator=annotator)
            entry["entry"] = str(number)
            if has_times:
                entry["answered_at"] = f"2026-11-27T08:{number:02d}:00Z"
            paths.append(mice.put(entry, name=f"{number}.json"))
            set_time(paths[-1], 59 - number if has_times else number)
        if repeated:
            for _ in range(3):
                mice.read(*rng.sample(paths, rng.randint(1, len(paths))))
            rng.shuffle(paths)
        mice.read(*paths)
        assert len(read_journal(mice.folder.journal)) == sum(status != "open" for *_, status in entries)
        folds.append({image: (folded.kind, folded.persons) for image, folded in mice.fold().items()})
    assert folds[0] == folds[1]


def test_the_journal_is_plain_json_that_other_programs_read(mice):
    mice.put(labelled("a.jpg", joints={"nose": (1.5, 2, 1)}))
    mice.read()
    (line,) = mice.folder.journal.read_text().splitlines()
    content = json.loads(line)
    assert content["image"] == "a.jpg" and content["kind"] == "labelled"
    assert content["persons"] == [{"id": "a.jpg", "joints": {"nose": [1.5, 2, 1]}, "box": None}]


def test_annotators_whose_tool_does_not_name_them_are_known_by_folders_of_the_inbox(mice):
    mice.put(labelled("a.jpg"), labelled("b.jpg", annotator="carl"), name="anna/day1/export.json")
    mice.put(labelled("a.jpg", joints={"nose": (14, 20, 2)}), name="ben/export.json")
    mice.put(labelled("c.jpg"))
    files = list_label_files(mice.folder.inbox)
    mice.read(*files, annotators=2)
    answers = read_journal(mice.folder.journal)
    expected = {("a.jpg", "anna"), ("a.jpg", "ben"), ("b.jpg", "carl"), ("c.jpg", "")}
    assert {(answer.image, answer.annotator) for answer in answers} == expected
    assert mice.read(*files, annotators=2).news == ()


def test_one_annotator_may_keep_files_in_folders(mice):
    mice.put(labelled("a.jpg"), name="monday/export.json")
    mice.put(labelled("a.jpg"), name="tuesday/export.json")
    result = mice.read(*list_label_files(mice.folder.inbox))
    assert [answer.annotator for answer in result.news] == [""] and result.known == 1
