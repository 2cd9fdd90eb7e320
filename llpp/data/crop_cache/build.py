"""Fill the blocks of a crop cache: copy crops that other caches have, and cut the others from images."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.data.crop_cache.blocks import ROWS_PER_BLOCK, Arrays, Store, count_cores, read_description
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import AnyDataset
from llpp.errors import DataError

PROGRESS_INTERVAL = 5.0  # seconds between lines of progress
ReusableCrops = dict[int, tuple[Arrays, int]]  # row → arrays of another cache, row there


def find_reusable_crops(store: Store, rows: NDArray[np.uint8], missing: NDArray[np.bool_]) -> ReusableCrops:
    """Find crops of the `missing` blocks (blocks,) that other caches in the same folder hold undamaged.

    A grown pool, or a dataset with a fixed image, then costs little more than its new crops. `rows` (N, 16) are the
    ids of the store's rows.
    """
    reusable: ReusableCrops = {}
    row_ids = rows.view("V16").reshape(-1)
    wanted = store.expand_to_rows(missing)
    if not wanted.any():
        return reusable
    for home in sorted(store.home.parent.iterdir()):
        other = _open_store(home)
        if other is None or home == store.home or other.side != store.side:
            continue
        other_ids = np.fromfile(home / "rows.id", np.uint8).view("V16")
        # Indices of the ids that both have: among the wanted rows here, and among all rows of the other cache.
        _, wanted_index, other_rows = np.intersect1d(row_ids[wanted], other_ids, return_indices=True)
        other_blocks = other_rows // ROWS_PER_BLOCK
        needed = np.zeros(other.block_count, dtype=np.bool_)
        needed[other_blocks] = True
        intact = other.verify_blocks(needed)
        arrays = other.open_arrays()
        # A row without a shape has no pixels: its image could not be read. It is tried again here.
        has_pixels = arrays[1][other_rows].any(axis=1)
        usable = intact[other_blocks] & has_pixels
        targets = np.flatnonzero(wanted)[wanted_index[usable]]
        sources = other_rows[usable]
        for target, source in zip(targets.tolist(), sources.tolist(), strict=True):
            reusable[target] = (arrays, source)
        wanted[targets] = False
    return reusable


def _open_store(home: Path) -> Store | None:
    description = read_description(home)
    if description is None:
        return None
    count = description.get("count")
    side = description.get("side")
    # Not isinstance: JSON's true and false are instances of int.
    if type(count) is not int or type(side) is not int:
        return None
    store = Store(home, count, side)
    if not store.matches(description):
        return None
    return store


def fill_blocks(
    store: Store,
    blocks: Sequence[int],
    dataset: AnyDataset,
    crop: PersonCrop,
    reusable: ReusableCrops,
    report: Callable[[str], None],
) -> None:
    """Cut `blocks` in as many threads as there are cores; OpenCV releases Python's global lock."""
    all_rows = range(store.count)
    bad_rows = store.read_bad_rows()
    bad_rows_lock = threading.Lock()

    def cut_block(block: int) -> int:
        rows = all_rows[store.get_block_rows(block)]
        crops, shapes, unreadable = cut_rows(rows, dataset, crop, reusable)
        with bad_rows_lock:
            updated = {row: reason for row, reason in bad_rows.items() if row not in rows}
            updated.update(unreadable)
            if updated != bad_rows:
                bad_rows.clear()
                bad_rows.update(updated)
                store.write_bad_rows(bad_rows)
        # The block comes last: once it counts as written its images are not read again, so their reasons must be
        # on the disk.
        store.write_block(block, crops, shapes)
        return len(rows)

    # One thread per image is enough: the blocks already use all cores.
    cv2.setNumThreads(0)
    total = sum(len(all_rows[store.get_block_rows(block)]) for block in blocks)
    done = 0
    start = time.monotonic()
    last_report = 0.0
    with ThreadPoolExecutor(count_cores()) as pool:
        for row_count in pool.map(cut_block, blocks):
            done += row_count
            elapsed = time.monotonic() - start
            if elapsed - last_report >= PROGRESS_INTERVAL or done == total:
                last_report = elapsed
                rate = done / max(elapsed, 1e-9)
                report(f"crop cache: {done:,} of {total:,} crops cut, {rate:,.0f} per second")


def cut_rows(
    rows: range, dataset: AnyDataset, crop: PersonCrop, reusable: ReusableCrops
) -> tuple[NDArray[np.uint8], NDArray[np.int32], dict[int, str]]:
    """Return crops (rows, side, side, 3), image shapes (rows, 2), and the reasons of unreadable images by row.

    Rows of unreadable images have zeros in both arrays.
    """
    crops = np.zeros((len(rows), crop.side, crop.side, 3), dtype=np.uint8)
    shapes = np.zeros((len(rows), 2), dtype=np.int32)
    bad: dict[int, str] = {}
    # The persons of an image are in neighbouring rows, so the last decoded image is kept; its key is its name and the
    # reduction that it was read with.
    image: NDArray[np.uint8] | None = None
    image_key: tuple[str, int] | None = None
    factor = 1
    for index, row in enumerate(rows):
        if row in reusable:
            (source_crops, source_shapes), source = reusable[row]
            crops[index] = source_crops[source]
            shapes[index] = source_shapes[source]
            continue
        box = dataset.records.boxes[row]
        reduction = crop.compute_reduction(box)
        key = (dataset.records.images[row], reduction)
        try:
            if image is None or key != image_key:
                # Drop the previous image first: if this one cannot be read, none may stay under its key.
                image = None
                image_key = key
                image, factor = dataset.load_reduced(row, reduction)
        except DataError as error:
            bad[row] = str(error)
            continue
        crops[index] = crop.cut_upright(image, box, factor)
        shapes[index] = image.shape[0] * factor, image.shape[1] * factor
    return crops, shapes, bad
