"""The verb `llpp data`: look at a dataset before anything is trained on it."""

import argparse
from pathlib import Path

EPILOG = """\
The exit status is 1 if there are problems. `llpp data cache build | list | remove` manages crops that are kept on
disk, see `llpp data cache --help`.
"""


def run_data_command(arguments: list[str]) -> int:
    """Show the contents of a dataset: tables and problems in the terminal, a contact sheet of crops per split."""
    if arguments[:1] == ["cache"]:
        from llpp.cli.cache import run_cache_command

        return run_cache_command(arguments[1:])
    chosen = _parse_arguments(arguments)

    from llpp.config import compose, read_settings

    cfg = compose.compose_config(chosen.options, chosen.config_dir)
    # refuse wrong values before torch is imported, which takes seconds
    with compose.compose_errors_as_config_errors():
        read_settings.read_settings(cfg)
    from llpp import inspection
    from llpp.config import build

    task, crop = build.build_inspected(cfg)
    output = chosen.output or Path(f"data_{task.dataset.name}")
    problem_count = inspection.show_dataset(
        task,
        crop,
        output,
        samples=chosen.samples,
        seed=chosen.seed,
        decode=chosen.decode,
        flip=cfg.augmentation.get("flip") or 0.0,
    )
    return 1 if problem_count else 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llpp data", description=run_data_command.__doc__, epilog=EPILOG)
    parser.add_argument(
        "options",
        nargs="*",
        metavar="OPTION=VALUE",
        help="as for llpp run: dataset=lspet, dataset.root=…, crop.size=…",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write the sheets (default: data_ and the name of the dataset)",
    )
    parser.add_argument(
        "--samples", type=int, default=24, metavar="N", help="crops per sheet (default: 24; 0: no sheets)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed that chooses them (default: 0)")
    parser.add_argument("--decode", action="store_true", help="read every image, not only those of the sheets")
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="a folder of your own YAML groups, as for llpp run"
    )
    chosen = parser.parse_intermixed_args(arguments)
    if min(chosen.samples, chosen.seed) < 0:
        parser.error("--samples and --seed must be whole numbers, 0 or more")
    return chosen
