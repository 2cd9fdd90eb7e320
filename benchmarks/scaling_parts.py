"""What grows with the pool in one process: each function yields (name, value, unit, sizes) at several sizes."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.bookkeeping import Costs, measure_rounds
from benchmarks.core_set import draw_points
from benchmarks.measure import for_each, read_peak_bytes, run_in_process, time_rounds
from benchmarks.nets import JOINTS, PUBLISHED, count_parameters
from llpp.acquisition.k_centre_on_host import k_centre_greedy
from llpp.data.samplers import compute_rank_positions
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.images import read_image
from llpp.run_dir.checkpoints import AtomicCheckpointIO

Sample = tuple[str, float, str, dict[str, Any]]
POOLS = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)  # of the bookkeeping
PERSONS = (10_000, 20_000, 40_000)  # of COCO files
ROWS = (1_000_000, 2_000_000, 4_000_000, 8_000_000)  # whose places among the ranks are worked out
ROUNDS = 3  # of the bookkeeping
# points, labelled, budget, dimensions; the last is held out
CORE_SETS = (
    (10_000, 500, 200, 256), (10_000, 4_000, 200, 256), (20_000, 1_000, 1_000, 256), (20_000, 4_000, 200, 64),
    (40_000, 500, 1_000, 64), (40_000, 2_000, 200, 256), (40_000, 2_000, 2_000, 256), (40_000, 8_000, 500, 256),
    (160_000, 8_000, 1_000, 256),
)  # fmt: skip


def measure_bookkeeping() -> Iterator[Sample]:
    """Measure rounds without a network, each pool in a fresh process: 1 % is labelled, 0.1 % is selected."""
    for count in POOLS:
        labelled = count // 100
        budget = count // 1000
        costs: Costs = run_in_process(measure_rounds, count, labelled, budget, ROUNDS)
        sizes = {"N": count, "L": labelled, "k": budget}
        for step, seconds in costs.seconds.items():
            yield step, min(seconds), "s", sizes
        yield "memory", costs.memory, "bytes", sizes
        yield "state_file", costs.state_file, "bytes", {"L": labelled + ROUNDS * budget}
        yield "scores_file", costs.scores_file, "bytes", sizes


def measure_core_set(repeats: int) -> Iterator[Sample]:
    """Measure k-centre greedy on white noise after a ReLU."""
    rng = np.random.default_rng(0)
    for count, labelled, budget, width in CORE_SETS:
        everything = np.ascontiguousarray(draw_points(count + labelled, rng)[:, :width])
        timing = time_rounds(lambda e=everything, n=count, k=budget: k_centre_greedy(e[:n], e[n:], k), repeats)  # type: ignore[misc]
        yield "core_set", timing.best, "s", {"N": count, "L": labelled, "k": budget, "D": width}


def measure_places(repeats: int) -> Iterator[Sample]:
    """Measure how the first rank works out the places of a rank's share."""
    for count in ROWS:
        timing = time_rounds(lambda n=count: compute_rank_positions(n, 64, 0), repeats)  # type: ignore[misc]
        yield "places", timing.best, "s", {"N": count}


def measure_checkpoint(folder: Path, repeats: int) -> Iterator[Sample]:
    """Measure a checkpoint with Adam's state, as it replaces last.ckpt after an epoch."""
    module = PUBLISHED.make_module()
    optimizer = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    content = {"state_dict": module.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    path = folder / "last.ckpt"
    timing = time_rounds(lambda: AtomicCheckpointIO().save_checkpoint(content, path), repeats)
    sizes = {"parameters": count_parameters(module)}
    yield "checkpoint_published", timing.best, "s", sizes
    yield "checkpoint_file_published", path.stat().st_size, "bytes", sizes


def measure_image(folder: Path, repeats: int) -> Iterator[Sample]:
    """Measure decoding one JPEG of 640×480 on one core, as the check of every image before round 0 does."""
    count = 50
    path = folder / "image.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    cv2.setNumThreads(1)
    timing = time_rounds(for_each(read_image, [path] * count), repeats)
    yield "check_image", timing.best / count, "s/image", {"bytes": path.stat().st_size}


def write_annotations(count: int, path: Path) -> None:
    """Write a COCO file: one person with 16 joints in each image."""
    joints = np.random.default_rng(0).uniform(0, 480, (count, JOINTS, 2)).round(2)
    names = [f"joint_{k}" for k in range(JOINTS)]
    images = []
    people = []
    for row in range(count):
        images.append({"id": row, "file_name": f"im{row:08d}.jpg", "width": 640, "height": 480})
        keypoints: list[float] = []
        for x, y in joints[row].tolist():
            keypoints += [x, y, 2]
        people.append(
            {
                "id": row,
                "image_id": row,
                "category_id": 1,
                "bbox": [10.0, 20.0, 300.0, 400.0],
                "num_keypoints": JOINTS,
                "keypoints": keypoints,
            }
        )
    categories = [{"id": 1, "name": "person", "keypoints": names, "skeleton": []}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": people}))


def read_annotations(folder: Path, name: str) -> tuple[float, int]:
    """Return the seconds and the peak bytes that reading a COCO file takes."""
    before = read_peak_bytes()
    timing = time_rounds(lambda: CocoKeypoints(str(folder), name, images="images", val=100, test=100), 1)
    return timing.seconds, read_peak_bytes() - before


def measure_coco_files(folder: Path) -> Iterator[Sample]:
    """Measure COCO's keypoints, the form of annotations for data of one's own; each size in a fresh process."""
    for count in PERSONS:
        path = folder / f"{count}.json"
        write_annotations(count, path)
        seconds, peak = run_in_process(read_annotations, folder, path.name)
        yield "coco_read", seconds, "s", {"N": count}
        yield "coco_peak", peak, "bytes", {"N": count}
        yield "coco_file", path.stat().st_size, "bytes", {"N": count}


def measure_parts(repeats: int) -> Iterator[Sample]:
    """Measure everything, the cheapest first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from measure_image(folder, repeats)
        yield from measure_checkpoint(folder, repeats)
        yield from measure_places(repeats)
        yield from measure_coco_files(folder)
    yield from measure_core_set(repeats)
    yield from measure_bookkeeping()
