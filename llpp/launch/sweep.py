"""The jobs of a sweep: how each of them ended, summarised at the end."""

import datetime
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llpp.config.read_settings import check_folder_names
from llpp.errors import LlppError
from llpp.files import replace_text
from llpp.launch import gpu_sharing, launcher, sweep_collisions, sweep_jobs, sweep_progress
from llpp.redaction import redact, redact_arguments, redact_text
from llpp.run_dir.state import load_state
from llpp.run_dir.writable import check_writable

log = logging.getLogger(__name__)
# Environment variable with the path of the journal: the file in which the jobs of one sweep, also those in other
# processes, record how they ended.
JOURNAL_VARIABLE = "LLPP_SWEEP"
OUTCOMES = ("done", "done before", "failed")  # of a job, in the order of the summary


class SweepJournal(Callback):
    """Starts the journal of a sweep (hydra.callbacks)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Start an empty journal; Hydra calls this before the first job, in the process that launches the jobs."""
        problem = sweep_collisions.find_shared_run_dir(config) or sweep_jobs.explain_asking_jobs(config)
        if problem is not None:
            end_sweep(problem)
        try:
            gpu_sharing.prepare_sweep(config)
        except LlppError as error:
            end_sweep(str(error))
        folder = Path(config.hydra.sweep.dir).absolute()
        try:
            # What a job cannot resolve, Hydra explains when it begins.
            with suppress(OmegaConfBaseException):
                # Hydra makes a job's folder before the job can check its name.
                check_folder_names(config)
            check_writable(folder)
            folder.mkdir(parents=True, exist_ok=True)
        except LlppError as error:
            end_sweep(str(error))
        except OSError as error:
            end_sweep(f"the sweep's folder {folder} cannot be made ({error.strerror}); choose another paths.runs=…")
        journal = folder / f".sweep-{os.getpid()}.jsonl"
        # Lines are added to it, and it is only a summary: a folder that takes none does not end the sweep here.
        with suppress(OSError):
            journal.unlink(missing_ok=True)
        os.environ[JOURNAL_VARIABLE] = str(journal)
        if "joblib" in config.hydra.launcher._target_:
            from llpp.launch import joblib_workers

            joblib_workers.watch_parent()
        sweep_progress.start_plan(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hide secrets in multirun.yaml; Hydra calls this before each job, when it has written that file."""
        if JOURNAL_VARIABLE in os.environ:
            hide_secrets(Path(config.hydra.sweep.dir) / "multirun.yaml")


def end_sweep(problem: str) -> NoReturn:
    """End the process before the first job, with exit code 2 and one sentence."""
    # Hydra turns an exception of a callback into a warning, and continues.
    if not launcher.is_worker() or os.environ.get("RANK", "0") == "0":
        print(f"llpp: {problem}", file=sys.stderr)
    sys.exit(2)


def hide_secrets(path: Path) -> None:
    """Redact a config file that Hydra has written, including its overrides."""
    # Another job may redact the same file at the same time.
    with suppress(OSError):
        config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        safe = redact(config)
        for name in ("task", "hydra"):
            safe["hydra"]["overrides"][name] = redact_arguments(config["hydra"]["overrides"][name])
        if safe != config:
            replace_text(path, OmegaConf.to_yaml(OmegaConf.create(safe)))


def announce_job(run_dir: str) -> None:
    """Log which job of the sweep begins, and how long all of them will take."""
    # Rank 0 speaks for all processes of a job.
    if launcher.is_worker() and os.environ.get("RANK", "0") != "0":
        return
    ended = sweep_progress.read_journal(Path(os.environ.get(JOURNAL_VARIABLE, "")))
    line = sweep_progress.describe_job(run_dir, ended)
    if line is not None:
        log.info("%s", line)


def record_outcome(
    run_dir: Path, outcome: str, reason: str | None = None, leave: bool = True, seconds: float | None = None
) -> None:
    """Add a job's outcome to the journal, and keep `failed.json` in its run directory up to date.

    Args:
        run_dir: the job's run directory.
        outcome: `done`, `done before` or `failed`.
        reason: why it failed; None if it did not, which removes an earlier `failed.json`.
        leave: write the reason to `failed.json` as well.
        seconds: how long the job took.
    """
    # Rank 0 records for all processes of a job. Outside torchrun the variable is another program's.
    if launcher.is_worker() and os.environ.get("RANK", "0") != "0":
        return
    if reason is not None:
        reason = redact_text(reason)
    # Errors are ignored: a full disk may be the reason of this failure, and must not end the other jobs.
    journal = os.environ.get(JOURNAL_VARIABLE)
    if journal:
        line = json.dumps({"run": str(run_dir), "outcome": outcome, "reason": reason, "seconds": seconds})
        with suppress(OSError), Path(journal).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    failed = run_dir / "failed.json"
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with suppress(OSError):
        if reason is None:
            failed.unlink(missing_ok=True)
        elif leave:
            replace_text(failed, json.dumps({"reason": reason, "when": when}, indent=1))


def is_sweep_worker() -> bool:
    """Whether a launcher of Hydra, and not the user, started this process for jobs of a sweep."""
    journal = os.environ.get(JOURNAL_VARIABLE)
    # The journal's name contains the id of the process that the user started.
    return journal is not None and f".sweep-{os.getpid()}." not in journal


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn joblib's error about a process that ended while it ran a job into an LlppError."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        # joblib's text: {SIGKILL(-9)}, or {EXIT(143)} of a process that ended in order after SIGTERM.
        found = re.search(r"exit codes of the workers are \{(.*)\}", str(error))
        how = found[1] if found is not None else "without a word"
        raise LlppError(
            f"a process that ran jobs of this sweep has ended ({how}), because it was stopped or because memory ran "
            "out, and joblib stops the others then; finished work is kept: run the same command again, with a lower "
            "hydra.launcher.n_jobs if it was for memory"
        ) from error


def summarise_jobs() -> list[str]:
    """Return lines about how the jobs of this process's sweep ended; empty outside a sweep. Removes the journal."""
    sweep_progress.end_plan()
    journal = Path(os.environ.pop(JOURNAL_VARIABLE, ""))
    if not journal.is_file():
        return []
    jobs = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    journal.unlink()
    if not jobs:
        return []
    totals = Counter(job["outcome"] for job in jobs)
    counts = [f"{totals[outcome]} {outcome}" for outcome in OUTCOMES if totals[outcome]]
    noun = "job" if len(jobs) == 1 else "jobs"
    lines = [f"{len(jobs)} {noun}: {', '.join(counts)}"]
    for job in jobs:
        if job["outcome"] == "failed":
            lines.append(f"failed: {job['run']}: {job['reason']}")
    if totals["failed"]:
        lines.append("when that is corrected, the same command starts the jobs that are not done")
    return lines


def is_done(cfg: DictConfig) -> bool:
    """Whether all rounds of a run with exactly this config are committed, and its report is written.

    The data are not compared with those of the run; a run that is started outside a sweep compares them.
    """
    # This module imports NumPy, which takes longer than the report of a wrong setting should.
    from llpp.config.kept_settings import keep_decided_settings
    from llpp.run_dir.config_file import read_config

    run_dir = Path(cfg.paths.run_dir)
    try:
        keep_decided_settings(cfg)
        config, _ = read_config(run_dir)
        wanted = redact(OmegaConf.to_container(cfg, resolve=True))
        if _drop_process_settings(config) != _drop_process_settings(wanted):
            return False
        state = load_state(run_dir / "state.json")
    except (OSError, ValueError, OmegaConfBaseException, LlppError):
        # The run itself will report the problem.
        return False
    if state is None or len(state.rounds) != cfg.rounds:
        return False
    if not OmegaConf.select(cfg, "report.write"):
        return True
    # A job that ended between its last commit and its report has an older report, or none.
    return _is_newer(run_dir / "report.html", run_dir / "state.json")


def _drop_process_settings(config: dict[str, Any]) -> dict[str, Any]:
    """A config without how processes are started, which may change between starts, as after memory has run out."""
    kept = {name: value for name, value in config.items() if name != "launch"}
    data = config.get("data")
    if isinstance(data, dict):
        kept["data"] = {name: value for name, value in data.items() if name not in ("workers", "pin_memory")}
    return kept


def _is_newer(path: Path, other: Path) -> bool:
    """Whether `path` exists and was not written before `other`."""
    return path.exists() and path.stat().st_mtime_ns >= other.stat().st_mtime_ns
