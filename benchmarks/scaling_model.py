"""From measured sizes to others: linear models of what grows, and the whole round that they amount to.

N images of the pool, L labelled, k selected, D values of an embedding, R ranks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.core_set import DIMENSIONS
from benchmarks.nets import JOINTS
from llpp.datasets.coco import keypoints_json
from llpp.run_dir import state
from llpp.training.checkpoint_callbacks import LastCheckpoint

Sizes = Mapping[str, float]
Term = Callable[[Sizes], float]
# Of the published network with its head.
PARAMETERS = 7_655_649
BUFFERS = 126_720
BATCH_NORM_LAYERS = 96
BATCH_NORM_CHANNELS = 15_744
COLUMNS = 3  # scores of an image: predicted loss, true loss, PCK
RANK_TIMEOUT = 1800  # seconds, the default
PASSES = 3  # over test, pool and selected images
BYTES_OF_ANNOTATIONS = JOINTS * (2 * 4 + 1) + 4 * 4 + 1 + 4  # joints, visible, boxes, initial, sizes; of an image
BOOKKEEPING = ("pool", "candidates", "select", "label", "write_scores", "commit")  # of every round


def _multiply(*names: str) -> Term:
    return lambda sizes: float(np.prod([sizes[name] for name in names]))


def _multiply_by_centres(*names: str) -> Term:
    return lambda sizes: (sizes["L"] + sizes["k"]) * float(np.prod([sizes[name] for name in names]))


# What each part grows with, in addition to a constant.
TERMS: dict[str, dict[str, Term]] = {
    "commit": {"L": _multiply("L")},
    "state_file": {"L": _multiply("L")},
    "core_set": {
        "N·D": _multiply("N", "D"),
        "N·(L+k)·D": _multiply_by_centres("N", "D"),
        "k·(L+k)·D": _multiply_by_centres("k", "D"),
    },
    "hand_over": {"bytes": _multiply("bytes")},
    "tell_bytes": {"ids·(R-1)": _multiply("ids", "copies")},
}
LINEAR_IN_POOL = (
    "records", "digest", "pool", "candidates", "select", "label", "write_scores", "memory", "scores_file", "places",
    "coco_read", "coco_file", "coco_peak",
)  # fmt: skip
for _part in LINEAR_IN_POOL:
    TERMS[_part] = {"N": _multiply("N")}


@dataclass(frozen=True)
class Fit:
    """A part's model: factors that are not negative, least squares of relative errors."""

    terms: Mapping[str, Term]
    factors: Sequence[float]  # the constant first
    error: float  # relative, at the largest size, of the model that was fitted without it
    samples: Sequence[tuple[Sizes, float]]

    def __call__(self, **sizes: float) -> float:
        """Return the value at any sizes."""
        return float(_make_row(self.terms, sizes) @ np.asarray(self.factors))


def _make_row(terms: Mapping[str, Term], sizes: Sizes) -> Any:
    return np.array([1.0, *(term(sizes) for term in terms.values())])


def _fit_factors(terms: Mapping[str, Term], samples: Sequence[tuple[Sizes, float]]) -> Any:
    rows = np.array([_make_row(terms, sizes) / value for sizes, value in samples])
    scale = rows.max(axis=0)
    return nnls(rows / scale, np.ones(len(rows)))[0] / scale


def fit_models(lines: Sequence[Mapping[str, Any]]) -> dict[str, Fit]:
    """Fit the models of all parts to the script's own lines."""
    fits = {}
    for part, terms in TERMS.items():
        samples = [(line["detail"], line["value"]) for line in lines if line["name"] == f"scaling_{part}"]
        first_term = next(iter(terms.values()))
        samples.sort(key=lambda sample, term=first_term: term(sample[0]))  # type: ignore[misc]
        sizes, value = samples[-1]
        predicted = float(_make_row(terms, sizes) @ _fit_factors(terms, samples[:-1]))
        fits[part] = Fit(terms, _fit_factors(terms, samples).tolist(), predicted / value - 1, samples)
    return fits


@dataclass(frozen=True)
class Projection:
    """One round at one size, and what core-set adds to it."""

    images: int
    gpus: int
    labelled: int
    budget: int
    seconds: dict[str, float] = field(default_factory=dict)
    core_set: dict[str, float] = field(default_factory=dict)  # seconds that core-set adds
    once: dict[str, float] = field(default_factory=dict)  # seconds before round 0
    network: dict[str, float] = field(default_factory=dict)  # bytes, all ranks together
    memory: dict[str, float] = field(default_factory=dict)  # bytes
    disk: dict[str, float] = field(default_factory=dict)  # bytes

    @property
    def total(self) -> float:
        """Seconds of a round that selects by predicted loss."""
        return sum(self.seconds.values())


def project(
    fits: Mapping[str, Fit], single: Mapping[str, float], assumed: Mapping[str, float], images: int, gpus: int
) -> Projection:
    """Work out a round with 1 % of the pool labelled (1,000 at least) and 0.1 % selected (100 at least).

    `single` holds the parts that are measured at one size only, by name; `assumed` are options of
    `benchmarks.scaling`.
    """
    labelled = max(1000, images // 100)
    budget = max(100, images // 1000)
    sizes = {"N": images, "L": labelled, "k": budget, "D": DIMENSIONS, "R": gpus}
    images_per_step = min(assumed["batch"] * gpus, labelled) // gpus * gpus
    steps = assumed["epochs"] * (labelled // images_per_step)
    train = steps * images_per_step / (gpus * assumed["train_rate"])

    # Checkpoints: those of the first and the last epoch, and others as far as that is a small share of training.
    checkpoint = single["checkpoint_published"]
    checkpoints = min(assumed["epochs"] * checkpoint, 2 * checkpoint + LastCheckpoint.share * train)
    column = 4.0 * images * DIMENSIONS
    return Projection(
        images,
        gpus,
        labelled,
        budget,
        seconds={
            "train": train,
            "checkpoints": checkpoints,
            "score": images / (gpus * assumed["score_rate"]),
            "places": fits["places"](**sizes),
            "hand_over": _estimate_hand_over(fits, images, COLUMNS, gpus),
            "bookkeeping": sum(fits[part](**sizes) for part in BOOKKEEPING),
        },
        core_set={
            "select": fits["core_set"](**sizes),
            "hand_over": _estimate_hand_over(fits, images + labelled, DIMENSIONS, gpus),
        },
        once={
            "check": images * single["check_image"] / (gpus * assumed["cores"]),
            "records": fits["records"](**sizes) + fits["digest"](**sizes),
            "reader": fits["coco_read"](**sizes),
        },
        network=_estimate_network_bytes(fits, sizes, steps, images_per_step),
        memory=_estimate_memory(fits, sizes),
        disk={
            "scores": fits["scores_file"](**sizes),
            "state": fits["state_file"](**sizes),
            "checkpoint": single["checkpoint_file_published"],
            "column": column if gpus > 1 else 0.0,
        },
    )


def _estimate_hand_over(fits: Mapping[str, Fit], rows: float, width: float, gpus: int) -> float:
    """Return the seconds in which the first rank gets the others' rows."""
    if gpus == 1:
        return 0.0
    return fits["hand_over"](bytes=4 * rows * width * (gpus - 1) / gpus)


def _estimate_network_bytes(
    fits: Mapping[str, Fit], sizes: Sizes, steps: float, images_per_step: float
) -> dict[str, float]:
    """Return the bytes that all ranks together send, on GPUs: the formulas of docs/scaling.md."""
    ranks = sizes["R"]
    others = ranks - 1
    gathered_statistics = ranks * others * (2 * BATCH_NORM_CHANNELS + BATCH_NORM_LAYERS)
    summed_gradients = 2 * others * 2 * BATCH_NORM_CHANNELS
    return {
        "gradients": steps * 2 * others * 4 * PARAMETERS,
        "batch_norm": steps * 4 * (gathered_statistics + summed_gradients),
        "pairs": steps * 2 * 4 * others * images_per_step,
        "weights": (1 + PASSES) * others * (4 * PARAMETERS + BUFFERS),
        "scores": 4 * COLUMNS * sizes["N"] * others / ranks,
        "ids": fits["tell_bytes"](ids=sizes["k"] + sizes["L"], copies=others) if others else 0.0,
        "embeddings": 4 * sizes["D"] * (sizes["N"] + sizes["L"]) * others / ranks,
    }


def _estimate_memory(fits: Mapping[str, Fit], sizes: Sizes) -> dict[str, float]:
    """Return the bytes of a process, without the network, its batches and the libraries' GPU part.

    The bookkeeping was measured with annotations that take no memory, so theirs is added.
    """
    count = sizes["N"]
    first = fits["memory"](**sizes) + count * BYTES_OF_ANNOTATIONS
    scores = 4 * COLUMNS * count
    return {
        "first": first,
        "other": first - scores * (1 - 1 / sizes["R"]),
        "reader": fits["coco_peak"](**sizes),
        "embeddings": 4 * count * sizes["D"],
    }


def find_limits(fits: Mapping[str, Fit]) -> list[tuple[str, float, str]]:
    """Find the sizes at which something ends."""
    ids = _find_first(lambda n: fits["state_file"](L=n) > state.MAX_BYTES)
    persons = _find_first(lambda n: fits["coco_file"](N=n) > keypoints_json.MAX_BYTES)
    images = _find_first(lambda n: fits["core_set"](N=n, L=n / 100, k=n / 1000, D=DIMENSIONS) > RANK_TIMEOUT)
    return [
        ("state", ids, "labelled ids above which state.json is written but not read again"),
        ("coco", persons, "persons above which an annotation file is refused"),
        ("core_set", images, f"images above which core-set selects for more than launch.rank_timeout={RANK_TIMEOUT}"),
    ]


def _find_first(fails: Callable[[int], bool]) -> int:
    """Return the first size that fails, of sizes from 10,000 on that are 1.2 % apart."""
    exponent = 800
    while not fails(int(10 ** (exponent / 200))):
        exponent += 1
    return int(10 ** (exponent / 200))
