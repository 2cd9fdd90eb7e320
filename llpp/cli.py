"""The command line. Imports nothing heavy before a command needs it, so `--help` answers at once."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llpp import __version__
from llpp.errors import LlppError

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """\
llpp: which images should we label next, and where will our pose model fail?

usage: llpp run [OPTION=VALUE ...]     train, score, select, round by round; the same command resumes
       llpp run -m OPTION=A,B ...      the same for every combination (a sweep)
       llpp report DIR [DIR ...]       tables, curves and a gallery from runs or folders of runs
       llpp --version

try:   llpp run experiment=demo
       llpp run --help                 all options, groups and presets
"""


def main() -> None:
    """Entry point of the `llpp` command."""
    verbs: dict[str, Callable[[list[str]], int]] = {"run": run, "report": report}
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        print(f"llpp {__version__}")
        sys.exit(0)
    if arguments[0] not in verbs:
        fail(f"unknown command {arguments[0]!r}; expected one of {', '.join(verbs)} (see llpp --help)")
    try:
        sys.exit(verbs[arguments[0]](arguments[1:]))
    except LlppError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; the last committed round is safe, and the same command goes on from there", code=130)


def fail(message: str, code: int = 2) -> None:
    """Say what is wrong in one sentence and leave."""
    print(f"llpp: {message}", file=sys.stderr)
    sys.exit(code)


def conf_dir() -> Path:
    """The folder of YAML groups: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise LlppError(f"llpp is installed without its conf folder (looked in {package}); install it again")


def run(arguments: list[str]) -> int:
    """Hydra composes the config, then the rounds begin."""
    # waiting threads that spin make small nets many times slower as soon as another process wants the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import hydra

    sys.argv = ["llpp run", *arguments]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")(job)()
    return 0


def job(cfg: "DictConfig") -> None:
    """One run: a single one, or one of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from llpp import build, loop
    from llpp import report as reports

    log = logging.getLogger(__name__)
    if threading.current_thread() is threading.main_thread():  # Python accepts no handler elsewhere
        signal.signal(signal.SIGTERM, stop)
    try:
        experiment = build.experiment(cfg)
        state = loop.run(experiment)
        log.info("%s: %d rounds done", cfg.run_dir, len(state.rounds))
        if cfg.report:
            page = reports.write([experiment.run_dir], experiment.run_dir, lambda _: experiment.dataset)
            log.info("the report is %s", page)
    except LlppError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR"):
            raise  # Hydra goes on with the other jobs of a sweep and fails at the end
        fail(str(error))


def stop(number: int, _: object) -> None:
    """Leave through every `finally` instead of at once, so that what is open gets closed, W&B's run above all."""
    sys.exit(128 + number)


def report(arguments: list[str]) -> int:
    """Tables, figures and a page from run directories."""
    parser = argparse.ArgumentParser(prog="llpp report", description=report.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a run directory, or a folder of them")
    parser.add_argument("--output", type=Path, help="where to write (default: the first DIR)")
    chosen = parser.parse_args(arguments)

    from llpp import build
    from llpp import report as reports

    page = reports.write(chosen.folders, chosen.output or chosen.folders[0], build.dataset_of_run)
    reports.print_tables(chosen.folders)
    print(page)
    return 0
