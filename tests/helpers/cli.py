"""The command line as a process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.command import Command


def llpp(*arguments, cwd, anew=False, **environment):
    """Run `llpp …` in another process; `anew` starts Python, which has not imported anything yet."""
    if anew:
        command = [sys.executable, "-m", "llpp", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    with tempfile.TemporaryDirectory() as folder:
        code = Command(*arguments, cwd=cwd, output=folder, **environment).wait(timeout=240)
        out, err = (Path(folder, name).read_text() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(arguments, code, out, err)
