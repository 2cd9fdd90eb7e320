"""Runs that end by SIGKILL at a chosen moment, each in a process of its own."""

import os
import pathlib
import signal

import pytorch_lightning as pl
import torch
from helpers.experiments import tiny

from llpp.inference import evaluation
from llpp.rounds import loop, records
from llpp.training.module import LearningLossModule


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def before_any_checkpoint():
    pl.Trainer.fit = die


def _training(number, epoch, index):
    step = LearningLossModule.training_step

    def training_step(self, batch, batch_index):
        if (self.round_number, self.current_epoch, batch_index) == (number, epoch, index):
            die()
        return step(self, batch, batch_index)

    LearningLossModule.training_step = training_step


def middle_of_training():
    _training(1, 1, 2)


def prescribe():
    """Validation losses that are best after the second epoch."""
    step = LearningLossModule.validation_step

    def validation_step(self, batch, batch_index):
        step(self, batch, batch_index)
        self.val_loss.reset()
        self.val_loss.update(torch.tensor([3.0, 1.0, 2.0, 2.5])[self.current_epoch], torch.tensor(True))

    LearningLossModule.validation_step = validation_step


def middle_of_the_first_pose_network():
    prescribe()
    _training(0, 2, 1)


def middle_of_fine_tuning():
    prescribe()
    _training(1, 2, 1)


def middle_of_scoring():
    write = evaluation.ScoreCollector.on_predict_batch_end
    in_second_round = 18  # the pool's size
    evaluation.ScoreCollector.on_predict_batch_end = lambda self, *args: (
        die() if len(self.visits) == in_second_round else write(self, *args)
    )


def between_selection_and_commit():
    records.build_selection_row = die


def middle_of_the_commit():
    replace = pathlib.Path.replace

    def replaced(self, target):
        if target.name == "state.json" and (target.parent / "round_01").exists():
            die()
        return replace(self, target)

    pathlib.Path.replace = replaced


def between_commit_and_table():
    write = records.write_rounds
    records.write_rounds = lambda state, run_dir: die() if len(state.rounds) == 2 else write(state, run_dir)


MOMENTS = (
    before_any_checkpoint,
    middle_of_training,
    middle_of_scoring,
    between_selection_and_commit,
    middle_of_the_commit,
    between_commit_and_table,
)


def run_until(moment, run_dir, overrides=(), environment=None):
    """Run in this process until it kills itself."""
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    torch.set_num_threads(1)
    moment()
    loop.run_rounds(tiny(run_dir, *overrides))
