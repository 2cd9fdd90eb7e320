"""The head that reads heatmaps: where it starts, what it reads, what it refuses."""

import pytest
import torch
from helpers.experiments import composed
from scipy.stats import spearmanr

from llpp.config import build
from llpp.data.image_preparation import ImagePreparation
from llpp.errors import ConfigError
from llpp.heads.base import FeatureSpec
from llpp.heads.evidence import compute_log_shares, measure_distinctness
from llpp.heads.heatmap_conv import HeatmapConvHead
from llpp.training.module import RoundPart
from llpp.types import Features

SPEC = FeatureSpec({4: 6}, 6, 64, heatmaps=5)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def confused_by_degrees(count, joints=5, side=16):
    """Maps (count, joints, side, side) of which the first images' joints are apart and the last ones' alike."""
    apart, alike = 6 * noise(count, joints, side, side), 6 * noise(count, 1, side, side, seed=1)
    degree = torch.linspace(0, 1, count)[:, None, None, None]
    return (1 - degree) * apart + degree * alike


def features(maps):
    return Features({}, noise(len(maps), 6, *maps.shape[2:]), maps)


@pytest.mark.parametrize("seed", range(5))
def test_before_any_training_it_ranks_by_distinctness(seed):
    torch.manual_seed(seed)
    maps = confused_by_degrees(40)
    predicted = HeatmapConvHead(SPEC)(features(maps)).detach()
    distinctness = measure_distinctness(compute_log_shares(maps))
    assert spearmanr(predicted, -distinctness).statistic > 0.95
    assert spearmanr(predicted, torch.arange(40)).statistic > 0.9, "more confused is worse"


def test_it_reads_the_map_behind_the_heatmaps_only_where_it_is_asked_to():
    maps = confused_by_degrees(4)
    first = features(maps)
    other = Features({}, noise(4, 6, 16, 16, seed=2), maps)
    head = HeatmapConvHead(SPEC)
    assert torch.equal(head(first), head(other))
    head = HeatmapConvHead(SPEC, features=3)
    assert not torch.equal(head(first), head(other))


@pytest.mark.parametrize("side", [4, 16, 24, 64])
def test_maps_of_any_size_will_do(side):
    predicted = HeatmapConvHead(SPEC)(features(noise(1, 5, side, side)))
    assert predicted.shape == (1,) and predicted.isfinite().all()


@pytest.mark.parametrize(("side", "reduced"), [(8, 8), (24, 24), (32, 16), (48, 16), (56, 28), (64, 16)])
def test_the_convolutions_read_every_cell(side, reduced):
    """A crop of 224 pixels has 56 cells, of which 18 times three would leave out the last two rows and columns."""
    maps = noise(2, 5, side, side)
    read = HeatmapConvHead(SPEC)._prepare_maps(compute_log_shares(maps), noise(2, 6, side, side))
    assert read.shape == (2, 5, reduced, reduced)
    torch.testing.assert_close(read.square().sum(dim=(2, 3)), torch.ones(2, 5), rtol=1e-3, atol=0)


def test_what_is_added_to_a_map_changes_nothing():
    """Raw heatmaps are known up to a constant where their softmax is what counts."""
    maps = confused_by_degrees(4)
    head = HeatmapConvHead(SPEC)
    torch.testing.assert_close(head(features(maps + 7)), head(features(maps)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"channels": -1}, r"head\.channels=-1 is invalid; expected a number of channels, 0 or more"),
        ({"features": 2.5}, r"head\.features=2\.5 is invalid"),
        ({"turned": "no"}, r"head\.turned='no' is invalid; expected true or false"),
        ({"channels": 0, "features": 4}, r"head\.features=4 joins the convolutions, and head\.channels=0 has none"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        HeatmapConvHead(SPEC, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["head=heatmap_conv", "head.evidence=summary"])
def test_a_network_for_classes_is_refused_before_it_is_trained(head):
    cfg = composed("task=classification", "dataset=digits", "backbone=resnet18", head)
    dataset = build.instantiate_dataset(cfg.dataset)
    task = build.make_task(cfg, dataset)
    with pytest.raises(ConfigError, match="reads heatmaps, which this backbone does not give; use head"):
        build.build_module(cfg, dataset, task, ImagePreparation(32), RoundPart(0))
