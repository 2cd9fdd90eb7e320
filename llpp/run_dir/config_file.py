"""Reading the config.yaml of a run directory, which may come from someone else.

It is written resolved and without aliases. So no interpolation in it is looked up, in the environment least of all,
and an alias, with which a few lines can expand to gigabytes, counts as damage.
"""

from pathlib import Path
from typing import Any

import yaml

from llpp.errors import StateError
from llpp.files import read_text
from llpp.run_dir.older_runs import update_config

MAX_BYTES = 1 << 18  # of a config.yaml; ours have some 6 kB


SHOWN_SETTINGS = ("name", "seed", "rounds", "initial", "budget", "init", "weights")  # as they are


SHOWN_GROUPS = ("pck", "crop")  # of which a part is


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values only, each written out."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


def read_config(run_dir: Path) -> tuple[dict[str, Any], str]:
    """A run's config.yaml as plain values, with interpolations as they stand there, and as text.

    Raises:
        StateError: no such file, one that is too large or damaged, or one that no run has written.
    """
    try:
        text = read_text(run_dir / "config.yaml", MAX_BYTES)
        config = yaml.load(text, _PlainLoader)  # a SafeLoader
    except Exception as error:  # the parser's tags raise whatever a wrong value makes of them
        raise _make_unreadable_error(run_dir) from error
    if not isinstance(config, dict):
        raise _make_unreadable_error(run_dir)
    plain = all(_is_plain(config.get(name)) for name in SHOWN_SETTINGS)
    if not plain or not all(isinstance(config.get(name), dict | None) for name in SHOWN_GROUPS):
        raise _make_unreadable_error(run_dir)
    return update_config({str(name): value for name, value in config.items()}), text


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 63)


def _make_unreadable_error(folder: Path) -> StateError:
    return StateError(
        f"{folder} has no readable config.yaml; start its `llpp run` command again, which writes it anew"
    )
