"""Which images should we label next, and where will the pose model fail?"""

__version__ = "0.1.0"
