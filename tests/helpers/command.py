"""The real command in a process that is forked from one which has imported everything already: seconds saved each."""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

from helpers import forked

import llpp.cli.main
import llpp.config.build
import llpp.launch.worker  # all of these for their imports
import llpp.report
import llpp.rounds.loop

VERSION_3 = 0x20080522  # of Linux's capabilities


class Command:
    """`llpp …` in `cwd`; looks like a subprocess.Popen. Output goes to files in `output`, or in `cwd`.

    `limit` is the size that a file may have. Even where the tests run as root, `ordinary` may write only where
    permissions allow it. `moment` is called in the process before it begins: it may let a function kill it.
    """

    def __init__(self, *arguments, cwd, output=None, limit=None, ordinary=False, moment=None, **environment):
        given = (arguments, str(cwd), str(output or cwd), limit, ordinary, moment, {**os.environ, **environment})
        self._process = forked.context().Process(target=_main, args=given)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        """Its exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout=None):
        """Its exit code; TimeoutError."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"still running after {timeout} s")
        return self._process.exitcode

    def send_signal(self, number):
        """Signal it."""
        os.kill(self.pid, number)


def _main(arguments, cwd, output, limit, ordinary, moment, environment):
    multiprocessing.set_start_method("fork", force=True)  # what a new process has; this one would pass on its own
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for name, number in (("stdout", 1), ("stderr", 2)):
        with Path(output, name).open("a") as file:
            os.dup2(file.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a forkserver's children ignore it
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if ordinary:
        header, none = (ctypes.c_uint32 * 2)(VERSION_3, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, none):
            raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")
    if moment:
        moment()
    sys.argv = ["llpp", *arguments]
    llpp.cli.main.main()
