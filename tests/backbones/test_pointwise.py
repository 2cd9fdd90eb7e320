"""1×1 convolutions as products of matrices: the same values and gradients, in the same layouts."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from llpp.backbones.hourglass import Hourglass
from llpp.backbones.pointwise import PointwiseConv, multiply_pointwise


class Operations(TorchDispatchMode):
    """Notes the operations that run, and the type of numbers that each gives."""

    def __init__(self):
        super().__init__()
        self.ran = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        number_type = result.dtype if isinstance(result, torch.Tensor) else None
        self.ran.append((operation.overloadpacket, number_type))
        return result

    def types_of(self, operation):
        return [number_type for name, number_type in self.ran if name is operation]


def maps(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(memory_format=torch.channels_last)


def test_a_product_of_matrices_is_the_convolution_and_has_its_gradients():
    layer = PointwiseConv(3, 5).double().to(memory_format=torch.channels_last)
    x = maps(2, 3, 4, 6).requires_grad_()
    direction = maps(2, 5, 4, 6)
    wanted = (x, layer.weight, layer.bias)

    expected = layer(x)
    expected_gradients = torch.autograd.grad(expected, wanted, direction)
    found = multiply_pointwise(x, layer.weight, layer.bias)
    gradients = torch.autograd.grad(found, wanted, direction)

    torch.testing.assert_close(found, expected)
    assert found.stride() == expected.stride()
    for gradient, expected_gradient, value in zip(gradients, expected_gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)
        assert gradient.stride() == value.stride()


def test_an_empty_batch_stays_one():
    layer = PointwiseConv(3, 5)
    assert multiply_pointwise(torch.empty(0, 3, 4, 6), layer.weight, layer.bias).shape == (0, 5, 4, 6)


def test_a_product_of_matrices_copies_no_map():
    layer = PointwiseConv(3, 5).double().to(memory_format=torch.channels_last)
    with torch.no_grad(), Operations() as operations:
        multiply_pointwise(maps(2, 3, 4, 6), layer.weight, layer.bias)
    names = {name for name, _ in operations.ran}
    assert torch.ops.aten.clone not in names and torch.ops.aten.copy_ not in names


def on_gpu(module):
    """Give a module weights that are on a GPU in name only: nothing is computed there, but operations are chosen."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            fake = torch.empty_strided(value.shape, value.stride(), device="cuda")
            setattr(part, name, torch.nn.Parameter(fake, requires_grad=False))
        for name, value in part.named_buffers(recurse=False):
            part.register_buffer(name, torch.empty(value.shape, dtype=value.dtype, device="cuda"))
    return module


def run_on_gpu(module, *shape):
    """The operations of a module under autocast to bf16 on a GPU, as far as a machine without one can see them."""
    module = module.to(memory_format=torch.channels_last).eval()
    with FakeTensorMode(), torch.no_grad():
        fake_module = on_gpu(module)
        x = torch.empty(shape, device="cuda", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            with Operations() as operations:
                fake_module(x)
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()
    return operations


def test_on_a_gpu_a_bias_is_added_by_the_product_and_without_one_it_stays_a_convolution():
    with_bias = run_on_gpu(PointwiseConv(8, 4), 2, 8, 6, 6)
    assert with_bias.types_of(torch.ops.aten.addmm) == [torch.bfloat16]
    assert not with_bias.types_of(torch.ops.aten.convolution)
    without = run_on_gpu(PointwiseConv(8, 4, bias=False), 2, 8, 6, 6)
    assert without.types_of(torch.ops.aten.convolution) == [torch.bfloat16]


def test_on_a_gpu_maps_are_enlarged_in_the_precision_of_the_network():
    """Autocast would have them in float32, which doubles the bytes of this map and of the sum."""
    operations = run_on_gpu(Hourglass(2, 8, bias=False), 2, 8, 8, 8)
    assert operations.types_of(torch.ops.aten.upsample_nearest2d) == [torch.bfloat16, torch.bfloat16]
