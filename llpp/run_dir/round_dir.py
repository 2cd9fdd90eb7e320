"""Where a round's files are; apart from `layout`, so that those who only look for them need no torch."""

from pathlib import Path

LABELS = "labels.parquet"  # what a round trained on, where people give the labels
AUDIT = "audit.parquet"  # what a round has drawn by chance, to measure its model on the whole pool
STATE = "state.json"  # of the run: its committed rounds


def get_round_dir(run_dir: Path, number: int) -> Path:
    """Where round `number` keeps its files."""
    return run_dir / f"round_{number:02d}"
