"""First models that the runs of a comparison share.

What decides the weights of round 0 is the same for all acquisitions of a seed. So the first run that trains such a
model leaves it in a common folder for the others.
"""

import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llpp.distributed import collectives
from llpp.files import lock_file
from llpp.hashing import hash_json
from llpp.run_dir import checkpoints, layout

log = logging.getLogger(__name__)
POLL_INTERVAL = 1.0  # seconds between looks at what another run is doing


@dataclass(frozen=True)
class BaseModels:
    """A folder of finished first models by key; each is trained by one run and taken over by the others."""

    folder: Path | None  # None: nothing is shared
    code: str  # digest of the program, so that no model of an older one is taken over

    @contextmanager
    def share(self, directory: Path, key: str, files: str) -> Iterator[bool]:
        """Bring a finished model of this key into `directory`, or publish the one that is trained meanwhile.

        Yields whether there is one. Other runs that want it wait, so that it is trained once; if its trainer dies,
        the next one trains it. Where the folder cannot be used, nothing is shared. All ranks call it together.

        Args:
            directory: where the round keeps its checkpoints.
            key: what decides the weights.
            files: digest of the images, so that no model is taken over that was trained on other images.
        """
        if self.folder is None:
            yield False
            return
        home = self.folder / hash_json([key, files, self.code])[:20]
        with ExitStack() as held:
            reused = self._wait_for_model(home, directory, key, held)
            yield reused
            if collectives.get_rank() == 0 and not reused:
                self._publish(directory, home, key)

    def _wait_for_model(self, home: Path, directory: Path, key: str, held: ExitStack) -> bool:
        """Take a model over, waiting while another run trains it; False if this run must train it.

        All ranks look together each time, so that none waits for another longer than they may.
        """
        waiting = False
        while True:
            reused = collectives.on_rank_zero(lambda: self._take_over(home, directory, key, held))
            if reused is not None:
                return reused
            if not waiting:
                log.info("waiting for the base model that another run is training (%s)", home)
            waiting = True
            time.sleep(POLL_INTERVAL)

    def _take_over(self, home: Path, directory: Path, key: str, held: ExitStack) -> bool | None:
        """Whether a published model is in `directory` now; None while another run is training it."""
        try:
            home.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((home / "lock").open("a", encoding="utf-8"))
            lock_file(lock)
            if not (home / "last.ckpt").exists() or can_resume(directory, (key,)):
                return False
            if not _link_checkpoints(home, directory):
                log.warning("the base model in %s is damaged; it is trained again and replaced", home)
                return False
        except BlockingIOError:
            held.close()
            return None
        except OSError as error:
            log.warning(
                "base models are not shared (%s: %s); set training.base_models to another folder, or null",
                error.filename or home,
                error.strerror,
            )
            return False
        log.info("%s: base model taken over from %s", directory, home)
        return True

    def _publish(self, directory: Path, home: Path, key: str) -> None:
        """Leave the finished model of `directory` for other runs."""
        try:
            published = checkpoints.verified_digest(home / "last.ckpt")
            if published is None and layout.matches_round(directory / "last.ckpt", key, self.code):
                _link_checkpoints(directory, home)
        except OSError as error:
            log.warning("the base model could not be left in %s: %s", home, error)


def can_resume(directory: Path, keys: Collection[str]) -> bool:
    """Whether the round with one of these keys resumes from its own checkpoint.

    A damaged one is reported, and not used.
    """
    last = layout.get_checkpoint_path(directory, "last")
    best = layout.get_checkpoint_path(directory, "best")
    if not last.exists():
        return False
    damaged = last
    if checkpoints.verified_digest(last):
        if not any(layout.matches_round(last, key) for key in keys):
            return False
        if not checkpoints.has_best(last) or checkpoints.verified_digest(best):
            return True
        damaged = best
    log.warning("%s is missing or damaged; this round is trained again from its start", damaged)
    return False


def _link_checkpoints(source: Path, target: Path) -> bool:
    """Give checkpoints a second name; they are replaced, never changed, so a link is as good as a copy.

    False if they are damaged.
    """
    # The last checkpoint comes last: where it exists, all are there.
    names = [name for name in ("best.ckpt", "last.ckpt") if (source / name).exists()]
    if not all(checkpoints.verified_digest(source / name) for name in names):
        return False
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        _link_checkpoint(source / name, target / name)
    return True


def _link_checkpoint(source: Path, target: Path) -> None:
    checkpoints.replace(target, lambda part: _link_or_copy(source, part))


def _link_or_copy(source: Path, target: Path) -> None:
    # A crash may have left the target as another name of a file of value.
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, target)
