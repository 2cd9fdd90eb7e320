"""Run directories of older versions: what they call by another name than this one.

A class that moves would otherwise make a run refuse to resume: its `_target_` is a part of the recorded settings.
"""

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


def update_targets(tree: Any) -> Any:
    """A copy of nested mappings and lists in which every moved `_target_` has its present name."""
    if isinstance(tree, dict):
        return {key: update_targets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [update_targets(value) for value in tree]
    if isinstance(tree, str):
        return MOVED_TARGETS.get(tree, tree)
    return tree
