"""What lies in a folder of crop caches, and removing it."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from llpp.data.crop_cache.blocks import Store, read_description
from llpp.errors import ConfigError, StateError

MAX_NAME_LENGTH = 80  # characters of a dataset's name that are shown


@dataclass(frozen=True)
class Entry:
    """One cache, as far as it can be read."""

    home: Path
    dataset: str
    count: int
    side: int  # pixels
    bytes: int  # on the disk
    done: float  # share of its blocks; whether they are whole shows when it is used
    used: datetime


def list_caches(root: Path) -> list[Entry]:
    """All caches below `root`, the one used last first."""
    homes = [home for home in root.iterdir() if _is_cache(home)] if root.is_dir() else []
    return sorted((_read_entry(home) for home in homes), key=lambda entry: entry.used, reverse=True)


def _is_cache(home: Path) -> bool:
    return home.is_dir() and not home.is_symlink() and ((home / "cache.json").is_file() or (home / "lock").is_file())


def _read_entry(home: Path) -> Entry:
    told = read_description(home) or {}
    count, side = (value if type(value := told.get(name)) is int else 0 for name in ("count", "side"))
    done = 0.0
    if count > 0 and side > 0 and (store := Store(home, count, side)).matches(told):
        done = float(store.find_written_blocks().mean(dtype=np.float64))
    stats = [path.stat() for path in home.iterdir() if path.is_file()]
    size, last = sum(512 * found.st_blocks for found in stats), max((found.st_mtime for found in stats), default=0.0)
    name = "".join(
        c for c in str(told.get("dataset", "?"))[:MAX_NAME_LENGTH] if c.isprintable()
    )  # a terminal obeys others
    return Entry(home, name, count, side, size, done, datetime.fromtimestamp(last))


def remove_caches(root: Path, key: str) -> list[Entry]:
    """Remove the caches whose name begins with `key`, or `all` of them; what was removed.

    Raises:
        ConfigError: there is none of that name, or more than one.
        StateError: a process reads or builds one of them, or it cannot be deleted.
    """
    there = list_caches(root)
    chosen = there if key == "all" else [entry for entry in there if entry.home.name.startswith(key)]
    if key != "all" and len(chosen) != 1:
        known = ", ".join(entry.home.name for entry in there) or "none"
        number = "no crop cache" if not chosen else "more than one crop cache"
        raise ConfigError(
            f"{key!r} is the beginning of {number} in {root} (there: {known}); give one of these, or all"
        )
    for entry in chosen:
        try:
            _remove_folder(entry.home)
        except BlockingIOError as error:
            raise StateError(
                f"{entry.home} is in use by another process; wait for it or stop it, then remove it"
            ) from error
        except OSError as error:
            raise StateError(f"{entry.home} cannot be removed: {error.strerror}; mend that and try again") from error
    return chosen


def _remove_folder(home: Path) -> None:
    """At once for everybody else, under another name; BlockingIOError if somebody has it."""
    with (home / "lock").open("a") as lock, (home / "in_use").open("a") as in_use:
        for file in (lock, in_use):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside = home.with_name(f".{home.name}.{os.getpid()}")
        home.rename(aside)
    shutil.rmtree(aside)
