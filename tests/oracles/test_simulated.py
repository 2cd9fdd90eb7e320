"""Labels from an oracle: the simulated one has them all, and a run says only what its oracle lets it know."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.experiments import FIGURES, config, rows, tiny
from helpers.run_dirs import CLASSES, Grey, GreyClasses

from llpp.config import build, instantiate
from llpp.datasets.classes import UNKNOWN
from llpp.errors import ConfigError, StateError
from llpp.oracles.base import Oracle
from llpp.oracles.simulated import SimulatedOracle
from llpp.rounds import loop

TRAIN = np.arange(4)


def without_joints(dataset, *missing):
    """The dataset with persons of whom no joint is labelled."""
    labels = dataset.records.labels
    visible, joints = labels.visible.copy(), labels.joints.copy()
    visible[list(missing)], joints[list(missing)] = 0, np.nan
    dataset.records = replace(dataset.records, labels=replace(labels, visible=visible, joints=joints))
    return dataset


def test_what_the_dataset_has_labelled_is_known_before_it_is_asked_for():
    oracle = SimulatedOracle(without_joints(Grey(), 1))
    ids = ["grey/0", "grey/1", "grey/5", "grey/9"]
    assert oracle.knows_pool
    assert oracle.find_answered(ids).tolist() == [True, False, True, False], "there is no grey/9"
    oracle.ask(ids)
    assert oracle.find_answered(ids).tolist() == [True, False, True, False]


def test_training_records_without_a_label_are_counted_and_one_is_named():
    oracle = SimulatedOracle(without_joints(Grey(), 1, 3, 5))
    with pytest.raises(ConfigError) as refused:
        oracle.check(TRAIN)
    assert str(refused.value) == (
        "2 of 4 training records have no labelled joint, 'grey/1' among them; a simulated run, acquisition=true_loss "
        "above all, needs labels for the whole pool: leave them out"
    )
    oracle.check(np.array([0, 2]))
    classes = SimulatedOracle(GreyClasses(replace(CLASSES, index=np.array([0, 1, UNKNOWN, 1, 0, 0]))))
    with pytest.raises(ConfigError, match="1 of 4 training records have no class, 'grey/2' among them"):
        classes.check(TRAIN)


def test_a_run_with_unlabelled_training_records_is_refused_before_anything_is_written(tmp_path):
    cfg = config(tmp_path / "run")
    dataset = without_joints(instantiate.make_dataset(cfg), 20)
    with pytest.raises(ConfigError, match="1 of 36 training records have no labelled joint, 'synthetic/pool-00008'"):
        loop.run_rounds(build.build_run(cfg, dataset=dataset))
    assert not (tmp_path / "run/state.json").exists() and not (tmp_path / "run/rounds.csv").exists()


class Annotators(Oracle):
    """Answer the first `answers` of the ids that they are asked for; the others wait."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = {}

    def check(self, rows):
        self.checked = len(rows)

    def ask(self, ids):
        self.asked.update(dict.fromkeys(ids))

    def find_answered(self, ids):
        known = list(self.asked)[: self.answers]
        return np.isin(ids, known)


SHORT = ("rounds=2", "trainer.max_epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize("answered", [True, False])
def test_a_round_measures_what_its_oracle_knows(answered, tmp_path):
    oracle = Annotators(answers=100 if answered else 12)
    state = loop.run_rounds(replace(tiny(tmp_path, *SHORT), oracle=oracle))
    assert oracle.checked == 36 and list(oracle.asked) == [*state.initial, *state.rounds[0].selected]
    first = rows(tmp_path)[0]
    for column in ("selected_pck", "selected_loss_mean", "selected_loss_std"):
        assert (first[column] != "") == answered, column
    assert first["pool_pck"] == first["pool_loss_mean"] == "", "nobody knows the labels of the pool"
    assert first["selected"] == "6" and first["test_pck"] != ""


@pytest.mark.slow
def test_the_next_round_trains_on_the_answered_images_and_selects_none_that_wait(tmp_path):
    state = loop.run_rounds(
        replace(tiny(tmp_path, "rounds=3", "trainer.max_epochs=1"), oracle=Annotators(answers=15))
    )
    initial, first, second = state.initial, state.rounds[0].selected, state.rounds[1].selected
    assert [row["labelled"] for row in rows(tmp_path)] == ["12", "15", "15"], "12 at the start, and 3 of 6 selected"
    assert len({*initial, *first, *second}) == 24, "what waits for its label is not selected again"
    assert [row["pool"] for row in rows(tmp_path)] == ["24", "18", "12"]


def test_a_round_without_enough_labels_is_one_sentence(tmp_path):
    with pytest.raises(StateError, match=r"1 of the 12 images that were selected for labelling have labels; round 0"):
        loop.run_rounds(replace(tiny(tmp_path, *SHORT), oracle=Annotators(answers=1)))


class Strangers(SimulatedOracle):
    """Know only what they were asked for."""

    knows_pool = False


def test_true_losses_of_a_pool_that_nobody_has_labelled_are_refused(tmp_path):
    cfg = config(tmp_path, "acquisition=true_loss", dataset=FIGURES)
    cfg.oracle._target_ = f"{__name__}.Strangers"
    with pytest.raises(ConfigError, match="needs the labels of all images, and oracle Strangers knows only those"):
        build.build_run(cfg)


@pytest.mark.slow
def test_a_pool_whose_labels_nobody_knows_is_not_scored_to_measure_it(tmp_path):
    run = tiny(tmp_path, *SHORT, "acquisition=random")
    assert run.settings.evaluate_pool
    loop.run_rounds(replace(run, oracle=Annotators(answers=100)))
    assert not (tmp_path / "round_00/scores.parquet").exists()
    assert (tmp_path / "round_00/predictions.parquet").exists() and rows(tmp_path)[0]["selected_pck"] != ""


@pytest.mark.slow
def test_another_oracle_is_another_run(tmp_path):
    loop.run_rounds(tiny(tmp_path, "rounds=1", "trainer.max_epochs=1"))
    cfg = config(tmp_path, "rounds=1", "trainer.max_epochs=1", dataset=FIGURES)
    cfg.oracle._target_ = f"{__name__}.Other"
    with pytest.raises(ConfigError, match=r"different config \(oracle\._target_: 'llpp\.oracles\.simulated"):
        loop.run_rounds(build.build_run(cfg))


class Other(SimulatedOracle):
    """The same labels from elsewhere."""
