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
from llpp.data.crop_cache.blocks import ROWS_PER_BLOCK, Arrays, Store, format_bytes
from llpp.data.person_crop import PersonCrop
from llpp.datasets.pose import PoseDataset
from llpp.errors import ConfigError, DataError

log = logging.getLogger(__name__)
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPOT_CHECKS = 8  # crops of a finished cache that are compared with their images
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

    def prepare(self, tell: Callable[[str], None] = log.info) -> str:
        """Verify the cache, cut what is missing or damaged, and return its folder's name.

        One process of many does it, and the others that call this meanwhile wait.

        Raises:
            ConfigError: the disk lacks room, or the folder cannot be written to.
        """
        rows = cache_key.compute_row_ids(self.dataset, self.crop, self.source)
        name = cache_key.compute_key(rows)
        store = self.get_store(name)
        description = self._describe(name)
        try:
            if store.matches(description) and store.find_written_blocks().all() and self._is_complete(store):
                return name
            with store.exclusive_lock(
                lambda: tell(f"waiting for the crop cache that another process builds ({store.home})")
            ):
                if not store.matches(description):
                    self._check_room(store, store.block_count)
                    store.create(description, rows)
                self._cut_missing(store, rows, tell)
        except OSError as error:
            told = "the disk is full" if error.errno in DISK_FULL_ERRORS else error.strerror or str(error)
            raise ConfigError(
                f"the crop cache {store.home} cannot be built: {told}; mend that, choose another cache_dir=… or set "
                "dataset.cache=false"
            ) from error
        return name

    def open(self, name: str) -> None:
        """Read the cache of this name, which is `ready`; DataError if it is not to be seen from here."""
        store = self.get_store(name)
        if not store.matches(self._describe(name)):
            raise DataError(
                f"the crop cache {store.home} cannot be seen from here; choose a cache_dir=… on storage that all "
                "machines of this job share"
            )
        self.name, self._mark = name, store.mark_in_use()
        self.__dict__.pop("_arrays", None)

    def get_store(self, name: str) -> Store:
        """The files of that name."""
        return Store(self.root / name, len(self.dataset.records.ids), self.crop.side)

    def _describe(self, name: str) -> dict[str, Any]:
        crop = {"size": self.crop.size, "padding": self.crop.padding, "margin": self.crop.margin}
        shape = {"count": len(self.dataset.records.ids), "side": self.crop.side}
        return {"llpp_crop_cache": FORMAT, "key": name, "dataset": self.dataset.name, **shape, **crop}

    @cached_property
    def _arrays(self) -> Arrays:
        if not self.name:
            raise RuntimeError("the crop cache has not been opened")
        return self.get_store(self.name).open_arrays()

    @property
    def all_pixels(self) -> NDArray[np.uint8]:
        """(N, side, side, 3), on the disk."""
        return self._arrays[0]

    def get_pixels(self, row: int) -> NDArray[np.uint8]:
        """(side, side, 3) of a record."""
        found: NDArray[np.uint8] = self._arrays[0][row]
        return found

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width) of its image; where the box is known to a few pixels."""
        height, width = self._arrays[1][row].tolist()
        return height, width

    @cached_property
    def bad_rows(self) -> Mapping[int, str]:
        """Rows whose image could not be read, with the reason."""
        return self.get_store(self.name).read_bad_rows()

    def _cut_missing(self, store: Store, rows: NDArray[np.uint8], tell: Callable[[str], None]) -> None:
        """Cut what is missing or damaged."""
        done, sound, lend = store.find_written_blocks(), store.verify_blocks(), True
        if damaged := int((done & ~sound).sum()):
            log.warning(
                "%d of %d blocks of the crop cache %s are damaged; they are cut again", damaged, len(done), store.home
            )
        if sound.any() and not self._matches_images(store, sound):
            log.warning("the crop cache %s is not what its images look like; all of it is cut again", store.home)
            store.clear_digests()
            sound[:], lend = False, False
        missing = np.flatnonzero(~sound)
        if not len(missing):
            return
        tell(f"{self._check_room(store, len(missing))}, in {store.home}")
        lent = build.find_reusable_crops(store, rows, ~sound) if lend else {}
        if lent:
            tell(f"{len(lent):,} of these crops are copied from other caches")
        build.fill_blocks(store, missing.tolist(), self.dataset, self.crop, lent, tell)
        if lent:  # what was copied is held against the images, too
            self._cut_missing(store, rows, tell)

    def _check_room(self, store: Store, blocks: int) -> str:
        """Say how large the cache is; ConfigError if so many of its blocks do not fit on the disk."""
        needed = min(store.crop_bytes, blocks * ROWS_PER_BLOCK * store.crop_bytes // store.count)
        free = shutil.disk_usage(store.home).free
        told = f"crop cache of {store.count:,} crops of {store.side} × {store.side} pixels, {format_bytes(store.crop_bytes)}"
        if needed > free:
            raise ConfigError(
                f"the {told}, does not fit into {self.root}, which has {format_bytes(free)} free; make room, choose "
                "another cache_dir=…, lower crop.size or crop.margin, or set dataset.cache=false"
            )
        return f"{told}, {format_bytes(needed)} of it to be cut with {format_bytes(free)} free"

    def _is_complete(self, store: Store) -> bool:
        sound = store.verify_blocks()
        return bool(sound.all()) and self._matches_images(store, sound)

    def _matches_images(self, store: Store, sound: NDArray[np.bool_]) -> bool:
        """Whether a few crops are what this program would cut; other processors may round differently."""
        crops, shapes = store.open_arrays()
        there = np.flatnonzero(np.repeat(sound, ROWS_PER_BLOCK)[: store.count] & shapes.any(axis=1))
        for row in there[np.linspace(0, len(there) - 1, min(SPOT_CHECKS, len(there))).astype(np.int64)].tolist():
            box = self.dataset.records.boxes[row]
            try:
                image, factor = self.dataset.load_reduced(row, self.crop.compute_reduction(box))
                again = self.crop.cut_upright(image, box, factor)
            except DataError:
                continue  # a crop is no worse for that
            if np.abs(again.astype(np.int16) - crops[row]).mean() > 1:
                return False
        return True
