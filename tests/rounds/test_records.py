"""What a round writes down: columns by the metric of its task, unknown values empty, one line to read."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.run_dirs import class_task, pose_task

from llpp.ids import Ids
from llpp.inference.evaluation import Evaluation
from llpp.report.files import read_columns
from llpp.rounds import records
from llpp.rounds.selection import Selection

NAN = float("nan")
TASKS = {"pck": pose_task, "accuracy": class_task}


def scores(metric, quality=(1.0, 0.0, NAN), **more):
    columns = {"predicted_loss": (0.1, 0.4, 0.2), "true_loss": (0.25, 0.75, NAN), "quality": quality, **more}
    return Evaluation({name: np.array(values, dtype=np.float32) for name, values in columns.items()}, metric)


def selection(metric, **changes):
    """Three of four images; the pool's true losses are 0.25, 0.75 and unknown, too."""
    known = {
        "ids": ["a/2", "a/0", "a/3"],
        "scores": scores({metric: 0.5}, confidence=(0.5, 0.6, 0.7)),
        "answered": True,
        "pool_ids": Ids(["a/0", "a/2", "a/3"]),
        "pool_scores": scores({metric: 0.25}, embedding=np.zeros((3, 8))),
        "pool_is_known": True,
    }
    return Selection(**{**known, **changes})


@pytest.mark.parametrize("metric", TASKS)
def test_a_rounds_columns_are_called_after_the_metric_of_its_task(metric):
    task = TASKS[metric]()
    tested = scores({metric: 0.75, f"{metric}_part": NAN, "undefined": 3})
    row = records.build_row(2, task, labelled=12, validation=4, tested=tested)
    assert row == {
        "round": 2,
        "labelled": 12,
        "validation_labels": 4,
        f"test_{metric}": 0.75,
        f"test_{metric}_part": None,
        "test_undefined": 3,
        "test_loss": 0.5,  # of the two that are known
        "loss_spearman": pytest.approx(1.0),
        "loss_pair_accuracy": 1.0,
        # Of two known images one fails, and has the higher predicted loss: the surest is right.
        "failure_share": 0.5,
        "failure_augrc": 0.125,  # the generalised risk is 0 up to one half, then rises to one half
        "failure_aurc": 0.25,  # the mean of the risks 0 and 1/2
        "failure_auroc": 1.0,
        "failure_risk_at_80": 0.5,
        "failure_risk_at_90": 0.5,
        "failure_risk_at_95": 0.5,
    }
    assert records.build_row(0, task, 12, 0, scores({}))[f"test_{metric}"] is None, "nothing was tested"

    row = records.build_selection_row(task, selection(metric))
    assert row == {
        "selected": 3,
        f"selected_{metric}": 0.5,
        f"pool_{metric}": 0.25,
        "selected_loss_mean": 0.5,
        "selected_loss_std": pytest.approx(0.5 / 2**0.5),
        "pool_loss_mean": 0.5,
    }


def test_a_networks_own_confidence_is_measured_like_its_predicted_loss():
    """The failure has the lower confidence in one case, and the higher one in the other."""
    for confidence, spearman, augrc, aurc, auroc in (
        ((0.9, 0.2, 0.5), 1.0, 0.125, 0.25, 1.0),
        ((0.2, 0.9, 0.5), -1.0, 0.375, 0.75, 0.0),
    ):
        row = records.build_row(0, pose_task(), 12, 0, scores({"pck": 0.5}, confidence=confidence))
        found = {name: value for name, value in row.items() if name.startswith("confidence_")}
        assert found == {
            "confidence_spearman": pytest.approx(spearman),
            "confidence_augrc": augrc,
            "confidence_aurc": aurc,
            "confidence_auroc": auroc,
            "confidence_risk_at_80": 0.5,
            "confidence_risk_at_90": 0.5,
            "confidence_risk_at_95": 0.5,
        }
        assert row["failure_augrc"] == 0.125


def test_what_is_not_known_is_empty():
    task = pose_task()
    pool = ("pool_pck", "pool_loss_mean")
    chosen = ("selected_pck", "selected_loss_mean", "selected_loss_std")
    for changes, empty in (
        ({"answered": False}, chosen),
        ({"pool_is_known": False}, pool),
        ({"pool_scores": None}, pool),
        ({"scores": scores({"pck": NAN})}, ("selected_pck",)),
    ):
        row = records.build_selection_row(task, selection("pck", **changes))
        assert {name for name, value in row.items() if value is None} == set(empty), changes


@pytest.mark.parametrize("metric", TASKS)
def test_a_round_is_one_line(metric, tmp_path):
    task = TASKS[metric]()
    row = records.build_row(0, task, 12, 0, scores({metric: 0.75}))
    times = {"seconds_train": 2.4, "seconds_test": 0.2}
    title = task.metric_title
    assert records.format_round_line(tmp_path / "random/seed0", task, row | times, 3) == (
        f"random/seed0 · round 0 (1/3) · 12 labelled · test {title} 0.750 · ρ(predicted, true loss) 1.000 · 3 s"
    )
    selected = row | records.build_selection_row(task, selection(metric)) | times
    assert f" · 3 selected, {title} 0.500 (pool 0.250) · 3 s" in records.format_round_line(
        tmp_path, task, selected, 3
    )
    unknown = selection(metric, answered=False, pool_is_known=False)
    selected = row | records.build_selection_row(task, unknown) | times
    assert f" · 3 selected, {title} – · 3 s" in records.format_round_line(tmp_path, task, selected, 3)


def test_a_selection_leaves_its_order_its_predictions_and_all_scores(tmp_path):
    records.write_selection(tmp_path, selection("accuracy"))
    with (tmp_path / "selected.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["rank", "id", "predicted_loss"], ["1", "a/2", "0.1"], ["2", "a/0", "0.4"], ["3", "a/3", "0.2"],
        ]  # fmt: skip
    names = ("id", "predicted_loss", "true_loss", "quality", "confidence")
    predictions = read_columns(tmp_path / "predictions.parquet", names)
    assert predictions["id"].tolist() == ["a/2", "a/0", "a/3"]
    assert predictions["confidence"].tolist() == pytest.approx([0.5, 0.6, 0.7])
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == ["id", "predicted_loss", "true_loss", "quality"], "embeddings are too large to keep"
    assert table["id"].to_pylist() == ["a/0", "a/2", "a/3"]


def test_nothing_scored_leaves_no_scores(tmp_path):
    records.write_selection(tmp_path, selection("pck", pool_scores=None))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.parquet", "selected.csv"]


def test_a_model_that_does_no_better_than_a_constant_prediction_is_named_with_a_remedy():
    """Of three differences 0.1 apart, Student's interval is their mean ± 0.248."""
    tested = scores({}, quality=(0.3, 0.4, 0.5))
    unclear = records.describe_no_learning(4, class_task(), tested, np.array([0.2, 0.4, 0.3]))
    assert unclear == (
        "round 4: not shown, on these test images, to do better than a constant prediction; the mean accuracy of a "
        "test image is 0.400, and 0.300 by the most frequent class of the labelled images (+0.100; 95 % interval "
        "over 3 images: −0.148 to +0.348); train longer (trainer.max_epochs=…), with more labels (in simulations: "
        "initial=…), or look at the labels with llpp data"
    )
    worse = records.describe_no_learning(4, class_task(), tested, np.array([0.7, 0.8, 0.9]))
    assert worse.startswith("round 4: learned too little to do better than a constant prediction; the mean accuracy")
    assert records.describe_no_learning(4, pose_task(), tested, np.array([0.1, 0.2, 0.3])) is None  # 0.2 each
    assert records.describe_no_learning(4, pose_task(), tested, np.array([0.9, 0.9, NAN])) is None  # too few


def test_a_constant_prediction_leaves_a_table(tmp_path):
    records.write_constant(tmp_path / "constant.parquet", ["a/0", "a/1"], np.array([0.25, NAN]))
    table = read_columns(tmp_path / "constant.parquet", ("id", "quality"))
    assert table["id"].tolist() == ["a/0", "a/1"] and table["quality"][0] == 0.25 and np.isnan(table["quality"][1])
