"""Networks made ready for evaluation: BatchNorms folded into the convolutions before them, and compiled.

Folding changes no function, only roundings. Every rank does the same to the same weights, so their scores stay equal.
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
from llpp.distributed import collectives
from llpp.training.module import LearningLossModule
from llpp.types import Output

log = logging.getLogger(__name__)
MAX_MESSAGE_LENGTH = 200  # characters of a compiler's complaint
FUSION_TOLERANCE = 1e-3  # of the largest heatmap value, between a network and its folded copy


def fuse_batchnorm(backbone: Backbone, size: int) -> Backbone:
    """A copy for evaluation, where a BatchNorm after a convolution in one `nn.Sequential` has become part of it.

    The backbone itself comes back if anything of it has been compiled, or if its copy finds other heatmaps in an
    image of `size` × `size` pixels: then it calls its layers in another way than the sequence says.
    """
    if is_compiled(backbone):  # a copy would have to be compiled anew
        return backbone
    own = copy.deepcopy(backbone).eval()
    uses = Counter(id(module) for _, module in own.named_modules(remove_duplicate=False))
    sequences = [module for module in own.modules() if isinstance(module, nn.Sequential)]
    for sequence in [module for module in sequences if type(module) in (nn.Sequential, Chain)]:
        for place, (conv, norm) in enumerate(pairwise(list(sequence))):
            once = uses[id(sequence)] == uses[id(conv)] == uses[id(norm)] == 1
            watched = any(module._forward_hooks or module._forward_pre_hooks for module in (conv, norm))
            if not once or watched or type(conv) is not nn.Conv2d or not isinstance(norm, _BatchNorm):
                continue
            if norm.running_mean is not None:  # without it, even an evaluation takes the batch's own statistics
                sequence[place], sequence[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return own if _has_same_heatmaps(backbone, own, size) else backbone


def is_compiled(backbone: Backbone) -> bool:
    """Whether it, or a part of it, has been given to torch.compile."""
    return any(module._compiled_call_impl is not None for module in backbone.modules())


class _ConvOutputCounter(TorchDispatchMode):
    """Counts what convolutions give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.convolution:
            self.found += given.numel()
        return given


def conv_outputs_per_image(backbone: Backbone, size: int) -> int:
    """Numbers that its convolutions give for one image of `size` × `size` pixels."""
    with _ConvOutputCounter() as counted:
        _predict_heatmaps(backbone, size)
    found: int = counted.found
    return found


@torch.no_grad()
def _predict_heatmaps(backbone: Backbone, size: int) -> Tensor:
    """What an evaluation finds in some image."""
    some = next(backbone.parameters())
    image = torch.linspace(-1, 1, 3 * size * size, device=some.device, dtype=some.dtype).reshape(1, 3, size, size)
    modes = [(module, module.training) for module in backbone.modules()]
    found: Tensor = backbone.eval()(image).raw
    for module, mode in modes:
        module.training = mode
    return found


def _has_same_heatmaps(backbone: Backbone, own: Backbone, size: int) -> bool:
    expected, found = _predict_heatmaps(backbone, size), _predict_heatmaps(own, size)
    tolerance = max(FUSION_TOLERANCE, 8 * torch.finfo(expected.dtype).eps)
    if bool((found - expected).abs().max() <= tolerance * expected.abs().max()):
        return True
    log.warning(
        "the backbone uses its layers in a way of its own; it is evaluated as it is, which takes a bit longer"
    )
    return False


class CompiledBackbone(Backbone):
    """A backbone compiled for batches of one size with its weights as constants; a smaller batch is filled up.

    Anything that happens to the weights afterwards is not seen. See `freeze`.
    """

    def __init__(self, backbone: Backbone, batch: int) -> None:
        super().__init__()
        self.feature_channels = backbone.feature_channels
        self.penultimate_channels = backbone.penultimate_channels
        self.heatmap_stride, self.size_multiple = backbone.heatmap_stride, backbone.size_multiple
        self.mean, self.std = backbone.mean, backbone.std
        self.backbone, self.batch = backbone, batch
        self.run: Callable[[Tensor], Output] = torch.compile(backbone, dynamic=False)

    def forward(self, image: Tensor) -> Output:
        """See `Backbone.forward`."""
        number = len(image)
        missing = self.batch - number
        filled = torch.cat([image, image[-1:].expand(missing, *image.shape[1:])]) if missing else image
        output = self.run(filled.contiguous(memory_format=torch.channels_last))
        return output.take_first(number) if missing else output


def can_compile_for_scoring(module: LearningLossModule, trainer: pl.Trainer) -> bool:
    """Whether it is a CPU's, and has not been compiled yet."""
    plain = not is_compiled(module.backbone) and not isinstance(module.backbone, CompiledBackbone)
    return plain and trainer.strategy.root_device.type == "cpu"


def compile_for_scoring(module: LearningLossModule, trainer: pl.Trainer, batch: int) -> None:
    """Compile the backbone for batches of `batch` images, on all ranks or on none.

    It takes half a minute, and less for the next round's network, whose kernels are there already. Where it is not
    possible, for want of a C++ compiler above all, the backbone stays as it is.
    """
    problem, frozen = "", module.backbone
    torch.compiler.reset()  # it keeps eight networks of one source, constants included, and compiles no ninth
    try:
        frozen = CompiledBackbone(module.backbone, batch).eval()
        with (
            torch._inductor.config.patch(freezing=True),
            torch.inference_mode(),
            trainer.precision_plugin.forward_context(),
        ):
            frozen(torch.zeros(batch, 3, module.images.size, module.images.size))
    except Exception as error:  # whatever a compiler may meet
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_MESSAGE_LENGTH]
    if problems := [found for found in collectives.all_gather_objects(problem) if found]:
        _warn_once(problems[0])
    else:
        module.backbone = frozen


@cache
def _warn_once(problem: str) -> None:
    log.warning("scoring is not compiled, which takes longer (%s); set performance.compile_from=null", problem)
