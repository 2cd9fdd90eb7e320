"""A quantity that is undefined or empty is never taken for an answer: it chooses no epoch, and makes no round."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.experiments import tiny
from helpers.run_dirs import CLASSES, Grey, GreyClasses, class_task, pose_task
from torch.utils.data import DataLoader

from llpp.datasets.classes import UNKNOWN, ClassLabels
from llpp.errors import ConfigError, TrainingError
from llpp.rounds.preflight import check_validation
from llpp.training.checkpoint_callbacks import BestBy, build_checkpoint_callbacks, check_best_is_known
from llpp.training.module import LearningLossModule
from llpp.training.step_count import check_steps_taken, hint_at_few_steps

NAN = float("nan")
LAST = SimpleNamespace(weights="last")
BEST = SimpleNamespace(weights="best")
PLATEAU = {"scheduler._target_": "llpp.training.schedules.plateau"}
TRAIN = np.arange(4)
VALIDATION = np.array([4])


class Prescribed(pl.LightningModule):
    """Four steps in each epoch, whose validation finds the given values."""

    def __init__(self, values):
        super().__init__()
        self.values = values
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        return (self.weight - 1) ** 2

    def on_train_start(self):
        hint_at_few_steps(self.trainer)

    def validation_step(self, batch, index):
        self.log("val/pck", self.values[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(folder, values, **settings):
    """A trainer that has kept its best epoch by `values`."""
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=build_checkpoint_callbacks(folder, "key", "code", BestBy("val/pck", higher_is_better=True)),
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": len(values), **settings},
    )
    batches = DataLoader(torch.zeros(4, 1))
    trainer.fit(Prescribed(values), batches, batches)
    return trainer


def read_best_epoch(folder):
    return torch.load(folder / "best.ckpt", weights_only=True)["epoch"]


@pytest.mark.slow
@pytest.mark.parametrize("values", [(NAN, 0.25, 0.5, 0.125), (0.125, 0.25, 0.5, NAN), (NAN, NAN, 0.5, NAN)])
def test_an_epoch_whose_value_is_undefined_is_never_the_best(values, tmp_path):
    trainer = train(tmp_path, values)
    check_best_is_known(trainer, 0)
    assert read_best_epoch(tmp_path) == 2


@pytest.mark.slow
def test_where_no_epoch_has_a_value_there_is_no_best_one(tmp_path):
    for name, values, settings in (("nan", (NAN, NAN), {}), ("none", (0.5, 0.5), {"limit_val_batches": 0})):
        trainer = train(tmp_path / name, values, **settings)
        assert not (tmp_path / name / "best.ckpt").exists()
        with pytest.raises(
            TrainingError, match=r"round 3 has no best epoch, because val/pck .*training\.weights=last"
        ):
            check_best_is_known(trainer, 3)


@pytest.mark.slow
def test_a_training_without_a_step_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match=r"round 2 has ended without a single step.*trainer\.max_time"):
        check_steps_taken(train(tmp_path, (0.5,), limit_train_batches=0), 2)
    check_steps_taken(train(tmp_path, (0.5,), max_steps=1), 2)


@pytest.mark.slow
def test_few_steps_are_hinted_at_with_the_number_of_epochs_that_would_do(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train(tmp_path, (0.5, 0.5))
    # 4 steps in each of 2 epochs; 200 steps take 50 epochs
    assert "round 0 will take 8 steps" in caplog.text and "trainer.max_epochs=50 or more" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        train(tmp_path, (0.5, 0.5), max_steps=6)
    assert "round 0 will take 6 steps" in caplog.text and "trainer.max_steps=200 or more" in caplog.text
    # which are as many with more images
    assert "initial=" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        train(tmp_path, (0.5,) * 50, limit_val_batches=0)
    assert "round 0" not in caplog.text


def test_a_round_that_could_take_no_step_or_choose_no_epoch_is_not_started(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.limit_val_batches=0 leaves it out.*training\.weights=last"):
        tiny(tmp_path, "+trainer.limit_val_batches=0", "training.weights=best", "rounds=1")
    with pytest.raises(ConfigError, match=r"trainer\.limit_train_batches=0 is invalid"):
        tiny(tmp_path, "+trainer.limit_train_batches=0", "rounds=1")


def without_torsos():
    """Persons of whom one alone, who does not validate, has a hip."""
    dataset = Grey()
    labels = dataset.records.labels
    visible = labels.visible.copy()
    visible[1:, 2:4] = 0
    dataset.records = replace(dataset.records, labels=replace(labels, visible=visible))
    return dataset


def test_the_metric_is_defined_for_those_with_a_length_and_a_joint_that_counts():
    dataset = without_torsos()
    assert pose_task(dataset).count_measurable(TRAIN) == 1
    assert pose_task(dataset).count_measurable(VALIDATION) == 0
    assert pose_task(dataset, normaliser="box").count_measurable(TRAIN) == 4
    labels = dataset.records.labels
    occluded = np.minimum(labels.visible, 1)
    dataset.records = replace(dataset.records, labels=replace(labels, visible=occluded))
    assert pose_task(dataset, normaliser="box", joints="visible").count_measurable(TRAIN) == 0
    classes = ClassLabels(CLASSES.classes, np.array([0, UNKNOWN, 1, UNKNOWN, UNKNOWN, UNKNOWN]))
    task = class_task(GreyClasses(classes))
    assert task.count_measurable(TRAIN) == 2 and task.count_measurable(VALIDATION) == 0


def test_weights_chosen_by_an_undefined_metric_are_refused_with_what_is_missing():
    task = pose_task(without_torsos())
    with pytest.raises(
        ConfigError,
        match=r"training\.weights=best needs val PCK@0\.2, which is undefined: none of the 1 persons has the length "
        r"that pck\.normaliser=torso divides by .*training\.best_by=loss, another metric such as pck=box, or "
        r"training\.weights=last",
    ):
        check_validation(BEST, {}, task, VALIDATION)
    check_validation(BEST, {}, task, TRAIN)
    check_validation(BEST, {"training.best_by": "loss"}, task, VALIDATION)
    check_validation(BEST, {}, pose_task(without_torsos(), normaliser="box"), VALIDATION)
    check_validation(LAST, {}, task, VALIDATION)


@pytest.mark.parametrize(
    ("settings", "decided", "sentence"),
    [
        (BEST, {}, "training.weights=best needs a validation"),
        (BEST, {"training.best_by": "loss"}, "training.weights=best needs a validation"),
        (LAST, PLATEAU, "scheduler=plateau needs a validation"),
        (BEST, PLATEAU, "training.weights=best and scheduler=plateau need a validation"),
    ],
)
def test_what_follows_the_validation_is_refused_where_there_is_none(settings, decided, sentence):
    nobody = VALIDATION[:0]
    with pytest.raises(ConfigError) as refused:
        check_validation(settings, decided | {"dataset.val": 0}, pose_task(), nobody)
    said = str(refused.value)
    assert said.startswith(f"{sentence}, but there are no validation images (dataset.val=0); ")
    # only what was chosen has to be given up
    assert ("training.weights=last" in said) == (settings is BEST)
    assert ("scheduler=none" in said) == (decided is PLATEAU)
    with pytest.raises(ConfigError, match="there are no validation images;"):
        check_validation(settings, decided, pose_task(), nobody)
    check_validation(LAST, {}, pose_task(), nobody)


def test_without_a_label_neither_weights_nor_learning_rate_can_follow_the_validation_loss():
    unlabelled = class_task(GreyClasses(ClassLabels(CLASSES.classes, np.array([0, 1, 0, 1, UNKNOWN, 0]))))
    by_loss = {"training.best_by": "loss"}
    for settings, decided, named in (
        (BEST, by_loss, r"training\.best_by=loss"),
        (LAST, PLATEAU, "scheduler=plateau"),
        (BEST, by_loss | PLATEAU, r"training\.best_by=loss and scheduler=plateau"),
    ):
        with pytest.raises(ConfigError, match=rf"^{named} needs? val/cross_entropy.*none of the 1 validation images"):
            check_validation(settings, decided, unlabelled, VALIDATION)
        check_validation(settings, decided, class_task(), VALIDATION)
    check_validation(LAST, {}, unlabelled, VALIDATION)


def test_a_validation_loss_that_is_undefined_leaves_the_learning_rate_as_it_is(caplog):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    module = SimpleNamespace(
        trainer=SimpleNamespace(is_global_zero=True),
        task=SimpleNamespace(loss_name="pose_loss"),
        round_number=0,
        current_epoch=7,
    )
    for loss in (1.0, NAN, NAN):
        LearningLossModule._step_plateau(module, plateau, loss)
    assert optimizer.param_groups[0]["lr"] == 1.0 and "val/pose_loss is nan in round 0, epoch 8" in caplog.text
    LearningLossModule._step_plateau(module, plateau, 2.0)
    assert optimizer.param_groups[0]["lr"] == 0.5
