"""What a run's dataset decided at its first start, which later starts keep, whatever the present default is.

`coco_run_by_stems` is of the program before datasets had such settings: two rounds, on 24 images of which one has an
annotation that repeats another.
"""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers.coco_folders import annotation, content, folder
from helpers.experiments import TINY, config, rows, tiny

from llpp.config.instantiate import rebuild_run_task
from llpp.config.kept_settings import add_decided_settings, keep_decided_settings
from llpp.errors import OccupiedError
from llpp.launch import sweep
from llpp.rounds import loop
from llpp.run_dir.config_file import read_config
from llpp.run_dir.older_runs import (
    add_dataset_settings,
    add_views,
    drop_backbone_settings,
    drop_dataset_settings,
    drop_head_settings,
    restore_flip_test,
    update_config,
)
from llpp.run_dir.state import load_state

OLD = Path(__file__).parent / "coco_run_by_stems"
SETTINGS = (
    "dataset=coco", "dataset.root=data", "dataset.val=2", "dataset.test=2", "initial=6", "budget=4", "rounds=2",
    "trainer.max_epochs=1", "trainer.precision=32-true", "paths.runs=runs",
)  # fmt: skip
OLDER = {
    "orientation": "file", "outside": "keep", "ids": "stem", "repeats": "keep", "group": None, "white": "high_byte",
    "background": "ignore",
}  # fmt: skip


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder that the run was started in, with its data; the run is in `run`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, tmp_path / "run")
    table = content(24)
    table["annotations"].append(annotation(200, 1))
    folder(tmp_path / "data", table)
    return tmp_path


def start(*overrides):
    return loop.run_rounds(tiny("run", *SETTINGS, *overrides, dataset=()))


@pytest.mark.slow
def test_an_older_run_goes_on_with_the_ids_that_it_has(old):
    before = load_state(old / "run/state.json")
    after = start()
    assert after.labelled == before.labelled and "coco/0013#113" in after.initial
    written, _ = read_config(old / "run")
    assert {name: written["dataset"][name] for name in OLDER} == OLDER
    assert (old / "run/records.parquet").read_bytes() == (OLD / "records.parquet").read_bytes()
    # what the same command would build for a new run
    new = tiny("another", *SETTINGS, dataset=()).data.dataset
    assert len(new.records.ids) == 24 and "coco/0013.png#113" in new.records.ids


@pytest.mark.slow
def test_an_older_run_selects_by_its_ids_in_further_rounds(old):
    start("rounds=3")
    assert len(rows("run")) == 3
    selected = load_state(old / "run/state.json").rounds[1].selected
    assert len(selected) == 4 and not any(".png" in name for name in selected)
    first, *_ = (old / "run/round_01/selected.csv").read_text().splitlines()[1:]
    _, name, file, _ = first.split(",")
    assert f"coco/{Path(file).stem}" == name.split("#")[0] and file.startswith("images/")


@pytest.mark.parametrize(
    "override", ["dataset.ids=file", "dataset.white=4095", "dataset.background=[0,0,0]", "dataset.repeats=merge"]
)
def test_what_is_set_otherwise_is_refused_by_name(old, override):
    name, _, _ = override.partition("=")
    with pytest.raises(OccupiedError, match=f"{name}: '.*' → "):
        start(override)


def test_a_report_finds_the_records_of_an_older_run(old):
    records = rebuild_run_task(old / "run").dataset.records
    assert len(records.ids) == 25
    assert set(load_state(old / "run/state.json").labelled) <= set(records.ids)


@pytest.mark.slow
def test_a_range_that_was_found_at_the_start_stays_when_images_are_added(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "data", content(12))
    for path in sorted((tmp_path / "data/images").iterdir()):
        cv2.imwrite(str(path), np.full((70, 90), 900, dtype=np.uint16))
    split = ("dataset.val=2", "dataset.test=2", "initial=4", "rounds=1")
    loop.run_rounds(tiny("run", *SETTINGS, *split, dataset=()))
    assert load_state(tmp_path / "run/state.json").result_settings["dataset.white"] == 1023

    cfg = config("run", *SETTINGS, *split, dataset=())
    assert cfg.dataset.white is None
    assert sweep.is_done(cfg), "the config is held against that of the run, with what the run keeps"
    keep_decided_settings(cfg)
    assert (cfg.dataset.ids, cfg.dataset.white, cfg.dataset.background) == ("file", 1023, [0, 0, 0])
    with pytest.raises(OccupiedError, match=r"different config \(dataset.white: 1023 → 4095\)"):
        loop.run_rounds(tiny("run", *SETTINGS, *split, "dataset.white=4095", "pool.grow=true", dataset=()))


@pytest.mark.slow
def test_a_run_that_began_with_predicted_loss_keeps_it_unless_the_command_names_another(old):
    """It was the default; a project's command has never named it."""
    unnamed = [word for word in TINY if not word.startswith("acquisition=")]

    def find_acquisition(run_dir, *overrides):
        cfg = config(run_dir, *SETTINGS, *overrides, base=unnamed, dataset=())
        keep_decided_settings(cfg)
        return cfg.acquisition._target_.rpartition(".")[2]

    assert find_acquisition("run") == "PredictedLossAcquisition"
    assert find_acquisition("run", "acquisition=adaptive") == "AdaptiveAcquisition"
    assert find_acquisition("run", "acquisition.beta_most=2") == "AdaptiveAcquisition"
    assert find_acquisition("run", "acquisition=core_set") == "CoreSetAcquisition"
    assert find_acquisition("another") == "AdaptiveAcquisition"


@pytest.mark.slow
def test_a_run_that_began_with_an_earlier_start_of_adaptive_keeps_it_unless_the_command_sets_it(old):
    """Until it was measured, adaptive leaned to high losses from a competence of 0.5 on."""
    path = old / "run/config.yaml"
    recorded = yaml.safe_load(path.read_text())
    target = "llpp.acquisition.adaptive.AdaptiveAcquisition"
    recorded["acquisition"] = {"_target_": target, "competence_low": 0.5, "competence_high": 0.8, "beta_most": 4.0}
    path.write_text(yaml.safe_dump(recorded))

    def find_low(run_dir, *overrides):
        cfg = config(run_dir, *SETTINGS, "acquisition=adaptive", *overrides, dataset=())
        keep_decided_settings(cfg)
        return cfg.acquisition.competence_low

    assert find_low("run") == find_low("run", "acquisition.strata=1") == 0.5
    assert find_low("run", "++acquisition.competence_low=0.6") == 0.6
    assert find_low("run", "acquisition.competence_low=0.4") == 0.4
    assert find_low("another") == 0.6


def test_settings_of_parts_are_added_and_dropped_by_their_own_names():
    recorded = {
        "dataset._target_": "llpp.datasets.merged.MergedDataset",
        "dataset.parts.a._target_": "llpp.datasets.coco.dataset.CocoKeypoints",
        "dataset.parts.b._target_": "llpp.datasets.lsp.dataset.LeedsSportsPose",
        "seed": 3,
    }
    added = add_dataset_settings(recorded)
    assert added == recorded | {f"dataset.parts.a.{name}": value for name, value in OLDER.items()}
    assert drop_dataset_settings(added) == recorded
    newer = {**added, "dataset.parts.a.ids": "file"}
    assert add_dataset_settings(newer) == newer
    node = {"parts": {"a": {"ids": None, "root": "x"}, "b": {"root": "y"}}, "name": "both"}
    decided = {"parts": {"a": {"ids": "file"}, "b": {}}}
    assert add_decided_settings(node, decided) == {
        "parts": {"a": {"ids": "file", "root": "x"}, "b": {"root": "y"}},
        "name": "both",
    }


def test_a_head_without_evidence_is_that_of_an_older_run():
    target = "llpp.heads.gap_fc.GapFCHead"
    recorded = {"head._target_": target, "seed": 3}
    added = add_dataset_settings(recorded)
    assert added == {**recorded, "head.evidence": "none"}
    assert drop_head_settings(added) == drop_dataset_settings(added) == recorded
    another = {**added, "head.evidence": "summary"}
    assert drop_head_settings(another) == drop_dataset_settings(another) == another, "no older run can be meant"


@pytest.mark.parametrize(("flip_test", "views"), [(True, "flip"), (False, "none")])
def test_an_older_flip_test_is_a_choice_of_views(flip_test, views):
    target = "llpp.tasks.pose.task.PoseTask"
    recorded = {"task._target_": target, "task.flip_test": flip_test, "seed": 3}
    added = add_views(recorded)
    assert added == {"task._target_": target, "scoring.views": views, "seed": 3}
    assert restore_flip_test(added) == drop_head_settings(added) == recorded
    assert add_views(added) == added, "a newer run"
    six = {**added, "scoring.views": "six"}
    assert restore_flip_test(six) == six, "no older run can be meant"
    config = {"task": {"_target_": target, "flip_test": flip_test}, "scoring": {"subset": None}}
    assert update_config(config) == {"task": {"_target_": target}, "scoring": {"subset": None, "views": views}}


def test_older_tasks_without_a_flip_test_saw_images_once():
    recorded = {"task._target_": "llpp.tasks.classification.task.ClassificationTask"}
    added = add_views(recorded)
    assert added == {**recorded, "scoring.views": "none"} and restore_flip_test(added) == recorded
    flipped = {**added, "scoring.views": "flip"}
    assert restore_flip_test(flipped) == flipped
    assert add_views({"task._target_": "mine.Task", "task.flip_test": True})["task.flip_test"] is True


def test_a_backbone_without_dropout_is_that_of_an_older_run():
    """Heads have got their settings earlier, so there are runs with those alone."""
    parts = {
        "backbone._target_": "llpp.backbones.hourglass.StackedHourglass",
        "head._target_": "llpp.heads.gap_fc.GapFCHead",
    }
    added = add_dataset_settings(parts)
    assert added == {**parts, "backbone.dropout": 0.0, "head.evidence": "none"}
    assert drop_backbone_settings(added) == {**parts, "head.evidence": "none"}
    assert drop_head_settings(added) == drop_dataset_settings(added) == parts
    another = {**added, "backbone.dropout": 0.1}
    assert drop_backbone_settings(another) == another, "no older run can be meant"


def test_the_recorded_run_is_what_the_earlier_program_wrote():
    settings = json.loads((OLD / "state.json").read_text())["science"]
    assert not any(f"dataset.{name}" in settings for name in OLDER)
