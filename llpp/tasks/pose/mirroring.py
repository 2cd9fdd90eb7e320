"""Mirrored images: which joints change places in them, and whether that is known."""

from collections.abc import Sequence

from llpp.datasets.flip_pairs import format_flip_pairs
from llpp.datasets.joint_names import read_sides, suggest_pairs
from llpp.datasets.pose import Skeleton
from llpp.datasets.side_words import LEFT, RIGHT
from llpp.errors import ConfigError
from llpp.tasks.base import Listing

NO_PAIRS = "no left–right pairs are known: mirrored images keep every joint's name"
UNKNOWN_PARTNER = "?"


def check_mirroring(skeleton: Skeleton, flip: float, views: str) -> list[str]:
    """Return a remark if images are mirrored and no joint has a partner.

    Args:
        skeleton: of the dataset.
        flip: share of the training images that are mirrored.
        views: `scoring.views`; with any but `none`, predictions are averaged with those for the mirrored image.

    Raises:
        ConfigError: images are mirrored, and joints look like left or right ones without a partner.
    """
    reasons = []
    remedies = []
    if flip > 0:
        reasons.append(f"augmentation.flip={flip:g}")
        remedies.append("augmentation.flip=0")
    if views != "none":
        reasons.append(f"scoring.views={views}")
        remedies.append("scoring.views=none")
    if not reasons:
        return []
    if skeleton.unpaired:
        names = ", ".join(_name_all(skeleton, skeleton.unpaired))
        raise ConfigError(
            f"{' and '.join(reasons)}: in a mirrored image left and right change places, and the names of {names} "
            f"look like sides without exactly one partner; give all pairs, as in {_format_remedy(skeleton)}, set "
            f"dataset.flip_pairs=[] if none change places, or set {' and '.join(remedies)}"
        )
    if not skeleton.flip_pairs:
        return [f"{NO_PAIRS} ({' and '.join(reasons)}); if some should change places, set dataset.flip_pairs"]
    return []


def _format_remedy(skeleton: Skeleton) -> str:
    """Return the setting with the pairs that are known, those that are likely, and gaps for the others."""
    likely = suggest_pairs(skeleton.joints)
    pairs = [*skeleton.flip_pairs]
    paired = {position for pair in pairs for position in pair}
    for pair in likely:
        if not paired.intersection(pair):
            pairs.append(pair)
            paired.update(pair)
    named = [_name_left_first(skeleton, pair) for pair in pairs]
    gaps = [position for position in skeleton.unpaired if position not in paired]
    for position in gaps:
        named.append([skeleton.joints[position], UNKNOWN_PARTNER])
    explanation = f" (replace {UNKNOWN_PARTNER}, or leave its pair out)" if gaps else ""
    return format_flip_pairs(named) + explanation


def tabulate_sides(skeleton: Skeleton) -> Listing:
    """List the joints that change places in mirrored images, and what looks as if it should."""
    rows = [tuple(_name_left_first(skeleton, pair)) for pair in skeleton.flip_pairs]
    remarks = []
    if skeleton.unpaired:
        names = ", ".join(_name_all(skeleton, skeleton.unpaired))
        remarks.append(
            f"names that look like sides without exactly one partner: {names}; mirrored images need "
            "dataset.flip_pairs"
        )
    elif not rows:
        remarks.append(NO_PAIRS)
    if not rows:
        rows.append(("none", "none"))
    ignored = _find_ignored(skeleton)
    if ignored:
        names = ", ".join(_name_all(skeleton, ignored))
        remarks.append(f"names that look like sides, but are in no pair: {names}")
    return Listing("Left and right", ("left", "right"), rows, remarks)


def _find_ignored(skeleton: Skeleton) -> list[int]:
    """Return the joints with a side that the dataset, or the setting dataset.flip_pairs, gives no partner."""
    known = set(skeleton.unpaired).union(*skeleton.flip_pairs)
    found = read_sides(skeleton.joints)
    with_side = set(found.unpaired).union(*found.pairs)
    return sorted(with_side - known)


def _name_left_first(skeleton: Skeleton, pair: Sequence[int]) -> list[str]:
    """Return the names of a pair, the left one first if the names have sides."""
    sides = read_sides(skeleton.joints).sides
    first, second = pair
    if sides[first] == RIGHT or sides[second] == LEFT:
        first, second = second, first
    return _name_all(skeleton, (first, second))


def _name_all(skeleton: Skeleton, positions: Sequence[int]) -> list[str]:
    return [skeleton.joints[position] for position in positions]
