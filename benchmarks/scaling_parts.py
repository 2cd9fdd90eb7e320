"""What grows with the pool in one process: each function yields (name, value, unit, sizes) at several sizes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.core_set import draw_isotropic
from benchmarks.measure import read_peak_bytes
from benchmarks.nets import JOINTS, make_module, make_noise_data, make_published_module
from llpp.acquisition.core_set import k_centre_greedy
from llpp.data.datamodule import compute_rank_positions
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.images import read_image
from llpp.inference.evaluation import PER_IMAGE, ScoreCollector
from llpp.run_dir.checkpoints import AtomicCheckpointIO
from llpp.training.module import LearningLossModule

Sample = tuple[str, float, str, Mapping[str, float]]
DIMENSIONS, BATCH = 256, 64
POOLS = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)  # of the bookkeeping
PERSONS = (10_000, 20_000, 40_000)
# points, labelled, budget, dimensions; the last is held out
CORE_SETS = (
    (10_000, 500, 200, 256), (10_000, 4_000, 200, 256), (20_000, 1_000, 1_000, 256), (20_000, 4_000, 200, 64),
    (40_000, 500, 1_000, 64), (40_000, 2_000, 200, 256), (40_000, 2_000, 2_000, 256), (40_000, 8_000, 500, 256),
    (160_000, 8_000, 1_000, 256),
)  # fmt: skip


def time_best(work: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs: on a shared machine the others tell about its other users."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def measure_bookkeeping() -> Iterator[Sample]:
    """benchmarks.bookkeeping in fresh processes: 1 % of the pool is labelled, 0.1 % is selected."""
    for count in POOLS:
        sizes = {"N": count, "L": count // 100, "k": count // 1000}
        options = {"ids": count, "labelled": sizes["L"], "budget": sizes["k"], "rounds": 3}
        command = [sys.executable, "-m", "benchmarks.bookkeeping"]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        for line in map(json.loads, done.stdout.splitlines()):
            name, detail = line["name"].removeprefix("bookkeeping_"), line["detail"]
            if name == "peak":
                ids = sizes["L"] + 3 * sizes["k"]
                yield "memory", line["value"] * 2**30, "bytes", sizes
                yield "memory_libraries", detail["libraries_gib"] * 2**30, "bytes", {}
                yield "state_file", detail["state_json_mib"] * 2**20, "bytes", {"L": ids}
                yield "scores_file", detail["scores_parquet_mib"] * 2**20, "bytes", sizes
            elif name != "round":
                yield name, detail["best_s"], "s", sizes


def measure_core_set(repeats: int) -> Iterator[Sample]:
    """k-centre greedy on white noise after a ReLU."""
    rng = np.random.default_rng(0)
    for count, labelled, budget, width in CORE_SETS:
        everything = np.ascontiguousarray(draw_isotropic(count + labelled, rng)[:, :width])
        points, centres = everything[:count], everything[count:]
        found = time_best(lambda p=points, c=centres, b=budget: k_centre_greedy(p, c, b), repeats)  # type: ignore[misc]
        yield "core_set", found, "s", {"N": count, "L": labelled, "k": budget, "D": width}


def measure_places(repeats: int) -> Iterator[Sample]:
    """The first rank works out the places of all ranks, one rank's share after the other."""
    for count in (1_000_000, 2_000_000, 4_000_000, 8_000_000):
        found = time_best(lambda n=count: compute_rank_positions(n, BATCH, 0), repeats)  # type: ignore[misc]
        yield "places", found, "s", {"N": count}


def measure_checkpoints(folder: Path, repeats: int) -> Iterator[Sample]:
    """A checkpoint with Adam's state, as it replaces last.ckpt after an epoch."""
    nets: Sequence[tuple[str, LearningLossModule]] = (
        ("small", make_module("backbone=hourglass_small", size=64)), ("published", make_published_module(256))
    )  # fmt: skip
    for name, net in nets:
        optimizer = torch.optim.Adam(net.parameters())
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        content = {"state_dict": net.state_dict(), "optimizer_states": [optimizer.state_dict()]}
        path = folder / f"{name}.ckpt"
        found = time_best(lambda c=content, p=path: AtomicCheckpointIO().save_checkpoint(c, p), repeats)  # type: ignore[misc]
        sizes = {"parameters": sum(p.numel() for p in net.parameters())}
        yield f"checkpoint_{name}", found, "s", sizes
        yield f"checkpoint_file_{name}", path.stat().st_size, "bytes", sizes


def measure_images(folder: Path, repeats: int) -> Iterator[Sample]:
    """Decoding one JPEG of 640×480 on one core, as the check of every image before round 0 does."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = folder / "image.jpg"
    cv2.imwrite(
        str(path), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    cv2.setNumThreads(1)
    found = time_best(lambda: [read_image(path) for _ in range(50)], repeats) / 50
    yield "check_image", found, "s/image", {"bytes": path.stat().st_size}
    yield (
        "stat_file",
        time_best(lambda: [path.exists() and path.stat() for _ in range(5000)], repeats) / 5000,
        "s/file",
        {},
    )


def measure_score_collection(repeats: int) -> Iterator[Sample]:
    """What the first thread of a rank does per image beside the network: its row in the table of scores, its PCK."""
    count = 50 * BATCH
    net, data = make_module("backbone=hourglass_small", size=64), make_noise_data(BATCH, 64, BATCH)
    rng = np.random.default_rng(0)
    batch: Any = next(iter(data.make_rows_loader(np.arange(BATCH))))
    outputs = {name: torch.from_numpy(rng.random(BATCH, dtype=np.float32)) for name in PER_IMAGE}
    outputs |= {"joints": batch["joints"], "embedding": torch.zeros(BATCH, DIMENSIONS)}

    def collect_scores() -> None:
        table = ScoreCollector(
            np.arange(count), frozenset({"embedding"}), net.val_pck.make_empty(), tempfile.gettempdir()
        )
        for start in range(0, count, BATCH):
            outputs["row"] = torch.arange(start, start + BATCH)
            table.on_predict_batch_end(None, net, outputs, batch, 0)  # type: ignore[arg-type]  # it does not look

    yield "take_over", time_best(collect_scores, repeats) / count, "s/image", {"D": DIMENSIONS}


def write_annotations(count: int, folder: Path) -> Path:
    """A COCO file: one person with 16 joints in each image."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(0, 480, (count, JOINTS, 2)).round(2)
    skeleton = {"id": 1, "name": "person", "keypoints": [f"joint_{j}" for j in range(JOINTS)], "skeleton": []}
    people = [
        {"id": row, "image_id": row, "category_id": 1, "bbox": [10.0, 20.0, 300.0, 400.0], "num_keypoints": JOINTS,
         "keypoints": [v for x, y in joints[row].tolist() for v in (x, y, 2)]}
        for row in range(count)
    ]  # fmt: skip
    pictures = [{"id": i, "file_name": f"im{i:08d}.jpg", "width": 640, "height": 480} for i in range(count)]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": pictures, "categories": [skeleton], "annotations": people}))
    return path


def measure_coco_file(count: int) -> dict[str, float]:
    """Seconds and bytes to read such a file, and what is left of it in memory; in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_annotations(count, Path(folder))
        before = _read_resident_bytes()
        start = time.perf_counter()
        data = CocoKeypoints(root=folder, annotations=path.name, images="images", val=100, test=100)
        took = time.perf_counter() - start
        kept = sum(
            np.asarray(getattr(data.records, n)).nbytes for n in ("joints", "visible", "boxes", "split", "initial")
        )
        kept += sum(getattr(data.records, n).array.nbytes for n in ("ids", "images"))
        return {"read": took, "file": path.stat().st_size, "peak": read_peak_bytes() - before, "records": kept}


def _read_resident_bytes() -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


def measure_coco_sizes() -> Iterator[Sample]:
    """COCO's keypoints, the one form of annotations for data of one's own."""
    for count in PERSONS:
        command = [sys.executable, "-m", "benchmarks.scaling_parts", str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
        found = json.loads(done.stdout.splitlines()[-1])
        for name in ("read", "file", "peak", "records"):
            yield f"coco_{name}", found[name], "s" if name == "read" else "bytes", {"N": count}


def measure_parts(repeats: int) -> Iterator[Sample]:
    """Everything, the cheapest first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from measure_images(folder, repeats)
        yield from measure_checkpoints(folder, repeats)
        yield from measure_score_collection(repeats)
        yield from measure_places(repeats)
    yield from measure_coco_sizes()
    yield from measure_core_set(repeats)
    yield from measure_bookkeeping()


if __name__ == "__main__":
    print(json.dumps(measure_coco_file(int(sys.argv[1]))))
