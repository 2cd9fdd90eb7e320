"""All crops of a cache in the device's memory, for pools that fit: batches then carry rows instead of pixels."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from llpp.data.crop_cache.blocks import format_bytes
from llpp.data.crop_cache.cache import CropCache
from llpp.errors import ConfigError

CHUNK_SIZE = 1024  # crops copied at once
RESERVED_SHARE = 0.1  # share of the free memory that is left for the network, at the very least


class ResidentCrops:
    """Uploaded when first asked for, once in a job; every rank has its own copy."""

    def __init__(self, cache: CropCache) -> None:
        self.cache = cache
        self._pixels: Tensor | None = None

    def get_pixels(self, rows: Tensor) -> Tensor:
        """(B, side, side, 3) uint8 of rows (B,), on the device that those are on."""
        if self._pixels is None or self._pixels.device != rows.device:
            self._pixels = None  # the old one's memory may be needed
            self._pixels = self._upload(rows.device)
        return self._pixels[rows]

    def _upload(self, device: torch.device) -> Tensor:
        crops, free = self.cache.all_pixels, get_free_bytes(device)
        if crops.nbytes > free * (1 - RESERVED_SHARE):
            raise ConfigError(
                f"dataset.resident=device needs {format_bytes(crops.nbytes)} for {len(crops):,} crops, but {device} has "
                f"{format_bytes(free)} free; set dataset.resident=null, or lower crop.size or crop.margin"
            )
        found = torch.empty(crops.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(crops), CHUNK_SIZE):
            piece = slice(start, start + CHUNK_SIZE)
            found[piece] = torch.from_numpy(crops[piece].copy()).to(device)  # the file's pages cannot be written to
        return found


def get_free_bytes(device: torch.device) -> int:
    """Of the device's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = Path("/proc/meminfo")
    lines: Sequence[str] = known.read_text().splitlines() if known.is_file() else ()
    for line in lines:
        if line.startswith("MemAvailable:"):  # free pages alone leave out what the file cache would give back
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
