"""What a round looks like in W&B: a table of PCK per joint, the scatter of losses, the selected images."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from llpp.datasets.pose import PoseDataset
from llpp.errors import LlppError
from llpp.report.collect import Collection, Method, Run, Section
from llpp.report.figures import LIGHT, plot_predicted_vs_true, read_test_losses
from llpp.report.gallery import draw_person
from llpp.run_dir.state import RunState

MAX_IMAGES = 8  # per round, some 8 kB each
CAPTION_COLUMNS = {"predicted": "predicted_loss", "true": "true_loss", "PCK": "pck"}


def build_media(run_dir: Path, state: RunState, number: int, dataset: PoseDataset) -> dict[str, Any]:
    """Round `number` of a run as values for `wandb.log`."""
    found = {"round/pck_per_joint": build_pck_table(state, number, dataset)}
    if scatter := draw_loss_scatter(run_dir, state, number, dataset):
        found["round/predicted_vs_true"] = scatter
    if images := draw_selected_images(run_dir, state, number, dataset):
        found["round/selected_images"] = images
    return found


def build_pck_table(state: RunState, number: int, dataset: PoseDataset) -> Any:
    """All rounds up to this one as rows, the joints as columns."""
    import wandb

    names = ["mean", *dataset.skeleton.joints]
    columns = ["test_pck", *(f"test_pck_{joint}" for joint in dataset.skeleton.joints)]
    rows = [r.row for r in state.rounds[: number + 1]]
    data = [[row["round"], row["labelled"], *(row.get(column) for column in columns)] for row in rows]
    return wandb.Table(columns=["round", "labelled", *names], data=data)


def draw_loss_scatter(run_dir: Path, state: RunState, number: int, dataset: PoseDataset) -> Any:
    """The report's figure of this run alone; None where the round's test scores are gone."""
    import wandb

    run = Run(run_dir, state, {}, "")
    if read_test_losses(run, number) is None:
        return None
    row = state.rounds[number].row
    method = Method(f"round {number} · {row['labelled']} labelled", (run,))
    figure = plot_predicted_vs_true(Collection((Section(dataset.name, (method,)),), ()), LIGHT, number)
    pixels = np.asarray(cv2.imdecode(np.frombuffer(figure, np.uint8), cv2.IMREAD_COLOR))
    return wandb.Image(pixels[..., ::-1])


def draw_selected_images(run_dir: Path, state: RunState, number: int, dataset: PoseDataset) -> list[Any]:
    """Those of the selected images with the highest true loss, worst first; empty in a round that selects none."""
    import wandb

    names = ("id", "predicted_loss", "true_loss", "pck", "joints")
    poses = Run(run_dir, state, {}, "").read_round_columns(number, "poses.parquet", names)
    if poses is None:
        return []
    table, skeleton = dataset.records, dataset.skeleton
    rows = table.ids.find_rows(poses["id"].tolist()).tolist()
    images = []
    for place in np.argsort(-np.nan_to_num(poses["true_loss"], nan=-np.inf), kind="stable")[:MAX_IMAGES].tolist():
        name, row, joints = str(poses["id"][place]), rows[place], poses["joints"][place].reshape(-1, 2)
        try:
            pixels = dataset.load(row)
        except LlppError:  # the report says what is wrong with the image; here it is one picture less
            continue
        tile = draw_person(pixels, table.joints[row], joints, table.boxes[row], skeleton)
        told = (f"{key} {poses[column][place]:.3g}" for key, column in CAPTION_COLUMNS.items())
        images.append(wandb.Image(tile, caption=" · ".join([name, *told]), file_type="jpg"))
    return images
