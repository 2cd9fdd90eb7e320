"""Which images should we label next, and where will the pose model fail?"""

import os

__version__ = "0.1.0"

# A small file can claim to be an image of any size. OpenCV looks at this once, when it is first imported; its own
# limit is four times as high: 3 GB of pixels in each worker.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
