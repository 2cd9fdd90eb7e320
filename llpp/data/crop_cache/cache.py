"""The crops of a dataset: cut if they are missing, then read by row."""

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
from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError, DataError

log = logging.getLogger(__name__)
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPOT_CHECKS = 8  # crops of a finished cache that are compared with their images
FORMAT = 1


class CropCache:
    """Upright crops, with a border, of every row of a dataset, in a folder below `root`.

    `source` stands for what decides the pixels of a dataset that has no files.
    """

    def __init__(self, root: Path, dataset: AnyDataset, crop: PersonCrop, source: str = "") -> None:
        self.root = root
        self.dataset = dataset
        self.crop = crop
        self.source = source
        self.name = ""  # of its folder, once it is open
        self._mark: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open files: workers that are not forked open them again."""
        state = dict(self.__dict__)
        state.pop("_arrays", None)
        state["_mark"] = None
        return state

    def prepare(self, report: Callable[[str], None] = log.info) -> str:
        """Verify the cache, cut what is missing or damaged, and return its folder's name.

        If several processes call this, one does the work while the others wait. Progress goes to `report`.

        Raises:
            ConfigError: the disk lacks room, or the folder cannot be written to.
        """
        rows = cache_key.compute_row_ids(self.dataset, self.crop, self.source)
        name = cache_key.compute_key(rows)
        store = self.get_store(name)
        description = self._describe(name)

        def report_waiting() -> None:
            report(f"waiting for the crop cache that another process builds ({store.home})")

        try:
            # A complete cache is found without the lock, so its readers do not wait for each other.
            if self._is_complete(store, description):
                return name
            with store.exclusive_lock(report_waiting):
                # Everything is checked again under the lock: another process may just have built it.
                if not store.matches(description):
                    self._check_room(store, store.block_count)
                    store.create(description, rows)
                self._cut_missing(store, rows, report)
        except OSError as error:
            problem = error.strerror or str(error)
            if error.errno in DISK_FULL_ERRORS:
                problem = "the disk is full"
            raise ConfigError(
                f"the crop cache {store.home} cannot be built: {problem}; fix that, choose another "
                "paths.cache_dir=… or set crop.cache=false"
            ) from error
        return name

    def open(self, name: str) -> None:
        """Open the cache with the name that `prepare` returned.

        Raises:
            DataError: its files are not visible from here, as when `root` is another machine's local disk, or another
                process has emptied or removed them since.
        """
        store = self.get_store(name)
        # First, so that `llpp data cache remove` leaves what is found next.
        mark = store.mark_in_use()
        if not store.matches(self._describe(name)):
            raise DataError(
                f"the crop cache {store.home} is not visible from this machine; choose a paths.cache_dir=… on "
                "storage that all machines of this job share"
            )
        # Mapped now and not on first use: what is mapped stays, even if another process replaces the files.
        self._arrays = _map_arrays(store)
        self.name = name
        self._mark = mark

    def get_store(self, name: str) -> Store:
        """Return the files of the cache of that name."""
        return Store(self.root / name, len(self.dataset.records.ids), self.crop.side)

    def _describe(self, name: str) -> dict[str, Any]:
        """Return the content of cache.json."""
        return {
            "llpp_crop_cache": FORMAT,
            "key": name,
            "dataset": self.dataset.name,
            "count": len(self.dataset.records.ids),
            "side": self.crop.side,
            "size": self.crop.size,
            "padding": self.crop.padding,
            "margin": self.crop.margin,
        }

    @cached_property
    def _arrays(self) -> Arrays:
        if not self.name:
            raise RuntimeError("the crop cache has not been opened")
        return _map_arrays(self.get_store(self.name))

    @property
    def all_pixels(self) -> NDArray[np.uint8]:
        """All crops (N, side, side, 3), mapped from the disk."""
        return self._arrays[0]

    def get_pixels(self, row: int) -> NDArray[np.uint8]:
        """Return the crop (side, side, 3) of a record; it is read-only."""
        pixels: NDArray[np.uint8] = self._arrays[0][row]
        return pixels

    @property
    def shapes(self) -> NDArray[np.integer[Any]]:
        """(N, 2) height and width of each row's image, in pixels.

        They may be a few pixels off where the row has a box, because a reduced image was measured. A row without a
        box takes the whole image, and its shape is exact.
        """
        return self._arrays[1]

    @cached_property
    def bad_rows(self) -> Mapping[int, str]:
        """Rows whose image could not be read, with the reason."""
        return self.get_store(self.name).read_bad_rows()

    def _cut_missing(self, store: Store, rows: NDArray[np.uint8], report: Callable[[str], None]) -> None:
        """Cut what is missing, damaged or does not match its image."""
        written = store.find_written_blocks()
        intact = store.verify_blocks()
        damaged = int((written & ~intact).sum())
        if damaged:
            log.warning(
                "%d of %d blocks of the crop cache %s are damaged; they are cut again",
                damaged,
                len(written),
                store.home,
            )
        may_copy = True
        if intact.any() and not self._matches_images(store, intact):
            log.warning("the crop cache %s does not match its images; all of it is cut again", store.home)
            store.clear_digests()
            intact[:] = False
            # Other caches may be wrong in the same way.
            may_copy = False
        missing = np.flatnonzero(~intact)
        if len(missing) == 0:
            return
        size = self._check_room(store, len(missing))
        report(f"{size}, in {store.home}")
        reusable: build.ReusableCrops = {}
        if may_copy:
            reusable = build.find_reusable_crops(store, rows, ~intact)
        if reusable:
            report(f"{len(reusable):,} of these crops are copied from other caches")
        build.fill_blocks(store, missing.tolist(), self.dataset, self.crop, reusable, report)
        # Copied crops must match the images, too. The second call checks that, and copies nothing if they do not.
        if reusable:
            self._cut_missing(store, rows, report)

    def _check_room(self, store: Store, blocks: int) -> str:
        """Describe the size of the cache; ConfigError if so many of its blocks do not fit on the disk."""
        needed = min(store.crop_bytes, blocks * ROWS_PER_BLOCK * store.crop_bytes // store.count)
        free = shutil.disk_usage(store.home).free
        size = (
            f"crop cache of {store.count:,} crops of {store.side} × {store.side} pixels, "
            f"{format_bytes(store.crop_bytes)}"
        )
        if needed > free:
            raise ConfigError(
                f"the {size}, does not fit into {self.root}, which has {format_bytes(free)} free; make room, choose "
                "another paths.cache_dir=…, lower crop.size or crop.margin, or set crop.cache=false"
            )
        return f"{size}, {format_bytes(needed)} of it to be cut with {format_bytes(free)} free"

    def _is_complete(self, store: Store, description: Mapping[str, Any]) -> bool:
        """Return whether every crop is there and intact, and some of them match their images."""
        # Hashing all crops takes longest, so the cheap checks come first.
        if not store.matches(description) or not store.find_written_blocks().all():
            return False
        intact = store.verify_blocks()
        return bool(intact.all()) and self._matches_images(store, intact)

    def _matches_images(self, store: Store, intact: NDArray[np.bool_]) -> bool:
        """Compare a few crops of `intact` blocks with what would be cut from their images now."""
        crops, shapes = store.open_arrays()
        has_pixels = store.expand_to_rows(intact) & shapes.any(axis=1)
        rows = np.flatnonzero(has_pixels)
        count = min(SPOT_CHECKS, len(rows))
        spots = np.linspace(0, len(rows) - 1, count).astype(np.int64)
        for row in rows[spots].tolist():
            box = self.dataset.records.boxes[row]
            reduction = self.crop.compute_reduction(box)
            try:
                image, factor = self.dataset.load_reduced(row, reduction)
                expected = self.crop.cut_upright(image, box, factor)
            except DataError:
                # The image cannot be read any more, which makes its crop no worse.
                continue
            # Not equality: other processors may round differently.
            difference = np.abs(expected.astype(np.int16) - crops[row]).mean()
            if difference > 1:
                return False
        return True


def _map_arrays(store: Store) -> Arrays:
    """Map a cache that has been built; DataError if another process has emptied or removed it since."""
    try:
        arrays = store.open_arrays()
        is_complete = bool(store.find_written_blocks().all())
    except (OSError, ValueError):
        # ValueError: a file that has become shorter.
        is_complete = False
    if not is_complete:
        raise DataError(
            f"another process has emptied or removed the crop cache {store.home} after it was built; start again, or "
            "choose another paths.cache_dir=…"
        )
    return arrays
