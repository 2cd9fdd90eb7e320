"""`llpp data`: what a dataset holds, before anything is trained on it."""

import argparse
from pathlib import Path

from llpp.config.compose import check_words, composed

EPILOG = """\
The exit status is 1 if there are problems. `llpp data cache build | list | remove` looks after crops that are kept on
the disk (dataset.cache=true), see `llpp data cache --help`.
"""


def run_data_command(arguments: list[str]) -> int:
    """What a dataset holds: tables and problems in the terminal, and a contact sheet of random crops per split."""
    if arguments[:1] == ["cache"]:
        from llpp.cli.cache import run_cache_command

        return run_cache_command(arguments[1:])
    parser = argparse.ArgumentParser(prog="llpp data", description=run_data_command.__doc__, epilog=EPILOG)
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

    if chosen.config_dir is None:
        check_words(chosen.options)
    cfg = composed(chosen.options, chosen.config_dir)  # what it refuses is told before torch is imported
    from llpp import inspection
    from llpp.config import build

    task, crop = build.build_inspected(cfg)
    output = chosen.output or Path(f"data_{task.dataset.name}")
    wanted = {name: getattr(chosen, name) for name in ("samples", "seed", "decode")}
    return min(1, inspection.show_dataset(task, crop, output, **wanted))
