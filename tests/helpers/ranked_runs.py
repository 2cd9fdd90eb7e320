"""Runs whose last round has chosen what ranks failures."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import entropy

from llpp.files import compute_sha256
from llpp.reliability.rankers import Ranker, Term
from llpp.run_dir.state import load_state, save_state

THREE_TERMS = Ranker(
    "head+confidence+distinctness",
    (Term("predicted_loss", 2.0, 0.5), Term("confidence", 0.1, -3.0), Term("distinctness", 0.2, -1.5)),
    1.25,
)


def choose_ranker(run_dir, ranker, chosen):
    """Let the last round have chosen a ranker, and record its tables as they are now."""
    state = load_state(run_dir / "state.json")
    *before, last = state.rounds
    folder = run_dir / f"round_{last.number:02d}"
    tables = ("test.parquet", "validation.parquet")
    digests = {name: compute_sha256(folder / name) for name in tables if (folder / name).is_file()}
    changed = replace(last, ranker={**ranker.to_plain(), "chosen": chosen}, files={**last.files, **digests})
    save_state(replace(state, rounds=(*before, changed)), run_dir / "state.json")


def measure_distinctness(maps):
    """(B, K, h, w) shares of cells → (B,), by the entropies of its definition."""
    shares = maps.reshape(*maps.shape[:2], -1)
    divergence = entropy(shares.mean(axis=1), axis=1) - entropy(shares, axis=2).mean(axis=1)
    return divergence / np.log(maps.shape[1])


def set_column(path, name, values):
    """Give a table of scores a column, or other values in it."""
    table = pq.read_table(path)
    if name in table.schema.names:
        table = table.drop_columns([name])
    table = table.append_column(name, pa.array(np.asarray(values, dtype=np.float32)))
    pq.write_table(table, path, compression="snappy", use_dictionary=False)
