"""The verb `llpp run`."""

import os
import sys
from pathlib import Path

from llpp.config import compose


def run_run_command(arguments: list[str]) -> int:
    """Compose the config and run its rounds, or all jobs of a sweep; return the exit status."""
    # Waiting threads spin by default, which makes small networks many times slower as soon as another process
    # wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "--help" in arguments or "-h" in arguments:
        print(compose.help_text(), end="")
        return 0
    from llpp.launch import launcher, sweep
    from llpp.launch.job import install_signal_handlers, job

    # The process of a sweep whose jobs run in others has no job that would do this.
    install_signal_handlers()
    try:
        with sweep.explain_lost_process():
            compose.run(job, arguments)
        if launcher.is_worker():
            from llpp.distributed import collectives

            collectives.disconnect()
    finally:
        _hide_secrets_of_sweep()
        # also after an interruption: which jobs are done by then
        summary = sweep.summarise_jobs()
        for line in summary:
            print(line, file=sys.stderr)
    has_failures = any(line.startswith("failed: ") for line in summary)
    return 1 if has_failures else 0


def _hide_secrets_of_sweep() -> None:
    """Redact what Hydra wrote about a sweep; this process does so only before jobs, and there may have been none."""
    from llpp.launch import sweep

    journal = os.environ.get(sweep.JOURNAL_VARIABLE)
    if journal is not None:
        sweep.hide_secrets(Path(journal).parent / "multirun.yaml")
