"""`llpp.load`: a finished run predicts images, with the numbers that the run itself found."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.disc_folders import folder, picture
from helpers.experiments import FIGURES, tiny
from helpers.turned_jpegs import encode, store

import llpp
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.merged import MergedDataset
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError, DataError, StateError
from llpp.rounds import loop

OLD = Path(__file__).parents[1] / "run_dir/run_before_the_move"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose last round has tested its images, in six views of each."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    loop.run_rounds(tiny(run_dir, *FIGURES, "rounds=1", "trainer.precision=32-true", "scoring.views=six"))
    return run_dir


def figures():
    return SyntheticFigures(size=48, initial=12, pool=24, val=4, test=8)


@pytest.mark.slow
def test_predicted_losses_are_those_of_the_run(finished):
    data = figures()
    table = pq.read_table(finished / "round_00/test.parquet").to_pydict()
    rows = data.records.ids.find_rows(table["id"]).tolist()
    run = llpp.load(finished)
    images, boxes = [data.load(row) for row in rows], [data.records.boxes[row] for row in rows]
    found = list(run.predict(images, boxes, batch_size=3))
    assert [p.predicted_loss for p in found] == pytest.approx(table["predicted_loss"], rel=1e-4)
    assert found[0].joints.shape == (14, 2)
    watched = pq.read_table(finished / "round_00/watched.parquet").to_pydict()
    joints = dict(zip(watched["id"], watched["joints"], strict=True))
    for name, one in zip(table["id"], found, strict=True):
        assert one.joints.reshape(-1).tolist() == pytest.approx(joints[name], abs=0.01), "of the averaged maps"


@pytest.mark.slow
def test_a_path_is_read_and_a_whole_image_is_cropped_without_a_box(finished, tmp_path):
    pixels = figures().load(0)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    run = llpp.load(finished)
    one, other = run.predict([tmp_path / "a.png", pixels], boxes=[None, None])
    assert one.predicted_loss == other.predicted_loss and np.array_equal(one.joints, other.joints)
    (boxed,) = run.predict([pixels], boxes=[(10, 10, 20, 20)])
    assert not np.allclose(boxed.joints, one.joints)


@pytest.mark.slow
@pytest.mark.parametrize(("orientation", "is_upright"), [("auto", True), ("file", False)])
def test_files_are_read_the_way_up_that_the_run_has_learned(tmp_path, orientation, is_upright):
    settings = ("pck=box", "rounds=1", "initial=4", "budget=2", "trainer.precision=32-true", "data.batch_size=2")
    chosen = ("dataset=coco", f"dataset.root={folder(tmp_path / 'data')}", f"dataset.orientation={orientation}")
    loop.run_rounds(tiny(tmp_path / "run", *settings, *chosen, dataset=()))
    upright = picture(3)
    stored = np.ascontiguousarray(store(upright, 3))  # half a turn
    (tmp_path / "a.png").write_bytes(encode(stored, 3))
    run = llpp.load(tmp_path / "run")
    by_path, by_upright_pixels, by_stored_pixels = run.predict([tmp_path / "a.png", upright, stored])
    expected, other = by_upright_pixels, by_stored_pixels
    if not is_upright:
        expected, other = other, expected
    # A JPEG has not quite the pixels that were encoded, and the flat maps of such a network let single joints jump.
    distance = np.median(np.abs(by_path.joints - expected.joints))
    assert distance < np.median(np.abs(by_path.joints - other.joints))


def test_new_files_are_read_as_those_of_a_merged_datasets_first_part(tmp_path):
    made = {}
    for name, orientation, white in (("a", "upright", 4095), ("b", "file", 1023)):
        made[name] = CocoKeypoints(folder(tmp_path / name), orientation=orientation, white=white)
    merged = MergedDataset(made)
    assert merged.new_reading.orientation == "upright" and merged.pixels.white == 4095


@pytest.mark.slow
def test_an_older_run_loads():
    (found,) = llpp.load(OLD).predict([np.zeros((48, 48, 3), np.uint8)])
    assert found.joints.shape == (14, 2) and np.isfinite(found.predicted_loss)


@pytest.mark.slow
def test_wrong_input_is_a_sentence(finished, tmp_path):
    run = llpp.load(finished)
    for images, boxes, sentence in (
        (["nothing.jpg"], None, "image nothing.jpg is missing"),
        ([np.zeros((4, 4))], None, r"an image is float64 of shape \(4, 4\); expected a path, or RGB pixels"),
        ([None], None, "an image is NoneType"),
        ([np.zeros((4, 4, 3), np.uint8)], [], "got 0 boxes for 1 images"),
        ([np.zeros((4, 4, 3), np.uint8)], [(1, 2)], "expected x, y, width and height"),
        ([np.zeros((0, 4, 3), np.uint8)], None, r"an image is uint8 of shape \(0, 4, 3\)"),
        ([np.zeros((4, 8, 3), np.uint8)], [(9, 0, 5, 5)], r"\(9, 0, 5, 5\) is outside of its image of 8 × 4 pixels"),
        ([np.zeros((4, 8, 3), np.uint8)], [(1, 1, np.inf, 2)], r"box \(1, 1, inf, 2\) is outside .*, or has no size"),
    ):
        with pytest.raises(DataError, match=sentence):
            list(run.predict(images, boxes))
    with pytest.raises(StateError, match=r"is no run directory"):
        llpp.load(tmp_path)


@pytest.mark.slow
def test_nothing_of_a_strangers_run_is_executed(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run/config.yaml"
    path.write_text(path.read_text().replace("llpp.heads.multiscale_conv.MultiscaleConvHead", "os.system"))
    with pytest.raises(ConfigError, match=r"names _target_ 'os.system'"):
        llpp.load(tmp_path / "run")


@pytest.mark.slow
def test_boxes_may_be_an_array(finished):
    data = figures()
    boxes = data.records.boxes[:2]
    images = [data.load(0), data.load(1)]
    run = llpp.load(finished)
    from_array = [found.predicted_loss for found in run.predict(images, boxes)]
    assert from_array == [found.predicted_loss for found in run.predict(images, [tuple(box) for box in boxes])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\nhead:", "\nhad:", "has no section head"),
        ("padding: 1.25", "padding: ${oc.env:HOME}", "has the interpolation"),
        ("channels: 8", "channels: 16", "the weights of .* do not fit the backbone"),
    ],
)
def test_a_config_that_does_not_fit_is_a_sentence(finished, tmp_path, old, new, sentence):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run/config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises((StateError, ConfigError), match=sentence):
        llpp.load(tmp_path / "run")


@pytest.mark.slow
def test_a_damaged_checkpoint_is_a_sentence(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run/round_00/last.ckpt"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(StateError, match=r"last.ckpt is missing or damaged"):
        llpp.load(tmp_path / "run")
