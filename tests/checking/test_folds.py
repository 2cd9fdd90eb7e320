"""Who trains on what when labels are checked."""

import numpy as np
import pytest

from llpp.checking.folds import divide_into_folds
from llpp.errors import ConfigError


def test_images_of_a_film_are_in_one_fold_and_folds_are_equally_large():
    groups = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d", "e"]
    folds = divide_into_folds(groups, 2, seed=3)
    assert np.bincount(folds).tolist() == [6, 6]
    for group in set(groups):
        assert len({fold for fold, name in zip(folds.tolist(), groups, strict=True) if name == group}) == 1


def test_folds_do_not_depend_on_the_order_of_images():
    groups = np.array([f"film{number % 7}" for number in range(40)])
    order = np.random.default_rng(1).permutation(40)
    folds = divide_into_folds(groups.tolist(), 3, seed=0)
    assert divide_into_folds(groups[order].tolist(), 3, seed=0).tolist() == folds[order].tolist()
    assert divide_into_folds(groups.tolist(), 3, seed=1).tolist() != folds.tolist()


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(ConfigError, match="the labelled images are of 1 groups"):
        divide_into_folds(["a", "a", "a"], 2, seed=0)
