"""Reading the config.yaml of a run directory, which may come from someone else.

llpp writes it resolved and without aliases. So no interpolation in it is resolved, least of all from the environment,
and an alias, with which a few lines can expand to gigabytes, counts as damage.
"""

from pathlib import Path
from typing import Any

import yaml

from llpp.errors import StateError
from llpp.files import read_text
from llpp.run_dir.older_runs import update_config

MAX_BYTES = 1 << 18  # of a config.yaml; ours have some 6 kB
SHOWN_SETTINGS = ("name", "seed", "rounds", "initial", "budget")  # shown as they are
SHOWN_GROUPS = ("pck", "crop", "training")  # shown in part


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Loads plain values only, each of them written out."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


def read_config(run_dir: Path) -> tuple[dict[str, Any], str]:
    """Read a run's config.yaml as plain values, with interpolations unresolved, and as text.

    Raises:
        StateError: no such file, or one that is too large, damaged, or not written by a run.
    """
    try:
        text = read_text(run_dir / "config.yaml", MAX_BYTES)
        # A SafeLoader, so no object is built.
        config = yaml.load(text, _PlainLoader)
    except Exception as error:
        # The constructors of YAML's tags raise various exceptions on a wrong value.
        raise _make_unreadable_error(run_dir) from error
    if not isinstance(config, dict):
        raise _make_unreadable_error(run_dir)
    for name in SHOWN_SETTINGS:
        if not _is_plain(config.get(name)):
            raise _make_unreadable_error(run_dir)
    for name in SHOWN_GROUPS:
        if not isinstance(config.get(name), dict | None):
            raise _make_unreadable_error(run_dir)
    return update_config({str(key): value for key, value in config.items()}), text


def _is_plain(value: Any) -> bool:
    """Return whether a value can be shown: None, text, or a number that 64 bits hold."""
    if isinstance(value, int):
        return abs(value) < 1 << 63
    return value is None or isinstance(value, str | float)


def _make_unreadable_error(run_dir: Path) -> StateError:
    return StateError(
        f"{run_dir} has no readable config.yaml; run the same `llpp run` command again, which writes a new one"
    )
