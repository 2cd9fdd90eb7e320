"""Time of PCK over 2,958 images × 16 joints at twenty thresholds."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measure import for_each, make_parser, print_result, time_variants
from llpp.inference.performance import keep_memory
from llpp.tasks.pose.pck import PCK, PCKDefinition

IMAGES = 2958
JOINTS = 16
THRESHOLDS = [round(0.025 * step, 3) for step in range(1, 21)]
CALLS = 10  # of what takes milliseconds, in a row: a single one would measure what the loop has left in the caches
Data = tuple[Tensor, ...]  # predicted joints, true joints, visibility, normalisers


def make_predictions() -> Data:
    """Draw predicted and true joints, visibility and normalisers, with a tenth of the joints unlabelled."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 256, (IMAGES, JOINTS, 2)).astype(np.float32)
    predicted = (target + rng.normal(0, 12, target.shape)).astype(np.float32)
    visible = np.where(rng.random((IMAGES, JOINTS)) < 0.1, 0, 2).astype(np.uint8)
    normaliser = rng.uniform(40, 120, IMAGES).astype(np.float32)
    return tuple(torch.from_numpy(array) for array in (predicted, target, visible, normaliser))


def compute_with_metric(pck: PCK, data: Data) -> NDArray[np.float64]:
    """Compute the mean PCK at each threshold with llpp's metric."""
    pck.reset()
    pck.update(*data)
    results = pck.compute()
    curve = [float(results[f"at/{threshold:g}"]) for threshold in pck.definition.curve]
    return np.array([float(results["mean"]), *curve])


def compute_with_loop(data: Data) -> NDArray[np.float64]:
    """Compute the same means image by image and joint by joint; each distance is measured once."""
    predicted, target, visible, normaliser = (part.numpy() for part in data)
    correct = np.zeros((len(THRESHOLDS), JOINTS))
    total = np.zeros(JOINTS)
    limits = np.array(THRESHOLDS, dtype=np.float32)
    for image in range(IMAGES):
        for joint in range(JOINTS):
            if visible[image, joint]:
                distance = np.linalg.norm(predicted[image, joint] - target[image, joint])
                correct[:, joint] += distance <= limits * normaliser[image]
                total[joint] += 1
    means: NDArray[np.float64] = (correct / total).mean(axis=1)
    return means


def main() -> None:
    """Measure, and fail if metric and loop disagree."""
    rounds = make_parser(__doc__, rounds=7).parse_args().rounds
    torch.set_num_threads(1)
    keep_memory()  # as runs on CPUs do; the loop has as much of it
    data = make_predictions()
    names = [f"joint_{k}" for k in range(JOINTS)]
    pck = PCK(names, PCKDefinition(threshold=THRESHOLDS[0], curve=THRESHOLDS[1:]))
    difference = float(np.abs(compute_with_metric(pck, data) - compute_with_loop(data)).max())
    if difference > 1.5 / IMAGES:
        raise RuntimeError(f"the metric and the loop differ by {difference}")
    variants = {
        "metric": for_each(lambda _: compute_with_metric(pck, data), range(CALLS)),
        "loop": lambda: compute_with_loop(data),
    }
    times = time_variants(variants, rounds)
    seconds = times["metric"].seconds / CALLS
    ratio = times["loop"].seconds / seconds
    print_result(
        "pck_20_thresholds", 1e3 * seconds, "ms", "Python loop over images and joints", ratio,
        images=IMAGES, joints=JOINTS, threads=1, max_difference=difference, calls=CALLS, **times["metric"].notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
