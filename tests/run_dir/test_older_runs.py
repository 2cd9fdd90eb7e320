"""Run directories of an earlier program: they resume, are reported on, and refuse what they refused."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from helpers.experiments import tiny
from helpers.recorded_runs import OLD, OLD_SETTINGS, continue_old
from helpers.recordings import check_recorded

from llpp.config.instantiate import rebuild_run_task
from llpp.errors import OccupiedError
from llpp.report import page
from llpp.report.collect import collect
from llpp.report.gallery import TileBudget, build_gallery
from llpp.rounds import loop
from llpp.run_dir.state import load_state
from llpp.training.round_trainer import RoundTrainer


@pytest.fixture
def old(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.slow
def test_an_older_run_keeps_its_rounds_and_says_from_which_on_augmentation_is_drawn_otherwise(old, caplog):
    left_by_older_program = (old / "round_01/last.ckpt").read_bytes()
    state = continue_old(old)
    assert len(state.rounds) == 3
    said = [record.message for record in caplog.records if "an older llpp began this run" in record.message]
    assert len(said) == 1 and "from round 2 on" in said[0] and str(old) in said[0]
    assert state.redrawn == load_state(old / "state.json").redrawn == 2
    assert "from round 2 of" in page.write_report([old], old, rebuild_run_task, None).read_text()
    caplog.clear()
    continue_old(old)
    assert not caplog.records, "once"
    # Round 1 had not selected. It goes on from the weights that it left, and is not trained again.
    assert (old / "round_01/last.ckpt").read_bytes() == left_by_older_program
    assert json.loads((old / "state.json").read_text())["llpp_state"] == 3
    check_recorded(old, OLD.with_suffix(".json"))


@pytest.mark.slow
def test_neither_a_backbone_of_an_older_run_nor_the_head_on_it_is_trained_again(tmp_path, monkeypatch):
    """As older programs keyed them: before backbones had `dropout`, and runs had `scoring.views`."""
    overrides = ("training.base=backbone", "trainer.max_epochs=1")

    def train():
        run = tiny(tmp_path / "run", *overrides)
        run.trainer.train(0, ("a", "b"), run.data.make_loaders([0, 1], [0, 1], 0), 0, "")
        return [(tmp_path / "run/round_00" / name).read_bytes() for name in ("backbone/last.ckpt", "last.ckpt")]

    def list_older(trainer, without):
        kept = list_present(trainer, without)
        del kept["backbone.dropout"], kept["scoring.views"]
        return {**kept, "task.flip_test": False}

    list_present = RoundTrainer._list_deciding_settings
    with monkeypatch.context() as older:
        older.setattr(RoundTrainer, "_list_deciding_settings", list_older)
        left_by_older_program = train()
    assert train() == left_by_older_program


def test_an_older_run_refuses_other_settings_by_name(old):
    with pytest.raises(OccupiedError, match=r"head_weight: 1\.0 → 2"):
        loop.run_rounds(tiny(old, *OLD_SETTINGS, "rounds=3", "training.head_weight=2"))
    with pytest.raises(OccupiedError, match="ids were added to train"):
        loop.run_rounds(tiny(old, *OLD_SETTINGS, "rounds=3", "dataset.pool=30"))


@pytest.mark.slow
def test_an_older_run_is_reported_with_its_gallery(old):
    text = page.write_report([old], old, rebuild_run_task, None).read_text()
    assert "synthetic" in text and "The gallery is left out" not in text


def test_tables_of_an_older_run_are_read_under_the_names_that_they_had(old):
    """`poses.parquet` is now predictions.parquet, its column `pck` is now quality, and state.json had version 1."""
    folder = old / "round_00"
    assert (folder / "poses.parquet").exists() and not (folder / "predictions.parquet").exists()
    written = pq.read_table(folder / "poses.parquet")
    assert "pck" in written.column_names and "quality" not in written.column_names
    assert json.loads((old / "state.json").read_text())["llpp_state"] == 1

    (section,) = collect([old]).sections
    read = section.first_run.read_round_columns(0, "predictions.parquet", ("id", "quality", "joints"))
    assert read["id"].tolist() == written["id"].to_pylist() == list(load_state(old / "state.json").rounds[0].selected)
    assert read["quality"].tolist() == written["pck"].to_pylist()
    assert read["joints"].ravel().tolist() == [x for joints in written["joints"].to_pylist() for x in joints]

    gallery = build_gallery(section, rebuild_run_task(old), TileBudget(tiles=4, characters=20_000), "images")
    assert gallery.problems == ()
    assert {picture.numbers["quality"] for picture in gallery.viewer.pictures} <= set(written["pck"].to_pylist())
    assert len(gallery.viewer.pictures) == 4


def test_settings_of_an_older_run_have_their_present_names(old):
    settings = load_state(old / "state.json").result_settings
    for name in (
        "pck.normaliser",
        "metric.normaliser",
        "task.heatmap.sigma",
        "training.head_weight",
        "scoring.subset",
    ):
        assert name in settings, name
    assert not {"pck.unit", "metric.unit", "codec.sigma", "head_weight", "subset"} & set(settings)
    assert settings["metric.name"] == "pck" and settings["task._target_"] == "llpp.tasks.pose.task.PoseTask"
    assert settings["oracle._target_"] == "llpp.oracles.simulated.SimulatedOracle"
