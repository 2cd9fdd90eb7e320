"""The command line. Imports nothing heavy before a command needs it, so `--help` answers at once."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llpp import __version__
from llpp.errors import ConfigError, LlppError

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """\
llpp: which images should we label next, and where will our pose model fail?

usage: llpp run [OPTION=VALUE ...]     train, score, select, round by round; the same command resumes
       llpp run -m OPTION=A,B ...      the same for every combination (a sweep)
       llpp report DIR [DIR ...]       tables, curves and a gallery from runs or folders of runs
       llpp data [OPTION=VALUE ...]    what a dataset holds: tables, problems, contact sheets of crops with joints
       llpp --version

try:   llpp run experiment=demo
       llpp run --help                 all options, groups and presets
"""


def main() -> None:
    """Entry point of the `llpp` command."""
    verbs: dict[str, Callable[[list[str]], int]] = {"run": run, "report": report, "data": data}
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


def data(arguments: list[str]) -> int:
    """What a dataset holds: tables and problems in the terminal, and a contact sheet of random crops per split."""
    parser = argparse.ArgumentParser(
        prog="llpp data", description=data.__doc__, epilog="The exit status is 1 if there are problems."
    )
    add = parser.add_argument
    add(
        "options",
        nargs="*",
        metavar="OPTION=VALUE",
        help="as of llpp run: dataset=lspet, dataset.root=…, crop.size=…",
    )
    add("--output", type=Path, metavar="DIR", help="where to draw (default: data_ and the dataset's name)")
    add("--samples", type=int, default=24, metavar="N", help="crops per sheet (default: 24; 0: no sheets)")
    add("--seed", type=int, default=0, metavar="N", help="chooses them (default: 0)")
    add("--decode", action="store_true", help="read every image, not only those of the sheets")
    add("--config-dir", type=Path, metavar="DIR", help="a folder of own YAML groups, as of llpp run")
    chosen = parser.parse_intermixed_args(arguments)
    if min(chosen.samples, chosen.seed) < 0:
        parser.error("--samples and --seed are whole numbers, 0 or more")

    from llpp import build, inspection

    dataset, crop, pck = build.inspected(composed(chosen.options, chosen.config_dir))
    output = chosen.output or Path(f"data_{dataset.name}")
    wanted = {name: getattr(chosen, name) for name in ("samples", "seed", "decode")}
    return min(1, inspection.show(dataset, crop, pck, output, **wanted))


def composed(overrides: list[str], own: Path | None) -> "DictConfig":
    """The config of a run with these overrides, without Hydra's own part."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if own and not own.is_dir():
        raise ConfigError(f"--config-dir {own} is not a folder")
    search = [f"hydra.searchpath=['file://{own.absolute()}']"] if own else []
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("run", [*search, *overrides])
    except OverrideParseException as error:
        raise ConfigError(f"{error.override!r} cannot be read; expected OPTION=VALUE, as in dataset=lspet") from error
    except (HydraException, OmegaConfBaseException) as error:
        told = " ".join(str(error).partition("Config search path")[0].split())
        raise ConfigError(told) from error
