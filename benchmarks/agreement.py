"""Do bf16, folded and compiled networks rank images as fp32 does? A small one, trained a little on drawn figures."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.measure import print_result
from benchmarks.nets import make_trainer, silence_lightning
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.data.datamodule import PoolDataModule
from llpp.inference import fuse_batchnorm
from llpp.training.module import LearningLossModule

LABELLED, MIN_SPEARMAN = 256, 0.999
TOP_SHARES = (0.05, 0.1, 0.25)  # shares of the pool that are selected


def predict_losses(
    module: LearningLossModule, data: PoolDataModule, rows: NDArray[np.int64], bf16: bool
) -> NDArray[np.float32]:
    """Predicted losses of some images."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        parts = [module.predict_step(batch, 0)["predicted_loss"] for batch in data.make_rows_loader(rows)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def train_briefly(folder: Path, overrides: list[str]) -> tuple[LearningLossModule, PoolDataModule, NDArray[np.int64]]:
    """A module after a short round, and the unlabelled images to score."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        quick = [
            "trainer.max_epochs=6",
            "trainer.check_val_every_n_epoch=6",
            "optimizer.lr=3e-3",
            f"initial={LABELLED}",
        ]
        silent = [
            "callbacks=none",
            "logger=none",
            "base_models=null",
            "name=agreement",
            "trainer.precision=32-true",
            f"run_dir={folder}",
        ]
        cfg = hydra.compose("run", overrides=[*quick, *silent, *overrides])
    experiment = build.experiment(cfg)
    table = experiment.dataset.records
    rows = table.select_rows("train")
    data = experiment.make_data(rows[:LABELLED].tolist(), table.select_rows("val").tolist(), 0)
    ids = tuple(table.ids.take(rows[:LABELLED]))
    return experiment.training.train(0, ids, data, 0, "").module.eval(), data, rows[LABELLED:]


def main() -> None:
    """One line per way of scoring; exit status 1 if one of them changes the order of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of llpp run, such as dataset=lspet_shift")
    overrides = parser.parse_args().overrides
    silence_lightning()
    for head in ("multiscale_conv", "gap_fc"):
        with tempfile.TemporaryDirectory() as folder:
            module, data, rows = train_briefly(Path(folder), [f"head={head}", *overrides])
            plain = predict_losses(module, data, rows, bf16=False)
            found = {"bf16": predict_losses(module, data, rows, bf16=True)}
            module.backbone = fuse_batchnorm.fuse_batchnorm(module.backbone, module.crop_size)
            found |= {f"{n}_folded": predict_losses(module, data, rows, bf16=n == "bf16") for n in ("fp32", "bf16")}
            fuse_batchnorm.compile_for_scoring(
                module, make_trainer(precision="bf16-mixed"), data.loading.eval_batch_size
            )
            if not isinstance(module.backbone, fuse_batchnorm.CompiledBackbone):
                raise RuntimeError("the network could not be compiled; is there a C++ compiler?")
            found["bf16_frozen"] = predict_losses(module, data, rows, bf16=True)
        for name, values in found.items():
            rank = float(spearmanr(plain, values).statistic)
            overlaps: dict[str, Any] = {}
            for share in TOP_SHARES:
                count = max(1, round(share * len(rows)))
                first, other = (set(np.argsort(-v, kind="stable")[:count].tolist()) for v in (plain, values))
                overlaps[f"top_{share:.0%}_overlap"] = len(first & other) / count
            ties = len(values) - len(np.unique(values))
            print_result(
                f"agreement_{name}_{head}", rank, "Spearman with fp32", images=len(rows), ties=ties, **overlaps
            )
            if rank < MIN_SPEARMAN:
                raise RuntimeError(f"{name} ranks the images in another order than fp32: {rank} < {MIN_SPEARMAN}")


if __name__ == "__main__":
    main()
