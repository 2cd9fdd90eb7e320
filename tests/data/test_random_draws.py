"""Augmentation is drawn for many images at once, and each gets what it would get alone."""

import math

import numpy as np
import pytest
import torch
from helpers.crops import AUGMENTED, crop_dataset, evaluate, figures, same, train
from helpers.host_waits import Waits
from helpers.run_dirs import pose_task

from llpp.data import resident_loader
from llpp.data.counter_random import compute_outputs, draw_uniform
from llpp.data.crop_cache.cache import CropCache
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.person_crop import PersonCrop
from llpp.data.portable_maths import compute_exponential, compute_sine_and_cosine
from llpp.hashing import hash_ids
from llpp.seeds import Stream, make_key
from llpp.settings import LoaderSettings

MASK = 2**64 - 1
COUNT = 50_000


def test_outputs_are_those_of_the_published_generator():
    """State 1234567, as Rosetta Code lists them for implementations of SplitMix64."""
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    outputs = compute_outputs(torch.tensor([1234567]), torch.arange(5))
    assert [value & MASK for value in outputs.tolist()] == published


def mix_in_numpy(words):
    """SplitMix64's mixing as its authors write it, on unsigned numbers."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def draw_in_numpy(key, hashes, epochs, count):
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = mix_in_numpy(mix_in_numpy(hashes.astype(np.uint64)) ^ np.uint64(key & MASK))
    states = mix_in_numpy(states + (epochs.astype(np.uint64) + np.uint64(1)) * golden)
    steps = np.arange(1, count + 1, dtype=np.uint64)[:, None]
    return (mix_in_numpy(states + steps * golden) >> np.uint64(11)).astype(np.float64) / 2**53


@pytest.mark.parametrize("key", [0, -1, 2**63 - 1, -(2**63), 123456789])
def test_signed_tensors_hold_the_bits_of_unsigned_arrays(key):
    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**63), 2**63, 1000)
    epochs = rng.integers(0, 1000, 1000)
    found = draw_uniform(key, torch.from_numpy(hashes), torch.from_numpy(epochs), 7)
    assert np.array_equal(found.numpy(), draw_in_numpy(key, hashes, epochs, 7))
    assert found.min() >= 0 and found.max() < 1


def draw(key=0, first=0, epoch=0):
    """The numbers of COUNT ids whose hashes follow each other, which is the hardest case: (5, COUNT)."""
    hashes = torch.arange(first, first + COUNT)
    return draw_uniform(key, hashes, torch.full_like(hashes, epoch), 5).numpy()


def test_each_number_is_uniform():
    """By Kolmogorov and Smirnov: sqrt(n) times the largest distance exceeds 2.7 once in a million times."""
    for values in (*draw(), *draw(key=1, epoch=99)):
        steps = np.arange(COUNT + 1) / COUNT
        values = np.sort(values)
        distance = max((steps[1:] - values).max(), (values - steps[:-1]).max())
        assert math.sqrt(COUNT) * distance < 2.7


NEIGHBOURS = {
    "ids": lambda: (draw(), draw(first=1)),
    "epochs": lambda: (draw(), draw(epoch=1)),
    "keys": lambda: (draw(), draw(key=1)),
    "id and key": lambda: (draw(), draw(key=1, first=1)),
    "numbers": lambda: (draw()[:-1], draw()[1:]),
    "rounds": lambda: (draw(make_key(Stream.SAMPLE, 0, 0)), draw(make_key(Stream.SAMPLE, 0, 1))),
    "seeds": lambda: (draw(make_key(Stream.SAMPLE, 0, 0)), draw(make_key(Stream.SAMPLE, 1, 0))),
}


@pytest.mark.parametrize("which", NEIGHBOURS)
def test_neighbours_have_nothing_in_common(which):
    """The cells of a 16 × 16 board are hit alike: chi-square with 255 degrees of freedom exceeds 377 once in a
    million times. A correlation is 0 within 5 standard deviations."""
    numbers, neighbours = NEIGHBOURS[which]()
    assert not np.isin(numbers[:1], neighbours[:1]).any() or which == "ids", "none is the number of another image"
    for one, other in zip(numbers, neighbours, strict=True):
        cells = (one * 16).astype(int) * 16 + (other * 16).astype(int)
        expected = COUNT / 256
        assert ((np.bincount(cells, minlength=256) - expected) ** 2 / expected).sum() < 377
        assert abs(np.corrcoef(one, other)[0, 1]) * math.sqrt(COUNT) < 5


def test_ids_are_hashed_to_64_bits_each():
    """BLAKE2b of 8 bytes, as `b2sum -l 64` prints it."""
    assert hash_ids(["a", "é"]).tolist() == [0x40F89E395B66422F, 0xCB1ABF8BEFF3192F - 2**64]


def test_sine_cosine_and_exponential_are_those_of_the_library():
    degrees = torch.linspace(-1000, 1000, 9999, dtype=torch.float64)
    sine, cosine = compute_sine_and_cosine(degrees)
    assert sine.numpy() == pytest.approx(np.sin(np.radians(degrees.numpy())), abs=1e-12)
    assert cosine.numpy() == pytest.approx(np.cos(np.radians(degrees.numpy())), abs=1e-12)
    values = torch.linspace(-5, 5, 999, dtype=torch.float64)
    assert compute_exponential(values).numpy() == pytest.approx(np.exp(values.numpy()), rel=1e-12)


@pytest.mark.parametrize("margin", [None, 1.5])
def test_a_batch_is_its_images_one_by_one_bit_by_bit(margin):
    crops = crop_dataset(figures(), CropPipeline(PersonCrop(16, margin=margin), AUGMENTED))
    keys = [train(row, epoch) for epoch in (0, 7) for row in range(9)] + [evaluate(4)]
    batch = crops.__getitems__(keys)
    for index, key in enumerate(keys):
        assert same(crops[key], {name: values[index] for name, values in batch.items()})


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    dataset = figures()
    made = CropCache(tmp_path_factory.mktemp("cached"), dataset, PersonCrop(16, 1.25, 1.5), "figures")
    made.open(made.prepare())
    return dataset, made


def make_data(cached, resident):
    dataset, made = cached
    pipeline = CropPipeline(PersonCrop(16, 1.25, 1.5), AUGMENTED, None, made, resident)
    return PoolDataModule(dataset, pose_task(dataset), range(9), [9, 10], pipeline, LoaderSettings(4, 2), 3, 1)


def list_batches(data):
    """Two epochs, the validation and other rows."""
    found = []
    training = data.train_dataloader()
    for epoch in (0, 5):
        training.sampler.set_epoch(epoch)
        found += list(training)
        assert len(training) == 2
    found += list(data.val_dataloader())
    return found + list(data.make_rows_loader(np.array([10, 2, 0])))


@pytest.mark.parametrize("at_once", [1, 4, 5, 1000])
def test_batches_of_resident_crops_are_those_of_the_workers_bit_by_bit(cached, monkeypatch, at_once):
    monkeypatch.setattr(resident_loader, "IMAGES_AT_ONCE", at_once)
    for resident, other in zip(
        list_batches(make_data(cached, True)), list_batches(make_data(cached, False)), strict=True
    ):
        assert "image" not in resident
        assert same(resident, {name: values for name, values in other.items() if name != "image"})


def test_of_resident_crops_the_device_gets_the_rows_and_is_asked_nothing(cached):
    data = make_data(cached, True)
    list_batches(data)  # what is sent once
    with Waits() as waits:
        batches = list_batches(data)
    passes = 4
    assert waits.found == {"aten.lift_fresh.default": passes} and len(batches) == 7
