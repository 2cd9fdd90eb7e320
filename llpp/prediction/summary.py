"""What a finished pass says in total: `summary.json`, and a few lines for people."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.prediction.failure_flags import FLAGS, OK, FailureFlags, to_plain
from llpp.prediction.predictor import ModelFacts
from llpp.prediction.shards import Counts
from llpp.prediction.sources import Source
from llpp.reliability.drift import LEAST, Drift, measure_drift

PROBLEMS = "problems.csv"
Scores = NDArray[np.float32]


def build_summary(
    facts: ModelFacts,
    flags: FailureFlags,
    counts: Counts,
    sources: Sequence[Source],
    scores: Scores,
    origins: NDArray[np.int64],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """The content of summary.json; `scores` (N,) are all failure scores, `origins` (N,) the source of each."""
    words = flags.flag(scores)
    numbers = {name: int((words == name).sum()) for name in FLAGS}
    certificate = flags.certificate
    is_certified = certificate is not None and certificate.threshold is not None
    drift = measure_drift(flags.reference, scores)
    by_part = _measure_parts(flags, sources, scores, origins)
    return {
        "model": {
            "name": facts.name,
            "round": facts.round,
            "run_digest": facts.run_digest,
            "version": facts.version,
            "commit": facts.commit,
        },
        "ranker": {"name": facts.ranker.name, "origin": facts.ranker_origin},
        "images": sum(not source.is_film for source in sources),
        "films": sum(source.is_film for source in sources),
        "read": counts.images,
        "passed_over": len(counts.problems),
        "without_box": counts.without_box,
        "predictions": counts.persons,
        "flags": numbers,
        "coverage": numbers[OK] / len(scores) if is_certified and len(scores) else None,
        "failure": flags.failure,
        "promise": flags.sentence,
        "promise_holds": is_certified and not drift.has_drifted,
        "certificate": None if certificate is None else asdict(certificate),
        "risk_by_coverage": [asdict(row) for row in flags.risks],
        "drift": _describe_drift(drift),
        "drift_by_part": {name: _describe_drift(found) for name, found in by_part.items()},
        "remarks": [*flags.remarks, *remarks, *counts.tally.describe()],
    }


def _measure_parts(
    flags: FailureFlags, sources: Sequence[Source], scores: Scores, origins: NDArray[np.int64]
) -> dict[str, Drift]:
    """Drift of each film, and of the images of each folder, where there are enough of them."""
    names = []
    for source in sources:
        names.append(source.name if source.is_film else str(PurePosixPath(source.name).parent))
    parts, members = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    found: dict[str, Drift] = {}
    if len(parts) < 2:
        return found
    part_of_row = members[origins]
    for number, name in enumerate(parts.tolist()):
        chosen = scores[part_of_row == number]
        if len(chosen) >= LEAST:
            found[name] = measure_drift(flags.reference, chosen)
    return found


def _describe_drift(drift: Drift) -> dict[str, Any]:
    return {name: to_plain(value) if isinstance(value, float) else value for name, value in asdict(drift).items()}


def format_summary(summary: dict[str, Any]) -> list[str]:
    """The lines that are printed at the end."""
    persons = summary["predictions"]
    lines = [f"{summary['read']:,} images read, {persons:,} predictions"]
    if summary["passed_over"]:
        lines.append(f"{summary['passed_over']:,} passed over, see problems.csv")
    if summary["without_box"]:
        lines.append(f"{summary['without_box']:,} images have no box, so nothing is predicted for them")
    if summary["coverage"] is not None:
        ok = summary["flags"][OK]
        lines.append(f"{ok:,} of {persons:,} predictions flagged ok ({summary['coverage']:.0%})")
    lines.append(_describe_ranker(summary["ranker"]))
    lines.append(summary["promise"])
    if summary["certificate"] is not None:
        lines.append(summary["drift"]["sentence"])
        drifted = [name for name, drift in summary["drift_by_part"].items() if drift["has_drifted"]]
        if drifted and not summary["drift"]["has_drifted"]:
            more = ", …" if len(drifted) > 3 else ""
            lines.append(
                f"but not those of {', '.join(drifted[:3])}{more}: no promise about failures holds there any longer"
            )
    return [*lines, *summary["remarks"]]


def _describe_ranker(ranker: Mapping[str, str]) -> str:
    """One line about what flags and orders follow."""
    origin = f" ({ranker['origin']})" if ranker["origin"] else ""
    return f"flags by {ranker['name']}{origin}"


def describe_no_image(problems: Sequence[tuple[str, str]], folder: Path) -> str:
    """One sentence about inputs of which none can be read; `problems` (1 or more) are in the results' `folder`."""
    first = problems[0][1]
    if len(problems) == 1:
        return f"nothing is predicted: {first}"
    return f"nothing is predicted: none of {len(problems):,} can be read: {first}; {folder / PROBLEMS} has the rest"


def format_problems(counts: Counts) -> str:
    """The content of problems.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "reason"])
    writer.writerows(counts.problems)
    return text.getvalue()
