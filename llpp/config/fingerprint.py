"""What a run's results depend on: its settings, its annotations, and the program."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from llpp.datasets import flip_pairs
from llpp.datasets.base import AnyDataset, Records
from llpp.datasets.pose import PoseDataset
from llpp.hashing import hash_json
from llpp.ids import CHUNK_SIZE
from llpp.run_dir.older_runs import find_older_flip_pairs
from llpp.tasks.base import Task

# Left out of the fingerprint: they name, place, show or speed up a run, and change none of its results.
NON_RESULT_SETTINGS = (
    "name", "paths", "rounds", "report", "logger", "launch",
    "pool.grow", "pool.space", "training.base_models", "scoring.evaluate_pool", "scoring.compile_from",
    "data.workers", "data.pin_memory", "data.eval_batch_size",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.log_every_n_steps",
    "trainer.enable_model_summary", "trainer.profiler", "trainer.benchmark",
    "dataset.strict",  # it refuses, or changes nothing
)  # fmt: skip
# Left out as well where people give the labels: which of them a round trained on is in its snapshot, and what must
# not change about their project is in project.json.
LIVE_SETTINGS = (
    "dataset", "label", "oracle", "initial", "budget", "audit", "audit_tilt", "pool", "scoring.subset",
)  # fmt: skip
# Callbacks that only show; any other may change what is trained.
DISPLAY_CALLBACKS = (
    "llpp.loggers.epoch_lines",
    "llpp.loggers.progress",
    "pytorch_lightning.callbacks.RichProgressBar",
    "pytorch_lightning.callbacks.TQDMProgressBar",
    "pytorch_lightning.callbacks.RichModelSummary",
    "pytorch_lightning.callbacks.ModelSummary",
    "pytorch_lightning.callbacks.LearningRateMonitor",
)
# Parts of llpp that train nothing: they read and show what the others have found.
NON_TRAINING_MODULES = (
    "analysis", "checking", "cli", "config/load_run.py", "config/run_calibration.py", "config/run_check.py",
    "config/run_predictor.py", "config/trusted_targets.py", "inspection", "launch", "loggers", "pages", "prediction",
    "report", "tasks/classification/drawing.py", "tasks/pose/drawing.py", "tasks/pose/facts.py",
    "tasks/pose/label_evidence.py", "tasks/pose/label_mistakes.py",
)  # fmt: skip


def collect_result_settings(settings: Mapping[str, Any], dataset: AnyDataset, task: Task) -> dict[str, Any]:
    """The settings that decide results, flat, with a digest of the labels in place of the path to the data.

    `metric.test` and `metric.train` are what tables call the
    metric on the test images and on the pool, `metric.name` is what columns call it, `metric.normaliser` what it
    divides by.
    """
    display = []
    for name, callback in (settings.get("callbacks") or {}).items():
        if str(callback.get("_target_")).startswith(DISPLAY_CALLBACKS):
            display.append(f"callbacks.{name}")
    left_out = (*NON_RESULT_SETTINGS, *_list_repeated_settings(settings), *display)
    if dataset.is_live:
        left_out = (*left_out, *LIVE_SETTINGS)
    flat = flatten(settings)
    if not flat.get("audit"):
        # As runs without an audit have always recorded it.
        left_out = (*left_out, "audit", "audit_tilt")
    collected = {}
    for name, value in flat.items():
        is_left_out = any(name == other or name.startswith(f"{other}.") for other in left_out)
        is_data_path = name.startswith("dataset.") and name.endswith("root")
        if not is_left_out and not is_data_path:
            collected[name] = value
    if flat.get("training.pairs") == "local":
        # Then the objective sees the images of one device at a time.
        collected["training.pairs.devices"] = flat["trainer.devices"] * flat["trainer.num_nodes"]

    collected.pop(flip_pairs.SETTING, None)
    collected |= _collect_flip_pairs(flat, dataset)

    records = dataset.records
    for split in ("train", "test"):
        collected[f"metric.{split}"] = task.describe_metric(np.flatnonzero(records.split == split))
    collected["metric.name"] = task.metric_name
    collected["metric.title"] = task.metric_title
    collected["metric.higher_is_better"] = task.higher_is_better
    if task.normaliser_source is not None:
        collected["metric.normaliser"] = task.normaliser_source
    collected["dataset.name"] = dataset.name
    if dataset.is_live:
        collected["dataset._target_"] = settings["dataset"]["_target_"]
        collected["dataset.digest"] = hash_json([dataset.name, list(task.part_names)])
    else:
        collected["dataset.digest"] = _hash_records(records, task)
    return collected


def _collect_flip_pairs(flat: Mapping[str, Any], dataset: AnyDataset) -> dict[str, Any]:
    """The left–right pairs by name, if results depend on them; what `auto` stands for depends on the program.

    Pairs that older programs found, too, are left out: runs of those have not recorded any.
    """
    mirrors = flat.get("augmentation.flip") or flat.get("scoring.views", "none") != "none"
    if not mirrors or not isinstance(dataset, PoseDataset) or not dataset.has_chosen_pairs:
        return {}
    joints = dataset.skeleton.joints
    pairs = {frozenset((joints[left], joints[right])) for left, right in dataset.skeleton.flip_pairs}
    if pairs == find_older_flip_pairs(joints):
        return {}
    return {flip_pairs.SETTING: sorted(sorted(pair) for pair in pairs)}


def _list_repeated_settings(settings: Mapping[str, Any]) -> list[str]:
    """Names of settings that repeat a section of their own, as task.pck is ${pck}; they are recorded there.

    They are found by their values: the ranks of a job get a config in which such links are resolved already.
    """
    sections = [node for node in settings.values() if isinstance(node, dict)]
    repeated = []
    for name, section in settings.items():
        if not isinstance(section, dict):
            continue
        for key, value in section.items():
            if isinstance(value, dict) and value in sections:
                repeated.append(f"{name}.{key}")
    return repeated


def _hash_records(records: Records[Any], task: Task) -> str:
    """Digest of ids, splits, labels and boxes."""
    arrays = [*task.label_arrays, records.boxes, records.may_start]
    if task.normaliser is not None:
        arrays.insert(0, task.normaliser)
    digests = [hash_columns(records.ids, records.split)]
    for array in arrays:
        digests.append(hashlib.sha256(np.ascontiguousarray(array).reshape(-1).data).hexdigest())
    return hash_json(digests)


def hash_columns(*columns: Sequence[str] | NDArray[np.str_]) -> str:
    """What `hash_json` gives for a list of these as lists, without ever holding one."""
    found = hashlib.sha256(b"[")
    for place, column in enumerate(columns):
        found.update(b", [" if place else b"[")
        for start in range(0, len(column), CHUNK_SIZE):
            some = column[start : start + CHUNK_SIZE]
            part = json.dumps(some.tolist() if isinstance(some, np.ndarray) else list(some))[1:-1]
            found.update(f", {part}".encode() if start else part.encode())
        found.update(b"]")
    found.update(b"]")
    return found.hexdigest()


def hash_program(settings: Mapping[str, Any]) -> str:
    """Digest of what trains: llpp's own source, the plug-ins' that the settings name, versions of libraries."""
    package = Path(__file__).parents[1]
    files = {
        file
        for file in package.rglob("*.py")
        if not file.relative_to(package).as_posix().startswith(NON_TRAINING_MODULES)
    }
    for target in _find_targets(settings):
        plug_in = sys.modules.get(target.rpartition(".")[0])
        if plug_in is not None and plug_in.__file__:
            files.add(Path(plug_in.__file__))
    versions = [library.__version__ for library in (torch, np, cv2, pl)]
    return hash_json([*versions, *sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)])


def _find_targets(tree: Any) -> Iterator[str]:
    """Every `_target_`, in lists too."""
    values: list[Any] = []
    if isinstance(tree, Mapping):
        if "_target_" in tree:
            yield str(tree["_target_"])
        values = list(tree.values())
    elif isinstance(tree, list):
        values = tree
    for value in values:
        yield from _find_targets(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"head": {"width": 8}} → {"head.width": 8}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
