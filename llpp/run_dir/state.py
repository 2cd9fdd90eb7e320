"""The committed rounds of a run as values, and `state.json`, the file that commits them.

A round exists if and only if it is in `state.json`; everything else in a run directory can be rebuilt from it or
deleted.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any

from llpp.errors import OccupiedError, StateError
from llpp.files import read_text, replace_text
from llpp.hashing import hash_json
from llpp.run_dir.lock import MAX_NAME_LENGTH
from llpp.run_dir.older_runs import mark_other_draws, update_datasets, update_state

VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
MAX_BYTES = 1 << 31  # of a state file; a million ids of 15 characters have some 20 MB
MAX_MEASUREMENT = 1e30  # of a finite measurement
MAX_RANKER_NAME = 100  # characters
PRECISION = "trainer.precision"
COUNTS = (
    "devices", "labelled", "validation_labels", "test_undefined", "steps", "selected", "pool", "label_count",
    "audited", "audit_round", "audit_measured", "audit_open",
)  # fmt: skip
HEAD = "head"  # what ranks where nothing was chosen
CHOSEN = ("validation", "setting", "fallback")  # by what a round's ranker was chosen
Row = dict[str, float | int | None]


@dataclass(frozen=True)
class Round:
    """One committed round: its measurements and the ids it selected, first the one to label first."""

    number: int
    row: Row
    selected: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)  # name in the round's folder → SHA-256 of what it left
    machine: str = ""  # name of the machine whose first rank committed it
    # What ranks images by how likely they are failures, as `Ranker.to_plain` gives it, and by what it was `chosen`:
    # validation, setting, or fallback. None: the head, which nobody had to choose.
    ranker: Mapping[str, Any] | None = None

    @property
    def ranker_name(self) -> str:
        """What ranks, as tables call it."""
        return HEAD if self.ranker is None else str(self.ranker["name"])


@dataclass(frozen=True)
class Growth:
    """Records that joined the unlabelled pool of a run after its start."""

    round: int  # the first one that can select them
    added: int
    before: Mapping[str, Any]  # the settings of the dataset until then, as in `RunState.result_settings`


@dataclass(frozen=True)
class RunState:
    """Everything that a run needs in order to resume."""

    result_settings: Mapping[str, Any]  # the settings that decide its results, flat
    initial: tuple[str, ...]  # ids labelled before round 0
    skipped: Mapping[str, str]  # ids whose image cannot be read → reason
    rounds: tuple[Round, ...] = ()
    grown: tuple[Growth, ...] = ()
    redrawn: int | None = None  # the first round after those of a program whose augmentation drew other numbers

    @property
    def labelled(self) -> tuple[str, ...]:
        """Ids labelled so far, in order of acquisition."""
        ids = list(self.initial)
        for committed in self.rounds:
            ids += committed.selected
        return tuple(ids)

    @property
    def steps(self) -> int:
        """Training steps of all committed rounds, from which the next round's logs continue."""
        if not self.rounds:
            return 0
        return int(self.rounds[-1].row.get("steps") or 0)

    def get_result_settings(self, number: int) -> dict[str, Any]:
        """Return the settings, with the dataset from which the ids were selected that round `number` trains on."""
        for growth in self.grown:
            if growth.round >= number:
                others = {key: value for key, value in self.result_settings.items() if not key.startswith("dataset.")}
                return others | dict(growth.before)
        return dict(self.result_settings)

    def commit(self, finished: Round) -> "RunState":
        """Return the state with one more round."""
        if finished.number != len(self.rounds):
            raise StateError(f"round {finished.number} cannot follow {len(self.rounds)} committed rounds")
        return replace(self, rounds=(*self.rounds, finished))


def save_state(state: RunState, path: Path) -> None:
    """Replace the state file; called by rank 0 only."""
    content = {"llpp_state": VERSION, "sha256": compute_digest(state), **_list_content(state)}
    replace_text(path, json.dumps(content, indent=1))


def compute_digest(state: RunState) -> str:
    """Return the SHA-256 that is written into the state file."""
    return hash_json(_list_content(state))


def _list_content(state: RunState) -> dict[str, Any]:
    content = asdict(state)
    # The key that the file has had from its first version on.
    settings = content.pop("result_settings")
    for committed in content["rounds"]:
        # Rounds in which the head ranks are written as they always were.
        if committed["ranker"] is None:
            del committed["ranker"]
    return {"science": settings, **content}


def load_state(path: Path) -> RunState | None:
    """Read a state file; None if there is none.

    Raises:
        StateError: a file that is damaged, cannot be read, or has another version.
    """
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _make_damage_error(path, "it is not text") from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}; fix that, or choose another run") from error
    try:
        body = json.loads(text)
        version = body.pop("llpp_state")
        stored_digest = body.pop("sha256")
        digest = hash_json(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _make_damage_error(path, "it is not a complete state file") from error
    if version not in READABLE_VERSIONS:
        raise StateError(
            f"{path} has version {version!r}, this llpp reads up to {VERSION}; update llpp or start a new run"
        )
    if digest != stored_digest:
        raise _make_damage_error(path, "its checksum does not fit its content")
    try:
        if version == 1:
            body = update_state(body)
        if version < 3:
            body = mark_other_draws(body)
        return _parse_state(**update_datasets(body))
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        # A matching checksum does not make the content valid: anyone can compute one.
        raise _make_damage_error(path, "its content is not what llpp writes") from error


def _parse_state(
    *, science: Any, initial: Any, skipped: Any, rounds: Any, grown: Any = (), redrawn: Any = None
) -> RunState:
    """Check and convert a state from JSON; ValueError, KeyError or TypeError if a value is of another kind."""
    _require_type(science, dict)
    _require_type(skipped, dict)
    _require_types(skipped.values(), str)
    _require_type(rounds, list)
    parsed_rounds = [_parse_round(number, entry) for number, entry in enumerate(rounds)]
    _require(len(initial) > 0)
    growths = []
    for entry in grown:
        growth = Growth(**entry)
        # Not isinstance: a bool is an int, too.
        _require(type(growth.round) is int and type(growth.added) is int)
        _require_type(growth.before, dict)
        growths.append(growth)
    _require(redrawn is None or type(redrawn) is int)
    return RunState(science, _parse_ids(initial), skipped, tuple(parsed_rounds), tuple(growths), redrawn)


def _parse_round(number: int, entry: Any) -> Round:
    """Check and convert the entry of round `number`."""
    row = entry["row"]
    _require_type(row, dict)
    _require(entry["number"] == number)
    _require(row["labelled"] is not None)
    for value in row.values():
        _require(_is_measurement(value))
    for name in COUNTS:
        _require_type(row.get(name), int | None)
    # Older runs have no files and no machine.
    files = entry.get("files", {})
    _require_type(files, dict)
    _require_types(files.values(), str)
    machine = entry.get("machine", "")
    _require_type(machine, str)
    ranker = entry.get("ranker")
    if ranker is not None:
        _check_ranker(ranker)
    return Round(number, row, _parse_ids(entry["selected"]), files, machine[:MAX_NAME_LENGTH], ranker)


def _check_ranker(entry: Any) -> None:
    """Raise ValueError, KeyError or TypeError unless `Ranker.from_plain` reads it as a ranker with finite numbers."""
    from llpp.reliability.rankers import Ranker  # here: NumPy takes a tenth of a second to import

    _require_type(entry, dict)
    _require(entry["chosen"] in CHOSEN)
    ranker = Ranker.from_plain(entry)
    _require(len(ranker.name) <= MAX_RANKER_NAME)
    numbers = [ranker.offset]
    for term in ranker.terms:
        numbers += [term.centre, term.weight]
    for number in numbers:
        _require(abs(number) <= MAX_MEASUREMENT)


def _parse_ids(ids: Any) -> tuple[str, ...]:
    _require_type(ids, list)
    _require_types(ids, str)
    return tuple(ids)


def _is_measurement(value: Any) -> bool:
    """Return whether a value is nothing, or a number of a size that can be averaged and drawn."""
    if value is None:
        return True
    return isinstance(value, int | float) and not MAX_MEASUREMENT < abs(value) < math.inf


def _require_types(values: Iterable[Any], kind: type) -> None:
    for value in values:
        _require_type(value, kind)


def _require_type(value: Any, kind: type | UnionType) -> None:
    _require(isinstance(value, kind))


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("another kind of value was expected")


def _make_damage_error(path: Path, reason: str) -> StateError:
    return StateError(
        f"{path} is damaged: {reason}; restore it from a backup, or delete {path.parent} to start again"
    )


def find_changed_settings(state: RunState, result_settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings that are not those a run was started with: name → (then, now)."""
    changed = {}
    for name in sorted({*state.result_settings, *result_settings}):
        old = state.result_settings.get(name)
        new = result_settings.get(name)
        if old != new:
            changed[name] = (old, new)
    return changed


def check_same_settings(state: RunState, result_settings: Mapping[str, Any], run_dir: Path) -> None:
    """Raise OccupiedError, naming what differs, if a run was started with other settings."""
    changed = find_changed_settings(state, result_settings)
    if not changed:
        return
    shown = ", ".join(f"{name}: {old!r} → {new!r}" for name, (old, new) in list(changed.items())[:5])
    if len(changed) > 5:
        shown += f" and {len(changed) - 5} more"
    remedy = "choose another name=… or delete it"
    if list(changed) == [PRECISION]:
        # On another machine, `auto` may stand for another precision.
        old_precision, _ = changed[PRECISION]
        remedy = f"resume with {PRECISION}={old_precision}, or {remedy}"
    raise OccupiedError(f"{run_dir} was started with a different config ({shown}); {remedy}")
