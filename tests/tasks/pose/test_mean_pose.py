"""The mean pose: what a prediction that looks at no image gets."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.run_dirs import Grey, pose_task

from llpp.tasks.pose.mean_pose import predict_mean_pose

NAN = np.nan
BOXES = np.array([[0, 0, 10, 20], [100, 50, 40, 20], [0, 0, 10, 10], [NAN] * 4, [NAN] * 4], dtype=np.float32)
# Two joints. In the first two boxes, whose longer sides are 20 and 40, the first joint is a quarter of the side right
# of the centre and half of it left of it; the second joint is unknown in one of them.
JOINTS = np.array(
    [[[10, 10], [5, 12]], [[100, 60], [NAN, NAN]], [[NAN] * 2] * 2, [[30, 40], [50, 60]], [[NAN] * 2] * 2],
    dtype=np.float32,
)


def predict(known, asked):
    return predict_mean_pose(JOINTS, BOXES, np.array(known, dtype=np.int64), np.array(asked, dtype=np.int64))


def test_the_mean_pose_is_put_into_each_box():
    # means: (0.25 − 0.5) / 2 = −0.125 sides from the centre; 0.1 sides below it; this box has side 10, centre (5, 5)
    assert predict([0, 1], [2])[0] == pytest.approx(np.array([[3.75, 5.0], [5.0, 6.0]]))


def test_without_a_box_the_pose_is_that_of_others_without_one():
    assert predict([0, 1, 3], [4])[0].tolist() == [[30, 40], [50, 60]]
    assert np.isnan(predict([0, 1], [4])).all() and np.isnan(predict([3], [2])).all()
    assert np.isnan(predict([], [2])).all()


def test_a_joint_that_no_labelled_person_shows_is_unknown():
    predicted = predict([1], [2])[0]
    assert np.isfinite(predicted[0]).all() and np.isnan(predicted[1]).all()


def test_its_quality_is_the_pck_of_each_image():
    """All figures of this dataset are alike, so their mean pose is right everywhere; one moved person is missed."""
    dataset = Grey()
    rows = np.arange(4)
    asked = np.array([4, 5])
    assert pose_task(dataset).evaluate_constant(rows, asked).tolist() == [1, 1]
    labels = dataset.records.labels
    joints = labels.joints.copy()
    # half of the joints are 14 pixels away, and 0.2 of the box's side are 8
    joints[5, :7] += 10
    dataset.records = replace(dataset.records, labels=replace(labels, joints=joints))
    assert pose_task(dataset, normaliser="box").evaluate_constant(rows, asked).tolist() == [1, 0.5]
    assert np.isnan(pose_task(dataset).evaluate_constant(rows[:0], asked)).all()


def test_persons_without_a_normaliser_have_no_quality():
    dataset = Grey()
    labels = dataset.records.labels
    visible = labels.visible.copy()
    visible[5, 2:4] = 0
    dataset.records = replace(dataset.records, labels=replace(labels, visible=visible))
    first, second = pose_task(dataset).evaluate_constant(np.arange(4), np.array([4, 5]))
    assert first == 1 and np.isnan(second)
