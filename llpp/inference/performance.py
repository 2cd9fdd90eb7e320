"""Settings that make a run faster and change nothing but roundings."""

import ctypes
import platform
from dataclasses import dataclass
from typing import Literal

from llpp.setting_rules import check_setting

# mallopt(3): parameters and values; -1 is without limit
MALLOC_OPTIONS = {"M_MMAP_THRESHOLD": (-3, -1), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 64 << 20)}
# Convolution outputs of a scoring pass. Compiling saves a nanosecond for each of them, and takes 25 s.
COMPILE_BREAK_EVEN = 40e9


@dataclass(frozen=True)
class Performance:
    """`launch.allocator` and `scoring.compile_from`; see conf/run.yaml."""

    allocator: Literal["auto", "keep", "system"] = "auto"
    compile_from: int | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        check_setting("launch.allocator", self.allocator)
        check_setting("scoring.compile_from", self.compile_from)

    def should_keep_memory(self, accelerator: str) -> bool:
        """Return whether this process should keep the memory that it frees."""
        return self.allocator == "keep" or (self.allocator == "auto" and accelerator == "cpu")

    def should_compile(self, images: int, values: float) -> bool:
        """Return whether to compile for a pass over so many images with `values` convolution outputs each."""
        if self.compile_from == "auto":
            return images * values >= COMPILE_BREAK_EVEN
        return self.compile_from is not None and images >= self.compile_from


def keep_memory() -> bool:
    """Make this process and its forks keep the memory that they free; False where the C library is not glibc.

    glibc returns large blocks to the system at once, but a network asks for them again and again, and each comes back
    as fresh pages that the kernel must fill with zeros. The price is that a process holds its peak until it ends.
    Environment variables would come too late: glibc reads them when a process starts.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # A list, so that every option is set even if one fails; mallopt returns 1 on success.
    results = [mallopt(parameter, value) for parameter, value in MALLOC_OPTIONS.values()]
    return all(result == 1 for result in results)
