"""Filling the blocks of a crop cache: from other caches where those have the crop, from images otherwise."""

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
from llpp.datasets.pose import PoseDataset
from llpp.errors import DataError

PROGRESS_INTERVAL = 5.0  # seconds between lines of progress
ReusableCrops = dict[int, tuple[Arrays, int]]  # row → arrays of another cache, row there


def find_reusable_crops(store: Store, rows: NDArray[np.uint8], missing: NDArray[np.bool_]) -> ReusableCrops:
    """Crops of `missing` blocks that lie, undamaged, in caches beside this one.

    A pool that has grown, or an image that was mended, so costs little more than what is new.
    """
    found: ReusableCrops = {}
    mine = rows.view("V16").reshape(-1)
    wanted = np.repeat(missing, ROWS_PER_BLOCK)[: store.count]
    for home in sorted(store.home.parent.iterdir()) if wanted.any() else ():
        other = _open_store(home)
        if other is None or home == store.home or other.side != store.side:
            continue
        theirs = np.fromfile(home / "rows.id", np.uint8).view("V16")
        _, here, there = np.intersect1d(mine[wanted], theirs, return_indices=True)
        among = np.zeros(other.block_count, dtype=np.bool_)
        among[there // ROWS_PER_BLOCK] = True
        sound, arrays = other.verify_blocks(among), other.open_arrays()
        kept = sound[there // ROWS_PER_BLOCK] & arrays[1][there].any(axis=1)
        places = np.flatnonzero(wanted)[here[kept]]
        found.update(
            {row: (arrays, source) for row, source in zip(places.tolist(), there[kept].tolist(), strict=True)}
        )
        wanted[places] = False
    return found


def _open_store(home: Path) -> Store | None:
    told = read_description(home)
    if told is None or type(told.get("count")) is not int or type(told.get("side")) is not int:
        return None
    store = Store(home, told["count"], told["side"])
    return store if store.matches(told) else None


def fill_blocks(
    store: Store,
    blocks: Sequence[int],
    dataset: PoseDataset,
    crop: PersonCrop,
    lent: ReusableCrops,
    tell: Callable[[str], None],
) -> None:
    """Cut `blocks` in as many threads as there are cores; OpenCV works outside Python's lock."""
    bad, guard = store.read_bad_rows(), threading.Lock()

    def cut_block(block: int) -> int:
        rows = range(store.count)[store.get_block_rows(block)]
        crops, shapes, found = cut_rows(rows, dataset, crop, lent)
        with guard:
            before = {row: reason for row, reason in bad.items() if row not in rows}
            if {**before, **found} != bad:
                bad.clear()
                bad.update({**before, **found})
                store.write_bad_rows(bad)
        store.write_block(block, crops, shapes)
        return len(rows)

    cv2.setNumThreads(0)  # one thread per image is enough
    total = sum(len(range(store.count)[store.get_block_rows(block)]) for block in blocks)
    done, start, told = 0, time.monotonic(), 0.0
    with ThreadPoolExecutor(count_cores()) as pool:
        for number in pool.map(cut_block, blocks):
            done += number
            passed = time.monotonic() - start
            if passed - told >= PROGRESS_INTERVAL or done == total:
                told = passed
                tell(f"crop cache: {done:,} of {total:,} crops cut, {done / max(passed, 1e-9):,.0f} per second")


def cut_rows(
    rows: range, dataset: PoseDataset, crop: PersonCrop, lent: ReusableCrops
) -> tuple[NDArray[np.uint8], NDArray[np.int32], dict[int, str]]:
    """Crops and image shapes of some rows; of unreadable images zeros, and the reasons by row."""
    crops = np.zeros((len(rows), crop.side, crop.side, 3), dtype=np.uint8)
    shapes, bad = np.zeros((len(rows), 2), dtype=np.int32), {}
    last, image, factor = None, None, 1
    for place, row in enumerate(rows):
        if row in lent:
            (their_crops, their_shapes), source = lent[row]
            crops[place], shapes[place] = their_crops[source], their_shapes[source]
            continue
        box = dataset.records.boxes[row]
        wanted = dataset.records.images[row], crop.compute_reduction(box)
        try:
            if image is None or wanted != last:  # persons of an image stand together
                image, last = None, wanted
                image, factor = dataset.load_reduced(row, wanted[1])
        except DataError as error:
            bad[row] = str(error)
            continue
        crops[place] = crop.cut_upright(image, box, factor)
        shapes[place] = image.shape[0] * factor, image.shape[1] * factor
    return crops, shapes, bad
