"""Expected gradient lengths (EGL++: Shukla, WACV 2022): how much the label of an image would change the network.

Its label is not known; those of the labelled images that look like it stand for it. B images, L labelled ones, D
channels of embeddings.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from llpp.heads.base import average_pool
from llpp.tasks.base import Task
from llpp.types import Batch, Output

PERPLEXITY = 20.0  # as published
NEIGHBOURS = 30  # of each image, as published
CLOSEST = 60  # three times the perplexity: affinities to others are next to nothing (van der Maaten, JMLR 2014)
BISECTIONS = 40


@dataclass(frozen=True)
class LabelledImages:
    """What images are compared with, on the device."""

    embedding: Tensor  # (L, D)
    labels: Batch  # as `Task.crop_labels` gives them, (L, …) each


def compute_gradient_lengths(task: Task, output: Output, embedding: Tensor, labelled: LabelledImages) -> Tensor:
    """Σ_j p(j|u) ‖∇ loss(u, label of j)‖² for each image u: (B,).

    p(j|u) is the affinity of t-SNE between embeddings, over the labelled images j; the 30 largest count. The gradient
    is that of the task's loss by the weights of the last layer, as in BADGE (Ash et al., ICLR 2020), where the
    published code takes those of all layers: with r the gradient by the output and φ the features, it is Σ r(cell)
    φ(cell)ᵀ over the cells, so that no pass through the network is needed.

    Args:
        task: whose loss it is.
        output: of the network for B images; of several stacks, the last.
        embedding: (B, D) of these.
        labelled: images with labels.
    """
    shares, places = find_neighbours(embedding, labelled.embedding)
    device = embedding.device.type
    # In inference mode nothing has a gradient, and autocast would leave eight bits of it.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        raw = output.raw.float().clone().requires_grad_()
        features = output.features.penultimate.float()
        lengths = torch.zeros_like(shares[:, 0])
        for share, place in zip(shares.unbind(1), places.unbind(1), strict=True):
            labels = {name: values.index_select(0, place) for name, values in labelled.labels.items()}
            losses, _ = task.compute_losses(replace(output, raw=raw), labels)
            (by_output,) = torch.autograd.grad(losses.sum(), raw)
            lengths = lengths + share * _compute_squared_length(by_output, features)
    return lengths.detach()


def _compute_squared_length(by_output: Tensor, features: Tensor) -> Tensor:
    """Squared length of the gradient by the last layer's weights: (B,).

    `by_output` is (B, S, K, h, w) of a 1 × 1 convolution of the features (B, C, h, w), of the last of S stacks, or
    (B, K) of a linear layer of their mean.
    """
    if by_output.ndim == 2:
        return by_output.square().sum(dim=1) * average_pool(features).square().sum(dim=1)
    by_weights = torch.bmm(by_output[:, -1].flatten(2), features.flatten(2).transpose(1, 2))
    return by_weights.square().sum(dim=(1, 2))


def find_neighbours(embedding: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Affinities and places of the labelled images that are most like each image: (B, up to 30) each."""
    squares = torch.cdist(embedding.float(), labelled.float()).square()
    closest, places = squares.topk(min(CLOSEST, len(labelled)), dim=1, largest=False)
    affinities = compute_affinities(closest)
    count = min(NEIGHBOURS, len(labelled))
    return affinities[:, :count], places[:, :count]


def compute_affinities(squares: Tensor) -> Tensor:
    """Affinities p(j|u) of t-SNE from squared distances (B, M), ascending: (B, M), each row adds up to 1.

    p ∝ exp(-β d²), with the β at which the perplexity, e to the entropy, is 20. Where M is less than that, all
    affinities are as good as equal.
    """
    beyond = squares - squares[:, :1]
    # In units of the mean, β is within a range for any embedding; images that are all as far have equal affinities.
    beyond = beyond / beyond.mean(dim=1, keepdim=True).clamp(min=torch.finfo(squares.dtype).tiny)
    low = torch.full_like(beyond[:, :1], -20.0)
    high = -low
    for _ in range(BISECTIONS):
        exponent = (low + high) / 2
        shares = functional.softmax(-beyond * torch.exp2(exponent), dim=1)
        is_wide = torch.special.entr(shares).sum(dim=1, keepdim=True).exp() > PERPLEXITY
        low = torch.where(is_wide, exponent, low)
        high = torch.where(is_wide, high, exponent)
    return functional.softmax(-beyond * torch.exp2((low + high) / 2), dim=1)
