"""What went wrong in a plug-in, in one sentence: the exception, and where in the user's file it arose."""

import importlib
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from llpp.errors import join_lines

LLPP = Path(__file__).parent
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
TRACEBACK_HINT = "set HYDRA_FULL_ERROR=1 to see the traceback"
Location = tuple[FrameType, int]  # a frame, and the line that it has reached


def list_frames(error: BaseException) -> list[Location]:
    """List the frames of an exception, outermost first, without imports and code that has no file."""
    frames = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        # code without a file is, for example, the __init__ of a dataclass
        if not path.startswith("<") and path != importlib.__file__:
            frames.append((frame, line))
    return frames


def find_location(frames: Sequence[Location]) -> Location | None:
    """Find the innermost frame in the user's code; in llpp's own where there is none of the user's."""
    llpp_location = None
    for frame, line in reversed(frames):
        path = Path(frame.f_code.co_filename)
        is_installed = "site-packages" in path.parts or "dist-packages" in path.parts
        if is_installed or STANDARD_LIBRARY in path.parents:
            continue
        if LLPP not in path.parents:
            return frame, line
        if llpp_location is None:
            llpp_location = frame, line
    return llpp_location


def has_user_code(frames: Sequence[Location]) -> bool:
    """Whether one of the frames is in the user's code."""
    location = find_location(frames)
    return location is not None and LLPP not in Path(location[0].f_code.co_filename).parents


def explain_exception(error: BaseException, frames: Sequence[Location]) -> str:
    """Name the exception, its text, and the file and line where it arose among these frames."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind}: {error.msg} ({error.filename}, line {error.lineno})"
    text = join_lines(str(error))
    location = find_location(frames)
    if location is None:
        return f"{kind}: {text}"
    frame, line = location
    return f"{kind}: {text} ({frame.f_code.co_filename}, line {line}); {TRACEBACK_HINT}"


def name_class(part: object) -> str:
    """Return `module.Class` of a plug-in."""
    return f"{type(part).__module__}.{type(part).__qualname__}"
