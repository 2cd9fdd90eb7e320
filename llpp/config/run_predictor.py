"""A finished run as a predictor: torch, with the numbers of `llpp.load(run).predict`."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llpp.config.load_run import LoadedRun
from llpp.config.run_calibration import read_calibration
from llpp.config.run_ranker import describe_choice
from llpp.errors import ConfigError
from llpp.prediction.predictor import CropPredictions, ModelFacts
from llpp.run_dir.state import compute_digest
from llpp.tasks.pose.task import PoseTask


class RunPredictor:
    """The network and head of a run's last round; see `llpp.prediction.predictor.Predictor`.

    Raises:
        ConfigError: the run is not one of poses.
    """

    def __init__(self, run: LoadedRun) -> None:
        self.facts = read_model_facts(run)
        self.run = run
        self.task = _get_pose_task(run)

    def predict(self, crops: NDArray[np.uint8]) -> CropPredictions:
        """See `llpp.prediction.predictor.Predictor`."""
        output, views, losses = self.run.run_network(crops)
        predictions, heights = self.task.predict_with_heights(output, views)
        return CropPredictions(
            joints=predictions["joints"].cpu().numpy(),
            confidence=heights.cpu().numpy(),
            predicted_loss=losses,
            failure_score=self.run.score_failures(predictions, losses),
        )


def load_run_predictor(run_dir: Path, device: str, trusted_packages: Sequence[str] = ()) -> RunPredictor:
    """Load a run directory for `llpp predict`; see `LoadedRun` for what it raises."""
    return RunPredictor(LoadedRun(run_dir, choose_device(device), trusted_packages))


def choose_device(wanted: str) -> str:
    """The device that torch computes on: `auto` is a GPU where there is one.

    Raises:
        ConfigError: torch does not find it.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={wanted!r} cannot be used: torch does not find it; use device=cpu") from error
    return wanted


def read_model_facts(run: LoadedRun) -> ModelFacts:
    """What is to be known about a run's model but its weights; ConfigError if the run is not one of poses."""
    task = _get_pose_task(run)
    skeleton = task.labels.skeleton
    definition = task.definition
    calibration, no_calibration = read_calibration(run.folder, run.state, run.ranker)
    return ModelFacts(
        joints=tuple(skeleton.joints),
        edges=tuple(skeleton.edges),
        flip_pairs=tuple(skeleton.flip_pairs),
        crop_size=run.crop.size,
        padding=run.crop.padding,
        metric=f"{definition.format_label(estimated=False)} ({definition.normaliser})",
        upright=run.reading.orientation == "upright",
        white=run.pixels.white,
        background=run.pixels.background,
        calibration=calibration,
        no_calibration=no_calibration,
        name=str(run.folder),
        round=run.state.rounds[-1].number,
        run_digest=compute_digest(run.state),
        version=_find_version(),
        ranker=run.ranker,
        ranker_origin=describe_choice(run.folder, run.state),
    )


def _find_version() -> str:
    """The version of llpp; `unknown` where it is not installed, but only found on the path."""
    try:
        return importlib.metadata.version("llpp")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _get_pose_task(run: LoadedRun) -> PoseTask:
    if not isinstance(run.task, PoseTask):
        raise ConfigError(
            f"{run.folder} has learned {run.task.name}, and llpp predict writes joints; use "
            "llpp.load(RUN).predict(images) in Python"
        )
    return run.task
