"""Objects from nodes of a config, above all the dataset of a run; without torch, unless an object needs it.

What goes wrong in a plug-in is explained in one sentence: the plug-in, the exception, and where in the user's file it
arose.
"""

import importlib
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llpp.config.compose import drop_origin, join_lines
from llpp.config.trusted_targets import check_targets
from llpp.datasets.base import AnyDataset, ImageDataset
from llpp.errors import ConfigError, LlppError
from llpp.run_dir.config_file import read_config

if TYPE_CHECKING:
    # A task imports torch, which takes seconds.
    from llpp.tasks.base import Task

LLPP = Path(__file__).parents[1]
HYDRA = Path(hydra.__file__).parent
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
TRACEBACK_HINT = "set HYDRA_FULL_ERROR=1 to see the traceback"


def make(node: Any, **extra: Any) -> Any:
    """Instantiate a node of a config; only plain containers reach the objects."""
    with hydra_errors_as_config_errors():
        return instantiate(node, **extra, _convert_="all")


def check_kind(part: Any, kind: type, group: str) -> None:
    """Raise ConfigError unless a part of a run, made from the YAML file of a group, is what that group is for."""
    if isinstance(part, kind):
        return
    if isinstance(part, dict):
        raise ConfigError(f"{group} has no _target_; write `_target_: module.Class` into its YAML file")
    found = f"{type(part).__module__}.{type(part).__qualname__}"
    raise ConfigError(
        f"{group}: {found} is no {kind.__name__}; derive it from {kind.__module__}.{kind.__qualname__}, or name "
        "another class in its YAML file"
    )


@contextmanager
def hydra_errors_as_config_errors() -> Iterator[None]:
    """Turn what goes wrong in a plug-in into a ConfigError of one sentence; errors of llpp pass through unchanged."""
    try:
        yield
    except LlppError:
        raise
    except InstantiationException as error:
        raise _convert_instantiation_error(error) from error
    except Exception as error:
        # From a late call, of a `_partial_` target, which Hydra does not wrap. An exception that no target raised is
        # a bug of llpp, unless its type says that a value is wrong.
        if not _list_frames_in_target(error) and not isinstance(error, TypeError | ValueError):
            raise
        raise ConfigError(_explain_late_error(error)) from error


def _convert_instantiation_error(error: InstantiationException) -> LlppError:
    """Return the error of llpp that Hydra has wrapped, or a ConfigError about any other that it has wrapped."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LlppError):
            return cause
        # a plug-in that lets Hydra build its parts: the innermost one explains what went wrong
        if isinstance(cause, InstantiationException):
            error = cause
        cause = cause.__cause__
    message = str(error)
    target = re.search("target '(.+?)'", message)
    if target is None or error.__cause__ is None:
        return ConfigError(join_lines(drop_origin(message)))
    key = re.search("full_key: (.+)", message)
    name = f"{key[1]}: {target[1]}" if key else target[1]
    if message.startswith("Error locating target"):
        return ConfigError(f"{name} cannot be imported: {_explain_import_error(error.__cause__)}")
    return ConfigError(f"{name} cannot be built: {_explain_exception(error.__cause__)}")


def _explain_import_error(error: BaseException) -> str:
    """Explain an ImportError of Hydra, which wraps the exception that importing a target has raised."""
    original = error.__cause__
    if original is None:
        return join_lines(str(error))
    # no code of the plug-in is involved: its module, or the class in it, does not exist
    question = re.search("Are you sure that .+", str(error))
    is_missing = isinstance(original, ModuleNotFoundError | AttributeError) and not _list_frames_in_target(original)
    if question is not None and is_missing:
        return f"{type(original).__name__}: {join_lines(str(original))}. {question[0]}"
    return _explain_exception(original)


def _explain_late_error(error: Exception) -> str:
    """Explain an exception from a late call, of which Hydra does not say the target."""
    if isinstance(error, ValueError) and not _list_frames_in_target(error):
        return join_lines(str(error))
    location = _find_location(error)
    if location is None:
        return _explain_exception(error)
    frame, _ = location
    name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
    return f"{name} failed: {_explain_exception(error)}"


def _explain_exception(error: BaseException) -> str:
    """Name the exception, its text, and the file and line where it arose."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind}: {error.msg} ({error.filename}, line {error.lineno})"
    text = join_lines(str(error))
    # no code of the target has run: Python refused the call, and says which class and which argument
    if isinstance(error, TypeError) and not _list_frames_in_target(error):
        return f"{text}; fix its settings or its YAML file"
    location = _find_location(error)
    if location is None:
        return f"{kind}: {text}"
    frame, line = location
    return f"{kind}: {text} ({frame.f_code.co_filename}, line {line}); {TRACEBACK_HINT}"


def _find_location(error: BaseException) -> tuple[FrameType, int] | None:
    """Find the innermost frame in the user's code, and its line; in llpp's own where there is none of the user's."""
    llpp_location = None
    for frame, line in reversed(_list_frames_in_target(error)):
        path = Path(frame.f_code.co_filename)
        is_installed = "site-packages" in path.parts or "dist-packages" in path.parts
        if is_installed or STANDARD_LIBRARY in path.parents:
            continue
        if LLPP not in path.parents:
            return frame, line
        if llpp_location is None:
            llpp_location = frame, line
    return llpp_location


def _list_frames_in_target(error: BaseException) -> list[tuple[FrameType, int]]:
    """List the frames below Hydra's, outermost first, each with its line; empty if Hydra called nothing."""
    frames: list[tuple[FrameType, int]] = []
    is_below_hydra = False
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        # imports, and code without a file, such as the __init__ of a dataclass
        if path.startswith("<") or path == importlib.__file__:
            continue
        if HYDRA in Path(path).parents:
            is_below_hydra = True
            frames = []
        elif is_below_hydra:
            frames.append((frame, line))
    return frames


def make_dataset(cfg: DictConfig) -> AnyDataset:
    """Build the dataset of a config, whose splits must not be empty, except where settings say so."""
    data = instantiate_dataset(cfg.dataset)
    for split in ("train", "val", "test"):
        if split not in data.empty_splits and not len(data.records.select_rows(split)):
            raise ConfigError(f"dataset {data.name} has no {split} records; add some by the settings of dataset")
    data.check()
    return data


def instantiate_dataset(node: DictConfig) -> AnyDataset:
    """Build the dataset of a config's node."""
    dataset: AnyDataset = make(node)
    check_kind(dataset, ImageDataset, "dataset")
    # A split may also be empty by mistake; only dataset.val=0 or dataset.test=0 says that it is wanted so.
    dataset.empty_splits = frozenset(split for split in ("val", "test") if node.get(split) == 0)
    return dataset


def rebuild_run_task(run_dir: Path, trusted: Sequence[str] = ()) -> "Task":
    """Build the task of a run, with its dataset, from its config.yaml.

    The run may be another person's: only datasets and tasks of llpp, and those that `trusted` packages define, are
    built.

    Raises:
        LlppError: the config is unreadable, or its dataset or task cannot be built any more.
    """
    config, _ = read_config(run_dir)
    path = run_dir / "config.yaml"
    nodes = {}
    for name in ("dataset", "task"):
        node = config.get(name)
        check_targets(node, run_dir, trusted)
        if not isinstance(node, dict) or "_target_" not in node:
            raise ConfigError(f"{path} has no {name}; run its `llpp run` command again")
        nodes[name] = node
    try:
        cfg = OmegaConf.create(nodes)
        return make_task(cfg, make_dataset(cfg))
    except OmegaConfBaseException as error:
        reason = join_lines(str(error))
        raise ConfigError(f"{path} does not describe a dataset and task any more: {reason}") from error


def make_task(cfg: DictConfig, dataset: AnyDataset) -> "Task":
    """Build the task of a config on a dataset."""
    with hydra_errors_as_config_errors():
        task: Task = make(cfg.task)(dataset=dataset)
    return task
