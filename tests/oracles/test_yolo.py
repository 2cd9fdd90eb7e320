"""Editors of YOLO pose files: a text file per image."""

import re

import pytest
import yaml
from helpers.small_batches import NOSE_AND_EAR, OPTIONS, SAMPLES, SKELETON, make_batch, needs_samples

from llpp.errors import DataError
from llpp.oracles.tool import ReadOptions, WriteOptions
from llpp.oracles.yolo import YoloTool

TOOL = YoloTool()
FIVE = ReadOptions(("head", "neck", "center", "tail_base", "tail_tip"))


def write_labels(tmp_path, text, name="labels/image.txt"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read_one(path, options=OPTIONS):
    labels = TOOL.read(path, options)
    assert not labels.rejections
    return labels.entries[0]


@needs_samples
def test_persons_of_a_real_folder_are_read_with_their_boxes():
    folder = SAMPLES / "yolo_pose/ultralytics"
    entry = read_one(folder / "train/labels/image_002.txt", FIVE)
    assert entry.names == ((folder / "train/images/image_002.jpg").as_posix(),)
    assert (entry.status, entry.relative, len(entry.persons)) == ("labelled", True, 2)
    assert entry.persons[0].joints["neck"] == (0.28, 0.2, 2)
    assert entry.persons[0].box == pytest.approx((0.1, 0, 0.4, 0.6))
    assert entry.persons[1].joints["tail_base"] == (0.72, 0.8, 1)
    assert "tail_tip" not in entry.persons[1].joints  # visibility 0
    assert len(read_one(folder / "val/labels/image_003.txt", FIVE).persons) == 1


def test_suggestions_are_shares_of_the_image_next_to_the_empty_folder_of_labels(tmp_path):
    """60 × 40 pixels; the box is the smallest one around the joints."""
    written = TOOL.write(make_batch(tmp_path / "mice"), tmp_path / "batch", WriteOptions())
    assert written[0] == tmp_path / "batch/data.yaml"
    assert not list((tmp_path / "batch/labels").iterdir())
    suggested = tmp_path / "batch/suggested/0000_frame-0.txt"
    assert list(suggested.parent.iterdir()) == [suggested]
    words = suggested.read_text().split()
    box = [(10.25 + 12) / 2 / 60, (20.5 + 15.75) / 2 / 40, 1.75 / 60, 4.75 / 40]
    expected = [0, *box, 10.25 / 60, 20.5 / 40, 2, 12 / 60, 15.75 / 40, 1, 0, 0, 0]
    assert [float(word) for word in words] == pytest.approx(expected, abs=1e-8)


def test_data_yaml_names_the_joints_and_how_they_are_mirrored(tmp_path):
    data = yaml.safe_load(
        TOOL.write(make_batch(tmp_path / "mice"), tmp_path / "batch", WriteOptions())[0].read_text()
    )
    assert data["kpt_shape"] == [3, 3]
    assert data["flip_idx"] == [0, 2, 1]
    assert data["kpt_names"] == {0: list(SKELETON.joints)}
    listed = (tmp_path / "batch" / data["train"]).read_text().splitlines()
    assert listed == ["./images/0000_frame-0.png", "./images/0001_frame-1.jpg"]


def test_an_empty_file_says_that_nobody_is_there(tmp_path):
    path = write_labels(tmp_path, " \n")
    assert TOOL.recognises(path, path.read_bytes())
    assert read_one(path).status == "empty"
    assert not TOOL.recognises(write_labels(tmp_path, "", "notes.txt"), b"")


def test_joints_without_visibility_are_visible_unless_they_have_no_position(tmp_path):
    path = write_labels(tmp_path, "0 .5 .5 1 1 .25 .5 0 0 -1 -1\n")
    assert read_one(path).persons[0].joints == {"nose": (0.25, 0.5, 2)}


def test_one_is_visible_where_visibility_is_binary(tmp_path):
    path = write_labels(tmp_path, "0 .5 .5 1 1 .25 .5 1 0 0 0 0 0 0\n")
    assert read_one(path).persons[0].joints["nose"] == (0.25, 0.5, 1)
    assert read_one(path, ReadOptions(SKELETON.joints, visibility="binary")).persons[0].joints["nose"] == (
        0.25,
        0.5,
        2,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 1 1 .1 .1 2 .2 .2 2 .3", "a line has 12 numbers, expected 14, or 11 without visibility"),
        ("0 .5 .5 1 1", "expected 14"),
        ("0 .5 .5 1 1 .1 .1 .93 .2 .2 .9 .3 .3 .8", "visibility of nose is 0.93.*predictions are no labels"),
        ("0 .5 .5 1 1 0 0 0 0 0 0 0 0 0", "no joint of it is labelled"),
        ("0 .5 .5 1 1 nan .1 2 .2 .2 2 .3 .3 2", "in numbers"),
    ],
)
def test_a_line_that_is_no_label_rejects_the_file_with_a_reason(tmp_path, line, message):
    labels = TOOL.read(write_labels(tmp_path, line), OPTIONS)
    assert not labels.entries
    assert re.search(message, labels.rejections[0].reason)


def test_half_pixels_need_the_size_of_the_image(tmp_path):
    """60 × 40 pixels."""
    options = ReadOptions(OPTIONS.joints, half_pixel=True)
    batch = make_batch(tmp_path / "mice", persons=((NOSE_AND_EAR,),))
    path = write_labels(tmp_path, "0 .5 .5 1 1 .25 .5 2 0 0 0 0 0 0\n", "batch/labels/0000_frame-0.txt")
    assert "needs the image" in TOOL.read(path, options).rejections[0].reason
    (tmp_path / "batch/images").mkdir()
    batch.images[0].path.rename(tmp_path / "batch/images/0000_frame-0.png")
    assert read_one(path, options).persons[0].joints["nose"] == pytest.approx((0.25 - 0.5 / 60, 0.5 - 0.5 / 40, 2))


def test_split_batches_have_folders_of_their_own_and_say_whose_they_are(tmp_path):
    TOOL.write(make_batch(tmp_path / "mice"), tmp_path / "batch", WriteOptions(part="_2"))
    path = write_labels(tmp_path, "", "batch/labels_2/0000_frame-0.txt")
    assert TOOL.list_answer_files(tmp_path / "mice", [tmp_path / "batch"]) == [path]
    assert read_one(path).annotator == "2"


def test_other_text_files_are_nobodys_labels(tmp_path):
    for text in ("three steps\n", "1 2 3\n", "0.5 0.5 0.5 0.5 nan\n"):
        path = write_labels(tmp_path, text)
        assert not TOOL.recognises(path, path.read_bytes())


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = write_labels(tmp_path, "")
    path.write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match="cannot be read"):
        TOOL.read(path, OPTIONS)
