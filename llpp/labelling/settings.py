"""What a user may decide about the labels that people give; see conf/label/default.yaml."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llpp.setting_rules import check_setting


@dataclass(frozen=True)
class LabelSettings:
    """The section `label` of a config."""

    enough: float = 0.8
    least: int = 20
    test: int = 100
    blind: float = 0.1
    suggest: Literal["auto", "always", "never"] = "auto"
    accept: Literal["none", "unchanged"] = "none"
    retract: bool = False
    release: bool = False
    changed: Literal["refuse", "accept"] = "refuse"
    conflict: Literal["newest", "mean", "error"] = "newest"
    visibility: Literal["coco", "binary"] = "coco"
    empty: Literal["open", "reviewed"] = "open"
    half_pixel: bool = False
    gap: float = 1.0
    annotators: int = 1
    overlap: float = 0.1
    labels: str | None = None
    words: Sequence[str] = ()  # settings that the first start was given

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_setting(f"label.{field.name}", getattr(self, field.name))
