"""Evidence about labels, by hand and by formulas of statistics."""

import math

import numpy as np
import pytest

from llpp.reliability import label_suspicion
from llpp.reliability.label_suspicion import LabelFits, compute_gains

NAN = math.nan


def make_fits():
    """One person of four joints, of which the last is not labelled; the first two are a pair."""
    return LabelFits(
        label=np.array([[-6.0, -5.0, -1.0, NAN]]),
        partner=np.array([[-1.0, -2.0, NAN, NAN]]),
        shifted=np.array([-4.5]),
        even=np.array([-4.0]),
    )


def test_each_kind_of_mistake_gains_what_it_explains():
    gains = compute_gains(make_fits(), [(0, 1)])
    # Swapped, the pair has -1 - 2 instead of -6 - 5.
    assert gains.swapped.tolist() == [[8.0]]
    # Anywhere, a joint has -4: the first one gains 2, the second one 1, the third one loses 3.
    assert gains.moved.tolist() == [[2.0, 1.0, -3.0, label_suspicion.MISSING]]
    # Together the labels have -12; moved together -4.5, and anywhere 3 × -4.
    assert gains.shifted.tolist() == [7.5]
    assert gains.other_pose.tolist() == [0.0]
    assert gains.joints.tolist() == [3]


def test_a_pair_of_which_one_joint_is_not_labelled_is_not_swapped():
    gains = compute_gains(make_fits(), [(0, 1), (2, 3)])
    assert gains.swapped.tolist() == [[8.0, 0.0]]


def test_log_odds_are_those_of_two_normal_distributions():
    # Of two normal distributions with means ±1 and variance 1, the log of the ratio of densities at x is 2 x.
    rng = np.random.default_rng(0)
    right = rng.normal(-1, 1, (4000, 1))
    model = label_suspicion.fit_mistakes(right, {"moved": rng.normal(1, 1, (4000, 1))})
    found = model.compute_log_odds(np.array([[-1.0], [0.0], [1.0]]))[:, 0]
    assert found == pytest.approx([-2, 0, 2], abs=0.2)


def test_evidence_that_says_nothing_counts_for_nothing():
    # A network that cannot tell left from right: swapped labels look like right ones.
    rng = np.random.default_rng(0)
    right = rng.normal(0, 1, (4000, 2))
    swapped = rng.normal(0, 1, (4000, 2))
    shifted = rng.normal((0, 4), 1, (4000, 2))
    model = label_suspicion.fit_mistakes(right, {"swapped": swapped, "shifted": shifted})
    far_in_each = model.compute_log_odds(np.array([[3.0, 0.0], [0.0, 5.0]]))
    assert abs(far_in_each[0, 0]) < 0.5
    assert far_in_each[1, 1] > 5


def test_odds_of_several_mistakes_add_up_and_the_likeliest_is_named():
    log_odds = np.array([[0.0, 0.0], [-3.0, 2.0], [-1.0, -2.0], [0.0, 1.0]])
    odd = {"duplicated": np.array([0.0, 3.0, 0.0, 0.0])}
    known = np.array([True, True, True, False])
    found = label_suspicion.combine_evidence(log_odds, ["moved", "shifted"], odd, known)
    assert found.total[0] == pytest.approx(math.log(2))
    assert found.total[1] == pytest.approx(math.log(math.exp(-3) + math.exp(2)) + 3)
    # The third is likelier to be right than to be wrong in any of these ways; nothing is known about the last.
    assert list(found.kind[1:3]) == ["duplicated", "unclear"]
    assert label_suspicion.order_by_suspicion(found.total).tolist() == [1, 0, 2, 3]


def test_an_oddity_counts_by_how_rare_it_is():
    assert label_suspicion.measure_rarity(np.array([True, False, False, False])).tolist() == [math.log(4), 0, 0, 0]
    assert label_suspicion.measure_rarity(np.ones(5, dtype=bool)).tolist() == [0] * 5
    # The largest of four known values is as large as one quarter of them.
    surprise = label_suspicion.measure_surprise(np.array([1.0, NAN, 7.0, 2.0, 3.0]))
    assert surprise == pytest.approx([0, 0, math.log(4), math.log(4 / 3), math.log(2)])


def test_expected_losses_never_fall_while_the_predicted_ones_rise():
    # Losses 3 and 2 are in the wrong order, and get their mean; a predicted loss between two is between theirs.
    predicted = np.array([-1.0, 0.0, 1.0, NAN, 0.5])
    true = np.array([1.0, 3.0, 2.0, 9.0, NAN])
    expected = label_suspicion.expect_losses(predicted, true)
    assert expected[[0, 1, 2, 4]] == pytest.approx([1, 2.5, 2.5, 2.5])


def test_mistakes_are_found_if_they_would_be_among_the_first():
    suspicion = np.array([5.0, 4.0, 3.0, NAN])
    made = {"moved": np.array([4.5, 3.5, 9.0, NAN]), "shifted": np.array([9.0, 9.0, 9.0, 9.0])}
    found = label_suspicion.measure_found(suspicion, made, 2)
    assert found == {"moved": pytest.approx(2 / 3), "shifted": 1.0}
