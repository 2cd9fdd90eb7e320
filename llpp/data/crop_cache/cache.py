"""The crops of a dataset: cut if they are not there yet, then read by row."""

import errno
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.data.crop_cache import build, cache_key
from llpp.data.crop_cache.blocks import ROWS, Arrays, Store, amount
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import PoseDataset
from llpp.errors import ConfigError, DataError

log = logging.getLogger(__name__)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOOKS = 8  # crops of a finished cache that are compared with their images
FORMAT = 1


class CropCache:
    """Upright crops with a border of every row of a dataset, below the folder `root`.

    `source` says what decides the pixels of a dataset that has no files.
    """

    def __init__(self, root: Path, dataset: PoseDataset, crop: PersonCrop, source: str = "") -> None:
        self.root, self.dataset, self.crop, self.source = root, dataset, crop, source
        self.name = ""  # of its folder, once it is open
        self._mark: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """For workers that are not forked: they open the files themselves."""
        return {k: None if k == "_mark" else v for k, v in self.__dict__.items() if k != "_arrays"}

    def ready(self, tell: Callable[[str], None] = log.info) -> str:
        """Verify the cache, cut what is missing or damaged, and return its folder's name.

        One process of many does it, and the others that call this meanwhile wait.

        Raises:
            ConfigError: the disk lacks room, or the folder cannot be written to.
        """
        rows = cache_key.row_ids(self.dataset, self.crop, self.source)
        name = cache_key.key(rows)
        store = self.store(name)
        description = self._description(name)
        try:
            if store.fits(description) and store.done().all() and self._whole(store):
                return name
            with store.alone(lambda: tell(f"waiting for the crop cache that another process builds ({store.home})")):
                if not store.fits(description):
                    self._check_room(store, store.blocks)
                    store.begin(description, rows)
                self._complete(store, rows, tell)
        except OSError as error:
            told = "the disk is full" if error.errno in FULL else error.strerror or str(error)
            raise ConfigError(
                f"the crop cache {store.home} cannot be built: {told}; mend that, choose another cache_dir=… or set "
                "dataset.cache=false"
            ) from error
        return name

    def open(self, name: str) -> None:
        """Read the cache of this name, which is `ready`; DataError if it is not to be seen from here."""
        store = self.store(name)
        if not store.fits(self._description(name)):
            raise DataError(
                f"the crop cache {store.home} cannot be seen from here; choose a cache_dir=… on storage that all "
                "machines of this job share"
            )
        self.name, self._mark = name, store.in_use()
        self.__dict__.pop("_arrays", None)

    def store(self, name: str) -> Store:
        """The files of that name."""
        return Store(self.root / name, len(self.dataset.records.ids), self.crop.side)

    def _description(self, name: str) -> dict[str, Any]:
        crop = {"size": self.crop.size, "padding": self.crop.padding, "margin": self.crop.margin}
        shape = {"count": len(self.dataset.records.ids), "side": self.crop.side}
        return {"llpp_crop_cache": FORMAT, "key": name, "dataset": self.dataset.name, **shape, **crop}

    @cached_property
    def _arrays(self) -> Arrays:
        if not self.name:
            raise RuntimeError("the crop cache has not been opened")
        return self.store(self.name).arrays()

    @property
    def all_pixels(self) -> NDArray[np.uint8]:
        """(N, side, side, 3), on the disk."""
        return self._arrays[0]

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """(side, side, 3) of a record."""
        found: NDArray[np.uint8] = self._arrays[0][row]
        return found

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width) of its image; where the box is known to a few pixels."""
        height, width = self._arrays[1][row].tolist()
        return height, width

    @cached_property
    def bad(self) -> Mapping[int, str]:
        """Rows whose image could not be read, with the reason."""
        return self.store(self.name).bad()

    def _complete(self, store: Store, rows: NDArray[np.uint8], tell: Callable[[str], None]) -> None:
        """Cut what is missing or damaged."""
        done, sound, lend = store.done(), store.sound(), True
        if damaged := int((done & ~sound).sum()):
            log.warning(
                "%d of %d blocks of the crop cache %s are damaged; they are cut again", damaged, len(done), store.home
            )
        if sound.any() and not self._like_images(store, sound):
            log.warning("the crop cache %s is not what its images look like; all of it is cut again", store.home)
            store.forget()
            sound[:], lend = False, False
        missing = np.flatnonzero(~sound)
        if not len(missing):
            return
        tell(f"{self._check_room(store, len(missing))}, in {store.home}")
        lent = build.lent(store, rows, ~sound) if lend else {}
        if lent:
            tell(f"{len(lent):,} of these crops are copied from other caches")
        build.fill(store, missing.tolist(), self.dataset, self.crop, lent, tell)
        if lent:  # what was copied is held against the images, too
            self._complete(store, rows, tell)

    def _check_room(self, store: Store, blocks: int) -> str:
        """Say how large the cache is; ConfigError if so many of its blocks do not fit on the disk."""
        needed = min(store.bytes, blocks * ROWS * store.bytes // store.count)
        free = shutil.disk_usage(store.home).free
        told = f"crop cache of {store.count:,} crops of {store.side} × {store.side} pixels, {amount(store.bytes)}"
        if needed > free:
            raise ConfigError(
                f"the {told}, does not fit into {self.root}, which has {amount(free)} free; make room, choose "
                "another cache_dir=…, lower crop.size or crop.margin, or set dataset.cache=false"
            )
        return f"{told}, {amount(needed)} of it to be cut with {amount(free)} free"

    def _whole(self, store: Store) -> bool:
        sound = store.sound()
        return bool(sound.all()) and self._like_images(store, sound)

    def _like_images(self, store: Store, sound: NDArray[np.bool_]) -> bool:
        """Whether a few crops are what this program would cut; other processors may round differently."""
        crops, shapes = store.arrays()
        there = np.flatnonzero(np.repeat(sound, ROWS)[: store.count] & shapes.any(axis=1))
        for row in there[np.linspace(0, len(there) - 1, min(LOOKS, len(there))).astype(np.int64)].tolist():
            box = self.dataset.records.boxes[row]
            try:
                image, factor = self.dataset.reduced(row, self.crop.reduction(box))
                again = self.crop.upright(image, box, factor)
            except DataError:
                continue  # a crop is no worse for that
            if np.abs(again.astype(np.int16) - crops[row]).mean() > 1:
                return False
        return True
