"""Losses are logged only where something reads them, and what is read are those of that very step."""

import csv
from dataclasses import replace

import pytest
import pytorch_lightning as pl
from helpers.experiments import tiny

pytestmark = pytest.mark.slow
IMAGES = 12  # batches of 4: three steps in each of two epochs


class Losses(pl.Callback):
    """Notes the loss of each step, and what callbacks can read of losses when an epoch ends."""

    def __init__(self, last_step):
        self.last_step = last_step
        self.of_steps = []
        self.after_epochs = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.of_steps.append(float(outputs["loss"]))
        trainer.should_stop = len(self.of_steps) == self.last_step

    def on_train_epoch_end(self, trainer, pl_module):
        known = trainer.callback_metrics
        self.after_epochs.append(float(known["train/pose_loss"] + known["train/objective"]))


def train(tmp_path, *overrides, last_step=None):
    """Train one round; return what a callback has seen, and the sums of losses in the log by step, from 0."""
    run = tiny(tmp_path, "logger=csv", *overrides)
    seen = Losses(last_step)

    def make_trainer(*arguments):
        trainer = run.trainer.make_trainer(*arguments)
        trainer.callbacks.insert(0, seen)
        return trainer

    rows = run.data.dataset.records.select_rows("train")[:IMAGES]
    loaders = run.data.make_loaders(rows.tolist(), [], 0)
    replace(run.trainer, make_trainer=make_trainer).train(0, run.data.dataset.records.ids.take(rows), loaders, 0, "")
    return seen, read_losses(tmp_path / "logs/version_0/metrics.csv")


def read_losses(path):
    if not path.exists():
        return {}
    losses = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            assert row["round"] == "0.0"
            losses[int(row["step"])] = float(row["train/pose_loss"]) + float(row["train/objective"])
    return losses


@pytest.mark.parametrize(
    ("overrides", "last_step", "steps"),
    [
        (["trainer.log_every_n_steps=2"], None, [1, 3, 5]),
        (["trainer.log_every_n_steps=4"], None, [3]),
        (["trainer.log_every_n_steps=0"], None, []),
        # A step after which training stops is logged, too, also where the epoch goes unfinished.
        (["trainer.log_every_n_steps=4"], 5, [3, 4]),
        (["trainer.log_every_n_steps=4", "+trainer.max_steps=5"], None, [3]),
    ],
)
def test_the_log_has_the_losses_of_its_steps_and_callbacks_those_of_the_last_step(
    tmp_path, overrides, last_step, steps
):
    seen, logged = train(tmp_path, *overrides, last_step=last_step)
    assert logged == pytest.approx({step: seen.of_steps[step] for step in steps}, rel=1e-5)
    assert len(seen.of_steps) == (5 if last_step or "+trainer.max_steps=5" in overrides else 6)
    assert seen.after_epochs == pytest.approx([seen.of_steps[2], seen.of_steps[-1]], rel=1e-5)
