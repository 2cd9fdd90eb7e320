"""Images that must not stand in two splits: frames of one film, versions of one source image.

N images, named by their path below a folder, with / between its parts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS
from llpp.errors import ConfigError
from llpp.ids import Ids

MIN_FRAMES = 3  # of a film; two numbered images are not taken for one
MIN_FILMS = 2  # a single series of numbers is how most datasets are named
MAX_PATTERN_LENGTH = 200  # characters
# Roboflow calls the versions that it makes of photo.jpg photo_jpg.rf.HASH.jpg.
VERSION_SIGN = ".rf."
VERSION_MARK = re.compile(r"\.rf\.[0-9A-Za-z_-]{8,}$")
ORIGINAL_ENDING = re.compile(r"_(?:jpe?g|png|bmp|webp|tiff?)$", re.IGNORECASE)
FRAME_NUMBER = re.compile(r"[-_. ]*[0-9]+$")
NAMED_GROUPS = "folder, source or film"


def assign_groups(images: Sequence[str], group: str | None) -> list[str] | None:
    """Return the group of each image (N,); None where each image is a group of its own (`group` is None).

    `folder`: the folder that it is in. `source`: what it is a version of, by Roboflow's names. `film`: its path
    without the number at the end. Anything else is a regular expression: its first group, or all that it matches, is
    the image's group; an image that it does not match is alone.

    Raises:
        ConfigError: no such expression, one that matches no image, or one group for all images.
    """
    if group is None:
        return None
    find_group = _choose_finder(group)
    groups = []
    matched = 0
    for image in images:
        found = find_group(image)
        groups.append(image if found is None else found)
        matched += found is not None
    if images and not matched:
        raise ConfigError(
            f"dataset.group={group!r} matches none of {len(images):,} images, {images[0]!r} among them; expected "
            f"null, {NAMED_GROUPS}, or a regular expression whose first group names what belongs together"
        )
    if len(set(images)) > 1 and len(set(groups)) == 1:
        raise ConfigError(
            f"dataset.group={group} puts all {len(set(images)):,} images into one group, {groups[0]!r}, and splits "
            "cannot share a group; choose a narrower one, or dataset.group=null"
        )
    return groups


def _choose_finder(group: object) -> Callable[[str], str | None]:
    """Return what finds the group of an image; it returns None for an image that has none."""
    if group == "folder":
        return find_folder
    if group == "source":
        return find_source
    if group == "film":
        return find_film
    if not isinstance(group, str) or not 0 < len(group) <= MAX_PATTERN_LENGTH:
        raise ConfigError(
            f"dataset.group={group!r} is invalid; expected null, {NAMED_GROUPS}, or a regular expression of up to "
            f"{MAX_PATTERN_LENGTH} characters"
        )
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ConfigError(
            f"dataset.group={group!r} is no regular expression ({error}); expected null, {NAMED_GROUPS}, or an "
            "expression whose first group names what belongs together, as in '^(.+)_'"
        ) from error
    wanted = 1 if pattern.groups else 0

    def find_match(image: str) -> str | None:
        match = pattern.search(image)
        return None if match is None else match[wanted]

    return find_match


def find_folder(image: str) -> str:
    """Return the folder of an image: `day1/7.jpg` → `day1`."""
    return str(PurePosixPath(image).parent)


def find_source(image: str) -> str | None:
    """Return what an image is a version of: `day1/photo_jpg.rf.0a1b2c3d.jpg` → `day1/photo_jpg`; None of others."""
    if VERSION_SIGN not in image:
        return None
    source, count = VERSION_MARK.subn("", _drop_ending(image))
    return source if count else None


def find_film(image: str) -> str:
    """Return the path of an image without ending and number: `day1/frame_007.jpg` → `day1/frame`.

    Of a version, the number of its source counts: `film_12_jpg.rf.0a1b2c3d.jpg` → `film`.
    """
    folder, name = _split_path(image)
    return f"{folder}{FRAME_NUMBER.sub('', name)}"


def _split_path(image: str) -> tuple[str, str]:
    """Return the folder, with its last /, and the name of what an image is a version of, without ending."""
    path = _drop_ending(image)
    source, count = VERSION_MARK.subn("", path)
    if count:
        path = ORIGINAL_ENDING.sub("", source)
    folder, slash, name = path.rpartition("/")
    return folder + slash, name


def _drop_ending(image: str) -> str:
    folder, slash, file = image.rpartition("/")
    name, dot, _ = file.rpartition(".")
    return folder + slash + (name if dot else file)


def describe_groups(group: str, groups: Ids, images: Ids, split: NDArray[np.str_]) -> list[str]:
    """Note how many images and groups each split has: N records, with the group, image and split of each."""
    parts = []
    for name in SPLITS:
        rows = np.flatnonzero(split == name)
        if len(rows):
            image_count = len(images.take(rows).array.unique())
            group_count = len(groups.take(rows).array.unique())
            parts.append(f"{name} {image_count:,} images of {group_count:,}")
    return [f"dataset.group={group} makes {len(groups.array.unique()):,} groups: {', '.join(parts)}"]


def suggest_groups(images: Ids, split: NDArray[np.str_], films: bool = True) -> list[str]:
    """Note relatives that stand in several splits, as far as the names of N images, in these splits (N,), show them.

    Without `films`, only versions of one source image are looked for.
    """
    _, rows = np.unique(images.assign_codes(), return_index=True)
    distinct = list(zip(images.take(rows), split[rows].tolist(), strict=True))
    versions = []
    for image, name in distinct:
        source = find_source(image)
        if source is not None:
            versions.append((source, name))
    sources = _collect_splits(versions)
    parted = [source for source, found in sources.items() if len(set(found)) > 1]
    if parted:
        return [
            f"{len(parted):,} of {len(sources):,} source images have versions in several splits ({parted[0]!r} among "
            "them): images are tested whose versions were trained on; dataset.group=source keeps them in one split"
        ]
    parted = _find_parted_films(distinct) if films else []
    if parted:
        return [
            f"{len(parted):,} series of numbered images stand in several splits each ({parted[0]!r} among them); if "
            "they are films, dataset.group=film keeps each in one split"
        ]
    return []


def _find_parted_films(distinct: Sequence[tuple[str, str]]) -> list[str]:
    """List the series of numbered images that stand in several splits; none unless they are most of the images.

    A dataset of one series, such as 000001.jpg to 005000.jpg, has none: that is how most are named.
    """
    numbered = []
    for image, split in distinct:
        _, name = _split_path(image)
        if FRAME_NUMBER.search(name):
            numbered.append((find_film(image), split))
    films = []
    frame_count = 0
    for film, found in _collect_splits(numbered).items():
        if len(found) >= MIN_FRAMES and len(set(found)) > 1:
            films.append(film)
            frame_count += len(found)
    if len(films) < MIN_FILMS or 2 * frame_count < len(distinct):
        return []
    return films


def _collect_splits(members: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the split of each member of every group, from (group, split)."""
    collected: dict[str, list[str]] = {}
    for group, split in members:
        collected.setdefault(group, []).append(split)
    return collected
