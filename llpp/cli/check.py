"""The verb `llpp check`."""

import argparse
import logging
import sys
from pathlib import Path

from llpp.cli.package_names import split_package_names
from llpp.cli.run_spelling import accept_run_spelling
from llpp.errors import expect

OPTIONS = ("folds", "share", "out", "tool", "device", "trusted_packages")
MOST_FOLDS = 20  # each is a network to train
EPILOG = """\
Options may also be written as for llpp run: folds=0 tool=cvat. The same command resumes after an interruption.
docs/check.md explains the columns, and what becomes of corrected labels.
"""


def run_check_command(arguments: list[str]) -> int:
    """Find labels that look wrong: judge each by a network that did not train on it."""
    chosen = _parse_arguments(arguments)
    is_possible = chosen.folds == 0 or 2 <= chosen.folds <= MOST_FOLDS
    expect(is_possible, "--folds", chosen.folds, f"2 to {MOST_FOLDS}, or 0 to train nothing")
    expect(0 < chosen.share <= 1, "--share", chosen.share, "more than 0, and 1 at most")
    trusted = split_package_names(chosen.trusted_packages)
    from llpp.config import run_check

    state = run_check.read_committed_state(chosen.run)
    tool = run_check.load_tool(chosen.run, chosen.tool)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("llpp").setLevel(logging.INFO)
    from llpp.checking.check import CheckRequest, check_labels
    from llpp.launch import job

    job.install_signal_handlers()
    out = chosen.out or chosen.run / "check"
    checked = run_check.open_checked_run(chosen.run, out, state, chosen.device, trusted)
    request = CheckRequest(chosen.folds, chosen.share, tool.tool, tool.half_pixel, tool.command)
    result = check_labels(checked, request)
    for line in [*result.lines, tool.remark, *result.files]:
        if line:
            print(line)
    return 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llpp check", description=run_check_command.__doc__, epilog=EPILOG)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory with at least one committed round")
    parser.add_argument(
        "--folds",
        type=int,
        default=2,
        metavar="N",
        help="networks to train, each on the labels of all folds but one (default: 2); 0: none, and only labels are "
        "judged that a round of the run has not trained on",
    )
    parser.add_argument(
        "--share", type=float, default=0.05, help="share of the labels to show and to ask for (default: 0.05)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go (default: RUN/check)")
    parser.add_argument(
        "--tool",
        metavar="NAME",
        help="write a batch for cvat, label_studio, …; none: no batch (default: the tool of a run of llpp label)",
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), help="where to train and judge (default: as the run)")
    parser.add_argument(
        "--trusted-packages",
        default="",
        metavar="NAMES",
        help="packages, separated by commas, whose classes the run's config.yaml may name in addition to llpp's own",
    )
    return parser.parse_intermixed_args([accept_run_spelling(argument, OPTIONS) for argument in arguments])
