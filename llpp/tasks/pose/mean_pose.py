"""The mean pose: the best that a prediction without a look at the image can be. N records, K joints."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def predict_mean_pose(
    joints: NDArray[np.float32], boxes: NDArray[np.float32], known: Rows, asked: Rows
) -> NDArray[np.float64]:
    """Put the mean pose of the rows `known` into the box of each row in `asked`.

    Args:
        joints: (N, K, 2) image pixels, NaN where not labelled.
        boxes: (N, 4); a record without one takes the mean pose, in image pixels, of those without one.
        known: rows whose joints may be looked at.
        asked: (A,) rows.

    Returns:
        (A, K, 2) image pixels; NaN for a joint that none of `known` shows.
    """
    has_box: NDArray[np.bool_] = np.asarray(np.isfinite(boxes).all(axis=1))
    centre = np.where(has_box[:, None], boxes[:, :2] + boxes[:, 2:] / 2, 0.0)
    side = np.where(has_box, boxes[:, 2:].max(axis=1), 1.0)
    places = (joints[known] - centre[known, None]) / side[known, None, None]
    predicted = np.full((len(asked), *joints.shape[1:]), np.nan)
    for kind in (has_box, np.logical_not(has_box)):
        mean = _average_known(places[kind[known]])
        chosen = kind[asked]
        rows = asked[chosen]
        predicted[chosen] = mean * side[rows, None, None] + centre[rows, None]
    return predicted


def _average_known(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (N, K, 2) over those that are known: (K, 2), NaN without any."""
    known = np.isfinite(places)
    count = known.sum(axis=0)
    total = np.where(known, places, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
