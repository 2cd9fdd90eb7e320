"""`llpp data cache`: build crops on disk before they are needed, list them and remove them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

EPILOG = """\
A run that caches its crops builds them by itself; `build` does it in advance. Each OPTION=VALUE is one of llpp run:
dataset=lspet, crop.size=…, crop.margin=…; `llpp run --help` lists them, the folder of the caches included.
"""


def run_cache_command(arguments: list[str]) -> int:
    """Build, list or remove crops that are cut once and kept on disk."""
    chosen = _parse_arguments(arguments)

    from llpp.config.compose import compose_config

    cfg = compose_config(chosen.options, chosen.config_dir)
    if chosen.verb == "build":
        return _build_cache(cfg)
    root = Path(cfg.paths.cache_dir)
    if chosen.verb == "list":
        return _list_caches(root)
    return _remove_caches(root, chosen.key)


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llpp data cache", description=run_cache_command.__doc__, epilog=EPILOG)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="build | list | remove")
    build_parser = verbs.add_parser("build", help="cut the crops of a dataset, or those that are missing or damaged")
    list_parser = verbs.add_parser("list", help="show all caches, their sizes, and when they were last used")
    remove_parser = verbs.add_parser("remove", help="delete one cache, or all")
    remove_parser.add_argument(
        "key", metavar="KEY", help="name of its folder in the list, or the first letters of it; or all"
    )
    for verb_parser in (build_parser, list_parser, remove_parser):
        verb_parser.add_argument("options", nargs="*", metavar="OPTION=VALUE", help="as for llpp run")
        verb_parser.add_argument(
            "--config-dir", type=Path, metavar="DIR", help="a folder of your own YAML groups, as for llpp run"
        )
    return parser.parse_args(arguments)


def _build_cache(cfg: "DictConfig") -> int:
    """Build the crops of a dataset; return 1 if images could not be read."""
    from llpp.config import build_crop_cache, instantiate

    crops = build_crop_cache.build_crop_cache(cfg, instantiate.make_dataset(cfg))
    name = crops.prepare(print)
    crops.open(name)
    for row, reason in sorted(crops.bad_rows.items()):
        print(f"problem: {crops.dataset.records.ids[row]}: {reason}")
    print(crops.get_store(name).home)
    return 1 if crops.bad_rows else 0


def _list_caches(root: Path) -> int:
    """Print one line per cache, and their total size."""
    from llpp.data.crop_cache import catalogue
    from llpp.data.crop_cache.blocks import format_bytes

    entries = catalogue.list_caches(root)
    total = 0
    for entry in entries:
        total += entry.bytes
        print(
            f"{entry.home.name}  {entry.dataset}: {entry.count:,} crops of {entry.side} × {entry.side} pixels, "
            f"{format_bytes(entry.bytes)}, {entry.done:.0%} built, last used {entry.used:%Y-%m-%d %H:%M}"
        )
    noun = "crop cache" if len(entries) == 1 else "crop caches"
    print(f"{len(entries)} {noun} in {root}, {format_bytes(total)}")
    return 0


def _remove_caches(root: Path, key: str) -> int:
    from llpp.data.crop_cache import catalogue

    for entry in catalogue.remove_caches(root, key):
        print(f"removed {entry.home}")
    return 0
