"""What would stop a run, or spoil it, before it is started."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from llpp.datasets.base import SPLITS
from llpp.datasets.images import is_file
from llpp.datasets.pose import PoseDataset
from llpp.errors import ConfigError, DataError
from llpp.tasks.pose.pck import PCKDefinition

MAX_NAMED = 10  # files


def find_problems(dataset: PoseDataset, pck: PCKDefinition, decode: bool) -> list[str]:
    """One sentence each; with `decode` every image is read, else files are only looked for."""
    table = dataset.records
    found = [
        f"there are no {split} records; a run needs some" for split in SPLITS if not len(table.select_rows(split))
    ]
    train = table.select_rows("train")
    bare = train[~table.visible[train].any(axis=1)]
    if len(bare):
        found.append(
            f"{len(bare):,} training records have no labelled joint, {table.ids[bare[0]]} for one: "
            "a simulated run cannot label them and refuses"
        )
    try:
        dataset.get_normaliser(pck.unit)
    except ConfigError as error:
        found.append(str(error))
    try:
        dataset.check()
    except DataError as error:
        return [*found, str(error)]
    return [*found, *(find_unreadable_images(dataset) if decode else find_missing_files(dataset))]


def find_missing_files(dataset: PoseDataset) -> list[str]:
    """Image files that do not exist."""
    paths = dict.fromkeys(dataset.paths)
    lost = [path for path in paths if not is_file(path)]
    hints = [f" (there is {other})" if (other := _find_similar_name(path)) else "" for path in lost[:MAX_NAMED]]
    named = [f"{path}{hint}" for path, hint in zip(lost, hints, strict=False)]
    return _summarise_reasons(named, len(lost), f"of {len(paths):,} image files are missing")


def find_unreadable_images(dataset: PoseDataset) -> list[str]:
    """Images that cannot be read. Reads every one."""
    first = np.unique(dataset.records.images.assign_codes(), return_index=True)[1]
    bad = dataset.find_bad_images(first.tolist())
    return _summarise_reasons(bad.values(), len(bad), f"of {len(first):,} images cannot be read")


def _summarise_reasons(reasons: Iterable[str], count: int, words: str) -> list[str]:
    shown = list(reasons)[:MAX_NAMED]
    more = f"; and {count - len(shown):,} more" if count > len(shown) else ""
    return [f"{count:,} {words}: {'; '.join(shown)}{more}"] if count else []


def _find_similar_name(path: Path) -> str | None:
    """A file beside the missing one that differs in case or ending only."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return None
    return next((name for name in names if Path(name).stem.casefold() == path.stem.casefold()), None)
