"""What a run says about its data before it trains, and splits that it does without."""

import csv
import json
import logging

import pytest
from helpers.disc_folders import folder, table
from helpers.experiments import tiny

from llpp.config.instantiate import make_dataset
from llpp.errors import ConfigError, DataError
from llpp.report import page
from llpp.rounds import loop
from llpp.tasks.measurability import find_undefined_metric

pytestmark = pytest.mark.slow
SMALL = (
    "dataset=coco", "pck=box", "initial=4", "budget=2", "rounds=2", "backbone.channels=4", "backbone.depth=1",
    "trainer.max_epochs=1", "data.batch_size=2",
)  # fmt: skip


def start(root, run_dir, *settings):
    return tiny(run_dir, *SMALL, f"dataset.root={root}", *settings, dataset=())


def read_rounds(run_dir):
    with (run_dir / "rounds.csv").open() as file:
        return list(csv.DictReader(file))


def without_hips(count=10):
    """Nobody has a torso."""
    made = table(count)
    for entry in made["annotations"]:
        entry["keypoints"][9:] = [0] * 6
    return made


def test_notes_and_undefined_metrics_are_warned_of_before_the_first_round(tmp_path, caplog):
    made = without_hips()
    made["annotations"][0] = table()["annotations"][0]  # the only one with a torso
    made["annotations"][0]["keypoints"][:3] = [500, 400, 2]
    root = folder(tmp_path, made)
    run = start(root, tmp_path / "run", "pck=torso", "rounds=1")
    assert run.data.task.dataset.records.split[0] == "train"
    with caplog.at_level(logging.WARNING):
        loop.run_rounds(run)
    told = [record.getMessage() for record in caplog.records]
    (note,) = [line for line in told if "labelled joints outside of their image are left out" in line]
    assert note.startswith("coco: 1 labelled joints")
    (undefined,) = [line for line in told if "is undefined" in line]
    assert undefined.startswith("coco: test PCK@0.2 is undefined: none of the 2 persons has the length")
    assert "set pck=box" in undefined
    assert find_undefined_metric(start(root, tmp_path / "other").data.task, "test") is None


def test_notes_come_before_a_refusal_that_they_explain(tmp_path, caplog):
    made = table()
    for entry in made["annotations"][:6]:
        entry["category_id"] = 7
    run = start(folder(tmp_path, made), tmp_path / "run", "dataset.val=1", "dataset.test=1")
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigError, match="initial=4 exceeds the 2 training ids"):
        loop.run_rounds(run)
    assert "6 annotations of category 7, which is none of the file's" in caplog.text


def test_a_run_without_validation_and_test_images_selects_all_the_same(tmp_path, caplog, recwarn):
    root = folder(tmp_path)
    run_dir = tmp_path / "run"
    with caplog.at_level(logging.WARNING):
        state = loop.run_rounds(start(root, run_dir, "dataset.val=0", "dataset.test=0"))
    assert len(state.rounds) == 2 and len(state.rounds[0].selected) == 2
    assert not [warning for warning in recwarn if "DataLoader" in str(warning.message)]
    assert any("without test images, the test results of all rounds are empty" in text for text in caplog.messages)
    first, last = read_rounds(run_dir)
    assert first["test_pck"] == last["test_pck"] == "" and last["labelled"] == "6"
    run = start(root, run_dir, "dataset.val=0", "dataset.test=0", "rounds=3")
    assert len(loop.run_rounds(run).rounds) == 3
    assert page.write_report([run_dir], run_dir, lambda _: run.data.task, None).is_file()


def test_a_single_round_with_all_images_only_trains_and_tests(tmp_path):
    run = start(folder(tmp_path), tmp_path / "run", "rounds=1", "initial=8", "dataset.val=0", "dataset.test=2")
    state = loop.run_rounds(run)
    assert len(state.rounds) == 1 and not state.rounds[0].selected
    assert read_rounds(tmp_path / "run")[0]["test_pck"] != ""


def test_what_needs_validation_images_is_refused_without_them(tmp_path):
    root = folder(tmp_path)
    for settings in (("training.weights=best",), ("scheduler=plateau",)):
        with pytest.raises(ConfigError, match=r"there are no validation images \(dataset\.val=0\)"):
            loop.run_rounds(start(root, tmp_path / "run", "dataset.val=0", *settings))


def test_a_split_that_is_empty_by_mistake_is_refused(tmp_path, compose):
    root = folder(tmp_path)
    (tmp_path / "test.json").write_text(json.dumps({**table(), "annotations": []}))
    files = "dataset.annotations={train: annotations.json, test: test.json}"
    with pytest.raises(ConfigError, match="dataset coco has no test records"):
        make_dataset(compose("dataset=coco", f"dataset.root={root}", files))


def test_images_of_another_size_than_their_annotations_are_refused_before_training(tmp_path):
    made = table()
    for entry in made["images"][2:5]:
        entry["width"] *= 2
    root = folder(tmp_path, made)
    with pytest.raises(
        DataError, match=r"has 96 × 72 pixels and its annotation says 192 × 72, .* \(and 2 more like it"
    ):
        loop.run_rounds(start(root, tmp_path / "run"))
    assert not (tmp_path / "run" / "round_00").exists()
