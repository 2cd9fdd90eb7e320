"""Backbones and loss heads: published sizes, live parameters, shapes and refusals."""

import pytest
import torch
from torch import nn

from llpp.backbones.hourglass import StackedHourglass
from llpp.errors import ConfigError
from llpp.heads.base import FeatureSpec
from llpp.heads.distinctness import DistinctnessHead
from llpp.heads.gap_fc import GapFCHead
from llpp.heads.gap_multilevel import GapMultilevelHead
from llpp.heads.heatmap_conv import HeatmapConvHead
from llpp.heads.multiscale_conv import MultiscaleConvHead
from llpp.types import Features

PUBLISHED = FeatureSpec(dict.fromkeys((4, 8, 16, 32, 64), 256), 256, 256)
SMALL = FeatureSpec({4: 16, 8: 16, 16: 16}, 16, 64, heatmaps=5)
HEADS = {
    "gap_fc": GapFCHead,
    "gap_multilevel": GapMultilevelHead,
    "multiscale_conv": MultiscaleConvHead,
    "multiscale_conv as in the code": lambda spec: MultiscaleConvHead(spec, reduction="conv"),
    "gap_fc with evidence": lambda spec: GapFCHead(spec, evidence="summary"),
    "multiscale_conv with evidence": lambda spec: MultiscaleConvHead(spec, evidence="summary"),
    "distinctness": DistinctnessHead,
    "heatmap_conv": HeatmapConvHead,
    "heatmap_conv with features": lambda spec: HeatmapConvHead(spec, features=4),
    "heatmap_conv without convolutions": lambda spec: HeatmapConvHead(spec, channels=0),
}


def size(network):
    return sum(p.numel() for p in network.parameters())


def small_hourglass(stacks=2, biases=False):
    return StackedHourglass(outputs=5, stacks=stacks, channels=16, depth=2, published_biases=biases)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def features(spec, batch, seed=0):
    """Random maps as a backbone with this spec would give them; the penultimate map is behind a ReLU."""
    pyramid = {
        s: noise(batch, c, spec.get_map_size(s), spec.get_map_size(s), seed=seed + s)
        for s, c in spec.channels.items()
    }
    side = spec.get_map_size(min(spec.channels))
    heatmaps = 3 * noise(batch, spec.heatmaps, side, side, seed=seed + 1) if spec.heatmaps else None
    return Features(pyramid, noise(batch, spec.penultimate, side, side, seed=seed).relu(), heatmaps)


def rows(found, chosen):
    pyramid = {s: m[chosen] for s, m in found.pyramid.items()}
    return Features(pyramid, found.penultimate[chosen], found.heatmaps[chosen])


@pytest.mark.parametrize(("biases", "count"), [(True, 6_570_400), (False, 6_562_144)])
def test_two_stacks_have_the_published_parameters_without_the_unused_ones(biases, count):
    with torch.device("meta"):
        assert size(StackedHourglass(outputs=16, stacks=2, channels=256, published_biases=biases)) == count


def test_eight_stacks_have_the_published_parameters_without_the_unused_ones():
    with torch.device("meta"):
        assert size(StackedHourglass(outputs=16, stacks=8, published_biases=True)) == 25_434_112


def test_the_heads_have_the_published_parameters():
    with torch.device("meta"):
        assert size(GapFCHead(PUBLISHED)) == 43_905
        assert size(MultiscaleConvHead(PUBLISHED, reduction="conv")) == 2_142_337


def test_the_multilevel_head_has_the_published_parameters():
    """Yoo & Kweon's head on four maps of a ResNet-18 with 64 … 512 channels."""
    spec = FeatureSpec({1: 64, 2: 128, 4: 256, 8: 512}, 512, 32)
    assert size(GapMultilevelHead(spec)) == 123_905


@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("what", ["heatmaps", "everything"])
def test_every_parameter_learns(stacks, what):
    backbone = small_hourglass(stacks)
    found = backbone(noise(4, 3, 32, 32))
    loss = found.raw.square().mean()
    if what == "everything":
        loss = loss + sum(m.square().mean() for m in (*found.features.pyramid.values(), found.features.penultimate))
    loss.backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_every_parameter_of_a_head_learns(head):
    network = head(SMALL)
    network(features(SMALL, 8)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("head", [MultiscaleConvHead, HeatmapConvHead])
def test_heads_teach_the_backbone_unless_their_features_are_detached(head):
    backbone, head = small_hourglass(), head(FeatureSpec({4: 16, 8: 16, 16: 16}, 16, 32, heatmaps=5))
    found = backbone(noise(2, 3, 32, 32))
    head(found.features.detach()).sum().backward()
    assert all(p.grad is None for p in backbone.parameters())
    head(found.features).sum().backward()
    assert backbone.stem[0].weight.grad.any()


def test_biases_that_a_batch_norm_cancels_do_not_change_the_function():
    lean, published = small_hourglass(), small_hourglass(biases=True)
    left_out = published.load_state_dict(lean.state_dict(), strict=False).missing_keys
    assert left_out and all(name.endswith(".bias") for name in left_out)
    assert size(published) - size(lean) == sum(published.get_parameter(name).numel() for name in left_out)
    for number, name in enumerate(left_out):
        nn.init.normal_(published.get_parameter(name), generator=torch.Generator().manual_seed(number))
    for network in (lean, published):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0  # running statistics = those of the last batch, the bias among them
    images = noise(4, 3, 32, 32)
    for _ in ("training", "evaluation"):
        one, other = lean(images), published(images)
        assert torch.allclose(one.raw, other.raw, atol=1e-4)
        assert torch.allclose(one.features.penultimate, other.features.penultimate, atol=1e-4)
        lean.eval(), published.eval()


@pytest.mark.parametrize("shape", [(64, 64), (32, 96)])
def test_maps_have_the_published_strides_and_channels(shape):
    backbone = StackedHourglass(outputs=7, stacks=2, channels=8, depth=3).eval()
    found = backbone(noise(2, 3, *shape))
    high, wide = shape
    assert found.raw.shape == (2, 2, 7, high // 4, wide // 4) and backbone.heatmap_stride == 4
    assert found.features.penultimate.shape == (2, backbone.penultimate_channels, high // 4, wide // 4)
    assert sorted(backbone.feature_channels) == sorted(found.features.pyramid) == [4, 8, 16, 32]
    for stride, channels in backbone.feature_channels.items():
        assert found.features.pyramid[stride].shape == (2, channels, high // stride, wide // stride)


def test_images_do_not_mix_in_evaluation():
    backbone, images = small_hourglass().eval(), noise(3, 3, 32, 32)
    together, alone = backbone(images), backbone(images[1:2])
    assert torch.allclose(together.raw[1:2], alone.raw, atol=1e-5)
    assert torch.allclose(together.features.pyramid[16][1:2], alone.features.pyramid[16], atol=1e-5)


def test_later_stacks_build_on_earlier_ones():
    backbone, images = small_hourglass().eval(), noise(1, 3, 32, 32)
    before = backbone(images).raw
    nn.init.zeros_(backbone.heatmaps[0].weight)
    after = backbone(images).raw
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_the_input_of_a_stack_reaches_the_next_one_unchanged():
    """With equal stacks and nothing merged in, both see the same: the identity path of Newell et al."""
    backbone = small_hourglass().eval()
    for parts in (backbone.hourglasses, backbone.features, backbone.heatmaps):
        parts[1].load_state_dict(parts[0].state_dict())
    for merge in (*backbone.merge_features.parameters(), *backbone.merge_heatmaps.parameters()):
        nn.init.zeros_(merge)
    heatmaps = backbone(noise(1, 3, 32, 32)).raw
    assert torch.allclose(heatmaps[:, 0], heatmaps[:, 1], atol=1e-6)


@pytest.mark.parametrize(("crop", "suggested"), [(100, ("64", "128")), (65, ("64", "128")), (20, ("64", "128"))])
def test_sizes_that_do_not_fit_are_refused_with_those_that_do(crop, suggested):
    backbone = StackedHourglass(outputs=3, stacks=1, channels=8, depth=4)
    with pytest.raises(ConfigError, match=rf"crop.size={crop} .*multiple of 64.*{suggested[0]} or {suggested[1]}"):
        backbone.check_size(crop)
    for wrong in (0, -64):
        with pytest.raises(ConfigError):
            backbone.check_size(wrong)
    for name in suggested:
        backbone.check_size(int(name))


@pytest.mark.parametrize("head", [GapMultilevelHead, MultiscaleConvHead])
def test_a_head_names_the_strides_that_the_backbone_lacks(head):
    with pytest.raises(ConfigError) as caught:
        head(PUBLISHED, strides=[2, 4])
    assert str(caught.value) == "head wants features at strides [2]; this backbone offers [4, 8, 16, 32, 64]"


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ConfigError, match=r"'max'.*pool.*conv"):
        MultiscaleConvHead(SMALL, reduction="max")


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_prediction_does_not_depend_on_the_other_images(head):
    network, found = head(SMALL).eval(), features(SMALL, 3)
    together = network(found)
    assert together.shape == (3,)
    for i in range(3):
        alone = network(rows(found, slice(i, i + 1)))
        assert alone.shape == (1,)
        assert torch.allclose(alone, together[i : i + 1], atol=1e-6)
    assert torch.equal(network.train()(found), together), "nor on training or evaluation"


@pytest.mark.parametrize("reduction", ["pool", "conv"])
@pytest.mark.parametrize(
    ("channels", "side"),
    [
        ({4: 8, 6: 8}, 48),  # 12 → 8 cells: ratio 1, then 5 × 5
        ({4: 8, 10: 4}, 64),  # 16 → 6 cells: 2 × 2 to 8, then 3 × 3
        ({4: 6, 8: 3, 24: 5}, 72),  # 18 → 9 → 3 cells
        ({4: 8, 32: 8}, 64),  # 16 → 2 cells in one step
    ],
)
def test_the_convolution_head_takes_any_ratio_of_sides(channels, side, reduction):
    spec = FeatureSpec(channels, 8, side)
    head = MultiscaleConvHead(spec, reduction=reduction)
    found = features(spec, 2)
    predicted = head(found)
    assert predicted.shape == (2,) and predicted.isfinite().all()
    for stride in channels:
        changed = Features({**found.pyramid, stride: found.pyramid[stride] + 1}, found.penultimate)
        assert not torch.equal(head(changed), predicted), f"the map at stride {stride} counts"


def test_the_convolution_head_walks_from_fine_to_coarse_in_any_order_of_strides():
    assert MultiscaleConvHead(SMALL, strides=[16, 4]).strides == (4, 16)


def test_averaging_heads_take_maps_that_are_not_square():
    """Ratios of 2 need no size: the convolution head with reduction=pool and both GAP heads run on 32 × 64 pixels."""
    found = small_hourglass().eval()(noise(2, 3, 32, 64)).features
    for head in (GapFCHead, GapMultilevelHead, MultiscaleConvHead):
        assert head(SMALL)(found).shape == (2,)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_no_head_is_born_dead(head):
    """A dead tail of plain ReLUs predicts one constant for all images."""
    for seed in range(30):
        torch.manual_seed(seed)
        predicted = head(SMALL)(features(SMALL, 6, seed=100 * seed)).detach()
        assert len(predicted.unique()) == 6, seed


@pytest.mark.parametrize("head", [GapFCHead, MultiscaleConvHead])
def test_a_head_whose_units_are_all_below_zero_recovers(head):
    """With plain ReLUs it would neither tell images apart nor ever learn to."""
    network, found = head(SMALL).double(), features(SMALL, 6)  # five small slopes in a row want the digits
    found = Features({s: m.double() for s, m in found.pyramid.items()}, found.penultimate.double())
    for layer in network.fc[:-1]:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, -10.0)
    predicted = network(found)
    predicted.sum().backward()
    assert len(predicted.unique()) == 6
    assert all(p.grad.any() for p in network.parameters())
