"""Reading a file in a process of its own, for parsers that a damaged or hostile file can crash."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from llpp.errors import DataError

T = TypeVar("T")
READER = """
import gc, importlib, pickle, sys
from pathlib import Path
from llpp.errors import DataError

gc.disable()  # hundreds of thousands of small objects, all of them needed
module, function, path = sys.argv[1:]
try:
    found = getattr(importlib.import_module(module), function)(Path(path))
except DataError as error:
    found = error
sys.stdout.buffer.write(pickle.dumps(found))
"""


def read_apart(reader: Callable[[Path], T], path: Path) -> T:
    """`reader(path)`, a function of some module's top level; DataError also where it crashes the interpreter."""
    # -P: no module is taken from the current folder, which may be the dataset's, unless this process does so
    command = [sys.executable, "-P", "-c", READER, reader.__module__, reader.__name__, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    if done.returncode == -signal.SIGKILL:
        raise DataError(f"{path} was not read: the reading process was killed, probably for want of memory")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        reason = last[:200] if done.returncode > 0 else "its reader crashed"
        raise DataError(f"{path} cannot be read ({reason}); it is probably damaged: take it from its source again")
    found = pickle.loads(done.stdout)
    if isinstance(found, DataError):
        raise found
    return cast(T, found)
