"""Differences in training that the labels of methods do not show: one had fewer epochs than the others, say."""

from collections.abc import Mapping, Sequence
from typing import Any

from llpp.report.collect import Method, Section
from llpp.report.labels import MAX_VALUE_LENGTH, TARGET, find_differing_keys

# These decide which images are labelled, and train no model in another way.
NOT_OF_TRAINING = (
    "acquisition", "audit", "audit_tilt", "budget", "initial", "oracle", "pool", "ranker", "scoring", "seed",
)  # fmt: skip
MAX_SETTINGS = 4  # that the sentence names
MAX_LABELS = 3  # of methods with the same value


def list_hidden_differences(section: Section) -> list[str]:
    """Return a sentence about the settings of training that differ without being named in the labels, if any.

    A plug-in that differs is meant to, with settings of its own; a setting that older runs did not record is unknown.
    """
    methods = section.started_methods
    settings = [method.runs[0].state.result_settings for method in methods]
    keys = []
    for key in find_differing_keys(settings):
        group = key.partition(".")[0]
        plug_ins = {flat.get(f"{group}{TARGET}") for flat in settings}
        is_recorded = all(key in flat for flat in settings)
        is_shown = all(f"{key}=" in method.label for method in methods)
        if group not in NOT_OF_TRAINING and len(plug_ins) == 1 and is_recorded and not is_shown:
            keys.append(key)
    if not keys:
        return []
    parts = [_describe_values(key, methods, settings) for key in keys[:MAX_SETTINGS]]
    if len(keys) > MAX_SETTINGS:
        parts.append(f"and {len(keys) - MAX_SETTINGS} more, in the full settings")
    return [
        f"The models of these methods are trained with different settings: {'; '.join(parts)}. A difference between "
        "the methods may come from that."
    ]


def _describe_values(key: str, methods: Sequence[Method], settings: Sequence[Mapping[str, Any]]) -> str:
    """Return `trainer.max_epochs is 20 (random, core_set) or 3 (predicted_loss)`."""
    labels_by_value: dict[str, list[str]] = {}
    for method, flat in zip(methods, settings, strict=True):
        value = str(flat[key])[:MAX_VALUE_LENGTH]
        labels_by_value.setdefault(value, []).append(method.label)
    words = []
    for value, labels in labels_by_value.items():
        named = ", ".join(labels) if len(labels) <= MAX_LABELS else f"{len(labels)} methods"
        words.append(f"{value} ({named})")
    return f"{key} is {' or '.join(words)}"
