"""What is done to a network before it scores: BatchNorms folded into convolutions, and compiled for large pools."""

import numpy as np
import pytest
import torch
from helpers.experiments import tiny
from torch import nn

from llpp.backbones.base import Backbone
from llpp.backbones.hourglass import StackedHourglass
from llpp.errors import ConfigError
from llpp.inference import fuse_batchnorm
from llpp.inference.performance import Performance
from llpp.inference.scorer import PoolScorer
from llpp.training.module import RoundPart
from llpp.types import Features, Output


def trained(network, size=32):
    """Running statistics, weights and shifts of BatchNorm as training leaves them: no zeros and ones."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(4, 3, size, size))
    return network


def norms(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize("biases", [False, True])
def test_a_folded_hourglass_finds_the_same_with_fewer_layers_and_the_original_stays_as_it_was(biases):
    backbone = trained(StackedHourglass(outputs=5, stacks=2, channels=16, depth=3, published_biases=biases))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    folded = fuse_batchnorm.fuse_batchnorm(backbone, 32)
    # of 25 residual blocks two of three fold, the first follows a sum; and those of the stem and of two features
    assert (norms(backbone), norms(folded)) == (3 * 25 + 3, 25)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.training and not folded.training
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected, found = backbone.eval()(images), folded(images)
    assert torch.allclose(found.raw, expected.raw, atol=1e-4)
    assert torch.allclose(found.features.penultimate, expected.features.penultimate, atol=1e-4)


@pytest.mark.parametrize(("biases", "left"), [(False, 11 + 11 + 1), (True, 11)])
def test_for_a_gpu_no_convolution_gets_a_bias_that_costs_a_pass(biases, left):
    """Of 11 residual blocks the first 1×1 convolution each fuses, and that of the features; 3×3 and 7×7 as biased."""
    backbone = trained(StackedHourglass(outputs=5, stacks=1, channels=16, depth=2, published_biases=biases))
    folded = fuse_batchnorm.fuse_batchnorm(backbone, 32, "cuda")
    assert (norms(backbone), norms(folded)) == (3 * 11 + 2, left)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected, found = backbone.eval()(images), folded(images)
    assert torch.allclose(found.raw, expected.raw, atol=1e-4)


class Strange(Backbone):
    """Its layers stand in a sequence, but it calls them one by one, and takes the map between them."""

    feature_channels, penultimate_channels, heatmap_stride, size_multiple = {1: 4}, 4, 1, 1

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))

    def forward(self, image):
        between = self.layers[0](image)
        return Output((self.layers[1](between) + between)[:, None], Features({1: between}, between))


def test_a_backbone_that_calls_its_layers_in_its_own_way_is_left_alone(caplog):
    strange = trained(Strange())
    assert fuse_batchnorm.fuse_batchnorm(strange, 32) is strange
    assert "cannot fuse BatchNorm in this backbone" in caplog.text


def test_what_does_not_follow_a_convolution_or_is_shared_stays():
    class Shared(Strange):
        def __init__(self):
            super().__init__()
            self.twice = self.layers[1]

        def forward(self, image):
            found = self.layers(image)
            return Output(self.twice(found)[:, None], Features({1: found}, found))

    assert norms(fuse_batchnorm.fuse_batchnorm(trained(Shared()), 32)) == 1


def test_what_the_convolutions_of_a_network_give_is_counted():
    assert fuse_batchnorm.conv_outputs_per_image(Strange(), 32) == 4 * 32 * 32, (
        "one convolution to four channels, and a BatchNorm"
    )


def test_a_pass_is_compiled_when_it_does_enough_work():
    published, small = 28.4e6, 151e3  # 2 stacks × 256 channels at 256 pixels; 1 × 32 at 64
    auto = Performance()
    assert auto.should_compile(3000, published) and not auto.should_compile(1000, published)
    assert not auto.should_compile(100_000, small)
    assert Performance(compile_from=10).should_compile(10, small) and not Performance(compile_from=10).should_compile(
        9, small
    )
    assert not Performance(compile_from=None).should_compile(10**9, published)
    with pytest.raises(ConfigError, match=r"scoring.compile_from=0 is invalid; expected auto, null, or"):
        Performance(compile_from=0)
    with pytest.raises(ConfigError, match=r"launch.allocator='best' is not known; use auto, keep or system"):
        Performance(allocator="best")


def scoring(run_dir, *overrides):
    experiment = tiny(run_dir, *overrides, "data.eval_batch_size=4")
    torch.manual_seed(0)
    data, module = experiment.data.make_loaders([0, 1], [0, 1], 0), experiment.trainer.make_module(RoundPart(0))
    trainer = experiment.trainer.make_trainer(run_dir, "key", False)
    return PoolScorer(trainer, module, data, experiment.performance)


ROWS = np.arange(10)  # two whole batches and a half


def compiled_by(monkeypatch, backend):
    """Let another backend compile: the real one takes half a minute."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: compile_(module, backend=backend, dynamic=dynamic))


@pytest.mark.slow
def test_where_compiling_fails_a_large_pool_is_scored_all_the_same(tmp_path, monkeypatch, caplog):
    def without_compiler(*_):
        raise RuntimeError("no C++ compiler was found")

    compiled_by(monkeypatch, without_compiler)
    expected = scoring(tmp_path).score(ROWS).columns["predicted_loss"]
    for _ in range(2):
        found = scoring(tmp_path, "scoring.compile_from=10").score(ROWS).columns["predicted_loss"]
        assert np.array_equal(found, expected)
    assert caplog.text.count("scoring is not compiled") == 1 and "no C++ compiler was found" in caplog.text


@pytest.mark.slow
def test_every_rounds_network_is_compiled_however_many_there_were(tmp_path, monkeypatch):
    graphs = []
    compiled_by(monkeypatch, lambda graph, _: graphs.append(graph) or graph)
    with torch._dynamo.config.patch(recompile_limit=2):  # torch's own is 8, after which it compiles no more
        for number in range(1, 5):
            rounds = scoring(tmp_path, "scoring.compile_from=10")
            expected = rounds.score(ROWS[:4]).columns["predicted_loss"]
            found = rounds.score(ROWS).columns["predicted_loss"]
            assert len(graphs) == number
            assert np.allclose(found[:4], expected, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_scores_incomplete_batches_too(tmp_path, monkeypatch):
    sizes, graphs = [], []

    def recording(graph, _):
        graphs.append(graph)

        def run(*inputs):
            sizes.extend({len(i) for i in inputs if i.dim() == 4 and i.shape[1] == 3})
            return graph(*inputs)

        return run

    compiled_by(monkeypatch, recording)
    plain = scoring(tmp_path, "scoring.views=flip").score(ROWS)
    compiled = scoring(tmp_path, "scoring.views=flip", "scoring.compile_from=10")
    found = compiled.score(ROWS)
    assert isinstance(compiled.module.backbone, fuse_batchnorm.CompiledBackbone)
    assert set(sizes) == {4} and len(graphs) == 1
    for name, column in plain.columns.items():
        assert np.allclose(found.columns[name], column, atol=1e-5, equal_nan=True), name
