"""A finished run as an object that predicts: `llpp.load`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor

from llpp.backbones.base import Backbone
from llpp.config.instantiate import instantiate_dataset, make, make_head, make_task
from llpp.config.run_ranker import read_ranker
from llpp.config.trusted_targets import check_targets
from llpp.data.image_preparation import ImagePreparation
from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.datasets.images import Reading, read_image
from llpp.datasets.pixel_format import PixelFormat
from llpp.errors import ConfigError, DataError, StateError
from llpp.heads.base import LossHead
from llpp.reliability.rankers import LOSS_COLUMN
from llpp.run_dir import layout
from llpp.run_dir.config_file import read_config
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import RunState, load_state
from llpp.tasks.base import Task
from llpp.tasks.views import Views, see_views
from llpp.types import Output

PARTS = ("dataset", "task", "backbone", "head", "crop")  # of a run's config that are built again
REMEDY = "give a run directory, as in runs/demo/predicted_loss/seed0"
Image = str | Path | NDArray[np.uint8]
Box = Sequence[float] | NDArray[Any] | None


class Prediction(SimpleNamespace):
    """What is said about one image.

    `predicted_loss` of the head, `failure_score` by the run's ranker, and what the task predicts: `joints`, or
    `class_name` and `confidence`.
    """


class LoadedRun:
    """The network and loss head of a run's last round.

    Args:
        run_dir: a run directory with at least one committed round; its dataset's annotations must be where they were.
        device: where to compute, as torch names it.
        trusted_packages: packages whose classes the run's config may name, besides llpp's own.
    """

    def __init__(self, run_dir: str | Path, device: str = "cpu", trusted_packages: Sequence[str] = ()) -> None:
        folder = Path(run_dir)
        if not folder.is_dir():
            raise StateError(f"{folder} is not a folder; {REMEDY}")
        if not (folder / "config.yaml").exists() and not (folder / "state.json").exists():
            raise StateError(f"{folder} is no run directory, it has neither config.yaml nor state.json; {REMEDY}")
        config, _ = read_config(folder)
        self.folder = folder
        self.state, weights_file = _find_weights(folder, config)
        for name in PARTS:
            if not isinstance(config.get(name), dict):
                raise StateError(f"{folder / 'config.yaml'} has no section {name}; restore the file from a backup")
            check_targets(config[name], folder, trusted_packages)
        cfg = OmegaConf.create({name: config[name] for name in PARTS} | {"scoring": config.get("scoring")})
        weights = layout.read_weights(weights_file)

        dataset = instantiate_dataset(cfg.dataset)
        self.task: Task = make_task(cfg, dataset)
        self.crop = PersonCrop(cfg.crop.size, cfg.crop.padding)
        outputs = dataset.records.labels.outputs
        self.backbone: Backbone = make(cfg.backbone, outputs=outputs)
        self.head: LossHead = make_head(cfg, self.backbone, outputs)
        # torch's annotations leave out memory_format.
        parts: dict[str, Any] = {"backbone": self.backbone, "head": self.head}
        for name, part in parts.items():
            prefix = f"{name}."
            own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            try:
                part.load_state_dict(own)
            except RuntimeError as error:
                raise StateError(
                    f"the weights of {folder} do not fit the {name} in its config.yaml; restore that file from a "
                    "backup"
                ) from error
            part.to(device, memory_format=torch.channels_last).eval()
        self.pixels = dataset.pixels
        self.reading = dataset.new_reading
        self.images = ImagePreparation(cfg.crop.size)
        self.device = device
        self.ranker = read_ranker(folder, self.state, self.task.offers)

    def predict(
        self, images: Sequence[Image], boxes: Sequence[Box] | NDArray[Any] | None = None, batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Return an iterator over the predictions of images in their order; they are made batch by batch.

        Args:
            images: paths, or RGB pixels (H, W, 3) uint8. Files with an EXIF orientation are read the way up that the
                run has learned: upright by COCO annotations with sizes or `dataset.orientation=upright`, else as they
                are stored. Boxes and joints are in those pixels.
            boxes: for each image (x, y, width, height) in pixels, or None for all of it; None: all of every image.
            batch_size: images that the network sees at once.

        Raises:
            ConfigError: a batch size below 1.
            DataError: another number of boxes than of images; and, when its batch is predicted, an image that cannot
                be read or is no such array, or a box outside of its image.
        """
        if boxes is not None and len(boxes) != len(images):
            raise DataError(f"got {len(boxes)} boxes for {len(images)} images; expected one for each, or None")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} is invalid; expected 1 or more")
        given = [None] * len(images) if boxes is None else boxes
        return self._predict_batches(images, given, batch_size)

    def _predict_batches(
        self, images: Sequence[Image], boxes: Sequence[Box] | NDArray[Any], batch_size: int
    ) -> Iterator[Prediction]:
        for start in range(0, len(images), batch_size):
            rows = range(start, min(start + batch_size, len(images)))
            crops = [self._cut(images[row], boxes[row]) for row in rows]
            yield from self._predict_batch(crops)

    def _cut(self, image: Image, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Pixels of a crop, and (3, 3) image pixels → crop pixels."""
        pixels = _read_pixels(image, self.reading, self.pixels)
        corners = np.full(4, np.nan, dtype=np.float32) if box is None else np.asarray(box, dtype=np.float32)
        if corners.shape != (4,):
            raise DataError(f"a box is {box!r}; expected x, y, width and height in pixels, or None")
        _check_box(corners, pixels.shape[1], pixels.shape[0])
        matrix = self.crop.place(corners, pixels.shape[:2])
        return warp_image(pixels, matrix, self.crop.size), matrix

    @torch.inference_mode()
    def run_network(self, crops: NDArray[np.uint8]) -> tuple[Output, Views, NDArray[np.float32]]:
        """Pass crops (B, H, W, 3), RGB, of the size that the run has learned, through the network.

        Returns:
            The output, those of the views that the run averages, and (B,) predicted losses.
        """
        batch = {"image": torch.from_numpy(crops).to(self.device)}
        image = self.backbone.normalise(self.images.prepare(batch, training=False))
        output = self.backbone(image)
        views = see_views(self.backbone, image, self.task.views)
        return output, views, self.head(output.features).float().cpu().numpy()

    def score_failures(self, predictions: Mapping[str, Tensor], losses: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B,) scores by the run's ranker, from what the task predicts and from predicted losses (B,)."""
        columns = {LOSS_COLUMN: losses}
        for name in self.ranker.columns - {LOSS_COLUMN}:
            columns[name] = predictions[name].float().cpu().numpy()
        return self.ranker.compute_scores(columns)

    @torch.inference_mode()
    def _predict_batch(self, crops: Sequence[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> list[Prediction]:
        matrices = np.stack([matrix for _, matrix in crops])
        output, views, losses = self.run_network(np.stack([pixels for pixels, _ in crops]))
        tensors = self.task.predict(output, views)
        scores = self.score_failures(tensors, losses).tolist()
        arrays = {name: values.cpu().numpy() for name, values in tensors.items()}
        mapped = self.task.map_to_image(arrays, matrices)
        predictions = []
        for row, loss in enumerate(losses.tolist()):
            values = {name: column[row] for name, column in mapped.items()}
            shown = self.task.present(values)
            predictions.append(Prediction(predicted_loss=loss, failure_score=scores[row], **shown))
        return predictions


def _find_weights(run_dir: Path, config: dict[str, Any]) -> tuple[RunState, Path]:
    """The run's state, and the checkpoint that its last committed round was tested with; StateError."""
    state = load_state(run_dir / "state.json")
    if state is None or not state.rounds:
        raise StateError(f"{run_dir} has no finished round; run its `llpp run` command again to resume")
    last = state.rounds[-1]
    training = config.get("training") or {}
    only_head = last.number == 0 and training.get("base") == "backbone"
    which = "last" if only_head else str(training.get("weights", "last"))
    path = layout.get_checkpoint_path(get_round_dir(run_dir, last.number), which)
    if layout.is_damaged(run_dir, last, path.name):
        raise StateError(f"{path} is missing or damaged; restore it from a backup, or train that run again")
    return state, path


def _check_box(box: NDArray[np.float32], width: int, height: int) -> None:
    """Raise DataError about a box (4,) with no part in an image of this size; NaN is all of it."""
    if np.isnan(box).all():
        return
    x, y, box_width, box_height = box.tolist()
    has_size = bool(np.isfinite(box).all()) and box_width >= 0 and box_height >= 0
    if not has_size or x > width or y > height or x + box_width < 0 or y + box_height < 0:
        values = ", ".join(f"{value:g}" for value in box)
        raise DataError(
            f"the box ({values}) is outside of its image of {width} × {height} pixels, or has no size; expected x, "
            "y, width and height in pixels, or None"
        )


def _read_pixels(image: Image, reading: Reading, pixels: PixelFormat) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_image(Path(image), reading, pixels=pixels)
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not is_array or not image.size:
        found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"an image is {found}; expected a path, or RGB pixels (H, W, 3) as uint8")
    return image
