"""The command line. Imports nothing heavy before a command needs it, so `--help` answers at once."""

import argparse
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from llpp import __version__
from llpp.cli.analyze import run_analyze_command
from llpp.cli.data import run_data_command
from llpp.config import compose
from llpp.errors import Interrupted, LlppError

USAGE = """\
llpp: which images should we label next, and where will our pose model fail?

usage: llpp run [OPTION=VALUE ...]     train, score, select, round by round; the same command resumes
       llpp run -m OPTION=A,B ...      the same for every combination (a sweep)
       llpp report DIR [DIR ...]       tables, curves and a gallery from runs or folders of runs
       llpp data [OPTION=VALUE ...]    what a dataset holds: tables, problems, contact sheets of crops with joints
       llpp data cache build|list|remove   crops kept on the disk, for dataset.cache=true
       llpp analyze [RUN_DIR]          the objectives' mathematics, and a run's own losses under it
       llpp --version

try:   llpp run experiment=demo
       llpp run --help                 all options, groups and presets
"""


def main() -> None:
    """Entry point of the `llpp` command."""
    verbs: dict[str, Callable[[list[str]], int]] = {
        "run": run, "report": report, "data": run_data_command, "analyze": run_analyze_command
    }  # fmt: skip
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
        fail("interrupted", code=130)
    except Interrupted as stopped:
        code = int(str(stopped.code))
        name, command = signal.Signals(code - 128).name, shlex.join(["llpp", *arguments])
        fail(f"interrupted ({name}); nothing that was finished is lost: `{command}` goes on from there", code)


def fail(message: str, code: int = 2) -> None:
    """Say what is wrong in one sentence and leave."""
    # names out of other people's files may hold codes that the terminal would obey
    print("llpp: " + "".join(c if c.isprintable() else " " for c in message), file=sys.stderr)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Hydra composes the config, then the rounds begin."""
    # waiting threads that spin make small nets many times slower as soon as another process wants the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments in (["--help"], ["-h"]):
        print(compose.help_text(), end="")
        return 0
    compose.check_words(arguments)
    from llpp.launch import launcher, sweep
    from llpp.launch.job import job

    try:
        compose.run(job, arguments)
        if launcher.is_worker():
            from llpp.distributed import collectives

            collectives.disconnect()
    finally:
        lines = sweep.summarise_jobs()
        print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr)
    return 1 if any(line.startswith("failed: ") for line in lines) else 0


def report(arguments: list[str]) -> int:
    """Tables, figures and a page from run directories."""
    parser = argparse.ArgumentParser(prog="llpp report", description=report.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a run directory, or a folder of them")
    parser.add_argument("--output", type=Path, help="where to write (default: the first DIR)")
    parser.add_argument("--reference", help="published numbers to show beside ours: paper")
    parser.add_argument(
        "--trusted-packages",
        default="",
        metavar="NAMES",
        help="packages, with commas between them, whose datasets a run's config.yaml may name beside llpp's own",
    )
    # the spelling of `llpp run` is understood, too
    spelt = [re.sub(r"^report\.reference=", "--reference=", argument) for argument in arguments]
    chosen = parser.parse_args([re.sub(r"^trusted_packages=", "--trusted-packages=", a) for a in spelt])
    trusted = [name for name in re.split(r"[\s,\[\]]+", chosen.trusted_packages) if name]

    from llpp import report as reports
    from llpp.config import instantiate

    reference = reports.get_reference(chosen.reference)
    dataset = partial(instantiate.rebuild_run_dataset, trusted=trusted)
    page = reports.write_report(chosen.folders, chosen.output or chosen.folders[0], dataset, reference)
    reports.print_tables(chosen.folders, reference=reference)
    print(page)
    return 0
