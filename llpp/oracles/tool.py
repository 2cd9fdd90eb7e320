"""The contract of labelling tools: a batch of images → files that the tool opens, and its files → entries.

A reader knows its file's format and nothing about the project: which image an entry means, whether a person has
changed what was suggested, and what is news is found out by `llpp.labelling`, in one way for all tools.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.datasets.pose import Skeleton
from llpp.journal.answers import Box, PersonLabel

Size = tuple[int, int]  # width, height in pixels
UNCHANGED = (
    "A suggestion that nobody has changed stays open; with label.accept=unchanged it counts as a label, once it is "
    "saved."
)


@dataclass(frozen=True)
class AskedImage:
    """One image of a batch."""

    image: str  # id
    path: Path  # the file to look at, upright
    name: str  # of its copy in the batch's folder `images`: plain characters, unique even without its ending
    relative: str  # the file's path below the project's root, with / between its parts; empty if it is elsewhere
    size: Size
    role: str  # train | test
    rank: int  # 1 is wanted most
    reason: str  # why it was chosen, in words
    predicted_loss: float | None = None
    suggested: Sequence[PersonLabel] = ()  # to start from, each with a joint at least; empty: nothing


@dataclass(frozen=True)
class LabelBatch:
    """What people are asked for at once."""

    project: str  # name of the project
    round: int
    skeleton: Skeleton
    images: Sequence[AskedImage]
    root: Path  # the folder of the project's images


@dataclass(frozen=True)
class PersonEntry:
    """One person or animal as a file has it, in the units of its entry."""

    joints: Mapping[str, tuple[float, float, int]]  # name → x, y, visible (1 or 2); unlabelled ones are left out
    box: Box | None = None
    id: str = ""  # of the project's person, where the file carries it


@dataclass(frozen=True)
class Entry:
    """What a file says about one image, by one annotator.

    Coordinates are pixels of an image of `size`, 0-based, pixel centres at integers, or, with `relative`, shares of
    the image's width and height.
    """

    names: Sequence[str]  # by which the image may be found, the surest first: paths, or film.mp4#000123
    status: str  # labelled | empty | skipped | open (listed, but nobody has answered)
    persons: Sequence[PersonEntry] = ()
    image: str = ""  # the project's id of the image, where the file carries it
    size: Size | None = None  # as the file has it; None: it does not say
    relative: bool = False
    untouched: bool = False  # the tool says that nobody has changed what was suggested
    confirmed: bool = False  # the tool says that a person has looked at it and agrees
    annotator: str = ""
    answered_at: str = ""  # 2026-11-27T08:30:00Z; empty: the file does not say
    seconds: float | None = None
    entry: str = ""  # the tool's own name of the annotation


@dataclass(frozen=True)
class Rejection:
    """Something in a file that cannot be used."""

    entry: str  # what it is called there
    reason: str  # a sentence without a full stop, with what to do


@dataclass(frozen=True)
class FileContent:
    """What a file holds."""

    entries: Sequence[Entry]
    rejections: Sequence[Rejection] = ()
    remarks: Sequence[str] = ()  # what a reader of results should know; one sentence each


@dataclass(frozen=True)
class ReadOptions:
    """What a file does not say by itself."""

    joints: Sequence[str]  # names of the project's joints, in their order
    visibility: str = "coco"  # coco (1 is occluded, 2 visible) | binary (1 is visible)
    empty: str = "open"  # an image that is listed without annotation is: open | reviewed (a person saw nobody there)
    half_pixel: bool = False  # coordinates count from the image's corner, as some tools do: take half a pixel off


@dataclass(frozen=True)
class WriteOptions:
    """How a batch is written."""

    half_pixel: bool = False  # add half a pixel to coordinates, see `ReadOptions`
    part: str = ""  # _1, _2 … where a batch is split among annotators: added to the names of files


class LabellingTool(ABC):
    """Writes batches for a tool, and reads what it saves."""

    name: str  # as one types it: tool=label_studio
    title: str  # as its makers write it, or, of a format, an editor of it
    dates_files: bool = False  # whether the times of entries are those of their file: when it was exported
    copies_images: bool = True  # whether a batch needs its images in a folder `images` next to its files
    wants_lossless: bool = False  # whether frames of films are cut into PNGs
    # What counts as answered, in sentences for those who label.
    answered: str = (
        "An image is answered once a person has placed or moved a joint in it, or has said in the tool that nobody "
        f"is there or that it cannot be labelled. {UNCHANGED}"
    )

    @abstractmethod
    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """Write files for the tool below `folder`, first the one to open; the same batch gives the same bytes.

        Writing again, or over half of what was written before an interruption, gives the same as writing once.
        """

    @abstractmethod
    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """Three sentences: how to open the batch, how to label it, and how to give it back."""

    @abstractmethod
    def recognises(self, path: Path, start: bytes) -> bool:
        """Whether a file, of which these are the first 64 KiB, is this tool's; never raises."""

    @abstractmethod
    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """Read a file; one bad entry is a rejection and does not stop the others.

        Raises:
            DataError: the file as a whole cannot be read; the sentence says what to do.
        """

    def list_answer_files(self, root: Path, batches: Sequence[Path]) -> list[Path]:
        """Files that the tool keeps outside the inbox: below the project's root, or in the folders of batches."""
        return []
