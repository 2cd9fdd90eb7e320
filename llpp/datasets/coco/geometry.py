"""Where labels lie in their images, by the sizes that the annotation file has. N persons, K joints.

Coordinates are pixels from 0 on. Some tools count from the centre of the first pixel, others from its corner, so that
what is at most one pixel beyond the border still counts as inside.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.coco.keypoints_json import NOT_LABELLED, Instance, Joint, KeypointsFile
from llpp.datasets.coco.oddities import Tally
from llpp.errors import DataError

SLACK = 1.0  # pixels
MIN_JOINTS = 2  # of one person whose coordinates are taken for shares of the image
MIN_BEYOND = 0.25  # share of boxes that reach beyond their image, from which on they may be corners
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


def check_positions(
    path: Path, content: KeypointsFile, boxes: bool, keep: bool, may_be_exchanged: bool = False
) -> KeypointsFile:
    """Leave out the labelled joints that are not in their image, or with `keep` only count them.

    With `boxes`, persons without a box get the hull of their labelled joints. Where width and height of images
    `may_be_exchanged`, they are so for persons whose joints are in their image in that way only.

    Raises:
        DataError: all coordinates are shares of the image's size instead of pixels, or the boxes are corners.
    """
    if not content.instances:
        return content
    joints = np.array([instance.joints for instance in content.instances], dtype=np.float64)
    points = joints[..., :2]
    labelled = joints[..., 2] > 0
    sizes = _collect_sizes(content)
    listed_boxes = _collect_boxes(content.instances)
    _check_pixels(path, "joints", points[labelled])
    _check_pixels(path, "boxes", listed_boxes[np.isfinite(listed_boxes)])

    at_zero = labelled & (points == 0).all(axis=2)
    outside = _find_outside(points, labelled, sizes)
    if may_be_exchanged:
        outside_exchanged = _find_outside(points, labelled, sizes[:, ::-1])
        is_exchanged = outside.any(axis=1) & ~outside_exchanged.any(axis=1)
        outside[is_exchanged] = False
        sizes[is_exchanged] = sizes[is_exchanged, ::-1]
    shares = _find_shares(points, labelled & ~at_zero)
    fate = "kept (dataset.outside=keep)" if keep else "left out (dataset.outside=drop)"
    tally = Tally()
    _count_joints(tally, f"labelled joints at exactly (0, 0) are {fate}", at_zero, content)
    _count_joints(tally, f"labelled joints outside of their image are {fate}", outside, content)
    _count_joints(tally, f"labelled joints of persons with coordinates from 0 to 1 only are {fate}", shares, content)
    _count_boxes_beyond(path, tally, listed_boxes, sizes, content, keep)
    content.remarks.extend(tally.describe())
    misplaced = at_zero | outside | shares
    if keep:
        misplaced[:] = False
    return _build_content(content, misplaced, sizes, boxes)


def _find_outside(points: Values, labelled: Mask, sizes: Values) -> Mask:
    """(N, K) the labelled joints that are not in their images of these sizes (N, 2)."""
    beyond = (points < -SLACK) | (points > sizes[:, None] - 1 + SLACK)
    outside: Mask = labelled & beyond.any(axis=2)
    return outside


def _collect_sizes(content: KeypointsFile) -> Values:
    """(N, 2) width and height of each person's image, infinite where the file does not have them."""
    unknown = (np.inf, np.inf)
    sizes = [content.sizes.get(instance.image, unknown) for instance in content.instances]
    return np.array(sizes, dtype=np.float64)


def _collect_boxes(instances: Sequence[Instance]) -> Values:
    """(N, 4) boxes as they are listed, NaN where there is none."""
    none = [np.nan] * 4
    boxes = [none if instance.box is None else instance.box for instance in instances]
    return np.array(boxes, dtype=np.float64)


def _check_pixels(path: Path, what: str, values: Values) -> None:
    """Raise DataError if these coordinates are shares of an image's size; without any fraction they may be pixels."""
    if not values.size or values.min() < 0 or values.max() > 1 or (values % 1 == 0).all():
        return
    raise DataError(
        f"{path}: all coordinates of {what} are between 0 and 1, as shares of the image's size; expected pixels: "
        "multiply x by the image's width and y by its height, or export the file with pixels"
    )


def _find_shares(points: Values, labelled: Mask) -> Mask:
    """(N, K) the joints of persons whose labelled joints all have coordinates from 0 to 1."""
    within = ((points >= 0) & (points <= 1)).all(axis=2)
    is_share = (within | ~labelled).all(axis=1) & (labelled.sum(axis=1) >= MIN_JOINTS)
    shares: Mask = labelled & is_share[:, None]
    return shares


def _count_joints(tally: Tally, words: str, mask: Mask, content: KeypointsFile) -> None:
    """Count the joints (N, K) of a mask under these words."""
    for person, joint in np.argwhere(mask).tolist():
        instance = content.instances[person]
        x, y, _ = instance.joints[joint]
        name = content.category.joints[joint]
        tally.add(
            words, f"{name} of annotation {instance.id!r} at ({x:g}, {y:g}) in {_describe_image(content, instance)}"
        )


def _describe_image(content: KeypointsFile, instance: Instance) -> str:
    name = content.images[instance.image]
    size = content.sizes.get(instance.image)
    if size is None:
        return name
    return f"{name} of {size[0]} × {size[1]} pixels"


def _count_boxes_beyond(
    path: Path, tally: Tally, boxes: Values, sizes: Values, content: KeypointsFile, keep: bool
) -> None:
    """Count the boxes (N, 4) that reach beyond their image.

    Raises:
        DataError: they are many, all would be inside as corners, and nobody wants to `keep` them.
    """
    # A comparison with NaN, a box that is not there, is false.
    start = boxes[:, :2]
    end = start + boxes[:, 2:]
    beyond = ((start < -SLACK) | (end > sizes + SLACK)).any(axis=1)
    if not beyond.any():
        return
    known = np.isfinite(np.concatenate([boxes, sizes], axis=1)).all(axis=1)
    corner = boxes[:, 2:]
    fits = (start >= -SLACK) & (corner > start) & (corner <= sizes + SLACK)
    known_count = int(known.sum())
    count = int((beyond & known).sum())
    if not keep and count > 0 and count >= MIN_BEYOND * known_count and fits[known].all():
        raise DataError(
            f"{path}: {count} of {known_count} boxes reach beyond their image as x, y, width, height, but none "
            "as x1, y1, x2, y2: they look like corners; write x, y, width and height, or set dataset.box=joints, or "
            "dataset.outside=keep to use them as they are"
        )
    for person in np.flatnonzero(beyond).tolist():
        instance = content.instances[person]
        values = ", ".join(f"{value:g}" for value in boxes[person])
        tally.add(
            "boxes reach beyond their image",
            f"[{values}] of annotation {instance.id!r} in {_describe_image(content, instance)}",
        )


def _build_content(content: KeypointsFile, misplaced: Mask, sizes: Values, boxes: bool) -> KeypointsFile:
    """The content without the misplaced joints (N, K), and without the persons that have no other ones.

    `sizes` (N, 2) are those of the persons' images.
    """
    instances = []
    # Most persons have no such joint, and a file has hundreds of thousands.
    is_affected = np.asarray(misplaced.any(axis=1)).tolist()
    for person, instance in enumerate(content.instances):
        if is_affected[person]:
            instance = _drop_joints(instance, misplaced[person], sizes[person])
        if is_affected[person] and not any(visible for _, _, visible in instance.joints):
            content.left_out["without a labelled joint inside their image"] += 1
            continue
        if boxes and instance.box is None:
            instance = replace(instance, box=_compute_hull(instance.joints))
        if boxes and instance.box is None:
            content.left_out["without a usable bbox, whose labelled joints span none,"] += 1
            continue
        instances.append(instance)
    return replace(content, instances=instances)


def _drop_joints(instance: Instance, mask: Mask, size: Values) -> Instance:
    """An instance without some joints; a box that was drawn around them, too, is left out with them.

    Some tools cut such a box off at the border of the image, whose width and height are `size` (2,).
    """
    joints = list(instance.joints)
    for joint in np.flatnonzero(mask).tolist():
        joints[joint] = NOT_LABELLED
    box = instance.box
    hull = _compute_hull(instance.joints)
    if box is not None and hull is not None and (_is_near(box, hull) or _is_near(box, _cut_box(hull, size))):
        box = None
    return replace(instance, joints=joints, box=box)


def _is_near(box: Sequence[float], other: Sequence[float]) -> bool:
    return bool(np.allclose(box, other, rtol=0, atol=SLACK))


def _cut_box(box: Sequence[float], size: Values) -> list[float]:
    """Return the part of a box that is in an image of this width and height (2,)."""
    x, y, width, height = box
    low = np.array([x, y]).clip(0, size)
    high = np.array([x + width, y + height]).clip(0, size)
    return [*low.tolist(), *(high - low).tolist()]


def _compute_hull(joints: Sequence[Joint]) -> list[float] | None:
    """Return x, y, width and height around the labelled joints; None if one side is nothing."""
    # In single precision, as in the records: a box that vanishes there cannot be cropped.
    points = np.array([(x, y) for x, y, visible in joints if visible], dtype=np.float32)
    low = points.min(axis=0)
    sides = points.max(axis=0) - low
    if sides.min() <= 0:
        return None
    return [*low.tolist(), *sides.tolist()]
