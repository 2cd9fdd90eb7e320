"""The selected images with their true and predicted poses, worst first.

K joints. Coordinates are (x, y), pixel centres at integers.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import PoseDataset, Skeleton
from llpp.errors import LlppError
from llpp.report.collect import Collection, Run, Section
from llpp.report.metric import IMAGE_METRIC, SELECTED_METRIC
from llpp.tasks.pose.drawing import Pixels, Points, colour_limbs, draw_dot, draw_limbs, get_joint_colours

TILE = 200  # pixels
MARGIN = 1.25  # side of the square shown / longer side of box and joints
MIN_SIDE = 8.0  # image pixels of the square, however small the box
MAX_TILES = 24  # per selection
MIN_TILES = 4  # per selection; with fewer, the gallery is left out
TILES_PER_PAGE = 168  # some 12 kB each
JPEG_QUALITY = 82  # of 100
TRUTH_COLOUR = (255, 255, 255)
BORDER_COLOUR = (96, 96, 96)  # outside the image


@dataclass(frozen=True)
class Tile:
    """One selected image."""

    id: str
    image: str  # JPEG, base64
    rank: int  # of its predicted loss, 1 is the highest
    among: int  # images ranked
    true_loss: float | None
    pck: float | None


@dataclass(frozen=True)
class Selection:
    """The images that one method selected in one round, first seed."""

    label: str
    seed: str
    selected: int
    pck: float | None
    tiles: tuple[Tile, ...]
    problem: str | None = None  # why tiles are missing


@dataclass(frozen=True)
class Gallery:
    """All methods' selections of one round, next to each other."""

    round: int
    labelled: int
    selections: tuple[Selection, ...]


def build_galleries(section: Section, dataset: PoseDataset, tiles: int) -> list[Gallery]:
    """Build the gallery of every round of a section that selected images, with up to `tiles` images per method."""
    last = 0
    for method in section.started_methods:
        last = max(last, len(method.started_runs[0].state.rounds))
    galleries = []
    for number in range(last):
        runs = _find_selecting_runs(section, number)
        if not runs:
            continue
        _, first_run = runs[0]
        labelled = int(first_run.state.rounds[number].row["labelled"] or 0)
        selections = []
        for label, run in runs:
            selections.append(_build_selection(label, run, number, dataset, tiles))
        galleries.append(Gallery(number, labelled, tuple(selections)))
    return galleries


def _find_selecting_runs(section: Section, number: int) -> list[tuple[str, Run]]:
    """Return label and first seed's run of the methods that selected images in round `number`."""
    runs = []
    for method in section.started_methods:
        run = method.started_runs[0]
        if number < len(run.state.rounds) and run.state.rounds[number].selected:
            runs.append((method.label, run))
    return runs


def choose_tile_count(collection: Collection) -> int:
    """Return as many tiles per selection as keep the page small enough to mail; 0 where that would be too few."""
    selections = 0
    for section in collection.sections:
        for method in section.started_methods:
            for committed in method.started_runs[0].state.rounds:
                if committed.selected:
                    selections += 1
    tiles = min(MAX_TILES, TILES_PER_PAGE // max(selections, 1))
    if tiles < MIN_TILES:
        return 0
    return tiles


def _build_selection(label: str, run: Run, number: int, dataset: PoseDataset, tiles: int) -> Selection:
    """Build what the first seed's run of a method selected in round `number`, highest true loss first."""
    committed = run.state.rounds[number]
    selection = Selection(
        label, str(run.seed), len(committed.selected), pck=committed.row.get(SELECTED_METRIC), tiles=()
    )
    names = ("id", "predicted_loss", "true_loss", IMAGE_METRIC, "joints")
    poses = run.read_round_columns(number, "poses.parquet", names)
    # A row of joints is x and y of each joint in turn.
    if poses is None or poses["joints"].ndim != 2 or poses["joints"].shape[1] % 2:
        return _add_damage(selection, "poses.parquet")
    # Without scores of the pool, only the selected images were scored, and these have the losses, too.
    scores: Mapping[str, Any] | None = poses
    if run.has_round_file(number, "scores.parquet"):
        scores = run.read_round_columns(number, "scores.parquet", ("predicted_loss",))
    if scores is None:
        return _add_damage(selection, "scores.parquet")
    selected_tiles, problem = _build_tiles(poses, scores["predicted_loss"], dataset, tiles)
    return replace(selection, tiles=tuple(selected_tiles), problem=problem)


def _add_damage(selection: Selection, file: str) -> Selection:
    return replace(selection, problem=f"{file} of this round is missing or damaged.")


def _build_tiles(
    poses: Mapping[str, Any], predicted_losses: Any, dataset: PoseDataset, count: int
) -> tuple[list[Tile], str | None]:
    """Build the tiles of the `count` images with the highest true loss.

    Args:
        poses: columns of poses.parquet; (N,), joints (N, 2K).
        predicted_losses: (M,) of all images among which the selected ones are ranked.
        dataset: gives images and true joints.
        count: the most tiles to build.

    Returns:
        The tiles, and the first reason why one is missing.
    """
    rows = dataset.records.ids.find_rows(poses["id"].tolist()).tolist()
    # An unknown loss sorts last.
    order = np.argsort(-np.nan_to_num(poses["true_loss"], nan=-np.inf), kind="stable")
    tiles: list[Tile] = []
    problem: str | None = None
    for index in order[:count].tolist():
        name = str(poses["id"][index])
        joints = poses["joints"][index].reshape(-1, 2)
        try:
            image = _encode_jpeg(_draw_tile(dataset, rows[index], name, joints))
        except LlppError as error:
            problem = problem or str(error)
            continue
        predicted_loss = float(poses["predicted_loss"][index])
        tile = Tile(
            id=name,
            image=image,
            rank=1 + int((predicted_losses > predicted_loss).sum()),
            among=len(predicted_losses),
            true_loss=_replace_non_finite(poses["true_loss"][index]),
            pck=_replace_non_finite(poses[IMAGE_METRIC][index]),
        )
        tiles.append(tile)
    return tiles, problem


def _replace_non_finite(value: Any) -> float | None:
    """Return a number that the page can show; None for NaN and the infinities."""
    if not np.isfinite(value):
        return None
    return float(value)


def _draw_tile(dataset: PoseDataset, row: int, name: str, predicted: Points) -> Pixels:
    """Draw the image in a row of the dataset; a negative row means that the dataset does not have it."""
    if row < 0:
        raise LlppError(f"the dataset has no {name!r} any more")
    records = dataset.records
    true = records.joints[row]
    if predicted.shape != true.shape:
        raise LlppError(f"poses.parquet has {len(predicted)} joints, the dataset {len(true)}")
    return draw_person(dataset.load(row), true, predicted, records.boxes[row], dataset.skeleton)


def draw_person(image: Pixels, true: Points, predicted: Points, box: Points, skeleton: Skeleton) -> Pixels:
    """Draw a square cut-out with both poses.

    Args:
        image: (H, W, 3) RGB.
        true: (K, 2) image pixels, NaN where unlabelled; drawn thin and white.
        predicted: (K, 2) image pixels; drawn thick, in the colours of the body's sides.
        box: (4,) x, y, width, height; the whole image is shown where it is NaN.
        skeleton: names and limbs of the joints.

    Returns:
        (TILE, TILE, 3) RGB.
    """
    matrix = compute_tile_matrix(image.shape[:2], true, box)
    # A photograph that is shrunk without a blur would sparkle.
    blur = int(1 / matrix[0, 0])
    source = cv2.blur(image, (blur, blur)) if blur > 1 else image
    tile = cv2.warpAffine(source, matrix, (TILE, TILE), flags=cv2.INTER_CUBIC, borderValue=BORDER_COLOUR)
    limbs = colour_limbs(skeleton)
    true_limbs = [(start, end, TRUTH_COLOUR) for start, end, _ in limbs]
    predicted_points = _transform_points(predicted, matrix)
    # The thin true limbs come on top of the thick predicted ones, and the predicted joints on top of both.
    draw_limbs(tile, predicted_points, limbs, 4)
    draw_limbs(tile, _transform_points(true, matrix), true_limbs, 2)
    for point, colour in zip(predicted_points, get_joint_colours(skeleton), strict=True):
        draw_dot(tile, point, colour)
    return np.asarray(tile, dtype=np.uint8)


def compute_tile_matrix(size: tuple[int, ...], true: Points, box: Points) -> NDArray[np.float64]:
    """Compute the (2, 3) transform from image to tile pixels, for a square around the box and the labelled joints.

    Args:
        size: height and width of the image, which is shown whole where the box is NaN.
        true: (K, 2) image pixels, NaN where unlabelled.
        box: (4,) x, y, width, height.
    """
    if np.isfinite(box).all():
        labelled = true[np.isfinite(true).all(axis=1)]
        corners = np.concatenate([labelled, [box[:2], box[:2] + box[2:]]])
        low = corners.min(axis=0)
        high = corners.max(axis=0)
        side = max(float((high - low).max()) * MARGIN, MIN_SIDE)
    else:
        height, width = size
        low = np.array([-0.5, -0.5])
        high = np.array([width - 0.5, height - 0.5])
        side = float(max(width, height))
    scale = TILE / side
    # The left and upper edges of the square. An edge of a pixel is half a pixel before its centre.
    left, top = (low + high) / 2 - side / 2
    return np.array([[scale, 0, -scale * left - 0.5], [0, scale, -scale * top - 0.5]])


def _transform_points(points: Points, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform (K, 2) points by a matrix that only scales and shifts."""
    # A matrix product would multiply a coordinate that is NaN by 0 and so spoil the other one.
    scales = matrix[[0, 1], [0, 1]]
    return points.astype(np.float64) * scales + matrix[:, 2]


def _encode_jpeg(tile: Pixels) -> str:
    """Return RGB pixels as JPEG in base64."""
    bgr = tile[..., ::-1]
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return base64.b64encode(content.tobytes()).decode()
