"""The entry point of `llpp`: find the verb and call its function.

Nothing heavy is imported before a verb needs it, so `--help` answers at once.
"""

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from llpp import __version__, storage, terminal
from llpp.cli.analyze import run_analyze_command
from llpp.cli.check import run_check_command
from llpp.cli.data import run_data_command
from llpp.cli.export import run_export_command
from llpp.cli.label import run_label_command
from llpp.cli.predict import run_predict_command
from llpp.cli.report import run_report_command
from llpp.cli.run import run_run_command
from llpp.errors import Interrupted, LlppError

USAGE = """\
llpp: which images should we label next, and where will our model fail?

usage: llpp run [OPTION=VALUE ...]     train, score, select, round by round; the same command resumes
       llpp run -m OPTION=A,B ...      the same for every combination (a sweep)
       llpp label FOLDER [OPTION=VALUE ...]  ask people for labels, in the tool that they use, batch by batch
       llpp predict RUN IMAGES ...     joints in new images and films, and which of them not to trust
       llpp check RUN                  labels that look wrong, and a batch to correct them
       llpp export RUN onnx|torch      a run's network as one file for other programs
       llpp report DIR [DIR ...]       tables, curves and a gallery from runs or folders of runs
       llpp data [OPTION=VALUE ...]    contents of a dataset: tables, problems, contact sheets of labelled crops
       llpp data cache build|list|remove   crops that are cut once and kept on disk
       llpp analyze [RUN_DIR]          the mathematics of the objectives, and how a run's losses compare with it
       llpp --version

try:   llpp run experiment=demo
       llpp run --help                 all options, groups and presets
"""
VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": run_run_command,
    "label": run_label_command,
    "predict": run_predict_command,
    "check": run_check_command,
    "export": run_export_command,
    "report": run_report_command,
    "data": run_data_command,
    "analyze": run_analyze_command,
}


def main() -> None:
    """Run the command line that this process was started with, and exit."""
    arguments = sys.argv[1:]
    terminal.open_missing_streams()
    terminal.accept_any_text()
    if arguments[:1] in (["run"], ["label"]):
        # They continue without a reader, as in `llpp run … | head`: their results are files.
        terminal.outlive_readers()
        run_command_line(arguments)
    else:
        with terminal.end_with_reader():
            run_command_line(arguments)


def run_command_line(arguments: list[str]) -> NoReturn:
    """Call the verb's function, turn its errors into sentences, and exit."""
    if not arguments:
        print(USAGE, end="")
        sys.exit(2)
    verb = arguments[0]
    if verb in ("-h", "--help", "help"):
        print(USAGE, end="")
        sys.exit(0)
    if verb == "--version":
        print(f"llpp {__version__}")
        sys.exit(0)
    if verb not in VERBS:
        fail(f"unknown command {verb!r}; expected one of {', '.join(VERBS)} (see llpp --help)")
    check_current_folder()
    try:
        with storage.explain_os_errors():
            code = VERBS[verb](arguments[1:])
    except LlppError as error:
        # Hydra's switch for debugging; sentences about plug-ins name it
        if os.environ.get("HYDRA_FULL_ERROR"):
            traceback.print_exception(error)
        fail(str(error))
    except KeyboardInterrupt:
        fail(f"interrupted{explain_resuming(verb, arguments)}", code=130)
    except Interrupted as interruption:
        number = int(str(interruption.code)) - 128
        name = signal.Signals(number).name
        fail(f"interrupted ({name}){explain_resuming(verb, arguments)}", code=128 + number)
    sys.exit(code)


def check_current_folder() -> None:
    """Fail if the current folder is gone: every relative path, and Hydra, need it."""
    try:
        Path.cwd()
    except OSError as error:
        fail(f"the current folder cannot be used: {error.strerror}; it was deleted or moved: cd to one that exists")


def explain_resuming(verb: str, arguments: list[str]) -> str:
    """Say with which command an interrupted run or sweep is resumed; nothing about other verbs."""
    if verb not in ("run", "label", "predict", "check"):
        return ""
    kept = "; finished work is kept, run the same command again to resume"
    # torchrun has the first part of the command, and this process does not know it
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return kept
    started_as_module = Path(sys.argv[0]).name == "__main__.py"
    program = [Path(sys.executable).name, "-m", "llpp"] if started_as_module else ["llpp"]
    return f"{kept}: {shlex.join([*program, *arguments])}"


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one sentence about the problem and exit."""
    # names from other people's files may contain control codes that the terminal would obey
    printable = "".join(character if character.isprintable() else " " for character in message)
    print(f"llpp: {printable}", file=sys.stderr)
    sys.exit(code)
