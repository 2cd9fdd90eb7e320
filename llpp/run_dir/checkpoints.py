"""Files of checkpoints, which are whole or absent.

They may come from somebody else: only tensors and plain values are read, and what cannot be read, or does not fit,
is one StateError.

Beside each lies its SHA-256, as `last.ckpt.sha256`, because torch does not notice a bit that has flipped in a tensor.
The digests are written first: while a checkpoint is replaced, those of the old and of the new one stand there, so no
crash makes a good one look damaged.
"""

import errno
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from llpp.errors import StateError
from llpp.files import compute_sha256, read_text, replace_file, replace_text

MAX_BYTES = 1 << 16  # of a file with digests


def read(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Content of a checkpoint, on the CPU; with `mmap` its tensors stay on the disk until they are looked at.

    Raises:
        StateError: no file, or one that is damaged, or holds other things than tensors and plain values.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise StateError(f"{path} is missing; restore it from a backup, or start the run again elsewhere") from error
    except pickle.UnpicklingError as error:  # torch's words advise to load it all the same
        raise make_damage_error(path, "it holds more than tensors and plain values") from error
    except Exception as error:  # torch raises whatever its parsers meet in a damaged file
        raise make_damage_error(path, error) from error
    if not isinstance(content, dict):
        raise make_damage_error(path, "it holds no training state")
    return content


def has_best(path: Path) -> bool:
    """Whether a checkpoint of training that keeps the best epoch, too, was written after there was one."""
    callbacks = read(path, mmap=True).get("callbacks")
    told = callbacks.values() if isinstance(callbacks, dict) else ()
    return any(isinstance(one, dict) and Path(str(one.get("best_model_path"))).stem == "best" for one in told)


def _check_archive(path: Path) -> None:
    """ValueError unless all that a file holds lies in it byte by byte: torch would unpack whatever it claims."""
    if not path.stat().st_size or not path.is_file():
        raise ValueError("it is empty or no file")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("it is compressed, which llpp never does")
    if sum(max(part.file_size, part.compress_size) for part in parts) > path.stat().st_size:
        raise ValueError("it claims to hold more than its size")


def make_damage_error(path: Path, reason: object) -> StateError:
    """What to say about a checkpoint that is not what it should be."""
    told = " ".join(str(reason).split())[:200]
    return StateError(
        f"{path} cannot be used ({told or type(reason).__name__}): it is damaged or no checkpoint of llpp; delete "
        "it, and under base_models too if it was taken over from there, to train that round again"
    )


def read_digests(path: Path) -> list[str]:
    """What a checkpoint's SHA-256 may be, the newest first; empty if nobody has written it down."""
    try:
        lines = read_text(_get_digest_path(path), MAX_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EFBIG):
            raise
        return [""]  # damaged, which no checkpoint fits
    return [line.partition(" ")[0] for line in lines] or [""]


def verified_digest(path: Path) -> str | None:
    """The SHA-256 of a checkpoint that is as it was written; None if it is missing or damaged.

    One without digests beside it, from an older llpp, has to fit its archive's own checksums. OSError if the storage
    fails, which says nothing about the file.
    """
    if not path.is_file():
        return None
    found, known = compute_sha256(path), read_digests(path)
    return found if found in known or (not known and _is_intact_archive(path)) else None


def _is_intact_archive(path: Path) -> bool:
    try:
        _check_archive(path)
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return False


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill the checkpoint that takes `path`'s place, and the digest beside it."""
    known = read_digests(path) or ([compute_sha256(path)] if path.is_file() else [])

    def write_with_digest(part: Path) -> None:
        write(part)
        write_digests([compute_sha256(part), *known])

    def write_digests(found: list[str]) -> None:
        replace_text(_get_digest_path(path), "".join(f"{digest}  {path.name}\n" for digest in found))

    replace_file(path, write_with_digest)
    write_digests(read_digests(path)[:1])


def _get_digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and moves into place, so that a kill leaves the previous checkpoint; reads safely."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace `path`; OSError if the storage is full."""
        save = super().save_checkpoint
        try:
            replace(Path(path), lambda part: save(checkpoint, part, storage_options))
        except RuntimeError as error:  # torch's zip writer does not pass the system's reason on
            raise OSError(errno.EIO, f"the checkpoint could not be written ({error})", str(path)) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The content on the CPU, whatever Lightning or the environment say about `weights_only`; see `read`."""
        return read(Path(path))
