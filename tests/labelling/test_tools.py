"""A batch goes through the command and each labelling tool, and comes back with one joint moved."""

import importlib
import os

import pytest
from helpers.cli import llpp
from helpers.coco_folders import JOINTS
from helpers.disc_folders import HEIGHT, WIDTH
from helpers.label_projects import READY, TINY, Discs, read_asked

from llpp.config.compose import groups
from llpp.config.labelling import load_tools
from llpp.datasets.project.skeleton_file import build_skeleton
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import read_suggested
from llpp.oracles.tool import AskedImage, LabelBatch, WriteOptions

pytestmark = pytest.mark.slow
TOOLS = [name for name in groups()["oracle"] if name != "simulated"]
JOURNEYS = (
    "coco",
    "deeplabcut",
    "label_studio",
    "lightning_pose",
)  # whose files other tests take through the command
LONG = pytest.mark.skipif(int(os.environ.get("LLPP_FAULT_KILLS", "2")) < 10, reason="takes minutes: make faults")
CASES = [pytest.param(name, marks=[LONG] if name in JOURNEYS else []) for name in TOOLS]


def read_batch(discs, number):
    """A batch, as its tool has written it."""
    suggested = read_suggested(LabellingFolder(discs.folder), number)
    images = []
    for row in read_asked(discs.cwd, "discs", number):
        image = AskedImage(
            image=row["id"],
            path=discs.root / row["id"],
            name=row["file"],
            relative=row["id"],
            size=(WIDTH, HEIGHT),
            role=row["role"],
            rank=int(row["rank"]),
            reason=row["reason"],
            predicted_loss=float(row["predicted_loss"]),
            suggested=suggested[row["id"]],
        )
        images.append(image)
    return LabelBatch("discs", number, build_skeleton(JOINTS, ()), images, discs.root)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_suggestion_is_a_label_and_the_others_are_if_the_user_says_so(name, tmp_path):
    if name in ("sleap", "deeplabcut"):
        pytest.importorskip("h5py", reason="needs the label extra")
    annotator = importlib.import_module(f"helpers.annotators.{name}")
    discs = Discs(tmp_path)

    def label(*words):
        done = llpp("label", "discs", f"tool={name}", "budget=8", *TINY, *READY, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    label()
    # Files of any tool may answer.
    discs.answer(discs.list_asked(0)[::2])
    label("label.suggest=always", "label.blind=0")
    batch = read_batch(discs, 1)
    assert len(batch.images) == 4 and all(image.suggested for image in batch.images)

    tool = next(tool for tool in load_tools() if tool.name == name)
    written = tool.write(batch, discs.folder / "round_01", WriteOptions())
    saved = annotator.save(batch, written, discs.folder / "inbox")
    moved, *others = batch.images
    annotator.move(saved, moved, "nose", (3, -2))
    stdout = label()
    (answer,) = discs.read_journal()[4:]
    assert (answer["image"], answer["origin"], answer["tool"]) == (moved.image, "edited", name), stdout
    x, y, _ = moved.suggested[0].joints["nose"]
    assert answer["persons"][0]["joints"]["nose"][:2] == pytest.approx([x + 3, y - 2], abs=0.02)

    label("label.accept=unchanged")
    accepted = discs.read_journal()[5:]
    # In SLEAP's file predictions are no labels, whether somebody has looked at them or not.
    expected = [] if name == "sleap" else sorted(image.image for image in others)
    assert sorted(answer["image"] for answer in accepted) == expected
    assert all(answer["origin"] == "accepted" for answer in accepted)
