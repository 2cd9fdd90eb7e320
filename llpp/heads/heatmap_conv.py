"""Convolutions over the heatmaps, and what these say about themselves.

The papers' heads read the features behind the heatmaps and never see the network's answer, which is all that this one
reads.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from llpp.errors import ConfigError, expect
from llpp.heads.base import FeatureSpec, LossHead, average_pool, build_fully_connected
from llpp.heads.evidence import (
    check_heatmaps,
    compute_log_shares,
    count_evidence,
    gather_evidence,
    get_heatmaps,
)
from llpp.types import Features

MAP_SIDE = 16  # cells that larger maps keep at least when they are reduced before the convolutions
FIRST_CORRECTION = 0.1  # of the usual size of the last layer's first weights
SMALLEST_SHARE = 1e-8  # a root has no gradient at zero


class HeatmapConvHead(LossHead):
    """Heatmaps → convolutions → mean over cells; with the evidence of `llpp.heads.evidence` → FC `widths` → 1.

    The maps are reduced as far as `MAP_SIDE` allows and enter as roots of shares. The prediction is a correction of
    minus the distinctness of the joints' maps, which ranks images without any training; at first it is nearly that.

    Args:
        spec: what the backbone offers.
        channels: of the convolutions; 0 leaves them out.
        widths: of the fully connected layers.
        features: channels that the penultimate map is brought to, to join the heatmaps; 0: it is not read.
        turned: whether to learn from turned images, at which the network fails more often than at those that it
            learns from; see `LossHead.learns_from_turned`.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        channels: int = 16,
        widths: Sequence[int] = (64, 32),
        features: int = 0,
        turned: bool = True,
    ) -> None:
        super().__init__()
        check_heatmaps(spec.heatmaps, "head=heatmap_conv", "head=gap_multilevel")
        for name, value in (("channels", channels), ("features", features)):
            expect(type(value) is int and value >= 0, f"head.{name}", value, "a number of channels, 0 or more")
        expect(isinstance(turned, bool), "head.turned", turned, "true or false")
        if features and not channels:
            raise ConfigError(
                f"head.features={features} joins the convolutions, and head.channels=0 has none; set one of them to "
                "another value"
            )
        self.learns_from_turned = turned
        self.read_features = nn.Conv2d(spec.penultimate, features, 1) if features else None
        self.convolutions: nn.Sequential | None = None
        if channels:
            self.convolutions = nn.Sequential(
                nn.Conv2d(spec.heatmaps + features, channels, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(channels, channels, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
            )
        self.fc = build_fully_connected(channels + count_evidence(spec.heatmaps), widths)
        last = cast(nn.Linear, self.fc[-1])
        with torch.no_grad():
            last.weight.mul_(FIRST_CORRECTION)
        self.distinctness_weight = nn.Parameter(torch.ones(()))

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        log_shares = compute_log_shares(get_heatmaps(features))
        evidence = gather_evidence(log_shares)
        vector = evidence
        if self.convolutions is not None:
            maps = self._prepare_maps(log_shares, features.penultimate)
            vector = torch.cat([average_pool(self.convolutions(maps)), evidence], dim=1)
        correction: Tensor = self.fc(vector).squeeze(1)
        distinctness = evidence[:, -1]
        return correction - self.distinctness_weight * distinctness

    def _prepare_maps(self, log_shares: Tensor, penultimate: Tensor) -> Tensor:
        """Return what the convolutions read: (B, K + features, h', w')."""
        factor = find_reduction(min(log_shares.shape[2:]))
        pooled = nn.functional.avg_pool2d(log_shares.exp(), factor) * factor**2
        roots = (pooled + SMALLEST_SHARE).sqrt()
        if self.read_features is None:
            return roots
        read = nn.functional.avg_pool2d(self.read_features(penultimate), factor)
        return torch.cat([roots, read.to(roots.dtype)], dim=1)


def find_reduction(side: int) -> int:
    """How many cells of a map become one on each axis: at least `MAP_SIDE` are left, and none is cut off."""
    factor = max(1, side // MAP_SIDE)
    while side % factor:
        factor -= 1
    return factor
