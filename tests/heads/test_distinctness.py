"""The head without layers: its ranks are those of distinctness, whatever it learns, and it changes no network."""

import torch

from llpp.heads.base import FeatureSpec
from llpp.heads.distinctness import DistinctnessHead
from llpp.heads.evidence import compute_log_shares, measure_distinctness
from llpp.types import Features


def test_no_scale_changes_a_rank():
    maps = 3 * torch.randn(20, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = (-measure_distinctness(compute_log_shares(maps))).argsort()
    head = DistinctnessHead(FeatureSpec({}, 4, 32, heatmaps=5))
    for log_scale, offset in ((0.0, 0.0), (-3.0, 2.0), (3.0, -1.0)):
        torch.nn.init.constant_(head.log_scale, log_scale)
        torch.nn.init.constant_(head.offset, offset)
        predicted = head(Features({}, torch.zeros(20, 4, 8, 8), maps))
        assert torch.equal(predicted.argsort(), expected)


def test_the_network_learns_nothing_from_it():
    maps = torch.randn(4, 5, 8, 8, requires_grad=True)
    head = DistinctnessHead(FeatureSpec({}, 4, 32, heatmaps=5))
    head(Features({}, torch.zeros(4, 4, 8, 8), maps)).sum().backward()
    assert maps.grad is None and head.log_scale.grad is not None
