"""Places for jobs of sweeps on the GPUs of this machine: locks, which the kernel drops when a process ends."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from llpp.files import lock_file
from llpp.launch import launcher


@contextmanager
def reserve_gpus(
    count: int, wanted: int = 1, jobs_per_gpu: int = 1, folder: Path | None = None, patience: float = 1.0
) -> Iterator[list[int]]:
    """Wait for GPUs that other jobs of this machine leave, and reserve them.

    Args:
        count: number of visible GPUs.
        wanted: number of GPUs to reserve, all at once, so that no two jobs wait for each other; 1 if jobs share them.
        jobs_per_gpu: jobs that may have one GPU at the same time, this one included.
        folder: for the lock files; by default one per user in the folder for temporary files.
        patience: seconds between two attempts.

    Yields:
        The numbers of the reserved GPUs among the visible ones, 0 to count - 1.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"llpp-gpus-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    names = name_gpus(count)
    while True:
        # Leaving the stack closes the files, which drops the locks of an attempt that got too few.
        with ExitStack() as lock_files:
            if jobs_per_gpu == 1:
                numbers = _take_whole_gpus(folder, names, wanted, lock_files)
            else:
                numbers = _take_place(folder, names, jobs_per_gpu, lock_files)
            if len(numbers) == wanted:
                yield numbers
                return
        time.sleep(patience)


def name_gpus(count: int) -> list[str]:
    """Name the visible GPUs as the machine does, because jobs may see different GPUs under the same number.

    Those are the numbers, or the identifiers of GPUs or of parts of them, in CUDA_VISIBLE_DEVICES.
    """
    names = launcher.list_visible_gpus()
    if len(names) < count:
        names = [str(number) for number in range(count)]
    # CUDA ignores what follows the first name that it does not know. Names of parts of a GPU may have slashes.
    return [name.strip().replace("/", "_") for name in names[:count]]


def rank_gpus(jobs: Sequence[int], most: int) -> list[int]:
    """Return the numbers of the GPUs that have fewer than `most` jobs, the emptiest first.

    Args:
        jobs: how many each GPU has.
        most: how many it may have.
    """
    places = [number for number, count in enumerate(jobs) if count < most]
    return sorted(places, key=lambda number: jobs[number])


def _take_whole_gpus(folder: Path, names: Sequence[str], wanted: int, lock_files: ExitStack) -> list[int]:
    """Lock GPUs for one job alone; fewer than wanted if others have them."""
    numbers: list[int] = []
    for number, name in enumerate(names):
        if _lock(folder / f"{name}.lock", lock_files):
            numbers.append(number)
        if len(numbers) == wanted:
            break
    return numbers


def _take_place(folder: Path, names: Sequence[str], most: int, lock_files: ExitStack) -> list[int]:
    """Lock a place on the GPU with the fewest jobs; an empty list if there is none, or another job is choosing."""
    # One job chooses at a time: looking whether a place is taken takes it for a moment.
    with ExitStack() as choosing:
        if not _lock(folder / "choosing.lock", choosing):
            return []
        jobs = [_count_jobs(folder, name) for name in names]
        for number in rank_gpus(jobs, most):
            name = names[number]
            # Held by all who share the GPU, so that no job gets it alone meanwhile.
            if not _lock(folder / f"{name}.lock", lock_files, shared=True):
                continue
            for place in range(most):
                if _lock(folder / f"{name}.job{place}.lock", lock_files):
                    return [number]
    return []


def _count_jobs(folder: Path, name: str) -> int:
    """Count the jobs that share a GPU, also those of sweeps with another number of places."""
    taken = 0
    for path in folder.glob(f"{name}.job*.lock"):
        with ExitStack() as trial:
            if not _lock(path, trial):
                taken += 1
    return taken


def _lock(path: Path, lock_files: ExitStack, shared: bool = False) -> bool:
    """Lock a file until the stack closes it; False if another job has it."""
    file = lock_files.enter_context(path.open("a"))
    with suppress(BlockingIOError):
        lock_file(file, shared)
        return True
    return False
