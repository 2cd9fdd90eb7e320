"""Ids: a sequence of strings like any other, and what works on all of them at once."""

import hashlib
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest

from llpp.config.fingerprint import hash_columns
from llpp.datasets.base import Records
from llpp.datasets.pose import PoseLabels, Skeleton
from llpp.errors import DataError
from llpp.ids import CHUNK_SIZE, Ids

FIVE = ("a/3", "ü", "a/1", "b", "a/2")


def test_ids_are_a_sequence_of_strings():
    ids = Ids(FIVE)
    assert len(ids) == 5 and tuple(ids) == FIVE
    assert ids[0] == "a/3" and ids[-1] == "a/2" and ids[np.int64(1)] == "ü"
    assert all(type(name) is str for name in (ids[0], *ids))
    assert ids.index("b") == 3 and list(reversed(ids)) == list(FIVE[::-1])
    with pytest.raises(IndexError):
        ids[5]


def test_a_slice_is_ids_again():
    part = Ids(FIVE)[1:4]
    assert isinstance(part, Ids) and part == ("ü", "a/1", "b") and part[::-1] == ["b", "a/1", "ü"]


def test_membership_is_of_whole_strings_only():
    ids = Ids(FIVE)
    assert "ü" in ids and "a/" not in ids and 3 not in ids and "" not in ids


def test_equality_is_that_of_the_strings():
    assert Ids(FIVE) == Ids(iter(FIVE)) == list(FIVE) == Ids(FIVE)
    assert Ids(FIVE) != Ids(FIVE[::-1]) and Ids(FIVE) != FIVE[:4]
    assert Ids("a") == ["a"] and Ids("a") != "a"


def test_going_through_more_than_one_block_misses_nothing():
    count = 2 * CHUNK_SIZE + 3
    assert list(Ids(str(n) for n in range(count))) == [str(n) for n in range(count)]


def test_take_gives_some_in_any_order():
    assert Ids(FIVE).take(np.array([4, 0, 4])) == ("a/2", "a/3", "a/2")
    assert Ids(FIVE).take(np.array([], dtype=np.int64)) == ()


def test_rows_of_gives_places_in_the_order_asked_for_and_minus_one_for_strangers():
    ids = Ids(FIVE)
    assert ids.find_rows(["b", "nobody", "a/3", "b"]).tolist() == [3, -1, 0, 3]
    assert ids[2:].find_rows(Ids(["b", "ü"])).tolist() == [1, -1]
    assert ids.find_rows([]).tolist() == [] and Ids([]).find_rows(["b"]).tolist() == [-1]
    assert ids.find_rows([]).dtype == np.int64


def test_rows_of_gives_the_first_of_equals():
    assert Ids(["x", "y", "x", "y"]).find_rows(["y", "x"]).tolist() == [1, 0]


def test_among_tells_which_are_some_of_the_others():
    assert Ids(FIVE).is_in(Ids(["b", "nobody", "a/3"])).tolist() == [True, False, False, True, False]
    assert Ids(FIVE).is_in(Ids([])).tolist() == [False] * 5 and Ids([]).is_in(Ids(FIVE)).tolist() == []


def test_codes_number_strings_as_they_appear():
    assert Ids(["x", "y", "x", "z", "y"]).assign_codes().tolist() == [0, 1, 0, 2, 1]
    assert Ids([]).assign_codes().tolist() == []


def test_repeated_names_the_first_string_that_occurs_twice():
    assert Ids(FIVE).find_duplicate() is None and Ids([]).find_duplicate() is None
    assert Ids(["x", "y", "z", "z", "y"]).find_duplicate() == "y"


@pytest.mark.parametrize("wrong", [None, 3, 2.5, "\udcff"], ids=repr)
def test_what_is_not_text_is_refused_by_its_value(wrong):
    with pytest.raises(DataError, match=r"ids must be text; got .*expected a string") as told:
        Ids(["a", wrong])
    assert repr(wrong) in str(told.value)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_arrow_strings_are_taken_over(kind):
    assert Ids(pa.array(FIVE, kind)) == FIVE
    assert Ids(pa.chunked_array([pa.array(FIVE[:2], kind), pa.array(FIVE[2:], kind)])) == FIVE


@pytest.mark.parametrize("array", [pa.array([1, 2]), pa.array(["a", None])], ids=str)
def test_other_arrow_arrays_are_refused(array):
    with pytest.raises(DataError, match="ids must be text; got an Arrow array"):
        Ids(array)


def test_ids_travel_to_other_processes():
    assert pickle.loads(pickle.dumps(Ids(FIVE)[1:])) == FIVE[1:]


def test_many_are_shown_in_short():
    assert repr(Ids(FIVE[:2])) == "Ids(['a/3', 'ü'])"
    assert repr(Ids(str(n) for n in range(1012))).endswith("'9'] and 1,002 more)")


def table(ids, images, split):
    """Records of people without joints."""
    count = len(ids)
    skeleton = Skeleton(joints=(), flip_pairs=(), edges=(), torso=())
    return Records(
        ids=ids,
        images=images,
        split=np.array(split, dtype=np.str_),
        boxes=np.zeros((count, 4), np.float32),
        box_source="image",
        may_start=np.ones(count, dtype=np.bool_),
        labels=PoseLabels(skeleton, np.zeros((count, 0, 2), np.float32), np.zeros((count, 0), np.uint8)),
    )


def test_records_take_any_sequence_of_strings():
    records = table(["a", "b", "c"], ("one", "two", "one"), ["train", "val", "train"])
    assert isinstance(records.ids, Ids) and isinstance(records.images, Ids)
    assert records.select_rows("train").tolist() == [0, 2] and records.select_rows("test").tolist() == []
    assert records.select_rows("train", ["a", "gone"]).tolist() == [2]


def test_records_name_an_id_that_occurs_twice():
    with pytest.raises(DataError, match="sample id 'b' occurs more than once"):
        table(["a", "b", "c", "b"], "wxyz", ["train"] * 4)


def test_records_name_an_image_that_stands_in_two_splits():
    with pytest.raises(
        DataError, match="image 'two' stands in the splits train and val; expected each image in one split only"
    ):
        table("abcde", ["one", "two", "one", "two", "two"], ["test", "train", "test", "val", "train"])
    with pytest.raises(DataError, match="image 'one' stands in the splits test and val"):
        table("abc", ["one", "two", "one"], ["test", "train", "val"])


@pytest.mark.parametrize("count", [0, 1, CHUNK_SIZE + 2])
def test_ids_are_digested_as_a_list_of_them_would_be(count):
    names = [f'"ü"/{n}\\' for n in range(count)]
    split = np.array(["train", "test"] * count, dtype=np.str_)[:count]
    plain = json.dumps([names, split.tolist()])
    assert hash_columns(Ids(names), split) == hashlib.sha256(plain.encode()).hexdigest()
