"""One pass over any records: scores by row, each exactly once, and the task's metric over all of them.

Every rank scores its share and keeps no more than that; rank 0 gets all scores, piece by piece.
"""

import math
import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from llpp.data.datamodule import PoolDataModule
from llpp.data.samplers import compute_rank_positions
from llpp.distributed import collectives, interruption
from llpp.inference.device_to_host import AsyncHostCopy
from llpp.tasks.base import Task
from llpp.training.gradient_lengths import LabelledImages
from llpp.training.module import LearningLossModule

Column = NDArray[np.float32]
Rows = NDArray[np.int64]
PER_IMAGE = ("predicted_loss", "true_loss", "quality")
MAX_BYTES_IN_MEMORY = 2**31  # of a column; a larger one is kept in a file, which the system may drop from memory


@dataclass(frozen=True)
class Evaluation:
    """Results of a pass over N rows, in the order of those rows; on other ranks than 0, of their share."""

    columns: dict[str, Column]  # (N,) each of PER_IMAGE; (N, C) embedding; (N, …) the task's, in image pixels
    metric: dict[str, float | int]  # as `Task.summarise_metric` gives it; empty if there are no rows

    def compute_mean(self, column: str) -> float | None:
        """Mean over the rows where the column is known; None without any."""
        known = self._select_known(column)
        return float(known.mean(dtype=np.float64)) if len(known) else None

    def compute_std(self, column: str) -> float | None:
        """Standard deviation (n - 1) over the rows where the column is known; None below two."""
        known = self._select_known(column)
        return float(known.std(ddof=1, dtype=np.float64)) if len(known) > 1 else None

    def leave_out(self, names: Collection[str]) -> "Evaluation":
        """The same without some of its columns."""
        kept = {name: values for name, values in self.columns.items() if name not in names}
        return replace(self, columns=kept)

    def _select_known(self, column: str) -> Column:
        values = self.columns[column]
        return values[np.isfinite(values)]


class ScoreCollector(pl.Callback):
    """Writes each batch's scores at its rows' positions; memory grows with the columns that are kept, nothing else.

    A batch is written while the device works on the next one. Large columns are kept in files in `folder`.
    """

    def __init__(self, rows: Rows, keep: frozenset[str], task: Task, folder: str) -> None:
        self.rows = rows
        self.order = np.argsort(rows)
        self.visits = np.zeros(len(rows), dtype=np.int64)
        self.keep = (*PER_IMAGE, *sorted(keep))
        self.columns: dict[str, Column] = {}
        self.task = task
        self.metric = task.make_metric()
        self.folder = folder
        self.pending: AsyncHostCopy | None = None  # the last batch, on its way to the host

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Start copying one batch to the host, and write the one before; stop here if a signal was lost."""
        interruption.check()
        self.metric.to(outputs["row"].device)
        self.task.update_metric(self.metric, outputs, batch)
        wanted = {name: outputs[name] for name in ("row", *self.keep)}
        wanted["matrix"] = batch["matrix"]
        previous = self.pending
        self.pending = AsyncHostCopy(wanted)
        self._write(previous)

    def finish(self) -> None:
        """Write the last batch; the metric adds up on the host, where ranks without a row have theirs too."""
        self._write(self.pending)
        self.pending = None
        self.metric.cpu()

    def _write(self, copy: AsyncHostCopy | None) -> None:
        if copy is None:
            return
        arrays = copy.wait_for_arrays()
        positions = self.order[np.searchsorted(self.rows, arrays["row"], sorter=self.order)]
        np.add.at(self.visits, positions, 1)
        columns = {name: arrays[name].astype(np.float32, copy=False) for name in self.keep}
        matrices = arrays["matrix"].astype(np.float64)
        for name, values in self.task.map_to_image(columns, matrices).items():
            if name not in self.columns:
                self.columns[name] = _allocate_column((len(self.visits), *values.shape[1:]), self.folder)
            self.columns[name][positions] = values


def evaluate(
    trainer: pl.Trainer,
    module: LearningLossModule,
    data: PoolDataModule,
    rows: Rows,
    keep: frozenset[str] = frozenset(),
    labelled: LabelledImages | None = None,
) -> Evaluation:
    """Pass over `rows`.

    `keep` adds `embedding`, `matrix` or columns, some of which are computed only then; `labelled` are what those that
    compare images compare with. All ranks call it together.
    """
    if not len(rows):
        return Evaluation({name: np.zeros(0, dtype=np.float32) for name in PER_IMAGE}, {})
    batch_size = data.loading.eval_batch_size
    folder = str(trainer.default_root_dir)
    own_rows = rows[compute_rank_positions(len(rows), batch_size, collectives.get_rank())]
    collector = ScoreCollector(own_rows, keep, module.task, folder)
    trainer.callbacks.append(collector)  # type: ignore[attr-defined]  # the stub lacks it
    module.extra_columns = keep & module.optional_columns
    module.labelled = labelled
    try:
        loader = data.make_rows_loader(rows, trainer.strategy.root_device)
        trainer.predict(module, dataloaders=loader, return_predictions=False)
        collector.finish()
    finally:
        module.extra_columns = frozenset()
        module.labelled = None
        trainer.callbacks.remove(collector)  # type: ignore[attr-defined]  # likewise
    if not (collector.visits == 1).all():
        missed = int((collector.visits != 1).sum())
        raise RuntimeError(f"{missed} of {len(own_rows)} rows were not scored exactly once")
    # Computing the metric adds up over all ranks.
    summary = module.task.summarise_metric(collector.metric)
    columns = collector.columns
    if collectives.get_world_size() > 1:
        columns = _collect_on_rank_zero(columns, len(rows), batch_size, folder)
    return Evaluation(columns, {name: value.item() for name, value in summary.items()})


def _collect_on_rank_zero(own: Mapping[str, Column], total: int, batch_size: int, folder: str) -> dict[str, Column]:
    """The columns of all ranks on rank 0, each row in its position; on other ranks their own ones."""
    names = collectives.on_rank_zero(lambda: list(own))
    columns: dict[str, Column] = {}
    if collectives.get_rank() == 0:
        columns = {name: _allocate_column((total, *own[name].shape[1:]), folder) for name in names}
    for sender in range(collectives.get_world_size()):
        if collectives.get_rank() not in (0, sender):
            continue
        positions = compute_rank_positions(total, batch_size, sender)
        for name in names:

            def store_piece(piece: slice, values: Column, name: str = name, positions: Rows = positions) -> None:
                columns[name][positions[piece]] = values

            # A rank without a row does not know the column's shape.
            part = own.get(name, np.zeros(0, dtype=np.float32))
            collectives.send_to_rank_zero(sender, part, len(positions), store_piece)
    return columns if collectives.get_rank() == 0 else dict(own)


def _allocate_column(shape: tuple[int, ...], folder: str) -> Column:
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    if size <= MAX_BYTES_IN_MEMORY:
        return np.empty(shape, dtype=np.float32)
    # The file has no name: it is gone with the last use of the array.
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            # Writing into a file with holes would end the process when the disk is full.
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
