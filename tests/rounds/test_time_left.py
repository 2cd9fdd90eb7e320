"""How long a run will take, by what its last round took."""

import pytest

from llpp.rounds.time_left import describe_time_left, estimate_seconds_left, format_duration
from llpp.settings import Settings

SETTINGS = Settings(seed=0, rounds=4, initial=100, budget=50)
ROW = {
    "round": 1, "labelled": 150, "pool": 400, "base_reused": 0, "seconds_train": 30.0, "seconds_test": 2.0,
    "seconds_score": 8.0, "seconds_select": 1.0,
}  # fmt: skip


def test_rounds_that_are_left_train_on_more_images_and_score_fewer():
    """Round 2: 200 images train 40 s, 350 are scored in 7 s; round 3: 250 train 50 s, and nothing is scored."""
    assert estimate_seconds_left(ROW, SETTINGS) == pytest.approx((40 + 2 + 7 + 1) + (50 + 2))
    assert describe_time_left(ROW, SETTINGS) == " · about 2 min left"


def test_a_subset_of_the_pool_takes_as_long_in_every_round():
    subset = Settings(seed=0, rounds=4, initial=100, budget=50, subset=100)
    assert estimate_seconds_left(ROW, subset) == pytest.approx((40 + 2 + 8 + 1) + (50 + 2))


def test_nothing_is_said_where_nothing_is_left_or_known():
    assert describe_time_left({**ROW, "round": 3}, SETTINGS) == ""
    assert describe_time_left({**ROW, "base_reused": 1}, SETTINGS) == "", "it took over another run's model"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40, "40 s"), (89, "89 s"), (200, "3 min"), (9000, "2.5 h"), (180_000, "2.1 days")],
)
def test_durations_are_short(seconds, text):
    assert format_duration(seconds) == text
