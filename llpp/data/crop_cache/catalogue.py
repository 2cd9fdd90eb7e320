"""List the crop caches of a folder, and remove them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from llpp.data.crop_cache.blocks import Store, read_description
from llpp.errors import ConfigError, StateError
from llpp.files import NoLocksError, lock_file

MAX_NAME_LENGTH = 80  # characters of a dataset's name that are shown


@dataclass(frozen=True)
class Entry:
    """One cache, as far as it can be read."""

    home: Path
    dataset: str
    count: int
    side: int  # pixels
    bytes: int  # on the disk
    done: float  # share of its blocks that are written; whether they are intact is checked when it is used
    used: datetime


def list_caches(root: Path) -> list[Entry]:
    """Return all caches below `root`, the most recently used first."""
    if not root.is_dir():
        return []
    entries = []
    for home in root.iterdir():
        if _is_cache(home):
            entries.append(_read_entry(home))
    return sorted(entries, key=lambda entry: entry.used, reverse=True)


def _is_cache(home: Path) -> bool:
    if not home.is_dir() or home.is_symlink():
        return False
    return (home / "cache.json").is_file() or (home / "lock").is_file()


def _read_entry(home: Path) -> Entry:
    description = read_description(home) or {}
    count = _get_integer(description, "count")
    side = _get_integer(description, "side")
    done = 0.0
    if count > 0 and side > 0:
        store = Store(home, count, side)
        if store.matches(description):
            done = float(store.find_written_blocks().mean(dtype=np.float64))
    stats = [path.stat() for path in home.iterdir() if path.is_file()]
    # st_blocks counts units of 512 bytes. Files are sparse until they are filled, so st_size would be too much.
    size = sum(512 * stat.st_blocks for stat in stats)
    last_change = max((stat.st_mtime for stat in stats), default=0.0)
    # The file may come from anywhere, and a terminal would obey its control characters.
    name = str(description.get("dataset", "?"))[:MAX_NAME_LENGTH]
    printable = "".join(character for character in name if character.isprintable())
    return Entry(home, printable, count, side, size, done, datetime.fromtimestamp(last_change))


def _get_integer(description: Mapping[str, Any], name: str) -> int:
    value = description.get(name)
    # Not isinstance: JSON's true and false are instances of int.
    if type(value) is not int:
        return 0
    return value


def remove_caches(root: Path, key: str) -> list[Entry]:
    """Remove the one cache whose name begins with `key`, or `all` of them, and return their entries.

    Raises:
        ConfigError: no name begins with `key`, or more than one does.
        StateError: a process reads or builds one of them, or it cannot be deleted.
    """
    entries = list_caches(root)
    chosen = entries
    if key != "all":
        chosen = [entry for entry in entries if entry.home.name.startswith(key)]
        _check_one_is_chosen(chosen, entries, root, key)
    for entry in chosen:
        try:
            _remove_folder(entry.home)
        except BlockingIOError as error:
            raise StateError(
                f"{entry.home} is in use by another process; wait for it or stop it, then remove it"
            ) from error
        except NoLocksError as error:
            raise StateError(
                f"{entry.home} cannot be removed: {error.strerror}, which would show whether it is in use; if no "
                "process uses it, delete the folder yourself"
            ) from error
        except OSError as error:
            raise StateError(f"{entry.home} cannot be removed: {error.strerror}; fix that and try again") from error
    return chosen


def _check_one_is_chosen(chosen: list[Entry], entries: list[Entry], root: Path, key: str) -> None:
    if len(chosen) == 1:
        return
    number = "more than one crop cache" if chosen else "no crop cache"
    names = ", ".join(entry.home.name for entry in entries) or "none"
    raise ConfigError(
        f"{number} in {root} has a name that begins with {key!r} (caches found: {names}); give one of these, or all"
    )


def _remove_folder(home: Path) -> None:
    """Delete a cache's folder; BlockingIOError if another process builds or reads it."""
    with (home / "lock").open("a") as lock, (home / "in_use").open("a") as in_use:
        lock_file(lock)
        lock_file(in_use)
        # Deleting takes time; renaming under the locks makes the whole cache disappear for others at once.
        aside = home.with_name(f".{home.name}.{os.getpid()}")
        home.rename(aside)
    shutil.rmtree(aside)
