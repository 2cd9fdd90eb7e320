"""Reduced precision: when it is chosen, what stays exact under it, and that ranks of predicted losses survive it."""

import numpy as np
import pytest
import torch
from helpers.experiments import tiny
from scipy.stats import spearmanr

from llpp.errors import OccupiedError
from llpp.heads.base import FeatureSpec, average_pool, build_fully_connected
from llpp.heads.gap_multilevel import GapMultilevelHead
from llpp.rounds import loop
from llpp.training import trainer_setup
from llpp.types import Features


def cpu(monkeypatch, **capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


def test_auto_is_bf16_where_a_cpu_is_faster_with_it(monkeypatch):
    cpu(monkeypatch, avx512_bf16=True, cpu_name="AMD EPYC")
    assert trainer_setup.resolve_precision("auto", "cpu") == "bf16-mixed"
    cpu(monkeypatch, avx512_bf16=True, amx_bf16=True, cpu_name="Intel Xeon")
    assert trainer_setup.resolve_precision("auto", "cpu") == "bf16-mixed"
    cpu(monkeypatch, avx512_bf16=True, amx_bf16=False, cpu_name="Intel Xeon")
    assert trainer_setup.resolve_precision("auto", "cpu") == "32-true"
    cpu(monkeypatch)
    assert trainer_setup.resolve_precision("auto", "cpu") == "32-true"
    assert trainer_setup.resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.slow
def test_a_run_goes_on_in_the_precision_it_began_with_or_not_at_all(monkeypatch, tmp_path, caplog):
    cpu(monkeypatch, amx_bf16=True)
    short = ("trainer.max_epochs=1", "rounds=1")
    with caplog.at_level("INFO"):
        begun = loop.run_rounds(tiny(tmp_path, *short))
    assert begun.result_settings["trainer.precision"] == "bf16-mixed"
    assert "trainer.precision=bf16-mixed, which is fastest here" in caplog.text
    cpu(monkeypatch)  # another machine
    with pytest.raises(OccupiedError, match=r"'bf16-mixed' → '32-true'\); resume with trainer.precision=bf16-mixed"):
        loop.run_rounds(tiny(tmp_path, *short))
    assert loop.run_rounds(tiny(tmp_path, *short, "trainer.precision=bf16-mixed")) == begun


@pytest.mark.parametrize(("height", "width"), [(64, 64), (12, 20), (5, 7), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooled_maps_are_means_in_single_precision(dtype, height, width):
    maps = torch.rand(2, 3, height, width).to(dtype)
    found = average_pool(maps)
    assert found.dtype == torch.float32
    exactly = maps.double().mean(dim=(2, 3)).float()
    assert torch.allclose(found, exactly, rtol=2e-3 if dtype != torch.float32 else 1e-6)


@pytest.mark.parametrize("kind", ["fully connected", "multilevel"])
def test_last_layers_of_heads_compute_in_single_precision_under_autocast(kind):
    spec = FeatureSpec({4: 16}, 16, 32)
    maps = torch.rand(64, 16, 8, 8)
    head = GapMultilevelHead(spec)
    tail = build_fully_connected(16, (8,))

    def predicted():
        return tail(average_pool(maps)).squeeze(1) if kind == "fully connected" else head(Features({4: maps}, maps))

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = predicted()
    assert reduced.dtype == torch.float32 and torch.equal(reduced, predicted())


@pytest.mark.slow
@pytest.mark.parametrize("head", ["multiscale_conv", "gap_fc"])
def test_bf16_ranks_the_predicted_losses_of_a_trained_network_as_float32_does(head, tmp_path):
    figures = ("dataset.size=64", "dataset.initial=128", "dataset.pool=384", "dataset.val=4", "dataset.test=4")
    net = ("crop.size=64", "backbone.channels=32", f"head={head}", "initial=128", "data.batch_size=16")
    experiment = tiny(tmp_path, *net, "trainer.max_epochs=4", "optimizer.lr=3e-3", dataset=figures)
    rows = experiment.data.dataset.records.select_rows("train")
    data = experiment.data.make_loaders(rows[:128].tolist(), rows[:4].tolist(), 0)
    ids = tuple(experiment.data.dataset.records.ids.take(rows[:128]))
    module = experiment.trainer.train(0, ids, data, 0, "").module.eval()

    def scores(reduced):
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            parts = [module.predict_step(b, 0)["predicted_loss"] for b in data.make_rows_loader(rows)]
        return torch.cat(parts).numpy()

    plain, reduced = scores(False), scores(True)
    assert spearmanr(plain, reduced).statistic >= 0.999
    assert len(np.unique(reduced)) >= len(np.unique(plain)) - 2, "no ties that single precision has not"
