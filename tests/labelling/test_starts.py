"""`llpp label` on drawn figures: what a start does, says and refuses after whatever people have done."""

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.cli import llpp
from helpers.command import Command
from helpers.disc_folders import picture, points
from helpers.label_kills import Replacing, Training, Waiting
from helpers.label_projects import READY, TINY, Discs, read_asked

import llpp as library
from llpp.datasets.project.index import CONDITIONS, read_index
from llpp.files import compute_sha256

pytestmark = pytest.mark.slow
WORDS = ("tool=coco", "budget=8", *TINY, *READY)
PROJECT = ("dataset=project", "dataset.root=discs")


def label(discs, *words, **more):
    return llpp("label", "discs", *WORDS, *words, cwd=discs.cwd, **more)


def last_line(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Two states of one project, each of 16 images of which a fifth are for testing, for tests to copy.

    asked: the first batch is out. trained: every second image of it was answered, a round was trained, and the next
    batch is out; 4 images of the first one are still open.
    """
    folder = tmp_path_factory.mktemp("discs")
    work = folder / "work"
    work.mkdir()
    discs = Discs(work)
    assert last_line(label(discs)) == (
        "awaiting labels: round 0, 0 of 8 answered (0 labelled, 0 skipped, 0 empty), 8 open"
    )
    shutil.copytree(work, folder / "asked")
    discs.answer(discs.list_asked(0)[::2])
    assert last_line(label(discs)) == (
        "awaiting labels: round 1, 0 of 4 answered (0 labelled, 0 skipped, 0 empty), 4 open, "
        "4 more of earlier batches"
    )
    shutil.copytree(work, folder / "trained")
    return folder, discs


@pytest.fixture
def asked(originals):
    return restore("asked", *originals)


@pytest.fixture
def trained(originals):
    return restore("trained", *originals)


def restore(state, folder, discs):
    """Put a project back into a state, in the place that its files name."""
    shutil.rmtree(discs.cwd)
    shutil.copytree(folder / state, discs.cwd)
    return discs


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
    expected = {
        "round": 1,
        "asked": 4,
        "open": 4,
        "answered": 0,
        "labelled_for_training": 2,
        "labelled_for_testing": 2,
    }
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
    await_state(asked)
    before = list_dates(asked.folder)
    second = label(asked)
    assert second.returncode == 2
    assert f"labelling/discs is in use by process {first.pid} on " in second.stderr
    assert list_dates(asked.folder) == before
    go.touch()
    assert first.wait(timeout=60) == 0
    assert len(asked.read_state()["rounds"]) == 1 and len(asked.list_asked(1)) == 4


def test_a_start_that_is_told_to_stop_names_the_command_that_continues(asked):
    asked.answer(asked.list_asked(0)[::2])
    output = asked.cwd / "output"
    output.mkdir()
    go = asked.cwd / "go"
    process = Command("label", "discs", *WORDS, cwd=asked.cwd, output=output, moment=Waiting(str(go)))
    await_state(asked)
    process.send_signal(signal.SIGTERM)
    go.touch()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    remedy = "finished work is kept, run the same command again to resume: llpp label discs tool=coco budget=8"
    assert f"llpp: interrupted (SIGTERM); {remedy}" in (output / "stderr").read_text()
    assert last_line(label(asked)).startswith("awaiting labels: round 1, 0 of 4 answered")


def await_state(discs):
    """Wait until a start that trains has its state file."""
    deadline = time.monotonic() + 60
    while not (discs.run / "state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


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
        (
            ("-m", "oracle=coco", *PROJECT, "seed=0,1"),
            "oracle=coco asks people for labels, and only one run of a project does",
        ),
        (("oracle=coco", "dataset=synthetic"), "set dataset=project and dataset.root=FOLDER"),
        (("oracle=coco", *PROJECT, "rounds=2"), "rounds=2 is invalid; expected null"),
        (("rounds=null",), "rounds=null needs an oracle that asks people"),
    ],
)
def test_runs_that_cannot_ask_people_are_refused(words, expected, tmp_path):
    Discs(tmp_path)
    refused = llpp("run", *words, *TINY, "name=discs", cwd=tmp_path)
    assert refused.returncode == 2, refused.stdout
    assert expected in refused.stderr and "Traceback" not in refused.stderr, refused.stderr
    assert not (tmp_path / "labelling").exists()


def test_ranks_train_on_the_labels_of_the_snapshot_and_a_killed_one_changes_nothing(asked):
    faults = str(Path(__file__).parents[1] / "faults")
    words = (
        "trainer=ddp_cpu",
        "trainer.devices=2",
        "callbacks=none",
        "+callbacks.fault={_target_: fault_callback.Fault}",
    )
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


def test_answers_that_come_while_a_batch_is_half_written_count_and_do_not_change_it(asked, originals):
    folder, _ = originals
    complete = folder / "trained/labelling/discs/round_01"
    asked.answer(asked.list_asked(0)[::2])
    for moment in (Replacing("after", "state.json", call=2), Replacing("before", "asked.csv")):
        assert label(asked, moment=moment).returncode == -signal.SIGKILL
    with (complete / "asked.csv").open(newline="") as file:
        first, second = [row["id"] for row in csv.DictReader(file)][:2]
    asked.answer([first, second], name="early.json")
    line = last_line(label(asked, "label.enough=0.8"))
    assert line.startswith("awaiting labels: round 1, 2 of 4 answered (2 labelled, 0 skipped, 0 empty), 2 open")
    for name in ("asked.csv", "suggested.json", "to_label.json"):
        assert (asked.folder / "round_01" / name).read_bytes() == (complete / name).read_bytes(), name


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
    assert "project: 4 persons in 4 images; 5 joints, 2 left–right pairs, 0 limbs" in shown.stdout

    analyzed = llpp("analyze", "runs/discs/seed0", cwd=trained.cwd)
    assert analyzed.returncode == 0, analyzed.stderr
    assert (trained.run / "analysis/analysis.md").exists()


def move_right(image, pixels):
    """The joints of a figure, moved, as a snapshot has them."""
    return [[x + pixels, y] for x, y in points(int(image.removesuffix(".png"))).tolist()]


def test_a_label_that_is_edited_after_a_round_is_used_by_the_next_one_and_the_round_keeps_its_own(trained):
    answered = trained.list_asked(0)[::2]
    digest = trained.read_state()["rounds"][0]["files"]["labels.parquet"]
    trained.answer(answered, name="edited.json", move=2)
    assert last_line(label(trained)).startswith("awaiting labels: round 1, 0 of 4 answered")
    assert len(trained.read_journal()) == 2 * len(answered), "both lines stay"
    done = label(trained, "label.enough=0")
    assert last_line(done).startswith("awaiting labels: round 2 asks for no images, because 8 of earlier batches are")
    assert "4 labels changed since round 0" in done.stdout
    for image in answered:
        assert trained.read_labels(0)[image] == move_right(image, 0)
        assert trained.read_labels(1)[image] == move_right(image, 2)
    assert compute_sha256(trained.run / "round_00/labels.parquet") == digest


def test_what_was_never_asked_for_is_welcome_and_stays_in_the_split_of_its_group(trained):
    asked = {*trained.list_asked(0), *trained.list_asked(1)}
    others = sorted({f"{number:03d}.png" for number in range(16)} - asked)
    trained.answer([*others, *trained.list_asked(1)[:2]], name="own.json")
    assert last_line(label(trained)) == (
        "awaiting labels: round 2 asks for no images, because 6 of earlier batches are open; label them, or give "
        "them back with label.release=true"
    )
    assert set(others) <= set(trained.read_labels(1))
    (_, second) = trained.read_state()["rounds"]
    assert second["row"]["labelled"] == 2 + len(others) + 2, "none of them is of a test group: these were asked first"


def test_late_answers_of_an_earlier_batch_count_for_the_round_that_comes(trained):
    late = trained.list_asked(0)[1::2]
    trained.answer(late, name="late.json")
    before = last_line(label(trained))
    assert before.startswith("awaiting labels: round 1, 0 of 4 answered"), before
    assert len(trained.read_journal()) == 8
    after = last_line(label(trained, "label.enough=0"))
    assert set(late) <= set(trained.read_labels(1)) and not set(late) & set(trained.read_labels(0))
    assert after.startswith("awaiting labels: round 2, 0 of ")
    # 4 images of batch 1 are still open, and 4 have never been asked for.
    assert len(trained.list_asked(2)) == 4


def test_released_images_may_be_asked_for_again(trained):
    was_open = {*trained.list_asked(0)[1::2], *trained.list_asked(1)}
    done = label(trained, "label.release=true")
    assert "8 open images have gone back to the pool" in done.stdout
    # 8 of 12 images: 1 for testing, which is the only one left of its groups, and 7 of 11 for training.
    assert last_line(done).startswith("awaiting labels: round 2, 0 of 8 answered")
    assert len(set(trained.list_asked(2)) & was_open) >= 4, "12 images were free, 4 of them never asked for"
    state = (trained.run / "state.json").read_bytes()
    assert last_line(label(trained)).startswith("awaiting labels: round 2, 0 of 8 answered")
    assert (trained.run / "state.json").read_bytes() == state


def test_a_first_batch_that_was_given_back_leaves_the_choice_to_the_annotators(asked):
    line = last_line(label(asked, "label.release=true"))
    assert (
        line == "awaiting labels: 0 images are labelled for training, and a round needs 2; label any images of discs"
    )
    asked.answer([f"{number:03d}.png" for number in range(8)])
    assert last_line(label(asked)).startswith("awaiting labels: round 1, 0 of 8 answered")


def test_an_answer_that_is_gone_from_its_file_is_withdrawn_only_if_the_user_says_so(trained):
    first = trained.list_asked(0)[::2]
    trained.answer(first[1:])
    assert last_line(label(trained)).startswith("awaiting labels: round 1")
    assert len(trained.read_journal()) == 4
    last_line(label(trained, "label.retract=true"))
    assert [entry["image"] for entry in trained.read_journal() if entry["kind"] == "retracted"] == [first[0]]
    last_line(label(trained, "label.retract=true"))
    assert len(trained.read_journal()) == 5, "once"
    last_line(label(trained, "label.enough=0"))
    assert first[0] not in trained.read_labels(1)
    # Back in the file, it is a label again.
    trained.answer(first)
    last_line(label(trained))
    assert trained.read_journal()[-1]["image"] == first[0] and trained.read_journal()[-1]["kind"] == "labelled"


def test_suggestions_that_nobody_has_changed_are_labels_only_if_the_user_says_so(asked):
    asked.answer(asked.list_asked(0)[::2])
    last_line(label(asked, "label.suggest=always", "label.blind=0"))
    batch = asked.folder / "round_01/to_label.json"
    suggested = json.loads(batch.read_text())
    train = [row["file_name"] for row in suggested["images"]]
    assert len(suggested["annotations"]) == 4
    (asked.folder / "inbox/export.json").write_bytes(batch.read_bytes())
    done = label(asked)
    assert last_line(done).startswith("awaiting labels: round 1, 0 of 4 answered")
    assert "suggestions that nobody has changed do not count as labels" in done.stdout
    assert len(asked.read_journal()) == 4

    last_line(label(asked, "label.accept=unchanged"))
    accepted = asked.read_journal()[4:]
    assert sorted(entry["image"] for entry in accepted) == sorted(train)
    assert {entry["origin"] for entry in accepted} == {"accepted"}
    assert set(train) <= set(asked.read_labels(1))


def test_images_that_are_gone_or_have_changed_are_left_out_and_come_back(trained):
    # The second and fourth answered ones are for training.
    *_, gone, changed = trained.list_asked(0)[::2]
    kept = {image: (trained.root / image).read_bytes() for image in (gone, changed)}
    others = [image for image in trained.list_asked(1)][:2]
    trained.answer(others, name="more.json")
    (trained.root / gone).unlink()
    cv2.imwrite(str(trained.root / changed), picture(20))
    done = label(trained)
    assert last_line(done).startswith("awaiting labels: round 2"), done.stdout
    assert f"for example {gone}" in done.stdout and f"for example {changed}" in done.stdout
    assert not {gone, changed} & set(trained.read_labels(1)) and set(others) <= set(trained.read_labels(1))

    # A label for the picture that is there now may be one for another picture.
    trained.answer([changed], name="changed.json", move=1)
    refused = label(trained)
    assert "2 of 7 entries not used, see labelling/discs/rejected.csv" in refused.stdout + refused.stderr
    assert "set label.changed=accept" in (trained.folder / "rejected.csv").read_text()

    for image, content in kept.items():
        (trained.root / image).write_bytes(content)
    assert last_line(label(trained, "label.enough=0"))
    assert trained.read_labels(2)[gone] == move_right(gone, 0)
    assert trained.read_labels(2)[changed] == move_right(changed, 1)


def test_an_image_that_goes_while_a_round_is_interrupted_does_not_stop_it_for_good(asked):
    answered = asked.list_asked(0)[::2]
    free = sorted({f"{number:03d}.png" for number in range(16)} - set(asked.list_asked(0)))
    asked.answer([*answered, *free[:2]])
    assert label(asked, moment=Training()).returncode == -signal.SIGKILL
    digest = compute_sha256(asked.run / "round_00/labels.parquet")
    for image in (answered[-1], free[-1]):
        (asked.root / image).unlink()
    done = label(asked)
    assert last_line(done).startswith("awaiting labels: round 1, 0 of "), done.stdout
    (committed,) = asked.read_state()["rounds"]
    assert committed["row"]["labelled"] == 3 and committed["files"]["labels.parquet"] != digest
    assert answered[-1] not in asked.read_labels(0), "a round's snapshot is what it has trained on"
    assert free[-1] not in asked.list_asked(1)


def test_a_project_that_was_moved_with_its_run_goes_on(trained, tmp_path):
    moved = Path(shutil.copytree(trained.cwd, tmp_path / "elsewhere"))
    refused = llpp("label", "discs", *WORDS, cwd=moved)
    assert refused.returncode == 2 and "asked for by the run" in refused.stderr, "both are there"
    shutil.rmtree(trained.cwd)
    done = llpp("label", "discs", *WORDS, cwd=moved)
    trained.cwd.mkdir()
    assert last_line(done).startswith("awaiting labels: round 1, 0 of 4 answered")
    assert json.loads((moved / "labelling/discs/project.json").read_text())["run"] == str(moved / "runs/discs/seed0")


def test_files_that_nobody_can_use_stop_no_import(trained):
    inbox = trained.folder / "inbox"
    entity = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><annotations>&b;</annotations>'
    (inbox / "evil.xml").write_text(entity)
    (inbox / "half.json").write_text('{"images": [{"id": 1')
    (inbox / "notes.txt").write_text("hello")
    (inbox / "pickle.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/unpickled'\ntR.")
    os.mkfifo(inbox / "pipe.json")
    strangers = ["../../etc/passwd.png", "/etc/passwd.png", "0077.png"]
    trained.answer([*strangers, *trained.list_asked(1)[:1]], name="odd.json")
    done = label(trained)
    assert last_line(done).startswith("awaiting labels: round 1, 1 of 4 answered"), done.stderr
    with (trained.folder / "rejected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"evil.xml", "half.json", "odd.json"} <= {row["file"] for row in rows}
    assert [row["nearest known name"] for row in rows if row["entry"] == "0077.png"] == ["007.png"]
    assert all(row["reason"] for row in rows)


def make_film(path):
    """3 seconds of figures."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 72))
    for number in range(30):
        writer.write(picture(number)[:, :, ::-1].copy())
    writer.release()


def test_a_film_that_comes_later_joins_the_pool(trained):
    make_film(trained.root / "film.avi")
    trained.answer(trained.list_asked(1))
    assert last_line(label(trained)).startswith("awaiting labels: round 2, 0 of ")
    assert any(image.startswith("film.avi#") for image in trained.list_asked(2)), trained.list_asked(2)


def test_frames_that_are_too_near_to_another_split_are_no_training_images(tmp_path):
    discs = Discs(tmp_path, count=0)
    make_film(discs.root / "film.avi")
    assert last_line(label(discs)).startswith("awaiting labels: round 0, 0 of ")
    index = read_index(discs.folder / "index.parquet")
    apart = np.flatnonzero(index.condition == CONDITIONS.index("apart"))
    assert len(apart) > 1
    discs.write_coco(
        [(index.ids[row], points(0), (1, 1, 50, 50)) for row in apart], discs.folder / "inbox/apart.json"
    )
    done = label(discs, "label.enough=0")
    assert len(discs.read_journal()) == len(apart)
    assert "0 images are labelled for training, and a round needs 2" in last_line(done)
    # So the next start reads what is labelled by then, instead of a round that cannot be trained.
    discs.write_coco(
        [(image, points(0), (1, 1, 50, 50)) for image in discs.list_asked(0)], discs.folder / "inbox/b.json"
    )
    assert last_line(label(discs)).startswith("awaiting labels: round 1, 0 of ")


def test_a_batch_without_room_for_new_images_says_how_many_are_open(trained):
    asked = {*trained.list_asked(0), *trained.list_asked(1)}
    names = sorted({path.name for path in trained.cwd.rglob("0*.png")} - asked)
    trained.answer(names[:2], name="own.json")
    done = label(trained, "label.enough=0", "budget=4")
    assert trained.list_asked(2) == []
    assert "asks for no images, because 8 of earlier batches are open; label them" in last_line(done)


def test_persons_in_one_image_are_asked_for_together_and_keep_their_ids(tmp_path):
    discs = Discs(tmp_path, count=10)
    left, right, corner = (0, 0, 45, 60), (48, 0, 45, 60), (70, 60, 20, 10)
    images = [f"{number:03d}.png" for number in range(10)]
    joints = np.array([[10, 10], [30, 20], [10, 20], [30, 50], [10, 50]])
    both = [(image, joints, box) for image in images for box in (left, right)]
    boxes = discs.write_coco(both, tmp_path / "boxes.json")
    words = (f"boxes={boxes}", "joints=skeleton.yaml")
    assert last_line(label(discs, *words)).startswith("awaiting labels: round 0, 0 of 8 answered")

    # The right person first, and one whom the detector has missed in one of the images.
    asked = discs.list_asked(0)
    answers = [(asked[-1], joints // 4 + np.array([72, 58]), corner)]
    for image in asked:
        answers += [(image, joints + np.array([48, 0]), right), (image, joints, left)]
    discs.write_coco(answers, discs.folder / "inbox/answers.json")
    done = label(discs, *words)
    assert last_line(done).startswith("awaiting labels: round 1, 0 of "), done.stdout
    persons = {
        entry["image"]: {person["id"]: person for person in entry["persons"]} for entry in discs.read_journal()
    }
    expected = {f"{asked[0]}#1", f"{asked[0]}#2"}
    assert persons[asked[0]].keys() == expected
    assert persons[asked[0]][f"{asked[0]}#2"]["joints"]["nose"] == [58, 10, 2]
    assert persons[asked[-1]].keys() == {f"{asked[-1]}#1", f"{asked[-1]}#2", f"{asked[-1]}#h1"}
    roles = [row["role"] for row in read_asked(tmp_path, "discs", 0)]
    (committed,) = discs.read_state()["rounds"]
    assert committed["row"]["labelled"] == 2 * roles.count("train") + 1
    # All boxes of each image that is asked for.
    selected = committed["selected"]
    assert {name.rpartition("#")[0] for name in selected} == set(discs.list_asked(1)) & set(images)
    assert len(selected) == 2 * len({name.rpartition("#")[0] for name in selected})


def test_two_people_get_a_file_each_and_where_they_differ_the_newest_answer_counts(tmp_path):
    discs = Discs(tmp_path)
    words = ("label.annotators=2", "label.overlap=0.5")
    assert last_line(label(discs, *words)).startswith("awaiting labels: round 0, 0 of 8 answered")
    batches = []
    for part in (1, 2):
        content = json.loads((discs.folder / f"round_00/to_label_{part}.json").read_text())
        batches.append([row["file_name"] for row in content["images"]])
    shared = set(batches[0]) & set(batches[1])
    assert len(shared) == 4 and set(batches[0]) | set(batches[1]) == set(discs.list_asked(0))

    first = discs.answer(batches[0], name="jane.json")
    second = discs.answer(batches[1], name="joe.json", move=2)
    for number, path in enumerate((first, second)):
        os.utime(path, (1_800_000_000 + number, 1_800_000_000 + number))
    assert last_line(label(discs, *words)).startswith("awaiting labels: round 1, 0 of 8 answered")
    assert len(discs.read_journal()) == 12, "both answers stay"
    for image, joints in discs.read_labels(0).items():
        assert joints == move_right(image, 2 if image in batches[1] else 0)
