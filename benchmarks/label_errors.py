"""Does `llpp check` find labels that were spoiled on purpose? LSPET, with some labels made wrong in four ways.

For each seed, labels are spoiled, `llpp run` trains on them and `llpp check` judges them. Measured are, for each
ranking, the share of spoiled labels among the first ones (precision), and the share of spoiled ones there (recall).
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from benchmarks.measure import make_environment

KINDS = ("swapped", "moved", "shifted", "exchanged")
LEAST_JOINTS = 8  # labelled joints of a person whose label is spoiled
# Shares of the person's size by which one joint, or all of them, are moved.
MOVED_BY = (0.2, 0.5)
SHIFTED_BY = (0.2, 0.4)
FLIPPED = (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13)  # LSP's joints in a mirrored image
RUN = (
    "dataset=lspet", "rounds=1", "backbone=hourglass", "backbone.stacks=1", "scheduler=one_cycle", "logger=none",
    "callbacks=lines", "report.write=false", "training.base_models=null", "augmentation.rotation=30",
    "launch.threads=1", "crop.cache=true",
)  # fmt: skip
ODDITIES = ("evidence_duplicated", "evidence_outside", "evidence_disagreement")  # evidence without a network
RANKINGS = {
    "suspicion": "llpp check",
    "networks": "llpp check, networks alone",
    "true_loss": "true loss",
    "ratio": "true loss / expected loss",
    "sure": "true loss × confidence",
}


def spoil_labels(source: Path, target: Path, seed: int, share: float) -> dict[str, str]:
    """Write LSPET with spoiled labels, and return the kind of mistake of each spoiled image by its id."""
    table = scipy.io.loadmat(source / "joints.mat")["joints"].astype(np.float64)
    rng = np.random.default_rng(seed)
    labelled = table[:, 2] != 0
    suitable = np.flatnonzero(labelled.sum(axis=0) >= LEAST_JOINTS)
    # Each kind as often, and an even number of them: two images exchange their labels.
    count = int(share * table.shape[2]) // 8 * 2
    chosen = rng.permutation(suitable)[: count * len(KINDS)].reshape(len(KINDS), count)
    for image in chosen[0]:
        table[:, :, image] = table[list(FLIPPED)][:, :, image]
    for image in chosen[1]:
        joint = rng.choice(np.flatnonzero(labelled[:, image]))
        table[joint, :2, image] += draw_offset(rng, MOVED_BY, table[:, :, image])
    for image in chosen[2]:
        table[labelled[:, image], :2, image] += draw_offset(rng, SHIFTED_BY, table[:, :, image])
    first, second = chosen[3][: count // 2], chosen[3][count // 2 :]
    table[:, :, np.concatenate([first, second])] = table[:, :, np.concatenate([second, first])]
    target.mkdir(parents=True)
    scipy.io.savemat(target / "joints.mat", {"joints": table})
    (target / "images").symlink_to((source / "images").resolve())
    spoiled: dict[str, str] = {}
    for kind, images in zip(KINDS, chosen, strict=True):
        spoiled |= {f"lspet/im{image + 1:05d}": kind for image in images.tolist()}
    return spoiled


def draw_offset(
    rng: np.random.Generator, shares: tuple[float, float], person: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return an offset (2,) in a random direction, whose length is a share of the person's size."""
    points = person[person[:, 2] != 0, :2]
    size = (points.max(axis=0) - points.min(axis=0)).max()
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray(np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(*shares) * size)


def measure_rankings(labels: Path, spoiled: Mapping[str, str], share: float) -> list[dict[str, Any]]:
    """Return precision and recall of each ranking of the labels in a labels.csv, over all kinds and for each."""
    with labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = np.array([spoiled.get(row["id"], "") for row in rows])
    columns = {}
    for name in ("suspicion", "true_loss", "expected_loss", "confidence", *ODDITIES):
        columns[name] = np.array([float(row[name] or "nan") for row in rows])
    columns["networks"] = columns["suspicion"] - sum(columns[name] for name in ODDITIES)
    columns["ratio"] = columns["true_loss"] / columns["expected_loss"]
    columns["sure"] = columns["true_loss"] * columns["confidence"]
    first = max(1, round(share * len(rows)))
    results = []
    for name, title in RANKINGS.items():
        scores = np.where(np.isfinite(columns[name]), columns[name], -np.inf)
        top = np.argsort(-scores, kind="stable")[:first]
        result: dict[str, Any] = {
            "ranking": title,
            "labels": len(rows),
            "spoiled": int((kinds != "").sum()),
            "precision": float((kinds[top] != "").mean()),
            "recall": float((kinds[top] != "").sum() / max((kinds != "").sum(), 1)),
        }
        for kind in KINDS:
            result[kind] = float((kinds[top] == kind).sum() / max((kinds == kind).sum(), 1))
        results.append(result)
    return results


def run_seed(options: argparse.Namespace, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Spoil, train, check and measure."""
    data = folder / "data"
    spoiled = spoil_labels(options.source, data / "lspet", seed, options.share)
    (folder / "spoiled.json").write_text(json.dumps(spoiled))
    environment = make_environment(LLPP_DATA=str(data))
    llpp = [sys.executable, "-m", "llpp"]
    run = [*llpp, "run", *RUN, *options.settings, f"seed={seed}", "name=spoiled", "paths.runs=runs"]
    check = [*llpp, "check", f"runs/spoiled/seed{seed}", "--folds", str(options.folds), "--share", str(options.share)]
    for command in (run, check):
        subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=True)
    results = folder / f"runs/spoiled/seed{seed}/check"
    measured = measure_rankings(results / "labels.csv", spoiled, options.share)
    found = json.loads((results / "summary.json").read_text())["made_mistakes_found"]
    return [{"seed": seed, **result, "made_mistakes_found": found} for result in measured]


def format_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of means ± standard deviations over seeds."""
    names = ("precision", "recall", *KINDS)
    lines = [f"| ranking | {' | '.join(names)} |", f"| :-- |{' --: |' * len(names)}"]
    for title in RANKINGS.values():
        cells = []
        for name in names:
            values = [result[name] for result in results if result["ranking"] == title]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print a JSON line for each seed and ranking, and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of LSPET: images and joints.mat")
    parser.add_argument("settings", nargs="*", metavar="OPTION=VALUE", help="for llpp run, such as initial=2000")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--share", type=float, default=0.05, help="of labels that are spoiled, and that are looked at"
    )
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder to work in, which is kept")
    options = parser.parse_intermixed_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).resolve()
        for seed in options.seeds:
            folder = work / f"seed{seed}"
            folder.mkdir(parents=True)
            found = run_seed(options, seed, folder)
            results += found
            for result in found:
                print(json.dumps(result), flush=True)
    print(format_table(results))


if __name__ == "__main__":
    main()
