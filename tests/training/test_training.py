"""Base models that runs share, the head on a frozen backbone, and what evaluation may do with mirrors."""

import importlib
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from helpers import forked
from helpers.experiments import rows, tiny
from helpers.lsp_folders import folder

from llpp.config import fingerprint
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.errors import ConfigError
from llpp.rounds import loop
from llpp.run_dir import checkpoints, layout
from llpp.training import checkpoint_callbacks
from llpp.training.module import RoundPart

pytestmark = pytest.mark.slow

BN = ("running_mean", "running_var")


def weights(directory, which="last"):
    return layout.read_weights(layout.get_checkpoint_path(Path(directory), which))


def differing(one, other, prefix):
    return [name for name in one if name.startswith(prefix) and not torch.equal(one[name], other[name])]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Two rounds that share nothing with anybody."""
    run_dir = tmp_path_factory.mktemp("alone")
    loop.run_rounds(tiny(run_dir, "acquisition=random", "rounds=2"))
    return run_dir


def test_methods_start_from_one_base_model_and_end_where_they_would_without_it(alone, tmp_path):
    store = f"training.base_models={tmp_path}/base"
    loop.run_rounds(tiny(tmp_path / "a", store, "rounds=2"))
    loop.run_rounds(tiny(tmp_path / "b", store, "rounds=2", "acquisition=random"))
    assert [row["base_reused"] for run in "ab" for row in rows(tmp_path / run)] == ["0", "0", "1", "0"]
    ours, theirs = rows(tmp_path / "b"), rows(alone)
    assert [row | {"base_reused": ""} for row in ours] == [row | {"base_reused": ""} for row in theirs]
    assert differing(weights(tmp_path / "b/round_01"), weights(alone / "round_01"), "") == []


@pytest.mark.slow
@pytest.mark.parametrize("other", ["seed=1", "objective=ranking", "dataset.seed=3"])
def test_another_experiment_trains_its_own_base(tmp_path, other):
    store = f"training.base_models={tmp_path}/base"
    loop.run_rounds(tiny(tmp_path / "a", store, "rounds=1", "trainer.max_epochs=1"))
    loop.run_rounds(tiny(tmp_path / "b", store, "rounds=1", "trainer.max_epochs=1", other))
    assert rows(tmp_path / "b")[0]["base_reused"] == "0"


def test_the_backbone_alone_is_shared_by_all_heads_and_stays_as_it_is_under_them(tmp_path):
    both = (f"training.base_models={tmp_path}/base", "training.base=backbone", "rounds=1")
    loop.run_rounds(tiny(tmp_path / "a", *both))
    loop.run_rounds(tiny(tmp_path / "b", *both, "head=gap_fc", "objective=ranking"))
    assert rows(tmp_path / "b")[0]["base_reused"] == "1"
    backbone, first, second = (weights(tmp_path / d) for d in ("a/round_00/backbone", "a/round_00", "b/round_00"))
    assert not any(name.startswith("head.") for name in backbone)
    for found in (first, second):
        assert differing(backbone, found, "backbone.") == []
    assert any(name.endswith(BN) for name in backbone), "BatchNorm statistics are compared too"
    untrained = tiny(tmp_path / "c").trainer.make_module(RoundPart(0)).state_dict()
    assert differing(untrained, first, "head.") != [], "the head has learned"


@pytest.mark.parametrize(("seconds", "epochs"), [(0.6, [1, 6]), (0.0, [1, 2, 3, 4, 5, 6])])
def test_writing_checkpoints_takes_a_small_share_of_the_time(seconds, epochs, tmp_path, monkeypatch):
    written, replace_file = [], checkpoints.replace

    def slow_disk(path, write):
        time.sleep(seconds)  # six of these epochs take far less than twenty times as long
        replace_file(path, write)
        written.append(checkpoints.read(path)["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])

    monkeypatch.setattr(checkpoints, "replace", slow_disk)
    monkeypatch.setattr(checkpoint_callbacks.LastCheckpoint, "share", 0.05 if seconds else 1e9)
    loop.run_rounds(tiny(tmp_path, "rounds=1", "trainer.max_epochs=6"))
    assert written == epochs


@pytest.mark.slow
def test_rounds_after_a_backbone_base_start_from_it(tmp_path):
    run = (
        "training.base=backbone",
        "training.init=previous",
        "training.weights=best",
        "training.best_by=loss",
        "rounds=2",
        "optimizer.lr=1e-12",
    )
    loop.run_rounds(tiny(tmp_path, *run))
    first, second = weights(tmp_path / "round_00"), weights(tmp_path / "round_01")
    for name, value in first.items():
        if name.endswith(".weight"):
            assert torch.allclose(value, second[name], atol=1e-6), f"{name} did not start from round 0's"


def test_a_base_that_was_never_finished_is_trained_again(alone, tmp_path):
    store = tmp_path / "base"
    loop.run_rounds(tiny(tmp_path / "a", f"training.base_models={store}", "rounds=1"))
    for path in store.glob("*/last.ckpt"):
        path.unlink()
    loop.run_rounds(tiny(tmp_path / "b", f"training.base_models={store}", "rounds=1", "acquisition=random"))
    assert rows(tmp_path / "b")[0]["base_reused"] == "0"
    assert rows(tmp_path / "b")[0]["test_loss"] == rows(alone)[0]["test_loss"]


def test_a_base_of_an_older_program_is_neither_taken_over_nor_passed_on(tmp_path, monkeypatch):
    store, short = f"training.base_models={tmp_path}/base", ("rounds=1", "trainer.max_epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "hash_program", lambda _: "older")
        older = tiny(tmp_path / "a", store, *short)
    loop.run_rounds(older)
    loop.run_rounds(tiny(tmp_path / "b", store, "rounds=1", "trainer.max_epochs=1"))
    assert rows(tmp_path / "b")[0]["base_reused"] == "0"
    left = {path.parent.name for path in (tmp_path / "base").glob("*/last.ckpt")}
    assert len(left) == 2
    # the older run is extended by this program: its model stays where it is
    for path in (tmp_path / "base").glob("*/last.ckpt"):
        path.unlink()
    loop.run_rounds(tiny(tmp_path / "a", store, "rounds=2", "trainer.max_epochs=1"))
    assert not list((tmp_path / "base").glob("*/last.ckpt"))


def test_other_pixels_under_the_same_annotations_are_another_base(tmp_path):
    one, two = (tiny(tmp_path / name) for name in "ab")
    folder(tmp_path / "lsp", extended=False)
    data = LeedsSportsPose(str(tmp_path / "lsp"), val=1, test=1)
    one, two = (replace(run.data, dataset=data) for run in (one, two))
    assert one.hash_files([0, 1]) == two.hash_files([0, 1]) != one.hash_files([0, 2])
    before, unchanged = one.hash_files([0, 1]), one.hash_files([0, 2])
    (tmp_path / "lsp/images/im0002.jpg").write_bytes(b"another picture")
    assert one.hash_files([0, 1]) != before and one.hash_files([0, 2]) == unchanged


def test_a_folder_of_base_models_that_cannot_be_used_stops_nothing(tmp_path, caplog):
    (tmp_path / "base").write_text("a file")
    loop.run_rounds(tiny(tmp_path / "a", f"training.base_models={tmp_path}/base", "rounds=1", "trainer.max_epochs=1"))
    assert "base models are not shared" in caplog.text
    assert "set training.base_models to another folder, or null" in caplog.text


def result_settings(tmp_path, *overrides):
    return tiny(tmp_path, *overrides).result_settings


def test_what_only_shows_is_no_result_setting_and_what_trains_is(tmp_path):
    plain = result_settings(tmp_path)
    assert result_settings(tmp_path, "callbacks=default", "logger=csv", "launch.threads=1") == plain
    stops = ("+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping", "+callbacks.stop.monitor=val/pck")
    assert result_settings(tmp_path, *stops) != plain
    assert result_settings(tmp_path, "crop.resample=device") != plain
    assert result_settings(tmp_path, "crop.resample=worker") == plain
    assert result_settings(tmp_path, "trainer.devices=2") == plain, "the global batch is the same"
    on_two = result_settings(tmp_path, "training.pairs=local", "trainer.devices=2")
    on_four = result_settings(tmp_path, "training.pairs=local", "trainer.devices=4")
    assert on_two != on_four, "other images meet in the objective"


def test_the_programs_digest_sees_plug_ins_in_lists(tmp_path, monkeypatch):
    (tmp_path / "noise_of_mine.py").write_text("class Noise: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("noise_of_mine")
    settings = {"pixel": {"transforms": [{"_target_": "noise_of_mine.Noise"}]}}
    before = fingerprint.hash_program(settings)
    assert before == fingerprint.hash_program(settings) != fingerprint.hash_program({})
    (tmp_path / "noise_of_mine.py").write_text("class Noise: strength = 2\n")
    assert fingerprint.hash_program(settings) != before


def _run(run_dir, store, acquisition):
    loop.run_rounds(tiny(run_dir, f"training.base_models={store}", f"acquisition={acquisition}", "rounds=1"))


@pytest.mark.slow
def test_runs_side_by_side_train_one_base(tmp_path):
    context = forked.context()
    names = ("random", "predicted_loss", "core_set")
    jobs = [context.Process(target=_run, args=(tmp_path / n, tmp_path / "base", n)) for n in names]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sorted(rows(tmp_path / n)[0]["base_reused"] for n in names) == ["0", "1", "1"]


@pytest.mark.slow
def test_a_validation_set_that_steers_is_counted_and_calibrates_nothing(tmp_path):
    loop.run_rounds(tiny(tmp_path / "last", "rounds=1"))
    loop.run_rounds(tiny(tmp_path / "best", "rounds=1", "training.weights=best"))
    loop.run_rounds(tiny(tmp_path / "plateau", "rounds=1", "scheduler=plateau"))
    names = ("last", "best", "plateau")
    assert [rows(tmp_path / name)[0]["validation_labels"] for name in names] == ["0", "4", "4"]
    calibrates = [(tmp_path / name / "round_00/validation.parquet").is_file() for name in names]
    assert calibrates == [True, False, False]


def test_a_subset_bounds_what_is_scored_and_selected(tmp_path):
    loop.run_rounds(tiny(tmp_path, "scoring.subset=8", "rounds=2"))
    scored = pq.read_table(tmp_path / "round_00/scores.parquet").to_pydict()["id"]
    chosen = [line.split(",")[1] for line in (tmp_path / "round_00/selected.csv").read_text().splitlines()[1:]]
    assert len(scored) == 8 and set(chosen) <= set(scored)
    assert set(scored) != {f"synthetic/pool-{i:05d}" for i in range(8)}, "drawn, not the first ones"


def test_a_subset_below_the_budget_is_refused(tmp_path):
    expected = r"scoring\.subset=5 is invalid; expected null, or a whole number, 6 \(budget\) or more"
    with pytest.raises(ConfigError, match=expected):
        tiny(tmp_path, "scoring.subset=5")


def test_with_mirrored_images_averaged_a_mirror_image_gets_mirrored_joints(tmp_path):
    experiment = tiny(tmp_path, "scoring.views=flip")
    module = experiment.trainer.make_module(RoundPart(0)).eval()
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def joints(pixels):
        with torch.no_grad():
            return module.predict(module.backbone(pixels), pixels)["joints"]

    upright, mirrored = joints(image), joints(image.flip(-1))
    mirrored = mirrored[:, experiment.data.dataset.skeleton.flip_order]
    assert torch.allclose(upright[..., 0], 31 - mirrored[..., 0], atol=1e-3)
    assert torch.allclose(upright[..., 1], mirrored[..., 1], atol=1e-3)
    module.task.use_views("none")
    assert not torch.allclose(joints(image), upright), "the average differs from the image's own heatmaps"
