"""From measured sizes to others: linear models of what grows, and what they say about a whole round.

N images of the pool, L labelled, k selected, D values of an embedding, R ranks.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import nnls

from llpp.datasets.coco import keypoints_json
from llpp.run_dir import state
from llpp.training.checkpoint_callbacks import LastCheckpoint

Sizes = Mapping[str, float]
Term = Callable[[Sizes], float]
JOINTS = 16
PARAMETERS, BUFFERS, LAYERS, CHANNELS = 7_655_649, 126_720, 96, 15_744  # of the published network with its head
COLUMNS = 3  # scores of an image: predicted loss, true loss, PCK
RANK_TIMEOUT = 1800  # the default
PASSES = 3  # over test, pool and selected images


def _make_product(*names: str) -> Term:
    return lambda sizes: float(np.prod([sizes[name] for name in names]))


def _make_centre_product(*names: str) -> Term:
    return lambda sizes: (sizes["L"] + sizes["k"]) * float(np.prod([sizes[name] for name in names]))


# What each part grows with, beside a constant.
TERMS: dict[str, dict[str, Term]] = {
    **{part: {"N": _make_product("N")} for part in ("records", "digest", "pool", "candidates", "select", "label")},
    "write_scores": {"N": _make_product("N")},
    "load_state": {"L": _make_product("L")},
    "commit": {"L": _make_product("L")},
    "memory": {"N": _make_product("N")},
    "state_file": {"L": _make_product("L")},
    "scores_file": {"N": _make_product("N")},
    "places": {"N": _make_product("N")},
    "core_set": {
        "N·D": _make_product("N", "D"),
        "N·(L+k)·D": _make_centre_product("N", "D"),
        "k·(L+k)·D": _make_centre_product("k", "D"),
    },
    "hand_over": {"bytes": _make_product("bytes")},
    "tell_bytes": {"ids·(R-1)": _make_product("ids", "copies")},
    "coco_read": {"N": _make_product("N")},
    "coco_file": {"N": _make_product("N")},
    "coco_peak": {"N": _make_product("N")},
    "coco_records": {"N": _make_product("N")},
}


@dataclass(frozen=True)
class Fit:
    """A part's model: not negative, least squares of relative errors."""

    terms: Mapping[str, Term]
    factors: Sequence[float]  # the constant first
    error: float  # of the model without the largest size, there, relative
    samples: Sequence[tuple[Sizes, float]]

    def __call__(self, **sizes: float) -> float:
        """The value at any sizes."""
        return float(_make_row(self.terms, sizes) @ np.asarray(self.factors))


def _make_row(terms: Mapping[str, Term], sizes: Sizes) -> Any:
    return np.array([1.0, *(term(sizes) for term in terms.values())])


def _fit_factors(terms: Mapping[str, Term], samples: Sequence[tuple[Sizes, float]]) -> Any:
    rows = np.array([_make_row(terms, sizes) / value for sizes, value in samples])
    scale = rows.max(axis=0)
    return nnls(rows / scale, np.ones(len(rows)))[0] / scale


def fit_models(lines: Sequence[Mapping[str, Any]]) -> dict[str, Fit]:
    """Models of all parts from the script's own lines."""
    found = {}
    for part, terms in TERMS.items():
        samples = [(line["detail"], line["value"]) for line in lines if line["name"] == f"scaling_{part}"]
        first = next(iter(terms.values()))
        samples.sort(key=lambda sample: first(sample[0]))
        *smaller, (sizes, value) = samples
        error = float(_make_row(terms, sizes) @ _fit_factors(terms, smaller)) / value - 1
        found[part] = Fit(terms, _fit_factors(terms, samples).tolist(), error, samples)
    return found


@dataclass(frozen=True)
class Assumptions:
    """What nobody has measured."""

    train_rate: float  # images/s of one GPU
    score_rate: float
    cores: float  # of a machine, per GPU
    epochs: float
    batch: float  # images per GPU and step
    dimensions: float


@dataclass(frozen=True)
class Projection:
    """One round at one size, with core-set beside it where that differs."""

    images: int
    gpus: int
    labelled: int
    budget: int
    seconds: dict[str, float] = field(default_factory=dict)
    core_set: dict[str, float] = field(default_factory=dict)  # what core-set adds
    once: dict[str, float] = field(default_factory=dict)  # before round 0
    network: dict[str, float] = field(default_factory=dict)  # bytes, all ranks together
    memory: dict[str, float] = field(default_factory=dict)  # bytes
    disk: dict[str, float] = field(default_factory=dict)  # bytes

    @property
    def total(self) -> float:
        """Seconds of a round that selects by predicted loss."""
        return sum(self.seconds.values())


def project(
    fits: Mapping[str, Fit], one: Mapping[str, float], assumed: Assumptions, images: int, gpus: int
) -> Projection:
    """A round with 1 % of the pool labelled (1,000 at least) and 0.1 % selected (100 at least).

    `one` holds the parts that are measured at one size only, by name.
    """
    labelled, budget = max(1000, images // 100), max(100, images // 1000)
    at = {"N": images, "L": labelled, "k": budget, "D": assumed.dimensions, "R": gpus}
    here = Projection(images, gpus, labelled, budget)
    step = min(assumed.batch * gpus, labelled) // gpus * gpus  # images
    steps = assumed.epochs * (labelled // step)
    here.seconds.update(
        train=(train := steps * step / (gpus * assumed.train_rate)),
        checkpoints=_estimate_checkpoint_time(assumed.epochs, train, one["checkpoint_published"]),
        score=images / (gpus * assumed.score_rate),
        places=fits["places"](**at),
        hand_over=_estimate_hand_over(fits, images, COLUMNS, gpus),
        bookkeeping=sum(
            fits[part](**at) for part in ("pool", "candidates", "select", "label", "write_scores", "commit")
        ),
    )
    here.core_set.update(
        select=fits["core_set"](**at),
        hand_over=_estimate_hand_over(fits, images + labelled, assumed.dimensions, gpus),
    )
    here.once.update(
        check=images * one["check_image"] / (gpus * assumed.cores),
        records=fits["records"](**at) + fits["digest"](**at),
        reader=fits["coco_read"](**at),
    )
    here.network.update(_estimate_network_bytes(fits, at, steps, step))
    here.memory.update(_estimate_memory(fits, one, at))
    here.disk.update(
        scores=fits["scores_file"](**at), state=fits["state_file"](**at), checkpoint=one["checkpoint_file_published"],
        column=4.0 * images * assumed.dimensions if gpus > 1 else 0.0,
    )  # fmt: skip
    return here


def _estimate_checkpoint_time(epochs: float, train: float, each: float) -> float:
    """Seconds for those of the first and the last epoch, and for others as far as that is a small share."""
    return min(epochs * each, 2 * each + LastCheckpoint.share * train)


def find_limits(fits: Mapping[str, Fit]) -> list[tuple[str, float, str]]:
    """Sizes at which something ends."""
    ids = next(n for n in _generate_sizes() if fits["state_file"](L=n) > state.MAX_BYTES)
    persons = next(n for n in _generate_sizes() if fits["coco_file"](N=n) > keypoints_json.MAX_BYTES)
    waiting = next(n for n in _generate_sizes() if fits["core_set"](N=n, L=n / 100, k=n / 1000, D=256) > RANK_TIMEOUT)
    return [
        ("state", ids, "labelled ids above which state.json is written but not read again"),
        ("coco", persons, "persons above which an annotation file is refused"),
        ("core_set", waiting, f"images above which core-set selects for more than rank_timeout={RANK_TIMEOUT}"),
    ]


def _generate_sizes() -> Iterator[int]:
    return (int(10 ** (exponent / 200)) for exponent in itertools.count(800))


def _estimate_hand_over(fits: Mapping[str, Fit], rows: float, width: float, gpus: int) -> float:
    return fits["hand_over"](bytes=4 * rows * width * (gpus - 1) / gpus) if gpus > 1 else 0.0


def _estimate_network_bytes(fits: Mapping[str, Fit], at: Sizes, steps: float, step: float) -> dict[str, float]:
    """Bytes that all ranks together send, on GPUs: the formulas of docs/scaling.md."""
    ranks, others = at["R"], at["R"] - 1
    weights = 4 * PARAMETERS + BUFFERS
    return {
        "gradients": steps * 2 * others * 4 * PARAMETERS,
        "batch_norm": steps * 4 * (ranks * others * (2 * CHANNELS + LAYERS) + 2 * others * 2 * CHANNELS),
        "pairs": steps * 2 * 4 * others * step,
        "weights": (1 + PASSES) * others * weights,
        "scores": 4 * COLUMNS * at["N"] * others / ranks,
        "ids": fits["tell_bytes"](ids=at["k"] + at["L"], copies=others) if others else 0.0,
        "embeddings": 4 * at["D"] * (at["N"] + at["L"]) * others / ranks,
    }


def _estimate_memory(fits: Mapping[str, Fit], one: Mapping[str, float], at: Sizes) -> dict[str, float]:
    """Bytes of a process, without the network, its batches and the libraries' GPU part.

    The bookkeeping was measured with annotations that take no memory; `annotations` is what they take.
    """
    count, ranks = at["N"], at["R"]
    annotations = JOINTS * (2 * 4 + 1) + 4 * 4 + 1 + 4  # joints, visible, boxes, initial, sizes
    common = fits["memory"](**at) + count * annotations
    scores = 4 * COLUMNS * count
    return {
        "first": common,
        "other": common - scores * (1 - 1 / ranks),
        "reader": fits["coco_peak"](**at),
        "embeddings": 4 * count * at["D"],
    }
