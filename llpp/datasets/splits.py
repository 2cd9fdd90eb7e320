"""Splits of images that were published without any, or with too few."""

import hashlib
from collections.abc import Iterable, Mapping

from llpp.errors import ConfigError, expect


def draw_splits(
    images: Iterable[str], wanted: Mapping[str, float | None], train: int | None, seed: int
) -> dict[str, str]:
    """The split of each image: the `wanted` ones (val, test) first, the others to train.

    Images are ordered by a hash of their name and the seed: neither their order nor what becomes of others matters,
    so that a data set which grows keeps most images in their splits.

    Args:
        images: names; repeated ones count once.
        wanted: share (below 1) or number of images, by split.
        train: keep at most so many of the others; what is left over is not in the result.
        seed: another seed gives other splits.

    Raises:
        ConfigError: a number that does not fit, or nothing left to train on.
    """
    expect(train is None or (type(train) is int and train >= 1), "dataset.train", train, "null, or 1 or more")
    order = sorted(set(images), key=lambda image: hashlib.blake2b(f"{seed}/{image}".encode()).digest())
    counts = {split: _resolve_count(split, number, len(order)) for split, number in wanted.items()}
    left = len(order) - sum(counts.values())
    if order and left < 1:
        raise ConfigError(
            f"dataset.{', dataset.'.join(f'{s}={n}' for s, n in wanted.items())} leave no image to train on, of "
            f"{len(order)} with labelled joints; lower them"
        )
    counts["train"] = left if train is None else min(train, left)
    splits = [split for split, count in counts.items() for _ in range(count)]
    return dict(zip(order, splits, strict=False))


def _resolve_count(split: str, wanted: float | None, images: int) -> int:
    if type(wanted) is int and wanted >= 1:
        return wanted
    if type(wanted) is float and 0 < wanted < 1:
        return max(1, round(wanted * images))
    raise ConfigError(f"dataset.{split}={wanted!r} is invalid; expected a share below 1, or a number of images")
