"""Joint training of a pose network and its loss head, under Lightning."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from llpp.backbones.base import Backbone
from llpp.codec import HeatmapCodec
from llpp.errors import TrainingError, expect
from llpp.heads.base import LossHead
from llpp.losses import PoseLoss
from llpp.metrics import PCK, image_pck, joint_correct
from llpp.objectives.base import Objective
from llpp.transforms import resample
from llpp.types import Batch

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


@dataclass(frozen=True)
class Policy:
    """How the head is trained beside the backbone."""

    head_weight: float = 1.0  # of the objective, beside the pose loss
    detach_from_epoch: int | None = None  # None: joint throughout; 0: never; n: the head's gradient stops there

    def __post_init__(self) -> None:
        expect(self.head_weight >= 0, "head_weight", self.head_weight, "0 or more")
        start = self.detach_from_epoch
        expect(start is None or start >= 0, "detach_from_epoch", start, "null or an epoch, 0 or more")


class Judgement(TypedDict):
    """What evaluation finds out about a batch; all on the device."""

    row: Tensor  # (B,)
    predicted_loss: Tensor  # (B,)
    true_loss: Tensor  # (B,) NaN where no joint can be compared
    embedding: Tensor  # (B, C) penultimate map, mean over cells
    joints: Tensor  # (B, K, 2) predicted, crop pixels
    pck: Tensor  # (B,) NaN where no joint counts


class LearningLossModule(pl.LightningModule):
    """backbone × head × objective × pose loss; composed, never subclassed.

    Its checkpoints hold weights only, no hyperparameters: the config lives in the run directory.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: LossHead,
        objective: Objective,
        pose_loss: PoseLoss,
        codec: HeatmapCodec,
        pck: PCK,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        policy: Policy,
        crop_size: int,
        round_number: int,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        # images arrive as (H, W, 3): in this layout they need no copy, and convolutions are faster on CPU and GPU
        self.to(memory_format=torch.channels_last)
        self.objective = objective
        self.pose_loss, self.codec, self.policy = pose_loss, codec, policy
        self.val_pck = pck
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.crop_size, self.round_number = crop_size, round_number

    def image(self, batch: Batch) -> Tensor:
        """Pixels of a batch as the backbone wants them: (B, 3, H, W) float32 in -1 … 1."""
        if "warp" in batch:
            pixels = resample(batch["image"], batch["warp"], self.crop_size)
        else:
            pixels = batch["image"].permute(0, 3, 1, 2).float()
        return pixels / 127.5 - 1.0

    def pose_losses(self, heatmaps: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Raw heatmaps (B, S, K, h, w) → (B,) pose losses, (B, K) bool joints that have a target."""
        shape = (heatmaps.shape[-2], heatmaps.shape[-1])
        drawn = self.codec.drawn(batch["joints"], batch["visible"], shape)
        target = self.codec.encode(batch["joints"], batch["visible"], shape)
        return self.pose_loss(heatmaps, target, drawn), drawn

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Pose loss + head_weight × objective; the head's targets are the detached pose losses."""
        output = self.backbone(self.image(batch))
        start = self.policy.detach_from_epoch
        detached = start is not None and self.current_epoch >= start
        predicted = self.head(output.features.detach() if detached else output.features)
        per_image, _ = self.pose_losses(output.heatmaps, batch)
        pose_loss = per_image.mean()
        objective = self.objective(predicted, per_image.detach())
        loss: Tensor = pose_loss + self.policy.head_weight * objective
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {float(loss.detach())} in round {self.round_number}, epoch {self.current_epoch}, "
                f"batch {batch_index} (pose loss {float(pose_loss.detach()):.4g}, objective "
                f"{float(objective.detach()):.4g}); "
                "lower optimizer.lr or set trainer.gradient_clip_val, and start the same command again"
            )
        values = {"train/pose_loss": pose_loss, "train/objective": objective, "round": float(self.round_number)}
        self.log_dict(values, batch_size=len(per_image), prog_bar=False)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log `val/pck` and `val/pose_loss`."""
        output = self.backbone(self.image(batch))
        per_image, _ = self.pose_losses(output.heatmaps, batch)
        joints, _ = self.codec.decode(self.pose_loss.heatmaps(output.heatmaps[:, -1]))
        self.val_pck.update(joints, batch["joints"], batch["visible"], batch["normaliser"])
        self.log("val/pose_loss", per_image.mean(), batch_size=len(per_image))

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's PCK."""
        self.log("val/pck", self.val_pck.compute()["mean"].float(), prog_bar=True)
        self.val_pck.reset()

    def predict_step(self, batch: Batch, batch_index: int) -> Judgement:
        """Judge a batch: predicted and true losses, predicted joints, PCK per image."""
        output = self.backbone(self.image(batch))
        per_image, drawn = self.pose_losses(output.heatmaps, batch)
        joints, _ = self.codec.decode(self.pose_loss.heatmaps(output.heatmaps[:, -1]))
        correct, counted = joint_correct(
            joints, batch["joints"], batch["visible"], batch["normaliser"], self.val_pck.threshold
        )
        return Judgement(
            row=batch["row"],
            predicted_loss=self.head(output.features).float(),
            true_loss=per_image.float().where(drawn.any(dim=1), torch.nan),
            embedding=output.features.penultimate.float().mean(dim=(2, 3)),
            joints=joints,
            pck=image_pck(correct, counted),
        )

    def configure_optimizers(self) -> Any:
        """One optimiser over backbone and head; the schedule, if any, advances with every step."""
        optimizer = self.optimizer_factory(self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler_factory(optimizer, steps), "interval": "step"},
        }
