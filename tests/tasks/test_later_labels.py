"""Predictions that were kept are measured by labels that come later, and held against those of another round."""

import numpy as np
import pytest
from helpers.run_dirs import JOINTS, Grey, class_task, pose_task

ROWS = np.array([0, 1, 2])
LONG = {"normaliser": "box", "threshold": 0.1}  # 4 of the box's 40 pixels


def test_kept_poses_are_measured_by_the_labels_that_their_images_have_by_now():
    """Three of fourteen joints are 5 pixels off; person 0 lacks a label of joint 3, which is one of them."""
    task = pose_task(Grey(), **LONG)
    joints = np.nan_to_num(task.labels.joints[ROWS], nan=0.0)
    joints[:, 3:6, 0] += 5
    quality = task.evaluate_predictions({"joints": joints.reshape(3, -1)}, ROWS)
    assert quality == pytest.approx([11 / 13, 11 / 14, 11 / 14])


def test_joints_agree_that_are_as_near_as_the_metric_asks_for():
    """Whether they are labelled does not matter: 2 of 14 have moved by 5 pixels, the others by 3."""
    task = pose_task(Grey(), **LONG)
    before = np.full((3, JOINTS, 2), 30, dtype=np.float32)
    now = before + np.array([3, 0], dtype=np.float32)
    now[:, :2, 0] += 2
    assert task.measure_agreement({"joints": before}, {"joints": now}, ROWS) == pytest.approx([12 / 14] * 3)


def test_labels_are_counted_by_joints_or_by_classes():
    assert pose_task().count_labels(ROWS) == 3 * JOINTS - 1
    assert class_task().count_labels(np.array([3, 4, 5])) == 2, "the class of image 5 is unknown"


def test_classes_are_right_or_the_same():
    task = class_task()
    kept = {"predicted_class": np.array([0.0, 0.0, 1.0], dtype=np.float32)}
    rows = np.array([0, 1, 5])
    assert task.evaluate_predictions(kept, rows) == pytest.approx([1, 0, np.nan], nan_ok=True)
    now = {"predicted_class": np.array([0.0, 1.0, 1.0], dtype=np.float32)}
    assert task.measure_agreement(kept, now, rows).tolist() == [1, 0, 1]
