"""Joint training of a pose network and its loss head, under Lightning."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypedDict, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from llpp.backbones.base import Backbone
from llpp.data.crop_cache.device_cache import ResidentCrops
from llpp.data.resampling import resample
from llpp.data.sharpening import sharpen_batch
from llpp.distributed import collectives
from llpp.errors import TrainingError
from llpp.heads.base import LossHead, average_pool
from llpp.objectives.base import Objective
from llpp.settings import HeadTraining
from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.tasks.pose.losses import PoseLoss
from llpp.tasks.pose.pck import PCK
from llpp.training.compilation import EAGER, Compilation
from llpp.training.divergence import NonFiniteLossMonitor, check_weights
from llpp.training.known_mean import MaskedMean
from llpp.types import Batch

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]  # takes parameters, or groups of them
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]  # optimiser, steps of the round
Phase = Literal["joint", "pose", "head"]  # all together; the pose network alone; the head on a frozen pose network


class ImageScores(TypedDict):
    """What evaluation finds out about a batch; all on the device."""

    row: Tensor  # (B,)
    predicted_loss: Tensor  # (B,)
    true_loss: Tensor  # (B,) NaN where no joint can be compared
    embedding: Tensor  # (B, C) penultimate map, mean over cells
    joints: Tensor  # (B, K, 2) predicted, crop pixels
    pck: Tensor  # (B,) NaN where no joint counts


class LearningLossModule(pl.LightningModule):
    """backbone × head × objective × pose loss; composed, never subclassed.

    Its checkpoints hold weights only, no hyperparameters: the config lives in the run directory. In the phase
    `pose` it has no head. `flip_order`, where given, asks for joints from heatmaps that are averaged with those of
    the mirrored image; losses are those of the image itself.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: LossHead | None,
        objective: Objective,
        pose_loss: PoseLoss,
        codec: HeatmapCodec,
        pck: PCK,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        policy: HeadTraining,
        crop_size: int,
        round_number: int,
        phase: Phase = "joint",
        flip_order: Sequence[int] | None = None,
        compilation: Compilation = EAGER,
        resident: ResidentCrops | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # pools may be tiny
        self.backbone, self.head, self.phase = backbone, head, phase
        # images arrive as (H, W, 3): in this layout they need no copy, and convolutions are faster on CPU and GPU
        self.to(memory_format=torch.channels_last)
        self.objective = objective
        self.pose_loss, self.codec, self.policy, self.compilation = pose_loss, codec, policy, compilation
        self.val_pck, self.val_loss = pck, MaskedMean()
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.crop_size, self.round_number = crop_size, round_number
        self.watch = NonFiniteLossMonitor(round_number)
        self.resident = resident  # not a part of the module: neither saved nor moved with it
        self.flip_order = None if flip_order is None else list(flip_order)
        if phase == "head":
            self.backbone.requires_grad_(False)

    def prepare_images(self, batch: Batch) -> Tensor:
        """Pixels of a batch as the backbone wants them: (B, 3, H, W) float32 in -1 … 1."""
        if "warp" in batch:
            images = self.resident.get_pixels(batch["row"]) if self.resident else batch["image"]
            pixels = resample(images, batch["warp"], self.crop_size)
            if self.training:  # evaluation moves pixels onto pixels
                pixels = sharpen_batch(pixels, batch["warp"])
        else:
            pixels = batch["image"].permute(0, 3, 1, 2)
        return (pixels / 127.5).sub_(1.0)  # one pass that makes floats of bytes, one in place

    def compute_pose_losses(self, heatmaps: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Raw heatmaps (B, S, K, h, w) → (B,) pose losses, (B, K) bool joints that have a target."""
        shape = (heatmaps.shape[-2], heatmaps.shape[-1])
        drawn = self.codec.has_target(batch["joints"], batch["visible"], shape)
        target = self.codec.encode(batch["joints"], batch["visible"], shape)
        return self.pose_loss(heatmaps, target, drawn), drawn

    def decode_joints(self, heatmaps: Tensor, image: Tensor) -> Tensor:
        """Joints (B, K, 2) in crop pixels from raw heatmaps (B, S, K, h, w) of `image` (B, 3, H, W)."""
        maps = self.pose_loss.to_heatmaps(heatmaps[:, -1])
        if self.flip_order is not None:
            raw = self.compilation.evaluate(self.backbone, image.flip(-1)).heatmaps[:, -1]
            mirrored = self.pose_loss.to_heatmaps(raw).flip(-1)
            maps = (maps + torch.stack([mirrored[:, k] for k in self.flip_order], dim=1)) / 2
        return self.codec.decode(maps)[0]

    def on_train_start(self) -> None:
        """Losses are looked at as often as they are logged."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # the stub lacks it
        self.watch.every = every or self.watch.every

    def on_train_epoch_start(self) -> None:
        """A frozen pose network keeps its BatchNorm statistics too."""
        if self.phase == "head":
            self.backbone.eval()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Pose loss + head_weight × objective; the head's targets are the detached pose losses.

        It reads nothing from the device, so that the host can queue many steps ahead.
        """
        self.compilation.begin_step()
        with torch.set_grad_enabled(self.phase != "head"):
            output = self.backbone(self.prepare_images(batch))
            per_image, _ = self.compute_pose_losses(output.heatmaps, batch)
        pose_loss = per_image.mean()
        everyone = collectives.all_gather_batch(per_image) if collectives.get_world_size() > 1 else per_image.detach()
        values = {"train/pose_loss": everyone.mean()}
        loss = pose_loss if self.phase != "head" else torch.zeros_like(pose_loss)
        if self.head is not None:
            start = self.policy.detach_from_epoch
            detached = start is not None and self.current_epoch >= start
            predicted = self.head(output.features.detach() if detached else output.features)
            objective = self._compute_objective(predicted, per_image.detach(), everyone)
            values["train/objective"] = objective.detach()
            loss = loss + self.policy.head_weight * objective
        # a loss of another rank stops this one too
        self.watch.add(self.current_epoch, batch_index, loss.detach() + everyone.sum(), values)
        number = torch.full_like(values["train/pose_loss"], self.round_number)  # made on the device, not sent to it
        self.log_dict({**values, "round": number}, batch_size=len(per_image), prog_bar=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Before anything is saved."""
        self.watch.check()

    def _compute_objective(self, predicted: Tensor, own: Tensor, everyone: Tensor) -> Tensor:
        """The objective over (B,) predictions and losses of this rank, or over those of all ranks.

        Every rank works out the same value over all, but its gradient reaches the rank's own predictions alone, and
        DDP divides by the number of ranks: so it is multiplied by that before.
        """
        if collectives.get_world_size() == 1 or self.policy.pairs == "local":
            return cast(Tensor, self.objective(predicted, own))
        together = collectives.all_gather_batch(predicted)
        together[collectives.get_rank() :: collectives.get_world_size()] = predicted.to(together.dtype)
        value = self.objective(together, everyone)
        return cast(
            Tensor, collectives.get_world_size() * value - (collectives.get_world_size() - 1) * value.detach()
        )

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log `val/pck` and `val/pose_loss`."""
        self.compilation.begin_step()
        image = self.prepare_images(batch)
        output = self.compilation.evaluate(self.backbone, image)
        per_image, drawn = self.compute_pose_losses(output.heatmaps, batch)
        joints = self.decode_joints(output.heatmaps, image)
        self.val_pck.update(joints, batch["joints"], batch["visible"], batch["normaliser"])
        self.val_loss.update(per_image, drawn.any(dim=1))

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's PCK and pose loss, and let the latter lower the learning rate."""
        self.log("val/pck", self.val_pck.compute()["mean"].float(), prog_bar=True)
        self.log("val/pose_loss", loss := self.val_loss.compute().float())
        self.val_pck.reset()
        self.val_loss.reset()
        if self.plateau is not None:
            self.plateau.step(float(loss))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau's memory; Lightning would save it before the epoch's step, and not repeat that.

        Nothing that is not finite is kept.
        """
        self.watch.check()
        check_weights(checkpoint["state_dict"].values(), self.round_number, self.current_epoch)
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called before the optimisers are made."""
        self._plateau_state = checkpoint.get("plateau")

    def predict_step(self, batch: Batch, batch_index: int) -> ImageScores:
        """Judge a batch: predicted and true losses, predicted joints, PCK per image."""
        if self.head is None:
            raise TrainingError("a module without a head cannot judge images; train its head first")
        self.compilation.begin_step()
        image = self.prepare_images(batch)
        output = self.compilation.evaluate(self.backbone, image)
        per_image, drawn = self.compute_pose_losses(output.heatmaps, batch)
        joints = self.decode_joints(output.heatmaps, image)
        distance = self.val_pck.compute_distances(joints, batch["joints"], batch["visible"], batch["normaliser"])
        return ImageScores(
            row=batch["row"],
            predicted_loss=self.head(output.features).float(),
            true_loss=per_image.float().where(drawn.any(dim=1), torch.nan),
            embedding=average_pool(output.features.penultimate).float(),
            joints=joints,
            pck=self.val_pck.compute_per_image(distance),
        )

    def configure_optimizers(self) -> Any:
        """One optimiser with two groups, backbone and head.

        A schedule advances with every step, or with every validation if it watches for a plateau; the validation
        says nothing about a head on a frozen pose network.
        """
        parts = [self.backbone] if self.head is None else [self.backbone, self.head]
        optimizer = self.optimizer_factory([{"params": list(part.parameters())} for part in parts])
        if self.trainer.gradient_clip_val is not None:
            # a fused optimiser undoes the scaling of mixed precision in its step: too late for clipping
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if self.scheduler_factory is None:
            return optimizer
        schedule = self.scheduler_factory(optimizer, int(self.trainer.estimated_stepping_batches))
        if not isinstance(schedule, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        self.plateau = schedule if self.phase != "head" else None
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
        return optimizer
