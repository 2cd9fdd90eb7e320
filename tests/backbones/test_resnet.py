"""ResNet-18 with the stem for small images."""

import pytest
import torch
from torch import nn

from llpp.backbones.resnet import ResNet18
from llpp.errors import ConfigError


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_published_size_is_that_of_the_paper():
    """He et al.'s layers counted by hand: convolutions, two numbers per BatchNorm channel, and the classifier."""

    def block(inputs, outputs):
        convolutions = 9 * inputs * outputs + 9 * outputs * outputs + 4 * outputs
        shortcut = inputs * outputs + 2 * outputs if inputs != outputs else 0
        return convolutions + shortcut

    expected = 27 * 64 + 128
    inputs = 64
    for outputs in (64, 128, 256, 512):
        expected += block(inputs, outputs) + block(outputs, outputs)
        inputs = outputs
    expected += 512 * 10 + 10
    assert size(ResNet18(10)) == expected == 11_173_962


def test_maps_halve_from_group_to_group():
    found = ResNet18(3, width=4)(torch.zeros(2, 3, 32, 32))
    assert found.raw.shape == (2, 3) and found.stride is None
    shapes = {stride: tuple(maps.shape[1:]) for stride, maps in found.features.pyramid.items()}
    assert shapes == {1: (4, 32, 32), 2: (8, 16, 16), 4: (16, 8, 8), 8: (32, 4, 4)}


def test_a_block_adds_its_input():
    network = ResNet18(2, width=4).eval()
    block = network.groups[0][0]
    for layer in block.body:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight)
    x = torch.rand(1, 4, 8, 8)
    assert torch.equal(block(x), x), "without its convolutions, what is positive passes"


def test_pixels_are_normalised_by_channel():
    network = ResNet18(2, width=4, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.1))
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    expected = torch.tensor([-2.0, (0.2 - 0.5) / 0.25, 4.0])
    torch.testing.assert_close(network.normalise(pixels)[0, :, 0, 0], expected)
    same = ResNet18(2, width=4)
    assert same.normalise(pixels)[0, :, 0, 0].tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_impossible_settings_are_sentences():
    with pytest.raises(ConfigError, match=r"backbone\.width=0 is invalid"):
        ResNet18(2, width=0)
    with pytest.raises(ConfigError, match=r"backbone.std=\[0.1, 0\] is invalid; expected three numbers"):
        ResNet18(2, std=(0.1, 0))
