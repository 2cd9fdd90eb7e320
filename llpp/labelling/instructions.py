"""What those who label a batch have to know, as values: README.txt and batch.html say the same."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from llpp.oracles.tool import LabelBatch

WIDTH = 100  # characters of a line of README.txt, at most, but for paths
COMMON = (
    "Half a batch is fine: what is answered is used, and the rest stays open. Files may be given again and again, "
    "with old answers in them; only news counts.",
    "Do not rename images: answers find theirs by name.",
)


@dataclass(frozen=True)
class Part:
    """What one annotator opens."""

    file: str  # name in the batch's folder, or full path
    images: int


@dataclass(frozen=True)
class Instructions:
    """How to label one batch."""

    tool: str  # as its makers write it
    steps: Sequence[str]  # how to open the batch, how to label it, how to give it back
    answered: str  # what counts as such, in sentences
    inbox: str  # folder that files of answers may be put into
    command: str  # to type afterwards
    parts: Sequence[Part]  # one for each annotator
    shared: int  # images that are in all parts, if there are several


def describe_batch(batch: LabelBatch) -> str:
    """Say what is asked for, and how much of it."""
    test = sum(image.role == "test" for image in batch.images)
    suggested = sum(bool(image.suggested) for image in batch.images)
    train = len(batch.images) - test
    words = f"{len(batch.images)} images of {batch.project}: {test} for testing, {train} for training"
    if suggested:
        return f"{words}, {suggested} of these with a suggestion of the model."
    return f"{words}, without suggestions."


def describe_parts(instructions: Instructions) -> list[str]:
    """Say which annotator opens what, if there are several."""
    if len(instructions.parts) == 1:
        return []
    lines = []
    for number, part in enumerate(instructions.parts, start=1):
        lines.append(f"Annotator {number} opens {part.file}: {part.images} images.")
    shared = f"{instructions.shared} images are in every part and show how far people agree."
    lines.append(f"The steps are the same for all, but for the name of the file. {shared}")
    lines.append(
        "Files that do not say who has answered, such as those of COCO editors and CVAT, go into one folder of the "
        "inbox for each annotator, such as inbox/1 and inbox/2."
    )
    return lines


def format_readme(batch: LabelBatch, instructions: Instructions) -> str:
    """Return the text of README.txt."""
    title = f"Round {batch.round} of {batch.project}: label {len(batch.images)} images in {instructions.tool}"
    lines = [title, "=" * len(title), "", *_wrap(describe_batch(batch))]
    for sentence in describe_parts(instructions):
        lines += _wrap(sentence)
    lines.append("")
    for number, step in enumerate(instructions.steps, start=1):
        lines += _wrap(step, f"{number}. ")
    lines += ["", "What counts as answered", "-----------------------", *_wrap(instructions.answered)]
    for sentence in COMMON:
        lines += _wrap(sentence)
    lines += ["", "Where files of answers may be put, of any tool", "-" * 46, f"  {instructions.inbox}"]
    lines += ["", "What to type then", "-----------------", f"  {instructions.command}", ""]
    lines += _wrap("batch.html shows the images, and why each of them was chosen.")
    return "\n".join(lines) + "\n"


def _wrap(text: str, start: str = "") -> list[str]:
    """Break a paragraph into lines; words that are paths stay whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
