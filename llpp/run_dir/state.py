"""The rounds of a run as values, and the one file that makes them real.

A round exists if and only if it stands in `state.json`; everything else in a run directory can be rebuilt from
it or thrown away.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llpp.errors import OccupiedError, StateError
from llpp.files import read_text, replace_text
from llpp.hashing import hash_json
from llpp.run_dir.lock import MAX_NAME_LENGTH
from llpp.run_dir.older_runs import update_state

VERSION = 2
READABLE_VERSIONS = (1, 2)
MAX_BYTES = 1 << 31  # of a state file; a million ids of 15 characters have some 20 MB
MAX_MEASUREMENT = 1e30  # of a finite measurement
PRECISION = "trainer.precision"
COUNTS = ("devices", "labelled", "validation_labels", "test_undefined", "steps", "selected", "pool")
Row = dict[str, float | int | None]


@dataclass(frozen=True)
class Round:
    """One committed round: its measurements and the ids it selected, first the one to label first."""

    number: int
    row: Row
    selected: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)  # name in the round's folder → SHA-256 of what it left
    machine: str = ""  # name of the one whose first rank committed it


@dataclass(frozen=True)
class Growth:
    """Records that joined the unlabelled pool of a run that had begun."""

    round: int  # the first one that can select them
    added: int
    before: Mapping[str, Any]  # the science of the dataset until then


@dataclass(frozen=True)
class RunState:
    """All that a run has to remember."""

    science: Mapping[str, Any]  # the settings that decide its results, flat
    initial: tuple[str, ...]  # ids labelled before round 0
    skipped: Mapping[str, str]  # ids whose image cannot be read → why
    rounds: tuple[Round, ...] = ()
    grown: tuple[Growth, ...] = ()

    @property
    def labelled(self) -> tuple[str, ...]:
        """Ids labelled so far, in order of acquisition."""
        return self.initial + tuple(i for r in self.rounds for i in r.selected)

    @property
    def steps(self) -> int:
        """Training steps of all committed rounds: where the next one's logs go on."""
        return int(self.rounds[-1].row.get("steps") or 0) if self.rounds else 0

    def get_result_settings(self, number: int) -> dict[str, Any]:
        """The settings, with the dataset out of which the ids were chosen that round `number` trains on."""
        before = next((growth.before for growth in self.grown if growth.round >= number), None)
        if before is None:
            return dict(self.science)
        return {k: v for k, v in self.science.items() if not k.startswith("dataset.")} | dict(before)

    def commit(self, finished: Round) -> "RunState":
        """The state with one more round."""
        if finished.number != len(self.rounds):
            raise StateError(f"round {finished.number} cannot follow {len(self.rounds)} committed rounds")
        return replace(self, rounds=(*self.rounds, finished))


def save_state(state: RunState, path: Path) -> None:
    """Replace the state file; called by rank 0 only."""
    body = asdict(state)
    replace_text(path, json.dumps({"llpp_state": VERSION, "sha256": hash_json(body), **body}, indent=1))


def load_state(path: Path) -> RunState | None:
    """Read a state file, None if there is none; StateError if it is damaged or from a newer version."""
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _make_damage_error(path, "it is not text") from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}; mend that, or choose another run") from error
    try:
        body = json.loads(text)
        version, checksum = body.pop("llpp_state"), body.pop("sha256")
        found = hash_json(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _make_damage_error(path, "it is not a complete state file") from error
    if version not in READABLE_VERSIONS:
        raise StateError(
            f"{path} has version {version!r}, this llpp reads up to {VERSION}; update llpp or start a new run"
        )
    if found != checksum:
        raise _make_damage_error(path, "its checksum does not fit its content")
    try:
        if version == 1:
            body = update_state(body)
        return _parse_state(**body)
    except (AttributeError, ValueError, KeyError, TypeError) as error:  # anybody can compute a checksum
        raise _make_damage_error(path, "its content is not what llpp writes") from error


def _parse_state(science: Any, initial: Any, skipped: Any, rounds: Any, grown: Any = ()) -> RunState:
    """A state out of JSON; ValueError, KeyError or TypeError where a value is of another kind."""
    _require(isinstance(science, dict) and isinstance(skipped, dict) and isinstance(rounds, list))
    _require(all(isinstance(reason, str) for reason in skipped.values()))
    found = []
    for number, told in enumerate(rounds):
        row = told["row"]
        _require(isinstance(row, dict) and told["number"] == number and row["labelled"] is not None)
        _require(all(_is_measurement(value) for value in row.values()))
        _require(all(isinstance(row.get(name), int | None) for name in COUNTS))
        files = told.get("files", {})  # older runs have none
        _require(isinstance(files, dict) and all(isinstance(sha256, str) for sha256 in files.values()))
        machine = told.get("machine", "")
        _require(isinstance(machine, str))
        found.append(Round(number, row, _parse_ids(told["selected"]), files, machine[:MAX_NAME_LENGTH]))
    _require(len(initial) > 0)
    growths = tuple(Growth(**growth) for growth in grown)
    _require(all(type(g.round) is type(g.added) is int and isinstance(g.before, dict) for g in growths))
    return RunState(science, _parse_ids(initial), skipped, tuple(found), growths)


def _parse_ids(listed: Any) -> tuple[str, ...]:
    _require(isinstance(listed, list) and all(isinstance(i, str) for i in listed))
    return tuple(listed)


def _is_measurement(value: Any) -> bool:
    """A number, of a size that can be averaged and drawn, or nothing."""
    return value is None or (isinstance(value, int | float) and not MAX_MEASUREMENT < abs(value) < math.inf)


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("another kind of value was expected")


def _make_damage_error(path: Path, reason: str) -> StateError:
    return StateError(
        f"{path} is damaged: {reason}; restore it from a backup, or delete {path.parent} to start again"
    )


def find_changed_settings(state: RunState, science: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that are not what a run was started with: name → then, now."""
    old, new = state.science, science
    return {k: (old.get(k), new.get(k)) for k in sorted({*old, *new}) if old.get(k) != new.get(k)}


def check_same_settings(state: RunState, science: Mapping[str, Any], run_dir: Path) -> None:
    """Raise OccupiedError, naming what differs, if a run was started with other settings."""
    changed = find_changed_settings(state, science)
    if not changed:
        return
    shown = ", ".join(f"{k}: {old!r} → {new!r}" for k, (old, new) in list(changed.items())[:5])
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    remedy = "choose another name=… or delete it"
    if list(changed) == [PRECISION]:  # on another machine, `auto` may mean another one
        remedy = f"go on with {PRECISION}={changed[PRECISION][0]}, or {remedy}"
    raise OccupiedError(f"{run_dir} was started with a different config ({shown}{more}); {remedy}")
