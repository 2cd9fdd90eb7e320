"""The selected images with their true and predicted poses, worst first.

K joints. Coordinates are (x, y), pixel centres at integers.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import PoseDataset, Skeleton
from llpp.errors import LlppError
from llpp.report.collect import Collection, Run, Section
from llpp.tasks.pose.drawing import Pixels, Points, colour_limbs, draw_dot, draw_limbs, get_joint_colours

TILE = 200  # pixels
MARGIN = 1.25  # side of the square shown / longer side of box and joints
MAX_TILES, MIN_TILES = 24, 4  # tiles per selection
TILES_PER_PAGE = 168  # tiles on a page, some 12 kB each
JPEG_QUALITY = 82  # JPEG
TRUTH_COLOUR = (255, 255, 255)


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
    """What one method selected in one round, first seed."""

    label: str
    seed: str
    selected: int
    pck: float | None
    tiles: tuple[Tile, ...]
    problem: str | None = None  # why tiles are missing


@dataclass(frozen=True)
class Gallery:
    """All methods' selections of one round, beside each other."""

    round: int
    labelled: int
    selections: tuple[Selection, ...]


def build_galleries(section: Section, dataset: PoseDataset, tiles: int) -> list[Gallery]:
    """Every selecting round of a section, with up to `tiles` images per method."""
    firsts = [(method.label, method.started_runs[0]) for method in section.methods if method.started_runs]
    last = max((len(run.state.rounds) for _, run in firsts), default=0)
    found = []
    for number in range(last):
        shown = [
            (label, run)
            for label, run in firsts
            if len(run.state.rounds) > number and run.state.rounds[number].selected
        ]
        if shown:
            labelled = int(shown[0][1].state.rounds[number].row["labelled"] or 0)
            selections = tuple(_build_selection(label, run, number, dataset, tiles) for label, run in shown)
            found.append(Gallery(number, labelled, selections))
    return found


def choose_tile_count(collection: Collection) -> int:
    """As many tiles as keep the page small enough to mail; 0 where that would be too few to look at."""
    firsts = [method.started_runs[0] for s in collection.sections for method in s.methods if method.started_runs]
    selections = sum(bool(r.selected) for run in firsts for r in run.state.rounds)
    tiles = min(MAX_TILES, TILES_PER_PAGE // max(selections, 1))
    return tiles if tiles >= MIN_TILES else 0


def _build_selection(label: str, run: Run, number: int, dataset: PoseDataset, tiles: int) -> Selection:
    committed = run.state.rounds[number]
    pck = committed.row.get("selected_pck")
    names = ("id", "predicted_loss", "true_loss", "pck", "joints")
    poses = run.read_round_columns(number, "poses.parquet", names)
    if poses is None or poses["joints"].ndim != 2 or poses["joints"].shape[1] % 2:
        return _build_empty_selection(label, run, number, "poses.parquet")
    scores: Mapping[str, Any] | None = poses  # nothing else was scored
    if run.has_round_file(number, "scores.parquet"):
        scores = run.read_round_columns(number, "scores.parquet", ("predicted_loss",))
    if scores is None:
        return _build_empty_selection(label, run, number, "scores.parquet")
    rows = dataset.records.ids.find_rows(poses["id"].tolist()).tolist()
    made: list[Tile] = []
    missing: str | None = None
    # An unknown loss sorts last.
    for place in np.argsort(-np.nan_to_num(poses["true_loss"], nan=-np.inf), kind="stable")[:tiles].tolist():
        name = str(poses["id"][place])
        try:
            image = _encode_jpeg(_draw_tile(dataset, rows[place], name, poses["joints"][place].reshape(-1, 2)))
        except LlppError as error:
            missing = missing or str(error)
            continue
        predicted = float(poses["predicted_loss"][place])
        rank = 1 + int((scores["predicted_loss"] > predicted).sum())
        loss, share = _replace_non_finite(poses["true_loss"][place]), _replace_non_finite(poses["pck"][place])
        made.append(Tile(name, image, rank, len(scores["predicted_loss"]), loss, share))
    return Selection(label, str(run.seed), len(committed.selected), pck, tuple(made), missing)


def _build_empty_selection(label: str, run: Run, number: int, damaged: str) -> Selection:
    committed, problem = run.state.rounds[number], f"{damaged} of this round is missing or damaged."
    return Selection(label, str(run.seed), len(committed.selected), committed.row.get("selected_pck"), (), problem)


def _replace_non_finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _draw_tile(dataset: PoseDataset, row: int, name: str, predicted: Points) -> Pixels:
    if row < 0:
        raise LlppError(f"the dataset has no {name!r} any more")
    table = dataset.records
    if predicted.shape != table.joints[row].shape:
        raise LlppError(f"poses.parquet has {len(predicted)} joints, the dataset {len(table.joints[row])}")
    return draw_person(dataset.load(row), table.joints[row], predicted, table.boxes[row], dataset.skeleton)


def draw_person(image: Pixels, true: Points, predicted: Points, box: Points, skeleton: Skeleton) -> Pixels:
    """A square cut-out with both poses.

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
    blur = int(1 / matrix[0, 0])
    source = cv2.blur(image, (blur, blur)) if blur > 1 else image  # else a shrunk photograph would sparkle
    tile = cv2.warpAffine(source, matrix, (TILE, TILE), flags=cv2.INTER_CUBIC, borderValue=(96, 96, 96))
    limbs, shown = colour_limbs(skeleton), _transform_points(predicted, matrix)
    draw_limbs(tile, shown, limbs, 4)
    draw_limbs(tile, _transform_points(true, matrix), [(a, b, TRUTH_COLOUR) for a, b, _ in limbs], 2)
    for point, colour in zip(shown, get_joint_colours(skeleton), strict=True):
        draw_dot(tile, point, colour)
    return np.asarray(tile, dtype=np.uint8)


def compute_tile_matrix(size: tuple[int, ...], true: Points, box: Points) -> NDArray[np.float64]:
    """(2, 3) image pixels → tile pixels, for a square around the box and the labelled joints."""
    height, width = size
    low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    side = float(max(width, height))
    if np.isfinite(box).all():
        known = true[np.isfinite(true).all(axis=1)]
        corners = np.concatenate([known, [box[:2], box[:2] + box[2:]]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        side = max(float((high - low).max()) * MARGIN, 8.0)
    scale = TILE / side
    origin = (low + high) / 2 - side / 2  # an edge of a pixel, half a pixel before its centre
    return np.array([[scale, 0, -scale * origin[0] - 0.5], [0, scale, -scale * origin[1] - 0.5]])


def _transform_points(points: Points, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return points.astype(np.float64) * matrix[[0, 1], [0, 1]] + matrix[:, 2]  # no rotation: a NaN keeps to itself


def _encode_jpeg(tile: Pixels) -> str:
    _, content = cv2.imencode(".jpg", tile[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return base64.b64encode(content.tobytes()).decode()
