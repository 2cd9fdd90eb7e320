"""Views of images at test time: what a network says about them, brought back to the image's own cells and joints."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.experiments import config
from helpers.run_dirs import JOINTS, Grey, GreyClasses
from torch.nn import functional

from llpp import setting_rules
from llpp.acquisition.random import RandomAcquisition
from llpp.backbones.base import Backbone
from llpp.config.instantiate import make_task
from llpp.datasets.pose import LSP_SKELETON
from llpp.errors import ConfigError
from llpp.rounds.notices import describe_costs
from llpp.tasks.classification.task import ClassificationTask
from llpp.tasks.pose.heatmap_columns import compute_joint_spread
from llpp.tasks.pose.losses import HeatmapMSE, SpatialCrossEntropy
from llpp.tasks.pose.task import PoseTask
from llpp.tasks.views import CHOICES, MIRRORED, SIX, View, average_views, make_view, map_back, see_views
from llpp.types import Features, Output

SIDE = 64
STRIDE = 4
ORDER = list(LSP_SKELETON.flip_order)


class Pixels(Backbone):
    """A network that says what it sees."""

    std = (0.2, 0.3, 0.4)

    def forward(self, image):
        return make_output(image)


def make_pose_task(views="none", loss=None):
    task = PoseTask(Grey(), loss or HeatmapMSE(), pck={}, heatmap={"sigma": 1.0, "peak": 1.0})
    task.use_views(views)
    return task


def make_output(maps):
    return Output(maps[:, None], Features({}, maps), stride=STRIDE)


def draw_spots(joints):
    """Images (B, K, 64, 64) with a round spot in each channel around joints (B, K, 2), pixels."""
    pixels = torch.arange(float(SIDE))
    x = torch.exp(-((pixels - joints[..., :1]) ** 2) / 200)
    y = torch.exp(-((pixels - joints[..., 1:]) ** 2) / 200)
    return y[..., :, None] * x[..., None, :]


def see_spots(joints, views=SIX):
    """What a network sees whose maps are its image's channels; in the mirror, a left joint looks like a right one."""
    image = draw_spots(joints)
    raw = {}
    for view in views:
        maps = functional.avg_pool2d(make_view(image, view), STRIDE)
        raw[view] = (maps[:, ORDER] if view.mirrored else maps)[:, None]
    return make_output(functional.avg_pool2d(image, STRIDE)), raw


@pytest.fixture(scope="module")
def joints():
    """Two poses far enough inside for all views to show them: within 20 pixels of the centre."""
    return 31.5 + 40 * (torch.rand(2, JOINTS, 2, generator=torch.Generator().manual_seed(0)) - 0.5)


@pytest.mark.parametrize("view", SIX, ids=str)
def test_maps_of_a_view_brought_back_are_those_of_the_image(joints, view):
    output, views = see_spots(joints, (view,))
    task = make_pose_task("six")
    maps, seen = task._map_back(view, views)
    difference = (maps - output.raw[:, 0]).abs().where(seen, 0)
    assert difference.max() < 0.1, "of heights up to 1: interpolating blurs"
    found = task._find_joints(task._get_codec(output), view, views)
    assert (found - joints).abs().max() < 1.0, "pixels, a quarter of a cell"


def test_joints_of_the_average_are_where_they_are(joints):
    output, views = see_spots(joints)
    found = make_pose_task("six").predict(output, views)["joints"]
    assert (found - joints).abs().max() < 0.5


def test_left_and_right_of_a_mirrored_view_change_places(joints):
    """A network that swaps no sides in the mirror sees each left joint on the right, and the other way round."""
    image = draw_spots(joints)
    unswapped = {MIRRORED: functional.avg_pool2d(make_view(image, MIRRORED), STRIDE)[:, None]}
    task = make_pose_task("flip")
    output = make_output(functional.avg_pool2d(image, STRIDE))
    found = task._find_joints(task._get_codec(output), MIRRORED, unswapped)
    assert (found - joints[:, ORDER]).abs().max() < 1.0
    pair = ORDER.index(0)
    assert ORDER[0] == pair != 0, "the first joint of LSP has a partner"
    assert (found - joints)[:, 0].abs().max() > 1.0


def test_a_quarter_of_a_turn_and_twice_the_size_are_what_they_say():
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    turned = make_view(image, View(angle=90.0))
    torch.testing.assert_close(turned, torch.rot90(image, 1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(map_back(turned, View(angle=90.0))[0], image, atol=1e-5, rtol=0)
    half = make_view(image, View(scale=0.5))
    torch.testing.assert_close(half[..., 2:6, 2:6], functional.avg_pool2d(image, 2), atol=1e-5, rtol=0)
    both = make_view(image, View(mirrored=True, angle=90.0))
    torch.testing.assert_close(both, torch.rot90(image.flip(-1), 1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(map_back(both, View(mirrored=True, angle=90.0))[0], image, atol=1e-5, rtol=0)


def test_cells_that_a_view_does_not_show_have_the_other_views_average():
    """Of 8 cells the outer centre is 7/8 from the middle: times 1.15 it is beyond the edge, times 0.87 it is not."""
    own = torch.ones(1, 1, 8, 8)
    for view, shows_corner in ((MIRRORED, True), (View(scale=0.87), True), (View(scale=1.15), False),
                               (View(angle=15.0), False)):  # fmt: skip
        averaged = average_views(own, [map_back(3 * own, view)])
        assert averaged[0, 0, 4, 4] == pytest.approx(2.0)
        assert averaged[0, 0, 0, 0] == pytest.approx(2.0 if shows_corner else 1.0), view
    third = average_views(own, [map_back(3 * own, View(scale=1.15)), map_back(7 * own, MIRRORED)])
    assert third[0, 0, 4, 4] == pytest.approx((1 + 3 + 7) / 3)
    assert third[0, 0, 4, 0] == pytest.approx((1 + 7) / 2), "the enlarged view does not show it"


@pytest.mark.parametrize("loss", [HeatmapMSE(), SpatialCrossEntropy()])
def test_flip_is_half_the_sum_of_both_maps_to_the_last_bit(loss):
    generator = torch.Generator().manual_seed(2)
    own, mirrored = torch.randn(2, 3, 1, JOINTS, 16, 16, generator=generator)
    task = make_pose_task("flip", loss)
    output = Output(own, Features({}, own[:, 0]), stride=STRIDE)
    one, other = loss.to_heatmaps(own[:, 0]), loss.to_heatmaps(mirrored[:, 0])
    expected = (one + other.flip(-1)[:, ORDER]) / 2
    assert torch.equal(task._compute_maps(output, {MIRRORED: mirrored}), expected)
    assert torch.equal(task._compute_maps(output), one), "without views, as the loss and llpp check see them"


def test_views_that_agree_have_no_distance_and_others_their_share_of_the_crop(joints):
    output, views = see_spots(joints)
    task = make_pose_task()
    names = frozenset({"view_distance"})
    assert task.list_views(names) == SIX and task.list_views(frozenset()) == ()
    assert task.compute_columns(names, output, views)["view_distance"].max() < 0.5 / SIDE
    # one view that sees everything 12 pixels further right: the mean is 2 off, five are 2 from it and one is 10
    shifted, _ = see_spots(joints + torch.tensor([12.0, 0.0]))
    moved = {**views, View(scale=0.87): make_view(shifted.raw[:, 0], View(scale=0.87))[:, None]}
    distance = task.compute_columns(names, output, moved)["view_distance"]
    assert distance.tolist() == pytest.approx([(5 * 2 + 10) / 6 / SIDE] * 2, abs=0.5 / SIDE)


def test_the_spread_of_joints_is_their_mean_distance_to_their_mean():
    found = torch.zeros(6, 1, 2, 2)
    found[5, 0, 0] = torch.tensor([18.0, 24.0])  # 30 away: the mean is 5 away from five of them, 25 from this
    by_hand = (5 * 5 + 25) / 6 / 2
    assert compute_joint_spread(found).tolist() == pytest.approx([by_hand]), "the second joint does not move"


def test_of_views_only_the_raw_output_is_kept():
    image = torch.rand(1, 3, 8, 8)
    backbone = Pixels()
    views = see_views(backbone, image, SIX)
    assert list(views) == list(SIX) and all(torch.is_tensor(raw) for raw in views.values())
    assert torch.equal(views[MIRRORED], image.flip(-1)[:, None])


def test_beyond_the_border_of_an_image_a_view_is_black():
    backbone = Pixels()
    white = backbone.normalise(torch.full((1, 3, 8, 8), 255))
    small = see_views(backbone, white, (View(scale=0.5),))[View(scale=0.5)][0, 0]
    black = backbone.normalise(torch.zeros(1, 3, 1, 1))[0]
    torch.testing.assert_close(small[:, :1], black.expand(3, 1, 8))
    torch.testing.assert_close(small[:, 3:5, 3:5], white[0, :, 3:5, 3:5])


def test_losses_are_those_of_the_image_itself(joints):
    output, _ = see_spots(joints)
    visible = torch.full((2, JOINTS), 2)
    batch = {"joints": joints, "visible": visible}
    averaged, _ = make_pose_task("six").compute_losses(output, batch)
    alone, _ = make_pose_task().compute_losses(output, batch)
    assert torch.equal(averaged, alone)


def test_the_probability_of_a_class_is_averaged_over_an_image_and_its_mirror_image():
    """Softmaxes (3/4, 1/4) and (1/8, 7/8): their mean is (7/16, 9/16)."""
    raw, mirrored = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 7.0]]).log()
    output = Output(raw, Features({}, torch.zeros(1, 1, 1, 1)))
    task = ClassificationTask(GreyClasses())
    task.use_views("flip")
    found = {name: value.item() for name, value in task.predict(output, {MIRRORED: mirrored}).items()}
    assert found["predicted_class"] == 1
    assert found["confidence"] == pytest.approx(9 / 16) and found["margin"] == pytest.approx(2 / 16)
    p = np.array([7, 9]) / 16
    assert found["entropy"] == pytest.approx(-(p * np.log(p)).sum())
    alone = dataclasses.replace(output)
    assert task.predict(alone)["predicted_class"].item() == 0


def test_views_that_a_task_cannot_average_are_refused_with_what_to_set(tmp_path):
    task = ClassificationTask(GreyClasses())
    with pytest.raises(ConfigError) as refused:
        task.use_views("six")
    expected = "scoring.views=six is not for task=classification, set scoring.views=none or scoring.views=flip"
    assert str(refused.value) == expected
    task.use_views("flip")
    assert task.check_mirroring(0.5) == []
    with pytest.raises(ConfigError, match=r"set scoring.views=none, or augmentation.flip=0.5$"):
        task.check_mirroring(0.0)
    cfg = config(tmp_path, "scoring.views=six")
    assert make_task(cfg, Grey()).views == SIX
    assert tuple(CHOICES) == setting_rules.CHOICES["scoring.views"]
    cfg.scoring.views = True
    with pytest.raises(ConfigError, match=r"scoring.views=True is not known; use none, flip or six"):
        make_task(cfg, Grey())


class Needing(RandomAcquisition):
    dropout_passes = 7

    def __init__(self, *needs):
        self.needs = frozenset(needs)


def test_what_takes_more_than_a_pass_is_said_before_images_are_scored():
    assert describe_costs(make_pose_task(), Needing("joints")) == []
    (line,) = describe_costs(make_pose_task("six"), Needing("view_distance"))
    assert line.startswith("scoring.views=six scores 6 views of each image") and line.endswith(
        "6 times the time of one"
    )
    both = describe_costs(make_pose_task("flip"), Needing("labelled_view_distance"))
    assert both[0].endswith("about 2 times the time of one")
    assert both[1] == "the acquisition scores 6 views of each candidate: about 6 times the time of one"
    passes, gradients = describe_costs(make_pose_task(), Needing("dropout_disagreement", "gradient_length"))
    assert passes.startswith("the acquisition scores each candidate 7 times more, with dropout")
    assert "with up to 30 labelled images" in gradients and "set scoring.subset=" in gradients
