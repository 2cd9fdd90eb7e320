"""`llpp label` on drawn figures: what a start does, says and refuses, whatever people have done since the last one."""

import json
import time
from pathlib import Path

import pytest
from helpers.cli import llpp
from helpers.command import Command
from helpers.disc_folders import picture, points
from helpers.label_kills import Training, Waiting
from helpers.label_projects import READY, TINY, Discs

import llpp as library
from llpp.files import compute_sha256

pytestmark = pytest.mark.slow
WORDS = ("tool=coco", "budget=8", *TINY, *READY)


def label(discs, *words, **more):
    return llpp("label", "discs", *WORDS, *words, cwd=discs.cwd, **more)


def last_line(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def asked(tmp_path):
    """A project whose first batch is out; a fifth of its 16 images are for testing."""
    discs = Discs(tmp_path)
    assert last_line(label(discs)) == (
        "awaiting labels: round 0, 0 of 8 answered (0 labelled, 0 skipped, 0 empty), 8 open"
    )
    return discs


@pytest.fixture
def trained(asked):
    """The same, of which every second image was answered and a round trained; 4 images are still open."""
    asked.answer(asked.list_asked(0)[::2])
    line = last_line(label(asked))
    assert line.startswith("awaiting labels: round 1, 0 of 4 answered"), line
    return asked


def list_dates(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_the_same_command_with_nothing_new_trains_nothing_and_says_the_same(trained):
    dates = list_dates(trained.run)
    first = label(trained)
    assert label(trained).stdout == first.stdout and last_line(first).startswith("awaiting labels: round 1, 0 of 4")
    assert list_dates(trained.run) == dates

    as_json = label(trained, "--json")
    (line,) = as_json.stdout.splitlines()
    facts = json.loads(line)
    assert facts["line"] == last_line(first)
    expected = {"round": 1, "asked": 4, "open": 4, "answered": 0, "labelled_for_training": 2, "labelled_for_testing": 2}
    assert {name: facts[name] for name in expected} == expected
    assert list_dates(trained.run) == dates


def test_an_error_is_one_sentence_and_its_exit_code_is_two(asked):
    for words in (["tool=coko"], ["--jsn"], ["label.enough=2"], ["labels=nowhere.json"]):
        done = label(asked, *words, "--json")
        assert done.returncode == 2 and done.stdout == "", words
        assert "Traceback" not in done.stderr and done.stderr.startswith("llpp: "), done.stderr


def test_a_second_command_is_told_which_process_has_the_project_and_the_first_one_ends_well(asked):
    asked.answer(asked.list_asked(0)[::2])
    go = asked.cwd / "go"
    first = Command("label", "discs", *WORDS, cwd=asked.cwd, moment=Waiting(str(go)))
    deadline = time.monotonic() + 60
    while not (asked.run / "state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    before = list_dates(asked.folder)
    second = label(asked)
    assert second.returncode == 2
    assert f"labelling/discs is in use by process {first.pid} on " in second.stderr
    assert list_dates(asked.folder) == before
    go.touch()
    assert first.wait(timeout=60) == 0
    assert len(asked.read_state()["rounds"]) == 1 and len(asked.list_asked(1)) == 4


def test_what_would_ask_twice_or_differently_is_refused_with_both_values(asked):
    folder = asked.folder.name
    for words, expected in (
        (["-m"], "-m starts several runs, and only one run of a project asks people"),
        (["tool=cvat"], "tool was coco at earlier starts of this project and is cvat now; leave it out"),
        (["joints=coco17"], "joints"),
        (["rounds=2"], "rounds=2"),
        (["seed=1"], "seed1"),
        (["dataset=coco"], "dataset"),
    ):
        refused = label(asked, *words)
        assert refused.returncode == 2, words
        assert expected in refused.stderr and "Traceback" not in refused.stderr, refused.stderr
    refused = label(asked, TORCHELASTIC_RUN_ID="x", RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    assert refused.returncode == 2 and "start llpp without torchrun, with trainer.devices=N" in refused.stderr
    assert asked.list_asked(1) == [] and not (asked.run / "state.json").exists(), folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-m", "oracle=coco", "seed=0,1"), "oracle=coco asks people for labels, and only one run of a project does"),
        (("oracle=coco", "dataset=synthetic"), "set dataset=project and dataset.root=FOLDER"),
        (("oracle=coco", "rounds=2"), "rounds=2 is invalid; expected null"),
        (("rounds=null",), "rounds=null needs an oracle that asks people"),
    ],
)
def test_runs_that_cannot_ask_people_are_refused(words, expected, tmp_path):
    Discs(tmp_path)
    project = () if "dataset=synthetic" in words or words == ("rounds=null",) else ("dataset=project", "dataset.root=discs")
    refused = llpp("run", *words, *project, *TINY, "name=discs", cwd=tmp_path)
    assert refused.returncode == 2, refused.stdout
    assert expected in refused.stderr and "Traceback" not in refused.stderr, refused.stderr
    assert not (tmp_path / "labelling").exists()


def test_ranks_train_on_the_labels_of_the_snapshot_and_a_killed_one_changes_nothing(asked):
    faults = str(Path(__file__).parents[1] / "faults")
    words = ("trainer=ddp_cpu", "trainer.devices=2", "callbacks=none", "+callbacks.fault={_target_: fault_callback.Fault}")
    asked.answer(asked.list_asked(0)[::2])
    killed = label(asked, *words, PYTHONPATH=faults, LLPP_TEST_FAULT="kill:1:0:0")
    assert killed.returncode == 2 and "rank 1 failed: it was killed (SIGKILL)" in killed.stderr, killed.stderr
    assert asked.read_state()["rounds"] == []
    digest = compute_sha256(asked.run / "round_00/labels.parquet")

    # Not looked at before the round that was interrupted is committed.
    late = asked.list_asked(0)[1]
    asked.answer([late], name="late.json")
    assert last_line(label(asked, *words, PYTHONPATH=faults)).startswith("awaiting labels: round 1, 0 of 4 answered")
    (committed,) = asked.read_state()["rounds"]
    assert committed["files"]["labels.parquet"] == digest and committed["row"]["devices"] == 2
    assert len(asked.read_journal()) == 4
    assert last_line(label(asked, *words, PYTHONPATH=faults)).startswith("awaiting labels: round 1, 0 of 4 answered")
    assert late in [entry["image"] for entry in asked.read_journal()]


def test_methods_are_compared_on_the_labels_of_a_project_with_the_same_test_images(trained):
    trained.answer([f"{number:03d}.png" for number in range(16)], name="all.json")
    assert "nothing is left to ask for: 16 labelled" in last_line(label(trained))
    words = ("dataset=project", "dataset.root=discs", "oracle=simulated", "initial=4", "budget=3", "rounds=2")
    done = llpp("run", "-m", *words, "acquisition=random,predicted_loss", *TINY, cwd=trained.cwd)
    assert done.returncode == 0, done.stderr
    tested = []
    for path in sorted(trained.cwd.glob("runs/**/test.parquet")):
        if "discs" not in path.parts:
            tested.append(read_column(path, "id"))
    assert len(tested) == 4 and all(ids == tested[0] for ids in tested)
    roles = {row: True for row in trained.list_asked(0)[:3]}
    assert sorted(tested[0]) == sorted(roles)


def read_column(path, name):
    import pyarrow.parquet as pq

    return pq.read_table(path)[name].to_pylist()


def test_a_labelling_run_predicts_and_is_shown_by_the_other_commands(trained, monkeypatch):
    monkeypatch.chdir(trained.cwd)
    run = library.load(trained.run)
    (prediction,) = run.predict([picture(20)])
    assert prediction.joints.shape == (5, 2)

    reported = llpp("report", "runs/discs", cwd=trained.cwd)
    assert reported.returncode == 0, reported.stderr
    assert (trained.cwd / "runs/discs/report.html").exists()

    shown = llpp("data", "dataset=project", "dataset.root=discs", cwd=trained.cwd)
    assert shown.returncode == 0, shown.stderr
    assert "4" in shown.stdout

    analyzed = llpp("analyze", "runs/discs/seed0", cwd=trained.cwd)
    assert "Traceback" not in analyzed.stderr, analyzed.stderr
    assert analyzed.returncode in (0, 2)
    print(analyzed.returncode, analyzed.stdout, analyzed.stderr)
