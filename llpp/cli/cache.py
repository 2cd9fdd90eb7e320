"""`llpp data cache`: crops on the disk, to be built before they are needed, looked at and removed."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

EPILOG = """\
A run with dataset.cache=true builds what it needs by itself; `build` does it beforehand. OPTION=VALUE are those of
llpp run: dataset=lspet, crop.size=…, crop.margin=…, cache_dir=… (the folder of the caches).
"""


def run_cache_command(arguments: list[str]) -> int:
    """Crops that are cut once and kept on the disk: build, list or remove them."""
    parser = argparse.ArgumentParser(prog="llpp data cache", description=run_cache_command.__doc__, epilog=EPILOG)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="build | list | remove")
    build = verbs.add_parser("build", help="cut the crops of a dataset, or what is missing or damaged of them")
    shown = verbs.add_parser("list", help="what there is, how large, and when it was used last")
    remove = verbs.add_parser("remove", help="delete one, or all")
    remove.add_argument("key", metavar="KEY", help="name of its folder or the beginning of it, from the list; or all")
    for verb in (build, shown, remove):
        verb.add_argument("options", nargs="*", metavar="OPTION=VALUE", help="as of llpp run")
        verb.add_argument(
            "--config-dir", type=Path, metavar="DIR", help="a folder of own YAML groups, as of llpp run"
        )
    chosen = parser.parse_args(arguments)

    from llpp.config.compose import composed

    cfg = composed(chosen.options, chosen.config_dir)
    if chosen.verb == "build":
        return _build(cfg)
    from llpp.data.crop_cache import catalogue

    root = Path(cfg.cache_dir)
    if chosen.verb == "list":
        return _list(root)
    for entry in catalogue.remove_caches(root, chosen.key):
        print(f"removed {entry.home}")
    return 0


def _build(cfg: "DictConfig") -> int:
    from llpp.config import build_crop_cache, instantiate

    crops = build_crop_cache.build_crop_cache(cfg, instantiate.make_dataset(cfg))
    name = crops.prepare(print)
    crops.open(name)
    for row, reason in sorted(crops.bad_rows.items()):
        print(f"problem: {crops.dataset.records.ids[row]}: {reason}")
    print(crops.get_store(name).home)
    return min(1, len(crops.bad_rows))


def _list(root: Path) -> int:
    from llpp.data.crop_cache import catalogue
    from llpp.data.crop_cache.blocks import format_bytes

    found = catalogue.list_caches(root)
    for entry in found:
        print(
            f"{entry.home.name}  {entry.dataset}: {entry.count:,} crops of {entry.side} × {entry.side} pixels, "
            f"{format_bytes(entry.bytes)}, {entry.done:.0%} built, last used {entry.used:%Y-%m-%d %H:%M}"
        )
    print(
        f"{len(found)} crop cache{'s' * (len(found) != 1)} in {root}, {format_bytes(sum(entry.bytes for entry in found))}"
    )
    return 0
