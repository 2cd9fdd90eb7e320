"""Joint training of a network and its loss head, under Lightning."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from llpp.acquisition.base import GRADIENT_LENGTH
from llpp.auxiliaries.base import Auxiliary
from llpp.backbones.base import Backbone
from llpp.backbones.dropout import find_dropout_layers
from llpp.data.image_preparation import ImagePreparation
from llpp.distributed import collectives, interruption
from llpp.errors import TrainingError
from llpp.heads.base import LossHead, average_pool
from llpp.objectives.base import Objective
from llpp.seeds import Stream, make_rng
from llpp.settings import HeadTraining
from llpp.tasks.base import Task
from llpp.tasks.views import View, Views, see_views
from llpp.training.compilation import EAGER, Compilation
from llpp.training.divergence import NonFiniteLossMonitor, check_weights
from llpp.training.dropout_passes import NO_PASSES, DropoutPasses
from llpp.training.gradient_lengths import LabelledImages, compute_gradient_lengths
from llpp.training.logged_steps import are_losses_read, is_logged
from llpp.training.masked_mean import MaskedMean
from llpp.training.step_count import hint_at_few_steps
from llpp.training.turning import choose_quarters, in_evaluation, turn_images
from llpp.types import Batch, Features, Output

log = logging.getLogger(__name__)
OptimizerFactory = Callable[[Iterable[Any]], Optimizer]  # takes parameters, or groups of them
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]  # optimiser, steps of the round
Phase = Literal["joint", "backbone", "head"]  # both together; the backbone alone; the head on a frozen backbone


@dataclass(frozen=True)
class RoundPart:
    """Which training this is."""

    number: int  # of the round
    phase: Phase = "joint"


class LearningLossModule(pl.LightningModule):
    """backbone × head × objective × task; composed, never subclassed.

    Its checkpoints hold weights only, no hyperparameters: the config is in the run directory. In the phase `backbone`
    it has no head.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: LossHead | None,
        objective: Objective,
        task: Task,
        images: ImagePreparation,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        head_training: HeadTraining,
        part: RoundPart,
        compilation: Compilation = EAGER,
        dropout: DropoutPasses = NO_PASSES,
        auxiliary: Auxiliary | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # pools may be tiny
        self.backbone = backbone
        self.head = head
        self.auxiliary = auxiliary
        # Images arrive as (H, W, 3): in this layout they need no copy, and convolutions are faster on CPU and GPU.
        self.to(memory_format=torch.channels_last)
        self.objective = objective
        self.task = task
        self.images = images
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.head_training = head_training
        self.round_number = part.number
        self.phase = part.phase
        self.compilation = compilation
        self.dropout = dropout
        self.drops_units = bool(find_dropout_layers(self))
        self.val_metric = task.make_metric()
        self.val_loss = MaskedMean()
        self.loss_monitor = NonFiniteLossMonitor(part.number)
        self._logs_step = False  # whether the training step that is under way logs its losses
        self._step_losses: dict[str, Tensor] = {}  # of that step, by their names in logs
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self.extra_columns: frozenset[str] = frozenset()  # of `optional_columns`, for the pass that is under way
        self.labelled: LabelledImages | None = None  # that images are compared with, for the pass that is under way
        if self.phase == "head":
            self.backbone.requires_grad_(False)

    @property
    def optional_columns(self) -> frozenset[str]:
        """What a scoring pass computes only where it is asked for."""
        own = frozenset() if self.auxiliary is None else self.auxiliary.columns
        return self.task.extra_columns | self.task.dropout_columns | own | {GRADIENT_LENGTH}

    def prepare_images(self, batch: Batch) -> Tensor:
        """The backbone's input: (B, 3, H, W) float32, normalised."""
        pixels = self.images.prepare(batch, self.training)
        return self.backbone.normalise(pixels)

    def predict(self, output: Output, image: Tensor) -> dict[str, Tensor]:
        """The task's predictions from the output for `image` (B, 3, H, W)."""
        return self.task.predict(output, self._see_views(image, self.task.views))

    def _see_views(self, image: Tensor, views: Sequence[View]) -> Views:
        """The backbone's raw outputs for views of `image` (B, 3, H, W)."""
        return see_views(self.backbone, image, views, self.compilation.evaluate)

    def on_train_start(self) -> None:
        """Losses are checked when they are logged, so that the host waits for the device once for both."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # the stub lacks it
        if every:
            # One step more, because the monitor would check before the step that is logged has ended.
            self.loss_monitor.steps_between_checks = every + 1
        if self.round_number == 0 and self.phase != "head":
            hint_at_few_steps(self.trainer)

    def on_train_epoch_start(self) -> None:
        """A frozen backbone keeps its BatchNorm statistics too."""
        if self.phase == "head":
            self.backbone.eval()

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Stop here if a signal had no effect where it came; let dropout depend on nothing but the step.

        Whether the step logs its losses is known by now, too.
        """
        interruption.check()
        self._logs_step = are_losses_read(self.trainer)
        if self.drops_units:
            # Dropout draws from torch's generator, which a resumed round would find in another state.
            place = (self.round_number, self.current_epoch, batch_index, collectives.get_rank())
            torch.manual_seed(int(make_rng(Stream.DROP, self.dropout.seed, *place).integers(2**63)))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Task loss + head_weight × objective + the auxiliary's; the head's targets are the detached task losses.

        It reads nothing from the device, so that the host can queue many steps ahead.
        """
        self.compilation.begin_step()
        with torch.set_grad_enabled(self.phase != "head"):
            image = self.prepare_images(batch)
            output: Output = self.backbone(image)
            losses, _ = self.task.compute_losses(output, batch)
        task_loss = losses.mean()
        losses_all_ranks = self._gather_losses(losses)
        mean_loss = losses_all_ranks.mean()
        values = {f"train/{self.task.loss_name}": mean_loss}
        loss = torch.zeros_like(task_loss) if self.phase == "head" else task_loss
        checked = mean_loss
        if self.head is not None:
            features = output.features.detach() if self._is_head_detached() else output.features
            targets = losses.detach()
            targets_all_ranks = losses_all_ranks
            if self.head.learns_from_turned:
                features, targets = self._evaluate_turned(image, batch)
                targets_all_ranks = self._gather_losses(targets)
                checked = checked + targets_all_ranks.sum()
            predicted = self.head(features)
            objective = self._compute_objective(predicted, targets, targets_all_ranks)
            values["train/objective"] = objective.detach()
            loss = loss + self.head_training.head_weight * objective
        if self.auxiliary is not None:
            features = output.features if self.auxiliary.trains_backbone else output.features.detach()
            auxiliary_loss = self.auxiliary.compute_loss(features, batch)
            values["train/auxiliary"] = auxiliary_loss.detach()
            loss = loss + self.auxiliary.weight * auxiliary_loss
        # A loss of another rank that is not finite stops this one too.
        decisive = loss.detach() + checked
        self.loss_monitor.add(self.current_epoch, batch_index, decisive, values)
        self._step_losses = values
        if self._logs_step:
            self._log_losses()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Check the losses before they are written, and log those of a step after which training stops."""
        if is_logged(self.trainer):
            self.loss_monitor.check()
        if self.trainer.should_stop and not self._logs_step:
            self._log_losses()

    def _log_losses(self) -> None:
        """Log the losses of the training step that is under way."""
        # The number is made on the device, not sent to it.
        number = torch.full((), float(self.round_number), device=self.device)
        self.log_dict({**self._step_losses, "round": number}, prog_bar=False)

    @torch.no_grad()
    def _evaluate_turned(self, image: Tensor, batch: Batch) -> tuple[Features, Tensor]:
        """Features and losses (B,) of the images, half of them turned by one to three quarters.

        The network is in evaluation, as when it scores, and keeps its BatchNorm statistics.
        """
        quarters = choose_quarters(batch["row"], self.current_epoch)
        turned = turn_images(image, quarters)
        labels = self.task.turn_labels(batch, quarters, image.shape[-1])
        with in_evaluation(self.backbone):
            output: Output = self.backbone(turned)
        losses, _ = self.task.compute_losses(output, labels)
        return output.features, losses

    def _gather_losses(self, losses: Tensor) -> Tensor:
        """(B,) losses of this rank → those of all ranks, without gradients."""
        if collectives.get_world_size() == 1:
            return losses.detach()
        return collectives.all_gather_batch(losses)

    def _is_head_detached(self) -> bool:
        """Whether the head's gradient stops before the backbone in this epoch."""
        start = self.head_training.detach_from_epoch
        return start is not None and self.current_epoch >= start

    def _compute_objective(self, predicted: Tensor, losses: Tensor, losses_all_ranks: Tensor) -> Tensor:
        """The objective over (B,) predictions and losses of this rank, or over those of all ranks.

        Every rank computes the same value over all, but its gradient reaches the rank's own predictions alone, and
        DDP divides by the number of ranks: so it is multiplied by that before.
        """
        ranks = collectives.get_world_size()
        if ranks == 1 or self.head_training.pairs == "local":
            return cast(Tensor, self.objective(predicted, losses))
        predicted_all_ranks = collectives.all_gather_batch(predicted)
        predicted_all_ranks[collectives.get_rank() :: ranks] = predicted.to(predicted_all_ranks.dtype)
        value = self.objective(predicted_all_ranks, losses_all_ranks)
        return cast(Tensor, ranks * value - (ranks - 1) * value.detach())

    def on_train_epoch_end(self) -> None:
        """Before anything is saved."""
        self.loss_monitor.check()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add a batch to the epoch's metric and loss."""
        self.compilation.begin_step()
        image = self.prepare_images(batch)
        output = self.compilation.evaluate(self.backbone, image)
        losses, has_target = self.task.compute_losses(output, batch)
        predictions = self.predict(output, image)
        self.task.update_metric(self.val_metric, predictions, batch)
        self.val_loss.update(losses, has_target)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metric and loss, and let the latter lower the learning rate."""
        metric = self.task.summarise_metric(self.val_metric)[self.task.metric_name]
        loss = self.val_loss.compute().float()
        self.log(f"val/{self.task.metric_name}", metric.float(), prog_bar=True)
        self.log(f"val/{self.task.loss_name}", loss)
        self.val_metric.reset()
        self.val_loss.reset()
        if self.plateau is not None:
            self._step_plateau(self.plateau, float(loss))

    def _step_plateau(self, plateau: ReduceLROnPlateau, loss: float) -> None:
        """Let the validation loss lower the learning rate; one that is undefined says nothing."""
        if math.isfinite(loss):
            plateau.step(loss)
        elif self.trainer.is_global_zero:
            log.warning(
                "val/%s is %s in round %d, epoch %d; scheduler=plateau leaves the learning rate as it is",
                self.task.loss_name, loss, self.round_number, self.current_epoch + 1,
            )  # fmt: skip

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau's memory; Lightning would save it before the epoch's step, and not repeat that.

        Nothing that is not finite is kept.
        """
        self.loss_monitor.check()
        check_weights(checkpoint["state_dict"].values(), self.round_number, self.current_epoch)
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called before the optimisers are made."""
        self._plateau_state = checkpoint.get("plateau")

    def predict_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Score a batch; all on the device. Predicted and true losses are of the image itself, without its views.

        Returns:
            `row` (B,); `predicted_loss` (B,); `true_loss` (B,), NaN where nothing can be compared; `quality` (B,),
            NaN where it is unknown; `embedding` (B, C), the penultimate map averaged over its cells; `matrix`
            (B, 3, 3), that of the batch; the task's predictions (B, …), and what this module's `extra_columns` name.
        """
        if self.head is None:
            raise TrainingError("a module without a head cannot score images; train its head first")
        self.compilation.begin_step()
        image = self.prepare_images(batch)
        output = self.compilation.evaluate(self.backbone, image)
        losses, has_target = self.task.compute_losses(output, batch)
        views = self._see_views(image, self.task.list_views(self.extra_columns))
        predictions = self.task.predict(output, views)
        columns = self.task.compute_columns(self.extra_columns & self.task.extra_columns, output, views)
        if self.extra_columns & self.task.dropout_columns:
            passes = self.dropout.run(self.backbone, image, batch["row"], self.round_number)
            columns |= self.task.measure_spread(passes)
        embedding = average_pool(output.features.penultimate).float()
        if self.labelled is not None and GRADIENT_LENGTH in self.extra_columns:
            columns[GRADIENT_LENGTH] = compute_gradient_lengths(self.task, output, embedding, self.labelled)
        if self.auxiliary is not None and self.extra_columns & self.auxiliary.columns:
            columns |= self.auxiliary.compute_columns(output.features, predictions)
        return {
            "row": batch["row"],
            "predicted_loss": self.head(output.features).float(),
            "true_loss": losses.float().where(has_target, torch.nan),
            "embedding": embedding,
            "matrix": batch["matrix"],
            "quality": self.task.compute_quality(predictions, batch),
            **predictions,
            **columns,
        }

    def configure_optimizers(self) -> Any:
        """One optimiser with a group each for the backbone, the head and an auxiliary.

        A schedule advances with every step, or with every validation if it watches for a plateau; the validation
        says nothing about a head on a frozen backbone.
        """
        groups = [{"params": list(self.backbone.parameters())}]
        if self.head is not None:
            groups.append({"params": list(self.head.parameters())})
        if self.auxiliary is not None:
            groups.append({"params": list(self.auxiliary.parameters())})
        optimizer = self.optimizer_factory(groups)
        if self.trainer.gradient_clip_val is not None:
            # A fused optimiser undoes the scaling of mixed precision in its step: too late for clipping.
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
