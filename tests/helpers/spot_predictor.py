"""A predictor without a network: it finds red and green spots, and is surer the brighter these are."""

import numpy as np

from llpp.prediction.predictor import CalibrationImages, CropPredictions, ModelFacts

CROP = 64
JOINTS = ("red", "green")


def make_facts(**changed):
    values = {
        "joints": JOINTS,
        "edges": ((0, 1),),
        "flip_pairs": (),
        "crop_size": CROP,
        "padding": 1.0,
        "metric": "PCK@0.2 (torso)",
        "upright": True,
        "white": 65535,
        "background": (0, 0, 0),
        "calibration": None,
        "no_calibration": "it has no test image",
        "name": "spots",
        "round": 3,
        "run_digest": "d" * 64,
        "version": "0.1.0",
    }
    return ModelFacts(**values | changed)


def make_calibration(count=100, failures=0):
    """Images of predicted loss 0 … 1, of which the last `failures` fail."""
    loss = np.linspace(0, 1, count, dtype=np.float32)
    quality = np.where(np.arange(count) < count - failures, 0.9, 0.1).astype(np.float32)
    return CalibrationImages(loss, quality, np.array([f"image{n}" for n in range(count)]))


class SpotPredictor:
    """Joints are the centres of the red and the green pixels; the predicted loss is 1 less the red's value."""

    def __init__(self, **facts):
        self.facts = make_facts(**facts)
        self.seen = 0  # crops

    def predict(self, crops):
        self.seen += len(crops)
        count = len(crops)
        joints = np.zeros((count, 2, 2), dtype=np.float32)
        height = np.zeros((count, 2), dtype=np.float32)
        ys, xs = np.mgrid[:CROP, :CROP]
        for row, crop in enumerate(crops.astype(np.float64)):
            for channel in range(2):
                weight = np.maximum(crop[..., channel] - 40, 0)
                height[row, channel] = crop[..., channel].max() / 255
                if weight.any():
                    joints[row, channel] = (weight * xs).sum() / weight.sum(), (weight * ys).sum() / weight.sum()
        losses = 1 - height[:, 0]
        return CropPredictions(joints, height, losses, self.score_failures(losses, height))

    def score_failures(self, losses, height):
        """By the head alone."""
        return losses


def draw_spots(red, green, size=(96, 64), brightness=255):
    """An image (H, W, 3) RGB, black but for two spots of 5 × 5 pixels around points (x, y)."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for channel, (x, y) in enumerate((red, green)):
        pixels[y - 2 : y + 3, x - 2 : x + 3, channel] = brightness
    return pixels
