"""What ranks images by how likely they are failures."""

import numpy as np
import pytest

from llpp.reliability.rankers import HEAD_RANKER, Ranker, build_ranker

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
