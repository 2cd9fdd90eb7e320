"""People label batch by batch and type the same command again; whatever interrupts it, their labels are all there."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from helpers.cli import llpp
from helpers.command import Command
from helpers.label_kills import Appending, Replacing, Training
from helpers.label_projects import READY, SHARED, TINY, Athletes, Mice, OpenField, read_asked

from llpp.journal.snapshot import STATES, read_snapshot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published labels of ../shared/data"),
]
KILLS = int(os.environ.get("LLPP_FAULT_KILLS", "2"))  # make faults takes 30
LONG = pytest.mark.skipif(KILLS < 10, reason="takes minutes: make faults")
ROUNDS = 3

# In the order of time, so that each start gets a little farther than the one before it.
FIRST_START = (
    Replacing("before", "project.json"),
    Replacing("after", "project.json"),
    Replacing("before", "index.parquet"),
    Replacing("before", "rejected.csv"),
    Replacing("before", "README.txt"),
    Replacing("after", "batch.html"),
    Replacing("before", "asked.csv"),
    Replacing("after", "asked.csv"),
)
ANSWERS = (
    Replacing("after", "index.parquet"),
    Appending("before"),
    Appending("half"),
    Appending("after"),
    Replacing("after", "rejected.csv"),
    Replacing("before", "labels.parquet"),
    Replacing("after", "labels.parquet"),
)
ROUND = (
    Training(),
    Replacing("after", "last.ckpt"),
    Replacing("before", "predictions.parquet"),
    Replacing("before", "state.json", call=2),
    Replacing("after", "state.json", call=2),
)
EXPORT = (
    Replacing("before", "README.txt"),
    Replacing("after", "batch.html"),
    Replacing("before", "suggested.json"),
    Replacing("before", "asked.csv"),
    Replacing("after", "asked.csv"),
)
QUEUE = "CollectedData.unlabeled.jsonl"
TOOLS = {
    Mice: (Replacing("before", QUEUE), Replacing("after", QUEUE), Replacing("before", "asked_queue.json")),
    OpenField: (Replacing("before", "*.png", call=2), Replacing("before", "asked_by_llpp.txt")),
    Athletes: (Replacing("before", "images/*.jpg", call=2), Replacing("after", "to_label.json")),
}
BUDGETS = {Mice: 20, OpenField: 12, Athletes: 16}


def list_moments(kind, number):
    """When the start after batch `number - 1` is killed, in the order of time; `make faults` takes all of them.

    Otherwise one tool has each moment once, in one round or another, and the others have those of their own files.
    """
    if number == 0:
        every = (*FIRST_START[:4], *TOOLS[kind], *FIRST_START[4:])
    else:
        every = (*ANSWERS, *ROUND, *TOOLS[kind], *EXPORT)
    if KILLS >= 10 or (kind is Mice and number == 0):
        return every
    if kind is Mice:
        return every[number - 1 :: ROUNDS]
    return {0: TOOLS[kind], 1: (Appending("half"), Replacing("after", "state.json", call=2), *TOOLS[kind])}.get(
        number, ()
    )


def start(project, cwd, *words, **more):
    """`llpp label FOLDER …`, waited for."""
    budget = f"budget={BUDGETS[type(project)]}"
    return llpp("label", project.name, *project.words, budget, *TINY, *READY, *words, cwd=cwd, **more)


def answer_half(project, cwd, number):
    """Answer every second image of a batch that has published labels, and return the ids."""
    answerable = [row for row in read_asked(cwd, project.name, number) if row["id"] in project.published]
    project.answer(cwd, number, answerable[::2])
    return [row["id"] for row in answerable[::2]]


def travel(project, cwd, interrupt):
    """Label for some rounds and return the ids that were answered; `interrupt(number)` comes before each start."""
    cwd.mkdir()
    project.make(cwd)
    answered = []
    for number in range(ROUNDS + 1):
        interrupt(number)
        done = start(project, cwd)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith(f"awaiting labels: round {number}, 0 of ")
        if number < ROUNDS:
            answered += answer_half(project, cwd, number)
    return answered


def read_files(project, cwd):
    """All that must not depend on interruptions, by path: what people see, what they said, what was trained on."""
    files = {}
    for pattern in (f"labelling/{project.name}/**/*", f"{project.name}/**/*", "runs/**/labels.parquet"):
        for path in cwd.glob(pattern):
            if path.is_file() and "lock" not in path.name:
                files[path.relative_to(cwd).as_posix()] = path.read_bytes()
    return files


def read_rounds(project, cwd):
    """What was committed: numbers without times, selected images, and digests of weights, scores and labels."""
    state = json.loads((cwd / f"runs/{project.name}/seed0/state.json").read_text())
    rounds = []
    for committed in state["rounds"]:
        numbers = {name: value for name, value in committed["row"].items() if not name.startswith("seconds")}
        facts = {**numbers, "ids": committed["selected"], **committed["files"]}
        rounds += [(committed["number"], name, value) for name, value in facts.items()]
    return rounds


def compare(files, others):
    assert sorted(files) == sorted(others)
    assert [name for name in files if files[name] != others[name]] == []


def check_labels(project, cwd, answered):
    """The journal has each answer once, as it was published, and nothing else."""
    lines = (cwd / f"labelling/{project.name}/labels.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert sorted(entry["image"] for entry in entries) == sorted(answered)
    for entry in entries:
        (person,) = entry["persons"]
        published = project.published[entry["image"]]
        assert person["joints"].keys() == published.keys(), entry["image"]
        for joint, (x, y, visible) in person["joints"].items():
            assert (x, y) == pytest.approx(published[joint], abs=project.tolerance or 1e-9, rel=0)
            assert visible == 2
        assert (entry["kind"], entry["origin"]) == ("labelled", "drawn")


def check_rounds(project, cwd, answered):
    """Each round has trained on all labels of training images by then, and on none of those for testing."""
    roles = {}
    for number in range(ROUNDS + 1):
        roles |= {row["id"]: row["role"] for row in read_asked(cwd, project.name, number)}
    assert len(roles) == sum(len(read_asked(cwd, project.name, number)) for number in range(ROUNDS + 1)), (
        "asked twice"
    )
    run = cwd / f"runs/{project.name}/seed0"
    state = json.loads((run / "state.json").read_text())
    assert len(state["rounds"]) == ROUNDS
    known = 0
    for number, committed in enumerate(state["rounds"]):
        snapshot = read_snapshot(run / f"round_{number:02d}/labels.parquet")
        is_labelled = snapshot.state == STATES.index("labelled")
        labelled = list(snapshot.images.take(np.flatnonzero(is_labelled)))
        assert set(labelled) <= set(answered) and len(labelled) > known
        known = len(labelled)
        train = [image for image in labelled if roles[image] == "train"]
        tested = read_ids(run / f"round_{number:02d}/test.parquet")
        assert sorted(tested) == sorted(set(labelled) - set(train))
        assert committed["row"]["labelled"] == len(train)
        assert not any(roles[image] == "test" for image in committed["selected"] if image in roles)
    assert known == len(answered)


def read_ids(path):
    import pyarrow.parquet as pq

    return pq.read_table(path)["id"].to_pylist()


@pytest.mark.parametrize("kind", TOOLS)
def test_no_label_is_lost_or_invented_however_often_the_command_is_killed(kind, tmp_path):
    project = kind()
    cwd = tmp_path / "journey"
    answered = travel(project, cwd, lambda number: None)
    check_labels(project, cwd, answered)
    check_rounds(project, cwd, answered)
    files = read_files(project, cwd)
    expected = read_rounds(project, cwd)
    # The same place, since files name it.
    cwd.rename(tmp_path / "twin")

    def interrupt(number):
        for moment in list_moments(kind, number):
            killed = start(project, cwd, moment=moment)
            assert killed.returncode == -signal.SIGKILL, f"{moment}: {killed.stdout} {killed.stderr}"

    assert travel(project, cwd, interrupt) == answered
    compare(read_files(project, cwd), files)
    assert [fact for fact in read_rounds(project, cwd) if fact not in expected] == []


@LONG
@pytest.mark.parametrize("seed", range(KILLS // 6))
def test_no_label_is_lost_or_invented_when_the_command_is_killed_at_any_moment(seed, tmp_path):
    project = Mice()
    cwd = tmp_path / "journey"
    since = time.monotonic()
    answered = travel(project, cwd, lambda number: None)
    seconds = (time.monotonic() - since) / (ROUNDS + 1)
    files = read_files(project, cwd)
    cwd.rename(tmp_path / "twin")
    moments = random.Random(seed)
    assert travel(project, cwd, lambda number: kill_twice(project, cwd, moments, seconds)) == answered
    compare(read_files(project, cwd), files)


def kill_twice(project, cwd, moments, seconds):
    """Start the command and kill it somewhere in the time that it takes, two times."""
    for _ in range(2):
        words = (*project.words, f"budget={BUDGETS[type(project)]}", *TINY, *READY)
        process = Command("label", project.name, *words, cwd=cwd, output=cwd.parent)
        time.sleep(moments.uniform(0, 1.2 * seconds))
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


@LONG
@pytest.mark.parametrize("seed", range(KILLS // 6))
def test_labels_that_people_save_between_kills_are_all_there(seed, tmp_path):
    project = Mice()
    cwd = tmp_path / "journey"
    cwd.mkdir()
    project.make(cwd)
    moments = random.Random(seed)
    names = sorted(project.published)
    moments.shuffle(names)
    saved = []
    while names:
        kill_twice(project, cwd, moments, seconds=1.0)
        # Asked for or not, and in whatever state the command has left its files.
        batch = names[:7]
        del names[:7]
        if (cwd / "mice" / QUEUE).exists():
            project.answer(cwd, len(saved), [{"id": name} for name in batch])
            saved += batch
        start(
            project, cwd, moment=moments.choice((None, Appending("half"), Replacing("after", "state.json", call=2)))
        )
    assert start(project, cwd).returncode == 0
    check_labels(project, cwd, saved)
    for path in cwd.glob("runs/**/labels.parquet"):
        snapshot = read_snapshot(path)
        is_labelled = snapshot.state == STATES.index("labelled")
        assert set(snapshot.images.take(np.flatnonzero(is_labelled))) <= set(saved)
