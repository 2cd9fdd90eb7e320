"""One Weights & Biases run per run directory, across interruptions.

W&B drops what is logged at an earlier step than its last one, and every round's trainer counts from 0. So W&B is
never given a step: metrics bring their own axes, `round/*` the number of labelled images, all others the training
steps of all rounds. `wandb.json` records what has been sent, so that the next start sends what is missing.
"""

import inspect
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

from llpp.distributed import collectives
from llpp.errors import ConfigError, StateError
from llpp.files import read_text, replace_text
from llpp.loggers.wandb_media import build_media
from llpp.redaction import redact_arguments
from llpp.rounds.run import to_logger_metrics
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import RunState
from llpp.tasks.base import Task

# W&B writes to the disk every 15 seconds; a kill loses what is newer. After this many seconds data counts as written.
FLUSH_SECONDS = 20.0
MAX_BYTES = 1 << 16  # of wandb.json
STEP = "trainer/global_step"
LABELLED = "round/labelled"
# There is no pattern for everything: W&B does not document which of two matching patterns wins.
AXES = {LABELLED: ("round/*",), STEP: ("train/*", "val/*", "lr-*", "epoch", "round")}


@dataclass(frozen=True)
class UploadProgress:
    """How much has been sent to W&B."""

    id: str  # of the W&B run
    rounds: int = 0  # committed rounds
    step: int = 0  # of the last training metrics


class WandbRun(WandbLogger):
    """Lightning's logger for the one W&B run that belongs to a run directory; offline it needs no account.

    Args:
        save_dir: the run directory; holds `config.yaml`, `wandb.json` and W&B's own folder `wandb`.
        offline: write files only, for `wandb sync`.
        media: send a table and pictures with each round.
        init: arguments of `wandb.init`, such as project, group, job_type, name, entity, tags.
    """

    def __init__(self, save_dir: str, offline: bool = False, media: bool = True, **init: Any) -> None:
        try:
            super().__init__(save_dir=save_dir, offline=offline, **init)
        except ModuleNotFoundError as error:
            raise ConfigError("logger=wandb needs the package wandb; pip install 'llpp[wandb]'") from error
        if collectives.get_rank() == 0:
            _check_init_arguments(self._wandb_init)
        self.run_dir = Path(save_dir)
        self.media = media
        sent = _read_progress(self.run_dir / "wandb.json")
        if sent is None:
            sent = UploadProgress(self._id or uuid.uuid4().hex[:8])
        self.sent = sent
        # Progress that W&B may not have written to the disk yet, and since when: a kill can still lose it.
        self.unsafe = sent
        self.since = time.monotonic()

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started on first use; a dummy on ranks other than 0."""
        if self._experiment is None:
            self._experiment = self._start_wandb_run()
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, except those of steps that were sent before.

        A killed run has sent steps after the checkpoint that it resumes from, and repeats them.
        """
        if step is not None and step < self.sent.step:
            return
        super().log_metrics(metrics, step)
        if step is not None:
            self._record_progress(replace(self.sent, step=step))

    @rank_zero_only
    def show(self, state: RunState, task: Task) -> None:
        """Send all committed rounds that have not been sent."""
        committed = len(state.rounds)
        # Fewer rounds than were sent: the last one is repeated with a selection, or the run was started over.
        if committed < self.sent.rounds:
            self.sent = replace(self.sent, rounds=committed, step=state.steps)
            self.unsafe = self.sent
            self._save_progress(self.sent)
        for number in range(self.sent.rounds, committed):
            metrics: dict[str, Any] = dict(to_logger_metrics(state.rounds[number].row))
            if self.media:
                metrics.update(build_media(self.run_dir, state, number, task))
            self.experiment.log(metrics)
            self._record_progress(replace(self.sent, rounds=number + 1))

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """End the W&B run as failed or finished; if it stayed open, a sweep's next job would write into it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(failed))
            self._experiment = None
            self._save_progress(self.sent)

    def _start_wandb_run(self) -> Any:
        import wandb

        options = {name: value for name, value in self._wandb_init.items() if value is not None}
        if self._offline:
            options["mode"] = "offline"
        config, _ = read_config(self.run_dir)
        options.update(id=self.sent.id, config=config, reinit="finish_previous")
        # Before the run exists, so that a start after a kill uses the same id.
        self._save_progress(self.sent)
        try:
            with _redact_argv():
                run = wandb.init(**options)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"logger=wandb cannot start its run ({_get_reason(error)}); correct logger.wandb.…"
            ) from error
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"logger=wandb cannot start its run ({reason}); "
                "run `wandb login` once, or set logger.wandb.offline=true, which needs neither account nor network"
            ) from error
        for axis, names in AXES.items():
            run.define_metric(axis)
            for name in names:
                run.define_metric(name, step_metric=axis)
        return run

    def _record_progress(self, sent: UploadProgress) -> None:
        """Keep the progress, and save the one before, which W&B has written to the disk by now."""
        self.sent = sent
        if time.monotonic() > self.since + FLUSH_SECONDS:
            self._save_progress(self.unsafe)
            self.unsafe = sent
            self.since = time.monotonic()

    def _save_progress(self, sent: UploadProgress) -> None:
        replace_text(self.run_dir / "wandb.json", json.dumps(asdict(sent)))


def _check_init_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError about a setting that W&B would refuse, which it would do only when training begins."""
    import wandb

    known = inspect.signature(wandb.init).parameters
    settings = wandb.Settings()
    for name, value in arguments.items():
        if name not in known:
            raise ConfigError(f"logger.wandb.{name} is not known to W&B; use one of {', '.join(known)}")
        # W&B keeps `tags` as `run_tags`, and so on; what it does not keep, it does not check.
        field = name if hasattr(settings, name) else f"run_{name}"
        if value is None or not hasattr(settings, field):
            continue
        try:
            setattr(settings, field, value)
        except (ValueError, TypeError, wandb.errors.Error) as error:
            raise ConfigError(f"logger.wandb.{name} is invalid: {_get_reason(error)}; correct it") from error


def _get_reason(error: Exception) -> str:
    """Return what is wrong, without the values and links that pydantic adds."""
    # W&B brings pydantic.
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    problems = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
    return "; ".join(problems)


def _read_progress(path: Path) -> UploadProgress | None:
    try:
        sent = UploadProgress(**json.loads(read_text(path, MAX_BYTES)))
        has_counts = isinstance(sent.rounds, int) and isinstance(sent.step, int)
        # The id becomes a part of file names.
        has_id = re.fullmatch(r"[\w-]{1,64}", sent.id) is not None
        if not has_counts or not has_id:
            raise ValueError("it is not what llpp writes")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StateError(f"{path} is damaged; delete it, and the run continues as a new one in W&B") from error
    return sent


@contextmanager
def _redact_argv() -> Iterator[None]:
    """Hide secrets of the command line, which W&B stores."""
    arguments = sys.argv
    sys.argv = redact_arguments(arguments)
    try:
        yield
    finally:
        sys.argv = arguments
