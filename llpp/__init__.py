"""Which images should we label next, and where will the model fail?"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llpp.config.load_run import LoadedRun

__version__ = "0.1.0"

# A small file can claim to be an image of any size. OpenCV looks at this once, when it is first imported; its own
# limit is four times as high: 3 GB of pixels in each worker.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))


def load(run_dir: str | Path, device: str = "cpu", trusted_packages: Sequence[str] = ()) -> "LoadedRun":
    """Load a finished run, to predict images with the model of its last round; see `LoadedRun`."""
    # Not at the top: the import takes seconds, which the command line must not spend on its way to a mistake.
    from llpp.config.load_run import LoadedRun

    return LoadedRun(run_dir, device, trusted_packages)
