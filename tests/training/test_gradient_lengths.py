"""Expected gradient lengths: against affinities and gradients that are computed in another way."""

import numpy as np
import pytest
import torch
from helpers.experiments import tiny
from helpers.run_dirs import GreyClasses, class_task
from scipy.optimize import brentq

from llpp.backbones.resnet import ResNet18
from llpp.inference.scorer import PoolScorer
from llpp.training.gradient_lengths import (
    LabelledImages,
    compute_affinities,
    compute_gradient_lengths,
    find_neighbours,
)
from llpp.training.module import RoundPart


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compute_perplexity(shares):
    some = shares[shares > 0]
    return np.exp(-(some * np.log(some)).sum())


def test_affinities_have_the_perplexity_that_t_sne_has_there():
    squares = noise(3, 50).square().mul(4).sort(dim=1).values.double()
    found = compute_affinities(squares).numpy()
    for row, distances in zip(found, squares.numpy(), strict=True):

        def weigh(beta, distances=distances):
            weights = np.exp(-beta * (distances - distances.min()))
            return weights / weights.sum()

        beta = brentq(lambda beta: compute_perplexity(weigh(beta)) - 20, 1e-6, 1e3)
        assert row == pytest.approx(weigh(beta), rel=1e-5)
    assert compute_affinities(1e6 * squares).numpy() == pytest.approx(found, rel=1e-4), "in any unit"


def test_few_labelled_images_or_equally_far_ones_have_equal_affinities():
    assert compute_affinities(torch.tensor([[1.0, 2.0, 3.0, 9.0]]))[0].tolist() == pytest.approx([0.25] * 4, abs=1e-4)
    assert compute_affinities(torch.full((1, 40), 2.0))[0].tolist() == pytest.approx([1 / 40] * 40)
    assert compute_affinities(torch.zeros(1, 40))[0].tolist() == pytest.approx([1 / 40] * 40)


def test_the_thirty_closest_are_compared_with():
    labelled = torch.arange(100.0)[:, None]
    shares, places = find_neighbours(torch.tensor([[0.0], [99.0]]), labelled)
    assert places.tolist() == [list(range(30)), list(range(99, 69, -1))]
    assert (shares.diff(dim=1) <= 0).all() and (shares.sum(dim=1) > 0.8).all() and (shares.sum(dim=1) <= 1).all()


def expect_lengths(network, last, task, image, embedding, labelled):
    """One pass back per image and label, through the last layer's own weights."""
    expected = []
    shares, places = find_neighbours(embedding, labelled.embedding)
    for number in range(len(image)):
        total = 0.0
        for share, place in zip(shares[number], places[number], strict=True):
            network.zero_grad()
            labels = {name: values[place][None] for name, values in labelled.labels.items()}
            losses, _ = task.compute_losses(network(image[number][None]), labels)
            losses.sum().backward()
            total += share.item() * last.weight.grad.square().sum().item()
        expected.append(total)
    return expected


@pytest.mark.slow
def test_lengths_of_classes_are_those_of_the_gradients_themselves():
    task = class_task(GreyClasses())
    network = ResNet18(task.labels.outputs, width=2).eval()
    image = noise(3, 3, 8, 8)
    labels = {"label": torch.arange(5) % task.labels.outputs}
    labelled = LabelledImages(noise(5, 4, seed=1), labels)
    embedding = noise(3, 4, seed=2)
    expected = expect_lengths(network, network.classifier, task, image, embedding, labelled)
    with torch.inference_mode():
        found = compute_gradient_lengths(task, network(image), embedding, labelled)
    assert found.tolist() == pytest.approx(expected, rel=1e-4) and min(expected) > 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "foreground_mse"])
def test_lengths_of_poses_are_those_of_the_gradients_themselves(loss, tmp_path):
    """By the weights of the last stack's heatmaps, with the labels of other crops, as a scoring pass has them."""
    experiment = tiny(tmp_path, "backbone.stacks=2", f"pose_loss={loss}", "trainer.precision=32-true")
    data = experiment.data.make_loaders([0, 1], [0, 1], 0)
    module = experiment.trainer.make_module(RoundPart(0)).eval()
    scorer = PoolScorer(experiment.trainer.make_trainer(tmp_path, "key", False), module, data)
    rows = np.array([5, 2, 9])
    labelled = scorer.find_labelled(rows)
    batch = next(iter(data.make_rows_loader(rows)))
    order = [batch["row"].tolist().index(row) for row in rows]
    for name, values in labelled.labels.items():
        torch.testing.assert_close(values, batch[name][order], equal_nan=True, msg=f"{name} as scoring has them")

    found = scorer.score(np.array([1, 7]), frozenset({"gradient_length", "embedding"}), labelled)
    others = next(iter(data.make_rows_loader(np.array([1, 7]))))
    embedding = torch.from_numpy(found.columns["embedding"])
    network = module.backbone
    image = module.prepare_images(others)
    expected = expect_lengths(network, network.heatmaps[-1], module.task, image, embedding, labelled)
    assert found.columns["gradient_length"].tolist() == pytest.approx(expected, rel=1e-3) and min(expected) > 0
