"""Which images people are asked for: roles, counts, and that the same question is asked twice."""

from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from helpers.project_indexes import PROJECT, make_index

from llpp.labelling.choice import (
    Choice,
    choose_first_batch,
    choose_next_batch,
    choose_test_images,
    count_test_share,
    mark_blind,
    split_among_annotators,
)

IDS = [f"a/{number:03d}.jpg" for number in range(200)]
TEST = set(IDS[::5])  # 40 of 200


def grey_levels(levels):
    return np.tile(np.array(levels, np.uint8)[:, None, None], (1, 32, 32))


def roles(choices):
    return [choice.role for choice in choices]


def test_two_fifths_of_the_first_batch_are_random_test_images_and_come_first():
    index = make_index(IDS, test=TEST)
    batch = choose_first_batch(index, PROJECT, (), 50, test_wanted=100, gap=1.0)
    assert roles(batch) == ["test"] * 20 + ["train"] * 30
    assert {choice.reason for choice in batch[:20]} == {"random, for testing"}
    assert {choice.reason for choice in batch[20:]} == {"unlike all others: no model yet"}
    images = [choice.image for choice in batch]
    assert len(set(images)) == 50
    assert set(images[:20]) <= TEST and not set(images[20:]) & TEST, "no train image in a test group, nor the reverse"
    assert images[:20] != sorted(images[:20]), "random, not the first ones of the folder"


def test_the_same_question_has_the_same_answer_and_another_salt_another_one():
    index = make_index(IDS, test=TEST)
    first = choose_first_batch(index, PROJECT, (), 50, 100, 1.0)
    assert choose_first_batch(index, PROJECT, (), 50, 100, 1.0) == first
    assert choose_first_batch(index, replace(PROJECT, salt="salt"), (), 50, 100, 1.0) != first


def test_the_training_images_of_the_first_batch_are_unlike_each_other():
    """Ten kinds of images in groups of twenty: one of each is more diverse than any two of a kind."""
    levels = np.repeat(np.arange(10) * 25, 20) + np.tile([0, 1], 100)
    index = make_index(IDS, thumbnails=grey_levels(levels))
    batch = choose_first_batch(index, PROJECT, (), 10, test_wanted=0, gap=1.0)
    kinds = {IDS.index(choice.image) // 20 for choice in batch}
    assert roles(batch) == ["train"] * 10 and kinds == set(range(10))


def test_where_one_role_has_too_few_images_the_other_one_fills_the_batch():
    few_test = choose_first_batch(make_index(IDS, test=set(IDS[:3])), PROJECT, (), 50, 100, 1.0)
    assert roles(few_test) == ["test"] * 3 + ["train"] * 47
    few_train = choose_first_batch(make_index(IDS, test=set(IDS[10:])), PROJECT, (), 50, 100, 1.0)
    assert roles(few_train) == ["test"] * 40 + ["train"] * 10
    tiny = choose_first_batch(make_index(IDS[:6], test={IDS[0]}), PROJECT, (), 50, 100, 1.0)
    assert sorted(choice.image for choice in tiny) == IDS[:6]
    assert choose_first_batch(make_index([]), PROJECT, (), 50, 100, 1.0) == []


def test_what_is_taken_or_cannot_be_shown_is_not_asked_for():
    conditions = {IDS[5]: "missing", IDS[6]: "changed", IDS[7]: "unreadable", IDS[8]: "apart", IDS[10]: "missing"}
    index = make_index(IDS[:40], test=TEST, conditions=conditions)
    taken = {IDS[0], IDS[1], "gone.jpg"}
    batch = choose_first_batch(index, PROJECT, taken, 40, 100, 1.0)
    expected = set(IDS[:40]) - set(conditions) - taken
    assert {choice.image for choice in batch} == expected


def test_test_images_that_are_taken_count():
    index = make_index(IDS, test=TEST)
    batch = choose_first_batch(index, PROJECT, IDS[0:50:5], 50, test_wanted=12, gap=1.0)
    assert roles(batch) == ["test"] * 2 + ["train"] * 48, "ten of the twelve are taken"


def test_frames_of_a_film_keep_their_distance_in_time():
    """Ten frames a second for 20 s, all for testing; 20 of them can be at least a second apart."""
    seconds = [number / 10 for number in range(200)]
    index = make_index(IDS, test=set(IDS), films=["a.mp4"] * 200, seconds=seconds)
    chosen = choose_test_images(index, PROJECT, [], 8, gap=1.0)
    times = sorted(seconds[IDS.index(image)] for image in chosen)
    assert len(times) == 8 and min(b - a for a, b in pairwise(times)) >= 1
    # All frames but those between 10 and 11 s are near to one that somebody labels already.
    taken = [IDS[number] for number in range(0, 200, 5) if not 95 < number < 115]
    (free,) = choose_test_images(index, PROJECT, taken, 1, gap=1.0)
    assert 10.49 < seconds[IDS.index(free)] < 10.51
    assert len(choose_test_images(index, PROJECT, taken, 5, gap=1.0)) == 5, "near ones are better than none"


def test_a_later_batch_has_its_test_images_and_what_the_run_selected():
    index = make_index(IDS, test=TEST)
    batch = choose_next_batch(index, PROJECT, [IDS[0]], 2, [IDS[3], IDS[1]], "predicted_loss", 1.0)
    assert roles(batch) == ["test", "test", "train", "train"] and IDS[0] not in {choice.image for choice in batch}
    assert batch[2] == Choice(IDS[3], "train", "largest predicted loss (rank 1)")
    assert batch[3] == Choice(IDS[1], "train", "largest predicted loss (rank 2)")
    ranked = choose_next_batch(index, PROJECT, [], 0, [IDS[3]], "predicted_loss", 1.0, ranker="confidence")
    assert ranked == [Choice(IDS[3], "train", "likeliest failure by confidence (rank 1)")]
    weak = choose_next_batch(index, PROJECT, [], 0, [IDS[3]], "adaptive", 1.0, beta=0.0, competence=0.3)
    assert [choice.reason for choice in weak] == ["random: the model is not good enough yet to go by where it fails"]
    unknown = choose_next_batch(index, PROJECT, [], 0, [IDS[3]], "adaptive", 1.0, beta=0.0)
    assert [choice.reason for choice in unknown] == ["random: how good the model is has not been measured yet"]
    good = choose_next_batch(index, PROJECT, [], 0, [IDS[3]], "adaptive", 1.0, beta=1.5)
    assert [choice.reason for choice in good] == ["drawn, likely failures before others (rank 1)"]
    by_core_set = choose_next_batch(index, PROJECT, [], 0, [IDS[3]], "core_set", 1.0)
    assert by_core_set == [Choice(IDS[3], "train", "chosen by acquisition=core_set (rank 1)")]


@pytest.mark.parametrize(
    ("budget", "labelled", "waiting", "share"),
    [
        (50, 0, 0, 10),
        (50, 85, 10, 5),  # five are missing
        (50, 60, 40, 0),
        (50, 130, 0, 0),
        (52, 0, 0, 10),  # 10.4
        (53, 0, 0, 11),  # 10.6
        (2, 0, 0, 1),  # 0.4, and at least one
        (0, 0, 0, 0),
    ],
)
def test_a_fifth_of_a_later_batch_is_for_testing_until_there_are_enough(budget, labelled, waiting, share):
    assert count_test_share(budget, 100, labelled, waiting) == share


def test_a_tenth_of_the_images_is_blind_at_random_and_others_in_each_round():
    blind = mark_blind(IDS, 0.1, "pepper", 3)
    assert len(blind) == 20 and blind == mark_blind(IDS[::-1], 0.1, "pepper", 3)
    assert blind != mark_blind(IDS, 0.1, "pepper", 4) and blind != mark_blind(IDS, 0.1, "salt", 3)
    assert mark_blind(IDS, 0.0, "pepper", 3) == frozenset() and mark_blind(IDS, 1.0, "pepper", 3) == set(IDS)


def make_batch(train, test):
    """A batch with its test images last."""
    choices = [Choice(f"train{number}", "train", "") for number in range(train)]
    return choices + [Choice(f"test{number}", "test", "") for number in range(test)]


def test_a_split_batch_loses_no_image_and_shares_a_tenth():
    batch = make_batch(train=44, test=6)
    parts = split_among_annotators(batch, 3, 0.1, "pepper")
    names = [[choice.image for choice in part] for part in parts]
    shared = set(names[0]) & set(names[1]) & set(names[2])
    assert len(shared) == 5 and all(image.startswith("test") for image in shared), "test images are shared first"
    dealt = list(chain(*names))
    assert set(dealt) == {choice.image for choice in batch}
    assert sorted(map(len, names)) == [20, 20, 20], "45 others by three, and 5 that all have"
    assert len(dealt) == 45 + 3 * 5, "no image is twice in one part, and none but the shared ones in two"
    for part in parts:
        assert roles(part) == sorted(roles(part)), "test images come first"
    assert parts == split_among_annotators(batch, 3, 0.1, "pepper")


def test_a_split_keeps_the_order_of_the_batch_within_a_role():
    for part in split_among_annotators(make_batch(train=30, test=0), 2, 0.2, "pepper"):
        numbers = [int(choice.image.removeprefix("train")) for choice in part]
        assert numbers == sorted(numbers) and len(numbers) == 18


def test_one_annotator_gets_everything_and_without_overlap_nothing_is_shared():
    batch = make_batch(train=3, test=2)
    (only,) = split_among_annotators(batch, 1, 0.1, "pepper")
    assert [choice.image for choice in only] == ["test0", "test1", "train0", "train1", "train2"]
    first, second = split_among_annotators(batch, 2, 0.0, "pepper")
    assert not set(first) & set(second) and len(first) + len(second) == 5
