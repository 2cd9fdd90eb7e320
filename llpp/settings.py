"""The settings of a run as plain values."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from llpp.errors import expect
from llpp.setting_rules import check_setting


@dataclass(frozen=True)
class Settings:
    """The shape of a run."""

    seed: int
    rounds: int | None  # models trained; all but the last select. None: one per start, which selects
    initial: int  # ids labelled before round 0
    budget: int  # ids selected per round
    audit: float = 0.0  # share of each budget that is drawn by chance
    audit_tilt: float = 0.0  # how much more likely images are drawn that fail likelier
    ranker: str = "auto"  # what ranks images by how likely they are failures: auto, head, or one of the task's own
    init: Literal["fresh", "previous"] = "fresh"  # weights a round starts from
    weights: Literal["last", "best"] = "last"  # weights that test and score: after the last epoch, or the best one
    base: Literal["joint", "backbone"] = "joint"  # round 0: backbone and head together, or one after the other
    subset: int | None = None  # score a random subset of so many unlabelled ids; None: all
    evaluate_pool: bool = True  # measure quality and loss of all that is scored
    on_bad_image: Literal["stop", "skip"] = "stop"
    grow: bool = False  # whether records may join the pool of a run that has begun

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_setting(SECTIONS.get(field.name, "") + field.name, getattr(self, field.name))
        enough = self.subset is None or (isinstance(self.subset, int) and self.subset >= self.budget)
        expect(enough, "scoring.subset", self.subset, f"null, or a whole number, {self.budget} (budget) or more")


# Where run.yaml has the settings above that do not stand at its top.
SECTIONS = {
    "init": "training.",
    "weights": "training.",
    "base": "training.",
    "subset": "scoring.",
    "evaluate_pool": "scoring.",
    "on_bad_image": "pool.",
    "grow": "pool.",
}


@dataclass(frozen=True)
class LoaderSettings:
    """How batches are put together; nothing of it but `batch_size`, that of all ranks together, changes results."""

    batch_size: int = 16
    eval_batch_size: int = 64
    workers: int = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_setting(f"data.{field.name}", getattr(self, field.name))


@dataclass(frozen=True)
class HeadTraining:
    """How the head is trained together with the backbone."""

    head_weight: float = 1.0  # of the objective, relative to the task's loss
    detach_from_epoch: int | None = None  # None: joint throughout; 0: never; n: the head's gradient stops there
    pairs: Literal["global", "local"] = "global"  # the objective sees all ranks' images together, or each its own

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_setting(f"training.{field.name}", getattr(self, field.name))
