"""Does bf16 rank images as fp32 does? A small network after six epochs on drawn figures, with two heads."""

import argparse
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.measure import print_result
from benchmarks.nets import make_autocast, make_run
from llpp.data.datamodule import PoolDataModule
from llpp.training.module import LearningLossModule

HEADS = ("multiscale_conv", "gap_fc")
LABELLED = 256
MIN_SPEARMAN = 0.999
TOP_SHARES = (0.05, 0.1, 0.25)  # shares of the pool that are selected
SHORT = (
    f"initial={LABELLED}",
    "trainer.max_epochs=6",
    "trainer.check_val_every_n_epoch=6",
    "optimizer.lr=3e-3",
    "trainer.precision=32-true",
)


def train_briefly(overrides: Sequence[str]) -> tuple[LearningLossModule, PoolDataModule, NDArray[np.int64]]:
    """Return the module of a short round, its data, and the unlabelled rows."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(f"paths.run_dir={folder}", *SHORT, *overrides)
        records = run.data.dataset.records
        rows = records.select_rows("train")
        data = run.data.make_loaders(rows[:LABELLED].tolist(), records.select_rows("val").tolist(), 0)
        ids = tuple(records.ids.take(rows[:LABELLED]))
        module = run.trainer.train(0, ids, data, 0, "").module
    return module.eval(), data, rows[LABELLED:]


@torch.inference_mode()
def predict_losses(
    module: LearningLossModule, data: PoolDataModule, rows: NDArray[np.int64], bf16: bool
) -> NDArray[np.float32]:
    """Predict the losses of some rows, in bf16 or in float32 without TF32."""
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
    parts = []
    with exact, make_autocast(module.device.type, bf16):
        for batch in data.make_rows_loader(rows):
            on_device: Any = {name: values.to(module.device) for name, values in batch.items()}
            parts.append(module.predict_step(on_device, 0)["predicted_loss"].cpu().numpy())
    return np.concatenate(parts)


def compute_overlap(first: NDArray[np.float32], other: NDArray[np.float32], share: float) -> float:
    """Return the share of the highest losses that both have in common."""
    count = max(1, round(share * len(first)))
    tops = [set(np.argsort(-losses, kind="stable")[:count].tolist()) for losses in (first, other)]
    return len(tops[0] & tops[1]) / count


def main() -> None:
    """Print one line per head; fail if bf16 changes the order of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of llpp run, such as dataset=lspet_shift, or trainer=gpu")
    overrides = parser.parse_args().overrides
    for head in HEADS:
        module, data, rows = train_briefly([f"head={head}", *overrides])
        # Lightning has moved it back to the CPU.
        module.to("cuda" if "trainer=gpu" in overrides else "cpu")
        exact = predict_losses(module, data, rows, bf16=False)
        rounded = predict_losses(module, data, rows, bf16=True)
        spearman = float(spearmanr(exact, rounded).statistic)
        overlaps: dict[str, Any] = {}
        for share in TOP_SHARES:
            overlaps[f"top_{share:.0%}_overlap"] = compute_overlap(exact, rounded, share)
        print_result(f"agreement_bf16_{head}", spearman, "Spearman with fp32", images=len(rows), **overlaps)
        if spearman < MIN_SPEARMAN:
            raise RuntimeError(f"bf16 ranks the images in another order than fp32: {spearman} < {MIN_SPEARMAN}")


if __name__ == "__main__":
    main()
