"""Objects from nodes of a config, above all the dataset of a run; without torch, unless an object needs it.

What goes wrong in a plug-in is explained in one sentence: the plug-in, the exception, and where in the user's file it
arose.
"""

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llpp.config.compose import drop_origin
from llpp.config.extras import find_advice
from llpp.config.trusted_targets import check_targets
from llpp.datasets.base import AnyDataset, ImageDataset
from llpp.datasets.contract import check_records
from llpp.errors import ConfigError, LlppError, join_lines
from llpp.plug_in_errors import Location, explain_exception, find_location, list_frames, name_class
from llpp.run_dir.config_file import read_config
from llpp.setting_rules import check_setting

if TYPE_CHECKING:
    # These import torch, which takes seconds.
    from llpp.backbones.base import Backbone
    from llpp.heads.base import FeatureSpec, LossHead
    from llpp.tasks.base import Task

HYDRA = Path(hydra.__file__).parent


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
    raise ConfigError(
        f"{group}: {name_class(part)} is no {kind.__name__}; derive it from {kind.__module__}.{kind.__qualname__}, "
        "or name another class in its YAML file"
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
        return ConfigError(f"{name} cannot be imported: {_explain_import_error(target[1], error.__cause__)}")
    return ConfigError(f"{name} cannot be built: {_explain_exception(error.__cause__)}")


def _explain_import_error(target: str, error: BaseException) -> str:
    """Explain an ImportError of Hydra, which wraps the exception that importing a target has raised."""
    original = error.__cause__
    if original is None:
        return join_lines(str(error))
    # no code of the plug-in is involved: its module, or the class in it, does not exist
    is_missing = isinstance(original, ModuleNotFoundError | AttributeError) and not _list_frames_in_target(original)
    if is_missing:
        return _explain_missing_target(target)
    return _explain_exception(original)


def _explain_missing_target(target: str) -> str:
    """Say which part of `package.module.Class` does not exist, and what may have been meant."""
    path, *names = target.split(".")
    if not names:
        return f"it names no module; write `_target_: module.{target}`"
    try:
        owner: Any = importlib.import_module(path)
    except ModuleNotFoundError:
        return f"No module named {path!r}: {_ask_about_python_path(path)}"
    for name in names:
        part = _find_part(owner, f"{path}.{name}")
        if part is None:
            similar = difflib.get_close_matches(name, _list_names(owner), n=1)
            question = f"; did you mean {path}.{similar[0]}?" if similar else ""
            return f"{path} has no {name}{question}"
        owner = part
        path = f"{path}.{name}"
    return f"{target} is nothing that can be called"


def _find_part(owner: Any, path: str) -> Any:
    """Return the class or module of this full name, which `owner` should have; None if it has not."""
    name = path.rpartition(".")[2]
    if hasattr(owner, name):
        return getattr(owner, name)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return None


def _ask_about_python_path(module: str) -> str:
    """Ask where a module is that Python does not find; its file may be where the command was started."""
    if Path(f"{module}.py").exists() or Path(module).is_dir():
        return f"it is in {Path.cwd()}, which is not on PYTHONPATH; start with PYTHONPATH=. llpp run …"
    return "is its folder on PYTHONPATH? Start with PYTHONPATH=FOLDER llpp run …"


def _list_names(owner: Any) -> list[str]:
    """List what a module or class has: its public names, and the modules of a package."""
    names = [name for name in dir(owner) if not name.startswith("_")]
    for module in pkgutil.iter_modules(getattr(owner, "__path__", ())):
        names.append(module.name)
    return names


def _explain_late_error(error: Exception) -> str:
    """Explain an exception from a late call, of which Hydra does not say the target."""
    if isinstance(error, ValueError) and not _list_frames_in_target(error):
        return join_lines(str(error))
    location = find_location(_list_frames_in_target(error))
    if location is None:
        return _explain_exception(error)
    frame, _ = location
    name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
    return f"{name} failed: {_explain_exception(error)}"


def _explain_exception(error: BaseException) -> str:
    """Name the exception, its text, and the file and line where it arose; or what has to be installed."""
    advice = find_advice(error)
    if advice is not None:
        return advice
    frames = _list_frames_in_target(error)
    # no code of the target has run: Python refused the call, and says which class and which argument
    if isinstance(error, TypeError) and not frames:
        text = join_lines(str(error))
        remedy = "fix its settings or its YAML file"
        if "abstract method" in text:
            remedy = "write it"
        elif "required" in text:
            remedy += "; one to which llpp adds arguments, such as a head, has `_partial_: true` there"
        return f"{text}; {remedy}"
    explained = explain_exception(error, frames)
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return f"{explained}; install {error.name.split('.')[0]}, or put its folder on PYTHONPATH"
    return explained


def _list_frames_in_target(error: BaseException) -> list[Location]:
    """List the frames below Hydra's, outermost first, each with its line; empty if Hydra called nothing."""
    frames: list[Location] = []
    is_below_hydra = False
    for frame, line in list_frames(error):
        if HYDRA in Path(frame.f_code.co_filename).parents:
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
    check_records(dataset)
    # A split may also be empty by mistake; only dataset.val=0 or dataset.test=0 says that it is wanted so, or the
    # dataset itself.
    dataset.empty_splits |= frozenset(split for split in ("val", "test") if _is_left_out(node, split))
    return dataset


def _is_left_out(node: DictConfig, split: str) -> bool:
    """Whether the settings of a dataset, or of every part of a merged one, ask for an empty split."""
    parts = node.get("parts")
    if isinstance(parts, DictConfig) and parts:
        return all(isinstance(part, DictConfig) and _is_left_out(part, split) for part in parts.values())
    return bool(node.get(split) == 0)


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
    """Build the task of a config on a dataset, with the views that the config's scoring averages."""
    with hydra_errors_as_config_errors():
        task: Task = make(cfg.task)(dataset=dataset)
    scoring = cfg.get("scoring") or {}
    views = scoring.get("views", "none")
    check_setting("scoring.views", views)
    # What is no task is refused elsewhere.
    if views != "none":
        task.use_views(views)
    return task


def make_head(cfg: DictConfig, backbone: "Backbone", outputs: int) -> "LossHead":
    """Build the head of a config for the features of a backbone with so many outputs."""
    head: LossHead = make(cfg.head)(spec=_describe_features(cfg, backbone, outputs))
    return head


def make_auxiliary(cfg: DictConfig, backbone: "Backbone", labels: Any) -> Any:
    """Build what is learned from the features of a backbone as well; None where a config has no such part."""
    if not cfg.get("auxiliary"):
        return None
    return make(cfg.auxiliary)(spec=_describe_features(cfg, backbone, labels.outputs), labels=labels)


def _describe_features(cfg: DictConfig, backbone: "Backbone", outputs: int) -> "FeatureSpec":
    from llpp.heads.base import FeatureSpec

    heatmaps = 0 if backbone.heatmap_stride is None else outputs
    return FeatureSpec(backbone.feature_channels, backbone.penultimate_channels, cfg.crop.size, heatmaps)


def get_auxiliary_columns(cfg: DictConfig) -> frozenset[str]:
    """The columns that the auxiliary of a config gives; none where it has no such part."""
    if not cfg.get("auxiliary"):
        return frozenset()
    part = make(cfg.auxiliary)
    columns: frozenset[str] = getattr(getattr(part, "func", None), "columns", frozenset())
    return columns
