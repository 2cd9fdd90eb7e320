"""Run directories of older versions: what they call by another name than this one.

Classes and settings that move would otherwise make a run refuse to resume: they are a part of its recorded settings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOVED_TARGETS = {
    "llpp.datasets.coco.CocoKeypoints": "llpp.datasets.coco.dataset.CocoKeypoints",
    "llpp.datasets.lsp.LeedsSportsPose": "llpp.datasets.lsp.dataset.LeedsSportsPose",
    "llpp.datasets.mpii.MpiiHumanPose": "llpp.datasets.mpii.dataset.MpiiHumanPose",
    "llpp.datasets.synthetic.SyntheticFigures": "llpp.datasets.synthetic.dataset.SyntheticFigures",
    "llpp.losses.ForegroundMSE": "llpp.tasks.pose.losses.ForegroundMSE",
    "llpp.losses.HeatmapMSE": "llpp.tasks.pose.losses.HeatmapMSE",
    "llpp.losses.SpatialCrossEntropy": "llpp.tasks.pose.losses.SpatialCrossEntropy",
    "llpp.progress.EpochLines": "llpp.loggers.epoch_lines.EpochLines",
    "llpp.schedules.one_cycle": "llpp.training.schedules.one_cycle",
    "llpp.schedules.plateau": "llpp.training.schedules.plateau",
    "llpp.schedules.step_decay": "llpp.training.schedules.step_decay",
    "llpp.sweep.SweepJournal": "llpp.launch.sweep.SweepJournal",
    "llpp.transforms.Augmentation": "llpp.data.augmentation.Augmentation",
    "llpp.pixels.PixelAugmentations": "llpp.data.pixel_augmentation.PixelAugmentations",
    "llpp.wandb_run.WandbRun": "llpp.loggers.wandb_logger.WandbRun",
}
MOVED_SETTINGS = {
    "runs": "paths.runs",
    "run_dir": "paths.run_dir",
    "data_root": "paths.data_root",
    "cache_dir": "paths.cache_dir",
    "init": "training.init",
    "weights": "training.weights",
    "best_by": "training.best_by",
    "base": "training.base",
    "base_models": "training.base_models",
    "head_weight": "training.head_weight",
    "pairs": "training.pairs",
    "detach_from_epoch": "training.detach_from_epoch",
    "compile": "training.compile",
    "subset": "scoring.subset",
    "evaluate_pool": "scoring.evaluate_pool",
    "performance.compile_from": "scoring.compile_from",
    "performance.allocator": "launch.allocator",
    "threads": "launch.threads",
    "rank_timeout": "launch.rank_timeout",
    "on_bad_image": "pool.on_bad_image",
    "dataset.grow": "pool.grow",
    "dataset.cache": "crop.cache",
    "dataset.resident": "crop.resident",
    "codec": "task.heatmap",
    "flip_test": "task.flip_test",
    "pck.unit": "pck.normaliser",
    "metric.unit": "metric.normaliser",
}
MOVED_VALUES = {
    ("training.base", "pose"): "backbone",
    ("training.best_by", "pck"): "metric",
    ("training.best_by", "pose_loss"): "loss",
}
# Files of a round, and columns of its score tables, under their present names.
MOVED_FILES = {"predictions.parquet": "poses.parquet"}
MOVED_COLUMNS = {"quality": "pck"}
# What only one value was possible for.
ADDED_SETTINGS = {
    "task._target_": "llpp.tasks.pose.task.PoseTask",
    "task._partial_": True,
    "oracle._target_": "llpp.oracles.simulated.SimulatedOracle",
    "oracle._partial_": True,
    "metric.name": "pck",
    "metric.title": "PCK",
    "metric.higher_is_better": True,
}
# Settings that these datasets have got since version 2, with what they did before; runs record them ever since.
ADDED_DATASET_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "llpp.datasets.coco.dataset.CocoKeypoints": {
        "orientation": "file",
        "outside": "keep",
        "ids": "stem",
        "repeats": "keep",
        "group": None,
        "white": "high_byte",
        "background": "ignore",
    },
    "llpp.datasets.image_folder.ImageFolder": {"group": None, "white": "high_byte", "background": "ignore"},
}
# The same of heads, which have got theirs later.
ADDED_HEAD_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "llpp.heads.gap_fc.GapFCHead": {"evidence": "none"},
    "llpp.heads.multiscale_conv.MultiscaleConvHead": {"evidence": "none"},
}
# What all runs have got later.
ADDED_RUN_SETTINGS: Mapping[str, Any] = {"ranker": "head"}
# Until there were more views than the mirrored image, tasks of poses had a setting of their own, and others had none.
FLIP_TEST = "task.flip_test"
VIEWS = "scoring.views"
# The same of backbones, later still.
ADDED_BACKBONE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "llpp.backbones.hourglass.StackedHourglass": {"dropout": 0.0},
    "llpp.backbones.resnet.ResNet18": {"dropout": 0.0},
}
OLDER_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


def find_older_flip_pairs(joints: Sequence[str]) -> set[frozenset[str]]:
    """The left–right pairs of a skeleton that runs have used by its joints' names before `dataset.flip_pairs`."""
    positions: dict[tuple[str, tuple[str, ...]], str] = {}
    for name in joints:
        positions.setdefault(_split_older_name(name), name)
    pairs = set()
    for (side, words), name in positions.items():
        partner = positions.get(("right", words))
        if side == "left" and partner is not None:
            pairs.add(frozenset((name, partner)))
    return pairs


def _split_older_name(joint: str) -> tuple[str, tuple[str, ...]]:
    """The side by the first word that begins with left or right, or is the letter, and the words without it."""
    words = [word.lower() for word in OLDER_WORD.findall(joint)]
    for index, word in enumerate(words):
        for side in ("left", "right"):
            if word == side[0] or word.startswith(side):
                rest = "" if word == side[0] else word.removeprefix(side)
                return side, (*words[:index], rest, *words[index + 1 :])
    return "middle", tuple(words)


def update_targets(tree: Any) -> Any:
    """A copy of nested mappings and lists in which every moved class has its present name."""
    if isinstance(tree, dict):
        return {key: update_targets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [update_targets(value) for value in tree]
    if isinstance(tree, str):
        return MOVED_TARGETS.get(tree, tree)
    return tree


def update_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded result settings, flat, of a run that had only poses, under the names that they have now."""
    if not isinstance(settings, dict):
        raise TypeError(f"settings are {type(settings).__name__}; expected an object")
    updated = dict(ADDED_SETTINGS)
    for old, value in update_targets(dict(settings)).items():
        name = update_name(old)
        updated[name] = MOVED_VALUES.get((name, value), value) if isinstance(value, str) else value
    return updated


def add_dataset_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded result settings, flat, with those that its parts had not got yet when the run began."""
    added = dict(settings)
    for table in (ADDED_DATASET_SETTINGS, ADDED_HEAD_SETTINGS, ADDED_BACKBONE_SETTINGS):
        for name, value in list(_list_added_settings(settings, table)):
            added.setdefault(name, value)
    return added


def add_views(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded result settings, flat, with `scoring.views` in place of the setting that was there before it."""
    added = dict(settings)
    flip_test = False
    if added.get("task._target_") == ADDED_SETTINGS["task._target_"]:
        flip_test = bool(added.pop(FLIP_TEST, False))
    added.setdefault(VIEWS, "flip" if flip_test else "none")
    return added


def restore_flip_test(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `add_views`; what no older run can have had stays."""
    restored = dict(settings)
    has_flip_test = settings.get("task._target_") == ADDED_SETTINGS["task._target_"]
    views = settings.get(VIEWS)
    if views == "none" or (views == "flip" and has_flip_test):
        del restored[VIEWS]
        if has_flip_test:
            restored[FLIP_TEST] = views == "flip"
    return restored


def drop_backbone_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Result settings as runs recorded them before backbones had `dropout` and runs had views."""
    return _drop_added_settings(restore_flip_test(settings), ADDED_BACKBONE_SETTINGS)


def drop_head_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Result settings as runs recorded them before heads had `evidence`, which was before backbones had `dropout`."""
    return _drop_added_settings(drop_backbone_settings(settings), ADDED_HEAD_SETTINGS)


def _drop_added_settings(settings: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    dropped = dict(settings)
    for name, earlier in _list_added_settings(settings, table):
        # A run with another value cannot be an older one.
        if name in settings and settings[name] == earlier:
            del dropped[name]
    return dropped


def drop_dataset_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `add_dataset_settings`: result settings as runs recorded them in version 2."""
    dropped = {name for name, _ in _list_added_settings(settings, ADDED_DATASET_SETTINGS)}
    older = drop_head_settings(settings)
    return {name: value for name, value in older.items() if name not in dropped}


def _list_added_settings(
    settings: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Any]]:
    """Yield name and earlier value of every setting that `table` adds to the parts of some settings, flat."""
    for name, target in settings.items():
        section, _, key = name.rpartition(".")
        if key == "_target_" and isinstance(target, str):
            for added, value in table.get(target, {}).items():
                yield f"{section}.{added}", value


def restore_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `update_settings`: present settings under the names that version 1 had for them.

    Checkpoints carry a digest of the settings of their round, and those of older runs have it of these names.
    """
    old_names = {new: old for old, new in MOVED_SETTINGS.items()}
    old_targets = {new: old for old, new in MOVED_TARGETS.items()}
    old_values = {(name, new): old for (name, old), new in MOVED_VALUES.items()}
    restored = {}
    for name, value in drop_dataset_settings(settings).items():
        if name in ADDED_SETTINGS:
            continue
        if isinstance(value, str):
            value = old_values.get((name, value), old_targets.get(value, value))
        restored[_move_name(name, old_names)] = value
    return restored


def update_state(body: dict[str, Any]) -> dict[str, Any]:
    """The content of a state file of version 1 as version 2 has it."""
    updated: dict[str, Any] = update_targets(body)
    updated["science"] = update_settings(body["science"])
    return updated


def mark_other_draws(body: dict[str, Any]) -> dict[str, Any]:
    """The content of a state file before version 3, with the first round whose augmentation is drawn otherwise.

    Those programs drew from a generator for each image, present ones from a hash of the same numbers.
    """
    if not _augments(body["science"]):
        return body
    return {**body, "redrawn": len(body["rounds"])}


def _augments(settings: Mapping[str, Any]) -> bool:
    """Whether a run with these result settings, flat, draws any augmentation."""
    ranges = ("augmentation.rotation", "augmentation.scale", "augmentation.shift", "augmentation.flip")
    return "pixel._target_" in settings or any(settings.get(name) for name in ranges)


def update_datasets(body: dict[str, Any]) -> dict[str, Any]:
    """The content of a state file, with the settings that runs or datasets had not got yet when it was written."""
    updated = dict(body)
    updated["science"] = _add_settings(body["science"])
    for name, earlier in ADDED_RUN_SETTINGS.items():
        updated["science"].setdefault(name, earlier)
    updated["grown"] = []
    for growth in body.get("grown", ()):
        updated["grown"].append({**growth, "before": _add_settings(growth["before"])})
    return updated


def _add_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    return add_views(add_dataset_settings(settings))


def update_name(name: str) -> str:
    """`codec.sigma` → `task.heatmap.sigma`."""
    return _move_name(name, MOVED_SETTINGS)


def find_present_name(name: str) -> str:
    """The name that a setting has now, whichever older one it is given by."""
    present = update_name(name)
    return VIEWS if present == FLIP_TEST else present


def _move_name(name: str, moves: Mapping[str, str]) -> str:
    for source, target in moves.items():
        if name == source or name.startswith(f"{source}."):
            return target + name.removeprefix(source)
    return name


def update_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.yaml of an older run, with the sections and settings that it would have now."""
    updated: dict[str, Any] = update_targets(dict(config))
    _add_to_dataset(updated.get("dataset"))
    if "task" in updated or "pose_loss" not in updated:
        _move_flip_test(updated)
        return updated
    for old, new in MOVED_SETTINGS.items():
        _move_setting(updated, old, new)
    for (name, old_value), new_value in MOVED_VALUES.items():
        section, _, key = name.partition(".")
        if isinstance(updated.get(section), dict) and updated[section].get(key) == old_value:
            updated[section][key] = new_value
    task = updated.setdefault("task", {})
    task["_target_"] = ADDED_SETTINGS["task._target_"]
    task["_partial_"] = True
    task["loss"] = updated["pose_loss"]
    task["pck"] = updated.get("pck")
    _move_flip_test(updated)
    return updated


def _move_flip_test(config: dict[str, Any]) -> None:
    """Turn the setting that tasks of poses had before `scoring.views` into that."""
    task = config.get("task")
    if not isinstance(task, dict) or task.get("_target_") != ADDED_SETTINGS["task._target_"]:
        return
    if "flip_test" not in task:
        return
    flip_test = task.pop("flip_test")
    scoring = config.setdefault("scoring", {})
    if isinstance(scoring, dict):
        scoring.setdefault("views", "flip" if flip_test else "none")


def _add_to_dataset(node: Any) -> None:
    """Add what a dataset, or a part of one, had not got yet when its settings were written."""
    if not isinstance(node, dict):
        return
    for name, value in ADDED_DATASET_SETTINGS.get(str(node.get("_target_")), {}).items():
        node.setdefault(name, value)
    for part in node.values():
        _add_to_dataset(part)


def _move_setting(config: dict[str, Any], old: str, new: str) -> None:
    """Move what is at the dotted path `old` of nested mappings to `new`; nothing happens where it is not there."""
    *sections, key = old.split(".")
    source: Any = config
    for section in sections:
        source = source.get(section) if isinstance(source, dict) else None
    if not isinstance(source, dict) or key not in source:
        return
    value = source.pop(key)
    *sections, key = new.split(".")
    target = config
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            return
    target[key] = value
