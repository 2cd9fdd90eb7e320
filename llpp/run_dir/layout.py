"""Where the files of a round are, and whether they are what the round left."""

from pathlib import Path

import torch

from llpp.errors import StateError
from llpp.files import compute_sha256
from llpp.run_dir import checkpoints
from llpp.run_dir.round_dir import AUDIT, LABELS, get_round_dir
from llpp.run_dir.state import Round

CHECKPOINTS = ("last.ckpt", "best.ckpt", "backbone/last.ckpt", "backbone/best.ckpt")
TABLES = (
    LABELS,
    "agreement.csv",
    "test.parquet",
    "validation.parquet",
    "constant.parquet",
    "scores.parquet",
    "selected.csv",
    "predictions.parquet",
    AUDIT,
    "answered.parquet",
    "watched.parquet",
)


def get_checkpoint_path(directory: Path, which: str) -> Path:
    """The `last` or the `best` weights of a round."""
    return directory / f"{which}.ckpt"


def collect_digests(directory: Path) -> dict[str, str]:
    """SHA-256 of the files of value that a round leaves, by name; a checkpoint's is the one it was written with."""
    found: dict[str, str] = {}
    for name in (*CHECKPOINTS, *TABLES):
        path = directory / name
        if not path.is_file():
            continue
        written = checkpoints.read_digests(path)[:1] if name in CHECKPOINTS else []
        found[name] = written[0] if written else compute_sha256(path)
    return found


def is_damaged(run_dir: Path, committed: Round, name: str) -> bool:
    """Whether a file that a committed round left is missing or has changed.

    False where the round recorded no digest of it.
    """
    path = get_round_dir(run_dir, committed.number) / name
    expected = committed.files.get(name)
    return expected is not None and not (path.is_file() and compute_sha256(path) == expected)


def matches_round(path: Path, key: str, code: str | None = None) -> bool:
    """Whether a checkpoint is there and was written for the round with this key, not by an earlier experiment.

    With `code`, whether the program with this digest began it, too. StateError if it cannot be read.
    """
    if not path.exists():
        return False
    found = checkpoints.read(path, mmap=True)  # the weights are not wanted
    return found.get("llpp_round") == key and code in (None, found.get("llpp_code"))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The module's state dict from a checkpoint; StateError if it has none."""
    state = checkpoints.read(path).get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StateError(f"{path} holds no weights; delete it, or the run with it, to train again")
    return state
