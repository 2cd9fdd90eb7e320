"""labels.jsonl: what is written stays, whatever ends the process that writes it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llpp.errors import DataError, StateError
from llpp.journal.answers import Answer, PersonLabel
from llpp.journal.journal import append_answers, compute_key, find_known_keys, read_journal

PERSON = PersonLabel("day 1/mäuse#2.jpg", {"nose": (12.25, -3.0, 2), "tail": (0.1, 7.0, 1)}, (1.0, 2.0, 3.5, 4.0))
ANSWER = Answer(
    image="day 1/mäuse#2.jpg",
    kind="labelled",
    persons=(PERSON,),
    origin="edited",
    annotator="7",
    tool="cvat",
    answered_at="2026-11-27T08:30:00Z",
    seconds=12.5,
    source="0" * 64,
    file="export \U0001f400.xml",
    entry="12",
    key="1" * 64,
)
SKIPPED = Answer(
    "b.jpg", "skipped", (), "", "", "cvat", "2026-11-27T08:31:00Z", None, "0" * 64, "e.xml", "", "2" * 64
)


def test_what_is_appended_is_read_again_in_order(tmp_path):
    path = tmp_path / "labelling/mice/labels.jsonl"
    append_answers(path, [ANSWER])
    append_answers(path, [SKIPPED, ANSWER])
    assert read_journal(path) == [ANSWER, SKIPPED, ANSWER]


def test_names_that_are_no_text_are_kept(tmp_path):
    """Linux allows names that are not UTF-8, which Python holds as lone surrogates."""
    answer = replace(SKIPPED, file="caf\udce9.json")
    append_answers(tmp_path / "labels.jsonl", [answer])
    assert read_journal(tmp_path / "labels.jsonl") == [answer]


def test_no_file_is_no_answer_and_nothing_new_makes_no_file(tmp_path):
    path = tmp_path / "labels.jsonl"
    append_answers(path, [])
    assert read_journal(path) == [] and not path.exists()


def test_a_kill_at_any_byte_of_the_last_line_loses_at_most_this_line(tmp_path):
    path = tmp_path / "labels.jsonl"
    append_answers(path, [ANSWER])
    whole = path.read_bytes()
    append_answers(path, [SKIPPED])
    both = path.read_bytes()
    for length in range(len(whole), len(both) + 1):
        path.write_bytes(both[:length])
        # Without its line end it is whole all the same.
        survived = [SKIPPED] if length >= len(both) - 1 else []
        assert read_journal(path) == [ANSWER, *survived], length
        append_answers(path, [ANSWER])
        assert read_journal(path) == [ANSWER, *survived, ANSWER], length
        assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    "line",
    [
        b'{"image": "a.jpg"}',
        b"\x00\x00\x00",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps({"image": 3}).encode(),
    ],
)
def test_a_damaged_line_is_named(line, tmp_path):
    path = tmp_path / "labels.jsonl"
    append_answers(path, [ANSWER])
    good = path.read_bytes()
    path.write_bytes(good + line + b"\n" + good)
    with pytest.raises(StateError) as caught:
        read_journal(path)
    assert str(caught.value) == (
        f"line 2 of {path} is damaged: it is not what llpp writes; fix or remove this line, or restore the file from "
        "a backup"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "told"},
        {"kind": "empty"},  # with persons
        {"persons": []},
        {"origin": ""},
        {"persons": [{"id": "a", "joints": {"nose": [1, 2, 0]}, "box": None}]},
        {"persons": [{"id": "a", "joints": {"nose": [1, float("nan"), 2]}, "box": None}]},
        {"persons": [{"id": "a", "joints": {"nose": [1, 2]}, "box": None}]},
        {"persons": [{"id": 5, "joints": {"nose": [1, 2, 2]}, "box": None}]},
        {"annotator": None},
    ],
)
def test_a_line_that_contradicts_itself_is_damaged(change, tmp_path):
    path = tmp_path / "labels.jsonl"
    append_answers(path, [ANSWER])
    line = json.loads(path.read_text()) | change
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(StateError, match="line 1 of "):
        read_journal(path)


@pytest.mark.parametrize("change", [{"kind": "open"}, {"persons": ()}, {"annotator": 7}, {"origin": "guessed"}])
def test_what_could_not_be_read_again_is_not_written(change, tmp_path):
    path = tmp_path / "labels.jsonl"
    append_answers(path, [SKIPPED])
    with pytest.raises(DataError, match="cannot be kept"):
        append_answers(path, [SKIPPED, replace(ANSWER, **change)])
    assert read_journal(path) == [SKIPPED]


def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "labels.jsonl").mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        read_journal(tmp_path / "labels.jsonl")


KEY = {
    "image": "a.jpg",
    "tool": "coco",
    "annotator": "",
    "entry": "",
    "kind": "labelled",
    "persons": (PERSON,),
    "origin": "drawn",
}


@pytest.mark.parametrize(
    "change",
    [
        {"image": "b.jpg"},
        {"tool": "cvat"},
        {"annotator": "7"},
        {"entry": "12"},
        {"kind": "skipped", "persons": (), "origin": ""},
        {"persons": (replace(PERSON, joints={"nose": (12.25, -3.0, 2)}),)},
        {"persons": (replace(PERSON, joints={"nose": (12.25, -3.0, 1), "tail": (0.1, 7.0, 1)}),)},
        {"persons": (replace(PERSON, joints={"nose": (12.26, -3.0, 2), "tail": (0.1, 7.0, 1)}),)},
        {"persons": (replace(PERSON, box=None),)},
        {"origin": "accepted"},
        {"answered_at": "2026-11-27T08:30:00Z"},
    ],
)
def test_each_part_of_an_answer_makes_it_news(change):
    assert compute_key(**KEY | change) != compute_key(**KEY)


def test_digits_that_tools_lose_make_no_news():
    moved = replace(PERSON, joints={"tail": (0.10000004, 7.0, 1), "nose": (12.25, -3.0, 2)})
    assert compute_key(**KEY | {"persons": (moved,)}) == compute_key(**KEY)


def test_an_answer_is_news_again_once_it_was_retracted():
    retracted = replace(SKIPPED, kind="retracted", key="3" * 64)
    assert find_known_keys([ANSWER, SKIPPED]) == {ANSWER.key, SKIPPED.key}
    assert find_known_keys([ANSWER, SKIPPED, retracted]) == {ANSWER.key}
    assert find_known_keys([ANSWER, retracted, SKIPPED]) == {ANSWER.key, SKIPPED.key}


TEXT = st.text(max_size=8)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
POINT = st.tuples(NUMBER, NUMBER, st.sampled_from([1, 2]))
BOX = st.none() | st.tuples(NUMBER, NUMBER, NUMBER, NUMBER)
PERSONS = st.lists(
    st.builds(PersonLabel, TEXT, st.dictionaries(TEXT, POINT, max_size=3), BOX), min_size=1, max_size=2
)


@settings(max_examples=50, deadline=None)
@given(TEXT, PERSONS.map(tuple), st.none() | NUMBER)
def test_any_text_and_any_number_is_read_as_it_was(tmp_path_factory, text, persons, seconds):
    path = tmp_path_factory.mktemp("journal") / "labels.jsonl"
    answer = replace(ANSWER, image=text, entry=text, persons=persons, seconds=seconds)
    append_answers(path, [answer, SKIPPED])
    assert read_journal(path) == [answer, SKIPPED]
