"""The pool's parts, and that nothing is labelled that is not there to be labelled."""

import numpy as np
import pytest

from llpp.errors import StateError
from llpp.ids import Ids
from llpp.rounds.pool import Pool

IDS = Ids(["train/a", "test/b", "train/c", "train/d", "val/e", "train/f"])
TRAIN = np.array([0, 2, 3, 5])


def parts(pool):
    return list(pool.ids.take(pool.labelled)), list(pool.ids.take(pool.unlabelled))


def test_labelled_ids_keep_the_order_of_acquisition_and_the_others_that_of_the_dataset():
    pool = Pool.build(IDS, TRAIN, ["train/f", "train/a"])
    assert parts(pool) == (["train/f", "train/a"], ["train/c", "train/d"])
    assert parts(pool.label(["train/d"])) == (["train/f", "train/a", "train/d"], ["train/c"])
    assert parts(pool) == (["train/f", "train/a"], ["train/c", "train/d"]), "a pool does not change"


def test_labelling_nothing_or_everything_is_fine():
    pool = Pool.build(IDS, TRAIN, [])
    assert parts(pool.label([])) == ([], ["train/a", "train/c", "train/d", "train/f"])
    assert pool.label([IDS[row] for row in TRAIN[::-1]]).labelled.tolist() == [5, 3, 2, 0]


@pytest.mark.parametrize("stranger", ["train/z", "test/b", "train/f"], ids=["unknown", "tested", "labelled"])
def test_who_is_not_in_the_unlabelled_pool_is_refused_by_name(stranger):
    pool = Pool.build(IDS, TRAIN, ["train/f"])
    with pytest.raises(StateError, match=f"1 ids to label are not in the unlabelled pool, '{stranger}' among them"):
        pool.label(["train/a", stranger])


def test_repeats_are_refused_by_name():
    with pytest.raises(StateError, match="2 of 5 ids would be labelled twice, 'train/c' among them"):
        Pool.build(IDS, TRAIN, ["train/a", "train/c", "train/c", "train/d", "train/c"])
