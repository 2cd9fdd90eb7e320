"""Mistakes that annotators make, made on purpose in labels that are mostly right.

What a check finds of these says what it can find at all, and how much each kind of evidence is worth.
B images, K joints; coordinates are crop pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llpp.reliability.label_suspicion import MOVED, OTHER_POSE, SHIFTED, SWAPPED
from llpp.seeds import Stream, make_rng

# Shares of the person's size by which a joint, or all of them, are moved.
MOVED_BY = (0.15, 0.6)
SHIFTED_BY = (0.1, 0.5)
KINDS = (SWAPPED, MOVED, SHIFTED, OTHER_POSE)


def make_mistakes(
    kind: str, joints: Tensor, visible: Tensor, flip_order: Sequence[int], rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return labels (B, K, 2) and (B, K) with a mistake of one kind in each.

    What is random is a function of the row of the record, (B,). The other pose is that of the next image of the
    batch, in its place of the crop.
    """
    if kind == SWAPPED:
        order = list(flip_order)
        return joints[:, order], visible[:, order]
    if kind == OTHER_POSE:
        return joints.roll(1, dims=0), visible.roll(1, dims=0)
    labelled = visible > 0
    offsets = np.zeros((len(rows), *joints.shape[1:]), dtype=np.float32)
    for place, (row, known) in enumerate(zip(rows.tolist(), labelled.cpu().numpy(), strict=True)):
        rng = make_rng(Stream.MISTAKE, row, KINDS.index(kind))
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        if kind == SHIFTED:
            offsets[place] = direction * rng.uniform(*SHIFTED_BY)
        elif known.any():
            offsets[place, rng.choice(np.flatnonzero(known))] = direction * rng.uniform(*MOVED_BY)
    moves = torch.from_numpy(offsets).to(joints) * _measure_size(joints, labelled)[:, None, None]
    return joints + moves, visible


def _measure_size(joints: Tensor, labelled: Tensor) -> Tensor:
    """The longer side of the hull of labelled joints: (B,); 0 without any."""
    known = labelled[..., None]
    low = joints.where(known, torch.inf).amin(dim=1)
    high = joints.where(known, -torch.inf).amax(dim=1)
    return (high - low).amax(dim=1).clamp(min=0).nan_to_num(posinf=0.0, neginf=0.0)
