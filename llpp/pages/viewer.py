"""What a page's viewer of pictures shows: the contract between those who have pictures and the page.

A viewer is a grid of thumbnails that open large. Joints are layers over the plain picture, drawn by the browser, so
that each can be switched off. Readers sort and filter by numbers and words; without JavaScript they see the grid as
it was given. K joints; coordinates are (x, y) in pixels of the picture, pixel centres at integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llpp.pages.picture_encoding import EncodedImage

Colour = tuple[int, int, int]  # RGB, 0 to 255
Points = NDArray[np.floating[Any]]
Worse = Literal["high", "low"]


@dataclass(frozen=True)
class LayerStyle:
    """A layer that pictures may have, as readers know it: truth, prediction."""

    key: str
    title: str
    shortcut: str  # the letter that switches it
    colour: Colour | None = None  # of all its joints and limbs, thinly drawn; None: each joint has its own colour


@dataclass(frozen=True)
class Number:
    """A number that pictures have: readers sort by it, and filter by its range."""

    key: str
    title: str
    worse: Worse = "high"  # at which end the bad ones are: the start when sorting
    decimals: int | None = None  # to show; None: three significant digits
    is_in_caption: bool = True  # and a filter; False: only to sort by, and next to the large picture


@dataclass(frozen=True)
class Word:
    """A word that pictures have: readers filter by it, and group by it."""

    key: str
    title: str
    notes: Mapping[str, str] = field(default_factory=dict)  # value → what to say of its group
    is_filter: bool = True  # False: only to group by, as a combination of other words is
    is_in_caption: bool = False  # below thumbnails while these are in no groups


@dataclass(frozen=True)
class Skeleton:
    """The joints that all pictures of a viewer share."""

    joints: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()  # limbs, as positions in `joints`
    colours: tuple[Colour, ...] = ()  # one per joint; a limb of two colours gets `middle`
    middle: Colour = (240, 228, 66)

    def choose_limb_colour(self, start: int, end: int) -> Colour:
        """Return the colour of the limb between two joints."""
        if self.colours[start] == self.colours[end]:
            return self.colours[start]
        return self.middle


@dataclass(frozen=True)
class Picture:
    """One picture with all that readers may ask about it."""

    id: str  # unique in its viewer; the title of the large picture
    image: EncodedImage
    layers: Mapping[str, Points] = field(default_factory=dict)  # key of a LayerStyle → (K, 2), NaN where absent
    joint_values: Points | None = None  # (K,) `Viewer.joint_value` of each joint; NaN where unknown
    numbers: Mapping[str, float | None] = field(default_factory=dict)  # key of a Number → its value
    words: Mapping[str, str] = field(default_factory=dict)  # key of a Word → its value
    caption: str = ""  # a line below the name, besides the numbers
    frame: Colour | None = None  # around the thumbnail
    name: str = ""  # below the thumbnail; empty: the end of the id, after its last /


@dataclass(frozen=True)
class Viewer:
    """Pictures, and how they may be looked at."""

    key: str  # unique on its page: letters and digits
    pictures: Sequence[Picture]  # in the order of a page without JavaScript
    numbers: tuple[Number, ...] = ()  # those that no picture has are left out
    words: tuple[Word, ...] = ()  # as filters, those of which there is only one are left out
    layers: tuple[LayerStyle, ...] = ()
    skeleton: Skeleton = field(default_factory=Skeleton)
    joint_value: Number | None = None  # what `Picture.joint_values` are, as "error / torso"; None: there are none
    sort: str = ""  # key of the number to begin with; empty: the order given
    group: str = ""  # key of the word to begin with; empty: no groups
    note: str = ""  # a sentence above the pictures, such as which of how many they are
    legend: Sequence[tuple[Colour, str]] = ()  # colours with their meanings
