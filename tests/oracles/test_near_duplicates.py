"""Near-duplicates: frames within the gap, and images that look alike, do not come into one batch."""

import numpy as np
import pytest

from llpp.oracles.near_duplicates import pass_over

NONE = np.array([], dtype=np.int64)


def noise(count):
    """Thumbnails of which no two are near."""
    return np.random.default_rng(7).integers(0, 256, (count, 32, 32), dtype=np.uint8)


def choose(ranked, budget, thumbnails, *, films=None, seconds=None, taken=NONE, gap=1.0):
    count = len(thumbnails)
    films = np.zeros(count, np.int32) if films is None else np.array(films, np.int32)
    seconds = np.full(count, np.nan) if seconds is None else np.array(seconds, float)
    chosen, passed = pass_over(np.array(ranked), budget, films, seconds, thumbnails, np.array(taken), gap)
    return chosen.tolist(), passed


def different(count):
    """Thumbnails with one white pixel each, at a place of its own: all distances are equal, so none is near."""
    thumbnails = np.zeros((count, 40 * 40), np.uint8)
    thumbnails[np.arange(count), np.arange(count)] = 255
    return thumbnails.reshape(count, 40, 40)


def test_frames_of_a_film_that_are_nearer_than_the_gap_are_passed_over():
    chosen = choose([3, 2, 1, 0, 4], 4, different(5), seconds=[0.0, 1.0, 1.5, 2.0, 9.0])
    assert chosen == ([3, 1, 0, 4], 1), "2 is half a second before 3; 1 is one before it, and 0 one before 1"


def test_frames_of_two_films_and_images_have_no_gap():
    assert choose([0, 1, 2], 3, different(3), films=[0, 1, 2], seconds=[5.0, 5.0, 5.1]) == ([0, 1, 2], 0)
    assert choose([0, 1, 2], 3, different(3)) == ([0, 1, 2], 0)


def test_a_frame_next_to_one_that_waits_for_its_label_is_passed_over():
    seconds = [0.0, 0.4, 0.8, 3.0]
    assert choose([1, 2, 3], 1, different(4), seconds=seconds, taken=[0]) == ([3], 2)


def test_images_that_look_alike_are_passed_over():
    """All pairs of 20 images have the distance √2 · 255, but for one image that is image 0 with a grey pixel."""
    thumbnails = different(20)
    thumbnails[5] = thumbnails[0]
    thumbnails[5, 39, 39] = 10
    ranked = [0, 5, 3, 1]
    assert choose([*ranked, *range(6, 20)], 3, thumbnails) == ([0, 3, 1], 1)
    assert choose([5, 3, 1, *range(6, 20)], 2, thumbnails, taken=[0]) == ([3, 1], 1), "image 0 waits for its label"


def test_equal_images_are_near_even_if_most_of_them_are_equal():
    thumbnails = np.concatenate([np.full((10, 32, 32), 50, np.uint8), noise(2)])
    assert choose(range(12), 3, thumbnails) == ([0, 10, 11], 9)


def test_what_was_passed_over_fills_the_budget_in_the_order_of_the_ranking():
    seconds = [0.0, 0.1, 0.2, 0.3, 5.0]
    assert choose([3, 0, 4, 2, 1], 4, different(5), seconds=seconds) == ([3, 0, 4, 2], 0)
    assert choose([3, 0, 4], 9, different(5), seconds=seconds) == ([3, 0, 4], 0)


def test_what_fills_the_budget_is_as_different_as_it_can_be():
    """Images 1 and 2 are like image 0; their distances to it are 10 and 200, of 361 between all others."""
    thumbnails = different(20)
    for row, level in ((1, 10), (2, 200)):
        thumbnails[row] = thumbnails[0]
        thumbnails[row, 39, 38 + row - 1] = level
    chosen, passed = choose(range(20), 19, thumbnails)
    assert chosen == [0, *range(2, 20)] and passed == 1, "19 of 20 have to be chosen, and 1 is most like another"


@pytest.mark.parametrize("ranked", [[], [2]])
def test_a_ranking_of_one_or_none(ranked):
    assert choose(np.array(ranked, dtype=np.int64), 5, noise(3)) == (ranked, 0)


def test_the_choice_is_that_of_a_plain_walk_down_a_long_ranking():
    """Over several blocks, by time alone: no two of these thumbnails are near."""
    rng = np.random.default_rng(3)
    count = 1500
    films = rng.integers(0, 3, count)
    seconds = rng.uniform(0, 400, count)
    ranked = rng.permutation(count)
    chosen, passed = choose(ranked, 400, different(count), films=films, seconds=seconds)
    expected, skipped = [], 0
    for row in ranked.tolist():
        if len(expected) == 400:
            break
        if any(films[row] == films[other] and abs(seconds[row] - seconds[other]) < 1 for other in expected):
            skipped += 1
        else:
            expected.append(row)
    assert (chosen, passed) == (expected, skipped) and passed > 50
