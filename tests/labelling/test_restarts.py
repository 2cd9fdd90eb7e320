"""`llpp label` after what would leave a project without a next step: nobody there, a deleted run, another place."""

import csv
import json
import shutil
import signal
from pathlib import Path

import pytest
from helpers.cli import llpp
from helpers.label_kills import Replacing
from helpers.label_projects import TINY, Discs

pytestmark = pytest.mark.slow
WORDS = ("tool=coco", "budget=6", "label.suggest=always", "label.blind=0", "label.least=2", *TINY)


def label(discs, *words, **more):
    done = llpp("label", "discs", *words, cwd=discs.cwd, **more)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def last_line(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def list_files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project after one round, whose second batch has suggestions."""
    discs = Discs(tmp_path_factory.mktemp("discs"))
    label(discs, *WORDS)
    discs.answer(discs.list_asked(0))
    assert last_line(label(discs, *WORDS)).startswith("awaiting labels: round 1, 0 of 6 answered")
    return discs


@pytest.fixture
def discs(trained, tmp_path):
    """A copy in another place: as where a folder was moved, if the original is not there."""
    moved = tmp_path / "moved"
    shutil.copytree(trained.cwd, moved)
    copied = Discs.__new__(Discs)
    copied.cwd, copied.root, copied.folder = moved, moved / "discs", moved / "labelling/discs"
    copied.run = moved / "runs/discs/seed0"
    project = copied.folder / "project.json"
    # The original is still needed.
    project.write_text(project.read_text().replace(str(trained.cwd), str(tmp_path / "before")))
    return copied


def test_a_project_that_was_moved_with_its_run_continues(discs):
    assert last_line(label(discs)).startswith("awaiting labels: round 1, 0 of 6 answered")
    assert json.loads((discs.folder / "project.json").read_text())["run"] == str(discs.run)


def test_a_batch_in_which_nobody_is_there_is_followed_by_another_one(discs):
    batch = json.loads((discs.folder / "round_01/to_label.json").read_text())
    (discs.folder / "inbox/empty.json").write_text(json.dumps({**batch, "annotations": []}))
    line = last_line(label(discs, "label.empty=reviewed"))
    assert line.startswith("awaiting labels: round 2, 0 of ")
    assert not {*discs.list_asked(2)} & {*discs.list_asked(0), *discs.list_asked(1)}
    state = (discs.run / "state.json").read_bytes()
    assert last_line(label(discs)) == line
    assert (discs.run / "state.json").read_bytes() == state, "once"


def test_an_empty_batch_is_followed_by_another_one_when_its_open_images_are_given_back(discs):
    discs.answer(["000.png"], name="own.json")
    line = last_line(label(discs, "label.enough=0", "budget=4"))
    assert line.startswith("awaiting labels: round 2 asks for no images") and "label.release=true" in line
    assert last_line(label(discs, "label.release=true")).startswith("awaiting labels: round 3, 0 of 4 answered")


def test_images_that_are_added_when_none_are_left_are_asked_for(discs):
    discs.answer([path.name for path in sorted(discs.root.glob("*.png"))], name="all.json")
    line = last_line(label(discs))
    assert line.startswith("nothing is left to ask for: 16 labelled") and "add images to discs" in line
    state = (discs.run / "state.json").read_bytes()
    assert last_line(label(discs)) == line and (discs.run / "state.json").read_bytes() == state
    for number in (16, 17, 18):
        discs.draw(number)
    assert last_line(label(discs)).startswith("awaiting labels: round 3, 0 of ")
    assert {*discs.list_asked(3)} <= {"016.png", "017.png", "018.png"}


def test_a_new_run_takes_the_labels_over_and_leaves_the_batches_as_they_are(discs):
    before = {number: list_files(discs.folder / f"round_{number:02d}") for number in (0, 1)}
    (discs.folder / "inbox/untouched.json").write_bytes(before[1][Path("to_label.json")])
    journal = (discs.folder / "labels.jsonl").read_bytes()
    shutil.rmtree(discs.run)
    waiting = last_line(label(discs, "trainer.max_epochs=2"))
    assert "round 1, 0 of 6 answered" in waiting and waiting.endswith(
        "train now with label.enough=0, or label the rest"
    )
    # 6 images are open, and the budget has no room for others.
    trained = last_line(label(discs, "label.enough=0"))
    assert trained.startswith("awaiting labels: round 2 asks for no images, because 6 of earlier batches are open")
    assert {number: list_files(discs.folder / f"round_{number:02d}") for number in (0, 1)} == before
    label(discs)
    assert (discs.folder / "labels.jsonl").read_bytes() == journal, "what was suggested is no label for the new run"

    discs.answer(discs.list_asked(1), name="second.json")
    assert last_line(label(discs)).startswith("awaiting labels: round 3, 0 of ")
    with (discs.run / "rounds.csv").open(newline="") as file:
        assert [row["round"] for row in csv.DictReader(file)] == ["0", "1"]


def test_a_first_round_with_labels_that_were_there_resumes_after_a_kill(tmp_path):
    discs = Discs(tmp_path)
    discs.answer([f"{number:03d}.png" for number in range(8)])
    killed = label(discs, *WORDS, moment=Replacing("after", "state.json"))
    assert killed.returncode == -signal.SIGKILL and not discs.list_asked(0)
    assert last_line(label(discs)).startswith("awaiting labels: round 1, 0 of 6 answered")
    assert len(discs.read_journal()) == 8
