"""All crops of a cache in the device's memory, for pools that fit: batches then carry rows instead of pixels."""

import os
from pathlib import Path

import torch
from torch import Tensor

from llpp.data.crop_cache.blocks import format_bytes
from llpp.data.crop_cache.cache import CropCache
from llpp.errors import ConfigError

CHUNK_SIZE = 1024  # crops copied at once
RESERVED_SHARE = 0.1  # share of the free memory that is left for the network, at the very least


class ResidentCrops:
    """The crops of a cache on a device, uploaded on first use, once per job; every rank has its own copy."""

    def __init__(self, cache: CropCache) -> None:
        self.cache = cache
        self._pixels: Tensor | None = None

    def get_pixels(self, rows: Tensor) -> Tensor:
        """Return (B, side, side, 3) uint8 of `rows` (B,), on the device of `rows`."""
        if self._pixels is None or self._pixels.device != rows.device:
            # Free the copy on the other device first: its memory may be needed.
            self._pixels = None
            self._pixels = self._upload(rows.device)
        return self._pixels[rows]

    def _upload(self, device: torch.device) -> Tensor:
        crops = self.cache.all_pixels
        free = get_free_bytes(device)
        if crops.nbytes > free * (1 - RESERVED_SHARE):
            raise ConfigError(
                f"crop.resident=device needs {format_bytes(crops.nbytes)} for {len(crops):,} crops, but {device} "
                f"has {format_bytes(free)} free; set crop.resident=null, lower crop.size or crop.margin, or run "
                "fewer jobs on it at the same time"
            )
        pixels = torch.empty(crops.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(crops), CHUNK_SIZE):
            chunk = slice(start, start + CHUNK_SIZE)
            # torch warns about arrays that are not writable, and the file is mapped read-only; hence the copy.
            pixels[chunk] = torch.from_numpy(crops[chunk].copy()).to(device)
        return pixels


def get_free_bytes(device: torch.device) -> int:
    """Return the free memory of the device, or of the machine if it is the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            # MemFree would leave out what the page cache gives back on demand.
            if line.startswith("MemAvailable:"):
                kibibytes = int(line.split()[1])
                return kibibytes * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
