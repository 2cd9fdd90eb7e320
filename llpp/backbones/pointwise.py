"""1×1 convolutions that add their bias on a GPU without another pass over the map."""

import torch
from torch import Tensor, nn

HALF_TYPES = (torch.bfloat16, torch.float16)


class PointwiseConv(nn.Conv2d):
    """A 1×1 convolution of stride 1, on GPUs computed as a product of matrices where it has a bias.

    cuDNN's convolution leaves the bias to a second kernel, which reads and writes the whole map again, at a third of
    the copy rate: on an H200 a fifth of the time of scoring (benchmarks/RESULTS.md). A product adds the bias while it
    writes. On CPUs a convolution does that, too; and float32 products would lack the faster TF32 of convolutions.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, outputs, h, w)."""
        if self.bias is None or not x.is_cuda or x.dtype not in HALF_TYPES:
            return super().forward(x)
        # In another layout, the cells would have to be copied into rows first.
        if not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        return multiply_pointwise(x, self.weight, self.bias)


def multiply_pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The 1×1 convolution of `x` (B, I, h, w) by `weight` (O, I, 1, 1) and `bias` (O,), as a product of matrices.

    Returns:
        (B, O, h, w) in channels_last, the layout in which cells are rows of a matrix and nothing is copied.
    """
    batch, _, height, width = x.shape
    outputs = weight.shape[0]
    cells = x.permute(0, 2, 3, 1).flatten(0, 2)
    # By way of channels_last, which a module's weights have: so the gradient comes in their layout.
    matrix = weight.permute(0, 2, 3, 1).flatten(1)
    product = nn.functional.linear(cells, matrix, bias)
    return product.view(batch, height, width, outputs).permute(0, 3, 1, 2)
