"""Which labels a network that is right about every image finds suspicious, and of what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.run_dirs import class_task

from llpp.checking.cross_fitting import Judgement
from llpp.checking.findings import list_findings
from llpp.datasets.base import Records
from llpp.datasets.pose import LSP_SKELETON, PoseDataset, PoseLabels
from llpp.reliability.label_suspicion import measure_found
from llpp.tasks.pose.losses import SpatialCrossEntropy
from llpp.tasks.pose.task import PoseTask
from llpp.types import Features, Output

COUNT, JOINTS, SIDE = 60, len(LSP_SKELETON.joints), 128
NAMES = LSP_SKELETON.joints
KNEE = NAMES.index("r_knee")


class Persons(PoseDataset):
    """Persons whose joints are anywhere in grey images of 128 × 128 pixels."""

    name = "persons"
    skeleton = LSP_SKELETON

    def __init__(self, joints):
        ids = [f"person{number}" for number in range(COUNT)]
        self.records = Records(
            ids=ids,
            images=ids,
            split=np.array(["train"] * COUNT),
            boxes=np.tile(np.array([0, 0, SIDE, SIDE], dtype=np.float32), (COUNT, 1)),
            box_source="annotation",
            may_start=np.ones(COUNT, dtype=bool),
            labels=PoseLabels(LSP_SKELETON, joints, np.full((COUNT, JOINTS), 2, dtype=np.uint8)),
        )

    def load(self, row):
        return np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)


def draw_truth():
    return np.random.default_rng(0).uniform(30, 98, (COUNT, JOINTS, 2)).astype(np.float32)


def judge(labels):
    """What a network says about these labels whose maps are where the joints really are."""
    pck = {"normaliser": "box", "factor": 1.0, "threshold": 0.1, "joints": "labelled", "exclude": [], "curve": []}
    task = PoseTask(Persons(labels), SpatialCrossEntropy(), pck, {"sigma": 1.0, "peak": 10.0})
    codec = replace(task.codec, stride=4)
    truth = torch.from_numpy(draw_truth())
    seen = torch.full((COUNT, JOINTS), 2)
    maps = codec.encode(truth, seen, (SIDE // 4, SIDE // 4))
    output = Output((maps + 0.01).log()[:, None], Features({}, torch.zeros(COUNT, 1, 1, 1)), stride=4)
    batch = {
        "joints": torch.from_numpy(labels),
        "visible": seen,
        "normaliser": torch.full((COUNT,), float(SIDE)),
        "row": torch.arange(COUNT),
    }
    losses, has_target = task.compute_losses(output, batch)
    predictions = task.predict(output)
    columns = {
        "true_loss": losses.where(has_target, torch.nan),
        # As of a head that knows nothing.
        "predicted_loss": torch.zeros(COUNT),
        "quality": task.compute_quality(predictions, batch),
        **predictions,
        **task.compare_with_labels(output, batch),
    }
    flat = {name: values.numpy().reshape(COUNT, -1).astype(np.float32) for name, values in columns.items()}
    for name in ("true_loss", "predicted_loss", "quality", "confidence", "shift_fit", "even_fit"):
        flat[name] = flat[name][:, 0]
    for name in list(flat):
        if name.endswith(("_shift_fit", "_even_fit")):
            flat[name] = flat[name][:, 0]
    return list_findings(task, [Judgement("fold 1 of 2", np.arange(COUNT), flat)])


def spoil(labels):
    """Five persons' labels with a mistake each."""
    order = LSP_SKELETON.flip_order
    labels[3] = labels[3, order]
    labels[7, KNEE] += (40, 10)
    labels[11] += (-20, 9)
    labels[[20, 21]] = labels[[21, 20]]
    return labels


def test_spoiled_labels_come_first_each_with_its_reason():
    found = judge(spoil(draw_truth()))
    first = {finding.id: finding for finding in found.labels[:5]}
    reasons = {name: finding.reason for name, finding in first.items()}
    assert reasons == {
        "person3": "swapped",
        "person7": "moved",
        "person11": "shifted",
        "person20": "other_pose",
        "person21": "other_pose",
    }
    assert {finding.rank for finding in found.labels} == set(range(1, COUNT + 1))
    assert first["person7"].joints == ("r_knee",)
    # The square root of 40² + 10² is 41.2; what is 128 pixels large is the box.
    assert first["person7"].details.startswith("r_knee is 41 px from where it is expected (0.32 of the person)")
    assert "-20, +9 px" in first["person11"].details
    assert {"r_wrist", "l_wrist"} <= set(first["person3"].joints)
    # What is shown is where the network sees the joints.
    assert first["person3"].predicted == pytest.approx(draw_truth()[3], abs=0.5)
    assert all(finding.suspicion < 0 for finding in found.labels[5:])


def test_a_network_that_is_right_would_find_nearly_all_mistakes():
    found = judge(spoil(draw_truth()))
    shares = measure_found(found.suspicion, found.made, 5)
    assert set(shares) == {"swapped", "moved", "shifted", "other_pose"}
    assert min(shares.values()) > 0.5


def test_two_joints_at_one_place_and_joints_outside_are_named():
    labels = draw_truth()
    labels[5, KNEE] = labels[5, KNEE + 1]
    labels[9, 0] = (-60, 40)
    found = {finding.id: finding for finding in judge(labels).labels[:2]}
    # One of 60 labels has each oddity.
    assert found["person5"].evidence["duplicated"] == pytest.approx(np.log(60))
    assert found["person9"].evidence["outside"] == pytest.approx(np.log(60))


def test_a_label_off_the_map_has_no_true_loss_and_is_among_the_first():
    labels = draw_truth()
    labels[13] += 3 * SIDE
    first = judge(labels).labels[0]
    assert first.id == "person13" and np.isnan(first.true_loss)
    assert first.suspicion > 0 and first.reason != "unclear"


def test_a_class_is_suspicious_by_how_much_likelier_another_one_is():
    # Probabilities of the label 0.05 and 0.8; of the network's own class 0.9 and 0.8, which is the label.
    columns = {
        "true_loss": -np.log(np.array([0.05, 0.8], dtype=np.float32)),
        "confidence": np.array([0.9, 0.8], dtype=np.float32),
        "predicted_class": np.array([1, 1], dtype=np.float32),
        "predicted_loss": np.zeros(2, dtype=np.float32),
        "quality": np.array([0, 1], dtype=np.float32),
    }
    # The images of these rows show a cat and a dog.
    first, second = list_findings(class_task(), [Judgement("round 0", np.array([0, 1]), columns)]).labels
    assert (first.id, first.reason, first.details) == ("grey/0", "other_class", "cat → dog (90%)")
    assert first.suspicion == pytest.approx(np.log(0.9 / 0.05), rel=1e-5)
    assert (second.reason, second.suspicion) == ("unclear", pytest.approx(0, abs=1e-6))
