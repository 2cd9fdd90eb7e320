"""Prepare networks for evaluation: fuse BatchNorms into the convolutions before them, and compile for scoring.

Fusing changes roundings only. Every rank does the same to the same weights, so their scores stay equal.
"""

import copy
import logging
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from llpp.backbones.base import Backbone, Chain
from llpp.backbones.pointwise import PointwiseConv
from llpp.distributed import collectives
from llpp.training.module import LearningLossModule
from llpp.types import Output

log = logging.getLogger(__name__)
MAX_MESSAGE_LENGTH = 200  # characters of a compiler's error message
FUSION_TOLERANCE = 1e-3  # of the largest output value, between a network and its fused copy


def fuse_batchnorm(backbone: Backbone, size: int, device_type: str = "cpu") -> Backbone:
    """Return a copy for evaluation in which BatchNorms are part of the convolutions that they follow.

    A BatchNorm is fused if it follows its convolution in an `nn.Sequential`; for evaluation on a GPU (`device_type`
    cuda) only into a `PointwiseConv`, or where the convolution has a bias already. Returns the backbone itself if a
    part of it has been compiled, or if its copy gives another output for an image of `size` × `size` pixels: then it
    does not call its layers in the order of the sequence.
    """
    # A copy of a compiled backbone would be compiled again.
    if is_compiled(backbone):
        return backbone
    fused = copy.deepcopy(backbone).eval()
    uses = Counter(id(module) for _, module in fused.named_modules(remove_duplicate=False))
    for module in list(fused.modules()):
        # Other subclasses of nn.Sequential may call their layers in another way.
        if not isinstance(module, nn.Sequential) or type(module) not in (nn.Sequential, Chain):
            continue
        # A module that is used in a second place must stay as it is.
        if uses[id(module)] == 1:
            _fuse_in_sequence(module, uses, device_type)
    if not _has_same_output(backbone, fused, size):
        log.warning("cannot fuse BatchNorm in this backbone; it is evaluated as it is, which takes longer")
        return backbone
    return fused


def _fuse_in_sequence(sequence: nn.Sequential, uses: Counter[int], device_type: str) -> None:
    """Fuse the convolutions of the sequence with the BatchNorm after each; `uses` counts modules by their id."""
    pairs = list(pairwise(sequence))
    for index, (conv, norm) in enumerate(pairs):
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, _BatchNorm) or not _can_fuse(conv, device_type):
            continue
        if uses[id(conv)] != 1 or uses[id(norm)] != 1 or _has_forward_hooks(conv) or _has_forward_hooks(norm):
            continue
        # Without running statistics, even an evaluation normalises by the batch's own.
        if norm.running_mean is None:
            continue
        sequence[index] = fuse_conv_bn_eval(conv, norm)
        sequence[index + 1] = nn.Identity()


def _can_fuse(conv: nn.Conv2d, device_type: str) -> bool:
    """Whether a convolution is of a class that computes as torch's does, and gains by a BatchNorm in its weights."""
    if type(conv) not in (nn.Conv2d, PointwiseConv):
        return False
    # A new bias is another pass over the map there, slower than BatchNorm's for batches of 128 images (H200,
    # benchmarks/RESULTS.md), except in a product of matrices.
    adds_a_pass = device_type == "cuda" and type(conv) is nn.Conv2d and conv.bias is None
    return not adds_a_pass


def _has_forward_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def is_compiled(backbone: Backbone) -> bool:
    """Return whether the backbone or a part of it has been given to torch.compile."""
    return any(module._compiled_call_impl is not None for module in backbone.modules())


class _ConvOutputCounter(TorchDispatchMode):
    """Counts the numbers that convolutions return while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.convolution:
            self.count += result.numel()
        return result


def conv_outputs_per_image(backbone: Backbone, size: int) -> int:
    """Count the numbers that the backbone's convolutions return for one image of `size` × `size` pixels."""
    with _ConvOutputCounter() as counter:
        _compute_output(backbone, size)
    count: int = counter.count
    return count


@torch.no_grad()
def _compute_output(backbone: Backbone, size: int) -> Tensor:
    """Return the raw output of an evaluation of one image, a ramp of grey values; the modules' modes are restored."""
    parameter = next(backbone.parameters())
    ramp = torch.linspace(-1, 1, 3 * size * size, device=parameter.device, dtype=parameter.dtype)
    image = ramp.reshape(1, 3, size, size)
    modes = [(module, module.training) for module in backbone.modules()]
    output: Tensor = backbone.eval()(image).raw
    for module, mode in modes:
        module.training = mode
    return output


def _has_same_output(backbone: Backbone, fused: Backbone, size: int) -> bool:
    expected = _compute_output(backbone, size)
    output = _compute_output(fused, size)
    tolerance = max(FUSION_TOLERANCE, 8 * torch.finfo(expected.dtype).eps)
    return bool((output - expected).abs().max() <= tolerance * expected.abs().max())


class CompiledBackbone(Backbone):
    """A backbone compiled for batches of one size with its weights as constants; a smaller batch is filled up.

    Later changes of the weights have no effect on it. See `compile_for_scoring`.
    """

    def __init__(self, backbone: Backbone, batch: int) -> None:
        super().__init__()
        self.feature_channels = backbone.feature_channels
        self.penultimate_channels = backbone.penultimate_channels
        self.heatmap_stride = backbone.heatmap_stride
        self.mean = backbone.mean
        self.std = backbone.std
        self.size_multiple = backbone.size_multiple
        self.backbone = backbone
        self.batch = batch
        self.run: Callable[[Tensor], Output] = torch.compile(backbone, dynamic=False)

    def forward(self, image: Tensor) -> Output:
        """See `Backbone.forward`."""
        count = len(image)
        missing = self.batch - count
        if missing == 0:
            return self.run(image.contiguous(memory_format=torch.channels_last))
        # Repeat the last image: another batch size would be compiled again.
        filling = image[-1:].expand(missing, *image.shape[1:])
        filled = torch.cat([image, filling])
        output = self.run(filled.contiguous(memory_format=torch.channels_last))
        return output.take_first(count)


def can_compile_for_scoring(module: LearningLossModule, trainer: pl.Trainer) -> bool:
    """Return whether the backbone runs on a CPU and has not been compiled yet."""
    if is_compiled(module.backbone) or isinstance(module.backbone, CompiledBackbone):
        return False
    return trainer.strategy.root_device.type == "cpu"


def compile_for_scoring(module: LearningLossModule, trainer: pl.Trainer, batch: int) -> None:
    """Compile the backbone for batches of `batch` images, on all ranks or on none.

    It takes half a minute, and less for the next round's network, whose kernels exist by then. Where it is not
    possible, most often because there is no C++ compiler, the backbone stays as it is.
    """
    problem = ""
    compiled = module.backbone
    # torch keeps eight compiled networks of one source, constants included, and compiles no ninth.
    torch.compiler.reset()
    try:
        compiled = CompiledBackbone(module.backbone, batch).eval()
        with (
            torch._inductor.config.patch(freezing=True),
            torch.inference_mode(),
            trainer.precision_plugin.forward_context(),
        ):
            # Compiling happens in the first call.
            compiled(torch.zeros(batch, 3, module.images.size, module.images.size))
    # A compiler can fail in any way, and scoring works without it.
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_MESSAGE_LENGTH]
    problems = [text for text in collectives.all_gather_objects(problem) if text]
    if problems:
        _warn_once(problems[0])
    else:
        module.backbone = compiled


@cache
def _warn_once(problem: str) -> None:
    log.warning("scoring is not compiled, which takes longer (%s); set scoring.compile_from=null", problem)
