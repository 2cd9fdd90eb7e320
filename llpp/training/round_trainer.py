"""The training of one round.

What decides a round's weights is the result settings without those that select, and the labelled ids in their order.
In round 0 these are the same for all acquisitions of a seed; with training.base=backbone the backbone alone is shared
by all heads and objectives as well.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from llpp.data.datamodule import PoolDataModule
from llpp.distributed import collectives, sync_batchnorm
from llpp.hashing import hash_json
from llpp.run_dir import layout, older_runs
from llpp.run_dir.round_dir import get_round_dir
from llpp.seeds import Stream, make_rng
from llpp.settings import Settings
from llpp.training.base_models import BaseModels, can_resume
from llpp.training.checkpoint_callbacks import check_best_is_known
from llpp.training.logged_steps import get_logged_step, set_logged_step
from llpp.training.module import LearningLossModule, RoundPart
from llpp.training.step_count import check_steps_taken

SELECTION_SETTINGS = ("acquisition", "budget", "audit", "audit_tilt", "ranker", "scoring.subset", "oracle")
HEAD_SETTINGS = (
    "head", "objective", "auxiliary", "training.head_weight", "training.detach_from_epoch", "training.pairs",
)  # fmt: skip
Weights = dict[str, torch.Tensor]
Prepare = Callable[[LearningLossModule], Any]  # puts weights into a fresh module


@dataclass(frozen=True)
class TrainedRound:
    """A round's model and the trainer that it can be evaluated with."""

    trainer: pl.Trainer
    module: LearningLossModule
    reused: bool  # taken over from another run
    steered: bool  # the validation set decided the learning rate, or when to stop

    @property
    def steps(self) -> int:
        """Training steps up to the end of this round, over all rounds: the step that its last metrics have."""
        return get_logged_step(self.trainer)


@contextmanager
def errors_of_loaders_shown() -> Iterator[None]:
    """Raise the error of the system for which loading processes could not start.

    Lightning counts the batches of all loaders when it cleans up, which fails then, and hides why they did not start.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


@dataclass(frozen=True)
class RoundTrainer:
    """Trains the rounds of a run."""

    settings: Settings
    result_settings: Mapping[str, Any]
    run_dir: Path
    base_models: BaseModels
    make_module: Callable[[RoundPart], LearningLossModule]
    make_trainer: Callable[[Path, str, bool], pl.Trainer]  # folder of its checkpoints, their key, the best too?

    def train(
        self, number: int, labelled: Sequence[str], data: PoolDataModule, steps: int, files: str
    ) -> TrainedRound:
        """Train round `number`, or resume it from its own checkpoint. All ranks call it together.

        Args:
            number: of the round, from 0.
            labelled: ids in order of acquisition, which `data` holds.
            data: loaders over the labelled and the validation rows.
            steps: training steps of the rounds before, after which metrics are logged.
            files: digest of the images, so that no base model is taken over that was trained on other images.
        """
        key = self.compute_key(number, labelled)
        older_keys = self.compute_older_keys(number, labelled)
        directory = get_round_dir(self.run_dir, number)
        if number == 0:
            return self._train_first(directory, key, older_keys, labelled, data, files)
        start = self.read_weights(number - 1) if self.settings.init == "previous" else None
        return self._fit(RoundPart(number), directory, key, data, _make_loader(start), steps, older_keys)

    def _train_first(
        self,
        directory: Path,
        key: str,
        older_keys: Sequence[str],
        labelled: Sequence[str],
        data: PoolDataModule,
        files: str,
    ) -> TrainedRound:
        """Train round 0, or take it over from another run."""
        if self.settings.base == "joint":
            with self.base_models.share(directory, key, files) as reused:
                trained = self._fit(RoundPart(0), directory, key, data, older_keys=older_keys)
            return replace(trained, reused=reused)

        # The backbone first, which all heads and objectives share, then the head on it.
        without = (*SELECTION_SETTINGS, *HEAD_SETTINGS)
        backbone_key = self.compute_key(0, labelled, without)
        older_backbone_keys = self.compute_older_keys(0, labelled, without)
        with self.base_models.share(directory / "backbone", backbone_key, files) as reused:
            first = self._fit(
                RoundPart(0, "backbone"), directory / "backbone", backbone_key, data, older_keys=older_backbone_keys
            )
        weights = first.module.backbone.state_dict()

        def load_backbone(module: LearningLossModule) -> None:
            module.backbone.load_state_dict(weights)

        with self.base_models.share(directory, key, files):
            trained = self._fit(RoundPart(0, "head"), directory, key, data, load_backbone, first.steps, older_keys)
        return replace(trained, reused=reused, steered=first.steered)

    def compute_key(self, number: int, labelled: Sequence[str], without: Sequence[str] = SELECTION_SETTINGS) -> str:
        """Digest of what decides a round's weights."""
        deciding = self._list_deciding_settings(without)
        return hash_json([deciding, number, list(labelled)])

    def compute_older_keys(
        self, number: int, labelled: Sequence[str], without: Sequence[str] = SELECTION_SETTINGS
    ) -> list[str]:
        """The keys that checkpoints have in place of `compute_key`'s if older versions of llpp have written them."""
        deciding = self._list_deciding_settings(without)
        forms = (
            older_runs.drop_backbone_settings(deciding),
            older_runs.drop_head_settings(deciding),
            older_runs.drop_dataset_settings(deciding),
            older_runs.restore_settings(deciding),
        )
        return [hash_json([form, number, list(labelled)]) for form in forms]

    def _list_deciding_settings(self, without: Sequence[str]) -> dict[str, Any]:
        deciding = {}
        for name, value in self.result_settings.items():
            if not any(name == left_out or name.startswith(f"{left_out}.") for left_out in without):
                deciding[name] = value
        return deciding

    def read_weights(self, number: int) -> Weights:
        """The weights that round `number` was tested with."""
        return layout.read_weights(self.get_tested_checkpoint(number))

    def get_tested_checkpoint(self, number: int) -> Path:
        """The checkpoint with these weights."""
        # A head on a frozen backbone has no better or worse epoch.
        only_head = number == 0 and self.settings.base == "backbone"
        which = "last" if only_head else self.settings.weights
        return layout.get_checkpoint_path(get_round_dir(self.run_dir, number), which)

    def _fit(
        self,
        part: RoundPart,
        directory: Path,
        key: str,
        data: PoolDataModule,
        prepare: Prepare | None = None,
        steps: int = 0,
        older_keys: Sequence[str] = (),
    ) -> TrainedRound:
        """Make a module, train it to the end of the round or resume that, and load the weights to test.

        New checkpoints carry `key`; one that carries one of `older_keys` is resumed, too.
        """
        torch.manual_seed(int(make_rng(Stream.WEIGHTS, self.settings.seed, part.number).integers(2**63)))
        module = self.make_module(part)
        if prepare is not None:
            prepare(module)
        keep_best = self.settings.weights == "best" and part.phase != "head"
        trainer = self.make_trainer(directory, key, keep_best)
        several = collectives.get_world_size() > 1
        if several:
            sync_batchnorm.synchronise(module, trainer.strategy.root_device.type == "cuda")
        set_logged_step(trainer, steps)
        resumes = collectives.on_rank_zero(lambda: can_resume(directory, (key, *older_keys)))
        last = layout.get_checkpoint_path(directory, "last")
        with errors_of_loaders_shown():
            trainer.fit(module, data, ckpt_path=last if resumes else None)
        check_steps_taken(trainer, part.number)
        if keep_best:
            check_best_is_known(trainer, part.number)
            module.load_state_dict(layout.read_weights(layout.get_checkpoint_path(directory, "best")))
        if several:
            digest = {"digest": _hash_weights(module)}
            collectives.check_equal_across_ranks("weights", digest, "the same command trains the round again")
        steered = module.plateau is not None or bool(trainer.early_stopping_callbacks)
        return TrainedRound(trainer, module, reused=False, steered=steered)


def _make_loader(weights: Weights | None) -> Prepare | None:
    """What loads these weights into a module; None for fresh ones."""
    if weights is None:
        return None
    return lambda module: module.load_state_dict(weights)


def _hash_weights(module: LearningLossModule) -> str:
    content = hashlib.sha256()
    for value in module.state_dict().values():
        content.update(value.cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return content.hexdigest()
