"""Dividing labelled images into folds, each of which is judged by a network that trained on the others.

N images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llpp.errors import ConfigError


def divide_into_folds(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Assign each of N images to a fold, 0 to `folds` - 1; images of one group stay together: (N,).

    Groups are taken in a random order, the largest first, and each goes to the fold that has the fewest images, so
    that folds are about equally large. The same images get the same folds in whichever order they are given.

    Raises:
        ConfigError: fewer groups than folds.
    """
    names, numbers, sizes = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True, return_counts=True)
    if len(names) < folds:
        raise ConfigError(
            f"the labelled images are of {len(names)} groups (films, folders, persons), and {folds} folds need one "
            "each; use a smaller --folds, or --folds 0"
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled = np.zeros(folds, dtype=np.int64)
    fold_of_group = np.zeros(len(names), dtype=np.int64)
    for group in order.tolist():
        fold = int(filled.argmin())
        fold_of_group[group] = fold
        filled[fold] += sizes[group]
    return np.asarray(fold_of_group[numbers])
