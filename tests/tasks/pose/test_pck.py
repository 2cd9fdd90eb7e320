"""PCK by hand; rank measures against counting all pairs."""

import math
import multiprocessing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from llpp.datasets.pose import compute_torso_lengths
from llpp.errors import ConfigError
from llpp.inference.loss_ranking import (
    compute_failure_metrics,
    compute_failure_share,
    compute_ranking_metrics,
    pair_accuracy,
    spearman,
)
from llpp.reliability.risk_coverage import compute_auroc
from llpp.tasks.pose.pck import PCK, PCKDefinition, compute_image_pck, compute_joint_distances

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")

NAN = float("nan")
NAMES = ("wrist", "elbow", "neck")
tied = st.integers(-3, 3).map(float)  # few values, so many ties


def two_lists(least):
    return st.integers(least, 14).flatmap(
        lambda n: st.tuples(st.lists(tied, min_size=n, max_size=n), st.lists(tied, min_size=n, max_size=n))
    )


def offsets(*distances):
    """(1, K, 2) predictions that lie so far from a truth at the origin."""
    return torch.tensor([[[0.0, d] for d in distances]])


def judged(pred, visible, normaliser, threshold=0.5):
    distance = compute_joint_distances(pred, torch.zeros_like(pred), torch.tensor(visible), torch.tensor(normaliser))
    return (distance <= threshold).tolist(), (~distance.isnan()).tolist()


def pck(threshold=0.2, **definition):
    return PCK(NAMES, PCKDefinition(threshold=threshold, **definition))


def test_a_joint_at_the_threshold_is_correct():
    pred = torch.tensor([[[3.0, 4.0], [3.0, 4.01], [0.0, 0.0]]])  # 5, a little more, 0
    assert judged(pred, [[2, 2, 1]], [10.0]) == ([[True, False, True]], [[True, True, True]])


def test_unlabelled_joints_count_nowhere():
    pred, truth = torch.zeros(1, 2, 2), torch.tensor([[[NAN, NAN], [0.0, 0.0]]])
    distance = compute_joint_distances(pred, truth, torch.tensor([[0, 1]]), torch.tensor([10.0]))
    assert distance.isnan().tolist() == [[True, False]] and float(distance[0, 1]) == 0


@pytest.mark.parametrize("normaliser", [NAN, 0.0, math.inf])
def test_images_without_a_normaliser_count_nowhere(normaliser):
    correct, counted = judged(offsets(0.0, 1.0), [[2, 2]], [normaliser])
    assert correct == counted == [[False, False]]


def test_every_image_has_its_own_normaliser():
    pred = torch.cat([offsets(3.0), offsets(3.0)])
    assert judged(pred, [[2], [2]], [10.0, 5.0])[0] == [[True], [False]]


def test_a_prediction_that_is_not_a_number_is_wrong():
    assert judged(offsets(NAN), [[2]], [10.0]) == ([[False]], [[True]])


def test_pck_of_an_image_is_a_share_of_its_counted_joints():
    first, second = compute_image_pck(torch.tensor([[0.2, 0.21, NAN], [NAN, NAN, NAN]]), 0.2).tolist()
    assert first == 0.5 and math.isnan(second)


def example():
    """Three images of three joints; wrists 1 of 2, elbows 2 of 2, neck never labelled; the last has no torso."""
    pred = torch.cat([offsets(1.0, 1.0, 0.0), offsets(9.0, 2.0, 0.0), offsets(0.0, 0.0, 0.0)])
    visible = torch.tensor([[2, 1, 0], [2, 2, 0], [2, 2, 2]])
    return pred, torch.zeros(3, 3, 2), visible, torch.tensor([10.0, 10.0, NAN])


def test_pck_by_hand():
    metric = pck(0.2)
    metric.update(*example())
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found.pop("mean") == pytest.approx(0.75), "the mean is over joints, not over all their images"
    assert found.pop("undefined") == 1
    assert math.isnan(found.pop("joint/neck"))
    assert (found.pop("joint/wrist"), found.pop("joint/elbow")) == (0.5, 1.0)
    # to 0.5 the wrist's curve steps up at 0.1 and never (0.9), the elbow's at 0.1 and 0.2
    assert found.pop("auc") == pytest.approx(((0.4 + 0) / 2 + (0.4 + 0.3) / 2) / 0.5 / 2)
    assert found == {}


def test_pck_leaves_excluded_joints_out_of_the_mean_only():
    metric = pck(0.2, exclude=["elbow"])
    metric.update(*example())
    assert float(metric.compute()["mean"]) == 0.5 and float(metric.compute()["joint/elbow"]) == 1.0


def test_every_threshold_of_the_curve_is_exact():
    metric = pck(0.2, curve=[0.1, 0.9, 1.5])
    metric.update(*example())
    found = metric.compute()
    assert [float(found[f"at/{t}"]) for t in (0.1, 0.9, 1.5)] == [0.5, 1.0, 1.0]
    assert float(found["mean"]) == 0.75


def test_reduced_precision_miscounts_no_joint():
    """bfloat16 has no 301."""
    metric = pck(0.2)
    with torch.autocast("cpu", torch.bfloat16):
        metric.update(torch.zeros(301, 3, 2), torch.zeros(301, 3, 2), torch.ones(301, 3), torch.ones(301))
    assert metric.correct[0].tolist() == [301, 301, 301]


def test_the_area_is_the_integral_of_pck_over_the_thresholds():
    generator = torch.Generator().manual_seed(5)
    data = (
        torch.randn(40, 3, 2, generator=generator),
        torch.zeros(40, 3, 2),
        torch.ones(40, 3),
        torch.full((40,), 3.0),
    )
    steps = [(i + 0.5) / 2000 * 0.5 for i in range(2000)]  # midpoints
    metric = pck(0.2, curve=steps)
    metric.update(*data)
    found = metric.compute()
    assert float(found["auc"]) == pytest.approx(float(np.mean([found[f"at/{t:g}"] for t in steps])), abs=2e-4)


def test_visible_only_leaves_occluded_joints_out():
    metric = pck(0.2, joints="visible")
    metric.update(*example())
    found = metric.compute()
    # the elbow of the first image is occluded: only the second image's counts
    assert (metric.total.tolist(), float(found["joint/elbow"])) == ([2, 1, 0], 1.0)


def test_the_two_pckh_differ_as_their_authors_do(compose):
    """A head of 10: standard accepts 3, the paper's code 5, which counts pelvis and thorax but nothing occluded."""
    names = ("wrist", "ankle", "pelvis", "thorax")
    pred = torch.tensor([[[0.0, 3.0], [0.0, 4.0], [0.0, 9.0], [0.0, 0.0]]])
    found = {}
    for name in ("pckh", "pckh_paper"):
        cfg = OmegaConf.to_container(compose(f"pck={name}").pck)
        metric = PCK(names, PCKDefinition(**cfg))
        metric.update(pred, torch.zeros(1, 4, 2), torch.tensor([[2, 2, 2, 1]]), torch.tensor([10.0]) * cfg["factor"])
        found[metric.definition.format_label(False)] = float(metric.compute()["mean"])
    assert found == {"PCKh@0.5": 0.5, "PCKh-paper@0.5": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 0.0}, "pck.threshold=0.0"),
        ({"curve": [0.1, -1.0]}, r"pck.curve=\[0.1, -1.0\]"),
        ({"factor": 0}, "pck.factor=0"),
        ({"threshold": "20%"}, "pck.threshold='20%'"),
        ({"curve": 0.3}, "pck.curve=0.3 is invalid; expected a list"),
        ({"exclude": "neck"}, "pck.exclude='neck' is invalid; expected a list"),
        ({"joints": "all"}, "pck.joints='all' is not known; use labelled or visible"),
    ],
)
def test_definitions_out_of_range_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        PCKDefinition(**wrong)


def test_pck_refuses_to_exclude_what_is_not_there():
    with pytest.raises(ConfigError, match=r"exclude names unknown joints \['pelvis', 'tail'\].*wrist"):
        pck(0.2, exclude=["tail", "wrist", "pelvis"])


def test_pck_of_nothing_is_not_a_number():
    found = pck(0.2).compute()
    assert math.isnan(float(found["mean"])) and int(found["undefined"]) == 0


def test_images_without_any_label_are_not_called_undefined():
    metric = pck(0.2)
    metric.update(torch.zeros(1, 3, 2), torch.full((1, 3, 2), NAN), torch.zeros(1, 3), torch.tensor([NAN]))
    assert int(metric.compute()["undefined"]) == 0


def test_pck_in_chunks_equals_pck_at_once():
    generator = torch.Generator().manual_seed(3)
    pred = torch.randn(17, 3, 2, generator=generator)
    visible = torch.randint(0, 3, (17, 3), generator=generator)
    normaliser = torch.rand(17, generator=generator) * 8
    normaliser[::5] = NAN
    data = (pred, torch.zeros_like(pred), visible, normaliser)
    at_once, in_chunks = pck(0.3), pck(0.3)
    at_once.update(*data)
    for start in range(0, 17, 4):
        in_chunks.update(*(values[start : start + 4] for values in data))
    for name, value in at_once.compute().items():
        assert torch.equal(value, in_chunks.compute()[name]), name
    assert float(at_once.compute()["undefined"]) > 0


def many(count=23):
    generator = torch.Generator().manual_seed(7)
    pred = torch.randn(count, 3, 2, generator=generator)
    visible = torch.randint(0, 3, (count, 3), generator=generator)
    return pred, torch.zeros_like(pred), visible, torch.rand(count, generator=generator) * 8


def _rank(rank, meeting, queue):
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    metric = pck(0.3, curve=[0.1, 0.5])
    metric.update(*(values[rank::2] for values in many()))  # 12 images here, 11 there
    queue.put({name: float(value) for name, value in metric.compute().items()})
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    ranks = [context.Process(target=_rank, args=(r, tmp_path / "meeting", queue)) for r in range(2)]
    for rank in ranks:
        rank.start()
    found = [queue.get(timeout=120) for _ in ranks]
    for rank in ranks:
        rank.join()
    alone = pck(0.3, curve=[0.1, 0.5])
    alone.update(*many())
    expected = {name: float(value) for name, value in alone.compute().items()}
    for result in found:
        assert result.pop("auc") == pytest.approx(expected["auc"], abs=1e-12)
        assert result == {name: value for name, value in expected.items() if name != "auc"}


def test_the_torso_is_the_longest_diagonal_with_two_labelled_ends():
    joints = np.array([[[0, 0], [3, 4], [10, 0], [10, 12]]], dtype=np.float32)  # diagonals of 5 and 12
    diagonals = ((0, 1), (2, 3))

    def torso(*visible):
        blank = joints.copy()
        blank[0, np.array(visible) == 0] = np.nan
        code = np.array([visible], dtype=np.uint8)
        found = compute_torso_lengths(blank, code, diagonals)
        assert np.array_equal(found, compute_torso_lengths(blank, code, diagonals[::-1]), equal_nan=True)
        return found

    assert torso(2, 2, 2, 2).tolist() == [12.0]
    assert torso(1, 1, 2, 0).tolist() == [5.0]
    assert torso(0, 2, 1, 2).tolist() == [12.0]
    assert np.isnan(torso(2, 0, 0, 2)).all()


def test_unlabelled_coordinates_cannot_make_a_torso():
    joints = np.array([[[0, 0], [3, 4], [900, 900], [-900, -900]]], dtype=np.float32)
    visible = np.array([[2, 2, 0, 2]], dtype=np.uint8)
    assert compute_torso_lengths(joints, visible, ((0, 1), (2, 3))).tolist() == [5.0]


def test_a_torso_of_no_length_is_none():
    assert np.isnan(
        compute_torso_lengths(np.zeros((1, 2, 2), np.float32), np.full((1, 2), 2, np.uint8), ((0, 1),))
    ).all()


def ranks(values):
    """1 + how many are smaller + half of how many others are equal."""
    return np.array([1 + sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2 for a in values])


@settings(deadline=None, max_examples=60)
@given(lists=two_lists(2))
def test_spearman_is_the_correlation_of_average_ranks(lists):
    predicted, true = (np.array(values) for values in lists)
    found = spearman(predicted, true)
    if len(set(lists[0])) == 1 or len(set(lists[1])) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(float(np.corrcoef(ranks(predicted), ranks(true))[0, 1]), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(lists=two_lists(2))
def test_pair_accuracy_counts_pairs(lists):
    predicted, true = lists
    points = [
        0.5 if predicted[i] == predicted[j] else float((predicted[i] < predicted[j]) == (true[i] < true[j]))
        for i in range(len(true))
        for j in range(i)
        if true[i] != true[j]
    ]
    found = pair_accuracy(np.array(predicted), np.array(true))
    if points:
        assert found == pytest.approx(np.mean(points), abs=1e-9)
    else:
        assert math.isnan(found)


@settings(deadline=None, max_examples=60)
@given(score=st.lists(tied, min_size=1, max_size=14), bits=st.integers(0, 2**14 - 1))
def test_auroc_counts_pairs_of_positives_and_negatives(score, bits):
    positive = [bool(bits >> i & 1) for i in range(len(score))]
    points = [
        0.5 if a == b else float(a > b)
        for a, up in zip(score, positive, strict=True)
        for b, other in zip(score, positive, strict=True)
        if up and not other
    ]
    found = compute_auroc(np.array(score), np.array(positive))
    if points:
        assert found == pytest.approx(np.mean(points), abs=1e-9)
    else:
        assert math.isnan(found)


def test_constants_and_lonely_values_have_no_order():
    same, rising, one = np.ones(4), np.arange(4.0), np.ones(1)
    assert (
        math.isnan(spearman(same, rising)) and math.isnan(spearman(rising, same)) and math.isnan(spearman(one, one))
    )
    assert pair_accuracy(same, rising) == 0.5
    assert math.isnan(pair_accuracy(rising, same)) and math.isnan(pair_accuracy(one, one))
    assert compute_auroc(same, rising > 1) == 0.5
    assert math.isnan(compute_auroc(rising, rising > 9)) and math.isnan(compute_auroc(rising, rising >= 0))


def test_perfect_and_inverted_order():
    rising, failed = np.arange(6.0), np.arange(6) > 3
    for score, expected in ((rising, [1, 1, 1]), (-rising, [-1, 0, 0])):
        found = [spearman(score, rising**3), pair_accuracy(score, rising**3), compute_auroc(score, failed)]
        assert found == pytest.approx(expected, abs=1e-9)


def test_loss_ranking_by_hand():
    """Losses 1 < 2 < 3 < 4 predicted as 1, 3, 2, 4; the worst two fail, one image is not judged."""
    predicted, true = np.array([4.0, 1.0, 3.0, 2.0]), np.array([4.0, 1.0, 2.0, 3.0])
    found = compute_ranking_metrics(predicted, true)
    assert found["spearman"] == pytest.approx(0.8)
    assert found["pair_accuracy"] == pytest.approx(5 / 6)
    quality = np.array([0.0, 0.5, NAN, 0.49])
    assert compute_failure_metrics(predicted, quality)["auroc"] == 1.0, "a PCK of exactly one half is no failure"
    assert compute_failure_share(quality) == pytest.approx(2 / 3)


def test_loss_ranking_of_nothing_is_not_a_number():
    nothing = np.zeros(0)
    assert all(math.isnan(value) for value in compute_ranking_metrics(nothing, nothing).values())
    assert compute_ranking_metrics(np.ones(3), np.array([0.1, 0.3, 0.2]))["pair_accuracy"] == 0.5
    unknown = np.full(3, NAN)
    assert all(math.isnan(value) for value in compute_failure_metrics(np.ones(3), unknown).values())
    assert math.isnan(compute_failure_share(unknown))
