"""Recordings of runs, and runs held against them."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch


def read_run(run_dir):
    """Rows without times, selected ids and scores of all rounds, as a recording holds them."""
    with (run_dir / "rounds.csv").open() as file:
        rows = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in csv.DictReader(file)]
    found = {"rounds": rows, "selected": [], "scores": [], "test": []}
    for number in range(len(rows)):
        folder = run_dir / f"round_{number:02d}"
        found["test"].append(read_scores(folder / "test.parquet"))
        if (folder / "selected.csv").exists():
            with (folder / "selected.csv").open() as file:
                found["selected"].append([[row["id"], row["predicted_loss"]] for row in csv.DictReader(file)])
            found["scores"].append(read_scores(folder / "scores.parquet"))
    return found


def read_scores(path):
    """A table of scores under the names of the recordings, which called the quality by its pose name."""
    return {"pck" if name == "quality" else name: column for name, column in pq.read_table(path).to_pydict().items()}


def read_processor():
    """The processor's name, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


def check_recorded(run_dir, path):
    """Hold a run against a recording; digits depend on the processor's convolutions and on torch."""
    recorded = json.loads(path.read_text())
    found = json.loads(json.dumps(read_run(run_dir)))
    processor = read_processor()
    assert [len(ids) for ids in found["selected"]] == [len(ids) for ids in recorded["selected"]]
    assert found["test"][0]["id"] == recorded["test"][0]["id"]
    first = float(found["rounds"][0]["test_loss"])
    assert first == pytest.approx(float(recorded["rounds"][0]["test_loss"]), rel=0.05)
    if (recorded["torch"], recorded["processor"]) != (torch.__version__, processor):
        pytest.skip(f"the digits are those of torch {recorded['torch']} on {recorded['processor']}")
    for name in ("rounds", "selected", "scores", "test"):
        assert _keep_recorded_columns(found[name], recorded[name]) == recorded[name], name


def _keep_recorded_columns(found, recorded):
    """Rows and tables without the columns that the recording's program did not write yet."""
    if not recorded or not isinstance(recorded[0], dict):
        return found
    assert len(found) == len(recorded)
    kept = []
    for table, old in zip(found, recorded, strict=True):
        kept.append({column: table[column] for column in old})
    return kept
