"""What a run's results depend on: its settings, its annotations, and the program."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llpp.datasets.base import PoseDataset
from llpp.metrics import PCKDefinition
from llpp.state import digest

# Left out of the fingerprint: they name, place, show or speed up a run, and change none of its results.
NOT_SCIENCE = (
    "name", "runs", "run_dir", "base_models", "data_root", "rounds", "report", "logger", "callbacks", "evaluate_pool",
    "threads", "data.workers", "data.pin_memory", "data.eval_batch_size",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.log_every_n_steps",
    "trainer.enable_model_summary", "trainer.profiler",
)  # fmt: skip


def science(settings: Mapping[str, Any], dataset: PoseDataset, pck: PCKDefinition) -> dict[str, Any]:
    """The settings that decide results, flat, with a digest of the annotations in place of where they lie.

    `metric.test` and `metric.train` are the names of PCK on the test images and on the pool, `metric.unit` is what
    distances are divided by.
    """
    flat = flatten(settings)
    kept = {
        k: v
        for k, v in flat.items()
        if not any(k == n or k.startswith(n + ".") for n in NOT_SCIENCE)
        and not (k.startswith("dataset.") and k.endswith("root"))  # where the data lies
    }
    table, size = dataset.records, dataset.body_size(pck.unit)
    names = {f"metric.{s}": pck.label(bool(size.estimated[table.split == s].any())) for s in ("train", "test")}
    arrays = (size.values, table.joints, table.visible, table.boxes, table.initial)
    content = [digest([list(table.ids), table.split.tolist()])]
    content += [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in arrays]
    names["metric.unit"] = size.source
    return {**kept, **names, "dataset.name": dataset.name, "dataset.digest": digest(content)}


def code(settings: Mapping[str, Any]) -> str:
    """Digest of llpp's own source, of the plug-ins' that the settings name, and of torch's version."""
    files = set(Path(__file__).parent.rglob("*.py"))
    for key, target in flatten(settings).items():
        if key.endswith("_target_"):
            plug_in = sys.modules.get(str(target).rpartition(".")[0])
            if plug_in is not None and plug_in.__file__:
                files.add(Path(plug_in.__file__))
    return digest([torch.__version__, *sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)])


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"head": {"width": 8}} → {"head.width": 8}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
