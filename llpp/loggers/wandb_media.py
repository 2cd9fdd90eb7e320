"""What a round looks like in W&B: a table of the metric by part, the scatter of losses, the selected images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from llpp.errors import LlppError
from llpp.report.collect import Collection, Method, Run, Section
from llpp.report.figures import LIGHT, plot_predicted_vs_true, read_test_losses
from llpp.report.gallery import PREDICTIONS
from llpp.report.stopping import list_verdicts, read_limits
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import RunState
from llpp.tasks.base import Task

MAX_IMAGES = 8  # per round, some 8 kB each


def build_media(run_dir: Path, state: RunState, number: int, task: Task) -> dict[str, Any]:
    """Build round `number` of a run as values for `wandb.log`."""
    media = {f"round/{task.metric_name}_per_{task.part_word}": build_metric_table(state, number, task)}
    scatter = draw_loss_scatter(run_dir, state, number, task)
    if scatter is not None:
        media["round/predicted_vs_true"] = scatter
    media["round/would_have_stopped"] = build_stopping_table(run_dir, state, number)
    images = draw_selected_images(run_dir, state, number, task)
    if images:
        media["round/selected_images"] = images
    return media


def build_metric_table(state: RunState, number: int, task: Task) -> Any:
    """Build a table with all rounds up to this one as rows, the joints or classes as columns."""
    import wandb

    column = f"test_{task.metric_name}"
    columns = [column, *(f"{column}_{part}" for part in task.part_names)]
    data = []
    for committed in state.rounds[: number + 1]:
        row = committed.row
        values = [row.get(name) for name in columns]
        data.append([row["round"], row["labelled"], *values])
    return wandb.Table(columns=["round", "labelled", "mean", *task.part_names], data=data)


def build_stopping_table(run_dir: Path, state: RunState, number: int) -> Any:
    """Build a table of the rules that say when labelling could have stopped, after this round.

    No rule ends a run.
    """
    import wandb

    config, text = read_config(run_dir)
    run = Run(run_dir, replace(state, rounds=state.rounds[: number + 1]), config, text)
    data = []
    for rule, verdict in list_verdicts(run, read_limits(run, None)).items():
        stop = None if verdict.round is None else run.state.rounds[verdict.round].row["labelled"]
        data.append([rule, stop, verdict.says])
    return wandb.Table(columns=["rule", "would have stopped at", "says"], data=data)


def draw_loss_scatter(run_dir: Path, state: RunState, number: int, task: Task) -> Any:
    """Draw the report's figure of this run alone; None where the round's test scores are gone."""
    import wandb

    run = Run(run_dir, state, {}, "")
    if read_test_losses(run, number) is None:
        return None
    row = state.rounds[number].row
    method = Method(f"round {number} · {row['labelled']} labelled", (run,))
    section = Section(task.dataset.name, (method,))
    figure = plot_predicted_vs_true(Collection((section,), ()), LIGHT, number)
    pixels = np.asarray(cv2.imdecode(np.frombuffer(figure, np.uint8), cv2.IMREAD_COLOR))
    return wandb.Image(pixels[..., ::-1])


def draw_selected_images(run_dir: Path, state: RunState, number: int, task: Task) -> list[Any]:
    """Draw those of the selected images with the highest true loss, worst first; none if the round selects none."""
    import wandb

    names = ("id", "predicted_loss", "true_loss", "quality", *sorted(task.shown))
    predictions = Run(run_dir, state, {}, "").read_round_columns(number, PREDICTIONS, names)
    if predictions is None:
        return []
    rows = task.dataset.records.ids.find_rows(predictions["id"].tolist()).tolist()
    worst_first = np.argsort(-np.nan_to_num(predictions["true_loss"], nan=-np.inf), kind="stable")
    images = []
    for index in worst_first[:MAX_IMAGES].tolist():
        prediction = {name: predictions[name][index] for name in task.shown}
        try:
            pixels = task.dataset.load(rows[index])
        except LlppError:
            # The report says what is wrong with the image; here it is one picture less.
            continue
        tile = task.draw(pixels, rows[index], prediction)
        facts = [
            str(predictions["id"][index]),
            f"predicted {predictions['predicted_loss'][index]:.3g}",
            f"true {predictions['true_loss'][index]:.3g}",
            task.describe(rows[index], prediction) or f"{task.metric_title} {predictions['quality'][index]:.3g}",
        ]
        images.append(wandb.Image(tile, caption=" · ".join(facts), file_type="jpg"))
    return images
