"""It must learn, not only run: training on drawn figures, and finding those that the model fails on."""

from contextlib import ExitStack

import pytest
from helpers.experiments import config

from llpp.config import build
from llpp.rounds import loop

FIGURES = ("dataset.val=8", "experiment=demo")
FAST = ("trainer.precision=bf16-mixed", "crop.cache=true", "crop.resident=device")
QUIET = ("callbacks=none", "logger=none", "training.base_models=null")


def first_round(run_dir, *overrides):
    experiment = build.build_run(config(run_dir, *QUIET, *overrides, base=(), dataset=FIGURES))
    with ExitStack() as held:
        return loop.run_round(experiment, loop.open_run(experiment, held), 0).rounds[0].row


@pytest.mark.slow
@pytest.mark.parametrize("pose_loss", ["mse", "foreground_mse", "cross_entropy"])
def test_every_pose_loss_trains_from_scratch_on_easy_figures(pose_loss, tmp_path):
    easy = ("dataset.hard_test=0", "dataset.test=64", "dataset.pool=0", "rounds=1", "trainer.max_epochs=6")
    row = first_round(tmp_path, f"pose_loss={pose_loss}", *easy)
    assert row["test_pck"] > 0.5  # 0.02 untrained


@pytest.mark.slow
@pytest.mark.parametrize("speed", [(), FAST], ids=["plain", "fast"])
def test_the_head_ranks_losses_and_the_selection_is_what_the_model_fails_on(speed, tmp_path):
    small = (
        "rounds=2",
        "dataset.pool=384",
        "budget=48",
        "trainer.max_epochs=14",
        f"paths.cache_dir={tmp_path}/caches",
    )
    row = first_round(tmp_path, *small, *speed)
    assert row["loss_spearman"] >= 0.6
    # a random selection has the pool's PCK on average
    assert row["selected_pck"] <= 0.35 * row["pool_pck"]
