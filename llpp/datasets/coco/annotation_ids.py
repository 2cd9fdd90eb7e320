"""Ids of annotations: the file's own, or numbers by position where it has none or repeats them."""

from collections import Counter
from typing import Any

from llpp.datasets.coco.oddities import Oddities
from llpp.datasets.coco.values import Id, parse_id


class AnnotationIds:
    """Gives every annotation an id that no other one of its image has.

    Ids are counted within an image, so that annotations of other images change none.
    """

    def __init__(self, oddities: Oddities) -> None:
        self.oddities = oddities
        self.images: dict[Id, Id] = {}  # image of the first annotation with each id
        self.repeated: set[tuple[Id, Id]] = set()  # image and id of those that have the id of another image's
        self.counts: Counter[Id] = Counter()  # annotations by image

    def assign(self, image: Id, listed: Any) -> Id:
        """Return the id of an image's next annotation; `listed` is the one in the file, None without one.

        Raises:
            DataError: it is neither a number nor text.
        """
        self.counts[image] += 1
        position = self.counts[image]
        if listed is None:
            self.oddities.accept(
                "annotations without an id are numbered within their image", f"number {position} of image {image!r}"
            )
            return self._number(image, position)
        number = parse_id(self.oddities, "an annotation", "id", listed)
        if number not in self.images:
            self.images[number] = image
            return number
        what = f"annotation id {number!r} occurs more than once"
        if self._is_used(image, number):
            self.oddities.accept("annotations with an id of the same image are numbered within their image", what)
            return self._number(image, position)
        self.oddities.accept("annotations have an id that one of another image has", what)
        self.repeated.add((image, number))
        return number

    def _is_used(self, image: Id, number: Id) -> bool:
        return self.images.get(number) == image or (image, number) in self.repeated

    def _number(self, image: Id, position: int) -> Id:
        """Return the position as an id that the image does not have yet."""
        number = f"p{position}"
        while self._is_used(image, number):
            number = f"p{number}"
        self.repeated.add((image, number))
        return number
