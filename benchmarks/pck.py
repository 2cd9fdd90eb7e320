"""Time of PCK over 2,958 images × 16 joints, at one threshold and at twenty."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measure import make_parser, print_result, time_variants
from llpp.inference.performance import keep_memory
from llpp.tasks.pose.pck import PCK, PCKDefinition, compute_joint_distances

IMAGES, JOINTS = 2958, 16
THRESHOLDS = tuple(round(0.025 * step, 3) for step in range(1, 21))
NAMES = [f"joint_{k}" for k in range(JOINTS)]
LOOP = "Python loop over images and joints"
CALLS = 10  # of what takes milliseconds, in a row: a single one would measure what the loop has left in the caches


def make_predictions() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predicted and true joints, visibility and normalisers, a tenth of the joints unlabelled."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 256, (IMAGES, JOINTS, 2)).astype(np.float32)
    pred = (target + rng.normal(0, 12, target.shape)).astype(np.float32)
    visible = np.where(rng.random((IMAGES, JOINTS)) < 0.1, 0, 2).astype(np.uint8)
    normaliser = rng.uniform(40, 120, IMAGES).astype(np.float32)
    return tuple(torch.from_numpy(a) for a in (pred, target, visible, normaliser))  # type: ignore[return-value]


def make_metric(thresholds: Sequence[float]) -> PCK:
    """The metric of llpp, of which a run has one."""
    main, *curve = thresholds
    return PCK(NAMES, PCKDefinition(threshold=main, curve=curve))


def compute_with_metric(pck: PCK, data: tuple[Tensor, Tensor, Tensor, Tensor]) -> NDArray[np.float64]:
    """Mean PCK at each of its thresholds."""
    pck.reset()
    pck.update(*data)
    found = pck.compute()
    return np.array([float(found["mean"]), *(float(found[f"at/{t:g}"]) for t in pck.definition.curve)])


def compute_distances(data: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """The function below the metric alone."""
    return compute_joint_distances(*data)


def compute_with_loop(
    data: tuple[Tensor, Tensor, Tensor, Tensor], thresholds: Sequence[float]
) -> NDArray[np.float64]:
    """The same means, image by image and joint by joint; each distance is measured once for all thresholds."""
    pred, target, visible, normaliser = (part.numpy() for part in data)
    correct, total = np.zeros((len(thresholds), JOINTS)), np.zeros(JOINTS)
    limits = np.array(thresholds, dtype=np.float32)
    for image in range(IMAGES):
        for joint in range(JOINTS):
            if visible[image, joint]:
                distance = np.linalg.norm(pred[image, joint] - target[image, joint])
                correct[:, joint] += distance <= limits * normaliser[image]
                total[joint] += 1
    means: NDArray[np.float64] = (correct / total).mean(axis=1)
    return means


def compute_with_numpy(
    data: tuple[Tensor, Tensor, Tensor, Tensor], thresholds: Sequence[float]
) -> NDArray[np.float64]:
    """The same means by whole-array numpy."""
    pred, target, visible, normaliser = (part.numpy() for part in data)
    ratio = np.linalg.norm(pred - target, axis=2) / normaliser[:, None]
    known = visible > 0
    means: list[float] = [(((ratio <= t) & known).sum(axis=0) / known.sum(axis=0)).mean() for t in thresholds]
    return np.array(means)


def main() -> None:
    """Measure and compare."""
    options = make_parser(__doc__, rounds=7).parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as runs on CPUs do; numpy has as much of it
    data = make_predictions()
    for name, thresholds in (("pck_1_threshold", (0.2,)), ("pck_20_thresholds", THRESHOLDS)):
        pck = make_metric(thresholds)
        error = float(np.abs(compute_with_metric(pck, data) - compute_with_loop(data, thresholds)).max())
        if error > 1.5 / IMAGES:
            raise RuntimeError(f"{name}: the metric and the loop differ by {error}")
        times = time_variants(
            {
                "metric": lambda pck=pck: [compute_with_metric(pck, data) for _ in range(CALLS)],  # type: ignore[misc]
                "pure": lambda: [compute_distances(data) for _ in range(CALLS)],
                "array": lambda t=thresholds: [compute_with_numpy(data, t) for _ in range(CALLS)],  # type: ignore[misc]
                "loop": lambda t=thresholds: compute_with_loop(data, t),  # type: ignore[misc]
            },
            options.rounds,
        )
        each = {part: 1e3 * timing.seconds / CALLS for part, timing in times.items()}
        print_result(
            name, each["metric"], "ms", LOOP, CALLS * each["loop"] / each["metric"],
            images=IMAGES, joints=JOINTS, threads=1, max_difference=error, calls=CALLS,
            joint_distance_ms=each["pure"], loop_ms=CALLS * each["loop"], numpy_array_ms=each["array"],
            **times["metric"].notes,
        )  # fmt: skip


if __name__ == "__main__":
    main()
