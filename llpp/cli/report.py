"""The verb `llpp report`."""

import argparse
import re
from functools import partial
from pathlib import Path

from llpp.cli.package_names import split_package_names
from llpp.setting_rules import check_setting


def run_report_command(arguments: list[str]) -> int:
    """Write tables, figures and an HTML page about run directories."""
    parser = argparse.ArgumentParser(prog="llpp report", description=run_report_command.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a run directory, or a folder of them")
    parser.add_argument("--output", type=Path, help="where to write (default: the first DIR)")
    parser.add_argument("--reference", help="published numbers to compare with: paper")
    parser.add_argument("--target", type=float, help="mean quality of an image, 0 to 1, at which labelling may stop")
    parser.add_argument("--gain", type=float, help="of the test metric, below which another budget is not worth it")
    parser.add_argument(
        "--trusted-packages",
        default="",
        metavar="NAMES",
        help="packages, separated by commas, whose datasets a run's config.yaml may name in addition to llpp's own",
    )
    chosen = parser.parse_args([_accept_run_spelling(argument) for argument in arguments])
    trusted = split_package_names(chosen.trusted_packages)

    from llpp import report
    from llpp.config import instantiate
    from llpp.report.stopping import Limits

    reference = report.get_reference(chosen.reference)
    rebuild_task = partial(instantiate.rebuild_run_task, trusted=trusted)
    check_setting("report.target", chosen.target)
    if chosen.gain is not None:
        check_setting("report.gain", chosen.gain)
    limits = Limits(chosen.target, chosen.gain)
    output = chosen.output or chosen.folders[0]
    page = report.write_report(chosen.folders, output, rebuild_task, reference, limits)
    report.print_tables(chosen.folders, reference=reference)
    print(page)
    return 0


def _accept_run_spelling(argument: str) -> str:
    """Turn an option in the spelling of `llpp run` into a flag: `report.reference=paper`."""
    argument = re.sub(r"^report\.(reference|target|gain)=", r"--\1=", argument)
    return re.sub(r"^trusted_packages=", "--trusted-packages=", argument)
