"""A detector that the user names as an ONNX file, run by OpenCV; its licence is the user's to check.

N boxes or places in which boxes are looked for, C classes; blobs are (1, 3, H, W) BGR, as both layouts are trained.
"""

import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.project.box_files import MIN_SCORE, ScoredBox
from llpp.datasets.project.onnx_shape import find_input_shape
from llpp.errors import DataError, join_lines
from llpp.files import read_bytes

MAX_BYTES = 1 << 30  # of a model
MAX_SIDE = 4096  # pixels of a model's input
STRIDES = (8, 16, 32)  # of YOLOX's three grids, in the order of its output
MAX_OVERLAP = 0.45  # IoU from which the worse of two boxes shows the same person; YOLOX's own demonstration has it
# YOLOX writes the logarithm of a side in strides. This one would be longer than any image; sides in pixels are above.
MAX_LOG_SIDE = 12.0
GREY = 114  # that both layouts are trained to see beyond an image
# RTMDet's own normalisation, BGR; its exported file does not contain it.
RTMDET_MEAN = np.array([103.53, 116.28, 123.675], dtype=np.float32)
RTMDET_STD = np.array([57.375, 57.12, 58.395], dtype=np.float32)
Values = NDArray[np.float32]
LAYOUTS = (
    "expected two outputs, dets (1, N, 5) and labels (1, N), as RTMDet is exported by MMDeploy, or one output "
    "(1, N, 5 + classes) as of YOLOX, where N is the number of cells of 8, 16 and 32 pixels in the input"
)


class Runtime(Protocol):
    """What computes a model's outputs."""

    def run(self, blob: Values) -> list[NDArray[Any]]:
        """Return all outputs for a (1, 3, H, W) input."""


class OpenCvRuntime:
    """Runs a model with OpenCV; cv2.error if it has a layer that OpenCV lacks."""

    def __init__(self, model: bytes) -> None:
        self.net = cv2.dnn.readNetFromONNX(np.frombuffer(model, dtype=np.uint8))
        self.outputs = self.net.getUnconnectedOutLayersNames()

    def run(self, blob: Values) -> list[NDArray[Any]]:
        """Return all outputs."""
        self.net.setInput(blob)
        return list(self.net.forward(self.outputs))


class OnnxRuntime:
    """Runs a model with the package onnxruntime, which is no part of llpp; ImportError if it is not installed."""

    def __init__(self, model: bytes) -> None:
        onnxruntime: Any = importlib.import_module("onnxruntime")
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, blob: Values) -> list[NDArray[Any]]:
        """Return all outputs."""
        return list(self.session.run(None, {self.input: blob}))


class Detector:
    """Finds persons in images. Of a model of several classes, class 0 is used: it is the person in COCO's order.

    Which of the two layouts a model has is seen by the shapes of its outputs; see LAYOUTS.
    """

    def __init__(self, path: Path, model: bytes) -> None:
        """Raise DataError if the model cannot be run, or has outputs of another layout."""
        self.path = path
        self.height, self.width = _read_input_size(path, model)
        self.runtime = self._open_runtime(model)

    def find_boxes(self, image: NDArray[np.uint8]) -> list[ScoredBox]:
        """Return the boxes in an image (H, W, 3) RGB, in its pixels; some may reach beyond it."""
        letterbox, factor = fit_letterbox(image, self.width, self.height)
        outputs = self.runtime.run(self._make_blob(letterbox))
        if self.is_end_to_end:
            boxes, scores = read_end_to_end(outputs)
        else:
            boxes, scores = decode_yolox(outputs[0][0], self.width, self.height)
        found = []
        for (left, top, right, bottom), score in zip((boxes / factor).tolist(), scores.tolist(), strict=True):
            if all(map(math.isfinite, (left, top, right, bottom, score))):
                found.append(ScoredBox((left, top, right - left, bottom - top), score))
        return found

    def _make_blob(self, letterbox: NDArray[np.uint8]) -> Values:
        """Turn a letterbox (H, W, 3) BGR into what the model was trained to see, (1, 3, H, W)."""
        values = letterbox.astype(np.float32)
        if self.is_end_to_end:
            values = (values - RTMDET_MEAN) / RTMDET_STD
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])

    def _open_runtime(self, model: bytes) -> Runtime:
        """Try the model on an empty image: OpenCV finds some layers that it lacks only when it runs."""
        blank = np.full((1, 3, self.height, self.width), GREY, dtype=np.float32)
        try:
            with _opencv_silenced():
                opencv = OpenCvRuntime(model)
                self.is_end_to_end = self._check_outputs(opencv.run(blank))
                return opencv
        except cv2.error as error:
            reason = join_lines(str(error.err))[:300]
        # OpenCV 4 lacks NonMaxSuppression, with which MMDeploy's files end.
        try:
            other = OnnxRuntime(model)
        except ImportError as error:
            raise DataError(
                f"OpenCV cannot run {self.path} ({reason}); pip install onnxruntime, which runs models with layers "
                "such as NonMaxSuppression that OpenCV lacks, or run the detector elsewhere and set "
                "dataset.boxes to a file of its boxes"
            ) from error
        except Exception as error:  # onnxruntime has its own types
            raise self._explain(error) from error
        try:
            outputs = other.run(blank)
        except Exception as error:
            raise self._explain(error) from error
        self.is_end_to_end = self._check_outputs(outputs)
        return other

    def _explain(self, error: Exception) -> DataError:
        return DataError(
            f"neither OpenCV nor onnxruntime can run {self.path} ({join_lines(str(error))[:300]}); export the model "
            "again, or run the detector elsewhere and set dataset.boxes to a file of its boxes"
        )

    def _check_outputs(self, outputs: Sequence[NDArray[Any]]) -> bool:
        """Whether a model is RTMDet's end-to-end one, and not YOLOX's; DataError if it is neither."""
        shapes = [tuple(output.shape) for output in outputs]
        if sorted(len(shape) for shape in shapes) == [2, 3]:
            boxes_shape = max(shapes, key=len)
            labels_shape = min(shapes, key=len)
            if boxes_shape == (*labels_shape, 5) and labels_shape[0] == 1:
                return True
        cells = count_cells(self.width, self.height)
        if len(shapes) == 1 and shapes[0][:2] == (1, cells) and len(shapes[0]) == 3 and shapes[0][2] > 5:
            if float(outputs[0][0, :, 2:4].max()) > MAX_LOG_SIDE:
                raise DataError(
                    f"{self.path} gives boxes in pixels already; export YOLOX without --decode_in_inference"
                )
            return False
        shown = ", ".join(map(str, shapes))
        raise DataError(f"{self.path} has outputs of the shapes {shown} for {self.width} × {self.height}; {LAYOUTS}")


def read_model(path: Path) -> bytes:
    """Read an ONNX file of at most MAX_BYTES; DataError if that is impossible."""
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def fit_letterbox(image: NDArray[np.uint8], width: int, height: int) -> tuple[NDArray[np.uint8], float]:
    """Return an RGB image as BGR in the top left corner of a grey one (height, width, 3), and its scale."""
    rows, columns = image.shape[:2]
    factor = min(width / columns, height / rows)
    new_width = max(1, int(columns * factor))
    new_height = max(1, int(rows * factor))
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    letterbox = np.full((height, width, 3), GREY, dtype=np.uint8)
    letterbox[:new_height, :new_width] = resized[:, :, ::-1]
    return letterbox, factor


def read_end_to_end(outputs: Sequence[NDArray[Any]]) -> tuple[Values, Values]:
    """Return the corners (n, 4) x, y, x, y and scores (n,) of class 0, from dets (1, N, 5) and labels (1, N)."""
    dets = max(outputs, key=np.ndim)[0]
    labels = min(outputs, key=np.ndim)[0]
    chosen = dets[labels == 0].astype(np.float32)
    return chosen[:, :4], chosen[:, 4]


def count_cells(width: int, height: int) -> int:
    """Count the cells of YOLOX's three grids."""
    return sum((width // stride) * (height // stride) for stride in STRIDES)


def decode_yolox(output: NDArray[Any], width: int, height: int) -> tuple[Values, Values]:
    """Return the corners (n, 4) x, y, x, y and scores (n,) of class 0 without overlaps, in pixels of the input.

    `output` (N, 5 + C) has for each cell: the centre's distance from the cell's corner and the logarithm of width
    and height, all in strides; whether there is anything; and how much it looks like each class.
    """
    corners = []
    strides = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    corner = np.concatenate(corners).astype(np.float32)
    scale = np.concatenate(strides).astype(np.float32)
    scores = (output[:, 4] * output[:, 5]).astype(np.float32)
    likely = np.flatnonzero(scores >= MIN_SCORE)
    centre = (output[likely, :2] + corner[likely]) * scale[likely]
    # A damaged model must not end in an overflow: the box is left out as one that reaches beyond everything.
    sides = np.exp(output[likely, 2:4].clip(max=MAX_LOG_SIDE)) * scale[likely]
    low = centre - sides / 2
    boxes = np.concatenate([low, sides], axis=1).tolist()
    best = cv2.dnn.NMSBoxes(boxes, scores[likely].tolist(), MIN_SCORE, MAX_OVERLAP)
    kept = np.array(best, dtype=np.int64).reshape(-1)
    high = low + sides
    return np.concatenate([low, high], axis=1)[kept], scores[likely][kept]


def _read_input_size(path: Path, model: bytes) -> tuple[int, int]:
    """Return the height and width of a model's input; DataError if it is no image of a fixed size."""
    shape = find_input_shape(model)
    if shape is None:
        raise DataError(f"{path} is no ONNX model; expected the file that a detector was exported to")
    is_image = len(shape) == 4 and shape[1] == 3
    sizes: Sequence[int | None] = shape[2:] if is_image else ()
    fixed = [side for side in sizes if side is not None and 0 < side <= MAX_SIDE]
    if len(fixed) != 2:
        shown = ", ".join("?" if side is None else str(side) for side in shape)
        raise DataError(
            f"{path} takes an input of the shape ({shown}); expected (1, 3, height, width) with sides of up to "
            f"{MAX_SIDE} pixels: export the model with a fixed input size, such as 640 × 640"
        )
    return fixed[0], fixed[1]


@contextmanager
def _opencv_silenced() -> Iterator[None]:
    """Keep OpenCV from printing what an exception says, too."""
    logging: Any = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
