"""Standard output and error: what a terminal cannot show, and what happens when nobody reads any more."""

import codecs
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# How our own symbols are written where the terminal's encoding lacks them.
STAND_INS = {
    "ρ": "rho",
    "δ": "delta",
    "γ": "gamma",
    "μ": "mu",
    "σ": "sigma",
    "·": "-",
    "•": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "━": "-",
    "…": "...",
    "×": "x",
    "±": "+-",
    "→": "->",
    "↔": "<->",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "’": "'",
}
ENCODING_ERRORS = "llpp_stand_ins"  # name of the way in which Python replaces what an encoding lacks


def open_missing_streams() -> None:
    """Give this process the standard streams that it was started without, as by `>&-`; they lead nowhere.

    A file of the run would otherwise get the number of one, and what libraries print would be written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free; it stays in use when another stream takes this one's place.
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))


def accept_any_text() -> None:
    """Let the standard streams of this process write any text, whatever the terminal's encoding is."""
    codecs.register_error(ENCODING_ERRORS, _write_stand_in)
    for stream in (sys.stdout, sys.stderr):
        # A test or a notebook may have put something else in their place; without a terminal there may be none.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_ERRORS)


def _write_stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    written = ""
    for character in error.object[error.start : error.end]:
        written += STAND_INS.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")
    return written, error.end


class _Outlet(io.FileIO):
    """A file descriptor to write to; what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        """Write bytes; all of them count as written if there is nobody to read them, or no room."""
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let this process go on when its output cannot be written any more, as after `| head`, or to a full disk.

    What a run finds out is in its run directory; its output is a copy.
    """
    sys.stdout = _replace_stream(sys.stdout)
    sys.stderr = _replace_stream(sys.stderr)
    # A handler that was made before now keeps the old stream, and would print a traceback for every line.
    logging.raiseExceptions = False


def _replace_stream(stream: TextIO) -> TextIO:
    """Return a stream that writes to the same descriptor and drops what cannot be written."""
    if not isinstance(stream, io.TextIOWrapper) or isinstance(_get_raw(stream), _Outlet):
        return stream
    try:
        stream.flush()
        descriptor = stream.fileno()
    except OSError:
        # Nobody reads already, or there is no descriptor.
        return stream
    outlet = _Outlet(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        # With PYTHONUNBUFFERED every character is written at once.
        outlet if stream.write_through else io.BufferedWriter(outlet),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _get_raw(stream: io.TextIOWrapper) -> object:
    return getattr(stream.buffer, "raw", stream.buffer)


@contextmanager
def end_with_reader() -> Iterator[None]:
    """End this process quietly if nobody reads its output any more, with the exit code that SIGPIPE gives.

    Python's own way is a traceback, which may come as late as at its exit.
    """
    try:
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
    except BrokenPipeError:
        # Python flushes the streams once more when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        sys.exit(128 + signal.SIGPIPE)
