"""Networks as files for other programs: ONNX, or a program of torch.export, with all that is needed to use them.

A file is kept only if what is read back from it predicts what torch predicts. B crops, K joints.
"""

import copy
import json
import logging
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError, DataError, ExportError
from llpp.files import replace_file
from llpp.inference.fuse_batchnorm import fuse_batchnorm
from llpp.prediction.onnx_model import FACTS_KEY, INPUT, OUTPUTS, OnnxPredictor
from llpp.prediction.pose_network import PoseNetwork
from llpp.prediction.predictor import CropPredictions, ModelFacts

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}  # of the files, by format
FACTS_FILE = f"{FACTS_KEY}.json"  # in a file of torch.export
OPSET = 20  # version of ONNX's operators
MAX_JOINT_DIFFERENCE = 1e-3  # pixels of the crop
MAX_LOSS_DIFFERENCE = 1e-4  # relative
MAX_CONFIDENCE_DIFFERENCE = 1e-4  # relative
MAX_SCORE_DIFFERENCE = 1e-4  # relative: failure scores have the scale of the predicted losses
CHECKED_CROPS = 32
BATCHES = (1, 2, CHECKED_CROPS - 3)  # of the comparison: one that was exported must take any number
GIT_TIMEOUT = 10  # seconds
MAX_REASON_LENGTH = 200  # characters of a message of torch
Predict = Callable[[NDArray[np.uint8]], CropPredictions]


@dataclass(frozen=True)
class Comparison:
    """How far the predictions of an exported file are from those of torch."""

    joint_difference: float  # the largest, pixels of the crop, on one axis
    loss_difference: float  # of predicted losses, relative: see `_compute_relative_difference`
    confidence_difference: float  # the same of confidences
    score_difference: float  # the same of failure scores
    joints: int  # compared
    undecided: int  # left out, because rounding decides where they are: of two maxima that are almost equal, say
    scores: int  # failure scores that were compared
    undecided_scores: int  # left out for that reason: a ranker enlarges what hardly differs from image to image

    def describe(self) -> str:
        """What people read of it."""
        return (
            f"joints within {self.joint_difference:.1g} pixels ({self.joints} joints"
            f"{_describe_undecided(self.undecided)}), predicted losses within {self.loss_difference:.1g} and failure "
            f"scores within {self.score_difference:.1g} of their size ({self.scores} scores"
            f"{_describe_undecided(self.undecided_scores)})"
        )

    def check(self) -> None:
        """Raise ExportError if the file must not be used."""
        if not self.joints:
            raise ExportError(
                f"no joint can be compared: rounding decides where all {self.undecided} are, so the heatmaps are "
                "flat; train the run for longer"
            )
        if not self.scores:
            raise ExportError(
                f"no failure score can be compared: rounding decides all {self.undecided_scores}, so the heatmaps of "
                "all images are nearly the same; train the run for longer"
            )
        # Written so that NaN fails.
        if not self.joint_difference <= MAX_JOINT_DIFFERENCE:
            raise ExportError(
                f"the exported file finds joints {self.joint_difference:.2g} pixels from where torch does, and "
                f"{MAX_JOINT_DIFFERENCE:g} are allowed; nothing was kept, predict with the run itself"
            )
        relative = (
            ("predicts losses", self.loss_difference, MAX_LOSS_DIFFERENCE),
            ("has confidences", self.confidence_difference, MAX_CONFIDENCE_DIFFERENCE),
            ("gives failure scores", self.score_difference, MAX_SCORE_DIFFERENCE),
        )
        for what, difference, allowed in relative:
            if not difference <= allowed:
                raise ExportError(
                    f"the exported file {what} that differ from torch's by {difference:.2g} of their size, and "
                    f"{allowed:g} are allowed; nothing was kept, predict with the run itself"
                )


def _describe_undecided(count: int) -> str:
    return f", {count} more left out because rounding decides them" if count else ""


def check_format(name: str) -> None:
    """Raise ConfigError unless a format is known and what it needs is installed."""
    if name not in SUFFIXES:
        raise ConfigError(f"the format {name!r} is not known; expected {' or '.join(SUFFIXES)}")
    if name != "onnx":
        return
    missing = [package for package in ("onnx", "onnxscript", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise ConfigError(f"exporting to ONNX needs {', '.join(missing)}; pip install 'llpp[export]'")


def check_path(path: Path, name: str) -> None:
    """Raise ConfigError unless a file of the format may be written to `path`."""
    suffix = SUFFIXES[name]
    if path.suffix != suffix or path.is_dir():
        raise ConfigError(f"{path} is no name for this file; expected one that ends with {suffix}")


def cut_crops_to_compare(dataset: AnyDataset, crop: PersonCrop) -> NDArray[np.uint8]:
    """Return `CHECKED_CROPS` crops of test images; of any images, if there are none for testing.

    Images that cannot be read are passed over, and few images are repeated.

    Raises:
        DataError: none can be read.
    """
    rows = np.flatnonzero(dataset.records.split == "test")
    if not len(rows):
        rows = np.arange(len(dataset.records.ids))
    crops: list[NDArray[np.uint8]] = []
    # From all parts of the dataset, as it may be sorted; up to twice as many as are needed, for some may be missing.
    step = max(1, len(rows) // CHECKED_CROPS)
    for row in rows[::step]:
        try:
            image = dataset.load(int(row))
        except DataError:
            continue
        matrix = crop.place(dataset.records.boxes[row], image.shape[:2])
        crops.append(warp_image(image, matrix, crop.size))
        if len(crops) == CHECKED_CROPS:
            break
    if not crops:
        raise DataError(
            f"no image of dataset {dataset.name} can be read, and exported files are compared on some; put the "
            "images where the run found them"
        )
    repeated = [crops[number % len(crops)] for number in range(CHECKED_CROPS)]
    return np.stack(repeated)


def export_network(
    network: PoseNetwork, facts: ModelFacts, name: str, path: Path, crops: NDArray[np.uint8]
) -> Comparison:
    """Write `path`, or leave what is there, and return how its predictions compare with torch's.

    Args:
        network: on the CPU, in float32.
        facts: about it, its ranker among them; they become a part of the file.
        name: the format, of `SUFFIXES`.
        path: the file, which is replaced.
        crops: `CHECKED_CROPS` of them, to compare on.

    Raises:
        ConfigError: see `check_format`.
        ExportError: the network cannot be exported, or the file's predictions are not torch's.
    """
    check_format(name)
    expected = network.predict(crops)
    undecided = _find_undecided(network, crops, expected)
    facts = replace(facts, commit=_find_commit(), extra={**facts.extra, **_describe_interface(facts, name)})
    comparisons: list[Comparison] = []

    def write(part: Path) -> None:
        try:
            with _keep_quiet():
                _write_file(network, facts, name, part)
                # What is in the file counts, not what was to be written.
                predict = OnnxPredictor(part, "cpu").predict if name == "onnx" else load_program(part)
                found = _predict_in_batches(predict, crops)
        except OSError:
            raise
        # Backbones and heads of users can fail here in any way, and torch has no common class for it.
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON_LENGTH]
            raise ExportError(f"torch cannot export this network to {name} ({reason}); nothing was kept") from error
        comparison = compare_predictions(expected, found, undecided)
        comparison.check()
        comparisons.append(comparison)

    replace_file(path, write)
    return comparisons[0]


def _describe_interface(facts: ModelFacts, name: str) -> dict[str, str]:
    """For people who read the file without llpp."""
    size = facts.crop_size
    centre = (size - 1) / 2
    return {
        "format": name,
        "torch": torch.__version__,
        INPUT: f"(B, {size}, {size}, 3) uint8, RGB",
        "joints": f"(B, {len(facts.joints)}, 2) float32: x and y, pixels of the crop, 0 at the first pixel's centre",
        "confidence": f"(B, {len(facts.joints)}) float32: height of each joint's heatmap, higher means surer",
        "predicted_loss": "(B,) float32: of the loss head, higher means worse",
        "failure_score": "(B,) float32: by the ranker, higher means likelier a failure",
        "crop": (
            f"of an image with the box (x, y, width, height): with s = {size} / ({facts.padding:g} max(width, "
            f"height, 1)), image pixel (u, v) becomes crop pixel ({centre:g} + s (u - x - width / 2), {centre:g} + "
            "s (v - y - height / 2)); bilinear, black outside of the image. Where 1 / s >= 2, blocks of floor(1 / s) "
            "pixels are averaged before. The box of a whole image begins at (-0.5, -0.5)."
        ),
    }


def _find_commit() -> str:
    """The commit of this source code; empty where it is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@dataclass(frozen=True)
class Undecided:
    """What is elsewhere when torch computes in double precision, so that no two runtimes need agree about it."""

    joints: NDArray[np.bool_]  # (B, K)
    scores: NDArray[np.bool_]  # (B,)


def compare_predictions(expected: CropPredictions, found: CropPredictions, undecided: Undecided) -> Comparison:
    """Compare two predictions of B crops, without what is undecided."""
    distances = np.abs(found.joints - expected.joints).max(axis=-1)[~undecided.joints]
    scores = _compute_relative_differences(expected.failure_score, found.failure_score)[~undecided.scores]
    return Comparison(
        joint_difference=float(distances.max(initial=0.0)),
        loss_difference=float(_compute_relative_differences(expected.predicted_loss, found.predicted_loss).max()),
        confidence_difference=float(_compute_relative_differences(expected.confidence, found.confidence).max()),
        score_difference=float(scores.max(initial=0.0)),
        joints=int((~undecided.joints).sum()),
        undecided=int(undecided.joints.sum()),
        scores=int((~undecided.scores).sum()),
        undecided_scores=int(undecided.scores.sum()),
    )


def _compute_relative_differences(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences of values, each relative to its size or to the mean size of all, if that is more."""
    sizes = np.abs(expected)
    scale = np.maximum(sizes, sizes.mean()).clip(min=np.finfo(np.float32).tiny)
    return np.asarray(np.abs(found - expected) / scale)


def _find_undecided(network: PoseNetwork, crops: NDArray[np.uint8], expected: CropPredictions) -> Undecided:
    precise = copy.deepcopy(network).double().predict(crops)
    joints = np.abs(precise.joints - expected.joints).max(axis=-1)
    scores = _compute_relative_differences(expected.failure_score, precise.failure_score)
    # Two roundings may part in opposite directions.
    return Undecided(joints > MAX_JOINT_DIFFERENCE / 2, scores > MAX_SCORE_DIFFERENCE / 2)


def _predict_in_batches(predict: Predict, crops: NDArray[np.uint8]) -> CropPredictions:
    parts = []
    start = 0
    for size in BATCHES:
        parts.append(predict(crops[start : start + size]))
        start += size
    return CropPredictions(
        np.concatenate([part.joints for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.predicted_loss for part in parts]),
        np.concatenate([part.failure_score for part in parts]),
    )


def load_program(path: Path) -> Predict:
    """Return what predicts crops by a file of torch.export.

    torch unpickles parts of it, so it must be a file of one's own.
    """
    # torch demands a name that ends with .pt2 unless the file is open.
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def predict(crops: NDArray[np.uint8]) -> CropPredictions:
        with torch.inference_mode():
            outputs: tuple[Tensor, ...] = module(torch.from_numpy(crops))
        return CropPredictions(*(values.numpy() for values in outputs))

    return predict


def _write_file(network: PoseNetwork, facts: ModelFacts, name: str, path: Path) -> None:
    text = json.dumps(facts.to_json(), ensure_ascii=False, allow_nan=False)
    program = _trace(network, facts.crop_size)
    if name == "onnx":
        _write_onnx(program, text, path)
        return
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={FACTS_FILE: text})


def _trace(network: PoseNetwork, size: int) -> torch.export.ExportedProgram:
    """The network as a graph for any number of crops."""
    fused = PoseNetwork(fuse_batchnorm(network.backbone, size), network.head, network.task, network.ranker)
    # torch takes an example of one crop for a rule.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    shapes = {INPUT: {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad():
        program = torch.export.export(fused, (example,), dynamic_shapes=shapes)
    # The paths of this machine's source code are nobody's business.
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def _write_onnx(program: torch.export.ExportedProgram, facts: str, path: Path) -> None:
    exported = torch.onnx.export(
        program,
        input_names=[INPUT],
        output_names=OUTPUTS,
        opset_version=OPSET,
        dynamic_shapes={INPUT: {0: "batch"}},
        dynamo=True,
        verbose=False,
    )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned no model")
    model = exported.model
    model.producer_name = "llpp"
    model.metadata_props.clear()
    model.metadata_props[FACTS_KEY] = facts
    # Where in torch each operator came from is most of a small file.
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
    exported.save(path)


@contextmanager
def _keep_quiet() -> Iterator[None]:
    """Hide what torch says about packages that it does not need, and about its own deprecated parts."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
