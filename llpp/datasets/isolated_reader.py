"""Read a file in a subprocess: a damaged or hostile file can crash its parser or make it take all memory."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from llpp.errors import DataError

MAX_MEMORY = 1 << 32  # bytes of the reading process
T = TypeVar("T")
READER_SCRIPT = """
import gc, importlib, pickle, resource, sys
from contextlib import suppress
from pathlib import Path
from llpp.errors import DataError

# A reader makes hundreds of thousands of small objects, all of them needed: collecting garbage only costs time.
gc.disable()
module, function, path, max_memory = sys.argv[1:]
max_memory = int(max_memory)
read = getattr(importlib.import_module(module), function)
# Some systems have no such limit, or a lower one that cannot be raised.
with suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))
try:
    result = read(Path(path))
except MemoryError:
    result = DataError(f"{path} was not read: it unpacks to more than {max_memory >> 30} GiB")
except DataError as error:
    result = error
sys.stdout.buffer.write(pickle.dumps(result))
"""


def read_in_subprocess(reader: Callable[[Path], T], path: Path) -> T:
    """Return `reader(path)`, computed in a subprocess; `reader` must be a function at the top level of a module.

    Raises:
        DataError: what `reader` raised, or the reason why the subprocess ended without a result.
    """
    # -P: do not import from the current folder, which may be the dataset's, unless this process does so too.
    interpreter = [sys.executable, "-P", "-c", READER_SCRIPT]
    arguments = [reader.__module__, reader.__name__, str(path), str(MAX_MEMORY)]
    import_paths = [folder for folder in sys.path if folder]
    environment = {
        **os.environ,
        # Every thread of OpenBLAS takes its share of the address space, which is limited.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(import_paths),
    }
    process = subprocess.run([*interpreter, *arguments], capture_output=True, check=False, env=environment)
    if process.returncode == -signal.SIGKILL:
        raise DataError(f"{path} was not read: the reading process was killed, probably for want of memory")
    if process.returncode < 0:
        raise _make_damage_error(path, "its reader crashed")
    if process.returncode > 0:
        last_line = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise _make_damage_error(path, last_line[:200])
    # The bytes were written by READER_SCRIPT, so unpickling them is safe.
    result = pickle.loads(process.stdout)
    if isinstance(result, DataError):
        raise result
    return cast(T, result)


def _make_damage_error(path: Path, reason: str) -> DataError:
    return DataError(f"{path} cannot be read ({reason}); it is probably damaged: take it from its source again")
