"""Reading a file in a process of its own, for parsers that a damaged or hostile file can crash or make greedy."""

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

gc.disable()  # hundreds of thousands of small objects, all of them needed
module, function, path, most = sys.argv[1:]
read = getattr(importlib.import_module(module), function)
with suppress(ValueError, OSError):  # a system without such a limit, or with a lower one
    resource.setrlimit(resource.RLIMIT_AS, (int(most), int(most)))
try:
    found = read(Path(path))
except MemoryError:
    found = DataError(f"{path} was not read: it unpacks to more than {int(most) >> 30} GiB")
except DataError as error:
    found = error
sys.stdout.buffer.write(pickle.dumps(found))
"""


def read_in_subprocess(reader: Callable[[Path], T], path: Path) -> T:
    """`reader(path)`, a function of some module's top level; DataError also where it crashes the interpreter."""
    # -P: no module is taken from the current folder, which may be the dataset's, unless this process does so
    command = [
        sys.executable,
        "-P",
        "-c",
        READER_SCRIPT,
        reader.__module__,
        reader.__name__,
        str(path),
        str(MAX_MEMORY),
    ]
    # every thread of OpenBLAS takes its share of the address space
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    if done.returncode == -signal.SIGKILL:
        raise DataError(f"{path} was not read: the reading process was killed, probably for want of memory")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        reason = last[:200] if done.returncode > 0 else "its reader crashed"
        raise DataError(f"{path} cannot be read ({reason}); it is probably damaged: take it from its source again")
    found = pickle.loads(done.stdout)  # written by READER alone
    if isinstance(found, DataError):
        raise found
    return cast(T, found)
