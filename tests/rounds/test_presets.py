"""The papers' presets from end to end on small folders: only size and device differ from what a researcher runs."""

import cv2
import numpy as np
import pytest
from helpers.experiments import config, rows
from helpers.lsp_folders import folder
from helpers.mpii_folders import crowd, write

from llpp.config import build
from llpp.rounds import loop

SMALL = (
    "trainer=cpu", "backbone=hourglass_small", "backbone.channels=8", "crop.size=32", "data.workers=0",
    "data.pin_memory=false", "data.batch_size=4", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1",
    "callbacks=none", "logger=none", "report.write=false",
)  # fmt: skip


def run(root, name, *overrides):
    base = (
        *SMALL,
        f"paths.data_root={root}",
        f"training.base_models={root}/base",
        "rounds=2",
        "budget=4",
        "callbacks=none",
    )
    cfg = config(root / name, *overrides, base=base, dataset=())
    loop.run_rounds(build.build_run(cfg))
    return rows(root / name)


@pytest.fixture
def mpii(tmp_path):
    persons = crowd()
    write(tmp_path / "mpii", "B", persons)
    (tmp_path / "mpii/images").mkdir()
    rng = np.random.default_rng(0)
    for image in {p["image"] for p in persons}:
        cv2.imwrite(str(tmp_path / "mpii/images" / image), rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
    return tmp_path


@pytest.mark.slow
def test_learning_loss_plus_plus_on_mpii(mpii):
    preset = ("experiment=paper_mpii", "dataset.val=4", "initial=8")
    learned, _ = run(mpii, "learned", *preset, "head=gap_fc", "objective=ranking")
    random, _ = run(mpii, "random", *preset, "acquisition=random")
    assert (learned["base_reused"], random["base_reused"]) == ("0", "1"), "one pose network for all methods"
    assert learned["test_pck"] == random["test_pck"] and learned["test_loss"] == random["test_loss"]
    assert int(learned["validation_labels"]) >= 4, "its labels count"
    assert learned["test_pck_pelvis"] != "" and learned["selected"] == "4"


@pytest.mark.slow
def test_learning_loss_plus_plus_on_lsp_then_lspet(tmp_path):
    folder(tmp_path / "lsp", count=24, extended=False)
    folder(tmp_path / "lspet", count=16)
    parts = ("dataset.parts.lsp.test=12", "dataset.parts.lspet.val=4", "initial=12")
    first, second = run(tmp_path, "run", "experiment=paper_lsp_lspet", *parts)
    assert (first["labelled"], second["labelled"]) == ("12", "16")
    chosen = (tmp_path / "run/round_00/selected.csv").read_text()
    assert chosen.count("lspet/") == 4, "the pool is LSPET from the first selection on"


@pytest.mark.slow
def test_learning_loss_on_mpii(mpii):
    small = ("dataset.val=4", "initial=8", "scoring.subset=6", "training.detach_from_epoch=1")
    first, second = run(mpii, "run", "experiment=yoo_kweon_mpii", *small)
    assert first["validation_labels"] == "0" and second["labelled"] == "12"
