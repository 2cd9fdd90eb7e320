"""Time and memory of a round's parts as pool, labels, image size, stacks and workers grow; each in a process.

Prints a JSON line per measurement. `--measured` takes such lines instead of measuring, `--docs` draws them. The small
network (32 channels) stands for training and scoring; bookkeeping and core-set run at full size with made-up numbers.
"""

import json
import math
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from benchmarks import bookkeeping, growth_report
from benchmarks.core_set import DIMENSIONS, draw_isotropic
from benchmarks.measure import make_parser, print_result, read_peak_bytes
from benchmarks.nets import NoiseDataset, make_module, silence_lightning
from llpp.acquisition.core_set import k_centre_greedy
from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.person_crop import PersonCrop
from llpp.inference.evaluation import evaluate
from llpp.inference.performance import keep_memory
from llpp.run_dir.state import RunState, save_state
from llpp.settings import LoaderSettings

SIZE, BATCH, LABELLED, BUDGET = 64, 16, 500, 100
Cost = Mapping[str, float]  # seconds, bytes
TINY = ("backbone.channels=4", "backbone.depth=1")  # where the network itself is not the point
POOLS = (1000, 10_000, 100_000, 1_000_000)


def measure_bookkeeping(pool: int, labelled: int = LABELLED) -> Cost:
    """A round without its network: reading the state to committing it, `BUDGET` selected by made-up losses."""
    rng, before, laps = np.random.default_rng(0), read_peak_bytes(), bookkeeping.Laps()
    table = bookkeeping.make_records(bookkeeping.make_ids(pool + 2 * bookkeeping.HELD_OUT))
    chosen = rng.choice(table.select_rows("train"), labelled, replace=False)
    with tempfile.TemporaryDirectory() as folder:
        save_state(RunState({}, tuple(table.ids.take(chosen)), {}), Path(folder, "state.json"))
        for _ in range(3):
            bookkeeping.run_round(table, Path(folder), BUDGET, lambda n: rng.standard_normal(n, np.float32), laps)
    return {"seconds": min(map(sum, zip(*laps.values(), strict=True))), "bytes": read_peak_bytes() - before}


def measure_core_set(pool: int) -> Cost:
    """k-centre greedy on white noise after a ReLU; memory beside the embeddings."""
    rng = np.random.default_rng(0)
    points = np.empty((pool, DIMENSIONS), dtype=np.float32)
    for low in range(0, pool, 1000):
        points[low : low + 1000] = draw_isotropic(1000, rng)
    centres, before = draw_isotropic(LABELLED, rng), read_peak_bytes()
    start = time.perf_counter()
    k_centre_greedy(points, centres, BUDGET)
    return {"seconds": time.perf_counter() - start, "bytes": read_peak_bytes() - before}


def make_data(count: int, size: int, workers: int = 0) -> PoolDataModule:
    """Noise, all of it labelled, behind a datamodule."""
    cropping, loading = (
        CropPipeline(PersonCrop(size, padding=1.0), Augmentation(20.0)),
        LoaderSettings(BATCH, 64, workers),
    )
    return PoolDataModule(
        NoiseDataset(count, size), np.ones(count, np.float32), range(count), range(1), cropping, loading, 0, 0
    )


class EpochTimes(pl.Callback):
    """When each epoch of training ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note it."""
        self.ends.append(time.perf_counter())


def make_trainer(epochs: int, *callbacks: pl.Callback) -> pl.Trainer:
    """Lightning without anything that writes."""
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )


def measure_training(labelled: int = 128, size: int = SIZE, stacks: int = 1) -> Cost:
    """The faster of two epochs, after one to warm up."""
    net = make_module("backbone=hourglass_small", f"backbone.stacks={stacks}", size=size)
    times, before = EpochTimes(), read_peak_bytes()
    make_trainer(3, times).fit(net, make_data(labelled, size))
    return {"seconds": float(np.diff(times.ends).min()), "bytes": read_peak_bytes() - before}


def measure_scoring(pool: int = 256, size: int = SIZE, *overrides: str) -> Cost:
    """The faster of two passes over the pool, after one batch to warm up."""
    net = make_module("backbone=hourglass_small", *overrides, size=size)
    source, lightning, before = make_data(pool, size), make_trainer(1), read_peak_bytes()
    evaluate(lightning, net, source, np.arange(64))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        evaluate(lightning, net, source, np.arange(pool))
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "bytes": read_peak_bytes() - before}


def measure_loading(workers: int) -> Cost:
    """1,024 training crops of 256 pixels, after an epoch to start the workers, whose memory counts, too."""
    source = make_data(1024, 256, workers)
    loader = source.train_dataloader()
    for _ in loader:
        pass
    start = time.perf_counter()
    for _ in loader:
        pass
    own = [Path("/proc/self"), *(Path(f"/proc/{p.pid}") for p in multiprocessing.active_children())]
    return {"seconds": time.perf_counter() - start, "bytes": sum(map(read_proportional_bytes, own))}


def read_proportional_bytes(process: Path) -> int:
    """Bytes of a process, each page divided by the number of processes that share it."""
    return 1024 * int((process / "smaps_rollup").read_text().split("\nPss:")[1].split()[0])


# part → what grows, its values, what measures it
PARTS: Mapping[str, tuple[str, tuple[int, ...], Callable[..., Cost]]] = {
    "bookkeeping": ("pool", POOLS, measure_bookkeeping),
    "core_set": ("pool", POOLS, measure_core_set),
    "scoring": ("pool", (1000, 4000, 16_000, 64_000), lambda pool: measure_scoring(pool, 32, *TINY)),
    "bookkeeping_of_labelled": (
        "labelled",
        (1000, 10_000, 100_000),
        lambda labelled: measure_bookkeeping(200_000, labelled),
    ),
    "training": ("labelled", (128, 256, 512, 1024), measure_training),
    "training_by_size": ("size", (64, 128, 192, 256), lambda size: measure_training(size=size)),
    "scoring_by_size": ("size", (64, 128, 192, 256), lambda size: measure_scoring(size=size)),
    "training_by_stacks": ("stacks", (1, 2, 4, 8), lambda stacks: measure_training(stacks=stacks)),
    "scoring_by_stacks": (
        "stacks",
        (1, 2, 4, 8),
        lambda stacks: measure_scoring(256, SIZE, f"backbone.stacks={stacks}"),
    ),
    "loading": ("workers", (0, 1, 2, 4), measure_loading),
}


def run_in_process(work: Callable[..., Cost], value: int) -> Cost:
    """What `work` finds in a process that has done nothing before but import; its children may have children."""
    context = multiprocessing.get_context("fork")
    queue: Any = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(dict(work(value))))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a measurement ended with exit code {process.exitcode}")
    found: Cost = queue.get()
    return found


def measure_parts() -> Iterator[dict[str, Any]]:
    """Each part at each of its values."""
    silence_lightning()
    keep_memory()  # as runs on CPUs do
    warnings.filterwarnings("ignore", ".*worker processes in total.*")  # more than there are cores, on purpose
    for part, (axis, values, work) in PARTS.items():
        for value in values:
            found = run_in_process(work, value)
            sizes: dict[str, Any] = {
                "axis": axis,
                "size": value,
                "bytes": found["bytes"],
                "threads": torch.get_num_threads(),
            }
            print_result(f"growth_{part}", found["seconds"], "s", **sizes)
            yield {"name": f"growth_{part}", "value": found["seconds"], "detail": sizes}


def fit_exponent(lines: list[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> float:
    """The power of the size that something grows with, over the last three sizes."""
    (a, low), (b, high) = ((line["detail"]["size"], max(of(line), 1e-9)) for line in (lines[-3], lines[-1]))
    return math.log(high / low) / math.log(b / a)


def check_growth(parts: Mapping[str, list[dict[str, Any]]]) -> None:
    """Raise RuntimeError if time or memory of a part grows faster than it has to."""
    most = {part: 2.3 if part.endswith("by_size") else 1.3 for part, (axis, *_) in PARTS.items() if axis != "workers"}
    kinds = {"time": lambda line: line["value"], "memory": lambda line: line["detail"]["bytes"]}
    found = {(part, kind): fit_exponent(parts[part], of) for part in most for kind, of in kinds.items()}
    if broken := {key: power for key, power in found.items() if power > most[key[0]]}:
        raise RuntimeError(f"these grow faster than they should, as powers of their size: {broken}")


def main() -> None:
    """Measure or read, draw, and fail if something grows faster than it has to."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--measured", type=Path, help="lines of an earlier call, instead of measuring")
    parser.add_argument("--docs", type=Path, help="folder of scaling.md, whose figure and table are made anew")
    given = parser.parse_args()
    if given.measured:
        lines = [json.loads(line) for line in given.measured.read_text().splitlines() if line.startswith("{")]
    else:
        lines = list(measure_parts())
    parts = {part: [line for line in lines if line["name"] == f"growth_{part}"] for part in PARTS}
    if given.docs:
        growth_report.write(given.docs, parts)
        print(f"figure and table are in {given.docs}", file=sys.stderr)
    check_growth(parts)


if __name__ == "__main__":
    main()
