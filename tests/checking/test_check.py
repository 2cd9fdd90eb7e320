"""Labels are judged by networks that did not train on them, and corrections find their way back."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from helpers.cli import llpp
from helpers.experiments import tiny
from helpers.label_projects import TINY, Discs

from llpp.checking.check import CheckRequest, check_labels
from llpp.checking.cross_fitting import check_enough, describe_cost, estimate_seconds
from llpp.config import run_check
from llpp.errors import StateError
from llpp.rounds import loop
from llpp.run_dir.state import Round, RunState, load_state
from llpp.training.round_trainer import RoundTrainer

FIGURES = ("dataset.size=48", "dataset.initial=36", "dataset.pool=24", "dataset.val=4", "dataset.test=8")
SETTINGS = ("initial=36", "budget=6", "rounds=2", "trainer.max_epochs=1", "data.batch_size=12")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that started with 36 labels and chose 6 more."""
    path = tmp_path_factory.mktemp("runs") / "figures/seed0"
    loop.run_rounds(tiny(path, *SETTINGS, dataset=FIGURES))
    return path


@pytest.fixture
def trained(monkeypatch):
    """The ids of every training that takes place."""
    calls = []
    train = RoundTrainer.train

    def record(self, number, labelled, data, steps, files):
        calls.append(set(labelled))
        return train(self, number, labelled, data, steps, files)

    monkeypatch.setattr(RoundTrainer, "train", record)
    return calls


def check(run_dir, out, folds, tool=None):
    state = run_check.read_committed_state(run_dir)
    checked = run_check.open_checked_run(run_dir, out, state)
    chosen = run_check.load_tool(run_dir, tool)
    return check_labels(checked, CheckRequest(folds, 0.2, chosen.tool))


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_no_label_is_judged_by_a_network_that_trained_on_it(run_dir, tmp_path, trained):
    older = tmp_path / "out/batch/images/of_an_earlier_check.jpg"
    older.parent.mkdir(parents=True)
    older.write_bytes(b"")
    check(run_dir, tmp_path / "out", 2, "coco")
    table = read_table(tmp_path / "out/labels.csv")
    labelled = set(load_state(run_dir / "state.json").labelled)
    judged = {row["id"]: row["judge"] for row in table}
    held_out = {name for name in judged if name not in labelled}
    # 36 + 6 labels for training, 4 for validation and 8 for testing, each once.
    assert len(table) == len(judged) == 42 + 12 and labelled < set(judged)
    assert {judged[name] for name in held_out} == {"round 1"}
    assert len(trained) == 2
    for fold, ids in enumerate(trained, start=1):
        own = {name for name, judge in judged.items() if judge == f"fold {fold} of 2"}
        assert len(own) == 21 and ids == labelled - own
    assert [int(row["rank"]) for row in table] == list(range(1, 55))

    # Again nothing is trained; what is lost of one fold is made from its checkpoint, and the result is the same.
    before = (tmp_path / "out/labels.csv").read_bytes()
    check(run_dir, tmp_path / "out", 2)
    assert len(trained) == 2
    (tmp_path / "out/fold_2_of_2/judged.parquet").write_bytes(b"damaged")
    check(run_dir, tmp_path / "out", 2)
    assert len(trained) == 3
    assert (tmp_path / "out/labels.csv").read_bytes() == before

    # The batch shows the labels as they are, not the predictions.
    content = json.loads((tmp_path / "out/batch/to_label.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    shown = {row["file"]: row["id"] for row in read_table(tmp_path / "out/batch/asked.csv")}
    joints = {}
    for row in read_table(tmp_path / "out/joints.csv"):
        joints.setdefault(row["id"], []).append(row)
    assert len(shown) == 11  # a fifth of 54, rounded up
    assert {path.name for path in older.parent.iterdir()} == set(shown)
    for person in content["annotations"]:
        points = np.reshape(person["keypoints"], (-1, 3))
        rows = joints[shown[names[person["image_id"]]]]
        known = [(float(row["label_x"]), float(row["label_y"])) for row in rows if row["visible"] != "0"]
        assert points[points[:, 2] > 0, :2] == pytest.approx(np.array(known), rel=1e-4)


@pytest.mark.slow
def test_a_round_whose_weights_are_damaged_is_named_and_an_earlier_one_judges(run_dir, tmp_path, caplog):
    damaged = tmp_path / "run"
    shutil.copytree(run_dir, damaged)
    (damaged / "round_01/last.ckpt").write_bytes(b"damaged")
    check(damaged, tmp_path / "out", 0)
    judges = {row["judge"] for row in read_table(tmp_path / "out/labels.csv")}
    assert judges == {"round 0"} and "weights of round 1 are missing or damaged" in caplog.text


@pytest.mark.slow
def test_the_labels_of_a_run_from_before_audits_rankers_and_views_are_judged(run_dir, tmp_path):
    older = tmp_path / "run"
    shutil.copytree(run_dir, older)
    config = yaml.safe_load((older / "config.yaml").read_text())
    for name in ("audit", "audit_tilt", "ranker"):
        config.pop(name)
    del config["scoring"]["views"]
    del config["pool"]["space"]
    (older / "config.yaml").write_text(yaml.safe_dump(config))
    assert "18 labels judged" in check(older, tmp_path / "out", 0).lines[0]


@pytest.mark.slow
def test_without_training_labels_are_judged_by_rounds_from_before(run_dir, tmp_path, trained):
    result = check(run_dir, tmp_path / "out", 0)
    state = load_state(run_dir / "state.json")
    judged = {row["id"]: row["judge"] for row in read_table(tmp_path / "out/labels.csv")}
    # What round 0 chose, it has not seen; what it began with, every round has.
    assert {name for name, judge in judged.items() if judge == "round 0"} == set(state.rounds[0].selected)
    assert not set(state.initial) & set(judged)
    assert len(judged) == 6 + 12 and trained == []
    assert "18 labels judged: 6 by round 0, 12 by round 1" in result.lines[0]
    assert "llpp check" in (tmp_path / "out/check.html").read_text()


@pytest.mark.slow
def test_a_corrected_label_is_a_newer_answer_of_its_image(tmp_path):
    discs = Discs(tmp_path, count=12)
    words = ("joints=discs/skeleton.yaml", "tool=coco", "budget=4", "label.least=2", *TINY)
    discs.answer([f"{number:03d}.png" for number in range(12)])
    assert llpp("label", "discs", *words, cwd=tmp_path).returncode == 0
    done = llpp("check", "runs/discs/seed0", "folds=0", "share=0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    batch = discs.folder / "check_00"
    content = json.loads((batch / "to_label.json").read_text())
    corrected = content["annotations"][0]
    corrected["keypoints"][0] += 5
    name = next(image["file_name"] for image in content["images"] if image["id"] == corrected["image_id"])
    image = next(row["id"] for row in read_table(batch / "asked.csv") if row["file"] == name)
    (discs.folder / "inbox/corrected.json").write_text(json.dumps(content))
    assert llpp("label", "discs", cwd=tmp_path).returncode == 0

    answers = [answer for answer in discs.read_journal() if answer["image"] == image]
    first, last = (next(iter(answer["persons"]))["joints"] for answer in (answers[0], answers[-1]))
    assert answers[-1]["file"] == "corrected.json" and len(answers) == 2
    differing = [joint for joint in first if first[joint] != last[joint]]
    assert differing == ["nose"] and last["nose"][0] == first["nose"][0] + 5


def test_too_few_labels_are_refused_before_anything_is_trained():
    with pytest.raises(StateError, match="39 training images have labels, so that each of 2 networks"):
        check_enough(39, 2)
    check_enough(40, 2)
    check_enough(39, 3)


def test_a_run_without_a_committed_round_is_refused(tmp_path):
    with pytest.raises(StateError, match="has no finished round"):
        run_check.read_committed_state(tmp_path)


def test_the_cost_is_that_of_the_last_round_that_trained_by_itself():
    def make_round(number, labelled, **more):
        return Round(number, {"round": number, "labelled": labelled, **more}, ())

    # 100 labels took 60 s; two folds of 200 labels train on 100 each, three on 133 each.
    own = make_round(0, 100, seconds_train=60.0, base_reused=0)
    taken_over = make_round(1, 200, seconds_train=1.0, base_reused=1)
    state = RunState({}, ("a",), {}, (own, taken_over))
    assert estimate_seconds(state, 2) == 120.0
    assert estimate_seconds(state, 3) == 240.0
    assert estimate_seconds(RunState({}, ("a",), {}, (taken_over,)), 2) is None
    # One of three networks that are left takes a third of 240 s.
    cost = describe_cost(state, 200, 3, 1)
    assert cost.startswith("1 of 3 networks will be trained, each on about 134 of 200 labels, in about 80 s")
