"""The runs whose numbers are recorded, and a command that records them again after a change that they must follow.

PYTHONPATH=.:tests OMP_NUM_THREADS=1 python -m helpers.recorded_runs
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from helpers import rank_work
from helpers.experiments import FIGURES, tiny
from helpers.rank_processes import on_ranks
from helpers.recordings import read_processor, read_run

from llpp.rounds import loop

TESTS = Path(__file__).parents[1]
RECORDED = TESTS / "rounds/recorded_runs"
LSPET = TESTS.parents[1] / "shared/data/lspet"
EXACT = "trainer.precision=32-true"
RUNS = {
    "synthetic": (*FIGURES, EXACT),
    "lspet": (
        "experiment=lspet_small", EXACT, "dataset.train=48", "dataset.val=4", "dataset.test=8", "head=gap_fc",
        "objective=ranking", "acquisition=core_set",
    ),
    "two_ranks": (*FIGURES, EXACT, "trainer=ddp_cpu", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1"),
    "crop_cache": (*FIGURES, EXACT, "crop.cache=true"),
    "base_pose": (
        *FIGURES, EXACT, "training.base=backbone", "training.init=previous", "training.weights=best",
        "training.best_by=loss", "scheduler=plateau", "training.detach_from_epoch=0", "acquisition=loss_proportional",
    ),
}  # fmt: skip
# A run directory of an earlier program, two of whose rounds are done, and how it continues.
OLD = TESTS / "run_dir/run_before_the_move"
OLD_SETTINGS = (
    "backbone.channels=4", "backbone.depth=1", "head=gap_fc", "head.widths=[8]", "trainer.precision=32-true",
    "launch.threads=1", *FIGURES,
)  # fmt: skip


def run_again(name, folder):
    """Run one of them into `folder`/run."""
    overrides = (*RUNS[name], f"paths.cache_dir={folder / 'cache'}")
    if name == "two_ranks":
        on_ranks(2, rank_work.rounds, folder / "run", *overrides)
    else:
        loop.run_rounds(tiny(folder / "run", *overrides, dataset=()))


def continue_old(run_dir):
    """Add a third round to a copy of the earlier program's run."""
    return loop.run_rounds(tiny(run_dir, *OLD_SETTINGS, "rounds=3"))


def record(run_dir, path):
    """Write the numbers of a run, with what they depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    made_by = {"program": commit.stdout.strip(), "torch": torch.__version__, "processor": read_processor()}
    path.write_text(json.dumps({**made_by, **read_run(run_dir)}, separators=(",", ":")) + "\n")


def main():
    os.environ["LLPP_DATA"] = str(LSPET.parent)
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNS:
            run_again(name, Path(folder, name))
            record(Path(folder, name, "run"), RECORDED / f"{name}.json")
        old = Path(folder, "old")
        shutil.copytree(OLD, old)
        continue_old(old)
        record(old, OLD.with_suffix(".json"))


if __name__ == "__main__":
    main()
