"""A project whose images are all labelled: the last labels are trained with, and replayed to compare methods."""

import json

import pytest
from helpers.cli import llpp
from helpers.project_folders import JOINTS, make_images

pytestmark = pytest.mark.slow
SMALL = ("crop.size=64", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1")


def answer(batch, inbox):
    """Label all images of a batch, as a COCO editor saves them."""
    content = json.loads((batch / "to_label.json").read_text())
    for number, image in enumerate(content["images"]):
        points = []
        for place in range(len(JOINTS)):
            points += [5 + number % 7 + 3 * place, 4 + 2 * place, 2]
        annotation = {
            "id": number + 1,
            "image_id": image["id"],
            "category_id": content["categories"][0]["id"],
            "bbox": [0, 0, image["width"], image["height"]],
            "keypoints": points,
            "num_keypoints": len(JOINTS),
        }
        content["annotations"].append(annotation)
    (inbox / "export.json").write_text(json.dumps(content))


def read_last_line(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_the_last_labels_are_trained_with_and_can_be_replayed(tmp_path):
    make_images(tmp_path / "mice", 16)
    joints = f"joints=[{','.join(JOINTS)}]"
    first = llpp("label", "mice", joints, "tool=coco", "budget=16", "label.least=4", *SMALL, cwd=tmp_path)
    assert "0 of 16 answered" in read_last_line(first)
    folder = tmp_path / "labelling" / "mice"
    answer(folder / "round_00", folder / "inbox")

    for _ in range(2):
        last = read_last_line(llpp("label", "mice", cwd=tmp_path))
        assert last.startswith("nothing is left to ask for: 16 labelled")
    state = json.loads((tmp_path / "runs" / "mice" / "seed0" / "state.json").read_text())
    assert len(state["rounds"]) == 1 and state["rounds"][0]["selected"] == []

    words = ("experiment=label", "dataset.root=mice", "oracle=simulated", "acquisition=predicted_loss", *SMALL)
    replay = llpp("run", *words, "rounds=2", "initial=4", "budget=2", "name=replay", cwd=tmp_path)
    assert replay.returncode == 0, replay.stderr
    state = json.loads((tmp_path / "runs" / "replay" / "seed0" / "state.json").read_text())
    assert [len(done["selected"]) for done in state["rounds"]] == [2, 0]
