"""Run ÷ step: images per second of a run's training epochs, and of the same steps with a batch at hand."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from benchmarks.measure import Timing, print_result, time_rounds
from benchmarks.nets import METHOD, make_autocast, make_run, make_training_step
from llpp.rounds.run import Run
from llpp.training.module import RoundPart
from llpp.types import Batch

SHOWN = ("logger=csv", "callbacks=lines", "training.base_models=null")  # a run that logs into files
SMALL = ("trainer=cpu", "backbone=hourglass_small")
GPU = ("trainer=gpu", "backbone=hourglass", "backbone.stacks=1")
CACHED = ("crop.cache=true",)
RESIDENT = (*CACHED, "crop.resident=device")
SPARE = 8  # images of the pool and of the test set, which nothing is measured with
BASELINE = "the same steps with a batch at hand"


@dataclass(frozen=True)
class Case:
    """A run of which epochs are measured, on made figures."""

    name: str  # of its row
    size: int  # pixels
    batch: int  # images
    steps: int  # of an epoch
    epochs: int  # that are measured, after a first one
    overrides: tuple[str, ...]
    device: str = "cpu"


CPU_CASES = (
    Case("128px", 128, 32, 8, 4, (*SMALL, *CACHED)),
    Case("128px_resident", 128, 32, 8, 4, (*SMALL, *RESIDENT)),
    Case("256px", 256, 64, 8, 2, (*SMALL, "backbone.channels=16", *CACHED)),
    Case("256px_resident", 256, 64, 8, 2, (*SMALL, "backbone.channels=16", *RESIDENT)),
    # So small a step is three times as fast with one thread. Last, because its number of threads stays.
    Case("64px", 64, 8, 32, 4, (*SMALL, *RESIDENT, "launch.threads=1")),
)
GPU_CASES = (
    Case("128px", 128, 32, 32, 5, (*GPU, *RESIDENT), "cuda"),
    Case("256px", 256, 64, 16, 5, (*GPU, *RESIDENT), "cuda"),
)
TOY_CASES = (Case("32px", 32, 4, 2, 1, (*SMALL, *RESIDENT)),)


class EpochStarts(pl.Callback):
    """Notes when each epoch begins, and when the last one has ended.

    An epoch ends with a check of its losses: by then the device has done everything.
    """

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def measure_case(case: Case, print_row: Callable[..., None] = print_result) -> None:
    """Print the rate of the run's epochs, and its ratio to that of their steps alone."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(*list_settings(case, Path(folder)), shown=SHOWN)
        run.data.open_crops()
        rows = run.data.dataset.records.select_rows("train")[: case.batch * case.steps]
        epoch_of_steps = make_epoch_of_steps(case, run, rows)
        # Whatever slows the machine for a while slows both: steps are timed before and after the run.
        before = time_rounds(epoch_of_steps, case.epochs, warm_up=1)
        epochs = time_epochs(run, rows)
        after = time_rounds(epoch_of_steps, case.epochs)
    steps = Timing(before.rounds + after.rounds)
    images = case.batch * case.steps
    overhead = (epochs.seconds - steps.seconds) / case.steps
    print_row(
        f"run_step_{case.name}", images / epochs.seconds, "images/s", baseline=BASELINE,
        ratio=steps.seconds / epochs.seconds, step_images_per_s=images / steps.seconds,
        step_quiet=steps.notes["quiet"], more_per_step_us=round(1e6 * overhead), size=case.size, batch=case.batch,
        steps=case.steps, settings=" ".join(case.overrides), threads=torch.get_num_threads(), **epochs.notes,
    )  # fmt: skip


def list_settings(case: Case, folder: Path) -> list[str]:
    """List what makes a run of this case: figures of its size, one round, nothing to validate on."""
    images = case.batch * case.steps
    return [
        *METHOD,
        *case.overrides,
        f"crop.size={case.size}",
        f"dataset.size={max(48, case.size)}",
        f"dataset.initial={images}",
        f"dataset.pool={SPARE}",
        "dataset.val=0",
        f"dataset.test={SPARE}",
        f"initial={images}",
        "budget=1",
        f"data.batch_size={case.batch}",
        f"trainer.max_epochs={1 + case.epochs}",
        f"paths.run_dir={folder / 'run'}",
        f"paths.cache_dir={folder / 'cache'}",
    ]


def make_epoch_of_steps(case: Case, run: Run, rows: NDArray[np.int64]) -> Callable[[], None]:
    """Return as many steps as an epoch has, with a fresh network and one batch that is on the device."""
    first = next(iter(run.data.make_loaders(rows.tolist(), [], 0).train_dataloader()))
    batch = cast(Batch, {name: values.to(case.device) for name, values in first.items()})
    module = run.trainer.make_module(RoundPart(0)).to(case.device)
    bf16 = run.result_settings["trainer.precision"] == "bf16-mixed"
    step = make_training_step(module, batch, make_autocast(case.device, bf16))

    def run_steps() -> None:
        for _ in range(case.steps):
            step()
        module.loss_monitor.check()  # which waits for the device, as the end of an epoch does

    return run_steps


def time_epochs(run: Run, rows: NDArray[np.int64]) -> Timing:
    """Train round 0 on these rows as `llpp run` does, and return the seconds of all epochs but the first."""
    starts = EpochStarts()

    def make_trainer(directory: Path, key: str, keep_best: bool) -> pl.Trainer:
        trainer = run.trainer.make_trainer(directory, key, keep_best)
        trainer.callbacks.insert(0, starts)  # type: ignore[attr-defined]  # the stub lacks it
        return trainer

    ids = run.data.dataset.records.ids.take(rows)
    trainer = replace(run.trainer, make_trainer=make_trainer)
    trainer.train(0, tuple(ids), run.data.make_loaders(rows.tolist(), [], 0), 0, "")
    seconds = [end - start for start, end in pairwise(starts.times)]
    return Timing(tuple(seconds[1:]))


def main() -> None:
    """Measure a CPU."""
    for case in CPU_CASES:
        measure_case(case)


if __name__ == "__main__":
    main()
