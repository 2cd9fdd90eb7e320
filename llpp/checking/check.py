"""`llpp check`: judge the labels of a run by networks that did not train on them, and say which look wrong."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.checking import batch, results
from llpp.checking.cross_fitting import (
    CheckedRun,
    Judgement,
    check_enough,
    judge_by_folds,
    judge_by_rounds,
)
from llpp.checking.findings import Finding, Findings, list_findings
from llpp.checking.page import REASONS, render_check_page
from llpp.errors import ConfigError, StateError
from llpp.files import replace_text
from llpp.oracles.tool import LabellingTool
from llpp.reliability.label_suspicion import measure_found
from llpp.run_dir.lock import lock_run_dir
from llpp.tasks.pose.task import PoseTask

PAGE = "check.html"
LEAST_FORECAST = 50  # labels; of fewer, mistakes made on purpose look different from the others by chance
NOTES = (
    "Suspicion is the natural logarithm of odds: how much more often the network says such things about labels in "
    "which a mistake was made on purpose than about the labels as they are. It orders labels; it is no probability.",
    "Expected loss is what the loss head leads one to expect for the image, in the loss of the same network.",
)


@dataclass(frozen=True)
class CheckRequest:
    """What a user wants to have checked, and how."""

    folds: int  # 0: nothing is trained
    share: float  # of the labels, the most suspicious, that are shown and asked for
    tool: LabellingTool | None = None  # that a batch is written for
    half_pixel: bool = False  # see `WriteOptions`
    command: str = ""  # that reads a project's answers


@dataclass(frozen=True)
class CheckResult:
    """What a check has found and written."""

    lines: Sequence[str]  # for the user
    files: Sequence[Path]


def check_labels(checked: CheckedRun, request: CheckRequest) -> CheckResult:
    """Judge all labels that can be judged, and write what looks wrong into the folder of results.

    Raises:
        LlppError: there is nothing to judge, too little to train on, or another process uses the folder.
    """
    out = checked.run.directory
    task = checked.run.data.task
    if request.tool is not None and not isinstance(task, PoseTask):
        raise ConfigError(
            f"{checked.source} has learned {task.name}, and batches for labelling tools are of joints; leave out "
            "--tool, and correct what labels.csv names"
        )
    out.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(out, "choose another --out"):
        judgements = _judge(checked, request.folds)
        findings = list_findings(task, judgements)
        shown = max(1, math.ceil(request.share * len(findings.labels)))
        return _write(checked, request, findings, shown)


def _judge(checked: CheckedRun, folds: int) -> list[Judgement]:
    run = checked.run
    trained = find_labelled_rows(checked)
    is_labelled = run.data.dataset.records.labels.is_labelled
    held_out = [run.data.select_rows(split, checked.state) for split in ("val", "test")]
    others = np.concatenate(held_out)
    others = others[is_labelled[others]]
    judgements: list[Judgement] = []
    if folds:
        check_enough(len(trained), folds)
        judgements += judge_by_folds(checked, trained, folds)
        judgements += judge_by_rounds(checked, others)
    else:
        judgements += judge_by_rounds(checked, np.concatenate([trained, others]))
    if not judgements:
        raise StateError(
            f"{checked.source} has no label that a round whose weights are there has not trained on, so that "
            "--folds 0 can judge none; use --folds 2, which trains two networks"
        )
    return judgements


def find_labelled_rows(checked: CheckedRun) -> NDArray[np.int64]:
    """Rows of the training images that are labelled by now, in dataset order."""
    records = checked.run.data.dataset.records
    rows = checked.run.data.select_rows("train", checked.state)
    is_known = records.labels.is_labelled[rows]
    if not checked.asks_people:
        is_known &= np.isin(rows, records.ids.find_rows(checked.state.labelled))
    return np.asarray(rows[is_known])


def _write(checked: CheckedRun, request: CheckRequest, ranked: Findings, count: int) -> CheckResult:
    """Write all files, the summary last; `count` labels are shown."""
    findings = ranked.labels
    shown = findings[:count]
    found = measure_found(ranked.suspicion, ranked.made, count) if len(findings) >= LEAST_FORECAST else {}
    out = checked.run.directory
    task = checked.run.data.task
    summary = out / results.SUMMARY
    summary.unlink(missing_ok=True)
    results.write_labels(findings, task, out / results.LABELS)
    files = [out / results.LABELS]
    if isinstance(task, PoseTask):
        results.write_joints(shown, task, out / results.JOINTS)
    judges = Counter(finding.judge for finding in findings)
    by_judge = ", ".join(f"{labels:,} by {judge}" for judge, labels in sorted(judges.items()))
    html, pictures = render_check_page(shown, task, len(findings), f"llpp check {checked.source}", NOTES)
    replace_text(out / PAGE, html)
    files.append(out / PAGE)
    lines = [
        f"{len(findings):,} labels judged: {by_judge}",
        f"the {len(shown):,} most suspicious: {_describe_reasons(shown)}",
    ]
    if found:
        lines.append(f"made on purpose, a mistake would be among these so often: {_describe_found(found)}")
    if pictures < len(shown):
        lines.append(f"{PAGE} shows {pictures:,} of them")
    if request.tool is not None and isinstance(task, PoseTask):
        rounds = len(checked.state.rounds)
        readme = batch.write_check_batch(task, shown, request.tool, out, rounds, request.half_pixel, request.command)
        files.append(readme)
    facts: Mapping[str, Any] = {
        "run": str(checked.source),
        "rounds": len(checked.state.rounds),
        "folds": request.folds,
        "share": request.share,
        "made_mistakes_found": found,
        "tool": None if request.tool is None else request.tool.name,
    }
    results.write_summary(summary, facts, findings, len(shown))
    return CheckResult(lines, files)


def _describe_reasons(shown: Sequence[Finding]) -> str:
    counts = results.count_reasons(shown)
    return ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in counts.items())


def _describe_found(found: Mapping[str, float]) -> str:
    parts = [f"{REASONS[kind]} {share:.0%}" for kind, share in found.items() if math.isfinite(share)]
    return ", ".join(parts)
