"""The folder of a batch: files for the tool, copies of the images, README.txt, batch.html, and what was asked for."""

import hashlib
import re
import shutil
import unicodedata
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llpp.errors import DataError
from llpp.files import replace_file, replace_text
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import AskedRow, write_asked
from llpp.labelling.batch_page import render_page
from llpp.labelling.choice import split_among_annotators
from llpp.labelling.instructions import Instructions, Part, format_readme
from llpp.oracles.tool import AskedImage, LabelBatch, LabellingTool, WriteOptions

IMAGES = "images"  # folder of the copies
README = "README.txt"
PAGE = "batch.html"
MAX_STEM = 100  # characters of a copy's name without its ending
HASH_DIGITS = 6
UNSUITABLE = re.compile(r"[^A-Za-z0-9_-]+")  # shells, URLs or some tool would read them in their own way


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is written."""

    command: str  # to type when it is labelled
    blind: Collection[str] = ()  # ids of training images that are asked for without a suggestion
    annotators: int = 1
    overlap: float = 0.1  # share of the batch that every annotator gets, if there are several
    salt: str = ""  # of the project
    half_pixel: bool = False  # see `WriteOptions`
    notes: Sequence[str] = ()  # sentences for batch.html, such as how far annotators agreed so far


def write_batch(batch: LabelBatch, tool: LabellingTool, folder: LabellingFolder, options: BatchOptions) -> list[Path]:
    """Write everything that people need to label a batch into its folder, `asked.csv` last.

    The same batch gives the same bytes, also over what an interruption left. Suggestions and predicted losses of
    test images and blind ones are in no file for the tool and not on the page.

    Args:
        batch: with all predictions that there are.
        tool: writes its files.
        folder: of the project's labels.
        options: see there.

    Returns:
        The files to open in the tool, README.txt and batch.html; nothing for a batch without images.

    Raises:
        DataError: an image cannot be copied.
    """
    target = folder.get_round_dir(batch.round)
    suggests = any(image.suggested for image in batch.images)
    # Without suggestions for the others there is nothing to compare.
    blind = frozenset(options.blind) if suggests else frozenset()
    shown = replace(batch, images=[_hide_prediction(image, blind) for image in batch.images])
    if not batch.images:
        _write_asked(batch, shown, target)
        return []
    if tool.copies_images:
        for image in shown.images:
            _copy_image(image, target / IMAGES / image.name)
    dealt = split_among_annotators(shown.images, options.annotators, options.overlap, options.salt)
    parts = [images for images in dealt if images]
    files: list[Path] = []
    written: list[Part] = []
    steps: list[str] = []
    for number, images in enumerate(parts, start=1):
        name = f"_{number}" if len(parts) > 1 else ""
        part = replace(shown, images=images)
        part_files = tool.write(part, target, WriteOptions(half_pixel=options.half_pixel, part=name))
        files += part_files
        # The first file is the one to open. The steps name that of the first annotator, and are the same for all.
        written.append(Part(_name_file(part_files[0], target), len(images)))
        steps = steps or tool.describe_steps(part, part_files)
    instructions = Instructions(
        tool=tool.title,
        steps=steps,
        answered=tool.answered,
        inbox=str(folder.inbox.absolute()),
        command=options.command,
        parts=written,
        shared=_count_shared(parts),
    )
    readme = target / README
    replace_text(readme, format_readme(shown, instructions))
    page = target / PAGE
    receivers = _name_receivers(parts)
    replace_text(page, render_page(shown, instructions, blind, receivers, options.notes))
    _write_asked(batch, shown, target)
    # Annotators may share a file, such as the names of the joints.
    return [*dict.fromkeys(files), readme, page]


def name_copies(images: Sequence[tuple[str, str]], taken: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Return the names of copies of images, given by id and ending; none is like another one or one of `taken`.

    Nor is a copy called as one of `others`, the project's images, unless it is that one's: an answer for `a_b.jpg`
    could mean either.
    """
    stems = {_remove_ending(name).lower() for name in taken}
    own_stems = {_remove_ending(name).lower() for name in others}
    names = []
    for image, ending in images:
        own = _remove_ending(image).lower()
        name = make_file_name(image, ending, stems | (own_stems - {own}))
        stems.add(_remove_ending(name).lower())
        names.append(name)
    return names


def make_file_name(image: str, ending: str, taken: Container[str]) -> str:
    """Return the name of an image's copy: plain characters, the image's path as far as these allow, and its ending.

    Tools, uploads and answers find an image by this name, some of them without its ending or in another case, so it
    is unique without both.

    Args:
        image: id, such as `day 1/Mäuse.jpg` or `film.mp4#001234`.
        ending: of the file with the pixels, such as `.jpg`.
        taken: names that are given already, in this batch or earlier ones: without endings and in lower case.
    """
    # Takes accents off their letters; other characters that ASCII does not have are left out.
    decomposed = unicodedata.normalize("NFKD", image.removesuffix(ending))
    plain = decomposed.encode("ascii", "ignore").decode()
    stem = UNSUITABLE.sub("_", plain.replace("/", "__")).strip("_-")
    # The last characters say most: the number of a frame, the name below its folders.
    stem = stem[-MAX_STEM:].lstrip("_-")
    if not stem or stem.lower() in taken:
        digest = hashlib.sha256(image.encode()).hexdigest()[:HASH_DIGITS]
        stem = f"{stem or 'image'}_{digest}"
    return stem + ending


def _remove_ending(name: str) -> str:
    return name.rpartition(".")[0] or name


def _hide_prediction(image: AskedImage, blind: Collection[str]) -> AskedImage:
    """Return the image as people are to see it."""
    if image.role == "test" or image.image in blind:
        return replace(image, predicted_loss=None, suggested=())
    return image


def _copy_image(image: AskedImage, target: Path) -> None:
    try:
        replace_file(target, lambda part: _copy_content(image.path, part))
    except FileNotFoundError as error:
        raise DataError(f"image {image.path} is missing; put it back, or remove it from the project") from error


def _copy_content(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _name_file(path: Path, folder: Path) -> str:
    """Return a file's path below the batch's folder, or its full path if it is elsewhere."""
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return str(path)


def _count_shared(parts: Sequence[Sequence[AskedImage]]) -> int:
    """Count the images that are in every part."""
    shared = {image.image for image in parts[0]}
    for images in parts[1:]:
        shared &= {image.image for image in images}
    return len(shared)


def _name_receivers(parts: Sequence[Sequence[AskedImage]]) -> dict[str, str]:
    """Return which annotators get each image, in words; nothing if there is one annotator only."""
    if len(parts) == 1:
        return {}
    numbers: dict[str, list[int]] = {}
    for number, images in enumerate(parts, start=1):
        for image in images:
            numbers.setdefault(image.image, []).append(number)
    receivers = {}
    for image_id, found in numbers.items():
        receivers[image_id] = "for all annotators" if len(found) > 1 else f"for annotator {found[0]}"
    return receivers


def _write_asked(batch: LabelBatch, shown: LabelBatch, target: Path) -> None:
    """Write what was asked for: with the predictions that people do not see, and what was suggested to them."""
    rows = []
    suggested = {}
    for image, shown_image in zip(batch.images, shown.images, strict=True):
        row = AskedRow(
            image=image.image,
            name=image.name,
            role=image.role,
            rank=image.rank,
            is_suggested=bool(shown_image.suggested),
            predicted_loss=image.predicted_loss,
            reason=image.reason,
        )
        rows.append(row)
        if shown_image.suggested:
            suggested[image.image] = shown_image.suggested
    write_asked(rows, suggested, target)
