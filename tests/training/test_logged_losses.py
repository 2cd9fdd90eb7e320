"""Losses are logged only where something reads them, and what is read are those of that very step."""

import csv
from dataclasses import replace

import pytest
import pytorch_lightning as pl
from helpers.experiments import tiny

from llpp.errors import TrainingError

pytestmark = pytest.mark.slow
IMAGES = 12  # batches of 4: three steps in each of two epochs


class Losses(pl.Callback):
    """Notes the loss of each step, and what callbacks can read of losses when an epoch ends."""

    def __init__(self, last_step):
        self.last_step = last_step
        self.of_steps = []
        self.after_steps = []
        self.after_epochs = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.of_steps.append(float(outputs["loss"]))
        self.after_steps.append(read_known(trainer))
        trainer.should_stop = len(self.of_steps) == self.last_step

    def on_train_epoch_end(self, trainer, pl_module):
        self.after_epochs.append(read_known(trainer))


def read_known(trainer):
    """The sum of the losses that callbacks can read now; None before the first."""
    known = trainer.callback_metrics
    return float(known["train/pose_loss"] + known["train/objective"]) if "train/objective" in known else None


def train(tmp_path, *overrides, last_step=None, number=0, first=0):
    """Train round `number`, from step `first` on; return what a callback has seen, and the logged losses by step."""
    run = tiny(tmp_path, "logger=csv", *overrides)
    seen = Losses(last_step)

    def make_trainer(*arguments):
        trainer = run.trainer.make_trainer(*arguments)
        trainer.callbacks.insert(0, seen)
        return trainer

    rows = run.data.dataset.records.select_rows("train")[:IMAGES]
    loaders = run.data.make_loaders(rows.tolist(), [], 0)
    replace(run.trainer, make_trainer=make_trainer).train(
        number, run.data.dataset.records.ids.take(rows), loaders, first, ""
    )
    return seen, read_losses(tmp_path / "logs/version_0/metrics.csv", number)


def read_losses(path, number):
    if not path.exists():
        return {}
    losses = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            assert float(row["round"]) == number
            losses[int(row["step"])] = float(row["train/pose_loss"]) + float(row["train/objective"])
    return losses


@pytest.mark.parametrize(
    ("overrides", "last_step", "count", "logged_steps"),
    [
        (["trainer.log_every_n_steps=2"], None, 6, [1, 3, 5]),
        (["trainer.log_every_n_steps=4"], None, 6, [3]),
        (["trainer.log_every_n_steps=0"], None, 6, []),
        # A step after which training stops is logged, too, also where the epoch goes unfinished.
        (["trainer.log_every_n_steps=4"], 5, 5, [3, 4]),
        (["trainer.log_every_n_steps=4", "+trainer.max_steps=5"], None, 5, [3]),
    ],
)
def test_the_log_has_the_losses_of_its_steps_and_callbacks_those_of_the_last_step(
    tmp_path, overrides, last_step, count, logged_steps
):
    seen, logged = train(tmp_path, *overrides, last_step=last_step)
    assert logged == pytest.approx({step: seen.of_steps[step] for step in logged_steps}, rel=1e-5)
    assert len(seen.of_steps) == count
    assert seen.after_epochs == pytest.approx([seen.of_steps[2], seen.of_steps[-1]], rel=1e-5)


def test_a_callback_finds_the_losses_of_a_logged_step_when_that_ends(tmp_path):
    seen, _ = train(tmp_path, "trainer.log_every_n_steps=2")
    # Steps 1, 3 and 5 are logged; 2 ends an epoch.
    latest = [None, 1, 2, 3, 3, 5]
    expected = [None if step is None else pytest.approx(seen.of_steps[step], rel=1e-5) for step in latest]
    assert seen.after_steps == expected


@pytest.mark.parametrize("interval", ["+trainer.val_check_interval=0.5", "+trainer.val_check_interval=00:00:01:00"])
def test_where_validations_come_within_an_epoch_callbacks_find_the_losses_of_every_step(tmp_path, interval):
    seen, logged = train(tmp_path, interval)
    assert seen.after_steps == pytest.approx(seen.of_steps, rel=1e-5)
    assert logged == {}, "fewer than ten steps"


def test_a_later_round_logs_at_the_steps_that_its_numbers_say(tmp_path):
    seen, logged = train(tmp_path, "trainer.log_every_n_steps=4", number=1, first=5)
    assert logged == pytest.approx({7: seen.of_steps[2]}, rel=1e-5)


def test_a_loss_that_is_not_finite_is_refused_before_it_is_logged(tmp_path):
    # The first step spoils the weights, and the second one is logged.
    with pytest.raises(TrainingError, match=r"the loss is not finite in round 0, epoch 1, batch 2"):
        train(tmp_path, "trainer.log_every_n_steps=2", "optimizer.lr=1e30")
    assert read_losses(tmp_path / "logs/version_0/metrics.csv", 0) == {}
