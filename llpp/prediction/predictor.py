"""What `llpp predict` needs from a model, no matter what runs it: torch, or ONNX Runtime without torch.

B crops, K joints.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError
from llpp.reliability.rankers import HEAD_RANKER, Ranker

FACTS_VERSION = 2
READABLE_VERSIONS = (1, 2)  # 1 knew no ranker but the head
# What the plain values of a file have to be.
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "crop_size": int,
    "padding": (int, float),
    "metric": str,
    "upright": bool,
    "white": (int, type(None)),
    "no_calibration": str,
    "ranker_origin": str,
    "name": str,
    "round": int,
    "run_digest": str,
    "version": str,
    "commit": str,
}
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CalibrationImages:
    """Labelled images that were drawn by chance and steered nothing: what a promise about failures rests on.

    Images whose quality is not known are not among them.
    """

    score: NDArray[np.float32]  # (N,) failure scores
    quality: NDArray[np.float32]  # (N,) in 0 … 1: the metric of each image, as PCK
    group: NDArray[np.str_]  # (N,) images of one group are not independent: a film, a person
    grid: NDArray[np.float32] | None = None  # failure scores, of other images, that thresholds are taken from
    has_groups: bool = True  # False: the run recorded none, and each image is its own group


@dataclass(frozen=True)
class ModelFacts:
    """All about a model but its weights; an exported file has it as JSON."""

    joints: tuple[str, ...]
    edges: Pairs  # limbs to draw, as positions in `joints`
    flip_pairs: Pairs  # left and right joints
    crop_size: int  # side of the crops that the model sees, pixels
    padding: float  # side of a crop / longer side of its box
    metric: str  # what `quality` is, as "PCK@0.2 (torso)"
    upright: bool  # whether images are turned as their EXIF orientation says
    white: int | None  # see `llpp.datasets.pixel_format.PixelFormat`
    background: tuple[int, int, int] | None
    calibration: CalibrationImages | None  # None: nothing can be promised, for the reason in `no_calibration`
    no_calibration: str  # one sentence; empty with a calibration
    name: str  # of the run, for people
    round: int  # that the weights are of
    run_digest: str  # SHA-256 of the run's state
    version: str  # of llpp
    commit: str = ""  # of the source, where it is known
    ranker: Ranker = HEAD_RANKER  # gives the failure score; a file computes it by itself
    ranker_origin: str = ""  # why it is this one, for people; empty where a run had no other
    extra: Mapping[str, Any] = field(default_factory=dict)  # what an exported file says about itself

    def to_json(self) -> dict[str, Any]:
        """As plain values, for `from_json`."""
        content = asdict(self)
        calibration = self.calibration
        if calibration is not None:
            content["calibration"] = {
                "score": calibration.score.tolist(),
                "quality": calibration.quality.tolist(),
                "group": calibration.group.tolist(),
                "grid": None if calibration.grid is None else calibration.grid.tolist(),
                "has_groups": calibration.has_groups,
            }
        content["ranker"] = self.ranker.to_plain()
        return {"llpp_model": FACTS_VERSION, **content}

    @staticmethod
    def from_json(content: Mapping[str, Any], source: str) -> "ModelFacts":
        """The facts that `to_json` wrote.

        Args:
            content: what a file says.
            source: the name of that file, for messages.

        Raises:
            DataError: it is of another version, or is not what `to_json` writes.
        """
        values = dict(content)
        version = values.pop("llpp_model", None)
        if version not in READABLE_VERSIONS:
            raise DataError(
                f"{source} was exported as version {version!r}, and this llpp reads up to {FACTS_VERSION}; export it "
                "again with this llpp, or predict with the one that exported it"
            )
        try:
            if version == 1:
                values = _update_facts(values)
            values["joints"] = tuple(values["joints"])
            for name in ("edges", "flip_pairs"):
                values[name] = tuple((int(a), int(b)) for a, b in values[name])
            if values["background"] is not None:
                red, green, blue = values["background"]
                values["background"] = (red, green, blue)
            if values["calibration"] is not None:
                values["calibration"] = _parse_calibration(values["calibration"])
            values["ranker"] = Ranker.from_plain(values["ranker"])
            facts = ModelFacts(**values)
            _check_facts(facts)
            return facts
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{source} has no complete description of its model; export it again") from error


def _update_facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a file of version 1 as version 2 has them; KeyError or TypeError if they are none."""
    updated = {**values, "ranker": HEAD_RANKER.to_plain(), "ranker_origin": ""}
    if values["calibration"] is not None:
        calibration = dict(values["calibration"])
        calibration["score"] = calibration.pop("loss")
        updated["calibration"] = calibration
    return updated


def _check_facts(facts: ModelFacts) -> None:
    """ValueError or TypeError if a file says what no model has."""
    for name, kind in KINDS.items():
        if not isinstance(getattr(facts, name), kind):
            raise TypeError(f"{name} is of another type")
    if not all(isinstance(joint, str) for joint in facts.joints):
        raise TypeError("a joint has no name")
    positions = range(len(facts.joints))
    for pair in (*facts.edges, *facts.flip_pairs):
        if pair[0] not in positions or pair[1] not in positions:
            raise ValueError("a limb or a pair has a joint that there is not")
    if not 0 < facts.padding < np.inf:
        raise ValueError("padding is no size")
    for colour in facts.background or ():
        if not isinstance(colour, int):
            raise TypeError("the background is no colour")
    numbers = [facts.ranker.offset]
    for term in facts.ranker.terms:
        numbers += [term.centre, term.weight]
    if not np.isfinite(numbers).all():
        raise ValueError("a term of the ranker is no number")


def _parse_calibration(content: Mapping[str, Any]) -> CalibrationImages:
    """ValueError, KeyError or TypeError if it is no calibration."""
    grid = content["grid"]
    calibration = CalibrationImages(
        score=np.asarray(content["score"], dtype=np.float32),
        quality=np.asarray(content["quality"], dtype=np.float32),
        group=np.asarray(content["group"], dtype=np.str_),
        grid=None if grid is None else np.asarray(grid, dtype=np.float32),
        has_groups=bool(content["has_groups"]),
    )
    if not len(calibration.score) == len(calibration.quality) == len(calibration.group):
        raise ValueError("the columns of a calibration have different lengths")
    if not (np.isfinite(calibration.score).all() and np.isfinite(calibration.quality).all()):
        raise ValueError("the columns of a calibration have values that are no numbers")
    return calibration


@dataclass(frozen=True)
class CropPredictions:
    """What a model says about B crops."""

    joints: NDArray[np.float32]  # (B, K, 2) pixels of the crop, pixel centres at integers
    confidence: NDArray[np.float32]  # (B, K) height of each joint's heatmap; higher means surer
    predicted_loss: NDArray[np.float32]  # (B,) of the head; higher means worse
    failure_score: NDArray[np.float32]  # (B,) of the model's ranker; higher means likelier a failure


class Predictor(Protocol):
    """A model that predicts crops."""

    facts: ModelFacts

    def predict(self, crops: NDArray[np.uint8]) -> CropPredictions:
        """Predict crops (B, H, W, 3), RGB, with H = W = `facts.crop_size`; B may change from call to call."""
