"""What single settings may be, in one place: known before torch is imported, and by those who use them."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from llpp.errors import ConfigError, expect

Rule = tuple[Callable[[Any], bool], str]  # whether a value fits, and what is expected
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
OTHER_PRECISIONS = ("32", "bf16", "16", "64", "transformer-engine", "transformer-engine-float16")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: object) -> bool:
    return is_number(value) and value > 0


def _make_minimum(least: float) -> Callable[[Any], bool]:
    return lambda value: is_number(value) and value >= least


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_amount(value: object) -> bool:
    """Whether it is a number of batches, or a share of them; in YAML, 1 is one batch and 1.0 is all of them."""
    if isinstance(value, float):
        return 0 < value <= 1
    return type(value) is int and value >= 1


def _is_duration(value: object) -> bool:
    """Whether it is a time above 0 as Lightning reads it: DD:HH:MM:SS, or a mapping as in {minutes: 30}."""
    if isinstance(value, Mapping):
        return all(map(_make_minimum(0.0), value.values())) and any(value.values())
    return isinstance(value, str) and re.fullmatch(r"\d+(:\d\d?){3}", value) is not None and value.strip("0:") != ""


def _make_integer_rule(least: int) -> Rule:
    return (lambda value: type(value) is int and value >= least), f"a whole number, {least} or more"


def _make_optional_rule(rule: Rule) -> Rule:
    fits, expected = rule
    return (lambda value: value is None or fits(value)), f"null, or {expected}"


BOOLEAN: Rule = (lambda value: isinstance(value, bool), "true or false")
SHARE: Rule = (lambda value: is_number(value) and 0 <= value <= 1, "a share, 0 to 1")
DURATION = "a time above 0, as in 00:01:30:00 (days, hours, minutes, seconds)"

RULES: Mapping[str, Rule] = {  # of single values, wherever they come from
    "seed": _make_integer_rule(0),
    "paths.runs": (lambda value: isinstance(value, str) and value != "", "a folder"),
    "rounds": _make_optional_rule(_make_integer_rule(1)),
    "initial": _make_integer_rule(2),
    "budget": _make_integer_rule(1),
    "audit": SHARE,
    "audit_tilt": (lambda value: is_number(value) and 0 <= value <= 0.5, "a number, 0 to 0.5"),
    "ranker": (
        lambda value: isinstance(value, str) and value != "",
        "auto, head, or what the task offers, such as confidence",
    ),
    "optimizer.lr": (_make_minimum(0.0), "a number, 0 or more"),
    "backbone.dropout": (lambda value: is_number(value) and 0 <= value < 1, "a share, 0 to less than 1"),
    "training.head_weight": (_make_minimum(0.0), "0 or more"),
    "training.detach_from_epoch": _make_optional_rule(
        (lambda value: type(value) is int and value >= 0, "an epoch, 0 or more")
    ),
    "launch.threads": _make_optional_rule(_make_integer_rule(1)),
    "launch.jobs_per_gpu": _make_optional_rule(_make_integer_rule(1)),
    "launch.rank_timeout": (_is_positive, "seconds, above 0"),
    "crop.size": (lambda value: type(value) is int and 8 <= value <= 1024, "8 to 1024 pixels"),
    "crop.padding": (_is_positive, "a factor above 0"),
    "crop.margin": _make_optional_rule((_make_minimum(1.0), "a factor of 1 or more")),
    **{f"augmentation.{name}": (_make_minimum(0.0), "0 or more") for name in ("rotation", "scale", "shift")},
    "augmentation.flip": (lambda value: _make_minimum(0.0)(value) and value <= 1, "a probability, 0 to 1"),
    "task.heatmap.sigma": (_is_positive, "a width above 0 cells"),
    "task.heatmap.peak": (_is_positive, "a height above 0"),
    **{f"pck.{name}": (_is_positive, "a number above 0") for name in ("factor", "threshold", "auc_limit")},
    "pck.curve": (
        lambda value: _is_list(value) and all(map(_is_positive, value)),
        "a list of thresholds above 0, as in [0.1,0.2]",
    ),
    "pck.exclude": (_is_list, "a list of joints, as in [pelvis,thorax]"),
    "pose_loss.background": (_make_minimum(0.0), "a weight, 0 or more"),
    "scoring.compile_from": (
        lambda value: value in (None, "auto") or (type(value) is int and value >= 1),
        "auto, null, or a number of images, 1 or more",
    ),
    **{f"label.{name}": SHARE for name in ("enough", "blind", "overlap")},
    **{f"label.{name}": BOOLEAN for name in ("retract", "release", "half_pixel")},
    "label.least": _make_integer_rule(2),
    "label.test": _make_integer_rule(0),
    "label.annotators": _make_integer_rule(1),
    "label.gap": (_make_minimum(0.0), "seconds, 0 or more"),
    "label.labels": _make_optional_rule(((lambda value: isinstance(value, str) and value != ""), "a file or folder")),
    "report.target": _make_optional_rule(SHARE),
    "report.gain": (_is_positive, "a number above 0"),
    "pool.grow": BOOLEAN,
    "crop.cache": BOOLEAN,
    "crop.resident": (lambda value: value in (None, "device"), "null or device"),
    "data.batch_size": _make_integer_rule(2),
    "data.eval_batch_size": _make_integer_rule(1),
    "data.workers": _make_optional_rule(_make_integer_rule(0)),
    "trainer.max_epochs": (lambda value: type(value) is int and value >= 1, "1 or more"),
    "trainer.min_epochs": _make_optional_rule(_make_integer_rule(0)),
    "trainer.min_steps": _make_optional_rule(_make_integer_rule(0)),
    "trainer.max_steps": (
        lambda value: type(value) is int and (value == -1 or value >= 1),
        "steps per round, 1 or more, or -1 for no limit",
    ),
    "trainer.max_time": _make_optional_rule((_is_duration, DURATION)),
    "trainer.limit_train_batches": _make_optional_rule(
        (_is_amount, "a number of batches, 1 or more, or a share of them, up to 1.0")
    ),
    "trainer.limit_val_batches": _make_optional_rule(
        (lambda value: _is_amount(value) or value == 0, "a number of batches, or a share of them, up to 1.0")
    ),
    "trainer.check_val_every_n_epoch": _make_optional_rule(_make_integer_rule(1)),
    "trainer.val_check_interval": _make_optional_rule(
        (
            lambda value: _is_amount(value) or _is_duration(value),
            f"a number of batches, 1 or more, a share of an epoch, up to 1.0, or {DURATION}",
        )
    ),
    "trainer.log_every_n_steps": _make_optional_rule(_make_integer_rule(0)),
    "trainer.accumulate_grad_batches": _make_integer_rule(1),
    "trainer.gradient_clip_val": _make_optional_rule((_make_minimum(0.0), "a number, 0 or more")),
    "trainer.reload_dataloaders_every_n_epochs": _make_integer_rule(0),
    **{
        f"trainer.{name}": BOOLEAN
        for name in ("detect_anomaly", "enable_autolog_hparams", "enable_model_summary", "inference_mode")
    },
    "trainer.benchmark": _make_optional_rule(BOOLEAN),
    "trainer.deterministic": _make_optional_rule(
        (lambda value: isinstance(value, bool) or value == "warn", "true, false or warn")
    ),
    "trainer.gradient_clip_algorithm": (lambda value: value in (None, "norm", "value"), "null, norm or value"),
    # Lightning's third, pytorch, fails when a Trainer scores after it has trained.
    "trainer.profiler": (lambda value: value in (None, "simple", "advanced"), "null, simple or advanced"),
    "trainer.accelerator": (lambda value: value in ("cpu", "gpu", "cuda", "mps"), "cpu, gpu or mps"),
    "trainer.precision": (
        lambda value: str(value) in PRECISIONS + OTHER_PRECISIONS,
        f"one of {', '.join(PRECISIONS)}",
    ),
}

CHOICES = {
    "dataset.conflict": ("newest", "mean"),
    "label.suggest": ("auto", "always", "never"),
    "label.accept": ("none", "unchanged"),
    "label.changed": ("refuse", "accept"),
    "label.conflict": ("newest", "mean", "error"),
    "label.visibility": ("coco", "binary"),
    "label.empty": ("open", "reviewed"),
    "training.init": ("fresh", "previous"),
    "training.weights": ("last", "best"),
    "training.base": ("joint", "backbone"),
    "training.pairs": ("global", "local"),
    "training.best_by": ("metric", "loss"),
    "pool.on_bad_image": ("stop", "skip"),
    "pool.space": ("pose", "embedding"),
    "scoring.views": ("none", "flip", "six"),
    "crop.resample": ("auto", "worker", "device"),
    "launch.allocator": ("auto", "keep", "system"),
    "pck.joints": ("labelled", "visible"),
    "pose_loss.mask": ("labelled", "all"),
}


def check_setting(name: str, value: object) -> None:
    """Raise ConfigError unless a setting's value fits its own rule."""
    if name in RULES:
        fits, expected = RULES[name]
        expect(fits(value), name, value, expected)
    known = CHOICES.get(name)
    if known is not None and value not in known:
        raise ConfigError(f"{name}={value!r} is not known; use {', '.join(known[:-1])} or {known[-1]}")
