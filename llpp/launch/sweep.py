"""The jobs of a sweep: what became of each, told once at the end, and one GPU for each."""

import datetime
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llpp.errors import LlppError
from llpp.files import replace_text
from llpp.redaction import redact, redact_arguments, redact_text
from llpp.run_dir.state import load_state

JOURNAL_VARIABLE = (
    "LLPP_SWEEP"  # names the file in which the jobs of one sweep, in whatever processes, note how they ended
)


class SweepJournal(Callback):
    """Starts the journal of a sweep (hydra.callbacks)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before the first job, in the process that launches them."""
        folder = Path(config.hydra.sweep.dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / f".sweep-{os.getpid()}.jsonl"
        journal.unlink(missing_ok=True)
        os.environ[JOURNAL_VARIABLE] = str(journal)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before each job; by then it has written down what the sweep was called with."""
        if JOURNAL_VARIABLE in os.environ:
            hide_secrets(Path(config.hydra.sweep.dir) / "multirun.yaml")


def hide_secrets(path: Path) -> None:
    """Redact a config that Hydra has written, overrides included."""
    with suppress(OSError):  # another job is doing the same
        told: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        safe = redact(told)
        for name in ("task", "hydra"):
            safe["hydra"]["overrides"][name] = redact_arguments(told["hydra"]["overrides"][name])
        if safe != told:
            replace_text(path, OmegaConf.to_yaml(OmegaConf.create(safe)))


def record_outcome(run_dir: Path, outcome: str, reason: str | None = None, leave: bool = True) -> None:
    """Add a job to the journal: `done`, `done before` or `failed`; `leave` a failure in the run directory too."""
    if os.environ.get("RANK", "0") != "0":  # the first process of a job speaks for all
        return
    reason = reason and redact_text(reason)
    if journal := os.environ.get(JOURNAL_VARIABLE):
        with suppress(OSError), Path(journal).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": str(run_dir), "outcome": outcome, "reason": reason}) + "\n")
    failed = run_dir / "failed.json"
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk may be what this job failed by; it must not end the others
        if reason is None:
            failed.unlink(missing_ok=True)
        elif leave:
            replace_text(failed, json.dumps({"reason": reason, "when": when}, indent=1))


def is_sweep_worker() -> bool:
    """Whether this process was started by a launcher, and not by the user."""
    return f".sweep-{os.getpid()}." not in os.environ.get(JOURNAL_VARIABLE, "")


def summarise_jobs() -> list[str]:
    """Lines that tell how the jobs of this process's sweep ended, failures last; empty outside a sweep."""
    journal = Path(os.environ.pop(JOURNAL_VARIABLE, ""))
    if not journal.is_file():
        return []
    jobs = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    journal.unlink()
    if not jobs:
        return []
    outcomes = ("done", "done before", "failed")
    counts = [f"{n} {o}" for o in outcomes if (n := sum(job["outcome"] == o for job in jobs))]
    failures = [f"failed: {job['run']}: {job['reason']}" for job in jobs if job["outcome"] == "failed"]
    remedy = ["the same command starts those again that are not done"] if failures else []
    return [f"{len(jobs)} jobs: {', '.join(counts)}", *failures, *remedy]


def is_done(cfg: DictConfig) -> bool:
    """Whether all rounds of a run with exactly this config are committed, and its report is written.

    The data are not looked at again; a run that is started on its own does so.
    """
    from llpp.run_dir.config_file import (
        read_config,  # it knows arrays, which take longer to import than a mistake to tell
    )

    run_dir = Path(cfg.run_dir)
    try:
        same = read_config(run_dir)[0] == redact(OmegaConf.to_container(cfg, resolve=True))
        state = load_state(run_dir / "state.json") if same else None
    except (OSError, ValueError, OmegaConfBaseException, LlppError):
        return False  # the run itself will say what is wrong
    if state is None or len(state.rounds) != cfg.rounds:
        return False
    return not OmegaConf.select(cfg, "report.write") or _is_newer(run_dir / "report.html", run_dir / "state.json")


def _is_newer(path: Path, other: Path) -> bool:
    """Whether a file is there, and was written after another one."""
    return path.exists() and path.stat().st_mtime_ns >= other.stat().st_mtime_ns


@contextmanager
def reserve_gpus(
    count: int, wanted: int = 1, folder: Path | None = None, patience: float = 1.0
) -> Iterator[list[int]]:
    """The numbers, below `count`, of `wanted` visible GPUs that no other job of this machine holds; waits for them.

    All are taken at once or none, so that no two jobs wait for each other. The kernel drops the hold with its
    process. `folder` keeps the lock files, `patience` is the time between looks in seconds.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"llpp-gpus-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible if len(visible) == count else [str(number) for number in range(count)]
    while True:
        with ExitStack() as held:
            taken: list[int] = []
            for number, name in enumerate(names):
                file = held.enter_context((folder / f"{name}.lock").open("a"))
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    taken.append(number)
                if len(taken) == wanted:
                    yield taken
                    return
        time.sleep(patience)
