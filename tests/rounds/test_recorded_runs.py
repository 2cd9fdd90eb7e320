"""Results of runs that an earlier program recorded: the same configuration gives the same numbers to the digit."""

from pathlib import Path

import pytest
from helpers import rank_work
from helpers.experiments import FIGURES, tiny
from helpers.rank_processes import on_ranks
from helpers.recordings import check_recorded

from llpp.rounds import loop

RECORDED = Path(__file__).parent / "recorded_runs"
LSPET = Path(__file__).parents[3] / "shared/data/lspet"
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


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_has_the_same_numbers_again(name, tmp_path, monkeypatch):
    if name == "lspet":
        if not LSPET.is_dir():
            pytest.skip("needs the images of LSPET")
        monkeypatch.setenv("LLPP_DATA", str(LSPET.parent))
    overrides = (*RUNS[name], f"paths.cache_dir={tmp_path / 'cache'}")
    if name == "two_ranks":
        on_ranks(2, rank_work.rounds, tmp_path / "run", *overrides)
    else:
        loop.run_rounds(tiny(tmp_path / "run", *overrides, dataset=()))
    check_recorded(tmp_path / "run", RECORDED / f"{name}.json")
