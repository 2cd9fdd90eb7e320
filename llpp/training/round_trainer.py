"""The training of one round, and the base models that the runs of a comparison share.

What decides a round's weights is the science less what selects, and the labelled ids in their order. In round 0
these are the same for all acquisitions of a seed, so the first run that trains such a model leaves it for the
others; with base=pose the pose network alone is shared by all heads and objectives as well.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from llpp.data.datamodule import PoolDataModule
from llpp.distributed import collectives, sync_batchnorm
from llpp.hashing import hash_json
from llpp.run_dir import checkpoints, layout
from llpp.seeds import Stream, make_rng
from llpp.settings import Settings
from llpp.training.module import LearningLossModule, Phase

log = logging.getLogger(__name__)
SELECTION_SETTINGS = ("acquisition", "budget", "subset")
HEAD_SETTINGS = ("head", "objective", "head_weight", "detach_from_epoch", "pairs")
POLL_INTERVAL = 1.0  # seconds between looks at what another run is doing


@dataclass(frozen=True)
class TrainedRound:
    """A round's model and the trainer that it can be evaluated with."""

    trainer: pl.Trainer
    module: LearningLossModule
    reused: bool  # taken over from another run
    steered: bool  # the validation set decided the learning rate

    @property
    def steps(self) -> int:
        """Training steps up to the end of this round, over all rounds: the step that its last metrics have."""
        return self.trainer.fit_loop.epoch_loop._batches_that_stepped


@dataclass(frozen=True)
class RoundTrainer:
    """Trains the rounds of a run."""

    settings: Settings
    science: Mapping[str, Any]
    run_dir: Path
    store: Path | None  # folder of shared base models
    code: str  # digest of the program, so that no model of an older one is taken over
    make_module: Callable[[int, Phase], LearningLossModule]
    make_trainer: Callable[[Path, str, bool], pl.Trainer]

    def train(
        self, number: int, labelled: Sequence[str], data: PoolDataModule, steps: int, files: str
    ) -> TrainedRound:
        """Train round `number` on the `labelled` ids, which `data` holds, or go on from its own checkpoint.

        Its metrics are logged at steps that continue after the `steps` of the rounds before. `files` is a digest of
        the images, so that no base model of others is taken over.
        """
        directory = layout.get_round_dir(self.run_dir, number)
        key = self.compute_key(number, labelled)
        if number > 0:
            start = self.read_weights(number - 1) if self.settings.init == "previous" else None
            return self._fit(
                number, directory, key, data, "joint", lambda m: start and m.load_state_dict(start), steps
            )
        if self.settings.base == "joint":
            with self._share_base_model(directory, key, files) as reused:
                trained = self._fit(0, directory, key, data, "joint")
            return replace(trained, reused=reused)
        pose_key = self.compute_key(0, labelled, (*SELECTION_SETTINGS, *HEAD_SETTINGS))
        with self._share_base_model(directory / "pose", pose_key, files) as reused:
            pose = self._fit(0, directory / "pose", pose_key, data, "pose")
        weights = pose.module.backbone.state_dict()
        with self._share_base_model(directory, key, files):
            trained = self._fit(
                0, directory, key, data, "head", lambda m: m.backbone.load_state_dict(weights), pose.steps
            )
        return replace(trained, reused=reused, steered=pose.steered)

    def compute_key(self, number: int, labelled: Sequence[str], without: Sequence[str] = SELECTION_SETTINGS) -> str:
        """Digest of what decides a round's weights."""
        kept = {k: v for k, v in self.science.items() if k.split(".")[0] not in without}
        return hash_json([kept, number, list(labelled)])

    def read_weights(self, number: int) -> dict[str, torch.Tensor]:
        """The weights that round `number` was tested with."""
        return layout.read_weights(self.get_tested_checkpoint(number))

    def get_tested_checkpoint(self, number: int) -> Path:
        """Where they lie."""
        which = "last" if number == 0 and self.settings.base == "pose" else self.settings.weights
        return layout.get_checkpoint_path(layout.get_round_dir(self.run_dir, number), which)

    def _fit(
        self,
        number: int,
        directory: Path,
        key: str,
        data: PoolDataModule,
        phase: Phase,
        prepare: Callable[[LearningLossModule], Any] = lambda _: None,
        steps: int = 0,
    ) -> TrainedRound:
        torch.manual_seed(int(make_rng(Stream.WEIGHTS, self.settings.seed, number).integers(2**63)))
        module = self.make_module(number, phase)
        prepare(module)
        best = self.settings.weights == "best" and phase != "head"  # a frozen network has no better or worse epoch
        trainer = self.make_trainer(directory, key, best)
        if collectives.get_world_size() > 1:
            sync_batchnorm.synchronise(module, trainer.strategy.root_device.type == "cuda")
        # Lightning's step for loggers only; a new trainer's own would fold all rounds onto each other.
        trainer.fit_loop.epoch_loop._batches_that_stepped = steps
        resumed = collectives.on_rank_zero(lambda: _can_resume(directory, key))
        trainer.fit(module, data, ckpt_path=layout.get_checkpoint_path(directory, "last") if resumed else None)
        if best:
            module.load_state_dict(layout.read_weights(layout.get_checkpoint_path(directory, "best")))
        if collectives.get_world_size() > 1:
            collectives.check_equal_across_ranks(
                "weights", {"digest": _hash_weights(module)}, "the same command trains the round again"
            )
        return TrainedRound(trainer, module, reused=False, steered=module.plateau is not None)

    @contextmanager
    def _share_base_model(self, directory: Path, key: str, files: str) -> Iterator[bool]:
        """Bring a finished model of this key into `directory`, or leave the one that is trained meanwhile.

        Other runs that want it wait, so that it is trained once; if its trainer dies, the next one trains it. Where
        the folder of base models cannot be used, nothing is shared.
        """
        if self.store is None:
            yield False
            return
        home = self.store / hash_json([key, files, self.code])[:20]
        with ExitStack() as held:
            waited = False
            while (
                reused := collectives.on_rank_zero(lambda: self._take_over_base_model(home, directory, key, held))
            ) is None:
                if not waited:
                    log.info("waiting for the base model that another run is training (%s)", home)
                waited = True
                time.sleep(
                    POLL_INTERVAL
                )  # all ranks look again together: none waits longer than they may for each other
            yield reused
            if collectives.get_rank() == 0 and not reused:
                self._publish_base_model(directory, home, key)

    def _take_over_base_model(self, home: Path, directory: Path, key: str, held: ExitStack) -> bool | None:
        """Whether a model of others is in `directory` now; None while another run is training it."""
        try:
            home.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((home / "lock").open("a", encoding="utf-8"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (home / "last.ckpt").exists() or _can_resume(directory, key):
                return False
            if not _link_checkpoints(home, directory):
                log.warning("the base model in %s is damaged; it is trained anew and replaced", home)
                return False
        except BlockingIOError:
            held.close()
            return None
        except OSError as error:
            log.warning("base models are not shared: %s; set base_models to another folder, or null", error)
            return False
        log.info("%s: base model taken over from %s", directory, home)
        return True

    def _publish_base_model(self, directory: Path, home: Path, key: str) -> None:
        try:
            left = checkpoints.verified_digest(home / "last.ckpt")
            if left is None and layout.matches_round(directory / "last.ckpt", key, self.code):
                _link_checkpoints(directory, home)
        except OSError as error:
            log.warning("the base model could not be left in %s: %s", home, error)


def _hash_weights(module: LearningLossModule) -> str:
    content = hashlib.sha256()
    for value in module.state_dict().values():
        content.update(value.cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return content.hexdigest()


def _can_resume(directory: Path, key: str) -> bool:
    """Whether the round with this key goes on from what it has left; from damaged files it does not, and says so."""
    last, best = (layout.get_checkpoint_path(directory, which) for which in ("last", "best"))
    if not last.exists():
        return False
    damaged = last
    if checkpoints.verified_digest(last):
        if not layout.matches_round(last, key):
            return False
        if not checkpoints.has_best(last) or checkpoints.verified_digest(best):
            return True
        damaged = best
    log.warning("%s is missing or damaged; this round is trained again from its start", damaged)
    return False


def _link_checkpoints(source: Path, target: Path) -> bool:
    """Give checkpoints a second name; they are replaced, never changed, so a link is as good as a copy.

    False if they are damaged.
    """
    names = [name for name in ("best.ckpt", "last.ckpt") if (source / name).exists()]
    if not all(checkpoints.verified_digest(source / name) for name in names):
        return False
    target.mkdir(parents=True, exist_ok=True)
    for name in names:  # the last one says that all are there
        checkpoints.replace(target / name, lambda part, name=name: _link_or_copy(source / name, part))  # type: ignore[misc]
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # a crash may have left it as another name of a file of value
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
