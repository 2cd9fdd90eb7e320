"""The contract of tasks: what a network is trained for, and how well it does it.

Learning Loss needs three things of a task: one loss per image, features, and a measure. Backbones, heads, objectives,
acquisitions, rounds and reports see nothing else of it. B images of a batch, N records of a dataset.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from llpp.backbones.base import Backbone
from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError
from llpp.pages.viewer import Colour, LayerStyle, Number, Skeleton, Word
from llpp.tasks.views import CHOICES, NO_VIEWS, View, Views
from llpp.types import Batch, Output, PlacedCrops

Arrays = Mapping[str, NDArray[Any]]

# What a task may offer: (B,) how sure the network is of its prediction by its own output, which costs no head.
CONFIDENCE = "confidence"


@dataclass(frozen=True)
class Listing:
    """A table of words with remarks below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Symbol:
    """A sign in pictures of labels, for their legend."""

    text: str
    width: int  # pixels for sign and text
    draw: Callable[[NDArray[np.uint8], NDArray[np.float64]], None]  # onto a canvas at a point (2,)


@dataclass(frozen=True)
class PictureParts:
    """What all pictures of a task's predictions have in a page's viewer."""

    layers: tuple[LayerStyle, ...] = ()
    skeleton: Skeleton = field(default_factory=Skeleton)
    joint_value: Number | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Shown:
    """One record with truth and prediction, for a page's viewer."""

    pixels: NDArray[np.uint8]  # (H, W, 3) RGB: the part of the image that matters
    layers: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)  # (K, 2) pixels of the picture
    joint_values: NDArray[np.floating[Any]] | None = None  # (K,)
    words: Mapping[str, str] = field(default_factory=dict)
    frame: Colour | None = None  # around the picture


def format_share(part: int, whole: int) -> str:
    """Return a count and its percentage; only exactly none and all are shown as 0 % and 100 %."""
    if not whole:
        return "0"
    percent = 100 * part / whole
    if part in (0, whole):
        return f"{part:,} ({percent:.0f} %)"
    percent = min(max(percent, 0.1), 99.9)
    return f"{part:,} ({percent:.1f} %)"


class Task(ABC):
    """What the network is trained for: its target, its loss per image, its metric."""

    name: str
    dataset: AnyDataset  # whose records it reads
    loss_name: str  # how logs call the loss: train/<loss_name>
    metric_name: str  # how logs and columns call the metric: val/<metric_name>, test_<metric_name>
    metric_title: str  # how sentences call it
    higher_is_better: bool = True
    part_word: str  # what the metric is broken down into: joint, class
    record_word: str  # what a record of the dataset is, in plural: persons, images
    offers: frozenset[str] = frozenset()  # what `predict` gives: columns that an acquisition may need
    shown: frozenset[str] = frozenset()  # of these, what is kept of selected images and drawn
    free_rankers: tuple[str, ...] = ()  # of these, (B,) what finds failures without a head; low for one
    extra_columns: frozenset[str] = frozenset()  # what `compute_columns` gives where an acquisition needs it
    column_views: Mapping[str, tuple[View, ...]] = {}  # of these, the views of an image that they need
    dropout_columns: frozenset[str] = frozenset()  # what `measure_spread` gives where an acquisition needs it
    constant_title: str = "one prediction for all images"  # what `evaluate_constant` tries
    metric_setting: str = ""  # another choice of the metric, as one types it: pck=box; empty where there is none
    known_views: tuple[str, ...] = ("none",)  # what `scoring.views` may be
    chosen_views: str = "none"  # what it is, see `use_views`

    @property
    def columns(self) -> frozenset[str]:
        """All columns that an acquisition may need of this task."""
        return self.offers | self.extra_columns | self.dropout_columns

    @property
    def views(self) -> tuple[View, ...]:
        """The views of an image that `predict` averages with the image itself."""
        return CHOICES[self.chosen_views]

    def use_views(self, choice: str) -> None:
        """Average these views of each image from now on, as `scoring.views` says; ConfigError if the task cannot."""
        if choice not in self.known_views:
            known = " or ".join(f"scoring.views={name}" for name in self.known_views)
            raise ConfigError(f"scoring.views={choice} is not for task={self.name}, set {known}")
        self.chosen_views = choice

    def list_views(self, columns: frozenset[str]) -> tuple[View, ...]:
        """The views that `predict`, and `compute_columns` for these of `extra_columns`, need: each once."""
        needed = list(self.views)
        for name in sorted(columns):
            needed.extend(self.column_views.get(name, ()))
        return tuple(dict.fromkeys(needed))

    @property
    @abstractmethod
    def part_names(self) -> Sequence[str]:
        """Names of the joints or classes; columns test_<metric_name>_<part>."""

    @abstractmethod
    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ConfigError if the backbone's output is of another kind."""

    def check_mirroring(self, flip: float) -> list[str]:
        """Remarks about mirrored images, where `flip` is the share of those to train on.

        Raises ConfigError if their labels would be wrong.
        """
        return []

    # The dataset's side: N records as NumPy arrays, in the loaders' processes.

    @property
    @abstractmethod
    def label_arrays(self) -> tuple[NDArray[Any], ...]:
        """The labels as arrays (N, …), in a fixed order: another annotation has other values."""

    @property
    def normaliser(self) -> NDArray[np.float32] | None:
        """(N,) lengths, image pixels, that the measure divides by; None where it divides by nothing."""
        return None

    def count_measurable(self, rows: NDArray[np.int64]) -> int:
        """How many of some records the metric is defined for."""
        return int(self.dataset.records.labels.is_labelled[rows].sum())

    def explain_undefined(self, rows: NDArray[np.int64]) -> str:
        """What all of some records lack, where the metric is defined for none of them."""
        return f"none of the {len(rows)} {self.record_word} has a label"

    def evaluate_constant(self, known: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.float64]:
        """(A,) the quality of the best prediction that looks at no image, for each row in `asked`; NaN where unknown.

        It may learn from the labels of the rows `known`. A network that does no better has learned nothing. The
        default knows of no such prediction.
        """
        return np.full(len(asked), np.nan)

    def evaluate_predictions(self, predictions: Arrays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) the quality of predictions (n, …) of some records, by the labels that these have; NaN where unknown.

        The predictions are in image pixels, by the names of `shown`. The default knows of no quality.
        """
        return np.full(len(rows), np.nan)

    def measure_agreement(self, before: Arrays, now: Arrays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) the quality of the predictions `now` if those `before` were true; NaN where it is not defined.

        Both are as in `evaluate_predictions`. The default knows of no such measure.
        """
        return np.full(len(rows), np.nan)

    def count_labels(self, rows: NDArray[np.int64]) -> int:
        """How many labels some records have, as far as each takes its time to give: joints, or classes."""
        return int(self.dataset.records.labels.is_labelled[rows].sum())

    @abstractmethod
    def crop_labels(self, crops: PlacedCrops) -> Batch:
        """Labels of B crops, as entries of their batch, on the device of `crops`.

        The loaders call it on the CPU, or on the device where that holds the crops; see `RecordTensors`.
        """

    def turn_labels(self, batch: Batch, quarters: Tensor, size: int) -> Batch:
        """The batch with the labels of its images, `size` pixels wide and high, turned anticlockwise.

        Args:
            batch: of B images.
            quarters: (B,) int64 on the device, quarters of a turn, 0 to 3.
            size: of the images.

        Raises:
            ConfigError: the task does not know how; only heads that learn from turned images ask for it.
        """
        raise ConfigError(
            f"the head learns from turned images, and task {type(self).__name__} has no turn_labels(); set "
            "head.turned=false, or define it"
        )

    # The network's side: tensors on the device. Nothing here may make the host wait for the device.

    @abstractmethod
    def compute_losses(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B,) losses, 0 or more, and (B,) bool: whether there was something to compare.

        Their mean trains the network; detached, they are what the loss head learns to predict.
        """

    @abstractmethod
    def predict(self, output: Output, views: Views = NO_VIEWS) -> dict[str, Tensor]:
        """(B, …) results per image, in crop pixels, by the names of `offers`.

        They are of the image itself and of those of `self.views` that are given.
        """

    def compute_columns(self, names: frozenset[str], output: Output, views: Views = NO_VIEWS) -> dict[str, Tensor]:
        """(B, …) of those of `extra_columns` that are named; what `list_views` names is given."""
        return {}

    def measure_spread(self, outputs: Iterable[Output]) -> dict[str, Tensor]:
        """(B,) by the names of `dropout_columns`: how far outputs for the same images disagree.

        The outputs are made one after the other, each by a network that has dropped other units.
        """
        return {}

    @abstractmethod
    def compute_quality(self, predictions: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """(B,) how good each prediction is, 0 to 1; NaN where it is unknown. Below one half it is a failure."""

    def compare_with_labels(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """(B, …) what an output says about the labels of its images, for `llpp check`; by default nothing."""
        return {}

    @abstractmethod
    def make_metric(self) -> Metric | MetricCollection:
        """A new measure over a set of images; adds up over batches and ranks."""

    @abstractmethod
    def update_metric(
        self, metric: Metric | MetricCollection, predictions: Mapping[str, Tensor], batch: Batch
    ) -> None:
        """Add a batch to a measure of `make_metric`."""

    @abstractmethod
    def summarise_metric(self, metric: Metric | MetricCollection) -> dict[str, Tensor]:
        """The measure as scalars by column, without the prefix: `metric_name` first; NaN where it is undefined."""

    # What people see.

    @abstractmethod
    def describe_metric(self, rows: NDArray[np.int64]) -> str:
        """The metric over some rows as tables call it, as in PCK@0.2."""

    @property
    def normaliser_source(self) -> str | None:
        """Where the normaliser comes from, in words; None without one."""
        return None

    def map_to_image(self, predictions: Arrays, matrices: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Predictions in crop pixels → image pixels, given (B, 3, 3) image pixels → crop pixels."""
        return dict(predictions)

    @abstractmethod
    def present(self, prediction: Arrays) -> dict[str, Any]:
        """What a user gets of one image's prediction, in image pixels, by name."""

    @abstractmethod
    def draw(self, image: NDArray[np.uint8], row: int, prediction: Arrays) -> NDArray[np.uint8]:
        """A picture of truth and prediction of one record on its image (H, W, 3), for loggers.

        `prediction` has the entries of `shown` for this record, in image pixels.
        """

    def describe_pictures(self) -> PictureParts:
        """What the pictures of `show` have, for a page's viewer."""
        return PictureParts()

    def show(self, image: NDArray[np.uint8], row: int, prediction: Arrays) -> Shown:
        """Truth and prediction of one record, apart from its image (H, W, 3), so that each can be switched off.

        `prediction` is that of `draw`.
        """
        return Shown(image)

    @abstractmethod
    def describe_labels(self) -> str:
        """What the labels are, for a headline: 14 joints, ten classes."""

    @abstractmethod
    def tabulate_labels(self) -> list[Listing]:
        """Tables about the labels, for `llpp data`."""

    def describe_crops(self, padding: float) -> list[str]:
        """What crops of `padding` × the box do to the labels, one fact per line."""
        return []

    def describe_positions(self, sizes: NDArray[np.float32]) -> list[str]:
        """Where labels lie in images of these sizes (N, 2), NaN where unknown, one fact per line."""
        return []

    def list_symbols(self) -> list[Symbol]:
        """The signs that `draw_label` uses, from left to right."""
        return []

    @abstractmethod
    def draw_label(self, tile: NDArray[np.uint8], row: int, matrix: NDArray[np.float64]) -> None:
        """Draw the truth of a record on its enlarged crop; `matrix` (3, 3) maps image pixels → pixels of the tile."""

    def describe(self, row: int, prediction: Arrays) -> str:
        """What to write below a picture of truth and prediction, if anything."""
        return ""

    def explain_colours(self) -> list[tuple[Colour, str]]:
        """The colours that `draw` and `show` use, with what they mean, for a legend."""
        return []
