"""Lightning Pose: the queue of its app, and CollectedData.csv."""

import json

import pytest
from helpers.small_batches import NOSE_AND_EAR, OPTIONS, SAMPLES, list_points, make_batch, needs_samples

from llpp.errors import ConfigError, DataError
from llpp.oracles.deeplabcut import DeepLabCutTool
from llpp.oracles.lightning_pose import LightningPoseTool
from llpp.oracles.tool import WriteOptions

TOOL = LightningPoseTool()
MOUSE = SAMPLES / "lightning_pose/mirror-mouse-example"
HEADERS = "scorer,jane,jane,jane,jane\nbodyparts,nose,nose,ear,ear\ncoords,x,y,x,y\n"
FIRST = {
    "frame_path": "day 1/frame 0.png",
    "predictions": {
        "model_name": "llpp round 3",
        "date_time": 0,
        "predictions": [
            {"keypoint_name": "nose", "x": 10.25, "y": 20.5},
            {"keypoint_name": "left_ear", "x": 12.0, "y": 15.75},
        ],
    },
}
SECOND = {"frame_path": "day 1/frame 1.jpg", "predictions": None}


def write(batch, **options):
    return TOOL.write(batch, batch.root.parent / "batch", WriteOptions(**options))


def read_queue(root):
    return [json.loads(line) for line in (root / "CollectedData.unlabeled.jsonl").read_text().splitlines()]


@needs_samples
def test_ninety_frames_of_the_mirror_mouse_are_labelled_and_three_are_not():
    labels = TOOL.read(MOUSE / "CollectedData.csv", OPTIONS)
    assert len(labels.entries) == 90
    first = labels.entries[0]
    assert (first.names, first.status, first.annotator) == (("labeled-data/img01.png",), "labelled", "rick")
    assert first.persons[0].joints["paw1LH_top"] == (77.25, 36.25, 2)
    assert "tailBase_top" not in first.persons[0].joints  # its cells are empty
    labelled = {entry.names[0] for entry in labels.entries}
    pictures = {f"labeled-data/{path.name}" for path in (MOUSE / "labeled-data").glob("*.png")}
    assert sorted(pictures - labelled) == [f"labeled-data/{name}.png" for name in ("img00", "img91", "img92")]


@needs_samples
def test_pandas_finds_the_same_coordinates_in_the_mirror_mouse():
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(MOUSE / "CollectedData.csv", header=[0, 1, 2], index_col=0)
    for entry in TOOL.read(MOUSE / "CollectedData.csv", OPTIONS).entries:
        row = frame.loc[entry.names[0]].dropna()
        expected = {(joint, axis): value for (_, joint, axis), value in row.items()}
        found = {}
        for joint, (x, y) in list_points(entry)[0].items():
            found[joint, "x"] = x
            found[joint, "y"] = y
        assert found == expected


def test_a_batch_joins_the_queue_in_its_order_and_leaves_the_lines_of_others(tmp_path):
    batch = make_batch(tmp_path / "mice")
    others = ['{"frame_path": "labeled-data/v/img1.png",  "predictions": null}', "no JSON at all"]
    queue = tmp_path / "mice/CollectedData.unlabeled.jsonl"
    queue.write_text("\n".join(others) + "\n")
    assert write(batch)[0] == queue
    lines = queue.read_text().splitlines()
    assert lines[:2] == others
    assert [json.loads(line) for line in lines[2:]] == [FIRST, SECOND]
    before = queue.read_bytes()
    write(batch)
    assert queue.read_bytes() == before


def test_another_models_prediction_of_an_asked_frame_is_kept(tmp_path):
    batch = make_batch(tmp_path / "mice")
    other = {"frame_path": "day 1/frame 1.jpg", "predictions": {"model_name": "resnet50", "predictions": []}}
    (tmp_path / "mice/CollectedData.unlabeled.jsonl").write_text(json.dumps(other) + "\n")
    write(batch)
    assert read_queue(tmp_path / "mice") == [other, FIRST]


def test_a_frame_that_is_labelled_already_is_not_queued_again(tmp_path):
    """As after an interruption between the queue and the batch's own table."""
    batch = make_batch(tmp_path / "mice")
    (tmp_path / "mice/CollectedData.csv").write_text(HEADERS + "day 1/frame 0.png,1,2,3,4\n")
    write(batch)
    assert read_queue(tmp_path / "mice") == [SECOND]


def test_a_queue_that_cannot_be_read_is_not_replaced(tmp_path):
    batch = make_batch(tmp_path / "mice")
    queue = tmp_path / "mice/CollectedData.unlabeled.jsonl"
    queue.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="repair or remove it"):
        write(batch)
    assert queue.read_bytes() == b"\xff\xfe"


def test_frames_elsewhere_are_copied_into_the_project(tmp_path):
    batch = make_batch(tmp_path / "mice", inside=False)
    write(batch)
    names = ["labeled-data/llpp_mice_round_03/0000_frame-0.png", "labeled-data/llpp_mice_round_03/0001_frame-1.jpg"]
    assert [line["frame_path"] for line in read_queue(tmp_path / "mice")] == names
    for name, image in zip(names, batch.images, strict=True):
        assert (tmp_path / "mice" / name).read_bytes() == image.path.read_bytes()


def test_nothing_but_the_queue_changes_in_the_project(tmp_path):
    batch = make_batch(tmp_path / "mice")
    labels = tmp_path / "mice/CollectedData.csv"
    labels.write_text(HEADERS)
    before = {path for path in (tmp_path / "mice").rglob("*")}
    write(batch)
    assert {path for path in (tmp_path / "mice").rglob("*")} - before == {
        tmp_path / "mice/CollectedData.unlabeled.jsonl"
    }
    assert labels.read_text() == HEADERS


def test_a_frame_that_was_taken_off_the_queue_without_a_label_is_skipped(tmp_path):
    batch = make_batch(tmp_path / "mice", persons=((NOSE_AND_EAR,), (), ()))
    queue, asked = write(batch)
    labels = tmp_path / "mice/CollectedData.csv"
    labels.write_text(HEADERS + "day 1/frame 0.png,1,2,3,4\n")
    lines = queue.read_text().splitlines(keepends=True)
    queue.write_text(lines[2])
    skipped = TOOL.read(asked, OPTIONS).entries
    assert [(entry.names, entry.status) for entry in skipped] == [(("day 1/frame 1.jpg",), "skipped")]
    assert TOOL.list_answer_files(tmp_path / "mice", [asked.parent]) == [labels, asked]

    queue.unlink()
    assert not TOOL.read(asked, OPTIONS).entries


def test_the_third_coordinate_says_which_joints_have_a_position(tmp_path):
    """visible 1 is a joint that is somewhere: its coordinates mean nothing."""
    path = tmp_path / "CollectedData.csv"
    headers = "scorer" + ",jane" * 9 + "\nbodyparts,a,a,a,b,b,b,c,c,c\ncoords" + ",x,y,visible" * 3 + "\n"
    path.write_text(headers + "img1.png,1,2,2,3,4,1,5,6,0\nimg2.png,,,0,3,4,,,,\nimg3.png,1,2,7,,,,,,\n")
    labels = TOOL.read(path, OPTIONS)
    assert [list_points(entry) for entry in labels.entries] == [[{"a": (1, 2)}], [{"b": (3, 4)}]]
    assert labels.rejections[0].reason == "visible of 'a' is 7; expected 0, 1 or 2"
    assert labels.remarks[0].startswith("1 joints are marked as occluded")


@pytest.mark.parametrize(
    ("name", "text", "is_ours"),
    [
        ("CollectedData.csv", HEADERS + "labeled-data/film/img1.png,1,2,3,4\n", True),
        ("CollectedData_top.csv", HEADERS + "labeled-data/film/img1.png,1,2,3,4\n", True),
        ("CollectedData_jane.csv", HEADERS + "labeled-data/film/img1.png,1,2,3,4\n", False),
        ("mine.csv", HEADERS + "labeled-data/film/img1.png,1,2,3,4\n", False),
        ("mine.csv", HEADERS + "labeled-data/img1.png,1,2,3,4\n", True),
        ("mine.csv", "scorer,j,j,j\nbodyparts,a,a,a\ncoords,x,y,visible\nlabeled-data/film/1.png,1,2,2\n", True),
        ("mine.csv", "scorer,,,j,j\nbodyparts,,,a,a\ncoords,,,x,y\nlabeled-data,film,1.png,1,2\n", False),
    ],
)
def test_a_table_is_of_one_tool(tmp_path, name, text, is_ours):
    path = tmp_path / name
    assert TOOL.recognises(path, text.encode()) is is_ours
    assert DeepLabCutTool().recognises(path, text.encode()) is not is_ours


def test_labels_of_every_view_are_listed(tmp_path):
    (tmp_path / "project.yaml").write_text("view_names: [top, ../side, bottom]\n")
    for name in ("CollectedData_top.csv", "CollectedData_bottom.csv", "predictions.csv"):
        (tmp_path / name).write_text(HEADERS)
    listed = TOOL.list_answer_files(tmp_path, [])
    assert [path.name for path in listed] == ["CollectedData_top.csv", "CollectedData_bottom.csv"]


def test_views_and_several_animals_cannot_be_asked_for(tmp_path):
    batch = make_batch(tmp_path / "mice", persons=((NOSE_AND_EAR, NOSE_AND_EAR),))
    with pytest.raises(ConfigError, match=r"2 individuals.*tool=label_studio"):
        write(batch)
    (tmp_path / "mice/project.yaml").write_text("view_names: [top, bottom]\n")
    with pytest.raises(ConfigError, match=r"views top, bottom.*tool=label_studio"):
        write(batch)


def test_predictions_of_the_app_never_count_as_labels(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("scorer,m,m,m\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,0.9\n")
    labels = TOOL.read(path, OPTIONS)
    assert not labels.entries
    assert "predictions" in labels.rejections[0].reason


def test_a_damaged_list_of_what_was_asked_is_refused(tmp_path):
    asked = write(make_batch(tmp_path / "mice"))[1]
    asked.write_text(asked.read_text()[:-20])
    with pytest.raises(DataError, match="is damaged"):
        TOOL.read(asked, OPTIONS)
