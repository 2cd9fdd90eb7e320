"""DeepLabCut and its editor napari: pictures and suggestions in a folder of `labeled-data`, answers in CollectedData.

DeepLabCut has a folder per film below `labeled-data`, with the film's frames as PNG. What people have labelled is in
CollectedData_SCORER, once as HDF5 and once as CSV. A batch is a folder of its own, and only such folders are written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from llpp.datasets.images import MAX_BYTES as MAX_IMAGE_BYTES
from llpp.datasets.images import is_file, read_image
from llpp.errors import DataError
from llpp.files import read_bytes, read_start, read_text, replace_bytes, replace_text
from llpp.oracles.hdf5 import MAGIC, is_hdf5, read_isolated
from llpp.oracles.joint_table import (
    LABELS,
    LEVELS,
    MAX_BYTES,
    Column,
    JointTable,
    is_deeplabcut_csv,
    make_columns,
    make_entries,
    parse_table,
    read_table,
    starts_like_table,
)
from llpp.oracles.labeled_data import make_batch_folder
from llpp.oracles.pandas_hdf5 import Frame, mentions_pandas, read_frame, write_frame
from llpp.oracles.tool import (
    UNCHANGED,
    AskedImage,
    Entry,
    FileContent,
    LabelBatch,
    LabellingTool,
    ReadOptions,
    Rejection,
    WriteOptions,
)

SUGGESTIONS = "machinelabels-iter0.h5"
ASKED = "asked_by_llpp.txt"
SINGLE = "single"  # what DeepLabCut calls the owner of body parts that only one individual has
# llpp knows no likelihood of single joints. napari hides those with a low one.
LIKELIHOOD = 1.0
MAX_CONFIG_BYTES = 1 << 22
MAX_ASKED_BYTES = 1 << 26


@dataclass(frozen=True)
class Individuals:
    """How a DeepLabCut project divides joints among several animals."""

    names: Sequence[str]
    unique: Sequence[str]  # joints that only one of them has


class DeepLabCutTool(LabellingTool):
    """Writes a folder for napari below `labeled-data` of the project's root; reads CollectedData as CSV or HDF5."""

    name = "deeplabcut"
    title = "DeepLabCut"
    copies_images = False
    wants_lossless = True
    answered = (
        "An image is answered once a person has placed or moved a joint in it, or has deleted its file because it "
        f"cannot be labelled; its files cannot say that nobody is there. {UNCHANGED}"
    )

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`; the files are below the project's root, where DeepLabCut looks for them."""
        target = make_batch_folder(batch, options.part)
        for image in batch.images:
            _copy_as_png(image.path, target / _get_png_name(image))
        png_names = [_get_png_name(image) for image in batch.images]
        replace_text(target / ASKED, "".join(f"{name}\n" for name in png_names))
        written = [target / ASKED]
        suggested = [image for image in batch.images if image.suggested]
        if suggested:
            _write_suggestions(batch, suggested, target, options)
            written.insert(0, target / SUGGESTIONS)
        return written

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        folder = files[0].parent
        return [
            f"Open napari with its DeepLabCut plug-in, and drag the folder {folder} into it, then your config.yaml.",
            "Label the pictures; to start from the suggestions, correct every point of a picture, since saving that "
            "layer takes over all of its points. Delete the file of a picture that cannot be labelled.",
            "Save with Ctrl+S into the same folder and type the same llpp command again. To train with DeepLabCut as "
            f"well, add {folder.name}.mp4 to video_sets in config.yaml: it takes folders of the films there.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`: HDF5 of pandas, and CSV, see `is_deeplabcut_csv`."""
        if is_hdf5(start):
            return mentions_pandas(start)
        return starts_like_table(start) and is_deeplabcut_csv(path, start)

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        table = _read_hdf5(path) if _starts_like_hdf5(path) else read_table(path)
        if table.is_prediction or path.name.startswith("machinelabels"):
            reason = (
                "it holds predictions, as its name or its columns `likelihood` say, and these never count as labels; "
                "save the labels as CollectedData, without `likelihood`"
            )
            return FileContent((), (Rejection(path.name, reason),))
        entries, rejections = make_entries(table, options)
        skipped = _find_skipped(path.parent, entries)
        passed_over = {name for entry in skipped for name in entry.names}
        kept = [entry for entry in entries if entry.status == "labelled" or entry.names[0] not in passed_over]
        located = [_add_location(entry, path.parent) for entry in kept]
        return FileContent((*located, *skipped), tuple(rejections))

    def list_answer_files(self, root: Path, batches: Sequence[Path]) -> list[Path]:
        """See `LabellingTool.list_answer_files`: of each CollectedData the CSV or the HDF5, whichever is newer.

        DeepLabCut itself reads HDF5 only and writes the CSV right after it. So the CSV has the same content, unless
        some program has saved HDF5 alone.
        """
        files = []
        for csv_file in sorted(root.glob(f"labeled-data/*/{LABELS}*.csv")):
            hdf5_file = csv_file.with_suffix(".h5")
            is_newer = hdf5_file.is_file() and hdf5_file.stat().st_mtime > csv_file.stat().st_mtime
            files.append(hdf5_file if is_newer else csv_file)
        for hdf5_file in sorted(root.glob(f"labeled-data/*/{LABELS}*.h5")):
            if not hdf5_file.with_suffix(".csv").is_file():
                files.append(hdf5_file)
        return sorted(files)


def _get_png_name(image: AskedImage) -> str:
    return f"{Path(image.name).stem}.png"


def _copy_as_png(source: Path, target: Path) -> None:
    """Write the pixels of an image file; of a PNG its bytes."""
    if source.suffix.lower() == ".png":
        content = read_bytes(source, MAX_IMAGE_BYTES)
    else:
        pixels = cv2.cvtColor(read_image(source), cv2.COLOR_RGB2BGR)
        is_encoded, encoded = cv2.imencode(".png", pixels)
        if not is_encoded:
            raise DataError(f"{source} cannot be written as PNG; remove the image, or set another tool=")
        content = encoded.tobytes()
    replace_bytes(target, content)


def _write_suggestions(batch: LabelBatch, images: Sequence[AskedImage], target: Path, options: WriteOptions) -> None:
    """Write machine labels: what napari shows as a layer that starts people off."""
    most = max(len(image.suggested) for image in images)
    individuals = _read_individuals(batch.root, most)
    columns = _list_columns(batch.skeleton.joints, individuals)
    positions = {column: position for position, column in enumerate(columns)}
    values = np.full((len(images), len(columns)), np.nan)
    offset = 0.5 if options.half_pixel else 0.0
    for row, image in enumerate(images):
        for number, person in enumerate(image.suggested):
            for joint, (x, y, _) in person.joints.items():
                owner = _get_owner(joint, number, individuals)
                place = positions[owner, joint, "x"]
                values[row, place : place + 3] = x + offset, y + offset, LIKELIHOOD
    full_columns = []
    for owner, joint, coordinate in columns:
        parts = (joint, coordinate) if individuals is None else (owner, joint, coordinate)
        full_columns.append(("llpp", *parts))
    levels = LEVELS if individuals is not None else (LEVELS[0], *LEVELS[2:])
    names = [("labeled-data", target.name, _get_png_name(image)) for image in images]
    write_frame(target / SUGGESTIONS, full_columns, levels, names, values, "deeplabcut")


def _list_columns(joints: Sequence[str], individuals: Individuals | None) -> list[tuple[str, str, str]]:
    """Owner, joint and coordinate of each column; without individuals the owner is empty."""
    owners: list[tuple[str, Sequence[str]]] = [("", joints)]
    if individuals is not None:
        shared = [joint for joint in joints if joint not in individuals.unique]
        owners = [(name, shared) for name in individuals.names]
        owners.append((SINGLE, [joint for joint in joints if joint in individuals.unique]))
    columns = []
    for owner, owned in owners:
        for joint in owned:
            for coordinate in ("x", "y", "likelihood"):
                columns.append((owner, joint, coordinate))
    return columns


def _get_owner(joint: str, number: int, individuals: Individuals | None) -> str:
    if individuals is None:
        return ""
    return SINGLE if joint in individuals.unique else individuals.names[number]


def _read_individuals(root: Path, most: int) -> Individuals | None:
    """What config.yaml says about several animals, with names for at least `most`; None: each image has one."""
    config = _read_config(root)
    names = _get_names(config, "individuals")
    if not config.get("multianimalproject") and most < 2:
        return None
    while len(names) < most or not names:
        names.append(f"individual{len(names) + 1}")
    return Individuals(names, _get_names(config, "uniquebodyparts"))


def _get_names(config: Mapping[str, Any], key: str) -> list[str]:
    names = config.get(key)
    return [str(name) for name in names] if isinstance(names, list) else []


def _read_config(root: Path) -> Mapping[str, Any]:
    """DeepLabCut's config.yaml; nothing if there is none, or it cannot be read."""
    try:
        config = yaml.safe_load(read_text(root / "config.yaml", MAX_CONFIG_BYTES))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _read_hdf5(path: Path) -> JointTable:
    frame = read_isolated(read_frame, path)
    if frame.columns is None:
        return _name_columns(path, frame)
    lengths = {len(column) for column in frame.columns}
    if lengths not in ({3}, {4}):
        raise DataError(f"{path} has no columns of scorer, body part and coordinate; it is not of DeepLabCut")
    parts = [list(part) for part in zip(*frame.columns, strict=True)]
    individuals = parts[1] if len(parts) == 4 else [""] * len(frame.columns)
    return _make_table(frame, parts[0][0], make_columns(str(path), individuals, parts[-2], parts[-1]))


def _name_columns(path: Path, frame: Frame) -> JointTable:
    """Take the names of columns from the CSV of the same name, which DeepLabCut has written with the HDF5 file."""
    csv_file = path.with_suffix(".csv")
    try:
        named = parse_table(str(csv_file), read_bytes(csv_file, MAX_BYTES))
    except OSError as error:
        raise DataError(
            f"{path} has the names of its joints as Python pickles only, which are never opened, and {csv_file.name} "
            "is not there; save it as CSV in DeepLabCut"
        ) from error
    if len(named.columns) != frame.values.shape[1]:
        raise DataError(
            f"{path} has {frame.values.shape[1]} columns, {csv_file.name} has {len(named.columns)}; save both "
            "again in DeepLabCut"
        )
    return _make_table(frame, named.scorer, named.columns)


def _make_table(frame: Frame, scorer: str, columns: Sequence[Column]) -> JointTable:
    names = ["/".join(name).replace("\\", "/") for name in frame.names]
    return JointTable(scorer, columns, names, frame.values)


def _add_location(entry: Entry, folder: Path) -> Entry:
    """Name an image by the folder of its labels first, if it is there and the table has another folder's name.

    A folder may have been renamed, and the frames of all films have the same names.
    """
    *_, listed_folder, name = ("", *entry.names[0].split("/"))
    if listed_folder == folder.name or not is_file(folder / name):
        return entry
    return replace(entry, names=((folder / name).as_posix(), *entry.names))


def _starts_like_hdf5(path: Path) -> bool:
    try:
        return is_hdf5(read_start(path, len(MAGIC)))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); save it again") from error


def _find_skipped(folder: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Pictures of a batch that a person has deleted instead of labelling them.

    If none of the batch is left, only the labels have been copied, and nothing was skipped.
    """
    try:
        asked = read_text(folder / ASKED, MAX_ASKED_BYTES).splitlines()
    except (OSError, ValueError):
        return []
    gone = [name for name in asked if not is_file(folder / name)]
    if len(gone) == len(asked):
        return []
    labelled = set()
    for entry in entries:
        if entry.status == "labelled":
            labelled.add(entry.names[0].rpartition("/")[2])
    skipped = []
    for name in gone:
        if name not in labelled:
            path = f"labeled-data/{folder.name}/{name}"
            skipped.append(Entry(names=(path,), status="skipped"))
    return skipped
