"""One pass over any records: scores by row, each exactly once, and PCK over all of them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from llpp.datamodule import PoolDataModule
from llpp.metrics import PCK
from llpp.module import LearningLossModule
from llpp.transforms import move_points

Column = NDArray[np.float32]
PER_IMAGE = ("predicted_loss", "true_loss", "pck")


@dataclass(frozen=True)
class Evaluation:
    """Results of a pass over N rows, in the order of those rows."""

    columns: dict[str, Column]  # (N,) each of PER_IMAGE; (N, C) embedding; (N, K, 2) joints in image pixels
    pck: dict[str, float]  # as `PCK.compute` gives it

    def mean(self, column: str) -> float | None:
        """Mean over the rows where the column is known; None without any."""
        known = self.columns[column][np.isfinite(self.columns[column])]
        return float(known.mean(dtype=np.float64)) if len(known) else None

    def std(self, column: str) -> float | None:
        """Standard deviation (n - 1) over the rows where the column is known; None below two."""
        known = self.columns[column][np.isfinite(self.columns[column])]
        return float(known.std(ddof=1, dtype=np.float64)) if len(known) > 1 else None


class ScoreTable(pl.Callback):
    """Writes each batch's scores at its rows' places; memory grows with the columns that are kept, nothing else."""

    def __init__(self, rows: list[int], keep: frozenset[str], pck: PCK) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.order = np.argsort(self.rows)
        self.visits = np.zeros(len(rows), dtype=np.int64)
        self.keep = (*PER_IMAGE, *sorted(keep))
        self.columns: dict[str, Column] = {}
        self.pck = pck

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take over one batch."""
        self.pck.update(outputs["joints"], batch["joints"], batch["visible"], batch["normaliser"])
        places = self.order[np.searchsorted(self.rows, outputs["row"].cpu().numpy(), sorter=self.order)]
        np.add.at(self.visits, places, 1)
        for name in self.keep:
            values = _image_joints(outputs["joints"], batch["matrix"]) if name == "joints" else _array(outputs[name])
            table = self.columns.get(name)
            if table is None:
                table = self.columns[name] = np.full((len(self.visits), *values.shape[1:]), np.nan, dtype=np.float32)
            table[places] = values


def _array(values: Tensor) -> Column:
    return values.detach().float().cpu().numpy()


def _image_joints(joints: Tensor, matrices: Tensor) -> Column:
    """Crop pixels (B, K, 2) → image pixels."""
    inverse = np.linalg.inv(_array(matrices).astype(np.float64))
    return np.stack([move_points(j, m) for j, m in zip(_array(joints), inverse, strict=True)])


def evaluate(
    trainer: pl.Trainer,
    module: LearningLossModule,
    data: PoolDataModule,
    rows: list[int],
    keep: frozenset[str] = frozenset(),
) -> Evaluation:
    """Pass over `rows`; `keep` adds `embedding` or `joints` to the columns."""
    table = ScoreTable(rows, keep, module.val_pck.fresh())
    if rows:
        trainer.callbacks.append(table)  # type: ignore[attr-defined]  # the stub lacks it
        try:
            trainer.predict(module, dataloaders=data.rows_loader(rows), return_predictions=False)
        finally:
            trainer.callbacks.remove(table)  # type: ignore[attr-defined]  # likewise
    else:
        table.columns = {name: np.zeros(0, dtype=np.float32) for name in PER_IMAGE}
    if not (table.visits == 1).all():
        raise RuntimeError(f"{int((table.visits != 1).sum())} of {len(rows)} rows were not scored exactly once")
    scores = table.pck.compute() if rows else {"mean": math.nan}
    return Evaluation(table.columns, {name: float(score) for name, score in scores.items()})
