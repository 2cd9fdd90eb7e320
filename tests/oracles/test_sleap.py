"""SLEAP's project files: thirteen real ones, and those that llpp writes."""

import json
import shutil

import h5py
import numpy as np
import pytest
from helpers.annotators import sleap as person
from helpers.small_batches import NOSE_AND_EAR, OPTIONS, SAMPLES, list_points, make_batch, needs_samples, write_image

from llpp.errors import DataError
from llpp.oracles.sleap import SleapTool
from llpp.oracles.tool import AskedImage, LabelBatch, ReadOptions, WriteOptions

TOOL = SleapTool()
PROJECTS = SAMPLES / "sleap/slp"
# Frames that are labelled, persons in them, and frames that only have predictions or are suggested.
COUNTS = {
    "centered_pair_predictions.slp": (0, 0, 1100),
    "imgvideo.slp": (0, 0, 0),
    "labels.v002.rel_paths.slp": (5, 9, 5),
    "labels.v002.slp": (5, 9, 5),
    "minimal_instance.pkg.slp": (1, 2, 0),
    "minimal_instance.slp": (1, 2, 0),
    "multiview.slp": (24, 42, 0),
    "predictions_1.2.7_provenance_and_tracking.slp": (0, 0, 101),
    "py_written_25_identity.slp": (2, 3, 0),
    "py_written_28_multiview3d.slp": (2, 2, 0),
    "reduce.slp": (1, 2, 0),
    "test_grid_labels.legacy.slp": (1, 1, 0),
    "typical.slp": (1, 2, 0),
}


def read(path):
    return TOOL.read(path, OPTIONS)


def write(batch, folder, **options):
    return TOOL.write(batch, folder, WriteOptions(**options))


def list_statuses(path):
    return [(entry.names[0].rpartition("/")[2], entry.status) for entry in read(path).entries]


@needs_samples
def test_all_thirteen_projects_are_there():
    assert {path.name for path in PROJECTS.glob("*.slp")} == COUNTS.keys()


@needs_samples
@pytest.mark.parametrize("name", COUNTS)
def test_user_instances_are_labels_and_predicted_ones_are_not(name):
    content = read(PROJECTS / name)
    assert not content.rejections
    labelled = [entry for entry in content.entries if entry.status == "labelled"]
    persons = sum(len(entry.persons) for entry in labelled)
    waiting = sum(entry.status == "open" for entry in content.entries)
    assert (len(labelled), persons, waiting) == COUNTS[name]


@needs_samples
def test_points_are_named_by_their_nodes():
    """The package has its nodes in another order than its metadata, and the film's frame as an embedded image."""
    project = read(PROJECTS / "minimal_instance.slp").entries[0]
    package = read(PROJECTS / "minimal_instance.pkg.slp").entries[0]
    assert project.persons[0].joints["A"] == pytest.approx((92.65220773, 202.72597774, 2))
    assert package.persons == project.persons
    assert package.names == project.names == ("tests/data/json_format_v1/centered_pair_low_quality.mp4#000000",)


@needs_samples
def test_half_a_pixel_is_taken_off_before_format_1_1():
    """In this file each joint is called as its coordinates are stored."""
    entry = read(PROJECTS / "test_grid_labels.legacy.slp").entries[0]
    joints = entry.persons[0].joints
    assert len(joints) == 3
    for name, (x, y, _) in joints.items():
        assert json.loads(name.replace("(", "[").replace(")", "]")) == [x + 0.5, y + 0.5]


@needs_samples
def test_frames_of_several_films_keep_their_films():
    entries = read(PROJECTS / "multiview.slp").entries
    films = {entry.names[0].rpartition("/")[2].partition("#")[0] for entry in entries}
    assert len(films) == 8
    assert entries[0].names[0].startswith("D:/")
    assert entries[0].names[0].endswith("/min_session_topL.mp4#000000")


@needs_samples
def test_predictions_that_a_person_takes_over_are_where_sleaps_own_export_has_them(tmp_path):
    """The export for analysis has the same 2,274 instances by film frame, track and node."""
    path = tmp_path / "pair.slp"
    shutil.copy(PROJECTS / "centered_pair_predictions.slp", path)
    with h5py.File(path, "r+") as file:
        instances = file["instances"][()]
        instances["instance_type"] = 0
        file["instances"][...] = instances
        predicted = file["pred_points"][()]
        del file["points"]
        file["points"] = predicted[["x", "y", "visible", "complete"]]
    with h5py.File(SAMPLES / "sleap/analysis_h5/centered_pair_standard.analysis.h5") as file:
        nodes = [name.decode() for name in file["node_names"]]
        tracks = file["tracks"][()]  # frame, track, node, x and y
    entries = read(path).entries
    assert sum(len(entry.persons) for entry in entries) == 2274
    for entry in entries[::50]:
        frame = int(entry.names[0].partition("#")[2])
        expected = []
        for track in tracks[frame]:
            joints = {node: tuple(place) for node, place in zip(nodes, track, strict=True) if not np.isnan(place[0])}
            if joints:
                expected.append(sorted(joints.items()))
        found = [sorted(joints.items()) for joints in list_points(entry)]
        assert sorted(found) == sorted(expected)


def test_a_batch_is_suggested_frames_with_predicted_instances(tmp_path):
    path = write(make_batch(tmp_path / "mice"), tmp_path / "batch")[0]
    with h5py.File(path) as file:
        assert [json.loads(text)["frame_idx"] for text in file["suggestions_json"]] == [0, 1]
        backend = json.loads(file["videos_json"][0])["backend"]
        assert backend["filenames"] == ["images/0000_frame-0.png", "images/0001_frame-1.jpg"]
        assert (backend["width_"], backend["height_"]) == (60, 40)
        (instance,) = file["instances"][()]
        assert instance["instance_type"] == 1
        assert instance["score"] == pytest.approx(1 / 1.5)  # 1 / (1 + the predicted loss)
        points = file["pred_points"][()]
        assert points["x"][:2].tolist() == [10.25, 12]
        assert points["visible"].tolist() == [True, True, False]
    assert list_statuses(path) == [("0000_frame-0.png", "open"), ("0001_frame-1.jpg", "open")]


def test_images_of_two_sizes_are_two_videos(tmp_path):
    """A video of SLEAP has one size."""
    batch = make_batch(tmp_path / "mice", persons=((), ()))
    large = write_image(tmp_path / "mice/large.png", 80, 50)
    image = AskedImage("large.png", large, "0002_large.png", "large.png", (80, 50), "test", 3, "random")
    batch = LabelBatch("mice", 0, batch.skeleton, [image, *batch.images], batch.root)
    path = write(batch, tmp_path / "batch")[0]
    with h5py.File(path) as file:
        videos = [json.loads(text)["backend"] for text in file["videos_json"]]
        suggestions = [json.loads(text) for text in file["suggestions_json"]]
    assert [video["filenames"][0] for video in videos] == ["images/0002_large.png", "images/0000_frame-0.png"]
    assert [(suggestion["video"], suggestion["frame_idx"]) for suggestion in suggestions] == [
        ("0", 0),
        ("1", 0),
        ("1", 1),
    ]


def test_sleap_io_reads_our_file_as_we_meant_it(tmp_path):
    """It has 540 MB with all that it needs, and so is seldom there."""
    sleap_io = pytest.importorskip("sleap_io")
    labels = sleap_io.load_slp(str(write(make_batch(tmp_path / "mice"), tmp_path / "batch")[0]), open_videos=False)
    assert [node.name for node in labels.skeletons[0].nodes] == ["nose", "left_ear", "right_ear"]
    assert labels.skeletons[0].edge_inds == [(0, 1), (0, 2)]
    assert [{node.name for node in pair.nodes} for pair in labels.skeletons[0].symmetries] == [
        {"left_ear", "right_ear"}
    ]
    assert [suggestion.frame_idx for suggestion in labels.suggestions] == [0, 1]
    (frame,) = labels.labeled_frames
    np.testing.assert_array_equal(
        frame.predicted_instances[0].numpy(), [[10.25, 20.5], [12, 15.75], [np.nan, np.nan]]
    )
    labels.save(str(tmp_path / "again.slp"), embed=False, verbose=False)
    assert read(tmp_path / "again.slp").entries


def test_a_removed_suggestion_is_skipped_unless_the_whole_list_was_cleared(tmp_path):
    batch = make_batch(tmp_path / "mice", persons=((NOSE_AND_EAR,), ()))
    saved = write(batch, tmp_path / "batch")
    person.skip(saved, batch.images[1])
    assert list_statuses(saved[0]) == [("0000_frame-0.png", "open"), ("0001_frame-1.jpg", "skipped")]
    person.skip(saved, batch.images[0])
    assert list_statuses(saved[0]) == []


def test_a_negative_frame_is_empty_unless_somebody_was_labelled_in_it(tmp_path):
    batch = make_batch(tmp_path / "mice")
    saved = write(batch, tmp_path / "batch")
    person.answer_empty(saved, batch.images[0])
    assert list_statuses(saved[0])[0] == ("0000_frame-0.png", "empty")
    person.draw(saved, batch.images[0], NOSE_AND_EAR)
    assert list_statuses(saved[0])[0] == ("0000_frame-0.png", "labelled")


def test_writing_again_keeps_what_people_have_labelled_in_the_file(tmp_path):
    batch = make_batch(tmp_path / "mice")
    first = write(batch, tmp_path / "batch")[0]
    pristine = first.read_bytes()
    person.draw([first], batch.images[1], NOSE_AND_EAR)
    labelled = first.read_bytes()
    write(batch, tmp_path / "batch")
    assert first.read_bytes() == pristine
    kept, again = TOOL.list_answer_files(tmp_path / "mice", [tmp_path / "batch"])
    assert (kept.read_bytes(), again) == (labelled, first)
    write(batch, tmp_path / "batch")
    assert len(list((tmp_path / "batch").iterdir())) == 2


def test_the_two_halves_of_a_split_batch_say_whose_they_are(tmp_path):
    batch = make_batch(tmp_path / "mice")
    saved = write(batch, tmp_path / "batch", part="_2")
    assert saved == [tmp_path / "batch/to_label_2.slp"]
    person.draw(saved, batch.images[1], NOSE_AND_EAR)
    assert {entry.annotator for entry in read(saved[0]).entries} == {"2"}


def test_half_pixels_are_added_and_taken_off_when_asked_for(tmp_path):
    batch = make_batch(tmp_path / "mice")
    saved = write(batch, tmp_path / "batch", half_pixel=True)
    with h5py.File(saved[0]) as file:
        assert file["pred_points"]["x"][0] == 10.75
    person.move(saved, batch.images[0], "nose", (1, 0))
    entry = TOOL.read(saved[0], ReadOptions(OPTIONS.joints, half_pixel=True)).entries[0]
    assert list_points(entry) == [{"nose": (11.25, 20.5), "left_ear": (12, 15.75)}]


def set_format(file):
    file["metadata"].attrs["format_id"] = 3.0


def remove_nodes(file):
    file["metadata"].attrs["json"] = b'{"skeletons": [{"nodes": [{"id": 7}]}], "nodes": []}'


def remove_metadata(file):
    del file["metadata"]


def link_points_elsewhere(file):
    del file["points"]
    file["points"] = h5py.ExternalLink("other.slp", "/points")


def forget_a_column(file):
    points = file["points"][()]
    del file["points"]
    file["points"] = points[["x", "visible", "complete"]]


def crop_the_film(file):
    file["video_crops"] = [b"{}"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (set_format, "has SLEAP's format 3.*update llpp"),
        (remove_nodes, "is damaged"),
        (remove_metadata, "no group 'metadata'"),
        (link_points_elsewhere, "'points' is not there, or no array"),
        (forget_a_column, "'points' has no y"),
        (crop_the_film, "coordinates of that part"),
    ],
)
def test_a_project_that_cannot_be_understood_is_refused_with_a_reason(tmp_path, spoil, message):
    path = write(make_batch(tmp_path / "mice"), tmp_path / "batch")[0]
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(DataError, match=message):
        read(path)


def test_one_damaged_frame_does_not_spoil_the_others(tmp_path):
    batch = make_batch(tmp_path / "mice")
    saved = write(batch, tmp_path / "batch")
    person.draw(saved, batch.images[0], NOSE_AND_EAR)
    person.draw(saved, batch.images[1], NOSE_AND_EAR)
    with h5py.File(saved[0], "r+") as file:
        frames = file["frames"][()]
        frames["instance_id_end"][0] = 1000
        file["frames"][...] = frames
    content = read(saved[0])
    assert [(entry.names[0], entry.status) for entry in content.entries if entry.persons] == [
        ("images/0001_frame-1.jpg", "labelled")
    ]
    assert content.rejections[0].entry == "images/0000_frame-0.png"
    assert content.rejections[0].reason == "the frame has instances 0 to 1000 of 3; save the frame again in SLEAP"


@needs_samples
def test_exports_for_analysis_are_no_projects():
    path = SAMPLES / "sleap/analysis_h5/simple_standard.analysis.h5"
    assert not TOOL.recognises(path, path.read_bytes())
