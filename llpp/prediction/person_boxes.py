"""The boxes around the persons or animals of each image: one for all of it, or those of a file."""

import re
from collections.abc import Sequence
from pathlib import Path

from llpp.datasets.coco.oddities import Tally, format_value
from llpp.datasets.project.box_files import BoxFile, keep_usable, parse_box_file, read_box_file
from llpp.datasets.project.boxes import scale_boxes
from llpp.datasets.project.films import name_frame
from llpp.datasets.project.image_names import list_endings, normalise_path
from llpp.errors import DataError
from llpp.journal.answers import Box
from llpp.prediction.sources import Source

IMAGE = "image"  # instead of a file: one person or animal in each image
UNCLEAR = -1
FRAME = re.compile(r"(.+)#(\d+)")


class FileBoxes:
    """Boxes of a file, found by image.

    Raises:
        DataError: the file cannot be read, is no file of boxes, or has none for any of the images.
    """

    def __init__(self, path: Path, sources: Sequence[Source]) -> None:
        self.tally = Tally()
        self.content: BoxFile = parse_box_file(path, read_box_file(path), self.tally)
        self.names = _match_names(self.content, sources, self.tally)
        if not self.content.boxes:
            raise DataError(f"{path} has no usable box; expected at least one, or boxes={IMAGE}")
        if not self.names:
            example = format_value(next(iter(self.content.boxes)))
            raise DataError(
                f"{path} has boxes for {len(self.content.boxes):,} images, {example} among them, and none of these "
                "is among the images to predict; expected their paths, or file names that occur once"
            )

    def find_image_ids(self, sources: Sequence[Source]) -> dict[str, int | str]:
        """The id that the file has for each image or frame, by our name for it."""
        found = {}
        for (position, number), name in self.names.items():
            source = sources[position]
            if name in self.content.image_ids:
                frame = name_frame(source.name, number) if source.is_film else source.name
                found[frame] = self.content.image_ids[name]
        return found

    def find(self, source: int, number: int, name: str, size: tuple[int, int], tally: Tally) -> Sequence[Box]:
        """The boxes of an image of this width and height, best first; what cannot be used is counted in `tally`."""
        known = self.names.get((source, number))
        if known is None:
            return ()
        scaled = scale_boxes(self.content, known, size, tally)
        return [scored.box for scored in keep_usable(scaled, size, tally, name)]


def _match_names(content: BoxFile, sources: Sequence[Source], tally: Tally) -> dict[tuple[int, int], str]:
    """Which name of the file means which frame: (position of the source, number of the frame) → name."""
    positions: dict[str, int] = {}
    for position, source in enumerate(sources):
        positions[normalise_path(source.name)] = position
    endings: dict[str, int] = {}
    for path, position in positions.items():
        for ending in list_endings(path):
            if endings.setdefault(ending, position) != position:
                endings[ending] = UNCLEAR
    matched: dict[tuple[int, int], str] = {}
    for name in content.boxes:
        path = normalise_path(name)
        number = 0
        frame = FRAME.fullmatch(path)
        if frame is not None and path not in endings:
            path = frame[1]
            number = int(frame[2])
        found = positions.get(path)
        for ending in list_endings(path):
            if found is None:
                found = endings.get(ending)
        if found is None:
            tally.add("images of the file of boxes are not among those to predict", format_value(name))
        elif found == UNCLEAR:
            tally.add("images of the file of boxes may be several; write their folders", format_value(name))
        elif (found, number) in matched:
            tally.add("images of the file of boxes end as another one does, and are left out", format_value(name))
        else:
            matched[found, number] = name
    return matched
