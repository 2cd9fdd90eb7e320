"""Predictions of files, from their names to the tables in a folder; after any interruption the same call resumes."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llpp.errors import expect
from llpp.files import replace_text
from llpp.prediction.failure_flags import Wish, make_flags
from llpp.prediction.overlays import write_overlays
from llpp.prediction.person_boxes import IMAGE, FileBoxes
from llpp.prediction.predict_sources import SHARD_SECONDS, SourcePass
from llpp.prediction.predictor import ModelFacts, Predictor
from llpp.prediction.result_page import FILE as PAGE
from llpp.prediction.result_page import choose_rows, render_result_page
from llpp.prediction.result_tables import check_format, write_predictions
from llpp.prediction.shards import ShardFolder
from llpp.prediction.sources import Source, count_all_frames, find_sources
from llpp.prediction.summary import PROBLEMS, build_summary, format_problems
from llpp.run_dir.lock import lock_run_dir

DEFAULT_FOLDER = Path("predictions")
# What is being done, how much of it is done, of how much, and how much of that an earlier command had done.
Report = Callable[[str, int, int, int], None]


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    inputs: Sequence[str]  # images, films and folders
    out: Path | None = None  # None: below DEFAULT_FOLDER
    boxes: str = IMAGE  # or a file of them
    wish: Wish = field(default_factory=Wish)
    format: str = "csv"
    overlay: bool = False
    page: bool = True
    batch_size: int = 32
    shard_seconds: float = SHARD_SECONDS

    def __post_init__(self) -> None:
        check_format(self.format)
        expect(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more crops at once")


@dataclass(frozen=True)
class Result:
    """Where predictions are, and what they are like."""

    folder: Path
    table: Path
    summary: dict[str, Any]
    problems: Sequence[tuple[str, str]]  # image or film, and why it was passed over
    page: Path | None = None


def predict_files(request: Request, load: Callable[[], Predictor], report: Report) -> Result:
    """Predict images and films.

    Args:
        request: what to predict.
        load: gives the model; called when the inputs are known to exist, because it takes seconds.
        report: called again and again.

    Raises:
        DataError: an input or the file of boxes is missing, or cannot be used at all.
        StateError: the output folder is in use, or holds predictions of something else.
    """
    out = request.out or _choose_folder(request.inputs)
    # All that is below the usual folder is llpp's own.
    sources, remarks = find_sources(request.inputs, request.out or DEFAULT_FOLDER)
    boxes = None if request.boxes == IMAGE else FileBoxes(Path(request.boxes), sources)
    predictor = load()
    facts = predictor.facts
    flags = make_flags(facts, request.wish)
    out.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(out, "give another out=FOLDER"):
        shards = ShardFolder(out, len(facts.joints), _describe_work(facts, sources, request.boxes))
        total = count_all_frames(sources)
        before = shards.done
        work = SourcePass(predictor, sources, boxes, shards, request.batch_size, request.shard_seconds)
        work.run(lambda done: report("predicted", done, total, before))
        counts = shards.read_counts()
        scores, origins = shards.read_scores()
        if boxes is not None:
            remarks += boxes.tally.describe()
        summary = build_summary(facts, flags, counts, sources, scores, origins, remarks)
        image_ids = {} if boxes is None else boxes.find_image_ids(sources)
        table = write_predictions(out, request.format, shards.read_persons(), facts.joints, flags, image_ids)
        replace_text(out / PROBLEMS, format_problems(counts))
        if request.overlay:
            count = len(sources)
            parts = shards.read_persons()
            write_overlays(out, sources, parts, facts, flags, lambda done: report("drawn", done, count, 0))
        page = None
        if request.page:
            page = out / PAGE
            choice = choose_rows(scores, origins, shards.read_frames())
            count = len(choice.rows)
            persons = shards.read_persons()
            html = render_result_page(
                sources, persons, choice, facts, flags, summary, lambda done: report("shown", done, count, 0)
            )
            replace_text(page, html)
        else:
            # One of an earlier command, perhaps with other flags than the table.
            (out / PAGE).unlink(missing_ok=True)
        # Last, so that a folder with a summary is complete.
        replace_text(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False))
    return Result(out, table, summary, counts.problems, page)


def _choose_folder(inputs: Sequence[str]) -> Path:
    """A folder named after the first input."""
    first = Path(inputs[0])
    name = first.resolve().name if first.is_dir() else first.stem
    return DEFAULT_FOLDER / (name or "all")


def _describe_work(facts: ModelFacts, sources: Sequence[Source], boxes: str) -> dict[str, Any]:
    """What predictions depend on, by the words that a message can use."""
    images = hashlib.sha256()
    for source in sources:
        try:
            # Images without compression are of one size, whatever they show.
            changed = source.path.stat().st_mtime_ns
        except OSError:
            # Deleted since it was found; it is passed over.
            changed = 0
        images.update(json.dumps([source.name, str(source.path), source.bytes, changed]).encode())
    content = IMAGE
    if boxes != IMAGE:
        content = hashlib.sha256(Path(boxes).read_bytes()).hexdigest()
    return {"model": facts.run_digest, "round": facts.round, "images": images.hexdigest(), "boxes": content}
