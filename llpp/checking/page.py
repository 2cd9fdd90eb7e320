"""`check.html`: the labels that look wrong, each with what the network sees in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llpp.checking.findings import OTHER_CLASS, Finding
from llpp.errors import LlppError
from llpp.pages.picture_encoding import MOST_PICTURES, encode_image, share_budget
from llpp.pages.rendering import Page, render_page
from llpp.pages.viewer import Number, Picture, Viewer, Word
from llpp.reliability import label_suspicion
from llpp.tasks.base import Task

TRUTH = "truth"  # key and title of the layer that has the label, which may be wrong here
LABEL = "label"
REASONS = {
    label_suspicion.SWAPPED: "left and right swapped",
    label_suspicion.MOVED: "one joint far off",
    label_suspicion.SHIFTED: "whole person shifted",
    label_suspicion.OTHER_POSE: "another pose",
    label_suspicion.DUPLICATED: "two joints at one place",
    label_suspicion.OUTSIDE: "joint outside of image or box",
    label_suspicion.DISAGREEMENT: "annotators disagree",
    label_suspicion.UNCLEAR: "no single reason",
    OTHER_CLASS: "another class",
}


def render_check_page(
    findings: Sequence[Finding], task: Task, total: int, origin: str, notes: Sequence[str]
) -> tuple[str, int]:
    """Return the HTML of the most suspicious labels of `total`, and how many of them are shown."""
    shown = findings[:MOST_PICTURES]
    most_characters = share_budget(len(shown))
    pictures = []
    problems = []
    for finding in shown:
        try:
            pictures.append(_make_picture(finding, task, most_characters))
        except LlppError as error:
            problems.append(str(error))
    parts = task.describe_pictures()
    layers = tuple(replace(layer, title=LABEL) if layer.key == TRUTH else layer for layer in parts.layers)
    viewer = Viewer(
        key="check",
        pictures=pictures,
        numbers=(
            Number("suspicion", "suspicion"),
            Number("true_loss", "true loss"),
            Number("expected_loss", "expected loss", is_in_caption=False),
            Number("quality", task.metric_title, worse="low", decimals=2),
            Number("rank", "rank", worse="low", decimals=0, is_in_caption=False),
        ),
        words=(Word("reason", "likely reason"), Word("judge", "judged by"), *parts.words),
        layers=layers,
        skeleton=parts.skeleton,
        joint_value=parts.joint_value,
        sort="suspicion",
        legend=[(colour, LABEL if words == TRUTH else words) for colour, words in task.explain_colours()],
    )
    lead = (
        f"The {len(pictures):,} most suspicious of {total:,} labels, by networks that did not train on them. "
        "Where a label is right, the network is wrong: look at each."
    )
    page = Page(
        title="Labels that look wrong",
        heading="Labels that look wrong",
        origin=origin,
        lead=lead,
        viewers=[viewer],
        warnings=problems[:1],
        notes=list(notes),
    )
    return render_page(page), len(pictures)


def _make_picture(finding: Finding, task: Task, most_characters: int) -> Picture:
    image = task.dataset.load(finding.row)
    prediction: Mapping[str, Any] = finding.shown
    shown = task.show(image, finding.row, prediction)
    return Picture(
        id=finding.id,
        image=encode_image(shown.pixels, most_characters, shown.layers),
        layers=shown.layers,
        joint_values=shown.joint_values,
        numbers={
            "suspicion": _keep_finite(finding.suspicion),
            "true_loss": _keep_finite(finding.true_loss),
            "expected_loss": _keep_finite(finding.expected_loss),
            "quality": _keep_finite(finding.quality),
            "rank": float(finding.rank),
        },
        words={"reason": REASONS.get(finding.reason, finding.reason), "judge": finding.judge, **shown.words},
        caption=finding.details,
    )


def _keep_finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
