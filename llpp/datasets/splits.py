"""Draw splits for images that were published without any, or without some of them."""

import hashlib
from collections.abc import Iterable, Mapping

from llpp.errors import ConfigError, expect


def draw_splits(
    images: Iterable[str], wanted: Mapping[str, float | None], train: int | None, seed: int
) -> dict[str, str]:
    """Return the split of each image: fill the `wanted` ones (val, test) first, then train.

    Images are ordered by a hash of their name and the seed. The order in which they are listed does not matter, and
    most images stay in their split when others are added or removed.

    Args:
        images: names; repeated ones count once.
        wanted: share (below 1) or number of images, by split; 0 for none.
        train: largest number of training images; images beyond it are not in the result.
        seed: another seed gives other splits.

    Raises:
        ConfigError: a number is invalid, or no image remains for training.
    """
    is_valid = train is None or (type(train) is int and train >= 1)
    expect(is_valid, "dataset.train", train, "null, or 1 or more")
    order = order_by_hash(set(images), seed)
    counts = {split: _resolve_count(split, number, len(order)) for split, number in wanted.items()}
    remaining = len(order) - sum(counts.values())
    if order and remaining < 1:
        settings = ", ".join(f"dataset.{split}={number}" for split, number in wanted.items())
        raise ConfigError(f"{settings} leave no image to train on, of {len(order)} labelled ones; lower them")
    counts["train"] = remaining
    if train is not None:
        counts["train"] = min(train, remaining)

    splits: list[str] = []
    for split, count in counts.items():
        splits += [split] * count
    # `splits` is shorter than `order` where `train` limits the training images.
    return dict(zip(order, splits, strict=False))


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
        f"dataset.{split}={wanted!r} is invalid; expected a share above 0 and below 1, or a number of images"
    )
