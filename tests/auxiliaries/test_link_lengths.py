"""Lengths of limbs: values worked out by hand, and what training with them leaves as it is."""

import math

import numpy as np
import pytest
import torch
from helpers.experiments import tiny
from helpers.run_dirs import GreyClasses

from llpp.auxiliaries.link_lengths import LinkLengthsAuxiliary, find_tree, sum_log_likelihoods
from llpp.datasets.pose import PoseLabels, Skeleton
from llpp.errors import ConfigError
from llpp.heads.base import FeatureSpec
from llpp.rounds import loop
from llpp.run_dir import layout
from llpp.types import Features

SPEC = FeatureSpec({4: 2, 8: 3}, penultimate=2, input_size=32, heatmaps=3)


def make_labels(edges):
    skeleton = Skeleton(("a", "b", "c"), (), edges, ())
    return PoseLabels(skeleton, np.zeros((1, 3, 2), dtype=np.float32), np.full((1, 3), 2, dtype=np.uint8))


def make(edges=((0, 1), (1, 2)), **options):
    """With a last layer of zeros: every mean is 1 unit, 4 px of a crop of 32, and every variance ln 2 + 0.001."""
    auxiliary = LinkLengthsAuxiliary(SPEC, make_labels(edges), **options)
    torch.nn.init.zeros_(auxiliary.layers[-1].weight)
    torch.nn.init.zeros_(auxiliary.layers[-1].bias)
    return auxiliary


def features(images=1):
    source = torch.Generator().manual_seed(0)
    pyramid = {4: torch.rand(images, 2, 8, 8, generator=source), 8: torch.rand(images, 3, 4, 4, generator=source)}
    return Features(pyramid, pyramid[4])


def batch(joints, visible):
    return {"joints": torch.tensor([joints]), "visible": torch.tensor([visible], dtype=torch.uint8)}


JOINTS = [[0.0, 0.0], [0.0, 8.0], [3.0, 12.0]]  # links of 8 and 5 px: 2 and 5/4 units
VARIANCE = math.log(2) + 1e-3


def test_links_are_a_tree_in_the_order_of_the_limbs():
    """The third closes a circle, the last one repeats the first."""
    edges = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 1), (1, 0)]
    assert find_tree(edges) == [(0, 1), (1, 2), (3, 4), (4, 1)]
    assert find_tree([]) == []


def test_the_likelihood_is_that_of_a_gaussian_for_each_link():
    """At the mean with variance 1: -½ ln 2π. Two off with variance 4: -½ (ln 2π + ln 4 + 1)."""
    lengths = torch.tensor([[1.0, 5.0]])
    found = sum_log_likelihoods(lengths, torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 4.0]]))
    assert found.item() == pytest.approx(-math.log(2 * math.pi) - math.log(2) - 0.5, rel=1e-6)


def test_the_column_is_about_the_predicted_pose():
    """Lengths of 2 and 5/4 units, of which 1 was expected."""
    column = make().compute_columns(features(), {"joints": torch.tensor([JOINTS])})["link_log_likelihood"]
    squares = (1**2 + 0.25**2) / VARIANCE
    expected = -0.5 * (squares + 2 * math.log(VARIANCE) + 2 * math.log(2 * math.pi))
    assert column.tolist() == pytest.approx([expected], rel=1e-6)


def test_the_loss_is_a_mean_in_which_unknown_links_count_nothing():
    both = make().compute_loss(features(), batch(JOINTS, [2, 1, 2]))
    assert both.item() == pytest.approx(((1 + 0.0625) / VARIANCE + 2 * math.log(VARIANCE)) / 4, rel=1e-6)
    unknown = [JOINTS[0], JOINTS[1], [math.nan, math.nan]]
    auxiliary = make()
    first = auxiliary.compute_loss(features(), batch(unknown, [2, 2, 0]))
    assert first.item() == pytest.approx((1 / VARIANCE + math.log(VARIANCE)) / 4, rel=1e-6)
    first.backward()
    assert all(parameter.grad.isfinite().all() for parameter in auxiliary.parameters())
    none = make().compute_loss(features(), batch([[math.nan] * 2] * 3, [0, 0, 0]))
    assert none.item() == 0 and none.requires_grad


def test_it_learns_lengths_and_how_sure_they_are():
    """The first link has 2 units in every image, the second 1 or 3: mean 2, variance 1."""
    torch.manual_seed(0)
    auxiliary = LinkLengthsAuxiliary(SPEC, make_labels(((0, 1), (1, 2))), width=8)
    same = features().pyramid
    known = Features({stride: maps.expand(2, -1, -1, -1) for stride, maps in same.items()}, same[4])
    joints = torch.tensor([[[0.0, 0.0], [8.0, 0.0], [8.0, 4.0]], [[0.0, 0.0], [8.0, 0.0], [8.0, 12.0]]])
    labels = {"joints": joints, "visible": torch.full((2, 3), 2)}
    optimizer = torch.optim.Adam(auxiliary.parameters(), lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        auxiliary.compute_loss(known, labels).backward()
        optimizer.step()
    mean, variance = auxiliary.predict_lengths(known)
    assert mean[0].tolist() == pytest.approx([2, 2], abs=0.05)
    assert variance[0, 1].item() == pytest.approx(1, abs=0.1) and variance[0, 0].item() < 0.01


def test_what_it_cannot_learn_from_is_one_sentence():
    with pytest.raises(ConfigError, match="needs joints; leave it out, or use task=pose"):
        LinkLengthsAuxiliary(SPEC, GreyClasses().records.labels)
    with pytest.raises(ConfigError, match="needs a skeleton with limbs; leave it out"):
        make(edges=())
    with pytest.raises(ConfigError, match=r"auxiliary\.weight=-1 is invalid; expected a number, 0 or more"):
        make(weight=-1)
    with pytest.raises(ConfigError, match=r"auxiliary\.width=0 is invalid; expected a whole number, 1 or more"):
        make(width=0)


@pytest.mark.slow
def test_the_network_learns_as_without_it_unless_it_may_train_it(tmp_path):
    common = ("rounds=1", "trainer.max_epochs=1")
    with_it = ("auxiliary=link_lengths", "acquisition=vl4pose")
    weights = {}
    for name, overrides in {
        "without": (), "with": with_it, "trained": (*with_it, "auxiliary.trains_backbone=true"),
    }.items():  # fmt: skip
        loop.run_rounds(tiny(tmp_path / name, *common, *overrides))
        weights[name] = layout.read_weights(tmp_path / name / "round_00/last.ckpt")
    added = {name for name in weights["with"] if name not in weights["without"]}
    assert added and all(name.startswith("auxiliary.layers.") for name in added)
    assert all(torch.equal(value, weights["with"][name]) for name, value in weights["without"].items())
    assert any(not torch.equal(value, weights["trained"][name]) for name, value in weights["without"].items())
