"""One pass over any records: scores by row, each exactly once, and PCK over all of them.

Every rank scores its share and keeps no more than that; the first gets all scores, piece by piece.
"""

import math
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from llpp.data.datamodule import PoolDataModule, compute_rank_positions
from llpp.distributed import collectives
from llpp.geometry import move_points
from llpp.inference.device_to_host import AsyncHostCopy
from llpp.tasks.pose.pck import PCK
from llpp.training.module import LearningLossModule

Column = NDArray[np.float32]
PER_IMAGE = ("predicted_loss", "true_loss", "pck")
MAX_BYTES_IN_MEMORY = 2**31  # bytes of a column; a larger one lies in a file, which the system may drop from memory


@dataclass(frozen=True)
class Evaluation:
    """Results of a pass over N rows, in the order of those rows; on other ranks than the first, of their share."""

    columns: dict[str, Column]  # (N,) each of PER_IMAGE; (N, C) embedding; (N, K, 2) joints in image pixels
    pck: dict[str, float]  # as `PCK.compute` gives it

    def compute_mean(self, column: str) -> float | None:
        """Mean over the rows where the column is known; None without any."""
        known = self.columns[column][np.isfinite(self.columns[column])]
        return float(known.mean(dtype=np.float64)) if len(known) else None

    def compute_std(self, column: str) -> float | None:
        """Standard deviation (n - 1) over the rows where the column is known; None below two."""
        known = self.columns[column][np.isfinite(self.columns[column])]
        return float(known.std(ddof=1, dtype=np.float64)) if len(known) > 1 else None


class ScoreCollector(pl.Callback):
    """Writes each batch's scores at its rows' places; memory grows with the columns that are kept, nothing else.

    A batch is written while the device works on the next one. Large columns lie in files in `folder`.
    """

    def __init__(self, rows: NDArray[np.int64], keep: frozenset[str], pck: PCK, folder: str) -> None:
        self.rows, self.order = rows, np.argsort(rows)
        self.visits = np.zeros(len(rows), dtype=np.int64)
        self.keep = (*PER_IMAGE, *sorted(keep))
        self.columns: dict[str, Column] = {}
        self.pck, self.folder = pck, folder
        self.arriving: AsyncHostCopy | None = None

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Let one batch come, and take over the one before."""
        self.pck.to(outputs["joints"].device).update(
            outputs["joints"], *(batch[name] for name in ("joints", "visible", "normaliser"))
        )
        wanted = {name: outputs[name] for name in ("row", *self.keep)}
        before, self.arriving = self.arriving, AsyncHostCopy(wanted | {"matrix": batch["matrix"]})
        self._write(before)

    def finish(self) -> None:
        """Take over the last batch; PCK is summed up on the host, where ranks without a row have theirs too."""
        self._write(self.arriving)
        self.arriving = None
        self.pck.cpu()

    def _write(self, arriving: AsyncHostCopy | None) -> None:
        if arriving is None:
            return
        found = arriving.wait_for_arrays()
        places = self.order[np.searchsorted(self.rows, found["row"], sorter=self.order)]
        np.add.at(self.visits, places, 1)
        for name in self.keep:
            values = found[name].astype(np.float32, copy=False)
            if name == "joints":
                values = _move_joints_to_image(values, found["matrix"])
            table = self.columns.get(name)
            if table is None:
                table = self.columns[name] = _allocate_column((len(self.visits), *values.shape[1:]), self.folder)
            table[places] = values


def _move_joints_to_image(joints: Column, matrices: NDArray[np.generic]) -> Column:
    """Crop pixels (B, K, 2) → image pixels."""
    return move_points(joints, np.linalg.inv(matrices.astype(np.float64)))


def evaluate(
    trainer: pl.Trainer,
    module: LearningLossModule,
    data: PoolDataModule,
    rows: NDArray[np.int64],
    keep: frozenset[str] = frozenset(),
) -> Evaluation:
    """Pass over `rows`; `keep` adds `embedding` or `joints` to the columns. All ranks call it together."""
    batch_size, folder = data.loading.eval_batch_size, str(trainer.default_root_dir)
    own = rows[compute_rank_positions(len(rows), batch_size, collectives.get_rank())]
    table = ScoreCollector(own, keep, module.val_pck.make_empty(), folder)
    if len(rows):
        trainer.callbacks.append(table)  # type: ignore[attr-defined]  # the stub lacks it
        try:
            trainer.predict(module, dataloaders=data.make_rows_loader(rows), return_predictions=False)
            table.finish()
        finally:
            trainer.callbacks.remove(table)  # type: ignore[attr-defined]  # likewise
    if not (table.visits == 1).all():
        raise RuntimeError(f"{int((table.visits != 1).sum())} of {len(own)} rows were not scored exactly once")
    if not len(rows):
        return Evaluation({name: np.zeros(0, dtype=np.float32) for name in PER_IMAGE}, {"mean": math.nan})
    scores = table.pck.compute()  # sums over all ranks
    columns = table.columns
    if collectives.get_world_size() > 1:
        columns = _collect_on_rank_zero(columns, len(rows), batch_size, folder)
    return Evaluation(columns, {name: float(score) for name, score in scores.items()})


def _collect_on_rank_zero(own: dict[str, Column], total: int, batch_size: int, folder: str) -> dict[str, Column]:
    """The columns of all ranks on the first, each row in its place; the own ones elsewhere."""
    names = collectives.on_rank_zero(lambda: list(own))
    columns = {
        name: _allocate_column((total, *own[name].shape[1:]), folder) for name in names if collectives.get_rank() == 0
    }
    for sender in range(collectives.get_world_size()):
        if collectives.get_rank() not in (0, sender):
            continue
        places = compute_rank_positions(total, batch_size, sender)
        for name in names:

            def store_piece(piece: slice, values: Column, name: str = name, places: Any = places) -> None:
                columns[name][places[piece]] = values

            part = own.get(name, np.zeros(0, dtype=np.float32))  # a rank without a row does not know its shape
            collectives.send_to_rank_zero(sender, part, len(places), store_piece)
    return columns if collectives.get_rank() == 0 else own


def _allocate_column(shape: tuple[int, ...], folder: str) -> Column:
    if math.prod(shape) * 4 <= MAX_BYTES_IN_MEMORY:
        return np.empty(shape, dtype=np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:  # gone with the last use of the array
        if hasattr(os, "posix_fallocate"):  # a file with holes ends a process when the disk is full
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * 4)
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
