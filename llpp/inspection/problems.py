"""What would stop a run, or spoil it, before it is started."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from llpp.datasets.base import SPLITS, PoseDataset
from llpp.datasets.images import is_there
from llpp.errors import ConfigError, DataError
from llpp.tasks.pose.pck import PCKDefinition

NAMED = 10  # files


def problems(dataset: PoseDataset, pck: PCKDefinition, decode: bool) -> list[str]:
    """One sentence each; with `decode` every image is read, else files are only looked for."""
    table = dataset.records
    found = [f"there are no {split} records; a run needs some" for split in SPLITS if not len(table.rows(split))]
    train = table.rows("train")
    bare = train[~table.visible[train].any(axis=1)]
    if len(bare):
        found.append(
            f"{len(bare):,} training records have no labelled joint, {table.ids[bare[0]]} for one: "
            "a simulated run cannot label them and refuses"
        )
    try:
        dataset.body_size(pck.unit)
    except ConfigError as error:
        found.append(str(error))
    try:
        dataset.check()
    except DataError as error:
        return [*found, str(error)]
    return [*found, *(unreadable(dataset) if decode else missing(dataset))]


def missing(dataset: PoseDataset) -> list[str]:
    """Image files that do not exist."""
    paths = dict.fromkeys(dataset.paths)
    lost = [path for path in paths if not is_there(path)]
    hints = [f" (there is {other})" if (other := _similar(path)) else "" for path in lost[:NAMED]]
    named = [f"{path}{hint}" for path, hint in zip(lost, hints, strict=False)]
    return _counted(named, len(lost), f"of {len(paths):,} image files are missing")


def unreadable(dataset: PoseDataset) -> list[str]:
    """Images that cannot be read. Reads every one."""
    first = np.unique(dataset.records.images.codes(), return_index=True)[1]
    bad = dataset.bad_images(first.tolist())
    return _counted(bad.values(), len(bad), f"of {len(first):,} images cannot be read")


def _counted(reasons: Iterable[str], count: int, words: str) -> list[str]:
    shown = list(reasons)[:NAMED]
    more = f"; and {count - len(shown):,} more" if count > len(shown) else ""
    return [f"{count:,} {words}: {'; '.join(shown)}{more}"] if count else []


def _similar(path: Path) -> str | None:
    """A file beside the missing one that differs in case or ending only."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return None
    return next((name for name in names if Path(name).stem.casefold() == path.stem.casefold()), None)
