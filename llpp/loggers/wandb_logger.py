"""One Weights & Biases run per run directory, whatever interrupts it.

W&B drops what is logged at a step that it has passed, and every round's trainer counts from 0. So no step is ever
passed to it: metrics bring their own axes, `round/*` the number of labelled images, all others the training steps of
all rounds. What has been sent is remembered in `wandb.json`, so that the next start sends what is missing.
"""

import json
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from llpp.datasets.pose import PoseDataset
from llpp.errors import ConfigError, StateError
from llpp.files import read_text, replace_text
from llpp.loggers.wandb_media import build_media
from llpp.redaction import redact_arguments
from llpp.rounds.records import to_logger_metrics
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import RunState

FLUSH_SECONDS = (
    20.0  # seconds after which W&B has written down what it got (it does so every 15); a kill loses what is newer
)
MAX_BYTES = 1 << 16  # of wandb.json
STEP, LABELLED = "trainer/global_step", "round/labelled"
# No pattern for everything: W&B does not say which one wins where two fit.
AXES = {LABELLED: ("round/*",), STEP: ("train/*", "val/*", "lr-*", "epoch", "round")}


@dataclass(frozen=True)
class UploadProgress:
    """What W&B has been told so far."""

    id: str  # of the W&B run
    rounds: int = 0
    step: int = 0  # of the last training metrics


class WandbRun(WandbLogger):
    """Lightning's logger, with a W&B run that the run directory knows; offline it needs no account.

    Args:
        save_dir: the run directory; holds `config.yaml`, `wandb.json` and W&B's own folder `wandb`.
        offline: write files only, for `wandb sync`.
        media: send a table and pictures with each round.
        init: for `wandb.init`, such as project, group, job_type, name, entity, tags.
    """

    def __init__(self, save_dir: str, offline: bool = False, media: bool = True, **init: Any) -> None:
        try:
            super().__init__(save_dir=save_dir, offline=offline, **init)
        except ModuleNotFoundError as error:
            raise ConfigError("logger=wandb needs the package wandb; pip install 'llpp[wandb]'") from error
        self.run_dir, self.media = Path(save_dir), media
        self.sent = _read_progress(self.run_dir / "wandb.json") or UploadProgress(self._id or uuid.uuid4().hex[:8])
        self.unsafe, self.since = self.sent, time.monotonic()  # not remembered yet: a kill may still lose it

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun on first use; a dummy on other ranks than 0."""
        if self._experiment is None:
            self._experiment = self._start_wandb_run()
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log, unless it is a repetition: a killed run had logged on after the checkpoint that it resumes from."""
        if step is not None and step < self.sent.step:
            return
        super().log_metrics(metrics, step)
        if step is not None:
            self._record_progress(replace(self.sent, step=step))

    @rank_zero_only
    def show(self, state: RunState, dataset: PoseDataset) -> None:
        """Send all committed rounds that W&B has not seen."""
        done = len(state.rounds)
        if done < self.sent.rounds:  # the last one selects after all, or the run was begun again
            self.sent = self.unsafe = replace(self.sent, rounds=done, step=state.steps)
            self._save_progress(self.sent)
        for number in range(self.sent.rounds, done):
            pictures = build_media(self.run_dir, state, number, dataset) if self.media else {}
            self.experiment.log({**to_logger_metrics(state.rounds[number].row), **pictures})
            self._record_progress(replace(self.sent, rounds=number + 1))

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """End the W&B run, as failed or finished; the next job of a sweep would go on writing into an open one."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(failed))
            self._experiment = None
            self._save_progress(self.sent)

    def _start_wandb_run(self) -> Any:
        import wandb

        given = {name: value for name, value in self._wandb_init.items() if value is not None}
        if self._offline:
            given["mode"] = "offline"
        config, _ = read_config(self.run_dir)
        self._save_progress(self.sent)
        try:
            with _redact_argv():
                run = wandb.init(**{**given, "id": self.sent.id, "config": config, "reinit": "finish_previous"})
        except wandb.errors.Error as error:
            raise ConfigError(
                f"logger=wandb cannot begin its run ({' '.join(str(error).split())}); "
                "run `wandb login` once, or set logger.wandb.offline=true, which needs neither account nor network"
            ) from error
        for axis, names in AXES.items():
            run.define_metric(axis)
            for name in names:
                run.define_metric(name, step_metric=axis)
        return run

    def _record_progress(self, sent: UploadProgress) -> None:
        """Take a step forward; on the disk, one step behind."""
        self.sent = sent
        if time.monotonic() > self.since + FLUSH_SECONDS:
            self._save_progress(self.unsafe)
            self.unsafe, self.since = sent, time.monotonic()

    def _save_progress(self, sent: UploadProgress) -> None:
        replace_text(self.run_dir / "wandb.json", json.dumps(asdict(sent)))


def _read_progress(path: Path) -> UploadProgress | None:
    try:
        sent = UploadProgress(**json.loads(read_text(path, MAX_BYTES)))
        counts = isinstance(sent.rounds, int) and isinstance(sent.step, int)
        if not counts or not re.fullmatch(r"[\w-]{1,64}", sent.id):  # the id becomes a part of file names
            raise ValueError("it is not what llpp writes")
        return sent
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StateError(f"{path} is damaged; delete it, and the run continues as a new one in W&B") from error


@contextmanager
def _redact_argv() -> Iterator[None]:
    """W&B stores the command line."""
    given, sys.argv = sys.argv, redact_arguments(sys.argv)
    try:
        yield
    finally:
        sys.argv = given
