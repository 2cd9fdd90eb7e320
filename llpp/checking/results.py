"""The files of a check: tables, and a summary that is written last."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llpp.checking.findings import Finding
from llpp.files import replace_text
from llpp.tasks.base import Task
from llpp.tasks.pose.task import PoseTask

LABELS = "labels.csv"
JOINTS = "joints.csv"
SUMMARY = "summary.json"
COLUMNS = (
    "rank",
    "id",
    "suspicion",
    "reason",
    "details",
    "joints",
    "true_loss",
    "expected_loss",
    "quality",
    "confidence",
    "judge",
    "file",
)
JOINT_COLUMNS = (
    "rank", "id", "joint", "label_x", "label_y", "visible", "predicted_x", "predicted_y", "distance", "confidence",
)  # fmt: skip


def write_labels(findings: Sequence[Finding], task: Task, path: Path) -> None:
    """Write a row for each label, the most suspicious first; numbers that are not known are empty."""
    kinds = list(findings[0].evidence) if findings else []
    rows: list[list[Any]] = [[*COLUMNS, *(f"evidence_{kind}" for kind in kinds)]]
    for finding in findings:
        row = [
            finding.rank,
            finding.id,
            _format(finding.suspicion),
            finding.reason,
            finding.details,
            " ".join(finding.joints),
            _format(finding.true_loss),
            _format(finding.expected_loss),
            _format(finding.quality),
            _format(finding.confidence),
            finding.judge,
            task.dataset.get_file_name(finding.row),
        ]
        rows.append([*row, *(_format(finding.evidence[kind]) for kind in kinds)])
    _write_csv(rows, path)


def write_joints(findings: Sequence[Finding], task: PoseTask, path: Path) -> None:
    """Write a row for each joint of some labels: where it is labelled, and where it is expected; image pixels."""
    names = task.labels.skeleton.joints
    rows: list[list[Any]] = [list(JOINT_COLUMNS)]
    for finding in findings:
        label = task.labels.joints[finding.row].astype(np.float64)
        if finding.predicted is None or finding.heights is None:
            continue
        for joint, name in enumerate(names):
            x, y = label[joint].tolist()
            predicted_x, predicted_y = finding.predicted[joint].tolist()
            row = [
                finding.rank,
                finding.id,
                name,
                _format(x),
                _format(y),
                int(task.labels.visible[finding.row, joint]),
                _format(predicted_x),
                _format(predicted_y),
                _format(math.hypot(x - predicted_x, y - predicted_y)),
                _format(float(finding.heights[joint])),
            ]
            rows.append(row)
    _write_csv(rows, path)


def write_summary(path: Path, facts: Mapping[str, Any], findings: Sequence[Finding], shown: int) -> None:
    """Write what was checked, by whom, and what the most suspicious labels are suspected of."""
    content = {
        **facts,
        "labels": len(findings),
        "shown": shown,
        "judges": dict(Counter(finding.judge for finding in findings)),
        "reasons_of_shown": count_reasons(findings[:shown]),
    }
    replace_text(path, json.dumps(content, indent=1))


def count_reasons(findings: Sequence[Finding]) -> dict[str, int]:
    """How many labels are suspected of each kind of mistake, the most frequent first."""
    return dict(Counter(finding.reason for finding in findings).most_common())


def _format(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _write_csv(rows: Sequence[Sequence[Any]], path: Path) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    replace_text(path, text.getvalue())
