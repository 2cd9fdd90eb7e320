"""Run directories with hand-made numbers, and a dataset to go with them."""

from dataclasses import replace

import numpy as np

from llpp.datasets.base import Records
from llpp.datasets.classes import UNKNOWN, ClassLabels
from llpp.datasets.pose import LSP_SKELETON, PoseDataset, PoseLabels
from llpp.inference.evaluation import Evaluation
from llpp.rounds.records import write_scores
from llpp.run_dir.state import Round, RunState, save_state
from llpp.tasks.classification.task import ClassificationTask
from llpp.tasks.pose.losses import SpatialCrossEntropy
from llpp.tasks.pose.task import PoseTask

JOINTS = len(LSP_SKELETON.joints)


class Grey(PoseDataset):
    """Six persons on grey images of 100 × 80 pixels, joints on a diagonal."""

    name = "grey"
    skeleton = LSP_SKELETON

    def __init__(self):
        count = 6
        ids = tuple(f"grey/{i}" for i in range(count))
        joints = np.tile(np.linspace(20, 60, JOINTS, dtype=np.float32)[None, :, None], (count, 1, 2))
        visible = np.full((count, JOINTS), 2, dtype=np.uint8)
        joints[0, 3], visible[0, 3] = np.nan, 0
        self.records = Records(
            ids=ids,
            images=ids,
            split=np.array(["train"] * 4 + ["val", "test"]),
            boxes=np.tile(np.array([20, 20, 40, 40], dtype=np.float32), (count, 1)),
            box_source="joints",
            may_start=np.ones(count, dtype=bool),
            labels=PoseLabels(LSP_SKELETON, joints, visible),
            ground_truth_boxes=True,
        )

    def load(self, row):
        return np.full((80, 100, 3), 128, dtype=np.uint8)


CLASSES = ClassLabels(("cat", "dog"), np.array([0, 1, 0, 1, 0, UNKNOWN]))


class GreyClasses(Grey):
    """The same images, whole, with classes."""

    def __init__(self, labels=CLASSES):
        super().__init__()
        boxes = np.full((6, 4), np.nan, dtype=np.float32)
        self.records = replace(self.records, labels=labels, boxes=boxes, box_source="image", ground_truth_boxes=False)


def row(number, labelled, test, selected=None, pool=None, **more):
    found = {"round": number, "labelled": labelled, "test_pck": test, "test_undefined": 3, "seconds_train": 2.0,
             "loss_spearman": 0.5, "loss_pair_accuracy": 0.7, "failure_auroc": None}  # fmt: skip
    if selected is not None:
        found |= {"selected": 2, "selected_pck": selected, "pool_pck": pool}
    return found | more


def run_dir(
    folder, rows, seed=0, acquisition="random", name=None, head_weight=1.0, files=False, ids="grey", **science
):
    """A run directory as the loop would leave it, with hand-made numbers; `ids` is the dataset's name."""
    settings = {
        "seed": seed, "training.head_weight": head_weight, "dataset._target_": "llpp.datasets.grey.Grey",
        "head._target_": "llpp.heads.gap_fc.GapFCHead", "objective._target_": "llpp.objectives.kl.KLObjective",
        "acquisition._target_": f"llpp.acquisition.{acquisition}.Some", "pck.threshold": 0.2, **science,
    }  # fmt: skip
    rounds = []
    for number, values in enumerate(rows):
        rounds.append(Round(number, values, ("grey/1", "grey/0") if "selected" in values else ()))
        if files:
            scores(folder / f"round_{number:02d}")
    folder.mkdir(parents=True, exist_ok=True)
    save_state(RunState(settings, (f"{ids}/2",), {"grey/9": "no such <file>"}, tuple(rounds)), folder / "state.json")
    text = f"name: {name or acquisition}\nseed: {seed}\nrounds: 2\npck: {{threshold: 0.2}}\ncrop: {{size: 64}}\n"
    (folder / "config.yaml").write_text(text)
    return folder


def scores(folder):
    values = {"predicted_loss": [0.1, 0.4], "true_loss": [0.2, 0.3], "quality": [1.0, 0.0]}
    columns = {k: np.array(v, dtype=np.float32) for k, v in values.items()}
    write_scores(folder / "test.parquet", ["grey/4", "grey/5"], Evaluation(columns, {}))
    joints = np.full((2, JOINTS, 2), 40, dtype=np.float32)
    write_scores(folder / "predictions.parquet", ["grey/1", "grey/0"], Evaluation({**columns, "joints": joints}, {}))


def pose_task(dataset=None, **pck):
    """The task of a default run on a dataset, Grey's by default; `pck` says how PCK is measured."""
    return PoseTask(dataset or Grey(), SpatialCrossEntropy(), pck=pck, heatmap={"sigma": 1.0, "peak": 10.0})


def class_task(dataset=None):
    """Classification of a dataset, GreyClasses by default."""
    return ClassificationTask(dataset or GreyClasses())
