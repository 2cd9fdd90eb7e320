"""Several passes over the same images in which the network drops units (Gal & Ghahramani, ICML 2016)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from llpp.backbones.base import Backbone
from llpp.backbones.dropout import WORD, dropping_units
from llpp.seeds import Stream, make_rng
from llpp.types import Output


@dataclass(frozen=True)
class DropoutPasses:
    """How many passes there are, and the run's seed, of which the dropped units are a function."""

    count: int = 0
    seed: int = 0

    def run(self, backbone: Backbone, image: Tensor, rows: Tensor, round_number: int) -> Iterator[Output]:
        """Yield the output of each pass over `image` (B, 3, H, W), which is in these rows (B,) of the dataset.

        What an image loses in a pass is a function of seed, round, pass and row.
        """
        for number in range(self.count):
            key = int(make_rng(Stream.DROP, self.seed, round_number, number).integers(WORD))
            # Compiled code would not notice that its layers drop units now.
            with torch.compiler.set_stance("force_eager"), dropping_units(backbone, rows, key):
                output: Output = backbone(image)
            yield output


NO_PASSES = DropoutPasses()
