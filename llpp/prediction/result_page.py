"""`page.html`: predictions to look at, the most likely failures first.

The chosen images are read a second time, when it is known which predictions are chosen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import Skeleton
from llpp.datasets.side_words import LEFT, MIDDLE, RIGHT
from llpp.pages.picture_encoding import MOST_PICTURES, cut_out, encode_image, share_budget
from llpp.pages.rendering import Page, render_page
from llpp.pages.viewer import LayerStyle, Number, Picture, Viewer, Word
from llpp.prediction.failure_flags import CHECK, OK, FailureFlags
from llpp.prediction.overlays import FLAG_COLOURS, JudgedPerson, judge_all
from llpp.prediction.predictor import ModelFacts
from llpp.prediction.result_tables import Persons
from llpp.prediction.sources import ImageReader, Source, read_source
from llpp.prediction.summary import format_summary
from llpp.reliability.rankers import HEAD_RANKER
from llpp.tasks.pose.drawing import SIDE_COLOURS, make_picture_skeleton

FILE = "page.html"
WORST = 350  # of MOST_PICTURES: those with the highest failure score; the others are spread over the rest
FRAMES = {flag: FLAG_COLOURS[flag] for flag in (OK, CHECK)}  # where nothing is known, a frame would say nothing
Pixels = NDArray[np.uint8]
NAME_COPIES = 7  # how often a page has the name of a picture, or a part of it
GAP = 12  # frames: those of half a second look alike
Report = Callable[[int], None]
ChosenPersons = dict[int, dict[int, list[JudgedPerson]]]  # source → frame → its chosen predictions


@dataclass(frozen=True)
class Choice:
    """Predictions to show: their rows among all N, ascending."""

    rows: NDArray[np.int64]
    sentence: str  # which of how many


def choose_rows(scores: NDArray[np.float32], origins: NDArray[np.int64], frames: NDArray[np.int64]) -> Choice:
    """Choose the predictions to show.

    Args:
        scores: (N,) failure scores; one that is no number counts as the highest.
        origins: (N,) the source of each.
        frames: (N,) the frame of each in its film; 0 of an image.
    """
    total = len(scores)
    if total <= MOST_PICTURES:
        sentence = "The only prediction is shown." if total == 1 else f"All {total:,} predictions are shown."
        return Choice(np.arange(total), sentence)
    order = _rank(scores)
    worst = _choose_worst(order, origins, frames)
    others = order[~np.isin(order, worst)]
    spread = np.linspace(0, len(others) - 1, MOST_PICTURES - len(worst)).round().astype(np.int64)
    rows = np.sort(np.concatenate([worst, others[spread]]))
    thinned = f" (of a film, one in {GAP} frames)" if frames.any() else ""
    sentence = (
        f"{MOST_PICTURES} of {total:,} predictions are shown: {len(worst)} with the highest failure score{thinned}, "
        f"and {MOST_PICTURES - len(worst)} spread evenly over the ranks of the others. The table has all."
    )
    return Choice(rows, sentence)


def _choose_worst(
    order: NDArray[np.int64], origins: NDArray[np.int64], frames: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the first WORST rows of an order, without frames that are near a frame chosen before."""
    chosen: list[int] = []
    taken: dict[int, set[int]] = {}  # source → its chosen frames
    for row in order.tolist():
        of_source = taken.setdefault(int(origins[row]), set())
        frame = int(frames[row])
        nearby = {*range(frame - GAP + 1, frame + GAP)} - {frame}
        # Other persons of a chosen frame are no repetition.
        if nearby.isdisjoint(of_source):
            of_source.add(frame)
            chosen.append(row)
        if len(chosen) == WORST:
            break
    return np.array(chosen, dtype=np.int64)


def _rank(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the positions of (N,) failure scores, highest first; one that is no number comes before all."""
    return np.argsort(-np.nan_to_num(scores, nan=np.inf), kind="stable")


def render_result_page(
    sources: Sequence[Source],
    parts: Iterable[Persons],
    choice: Choice,
    facts: ModelFacts,
    flags: FailureFlags,
    summary: dict[str, Any],
    report: Report,
) -> str:
    """Return the page of predictions.

    Args:
        sources: images and films, as they were predicted.
        parts: all predictions in order, which are read once.
        choice: which of them to show.
        facts: about the model.
        flags: what is said about each prediction.
        summary: of all predictions, see `build_summary`.
        report: called with the number of pictures that are done.
    """
    chosen = _group_by_image(_take_rows(judge_all(parts, flags), choice.rows))
    reader = ImageReader(facts.upright, facts.white, facts.background)
    names = 0
    for source, frames in chosen.items():
        names += len(sources[source].name.encode()) * sum(len(persons) for persons in frames.values())
    characters = share_budget(len(choice.rows), NAME_COPIES * names)
    shown_scores = []
    pictures: list[Picture] = []
    for pixels, persons in _read_images(sources, chosen, reader):
        for judged in persons:
            pictures.append(_make_picture(pixels, judged, sources[judged.person.source], characters))
            shown_scores.append(judged.person.failure_score)
        report(len(pictures))
    # For readers without JavaScript, too.
    worst_first = _rank(np.array(shown_scores, dtype=np.float32)).tolist()
    note = choice.sentence
    missing = len(choice.rows) - len(pictures)
    if missing:
        verb = "is" if missing == 1 else "are"
        note += f" Of these, {missing:,} {verb} missing, because the image could not be read a second time."
    lines = format_summary(summary)
    warning = summary["drift"]["sentence"]
    has_drifted = summary["drift"]["has_drifted"]
    page = Page(
        title=f"llpp predict: {facts.name}",
        heading="Which predictions should not be trusted?",
        origin=f"llpp predict with {facts.name}, round {facts.round + 1}",
        lead=_make_sentence(summary["promise"]),
        viewers=[_make_viewer([pictures[place] for place in worst_first], facts, note)],
        warnings=[_make_sentence(warning)] if has_drifted else [],
        notes=[_make_sentence(line) for line in lines if line not in (summary["promise"], warning)],
    )
    return render_page(page)


def _make_sentence(text: str) -> str:
    """Return a line of the terminal as a sentence of a page."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _make_viewer(pictures: Sequence[Picture], facts: ModelFacts, note: str) -> Viewer:
    sides = [
        (SIDE_COLOURS[LEFT], "person's left"),
        (SIDE_COLOURS[RIGHT], "person's right"),
        (SIDE_COLOURS[MIDDLE], "middle"),
    ]
    found = {picture.words["flag"] for picture in pictures}
    flags = [(colour, f"frame: {flag}") for flag, colour in FRAMES.items() if flag in found]
    skeleton = make_picture_skeleton(Skeleton(facts.joints, facts.flip_pairs, facts.edges, ()))
    return Viewer(
        key="images",
        pictures=pictures,
        numbers=(
            Number("failure_score", "failure score"),
            # Of the head's ranker, it is the same number.
            Number("predicted_loss", "predicted loss", is_in_caption=facts.ranker != HEAD_RANKER),
            Number("p_fail", "failure probability", decimals=2),
            Number("score", "mean score", worse="low"),
        ),
        words=(Word("flag", "flag", is_in_caption=True), Word("part", "film or folder")),
        layers=(LayerStyle("prediction", "prediction", "p"),),
        skeleton=skeleton,
        joint_value=Number("score", "score", worse="low"),
        sort="failure_score",
        note=note,
        legend=[*sides, *flags],
    )


def _take_rows(persons: Iterator[JudgedPerson], rows: NDArray[np.int64]) -> list[JudgedPerson]:
    wanted = set(rows.tolist())
    return [judged for row, judged in enumerate(persons) if row in wanted]


def _group_by_image(persons: Sequence[JudgedPerson]) -> ChosenPersons:
    """Group predictions, of which those of an image follow each other."""
    groups: ChosenPersons = {}
    for (source, frame), members in groupby(persons, key=lambda judged: (judged.person.source, judged.person.frame)):
        groups.setdefault(source, {})[frame] = list(members)
    return groups


def _read_images(
    sources: Sequence[Source], chosen: ChosenPersons, reader: ImageReader
) -> Iterator[tuple[Pixels, list[JudgedPerson]]]:
    """Read the images with a chosen prediction; a film only as far as its last one."""
    for position, frames in chosen.items():
        last = max(frames)
        for frame in read_source(sources[position], reader):
            # An image that was deleted since it was predicted has no picture.
            if frame.pixels is not None and frame.number in frames:
                yield frame.pixels, frames[frame.number]
            if frame.number >= last:
                break


def _make_picture(pixels: Pixels, judged: JudgedPerson, source: Source, characters: int) -> Picture:
    person = judged.person
    picture, layers = cut_out(pixels, np.array(person.box), {"prediction": person.joints})
    folder = str(PurePosixPath(source.name).parent)
    if source.is_film:
        part = source.name
    elif folder == ".":
        part = "top folder"
    else:
        part = folder
    is_whole_image = not np.isfinite(person.box).all()
    name = person.image if is_whole_image else f"{person.image} · {person.person}"
    return Picture(
        id=name,
        image=encode_image(picture, characters, layers),
        layers=layers,
        joint_values=person.confidence,
        numbers={
            "failure_score": person.failure_score,
            "predicted_loss": person.predicted_loss,
            "p_fail": judged.probability,
            "score": float(np.mean(person.confidence)),
        },
        words={"flag": judged.flag, "part": part},
        frame=FRAMES.get(judged.flag),
    )
