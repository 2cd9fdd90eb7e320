"""Dropout: networks without it are as before, and which units an image loses depends on nothing but key and row."""

import pytest
import torch
from helpers.experiments import tiny
from helpers.interruptions import stopped
from torch import nn

from llpp.acquisition.ensemble import EnsembleAcquisition
from llpp.acquisition.mc_dropout import MCDropoutAcquisition
from llpp.backbones.dropout import choose_kept, dropping_units, find_dropout_layers
from llpp.backbones.hourglass import StackedHourglass
from llpp.backbones.resnet import ResNet18
from llpp.errors import ConfigError
from llpp.rounds import loop
from llpp.run_dir import layout
from llpp.training.dropout_passes import DropoutPasses


def hourglass(**options):
    torch.manual_seed(0)
    return StackedHourglass(outputs=3, channels=8, depth=1, **options).eval()


def images(count, side):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_weights_and_evaluation_are_the_same_with_and_without_dropout():
    for plain, dropping in ((hourglass(), hourglass(dropout=0.5)), (ResNet18(2, 4), ResNet18(2, 4, dropout=0.5))):
        assert list(plain.state_dict()) == list(dropping.state_dict())
        dropping.load_state_dict(plain.state_dict())
        image = images(2, 8)
        assert torch.equal(plain.eval()(image).raw, dropping.eval()(image).raw)
        assert not find_dropout_layers(plain) and find_dropout_layers(dropping)


def test_units_are_kept_at_the_rate_and_differ_by_image_key_and_unit():
    """40,000 draws at 0.8: the standard deviation of their mean is 0.002."""
    kept = choose_kept(torch.arange(200), 5, 200, 0.2)
    assert kept.shape == (200, 200) and kept.double().mean().item() == pytest.approx(0.8, abs=0.008)
    columns = kept.double()
    assert columns.mean(dim=0).std().item() == pytest.approx((0.16 / 200) ** 0.5, rel=0.25), "as of independent draws"
    assert columns.mean(dim=1).std().item() == pytest.approx((0.16 / 200) ** 0.5, rel=0.25)
    other = choose_kept(torch.arange(200), 6, 200, 0.2)
    assert (kept == other).double().mean().item() == pytest.approx(0.8**2 + 0.2**2, abs=0.01)


def test_an_image_loses_the_same_units_in_any_batch():
    network = hourglass(dropout=0.5)
    image = images(5, 8)
    rows = torch.tensor([7, 0, 2**33 + 1, 12, 3])
    with dropping_units(network, rows, 9):
        together = network(image).raw
    for chosen in ([3, 1], [2], [4, 0]):
        with dropping_units(network, rows[chosen], 9):
            alone = network(image[chosen]).raw
        torch.testing.assert_close(alone, together[chosen])
    with dropping_units(network, rows[:2], 9):
        filled = network(image[[0, 1, 1, 1]]).raw
    torch.testing.assert_close(filled[:2], together[:2], msg="a batch that is filled up")
    assert torch.equal(network(image).raw, hourglass().eval()(image).raw), "afterwards nothing is dropped"


def test_whole_maps_are_dropped_and_the_others_are_larger():
    layer = nn.Sequential(nn.Dropout2d(0.75)).eval()
    with dropping_units(layer, torch.arange(50), 0):
        maps = layer(torch.ones(50, 8, 3, 3))
    assert torch.equal(maps, maps[:, :, :1, :1].expand_as(maps)) and set(maps.unique().tolist()) == {0.0, 4.0}


def test_passes_are_repeated_by_seed_and_round():
    network = hourglass(dropout=0.5, stacks=1)
    image = images(2, 8)
    rows = torch.tensor([0, 1])

    def run(seed, number):
        return torch.stack([output.raw for output in DropoutPasses(3, seed).run(network, image, rows, number)])

    first = run(0, 0)
    assert torch.equal(first, run(0, 0)) and not torch.equal(first[0], first[1])
    assert not torch.equal(first, run(1, 0)) and not torch.equal(first, run(0, 1))


def test_backbones_that_cannot_disagree_with_themselves_are_refused_with_what_to_set():
    with pytest.raises(ConfigError, match=r"StackedHourglass has no layer that does; set backbone\.dropout=0\.2"):
        MCDropoutAcquisition().check_backbone(hourglass())
    MCDropoutAcquisition().check_backbone(hourglass(dropout=0.1))
    with pytest.raises(ConfigError, match=r"StackedHourglass has 1; set backbone\.stacks=2"):
        EnsembleAcquisition().check_backbone(hourglass(stacks=1))
    EnsembleAcquisition().check_backbone(hourglass(stacks=2))
    with pytest.raises(ConfigError, match=r"backbone\.dropout=1 is invalid; expected a share, 0 to less than 1"):
        hourglass(dropout=1)


@pytest.mark.slow
def test_a_round_that_was_interrupted_drops_what_it_would_have_dropped(tmp_path, monkeypatch):
    overrides = ("rounds=1", "trainer.max_epochs=3", "backbone.dropout=0.3", "acquisition=random")
    loop.run_rounds(tiny(tmp_path / "undisturbed", *overrides))
    stopped(monkeypatch, tmp_path / "stopped", 0, 1, *overrides)
    loop.run_rounds(tiny(tmp_path / "stopped", *overrides))
    expected = layout.read_weights(tmp_path / "undisturbed/round_00/last.ckpt")
    found = layout.read_weights(tmp_path / "stopped/round_00/last.ckpt")
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
