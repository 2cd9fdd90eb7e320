"""Checkpoint files, which are whole or absent.

They may come from someone else: only tensors and plain values are read, and a file that cannot be read, or has other
content, is one StateError.

The SHA-256 of each is next to it, as `last.ckpt.sha256`, because torch does not notice a flipped bit in a tensor.
Digests are written first: while a checkpoint is replaced, that file holds those of the old and of the new one, so a
crash never makes a good checkpoint look damaged.
"""

import errno
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from llpp.errors import StateError
from llpp.files import compute_sha256, read_text, replace_file, replace_text

MAX_BYTES = 1 << 16  # of a file of digests


def read(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Read the content of a checkpoint to the CPU; with `mmap` its tensors stay on the disk until they are used.

    Raises:
        StateError: no file, or one that is damaged or holds more than tensors and plain values.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise StateError(
            f"{path} is missing; restore it from a backup, or start the run again in another directory"
        ) from error
    except pickle.UnpicklingError as error:
        # torch's own message advises to load the file without the protection.
        raise make_damage_error(path, "it holds more than tensors and plain values") from error
    except Exception as error:
        # On a damaged file, torch raises whatever its parsers raise.
        raise make_damage_error(path, error) from error
    if not isinstance(content, dict):
        raise make_damage_error(path, "it holds no training state")
    return content


def has_best(path: Path) -> bool:
    """Return whether training that keeps the best epoch had one when it wrote this checkpoint."""
    callbacks = read(path, mmap=True).get("callbacks")
    if not isinstance(callbacks, dict):
        return False
    for callback in callbacks.values():
        if isinstance(callback, dict) and Path(str(callback.get("best_model_path"))).stem == "best":
            return True
    return False


def _check_archive(path: Path) -> None:
    """Raise ValueError unless the file stores its content byte by byte: torch would unpack whatever it claims."""
    if path.stat().st_size == 0 or not path.is_file():
        raise ValueError("it is empty or not a file")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    claimed = 0
    for part in parts:
        if part.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it is compressed, which llpp never does")
        claimed += max(part.file_size, part.compress_size)
    if claimed > path.stat().st_size:
        raise ValueError("it claims to hold more than its size")


def make_damage_error(path: Path, reason: object) -> StateError:
    """Return the error about a checkpoint that cannot be used, for a `reason` that is a text or an exception."""
    text = " ".join(str(reason).split())[:200]
    if not text:
        text = type(reason).__name__
    return StateError(
        f"{path} cannot be used ({text}): it is damaged or was not written by llpp; delete it, and its copy under "
        "base_models if it was taken over from there, to train that round again"
    )


def read_digests(path: Path) -> list[str]:
    """Read the possible SHA-256 of a checkpoint, the newest first; empty if there is no file of digests."""
    # A damaged file counts as one digest that no checkpoint has.
    damaged = [""]
    try:
        lines = read_text(_get_digest_path(path), MAX_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except ValueError:
        return damaged
    except OSError as error:
        # Not a regular file, or too large; any other error comes from the storage.
        if error.errno in (errno.EINVAL, errno.EFBIG):
            return damaged
        raise
    digests = [line.partition(" ")[0] for line in lines]
    return digests or damaged


def verified_digest(path: Path) -> str | None:
    """Return the SHA-256 of a checkpoint that is as it was written; None if it is missing or damaged.

    One without digests next to it, from an older llpp, must match its archive's own checksums.

    Raises:
        OSError: the storage failed, which says nothing about the file.
    """
    if not path.is_file():
        return None
    digest = compute_sha256(path)
    known = read_digests(path)
    intact = digest in known if known else _is_intact_archive(path)
    return digest if intact else None


def _is_intact_archive(path: Path) -> bool:
    """Return whether a checkpoint matches the checksums inside its archive."""
    try:
        _check_archive(path)
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        # zipfile raises these for damage, encryption, and kinds of compression that it does not know.
        return False


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill the checkpoint that takes `path`'s place, and write its digest next to it.

    After a crash between any two steps the digests include that of the checkpoint at `path`.
    """
    old_digests = read_digests(path)
    if not old_digests and path.is_file():
        old_digests = [compute_sha256(path)]

    def write_with_digest(part: Path) -> None:
        write(part)
        # Before the new checkpoint moves to `path`, both are known.
        _write_digests(path, [compute_sha256(part), *old_digests])

    replace_file(path, write_with_digest)
    _write_digests(path, read_digests(path)[:1])


def _write_digests(path: Path, digests: list[str]) -> None:
    """Replace the digests of the checkpoint at `path`, in the format of `sha256sum`."""
    lines = [f"{digest}  {path.name}\n" for digest in digests]
    replace_text(_get_digest_path(path), "".join(lines))


def _get_digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _write_bytes(path: Path, content: memoryview) -> None:
    path.write_bytes(content)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the target and moves into place, so that a kill leaves the previous checkpoint; reads safely."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace `path`; OSError if it cannot be written, for example to full storage."""
        # Lightning would write it to the folder for temporary files first, which may be small.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        replace(Path(path), lambda part: _write_bytes(part, content.getbuffer()))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the content to the CPU, whatever Lightning or the environment say about `weights_only`; see `read`."""
        return read(Path(path))
