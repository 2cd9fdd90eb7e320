"""Draw splits for images that were published without any, or without some of them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from llpp.errors import ConfigError, expect


def draw_splits(
    images: Iterable[str],
    wanted: Mapping[str, float | None],
    train: int | None,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the split of each image: fill the `wanted` ones (val, test) first, then train.

    Images are ordered by a hash of their name and the seed. The order in which they are listed does not matter, and
    most images stay in their split when others are added or removed. With `groups`, these are ordered so, each comes
    into one split as a whole, and splits have about the number of images that is wanted.

    Args:
        images: names; repeated ones count once.
        wanted: share (below 1) or number of images, by split; 0 for none.
        train: largest number of training images; images beyond it are not in the result.
        seed: another seed gives other splits.
        groups: group of each image; None: each is on its own.

    Raises:
        ConfigError: a number is invalid, or no image or group remains for training.
    """
    is_valid = train is None or (type(train) is int and train >= 1)
    expect(is_valid, "dataset.train", train, "null, or 1 or more")
    order = order_by_hash(set(images), seed)
    counts = {split: _resolve_count(split, number, len(order)) for split, number in wanted.items()}
    remaining = len(order) - sum(counts.values())
    if order and remaining < 1:
        settings = ", ".join(f"dataset.{split}={number}" for split, number in wanted.items())
        raise ConfigError(f"{settings} leave no image to train on, of {len(order)} labelled ones; lower them")
    if groups is not None:
        return _draw_group_splits(order, counts, train, seed, groups)
    counts["train"] = remaining
    if train is not None:
        counts["train"] = min(train, remaining)

    splits: list[str] = []
    for split, count in counts.items():
        splits += [split] * count
    # `splits` is shorter than `order` where `train` limits the training images.
    return dict(zip(order, splits, strict=False))


def _draw_group_splits(
    images: Sequence[str], counts: Mapping[str, int], train: int | None, seed: int, groups: Mapping[str, str]
) -> dict[str, str]:
    """Return the split of each image, for about so many `counts` of images in whole groups; train gets the others."""
    members: dict[str, list[str]] = {}
    for image in images:
        members.setdefault(groups[image], []).append(image)
    remaining = order_by_hash(members, seed)
    filled = [split for split, count in counts.items() if count]
    if len(remaining) <= len(filled):
        names = ", ".join(repr(group) for group in remaining[:3])
        raise ConfigError(
            f"dataset.group makes {len(remaining)} groups of {len(images):,} images ({names}), too few for the "
            f"splits {', '.join([*filled, 'train'])}; choose a narrower group, give val or test files of their own, "
            "or do without one of them by dataset.val=0 or dataset.test=0"
        )
    result = {}
    for place, split in enumerate(filled):
        # At least one group stays for each split to come, train among them.
        most = len(remaining) - (len(filled) - place)
        chosen = _choose_groups(remaining, members, counts[split], most)
        remaining = [group for group in remaining if group not in chosen]
        for group in chosen:
            result.update(dict.fromkeys(members[group], split))
    others = [image for image in images if image not in result]
    result.update(dict.fromkeys(others[:train], "train"))
    return result


def _choose_groups(groups: Sequence[str], members: Mapping[str, Sequence[str]], count: int, most: int) -> set[str]:
    """Return one to `most` groups, with a number of images as near to `count` as taking them in order allows."""
    chosen: set[str] = set()
    total = 0
    for group in groups:
        size = len(members[group])
        if len(chosen) < most and total + size <= count:
            chosen.add(group)
            total += size
    others = [group for group in groups if group not in chosen]
    smallest = min(others, key=lambda group: len(members[group]))
    excess = total + len(members[smallest]) - count
    if not chosen or (len(chosen) < most and excess < count - total):
        chosen.add(smallest)
    return chosen


def order_by_hash(images: Iterable[str], seed: int) -> list[str]:
    """Sort names by a hash of the seed and the name: the place of a name does not depend on the others."""

    def compute_hash(image: str) -> bytes:
        return hashlib.blake2b(f"{seed}/{image}".encode()).digest()

    return sorted(images, key=compute_hash)


def _resolve_count(split: str, wanted: float | None, images: int) -> int:
    """Return the number of images that a share or a number asks for; at least 1 for a share."""
    if type(wanted) is float and wanted == 0:
        return 0
    if type(wanted) is int and wanted >= 0:
        return wanted
    if type(wanted) is float and 0 < wanted < 1:
        return max(1, round(wanted * images))
    raise ConfigError(
        f"dataset.{split}={wanted!r} is invalid; expected a share above 0 and below 1, or a number of images, 0 for "
        "none"
    )
