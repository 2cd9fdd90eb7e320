"""Time and memory of a round's parts as pool, labels, image size, stacks and workers grow; each in a fresh process.

The small network (32 channels) stands for training and scoring; bookkeeping and core-set run at full size with
made-up numbers. The lines are the figure of docs/scaling.md.
"""

import math
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import figures
from benchmarks.bookkeeping import HELD_OUT, measure_rounds
from benchmarks.core_set import draw_points
from benchmarks.measure import make_parser, print_result, read_lines, read_peak_bytes, run_in_process, time_rounds
from benchmarks.nets import make_module, make_noise_data, make_trainer
from llpp.acquisition.k_centre_on_host import k_centre_greedy
from llpp.inference.evaluation import evaluate
from llpp.inference.performance import keep_memory
from llpp.settings import LoaderSettings

SIZE = 64  # pixels
LABELLED = 500
BUDGET = 100
SMALL = "backbone=hourglass_small"
TINY = (SMALL, "backbone.channels=4", "backbone.depth=1")  # where the network itself is not the point
POOLS = (1000, 10_000, 100_000, 1_000_000)
LABELS = (1000, 10_000, 100_000)
SIDES = (64, 128, 192, 256)
STACKS = (1, 2, 4, 8)
MAX_POWERS = {"pool": 1.3, "labelled": 1.3, "size": 2.3, "stacks": 1.3}  # of what grows, in time and in memory
Cost = tuple[float, int]  # seconds, bytes


def measure_bookkeeping(pool: int, labelled: int = LABELLED) -> Cost:
    """Measure a round without its network, from reading the state to committing it."""
    costs = measure_rounds(pool + 2 * HELD_OUT, labelled, BUDGET)
    return costs.rounds.best, costs.memory - costs.libraries


def measure_core_set(pool: int) -> Cost:
    """Measure k-centre greedy; its memory does not include the embeddings."""
    rng = np.random.default_rng(0)
    points = draw_points(pool, rng)
    centres = draw_points(LABELLED, rng)
    before = read_peak_bytes()
    timing = time_rounds(lambda: k_centre_greedy(points, centres, BUDGET), 1)
    return timing.seconds, read_peak_bytes() - before


def measure_training(labelled: int = 128, size: int = SIZE, stacks: int = 1) -> Cost:
    """Measure the faster of two epochs, after one to warm up."""
    module = make_module(SMALL, f"backbone.stacks={stacks}", size=size)
    data = make_noise_data(labelled, size, LoaderSettings())
    before = read_peak_bytes()
    timing = time_rounds(lambda: make_trainer().fit(module, data), 2, warm_up=1)
    return timing.best, read_peak_bytes() - before


def measure_scoring(pool: int, size: int, *overrides: str) -> Cost:
    """Measure the faster of two passes over the pool, after one batch to warm up."""
    module = make_module(*overrides, size=size)
    data = make_noise_data(pool, size, LoaderSettings())
    trainer = make_trainer()
    before = read_peak_bytes()
    evaluate(trainer, module, data, np.arange(64))
    timing = time_rounds(lambda: evaluate(trainer, module, data, np.arange(pool)), 2)
    return timing.best, read_peak_bytes() - before


def measure_loading(workers: int) -> Cost:
    """Measure 1,024 training crops of 256 pixels, after an epoch to start the workers, whose memory counts too."""
    loader = make_noise_data(1024, 256, LoaderSettings(workers=workers)).train_dataloader()

    def load_epoch() -> None:
        for _ in loader:
            pass

    timing = time_rounds(load_epoch, 1, warm_up=1)
    memory = read_proportional_bytes(os.getpid())
    for process in multiprocessing.active_children():
        memory += read_proportional_bytes(process.pid)
    return timing.seconds, memory


def read_proportional_bytes(process: int | None) -> int:
    """Return the bytes of a process, each page divided by the number of processes that share it."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return 1024 * int(text.split("\nPss:")[1].split()[0])


# part → what grows, its values, what measures it
PARTS: Mapping[str, tuple[str, tuple[int, ...], Callable[[int], Cost]]] = {
    "bookkeeping": ("pool", POOLS, measure_bookkeeping),
    "core_set": ("pool", POOLS, measure_core_set),
    "scoring": ("pool", (1000, 4000, 16_000, 64_000), lambda pool: measure_scoring(pool, 32, *TINY)),
    "bookkeeping_of_labelled": ("labelled", LABELS, lambda labelled: measure_bookkeeping(200_000, labelled)),
    "training": ("labelled", (128, 256, 512, 1024), measure_training),
    "training_by_size": ("size", SIDES, lambda size: measure_training(size=size)),
    "scoring_by_size": ("size", SIDES, lambda size: measure_scoring(256, size, SMALL)),
    "training_by_stacks": ("stacks", STACKS, lambda stacks: measure_training(stacks=stacks)),
    "scoring_by_stacks": ("stacks", STACKS, lambda n: measure_scoring(256, SIZE, SMALL, f"backbone.stacks={n}")),
    "loading": ("workers", (0, 1, 2, 4), measure_loading),
}


def measure_part(part: str, value: int) -> tuple[float, int, int]:
    """Measure one part at one size in this process; return seconds, bytes and threads."""
    keep_memory()  # as runs on CPUs do
    warnings.filterwarnings("ignore", ".*worker processes in total.*")  # more than there are cores, on purpose
    seconds, memory = PARTS[part][2](value)
    return seconds, memory, torch.get_num_threads()


def measure_parts() -> Iterator[dict[str, Any]]:
    """Measure each part at each of its values, and print each number at once."""
    # Fresh processes fork from one that has imported everything: 39 times the imports would take minutes.
    multiprocessing.set_forkserver_preload(["benchmarks.growth"])
    for part, (axis, values, _) in PARTS.items():
        for value in values:
            seconds, memory, threads = run_in_process(measure_part, part, value)
            sizes: dict[str, Any] = {"axis": axis, "size": value, "bytes": memory, "threads": threads}
            print_result(f"growth_{part}", seconds, "s", **sizes)
            yield {"name": f"growth_{part}", "value": seconds, "detail": sizes}


def check_growth(part: str, kind: str, sizes: list[float], values: list[float]) -> None:
    """Raise RuntimeError if a part's time or memory grows faster than it must, over its last three sizes."""
    growth = max(values[-1], 1e-9) / max(values[-3], 1e-9)
    power = math.log(growth) / math.log(sizes[-1] / sizes[-3])
    most = MAX_POWERS[PARTS[part][0]]
    if power > most:
        raise RuntimeError(f"{kind} of {part} grows as the power {power:.2f} of its size; expected {most} at most")


def main() -> None:
    """Measure or read, draw, and fail if something grows faster than it must."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--measured", type=Path, help="lines of an earlier call, instead of measuring")
    parser.add_argument("--docs", type=Path, help="folder of scaling.md, whose figure is drawn again")
    options = parser.parse_args()
    lines = read_lines(options.measured) if options.measured else list(measure_parts())
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for line in lines:
        parts[line["name"].removeprefix("growth_")].append(line)
    if options.docs:
        figures.save_png(options.docs / "scaling_growth.png", figures.draw_growth(parts))
        print(f"the figure is in {options.docs}", file=sys.stderr)
    for part, part_lines in parts.items():
        if part != "loading":  # more workers than cores are slower
            sizes, seconds, memory = figures.read_growth(part_lines)
            check_growth(part, "time", sizes, seconds)
            check_growth(part, "memory", sizes, memory)


if __name__ == "__main__":
    main()
