"""Settings that make a run faster and change nothing else but roundings."""

import ctypes
import platform
from dataclasses import dataclass
from typing import Literal

from llpp.setting_rules import check_setting

# mallopt(3): parameters and values; -1 is without limit
MALLOC_OPTIONS = {"M_MMAP_THRESHOLD": (-3, -1), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 64 << 20)}
COMPILE_BREAK_EVEN = (
    40e9  # numbers that convolutions give in a scoring pass; compiling saves a nanosecond of each, and takes 25 s
)


@dataclass(frozen=True)
class Performance:
    """See conf/run.yaml."""

    allocator: Literal["auto", "keep", "system"] = "auto"
    compile_from: int | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        check_setting("performance.allocator", self.allocator)
        check_setting("performance.compile_from", self.compile_from)

    def should_keep_memory(self, accelerator: str) -> bool:
        """Whether this process is to keep the memory that it frees."""
        return self.allocator == "keep" or (self.allocator == "auto" and accelerator == "cpu")

    def should_compile(self, images: int, values: float) -> bool:
        """Whether a pass over so many images is to be compiled; convolutions give `values` numbers for each."""
        if self.compile_from == "auto":
            return images * values >= COMPILE_BREAK_EVEN
        return self.compile_from is not None and images >= self.compile_from


def keep_memory() -> bool:
    """Let this process, and what it forks, keep the memory that it frees; False where the C library is not glibc.

    glibc gives large blocks back to the system at once, and a network asks for them again and again; each comes back
    as fresh pages, which the kernel has to fill with zeros. The price is that a process holds its peak until it ends.
    Variables of the environment would come too late: glibc reads them when a process starts.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(*option) == 1 for option in MALLOC_OPTIONS.values()])
