"""How benchmarks build parts of llpp: configs, modules, trainers and data. No other script calls `llpp.config`."""

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import hydra
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.config.instantiate import make_task
from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.image_preparation import ImagePreparation
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import Records
from llpp.datasets.pose import PoseDataset, PoseLabels, Skeleton
from llpp.ids import Ids
from llpp.rounds.run import Run
from llpp.settings import LoaderSettings
from llpp.tasks.pose.losses import HeatmapMSE
from llpp.tasks.pose.task import PoseTask
from llpp.training.module import LearningLossModule, RoundPart
from llpp.types import Batch

JOINTS = 16
METHOD = ("head=multiscale_conv", "objective=kl", "pose_loss=mse", "optimizer=adam")  # LearningLoss++
QUIET = ("logger=none", "callbacks=none", "training.base_models=null")  # a run that shows and shares nothing
AUGMENTATION = Augmentation(rotation=20.0, scale=0.2, shift=0.05, flip=0.5)  # that of conf/run.yaml


def compose_config(*overrides: str) -> DictConfig:
    """Compose the config of a run with these overrides."""
    silence_lightning()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("run", overrides=list(overrides))


def make_run(*overrides: str, shown: Sequence[str] = QUIET) -> Run:
    """Build everything that a run needs; `shown` are the settings of what it logs and shares, nothing by default."""
    return build.build_run(compose_config("name=benchmark", *shown, *overrides))


def make_module(*overrides: str, size: int) -> LearningLossModule:
    """Build the module of a run for 16 joints; equal overrides give equal weights."""
    cfg = compose_config(*overrides, f"crop.size={size}")
    torch.manual_seed(0)
    dataset = NoiseDataset(1, size)
    task = make_task(cfg, dataset)
    return build.build_module(cfg, dataset, task, ImagePreparation(size), RoundPart(0))


def make_trainer(
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> pl.Trainer:
    """Build a Trainer for one epoch that writes nothing."""
    silence_lightning()
    return pl.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )


def silence_lightning() -> None:
    """Leave stdout and stderr to the results."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", message=r".*self\.trainer. reference is not registered.*")
    warnings.filterwarnings("ignore", message=r"You are trying to `self\.log\(\)`")


@dataclass(frozen=True)
class Net:
    """A network under measurement, with LearningLoss++, and the batch that it is given."""

    name: str  # of its rows
    overrides: tuple[str, ...]
    size: int  # pixels
    batch: int  # images

    def make_module(self) -> LearningLossModule:
        """Build it, with the same weights at every call."""
        return make_module(*self.overrides, *METHOD, size=self.size)

    def make_batch(self) -> Batch:
        """Draw the batch that it is given."""
        return make_batch(self.batch, self.size)

    def count_gflop(self) -> float:
        """Count the pose network's convolutions, one image forward; a training step takes three times as much."""
        image = torch.zeros(1, 3, self.size, self.size)
        backbone = self.make_module().backbone.eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            backbone(image)
        return float(counter.get_total_flops()) / 1e9


PUBLISHED = Net("", ("backbone=hourglass",), 256, 8)  # 2 stacks × 256 channels: that of the claims
SMALL = (
    Net("_32ch_64px", ("backbone=hourglass_small",), 64, 32),
    Net("_64ch_128px", ("backbone=hourglass_small", "backbone.channels=64"), 128, 16),
)


def count_parameters(module: torch.nn.Module) -> int:
    """Count the weights of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


class NoiseDataset(PoseDataset):
    """Random pixels, drawn again whenever they are asked for: only the records take memory."""

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
            labels=PoseLabels(self.skeleton, joints, np.full((count, JOINTS), 2, dtype=np.uint8)),
            boxes=np.full((count, 4), np.nan, dtype=np.float32),
            box_source="image",
            may_start=np.ones(count, dtype=np.bool_),
        )

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return np.random.default_rng(row).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)


def make_noise_data(count: int, size: int, loading: LoaderSettings, margin: float | None = None) -> PoolDataModule:
    """Put noise behind a datamodule, all of it labelled; with a margin the device resamples the crops."""
    pipeline = CropPipeline(PersonCrop(size, padding=1.0, margin=margin), AUGMENTATION)
    dataset = NoiseDataset(count, size)
    return PoolDataModule(dataset, make_pose_task(dataset), range(count), range(1), pipeline, loading, 0, 0)


def make_pose_task(dataset: PoseDataset) -> PoseTask:
    """Build the task of poses with the usual settings."""
    return PoseTask(dataset, HeatmapMSE(), pck={}, heatmap={"sigma": 1.0, "peak": 10.0})


def make_batch(count: int, size: int) -> Batch:
    """Make one batch of evaluation, as the workers make it."""
    data = make_noise_data(count, size, LoaderSettings(eval_batch_size=count))
    batch: Batch = next(iter(data.make_rows_loader(np.arange(count))))
    return batch


def make_training_step(
    module: LearningLossModule, batch: Batch, autocast: AbstractContextManager[object]
) -> Callable[[], Tensor]:
    """Return a training step in Lightning's order, with the optimiser that is configured; it returns the loss."""
    module.train()
    optimizer = module.optimizer_factory(module.parameters())

    def step() -> Tensor:
        with autocast:
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    return step


def make_autocast(device: str, bf16: bool) -> torch.autocast:
    """Return the context in which a forward pass runs in bf16, or in float32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=bf16)
