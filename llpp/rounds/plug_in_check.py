"""Before training: do the plug-ins give what their contracts say?

A few made images go once through backbone, task, head and objective, and a few made candidates through the
acquisition. Nothing of it stays: the module is thrown away, torch's generator is put back, and what is to be compiled
runs as it is, because code that was compiled for so few images would change how the run's own is compiled.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.accelerators import CPUAccelerator
from torch import Tensor

from llpp.acquisition.base import GRADIENT_LENGTH, LABELLED, PROGRESS, TARGET, Acquisition
from llpp.auxiliaries.base import Auxiliary
from llpp.backbones.base import Backbone
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError, LlppError
from llpp.heads.base import LossHead
from llpp.objectives.base import Objective
from llpp.oracles.base import Oracle
from llpp.plug_in_errors import explain_exception, has_user_code, list_frames, name_class
from llpp.rounds.selection import check_chosen, make_candidates
from llpp.settings import Settings
from llpp.tasks.base import Task
from llpp.training.module import LearningLossModule
from llpp.types import Batch, Features, Output, PlacedCrops, Progress

IMAGES = 3  # in the made batch
CANDIDATES = 32  # of the acquisition, at most
BUDGET = 8  # for these, at most
Shape = tuple[int, ...]


def check_network(module: LearningLossModule, trainer: pl.Trainer, crop: PersonCrop) -> dict[str, Shape]:
    """Pass made images through the parts of a module that is not needed any more.

    Returns:
        The shape, for one image, of everything that an acquisition can ask for.

    Raises:
        ConfigError: a part fails, or returns something of another kind or shape than its contract says.
    """
    device = torch.device("cpu")
    if not isinstance(trainer.accelerator, CPUAccelerator):
        device = trainer.strategy.root_device
    precision = trainer.precision_plugin
    precision.convert_module(module).to(device)
    generators = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(generators),
        torch.compiler.set_stance("force_eager"),
        precision.forward_context(),
    ):
        batch, pixels = precision.convert_input(_make_batch(module.task, crop, device))
        output = _check_backbone(module.backbone, pixels, module.task.dataset.records.labels.outputs)
        losses, shapes = _check_task(module.task, output, batch)
        if module.head is not None:
            predicted = _check_head(module.head, output)
            _check_objective(module.objective, predicted, losses)
            if module.head.learns_from_turned:
                _check_turning(module.task, output, batch, crop.size)
        if module.auxiliary is not None:
            shapes |= _check_auxiliary(module.auxiliary, module.task, output, batch)
    shapes |= {
        GRADIENT_LENGTH: (),
        "predicted_loss": (),
        "true_loss": (),
        "embedding": (module.backbone.penultimate_channels,),
    }
    prefixed = {prefix + name: shape for name, shape in shapes.items() for prefix in (LABELLED, TARGET)}
    return shapes | prefixed


def _make_batch(task: Task, crop: PersonCrop, device: torch.device) -> tuple[Batch, Tensor]:
    """Labels of the first labelled training records, and made pixels (B, 3, H, W) in place of their images."""
    records = task.dataset.records
    train = records.split == "train"
    labelled = np.flatnonzero(train & records.labels.is_labelled)
    rows = np.resize(labelled if len(labelled) else np.flatnonzero(train), IMAGES)
    shapes = np.full((IMAGES, 2), crop.size)
    matrices = torch.from_numpy(crop.place_all(records.boxes[rows], shapes)).to(device)
    rows_there = torch.from_numpy(rows).to(device)
    nothing = torch.zeros_like(rows_there, dtype=torch.bool)
    call = _Call("task", task, "crop_labels")
    with call.explain_failure():
        labels = task.crop_labels(PlacedCrops(rows_there, matrices, flipped=nothing, idle=nothing))
    for name, values in labels.items():
        if not isinstance(values, Tensor) or len(values) != IMAGES or values.device != rows_there.device:
            raise call.refuse(f"{name} as {_describe(values)}", f"a tensor ({IMAGES}, …) on the device of the crops")
    batch = {**labels, "row": rows_there, "matrix": matrices.float()}
    noise = np.random.default_rng(0).integers(0, 256, (IMAGES, crop.size, crop.size, 3), dtype=np.uint8)
    pixels = torch.from_numpy(noise).permute(0, 3, 1, 2)
    return batch, pixels.to(device)


@torch.no_grad()
def _check_backbone(backbone: Backbone, pixels: Tensor, outputs: int) -> Output:
    call = _Call("backbone", backbone, "forward")
    with call.explain_failure():
        output: Output = backbone(backbone.normalise(pixels))
    if not isinstance(output, Output):
        raise call.refuse(_describe(output), "an Output")
    images, _, height, width = pixels.shape
    stride = backbone.heatmap_stride
    raw = output.raw
    if stride is None:
        call.expect_shape(raw, (images, outputs), "raw", "images, outputs")
    else:
        stacks = raw.shape[1] if isinstance(raw, Tensor) and raw.ndim == 5 else 1
        heatmaps = (images, stacks, outputs, height // stride, width // stride)
        call.expect_shape(raw, heatmaps, "raw", "images, stacks, outputs, height, width")
    if output.stride != stride:
        raise call.refuse(f"stride={output.stride}", f"{stride}, its heatmap_stride")
    if not isinstance(output.features, Features):
        raise call.refuse(f"{_describe(output.features)} as features", "Features")
    maps = output.features.penultimate
    channels = backbone.penultimate_channels
    if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[:2] != (images, channels):
        raise call.refuse(f"features.penultimate {_describe(maps)}", f"({images}, {channels}, height, width)")
    pyramid = output.features.pyramid
    if sorted(pyramid) != sorted(backbone.feature_channels):
        published = f"{sorted(backbone.feature_channels)}, as in its feature_channels"
        raise call.refuse(f"features at strides {sorted(pyramid)}", published)
    for step, channels in backbone.feature_channels.items():
        expected = (images, channels, height // step, width // step)
        call.expect_shape(pyramid[step], expected, f"features.pyramid[{step}]")
    if output.features.heatmaps is not None and stride is not None:
        expected = (images, outputs, height // stride, width // stride)
        call.expect_shape(output.features.heatmaps, expected, "features.heatmaps", "those of the last stack alone")
    return output


@torch.no_grad()
def _check_task(task: Task, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Shape]]:
    """Return (B,) losses, and the shape of each prediction of one image."""
    call = _Call("task", task, "compute_losses")
    with call.explain_failure():
        losses, known = task.compute_losses(output, batch)
    call.expect_shape(losses, (IMAGES,), "losses")
    call.expect_shape(known, (IMAGES,), "the mask of what could be compared")
    if known.dtype != torch.bool:
        raise call.refuse(f"a mask of {known.dtype}", "torch.bool")

    views = {view: output.raw for view in task.list_views(task.extra_columns)}
    call = _Call("task", task, "predict")
    with call.explain_failure():
        predictions = task.predict(output, views)
    missing = sorted(task.offers - set(predictions))
    if missing:
        raise call.refuse(f"{sorted(predictions)}", f"{missing[0]} too, as in its offers")
    for name in task.free_rankers:
        found = predictions.get(name)
        if not isinstance(found, Tensor) or found.shape != (IMAGES,):
            raise call.refuse(f"{name} {_describe(found)}", f"({IMAGES},), one number per image of its free_rankers")
    call.expect_columns(predictions)

    call = _Call("task", task, "compute_columns")
    with call.explain_failure():
        extra = task.compute_columns(task.extra_columns, output, views)
    if set(extra) != task.extra_columns:
        raise call.refuse(f"{sorted(extra)}", f"{sorted(task.extra_columns)}, its extra_columns")
    call.expect_columns(extra)

    call = _Call("task", task, "measure_spread")
    with call.explain_failure():
        spread = task.measure_spread([output, output])
    if set(spread) != task.dropout_columns:
        raise call.refuse(f"{sorted(spread)}", f"{sorted(task.dropout_columns)}, its dropout_columns")
    for name, values in spread.items():
        call.expect_shape(values, (IMAGES,), name)

    call = _Call("task", task, "compute_quality")
    with call.explain_failure():
        quality = task.compute_quality(predictions, batch)
    call.expect_shape(quality, (IMAGES,))

    call = _Call("task", task, "summarise_metric")
    with call.explain_failure():
        metric = task.make_metric().to(losses.device)
        task.update_metric(metric, predictions, batch)
        summary = task.summarise_metric(metric)
    if task.metric_name not in summary:
        raise call.refuse(f"{sorted(summary)}", f"{task.metric_name}, its metric_name")
    columns = {name: predictions[name] for name in task.offers} | extra | spread
    return losses, {name: tuple(values.shape[1:]) for name, values in columns.items()}


def _check_head(head: LossHead, output: Output) -> Tensor:
    """Return (B,) predicted losses."""
    call = _Call("head", head, "forward")
    with call.explain_failure():
        predicted: Tensor = head(output.features)
    call.expect_shape(predicted, (IMAGES,), meaning="one predicted loss per image")
    learns = any(parameter.requires_grad for parameter in head.parameters())
    if learns and not predicted.requires_grad:
        raise call.refuse("a tensor without gradient", "one that its weights can learn from")
    # The last batch of a scoring pass may have one image: squeeze() without a dimension would drop it.
    with torch.no_grad(), call.explain_failure():
        single = head.eval()(output.take_first(1).features)
    call.expect_shape(single, (1,), meaning="one predicted loss for a batch of one image")
    return predicted.detach()


def _check_auxiliary(auxiliary: Auxiliary, task: Task, output: Output, batch: Batch) -> dict[str, Shape]:
    """Return the shape of each of its columns of one image."""
    call = _Call("auxiliary", auxiliary, "compute_loss")
    with call.explain_failure():
        loss = auxiliary.compute_loss(output.features, batch)
    call.expect_shape(loss, (), meaning="a scalar")
    if not loss.requires_grad:
        raise call.refuse("a scalar without gradient", "one that its weights can learn from")
    call = _Call("auxiliary", auxiliary, "compute_columns")
    predictions = task.predict(output, {view: output.raw for view in task.views})
    single = {name: values[:1] for name, values in predictions.items()}
    with torch.no_grad(), call.explain_failure():
        columns = auxiliary.compute_columns(output.features, predictions)
        # The last batch of a scoring pass may have one image.
        of_one = auxiliary.compute_columns(output.take_first(1).features, single)
    if set(columns) != auxiliary.columns:
        raise call.refuse(f"{sorted(columns)}", f"{sorted(auxiliary.columns)}, its columns")
    for name, values in columns.items():
        size = tuple(values.shape[1:]) if isinstance(values, Tensor) else ()
        call.expect_shape(values, (IMAGES, *size), name)
        call.expect_shape(of_one[name], (1, *size), f"{name} of one image")
    return {name: tuple(values.shape[1:]) for name, values in columns.items()}


@torch.no_grad()
def _check_turning(task: Task, output: Output, batch: Batch, size: int) -> None:
    """Turn the labels of the batch, as is done for a head that learns from turned images."""
    quarters = torch.arange(IMAGES, device=batch["row"].device)
    call = _Call("task", task, "turn_labels")
    with call.explain_failure():
        losses, _ = task.compute_losses(output, task.turn_labels(batch, quarters, size))
    call.expect_shape(losses, (IMAGES,), "labels whose losses")


def _check_objective(objective: Objective, predicted: Tensor, losses: Tensor) -> None:
    call = _Call("objective", objective, "forward")
    predicted = predicted.requires_grad_()
    with call.explain_failure():
        value = objective(predicted, losses)
    call.expect_shape(value, (), meaning="a scalar")
    if not value.requires_grad:
        raise call.refuse("a scalar without gradient", "one that the head learns from")
    with call.explain_failure():
        (gradient,) = torch.autograd.grad(value, predicted, allow_unused=True)
    if gradient is None:
        raise call.refuse("a scalar that ignores `predicted`", "one that uses it")
    if _is_finite(predicted, losses) and not _is_finite(value, gradient):
        found = f"{value.item()} for predicted {_round(predicted)} and true losses {_round(losses)}"
        raise call.refuse(found, "a finite value and gradient")


def _is_finite(*tensors: Tensor) -> bool:
    return all(bool(torch.isfinite(values).all()) for values in tensors)


def _round(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


def check_acquisition(
    acquisition: Acquisition, dataset: AnyDataset, settings: Settings, shapes: Mapping[str, Shape]
) -> None:
    """Let an acquisition select from a few of the training ids, with made columns of the run's shapes.

    Args:
        acquisition: one that is not needed any more.
        dataset: whose ids the candidates have.
        settings: the shape of the run.
        shapes: of one candidate's values, by column.

    Raises:
        ConfigError: it fails, or selects something else than it was asked for.
    """
    train = dataset.records.select_rows("train")
    count = min(len(train) - settings.initial, CANDIDATES)
    if count < 1:
        return
    ids = dataset.records.ids.take(train[-count:])
    rng = np.random.default_rng(0)
    columns: dict[str, NDArray[np.float32]] = {}
    for name in sorted(acquisition.needs - {PROGRESS}):
        columns[name] = rng.random((count, *shapes[name]), dtype=np.float32)
    before = {name: values.copy() for name, values in columns.items()}
    progress = None
    if PROGRESS in acquisition.needs:
        progress = Progress(round=0, rounds=settings.rounds, labelled=settings.initial, competence=0.5)
    budget = min(settings.budget, BUDGET)
    call = _Call("acquisition", acquisition, "select")
    with call.explain_failure():
        chosen = acquisition.select(make_candidates(ids, columns, progress), budget, rng)
    check_chosen(acquisition, chosen, ids, budget)
    call = _Call("acquisition", acquisition, "compute_beta")
    with call.explain_failure():
        beta = acquisition.compute_beta(progress)
    if not isinstance(beta, float | int | None):
        raise call.refuse(_describe(beta), "a number or None")
    for name, values in columns.items():
        # The scores of a run are written to a file after the selection.
        if not np.array_equal(values, before[name]):
            raise call.refuse(f"candidates with another {name}", "them to stay as they are; let it work on a copy")


def check_oracle(oracle: Oracle, dataset: AnyDataset) -> None:
    """Ask an oracle which of a few labels it has; ConfigError unless it says so for each."""
    ids = list(dataset.records.ids.take(dataset.records.select_rows("train")[:IMAGES]))
    call = _Call("oracle", oracle, "find_answered")
    with call.explain_failure():
        answered = oracle.find_answered(ids)
    if not isinstance(answered, np.ndarray) or answered.dtype != np.bool_ or answered.shape != (len(ids),):
        raise call.refuse(_describe(answered), f"an array of bools ({len(ids)},)")


@dataclass(frozen=True)
class _Call:
    """The call of a plug-in's method, and the sentences about it."""

    group: str
    part: object
    method: str

    @contextmanager
    def explain_failure(self) -> Iterator[None]:
        """Turn an exception of a plug-in into a ConfigError of one sentence; a bug of llpp keeps its traceback."""
        try:
            yield
        except (LlppError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # the calls that this module makes itself explain nothing
            frames = [location for location in list_frames(error) if location[0].f_code.co_filename != __file__]
            is_ours = type(self.part).__module__.startswith("llpp.")
            if is_ours and not has_user_code(frames):
                raise
            reason = explain_exception(error, frames)
            raise ConfigError(f"{self.group} {name_class(self.part)} failed in {self.method}(): {reason}") from error

    def refuse(self, found: str, expected: str) -> ConfigError:
        """The error about something of the wrong kind."""
        return ConfigError(
            f"{self.group} {name_class(self.part)} returned {found}, expected {expected}; fix its {self.method}()"
        )

    def expect_shape(self, value: object, expected: Shape, what: str = "", meaning: str = "") -> None:
        """Raise ConfigError unless a value, one `what` of several, is a tensor of this shape."""
        if isinstance(value, Tensor) and value.shape == expected:
            return
        found = f"{what} {_describe(value)}" if what else _describe(value)
        raise self.refuse(found, f"{expected} ({meaning})" if meaning else f"{expected}")

    def expect_columns(self, columns: Mapping[str, object]) -> None:
        """Refuse columns that have not one row for each image."""
        for name, values in columns.items():
            size = tuple(values.shape[1:]) if isinstance(values, Tensor) else ()
            self.expect_shape(values, (IMAGES, *size), name)


def _describe(value: object) -> str:
    """Name a value of the wrong kind: tensors and arrays by their shape."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    return f"a {type(value).__name__}"
