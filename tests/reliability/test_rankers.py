"""What ranks images by how likely they are failures."""

import numpy as np
import pytest

from llpp.reliability.rankers import HEAD, HEAD_RANKER, Ranker, build_ranker, choose_ranker

LOSS = np.array([1.0, 2.0, 3.0, 6.0], dtype=np.float32)
SURE = np.array([0.9, 0.8, 0.1, 0.2], dtype=np.float32)
COLUMNS = {"predicted_loss": LOSS, "confidence": SURE, "distinctness": np.full(4, 0.5, dtype=np.float32)}


def test_the_heads_ranker_gives_the_predicted_losses_to_the_last_bit():
    strange = np.array([1e-30, 0.1, 3e7, np.pi], dtype=np.float32)
    assert HEAD_RANKER.compute_scores({"predicted_loss": strange}).tolist() == strange.tolist()


def test_a_free_ranker_has_the_order_of_doubt_and_the_scale_of_the_losses():
    scores = build_ranker(["confidence"], False, COLUMNS).compute_scores(COLUMNS)
    assert np.argsort(scores).tolist() == [0, 1, 3, 2]
    # Confidences 0.9, 0.8, 0.1, 0.2 have mean 0.5 and standard deviation √0.125; losses mean 3, √3.5.
    assert scores == pytest.approx(3 - (SURE - 0.5) / 0.125**0.5 * 3.5**0.5, rel=1e-5)


def test_the_sum_weighs_both_alike():
    ranker = build_ranker(["confidence"], True, COLUMNS)
    assert ranker.name == "head+confidence" and ranker.columns == {"predicted_loss", "confidence"}
    scores = ranker.compute_scores(COLUMNS)
    assert scores.mean() == pytest.approx(3) and scores.std() == pytest.approx(3.5**0.5)
    by_hand = (LOSS - 3) / 3.5**0.5 - (SURE - 0.5) / 0.125**0.5
    assert np.corrcoef(scores, by_hand)[0, 1] == pytest.approx(1)


def test_new_images_are_scored_by_the_mean_and_spread_of_the_images_that_it_was_built_on():
    ranker = Ranker.from_plain(build_ranker(["confidence"], True, COLUMNS).to_plain())
    one = {name: values[2:3] for name, values in COLUMNS.items()}
    assert ranker.compute_scores(one)[0] == ranker.compute_scores(COLUMNS)[2]


def test_a_column_that_is_the_same_for_all_images_says_nothing():
    ranker = build_ranker(["distinctness"], True, COLUMNS)
    assert ranker.compute_scores(COLUMNS) == pytest.approx(LOSS)


def test_the_order_is_kept_where_a_head_predicts_the_same_for_all():
    """Scores around 1000 whose spread is that of the losses, none, would be equal in single precision."""
    columns = {"predicted_loss": np.full(4, 1000.0, dtype=np.float32), "confidence": SURE}
    for with_head in (False, True):
        scores = build_ranker(["confidence"], with_head, columns).compute_scores(columns)
        assert np.argsort(scores).tolist() == [0, 1, 3, 2]


def test_without_any_image_a_free_ranker_still_ranks():
    nothing = np.zeros(0, dtype=np.float32)
    ranker = build_ranker(["confidence"], False, {"predicted_loss": nothing, "confidence": nothing})
    assert ranker.compute_scores(COLUMNS).tolist() == (-SURE).tolist()


def test_a_single_image_says_nothing_about_scales_and_others_are_ranked_all_the_same():
    one = {name: values[:1] for name, values in COLUMNS.items()}
    scores = build_ranker(["confidence"], False, one).compute_scores(COLUMNS)
    assert scores == pytest.approx(1 - (SURE - 0.9))


def test_what_is_not_finite_or_differs_by_rounding_alone_has_no_part_in_the_scale():
    """Of a column around 0.1 whose values differ by single precision's last bit, a weight of its own would be 10⁸."""
    losses = np.array([1.0, 2.0, 3.0, np.inf], dtype=np.float32)
    ranker = build_ranker(["confidence"], False, {"predicted_loss": losses, "confidence": SURE})
    finite = build_ranker(["confidence"], False, {"predicted_loss": losses[:3], "confidence": SURE[:3]})
    assert ranker == finite
    same = np.full(4, 0.1, dtype=np.float32)
    same[0] = np.nextafter(same[0], np.float32(1))
    columns = {"predicted_loss": LOSS, "distinctness": same}
    scores = build_ranker(["distinctness"], True, columns).compute_scores({**columns, "distinctness": SURE})
    assert scores == pytest.approx(LOSS)


FAILED = np.arange(40) < 10
RIGHT = np.where(FAILED, 2.0, 1.0).astype(np.float32)  # as predicted losses
BLIND = np.tile([1.0, 2.0], 20).astype(np.float32)  # half of the failures and half of the others have each


def choose(head, confidence, distinctness, failed=FAILED):
    columns = {"predicted_loss": head, "confidence": confidence, "distinctness": distinctness}
    return choose_ranker(columns, failed, ("confidence", "distinctness"))


def test_what_finds_the_failures_of_the_images_is_chosen():
    """A perfect order has an AUGRC of 0.25² / 2, one that knows nothing half of the share of failures."""
    found = choose(BLIND, BLIND, -RIGHT)
    assert found.ranker.name == "distinctness" and found.images == 40
    assert found.augrc["distinctness"] == pytest.approx(0.03125) and found.augrc[HEAD] == pytest.approx(0.125)
    assert set(found.augrc) == {HEAD, "confidence", "distinctness", "head+confidence", "head+distinctness"}
    assert choose(RIGHT, RIGHT, BLIND).ranker == HEAD_RANKER


def test_a_sum_is_chosen_where_each_of_the_two_sees_some_of_the_failures():
    head = np.where(np.arange(40) < 5, 2.0, 1.0).astype(np.float32)
    doubt = np.where((np.arange(40) >= 5) & FAILED, 2.0, 1.0).astype(np.float32)
    assert choose(head, -doubt, BLIND).ranker.name == "head+confidence"


def test_the_first_free_one_is_chosen_unless_another_is_better_by_more_than_chance():
    """The head takes one failure for the surest image; the confidence another one, and has two more swapped."""
    assert choose(RIGHT, -RIGHT, -RIGHT).ranker.name == "confidence"
    failed = np.arange(40) >= 30
    head = np.arange(40, dtype=np.float32)
    doubt = head.copy()
    head[30] = doubt[31] = -1
    doubt[29], doubt[30] = 30, 29
    found = choose(head, -doubt, -doubt, failed)
    assert found.ranker.name == "confidence" and found.augrc[HEAD] < found.augrc["confidence"]


@pytest.mark.parametrize("failed", [FAILED[:24], np.arange(40) < 4, np.arange(40) >= 4, np.zeros(40, dtype=bool)])
def test_nothing_is_chosen_by_few_images_or_few_failures_or_few_others(failed):
    count = len(failed)
    assert choose(RIGHT[:count], BLIND[:count], BLIND[:count], failed) is None
