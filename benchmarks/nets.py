"""The network under measurement as conf describes it, its plain counterpart, and random data for both."""

import argparse
import copy
import logging
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, cast

import hydra
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Timing, time_variants
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import Records
from llpp.datasets.pose import PoseDataset, Skeleton
from llpp.ids import Ids
from llpp.settings import LoaderSettings
from llpp.training.module import LearningLossModule
from llpp.types import Batch

JOINTS = 16
METHOD = ("head=multiscale_conv", "objective=kl", "pose_loss=mse", "optimizer=adam")
PLAIN = "plain loop, eager fp32 NCHW"


class NoiseDataset(PoseDataset):
    """Random pixels made anew whenever they are asked for: nothing is kept but the records."""

    name = "noise"
    skeleton = Skeleton(tuple(f"joint_{k}" for k in range(JOINTS)), (), (), ((0, 1),))

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        ids = Ids(f"noise/{row}" for row in range(count))
        joints = np.random.default_rng(0).uniform(0, size - 1, (count, JOINTS, 2)).astype(np.float32)
        self.records = Records(
            ids=ids,
            images=ids,
            split=np.full(count, "train"),
            joints=joints,
            visible=np.full((count, JOINTS), 2, dtype=np.uint8),
            boxes=np.full((count, 4), np.nan, dtype=np.float32),
            box_source="image",
            initial=np.ones(count, dtype=np.bool_),
        )

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `PoseDataset.load`."""
        return np.random.default_rng(row).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)


def make_module(*overrides: str, size: int) -> LearningLossModule:
    """The module of a run with these overrides, for 16 joints."""
    silence_lightning()
    torch.manual_seed(0)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("run", overrides=[*overrides, f"crop.size={size}"])
    return build.module(cfg, NoiseDataset(1, size), 0, "joint")


@dataclass(frozen=True)
class Net:
    """A network under measurement, with LearningLoss++, and the batch that it is given."""

    name: str  # of its rows
    overrides: tuple[str, ...]
    size: int  # pixels
    batch: int  # images

    def make_module(self) -> LearningLossModule:
        """With the same weights at every call."""
        return make_module(*self.overrides, *METHOD, size=self.size)

    @cached_property
    def parameters(self) -> int:
        """With those of the head; the plain counterpart has the same."""
        return sum(parameter.numel() for parameter in self.make_module().parameters())

    @cached_property
    def gflop(self) -> float:
        """Of the pose network's convolutions, for one image forward; a training step takes three times as much."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.make_module().backbone.eval()(torch.zeros(1, 3, self.size, self.size))
        return float(counter.get_total_flops()) / 1e9


PUBLISHED = Net("", ("backbone=hourglass",), 256, 8)  # 2 stacks × 256 channels: that of the claims
SMALL = (
    Net("_32ch_64px", ("backbone=hourglass_small",), 64, 32),
    Net("_64ch_128px", ("backbone=hourglass_small", "backbone.channels=64"), 128, 16),
)


def make_published_module(size: int) -> LearningLossModule:
    """The module of `PUBLISHED`."""
    return make_module(*PUBLISHED.overrides, *METHOD, size=size)


def choose_nets(given: argparse.Namespace) -> tuple[Net, ...]:
    """Those to measure: all, or the published one as the command line wants it."""
    changed = replace(PUBLISHED, size=given.size, batch=given.batch)
    return (PUBLISHED, *SMALL) if changed == PUBLISHED else (changed,)


def make_noise_data(count: int, size: int, batch: int) -> PoolDataModule:
    """Noise behind a datamodule, loaded in the main process."""
    cropping = CropPipeline(PersonCrop(size, padding=1.0), Augmentation())
    return PoolDataModule(
        NoiseDataset(count, size),
        np.ones(count, np.float32),
        [0],
        [],
        cropping,
        LoaderSettings(eval_batch_size=batch),
        0,
        0,
    )


def make_batch(count: int, size: int) -> Batch:
    """One batch as the workers make it."""
    data = make_noise_data(count, size, count)
    return cast(Batch, next(iter(data.make_rows_loader(np.arange(count)))))


class PlainLoop:
    """The same layers with the same weights, driven as a short script would: float NCHW input, targets made before.

    It does less per step than llpp: no conversion of pixels, no encoding of targets, no check of the loss.
    """

    def __init__(self, ours: LearningLossModule, batch: Batch) -> None:
        self.net = nn.ModuleList([copy.deepcopy(ours.backbone), copy.deepcopy(cast(nn.Module, ours.head))])
        for parameter in self.net.parameters():
            parameter.data = parameter.data.contiguous()
        self.image = ours.prepare_images(batch).contiguous()
        side = self.image.shape[-1] // ours.backbone.heatmap_stride
        self.target = ours.codec.encode(batch["joints"], batch["visible"], (side, side))
        self.optimizer = torch.optim.RMSprop(self.net.parameters(), lr=2.5e-4)

    def step(self) -> float:
        """One training step: squared error of both stacks, and LearningLoss++ on pairs of halves."""
        backbone, head = self.net
        output = backbone(self.image)
        per_image = (output.heatmaps - self.target[:, None]).square().mean(dim=(1, 2, 3, 4))
        predicted = head(output.features)
        half = len(predicted) // 2
        true = per_image.detach()
        share = true[:half] / (true[:half] + true[half:])
        crossed = functional.binary_cross_entropy_with_logits(predicted[:half] - predicted[half:], share)
        entropy = -torch.xlogy(share, share) - torch.xlogy(1 - share, 1 - share)
        loss = per_image.mean() + crossed - entropy.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    @torch.inference_mode()
    def score(self) -> tuple[Tensor, Tensor]:
        """Predicted losses, and joints as the highest cells."""
        backbone, head = self.net.eval()
        output = backbone(self.image)
        cells = output.heatmaps[:, -1].flatten(2).argmax(dim=2)
        return head(output.features), cells


def measure_conv_limits(rounds: int) -> dict[str, tuple[float, Timing]]:
    """GFLOP/s of a 3×3 convolution of 128 channels on 8 × 64×64 cells, the fastest this machine's library does."""
    calls, flop = 10, 2 * 9 * 128 * 128 * 64 * 64 * 8
    inputs = torch.randn(8, 128, 64, 64).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3).to(memory_format=torch.channels_last)

    def run(dtype: torch.dtype) -> None:
        x, w = inputs.to(dtype), weight.to(dtype)
        with torch.inference_mode():
            for _ in range(calls):
                functional.conv2d(x, w, padding=1)

    variants = {"bf16": lambda: run(torch.bfloat16), "fp32": lambda: run(torch.float32)}
    times = time_variants(variants, rounds, warm_up=2)
    return {name: (calls * flop / timing.seconds / 1e9, timing) for name, timing in times.items()}


def silence_lightning() -> None:
    """Leave stdout and stderr to the results."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", message=r".*self\.trainer. reference is not registered.*")


def make_trainer(precision: Literal["32-true", "bf16-mixed"] = "32-true") -> pl.Trainer:
    """A Trainer that writes nothing."""
    return pl.Trainer(
        accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip


def make_optimizer(net: LearningLossModule) -> torch.optim.Optimizer:
    """As configured; the module belongs to no Trainer afterwards, so that its steps can be taken by hand."""
    net.trainer = make_trainer()
    found: torch.optim.Optimizer = net.configure_optimizers()
    net.trainer = None
    return found
