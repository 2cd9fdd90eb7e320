"""Problems of a dataset that would stop or spoil a run, found before it starts."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from llpp.datasets.base import SPLITS, AnyDataset
from llpp.datasets.images import is_file
from llpp.errors import ConfigError, DataError
from llpp.tasks.base import Task
from llpp.tasks.measurability import find_undefined_metric

MAX_NAMED = 10  # files


def find_problems(task: Task, decode: bool, flip: float = 0.0) -> list[str]:
    """Return one sentence per problem of a run that mirrors a share `flip` of its training images.

    `decode` reads every image instead of only looking for its file.
    """
    dataset = task.dataset
    records = dataset.records
    problems = []
    for split in SPLITS:
        if split not in dataset.empty_splits and not len(records.select_rows(split)):
            problems.append(f"there are no {split} records; a run needs at least one")
    train = records.select_rows("train")
    unlabelled = train[~records.labels.is_labelled[train]]
    if len(unlabelled):
        problems.append(
            f"{len(unlabelled):,} training records have {records.labels.missing}, for example "
            f"{records.ids[unlabelled[0]]}: a simulated run cannot label them and refuses to start"
        )
    try:
        task.describe_metric(train)
        undefined = find_undefined_metric(task, "test")
        if undefined:
            problems.append(undefined)
    except ConfigError as error:
        problems.append(str(error))
    try:
        task.check_mirroring(flip)
    except ConfigError as error:
        problems.append(str(error))
    # If the images as a whole are missing, one sentence says so; naming every file would bury it.
    try:
        dataset.check()
    except DataError as error:
        return [*problems, str(error)]
    if decode:
        return problems + find_unreadable_images(dataset)
    return problems + find_missing_files(dataset)


def find_missing_files(dataset: AnyDataset) -> list[str]:
    """Return a sentence that names image files that do not exist; empty if all exist."""
    # Records may share an image.
    paths = dict.fromkeys(dataset.paths)
    missing = [path for path in paths if not is_file(path)]
    reasons = []
    for path in missing[:MAX_NAMED]:
        similar = _find_similar_name(path)
        reasons.append(f"{path} (but {similar} exists)" if similar else str(path))
    return _summarise_reasons(reasons, len(missing), f"of {len(paths):,} image files are missing")


def summarise_unusable_files(reasons: Sequence[str]) -> list[str]:
    """Return a sentence with the reasons why image files cannot be used; empty without any."""
    return _summarise_reasons(reasons, len(reasons), "image files cannot be used")


def find_unreadable_images(dataset: AnyDataset) -> list[str]:
    """Read every image, and return a sentence that names those that cannot be read; empty if all can."""
    # The first record of every image.
    _, rows = np.unique(dataset.records.images.assign_codes(), return_index=True)
    bad = dataset.find_bad_images(rows.tolist())
    return _summarise_reasons(bad.values(), len(bad), f"of {len(rows):,} images cannot be read")


def _summarise_reasons(reasons: Iterable[str], count: int, words: str) -> list[str]:
    """Return a sentence with up to `MAX_NAMED` of `count` reasons; empty if there are none."""
    if not count:
        return []
    shown = list(reasons)[:MAX_NAMED]
    more = ""
    if count > len(shown):
        more = f"; and {count - len(shown):,} more"
    return [f"{count:,} {words}: {'; '.join(shown)}{more}"]


def _find_similar_name(path: Path) -> str | None:
    """Find a file in the folder of a missing one whose name differs in case, ending or the form of accents only."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return None
    wanted = _simplify_name(path)
    for name in names:
        if _simplify_name(Path(name)) == wanted:
            return name
    return None


def _simplify_name(path: Path) -> str:
    # macOS has e and an accent as two characters where annotations have é.
    return unicodedata.normalize("NFC", path.stem).casefold()
