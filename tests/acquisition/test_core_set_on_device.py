"""The picks of a GPU are those of the plain greedy; its code runs on the CPU as well."""

import numpy as np
import pytest
import torch
from helpers.host_waits import Waits
from test_acquisition import k_centre

from llpp.acquisition import core_set_on_device
from llpp.acquisition.core_set_on_device import _pick_unchecked, find_gpu_with_room, k_centre_greedy_on_device
from llpp.acquisition.k_centre_on_host import k_centre_greedy

CPU = torch.device("cpu")


def clouds(count, dimensions, seed, offset=0.0):
    return (np.random.default_rng(seed).normal(size=(count, dimensions)) + offset).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 3000.0])
@pytest.mark.parametrize(("labelled", "block", "blind"), [(1, 8, 3), (40, 8, 64), (40, 4096, 7), (200, 64, 1)])
def test_picks_are_those_of_the_plain_greedy(monkeypatch, labelled, block, blind, offset):
    """A block of 8 has to be chosen anew all the time, one of 4096 never."""
    monkeypatch.setattr(core_set_on_device, "BLOCK", block)
    monkeypatch.setattr(core_set_on_device, "UNCHECKED_PICKS", blind)
    points, centres = clouds(300, 5, 0, offset), clouds(labelled, 5, 1, offset)
    picks = k_centre_greedy_on_device(CPU, points, centres, 120)
    assert picks == k_centre(points, centres, 120)


def test_picks_are_those_of_the_cpu_on_features_behind_a_relu(monkeypatch):
    monkeypatch.setattr(core_set_on_device, "BLOCK", 256)
    points, centres = np.maximum(clouds(5000, 64, 2), 0), np.maximum(clouds(300, 64, 3), 0)
    assert k_centre_greedy_on_device(CPU, points, centres, 300) == k_centre_greedy(points, centres, 300)


def test_small_pieces_give_the_same_picks(monkeypatch):
    points, centres = clouds(200, 6, 4), clouds(50, 6, 5)
    whole = k_centre_greedy_on_device(CPU, points, centres, 60)
    monkeypatch.setattr(core_set_on_device, "VALUES_AT_ONCE", 100)
    assert k_centre_greedy_on_device(CPU, points, centres, 60) == whole


def test_equals_go_to_the_earlier_point_wherever_the_block_ends(monkeypatch):
    """Forty points at distance 3 on both axes, four times each: more equals than fit into a block."""
    monkeypatch.setattr(core_set_on_device, "BLOCK", 3)
    points = np.tile(np.array([[3, 0], [0, 3], [-3, 0], [0, -3]], dtype=np.float32), (10, 1))
    centres = np.zeros((1, 2), np.float32)
    assert k_centre_greedy_on_device(CPU, points, centres, 40) == [0, 1, 2, 3, *range(4, 40)]


def test_without_labels_the_first_is_given():
    points = clouds(30, 3, 6)
    assert k_centre_greedy_on_device(CPU, points, None, 5, first=7) == [7, *k_centre(points, points[[7]], 4)]
    assert k_centre_greedy_on_device(CPU, points[:0], None, 5, first=0) == []


@pytest.mark.parametrize("which", ["candidate", "labelled"])
def test_what_is_not_finite_is_counted(which):
    points, centres = clouds(5, 3, 7), clouds(4, 3, 8)
    (points if which == "candidate" else centres)[2, 1] = np.nan
    with pytest.raises(
        ValueError, match=f"1 of {5 if which == 'candidate' else 4} {which} embeddings are not finite"
    ):
        k_centre_greedy_on_device(CPU, points, centres, 2)


def test_the_host_sees_no_pick_before_all_of_them_are_made():
    block = torch.from_numpy(clouds(50, 4, 9)).double()
    with Waits() as waits:
        _pick_unchecked(block, torch.full((50,), torch.inf), 20)
    assert waits.found == {}


def test_a_job_without_a_gpu_selects_on_the_cpu():
    if torch.cuda.is_initialized():
        pytest.skip("this process works with a GPU")
    assert find_gpu_with_room(clouds(5, 3, 0), None) is None
