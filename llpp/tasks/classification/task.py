"""Image classification: cross-entropy per image, accuracy.

B images, C classes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores

from llpp.backbones.base import Backbone
from llpp.datasets.base import SPLITS, AnyDataset
from llpp.datasets.classes import UNKNOWN, ClassLabels
from llpp.errors import ConfigError
from llpp.pages.viewer import Colour, Word
from llpp.tasks.base import CONFIDENCE, Arrays, Listing, PictureParts, Shown, Task, format_share
from llpp.tasks.classification.drawing import CORRECT, WRONG, draw_tile, write_label
from llpp.tasks.record_tensors import RecordTensors
from llpp.tasks.views import NO_VIEWS, Views
from llpp.types import Batch, Output, PlacedCrops

SUPPORT = 4  # column of torchmetrics' counts: the number of images that show a class
MAX_PARTS = 20  # classes whose accuracy has a column of its own; more would bury the others


class ClassificationTask(Task):
    """The class of an image.

    `predict` gives `predicted_class` (B,), `confidence` (B,), the largest softmax probability, `entropy` (B,) of the
    softmax in nats, and `margin` (B,) between its two largest probabilities.
    """

    name = "classification"
    loss_name = "cross_entropy"
    metric_name = "accuracy"
    metric_title = "accuracy"
    part_word = "class"
    record_word = "images"
    constant_title = "the most frequent class of the labelled images"
    offers = frozenset({"predicted_class", CONFIDENCE, "entropy", "margin"})
    shown = frozenset({"predicted_class", CONFIDENCE})
    free_rankers = (CONFIDENCE,)
    known_views = ("none", "flip")  # turned and scaled images, with their filled borders, are not what it learns from
    dropout_columns = frozenset({"dropout_disagreement"})

    def __init__(self, dataset: AnyDataset) -> None:
        labels = dataset.records.labels
        if not isinstance(labels, ClassLabels):
            raise ConfigError(
                f"task=classification needs classes, and dataset {dataset.name} has none; use dataset=digits, "
                "cifar10 or image_folder, or task=pose"
            )
        self.dataset = dataset
        self.labels = labels
        self._tensors = RecordTensors({"index": labels.index})

    @property
    def part_names(self) -> Sequence[str]:
        """See `Task.part_names`."""
        classes = self.labels.classes
        return classes if len(classes) <= MAX_PARTS else ()

    def check_backbone(self, backbone: Backbone) -> None:
        """See `Task.check_backbone`."""
        if backbone.heatmap_stride is not None:
            raise ConfigError(
                "task=classification needs a backbone that gives one vector per image; use backbone=resnet18"
            )

    @property
    def label_arrays(self) -> tuple[NDArray[Any], ...]:
        """See `Task.label_arrays`."""
        return self.labels.arrays

    def evaluate_constant(self, known: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Task.evaluate_constant`: the most frequent class; of equally frequent ones, the first."""
        seen = self.labels.index[known]
        seen = seen[seen != UNKNOWN]
        if not len(seen):
            return np.full(len(asked), np.nan)
        true = self.labels.index[asked]
        most_frequent = np.bincount(seen).argmax()
        return np.where(true == UNKNOWN, np.nan, (true == most_frequent).astype(np.float64))

    def evaluate_predictions(self, predictions: Arrays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Task.evaluate_predictions`: 1 for the right class."""
        true = self.labels.index[rows]
        is_right = predictions["predicted_class"] == true
        return np.where(true == UNKNOWN, np.nan, is_right.astype(np.float64))

    def measure_agreement(self, before: Arrays, now: Arrays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Task.measure_agreement`: 1 where the class has stayed the same."""
        return np.asarray(before["predicted_class"] == now["predicted_class"], dtype=np.float64)

    def crop_labels(self, crops: PlacedCrops) -> Batch:
        """`label` (B,), UNKNOWN where there is none; a class does not move with its crop."""
        label = self._tensors.take(crops.rows)["index"]
        return {"label": label.masked_fill(crops.idle, UNKNOWN)}

    def compute_losses(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each image, 0 without a class."""
        label = batch["label"]
        losses = functional.cross_entropy(output.raw.float(), label, ignore_index=UNKNOWN, reduction="none")
        return losses, label != UNKNOWN

    def check_mirroring(self, flip: float) -> list[str]:
        """See `Task.check_mirroring`; whether a mirrored image keeps its class is known from the training."""
        if self.views and not flip:
            raise ConfigError(
                f"scoring.views={self.chosen_views} averages each image with its mirror image, and "
                "augmentation.flip=0 trains on none, as where a mirrored image may be of another class; set "
                "scoring.views=none, or augmentation.flip=0.5"
            )
        return []

    def predict(self, output: Output, views: Views = NO_VIEWS) -> dict[str, Tensor]:
        """See the class; with views, of the mean of their probabilities."""
        log_probabilities = torch.log_softmax(output.raw.float(), dim=1)
        given = [torch.log_softmax(views[view].float(), dim=1) for view in self.views if view in views]
        if given:
            everything = torch.stack([log_probabilities, *given])
            log_probabilities = torch.logsumexp(everything, dim=0) - math.log(len(everything))
        probabilities = log_probabilities.exp()
        top = probabilities.topk(2, dim=1)
        return {
            "predicted_class": top.indices[:, 0],
            CONFIDENCE: top.values[:, 0],
            "entropy": -(probabilities * log_probabilities).sum(dim=1),
            "margin": top.values[:, 0] - top.values[:, 1],
        }

    def measure_spread(self, outputs: Iterable[Output]) -> dict[str, Tensor]:
        """See `Task.measure_spread`.

        `dropout_disagreement`: the mutual information of class and network in nats, which is the entropy of the mean
        softmax less the mean entropy of the softmaxes (BALD, Houlsby et al., 2011; Gal et al., ICML 2017).
        """
        probabilities = torch.stack([torch.softmax(output.raw.float(), dim=1) for output in outputs])
        entropy_of_mean = torch.special.entr(probabilities.mean(dim=0)).sum(dim=1)
        mean_entropy = torch.special.entr(probabilities).sum(dim=2).mean(dim=0)
        # Roundings would leave values below 0 where all passes agree.
        return {"dropout_disagreement": (entropy_of_mean - mean_entropy).clamp(min=0)}

    def compute_quality(self, predictions: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """1 for the right class, 0 for a wrong one; NaN without a class."""
        label = batch["label"]
        correct = (predictions["predicted_class"] == label).float()
        return correct.where(label != UNKNOWN, torch.nan)

    def make_metric(self) -> MetricCollection:
        """See `Task.make_metric`."""
        # Validating the arguments would make the host wait for the device in every batch.
        options: dict[str, Any] = {
            "num_classes": self.labels.outputs,
            "ignore_index": UNKNOWN,
            "validate_args": False,
        }
        return MetricCollection(
            {
                "all": MulticlassAccuracy(average="micro", **options),
                "by_class": MulticlassAccuracy(average="none", **options),
                "counts": MulticlassStatScores(average="none", **options),
            },
            compute_groups=False,
        )

    def update_metric(
        self, metric: Metric | MetricCollection, predictions: Mapping[str, Tensor], batch: Batch
    ) -> None:
        """See `Task.update_metric`."""
        metric.update(predictions["predicted_class"], batch["label"])

    def summarise_metric(self, metric: Metric | MetricCollection) -> dict[str, Tensor]:
        """`accuracy`, and for few classes `accuracy_<class>`, the share of its images that are recognised.

        NaN without any image.
        """
        values = cast(dict[str, Tensor], metric.compute())
        # torchmetrics calls the accuracy of no images 0; of a class that no image shows, it is unknown.
        images = values["counts"][:, SUPPORT]
        accuracy = values["all"].where(images.sum() > 0, torch.nan)
        by_class = values["by_class"].where(images > 0, torch.nan)
        summary = {"accuracy": accuracy}
        for name, value in zip(self.part_names, by_class, strict=False):
            summary[f"accuracy_{name}"] = value
        return summary

    def describe_metric(self, rows: NDArray[np.int64]) -> str:
        """See `Task.describe_metric`."""
        return "accuracy"

    def present(self, prediction: Arrays) -> dict[str, Any]:
        """`class_name` and its `confidence`, 0 to 1."""
        name = self.labels.classes[int(prediction["predicted_class"])]
        return {"class_name": name, "confidence": float(prediction["confidence"])}

    def draw(self, image: NDArray[np.uint8], row: int, prediction: Arrays) -> NDArray[np.uint8]:
        """The image, framed by whether its class was recognised."""
        correct = int(prediction["predicted_class"]) == int(self.labels.index[row])
        return draw_tile(image, correct)

    def describe_pictures(self) -> PictureParts:
        """See `Task.describe_pictures`."""
        return PictureParts(
            words=(Word("result", "result"), Word("truth", "true class"), Word("prediction", "predicted class"))
        )

    def show(self, image: NDArray[np.uint8], row: int, prediction: Arrays) -> Shown:
        """The whole image, and both classes as words."""
        truth = int(self.labels.index[row])
        predicted = int(prediction["predicted_class"])
        words = {"prediction": self.labels.classes[predicted], "truth": "unknown", "result": "unknown"}
        if truth == UNKNOWN:
            return Shown(image, words=words)
        words["truth"] = self.labels.classes[truth]
        words["result"] = "right" if truth == predicted else "wrong"
        return Shown(image, words=words, frame=CORRECT if truth == predicted else WRONG)

    def explain_colours(self) -> list[tuple[Colour, str]]:
        """See `Task.explain_colours`."""
        return [(CORRECT, "right class"), (WRONG, "wrong class")]

    def describe(self, row: int, prediction: Arrays) -> str:
        """True and predicted class."""
        truth = int(self.labels.index[row])
        true_name = "unknown" if truth == UNKNOWN else self.labels.classes[truth]
        predicted = self.labels.classes[int(prediction["predicted_class"])]
        return f"{true_name} → {predicted} ({float(prediction['confidence']):.0%})"

    def describe_labels(self) -> str:
        """See `Task.describe_labels`."""
        return f"{len(self.labels.classes)} classes"

    def tabulate_labels(self) -> list[Listing]:
        """The images of each class by split."""
        split = self.dataset.records.split
        rows = []
        for number, name in enumerate(self.labels.classes):
            counts = []
            for part in SPLITS:
                inside = split == part
                count = int((self.labels.index[inside] == number).sum())
                counts.append(format_share(count, int(inside.sum())))
            rows.append((name, *counts))
        return [Listing("Classes", ("class", *SPLITS), rows)]

    def draw_label(self, tile: NDArray[np.uint8], row: int, matrix: NDArray[np.float64]) -> None:
        """The name of the class in a corner."""
        truth = int(self.labels.index[row])
        write_label(tile, "?" if truth == UNKNOWN else self.labels.classes[truth])
