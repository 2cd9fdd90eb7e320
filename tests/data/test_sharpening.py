"""What a second resampling has blurred is put back, where there was one."""

import math

import cv2
import numpy as np
import pytest
import torch
from helpers.crops import Warp

from llpp.data.device_resampling import resample
from llpp.data.resampling import warp_image
from llpp.data.sharpening import sharpen, sharpen_batch

SIZE = 160
INNER = slice(40, 120)  # what lies inside the image under every warp of these tests
WARPS = [Warp(20.0), Warp(-35.0, 1.25, (0.01, 0.02)), Warp(80.0, 0.8, flip=True)]


def wave(turn, places):
    """A wave of `turn` (2,) radians per pixel at `places` (…, 2), from −100 to 100."""
    return 100 * np.cos(places @ np.array(turn))


def grid():
    """(SIZE, SIZE, 2) coordinates (x, y)."""
    return np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).astype(np.float64)


def moved(warp, turn):
    """Pixels of a wave that was moved, in float as the device has them, and what they should be."""
    matrix = warp.matrix(SIZE)
    back = np.linalg.inv(matrix)
    true = wave(turn, grid() @ back[:2, :2].T + back[:2, 2])
    image = np.repeat(np.round(128 + wave(turn, grid()))[..., None], 3, axis=2).astype(np.uint8)
    return image, matrix, true


def amplitude(pixels, true):
    """How much of the wave there is, 1 for all of it."""
    pixels, true = pixels[INNER, INNER] - 128.0, true[INNER, INNER]
    return float((pixels * true).sum() / (true * true).sum())


def on_device(image, matrix):
    images, matrices = torch.from_numpy(image)[None], torch.from_numpy(matrix.astype(np.float32))[None]
    blurred = resample(images, matrices, SIZE)
    return blurred, sharpen_batch(blurred, matrices)


@pytest.mark.parametrize("turn", [(0.9, 0.0), (0.5, 0.7)])
@pytest.mark.parametrize("warp", WARPS)
def test_a_wave_has_its_height_again(warp, turn):
    image, matrix, true = moved(warp, turn)
    loss = 1 - math.prod(1 - w * w / 12 for w in turn)
    worker = warp_image(image, matrix, SIZE)
    assert 1 - amplitude(worker[..., 0], true) == pytest.approx(loss, rel=0.15), "five to seven percent are gone"
    sharpen(worker, matrix)
    assert amplitude(worker[..., 0], true) == pytest.approx(1, abs=0.012)
    device = on_device(image, matrix)[1][0, 0].numpy()
    assert amplitude(device, true) == pytest.approx(1, abs=0.012)
    assert np.abs(device - worker[..., 0])[INNER, INNER].mean() < 1, "the worker rounds"


@pytest.mark.parametrize("warp", [Warp(), Warp(flip=True), Warp(shift=(0.1, -0.05)), Warp(shift=(0.1, 0), flip=True)])
def test_pixels_that_were_moved_onto_pixels_stay_as_they_are(warp):
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    matrix = warp.matrix(SIZE)
    expected = warp_image(image, matrix, SIZE)
    worker = expected.copy()
    sharpen(worker, matrix)
    assert np.array_equal(worker, expected)
    blurred, device = on_device(image, matrix)
    assert torch.equal(device, blurred.clamp(0, 255))


def test_each_image_of_a_batch_is_treated_by_its_own_matrix():
    images = torch.rand(3, 3, 8, 8) * 255
    matrices = torch.eye(3).repeat(3, 1, 1)
    matrices[1, 0, 2] = 0.5
    matrices[2] = torch.from_numpy(Warp(10.0, 1.2).matrix(8))
    found = sharpen_batch(images, matrices)
    assert torch.equal(found[0], images[0])
    for place, area in ((1, 1.0), (2, 1.44)):  # by a filter of OpenCV's
        kernel = np.array([-area / 12, 1 + area / 6, -area / 12])
        image = images[place].permute(1, 2, 0).numpy()
        expected = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE).clip(0, 255)
        assert found[place].permute(1, 2, 0).numpy() == pytest.approx(expected, abs=1e-3)
