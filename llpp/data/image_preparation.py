"""Batches → pixels at the network's input size, on the device."""

from dataclasses import dataclass

from torch import Tensor

from llpp.data.crop_cache.device_cache import ResidentCrops
from llpp.data.device_resampling import resample
from llpp.data.sharpening import sharpen_batch
from llpp.types import Batch


@dataclass(frozen=True)
class ImagePreparation:
    """The last step of a crop: resampled on the device where the workers have not done it."""

    size: int  # side of the final crop, pixels
    resident: ResidentCrops | None = None  # all crops in the device's memory; batches then have no images

    def prepare(self, batch: Batch, training: bool) -> Tensor:
        """(B, 3, size, size) in 0 … 255, bytes or floats."""
        if "warp" not in batch:
            return batch["image"].permute(0, 3, 1, 2)
        images = batch["image"] if self.resident is None else self.resident.get_pixels(batch["row"])
        pixels = resample(images, batch["warp"], self.size)
        # Evaluation moves pixels onto pixels, which takes nothing away.
        return sharpen_batch(pixels, batch["warp"]) if training else pixels
