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

from llpp.datasets.base import PoseDataset
from llpp.hashing import hash_json
from llpp.ids import CHUNK_SIZE
from llpp.tasks.pose.pck import PCKDefinition

# Left out of the fingerprint: they name, place, show or speed up a run, and change none of its results.
NON_RESULT_SETTINGS = (
    "name", "runs", "run_dir", "base_models", "data_root", "rounds", "report", "logger", "evaluate_pool",
    "cache_dir", "dataset.grow", "dataset.cache", "dataset.resident", "performance",
    "threads", "data.workers", "data.pin_memory", "data.eval_batch_size",
    "rank_timeout", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.log_every_n_steps",
    "trainer.enable_model_summary", "trainer.profiler", "trainer.benchmark",
)  # fmt: skip
# Callbacks that only show; any other may change what is trained.
DISPLAY_CALLBACKS = tuple(
    f"{module}.{name}"
    for module, names in (
        ("llpp.loggers", ("epoch_lines",)),
        (
            "pytorch_lightning.callbacks",
            ("RichProgressBar", "TQDMProgressBar", "RichModelSummary", "ModelSummary", "LearningRateMonitor"),
        ),
    )
    for name in names
)
# Parts of llpp that show what the others have found.
NON_TRAINING_MODULES = ("analysis", "cli", "inspection", "launch", "loggers", "report", "tasks/pose/drawing.py")


def collect_result_settings(settings: Mapping[str, Any], dataset: PoseDataset, pck: PCKDefinition) -> dict[str, Any]:
    """The settings that decide results, flat, with a digest of the annotations in place of where they lie.

    `metric.test` and `metric.train` are the names of PCK on the test images and on the pool, `metric.unit` is what
    distances are divided by.
    """
    flat = flatten(settings)
    for name, callback in (settings.get("callbacks") or {}).items():
        if str(callback.get("_target_")).startswith(DISPLAY_CALLBACKS):
            flat = {k: v for k, v in flat.items() if not k.startswith(f"callbacks.{name}.")}
    kept = {
        k: v
        for k, v in flat.items()
        if not any(k == n or k.startswith(n + ".") for n in NON_RESULT_SETTINGS)
        and not (k.startswith("dataset.") and k.endswith("root"))  # where the data lies
    }
    if flat.get("pairs") == "local":  # then the objective sees the images of one device at a time
        kept["pairs.devices"] = flat["trainer.devices"] * flat["trainer.num_nodes"]
    table, size = dataset.records, dataset.get_normaliser(pck.unit)
    names = {f"metric.{s}": pck.format_label(bool(size.estimated[table.split == s].any())) for s in ("train", "test")}
    arrays = (size.values, table.joints, table.visible, table.boxes, table.initial)
    content = [hash_columns(table.ids, table.split)]
    content += [hashlib.sha256(np.ascontiguousarray(a).reshape(-1).data).hexdigest() for a in arrays]
    names["metric.unit"] = size.source
    return {**kept, **names, "dataset.name": dataset.name, "dataset.digest": hash_json(content)}


def hash_columns(*columns: Sequence[str] | NDArray[np.str_]) -> str:
    """What `digest` gives for a list of these as lists, without ever holding one."""
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
    if isinstance(tree, Mapping):
        yield from (str(value) for key, value in tree.items() if key == "_target_")
    for value in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ():
        yield from _find_targets(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"head": {"width": 8}} → {"head.width": 8}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
