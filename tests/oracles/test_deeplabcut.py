"""DeepLabCut's folders and files of labels, in every dialect that it has had."""

import os
import shutil

import cv2
import h5py
import numpy as np
import pytest
from helpers.small_batches import NOSE_AND_EAR, OPTIONS, SAMPLES, list_points, make_batch, needs_samples

from llpp.datasets.images import read_image
from llpp.errors import ConfigError, DataError
from llpp.oracles.deeplabcut import DeepLabCutTool
from llpp.oracles.hdf5 import read_isolated
from llpp.oracles.pandas_hdf5 import KEY, read_frame
from llpp.oracles.tool import WriteOptions

TOOL = DeepLabCutTool()
DEEPLABCUT = SAMPLES / "deeplabcut"
OPENFIELD = DEEPLABCUT / "openfield-Pranav-2018-10-30/labeled-data/m4s1/CollectedData_Pranav.csv"
REACHING = DEEPLABCUT / "Reaching-Mackenzie-2018-08-30/labeled-data/reachingvideo1/CollectedData_Mackenzie.csv"
HEADERS = "scorer,jane,jane,jane,jane\nbodyparts,nose,nose,ear,ear\ncoords,x,y,x,y\n"
FOLDER = "labeled-data/llpp_mice_round_03"


def read(path):
    return TOOL.read(path, OPTIONS)


def write_csv(tmp_path, text, name="CollectedData_jane.csv"):
    path = tmp_path / "labeled-data/film" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_frame(pandas):
    """Two animals, one body part of a single one, and one row that nobody has touched."""
    names = ["scorer", "individuals", "bodyparts", "coords"]
    joints = [("mus1", "nose"), ("mus1", "öhr"), ("mus2", "nose"), ("mus2", "öhr"), ("single", "corner")]
    columns = [("jane", owner, joint, axis) for owner, joint in joints for axis in "xy"]
    rows = [("labeled-data", "film", name) for name in ("img0.png", "img1.png", "img2.png")]
    values = np.full((3, 10), np.nan)
    values[0] = range(10)
    values[1, 4:6] = 7.5, 8.25
    return pandas.DataFrame(
        values,
        index=pandas.MultiIndex.from_tuples(rows),
        columns=pandas.MultiIndex.from_tuples(columns, names=names),
    )


@needs_samples
def test_the_labels_of_the_open_field_are_the_same_in_both_files():
    """The HDF5 file has the older layout, in which names of columns are pickles: they come from the CSV."""
    labels = read(OPENFIELD)
    assert len(labels.entries) == 116
    first = labels.entries[0]
    assert first.names == ("labeled-data/m4s1/img0000.png",)
    assert (first.status, first.annotator) == ("labelled", "Pranav")
    assert first.persons[0].joints["snout"] == (21.521, 265.428, 2)
    assert read(OPENFIELD.with_suffix(".h5")) == labels


@needs_samples
def test_coordinates_that_are_missing_are_joints_that_are_not_labelled():
    """55 rows of 5 joints; 84 of the coordinates are empty."""
    labels = read(REACHING)
    assert sum(len(entry.persons[0].joints) for entry in labels.entries) == 55 * 5 - 84 // 2
    assert "Tongue" not in labels.entries[0].persons[0].joints
    assert read(REACHING.with_suffix(".h5")).entries == labels.entries


ANIMAL_1 = [{"A": (0, 1), "B": (2, 3), "C": (4, 5)}, {"A": (12, 13), "C": (15, 16)}]
ANIMAL_2 = [{"A": (6, 7), "B": (8, 9), "C": (10, 11)}, {"A": (17, 18), "C": (20, 21)}]
SINGLE = [None, {"D": (22, 23), "E": (24, 25)}]


@needs_samples
@pytest.mark.parametrize(
    ("name", "animals"),
    [
        ("dlc_testdata", (ANIMAL_1,)),
        ("madlc_testdata", (ANIMAL_1, ANIMAL_2)),
        ("maudlc_testdata", (ANIMAL_1, ANIMAL_2, SINGLE)),
    ],
)
@pytest.mark.parametrize("version", ["", "_v2"])
def test_every_dialect_gives_the_same_points(name, animals, version):
    """One animal, several ones, and a part that only one has; names of images in one column and in three."""
    labels = read(DEEPLABCUT / f"tiny_multi_animal/labeled-data/video/{name}{version}.csv")
    assert not labels.rejections
    for number in (0, 1):
        expected = [animal[number] for animal in animals if animal[number]]
        assert labels.entries[number].names == (f"labeled-data/video/img{number:03d}.png",)
        assert list_points(labels.entries[number]) == expected
    assert labels.entries[2].status == "open"  # a row without a number


@needs_samples
def test_frames_of_two_films_are_named_by_the_folders_that_they_are_in():
    """Both files say labeled-data/video, and both films have an img000.jpg."""
    folder = DEEPLABCUT / "tiny_two_videos"
    first = read(folder / "video1/dlc_dataset_1.csv").entries[0]
    second = read(folder / "video2/dlc_dataset_2.csv").entries[0]
    assert first.names[0].endswith("tiny_two_videos/video1/img000.jpg")
    assert second.names[0].endswith("tiny_two_videos/video2/img002.jpg")


def test_what_pandas_writes_today_is_read(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    path = write_csv(tmp_path, "", "CollectedData_jane.h5")
    make_frame(pandas).to_hdf(path, key=KEY, mode="w")
    first, second, third = read(path).entries
    assert first.names == ("labeled-data/film/img0.png",)
    assert list_points(first) == [
        {"nose": (0, 1), "öhr": (2, 3)},
        {"nose": (4, 5), "öhr": (6, 7)},
        {"corner": (8, 9)},
    ]
    assert list_points(second) == [{"nose": (7.5, 8.25)}]
    assert third.status == "open"


def test_columns_of_two_number_types_are_put_back_in_their_order(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    path = write_csv(tmp_path, "", "CollectedData_jane.h5")
    frame = make_frame(pandas).iloc[:1]
    whole = frame.columns[::3]
    frame.astype(dict.fromkeys(whole, "int64")).to_hdf(path, key=KEY, mode="w")
    np.testing.assert_array_equal(read_isolated(read_frame, path).values, [range(10)])


@pytest.mark.parametrize("count", [1, 2])
def test_pandas_reads_our_suggestions_as_if_it_had_written_them(tmp_path, count):
    """One animal, or two in one image; the second image has no suggestion and no row."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    batch = make_batch(tmp_path, persons=((NOSE_AND_EAR,) * count, (), (NOSE_AND_EAR,)))
    suggestions = TOOL.write(batch, tmp_path / "batch", WriteOptions())[0]
    assert suggestions == tmp_path / FOLDER / "machinelabels-iter0.h5"

    joints = ("nose", "left_ear", "right_ear")
    row = [10.25, 20.5, 1, 12, 15.75, 1, np.nan, np.nan, np.nan]
    if count == 1:
        names = ["scorer", "bodyparts", "coords"]
        columns = [("llpp", joint, axis) for joint in joints for axis in ("x", "y", "likelihood")]
        values = [row, row]
    else:
        names = ["scorer", "individuals", "bodyparts", "coords"]
        owners = ("individual1", "individual2")
        columns = [
            ("llpp", owner, joint, axis) for owner in owners for joint in joints for axis in ("x", "y", "likelihood")
        ]
        values = [[*row, *row], [*row, *[np.nan] * 9]]
    rows = [("labeled-data", "llpp_mice_round_03", f"{name}.png") for name in ("0000_frame-0", "0002_frame-2")]
    expected = pandas.DataFrame(
        np.array(values),
        index=pandas.MultiIndex.from_tuples(rows),
        columns=pandas.MultiIndex.from_tuples(columns, names=names),
    )
    frame = pandas.read_hdf(suggestions)
    pandas.testing.assert_frame_equal(frame, expected)
    # What napari does when it saves.
    frame.to_hdf(tmp_path / "again.h5", key=KEY, mode="w")


def test_suggestions_name_the_animals_of_the_project_and_its_single_parts(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    batch = make_batch(tmp_path)
    config = "multianimalproject: true\nindividuals: [mum, pup]\nuniquebodyparts: [left_ear]\n"
    (tmp_path / "config.yaml").write_text(config)
    frame = pandas.read_hdf(TOOL.write(batch, tmp_path / "batch", WriteOptions())[0])
    owners = list(dict.fromkeys((owner, joint) for _, owner, joint, _ in frame.columns))
    assert owners == [
        ("mum", "nose"),
        ("mum", "right_ear"),
        ("pup", "nose"),
        ("pup", "right_ear"),
        ("single", "left_ear"),
    ]
    assert frame["llpp", "single", "left_ear", "x"].tolist() == [12]


def test_pictures_of_a_batch_are_png_with_the_pixels_of_the_images(tmp_path):
    batch = make_batch(tmp_path)
    TOOL.write(batch, tmp_path / "batch", WriteOptions())
    for image in batch.images:
        picture = cv2.imread(str(tmp_path / FOLDER / f"{image.name[:-4]}.png"))
        np.testing.assert_array_equal(picture[:, :, ::-1], read_image(image.path))


def test_nobody_elses_file_is_touched(tmp_path):
    """Labels in the same folder, and another film."""
    batch = make_batch(tmp_path)
    TOOL.write(batch, tmp_path / "batch", WriteOptions())
    own = tmp_path / FOLDER / "CollectedData_jane.csv"
    other = write_csv(tmp_path, HEADERS)
    own.write_text(HEADERS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    TOOL.write(batch, tmp_path / "batch", WriteOptions())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert {own, other} <= before.keys()


def test_a_folder_that_is_a_link_out_of_the_project_is_refused(tmp_path):
    batch = make_batch(tmp_path / "mice")
    (tmp_path / "other").mkdir()
    (tmp_path / "mice/labeled-data").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"leads out of .* by a link"):
        TOOL.write(batch, tmp_path / "batch", WriteOptions())
    assert not list((tmp_path / "other").rglob("*.png"))


@pytest.mark.parametrize(
    ("name", "header"),
    [("machinelabels-iter0.csv", "x,y,x,y"), ("CollectedData_jane.csv", "x,y,likelihood,x")],
)
def test_predictions_never_count_as_labels(tmp_path, name, header):
    path = write_csv(tmp_path, HEADERS.replace("x,y,x,y", header) + "labeled-data/film/img0.png,1,2,3,4\n", name)
    labels = read(path)
    assert not labels.entries
    assert "predictions" in labels.rejections[0].reason


def test_our_own_suggestions_are_no_answer(tmp_path):
    suggestions = TOOL.write(make_batch(tmp_path), tmp_path / "batch", WriteOptions())[0]
    assert not read(suggestions).entries


def test_a_bad_cell_rejects_its_row_only(tmp_path):
    rows = (
        "labeled-data/film/img0.png,1,2,abc,4\nlabeled-data/film/img1.png,1,2,,\nlabeled-data/film/img2.png,1,,3,4\n"
    )
    labels = read(write_csv(tmp_path, HEADERS + rows))
    assert [entry.names[0] for entry in labels.entries] == ["labeled-data/film/img1.png"]
    reasons = [rejection.reason for rejection in labels.rejections]
    assert reasons == [
        "x of 'ear' is 'abc'; expected a number, or nothing",
        "'nose' has one coordinate, expected two or none",
    ]


@pytest.mark.parametrize("end", ["4", "-", ""])
def test_a_row_that_may_be_cut_off_within_a_number_is_rejected(tmp_path, end):
    rows = f"labeled-data/film/img0.png,1,2,3,4\nlabeled-data/film/img1.png,1,2,3,{end}"
    labels = read(write_csv(tmp_path, HEADERS + rows))
    assert [entry.names[0] for entry in labels.entries] == ["labeled-data/film/img0.png"]
    assert "ends within this line" in labels.rejections[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADERS.replace(",", ";"), "semicolons"),
        ("scorer,a\ncoords,x\n", "expected scorer, bodyparts, coords"),
        (HEADERS.replace("x,y,x,y", "x,y,z,y"), "a column 'z'"),
        (HEADERS.replace("ear", "nose"), "two columns for the same joint"),
        (HEADERS.replace("coords,x,y,x,y", "coords,x,y"), "different lengths"),
        ("scorer,\x00\n\xff", "cannot be read|expected"),
    ],
)
def test_a_file_that_is_no_table_of_joints_is_refused_with_a_reason(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(write_csv(tmp_path, text))


@needs_samples
def test_the_older_layout_without_its_csv_is_refused(tmp_path):
    path = tmp_path / "CollectedData_Pranav.h5"
    shutil.copy(OPENFIELD.with_suffix(".h5"), path)
    with pytest.raises(DataError, match=r"pickles.*CollectedData_Pranav.csv is not there"):
        read(path)


def replace_by_link(file):
    file[f"{KEY}/block0_values"] = h5py.ExternalLink("other.h5", "/secret")


def replace_by_virtual_array(file):
    layout = h5py.VirtualLayout((1, 4), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (1, 4))
    file.create_virtual_dataset(f"{KEY}/block0_values", layout)


def replace_by_huge_array(file):
    file.create_dataset(
        f"{KEY}/block0_values", (1 << 17, 1 << 17), "f8", chunks=(1 << 10, 1 << 10), compression="gzip"
    )


@pytest.mark.parametrize("spoil", [replace_by_link, replace_by_virtual_array, replace_by_huge_array])
def test_arrays_in_other_files_and_huge_ones_are_not_read(tmp_path, spoil):
    suggestions = TOOL.write(make_batch(tmp_path), tmp_path / "batch", WriteOptions())[0]
    with h5py.File(tmp_path / FOLDER / "other.h5", "w") as file:
        file["secret"] = np.zeros((1, 4))
    with h5py.File(suggestions, "r+") as file:
        del file[f"{KEY}/block0_values"]
        spoil(file)
    with pytest.raises(DataError, match=r"no array|another file|more than the limit"):
        read_isolated(read_frame, suggestions)


def test_of_two_files_with_the_same_labels_the_newer_one_is_listed(tmp_path):
    """The CSV is written right after HDF5, unless a program has saved that alone."""
    same = write_csv(tmp_path, HEADERS)
    saved_alone = write_csv(tmp_path, HEADERS, "CollectedData_joe.csv")
    only = write_csv(tmp_path, "", "CollectedData_ann.h5")
    for path, hdf5_time in ((same, 999), (saved_alone, 1001)):
        path.with_suffix(".h5").write_text("")
        os.utime(path, (1000, 1000))
        os.utime(path.with_suffix(".h5"), (hdf5_time, hdf5_time))
    write_csv(tmp_path, HEADERS, "machinelabels-iter0.csv")
    assert TOOL.list_answer_files(tmp_path, []) == [only, same, saved_alone.with_suffix(".h5")]


def test_a_picture_that_was_deleted_is_skipped(tmp_path):
    TOOL.write(make_batch(tmp_path), tmp_path / "batch", WriteOptions())
    folder = tmp_path / FOLDER
    labels = folder / "CollectedData_jane.csv"
    labels.write_text(HEADERS + f"{FOLDER}/0000_frame-0.png,,,,\n")
    (folder / "0000_frame-0.png").unlink()
    skipped = read(labels).entries
    assert [(entry.names, entry.status) for entry in skipped] == [((f"{FOLDER}/0000_frame-0.png",), "skipped")]

    # All are gone: somebody has moved the labels alone.
    (folder / "0001_frame-1.png").unlink()
    assert [entry.status for entry in read(labels).entries] == ["open"]


def test_half_pixels_are_added_and_taken_off_when_asked_for(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    suggestions = TOOL.write(make_batch(tmp_path), tmp_path / "batch", WriteOptions(half_pixel=True))[0]
    assert pandas.read_hdf(suggestions)["llpp", "nose", "x"].tolist() == [10.75]
    path = write_csv(tmp_path, HEADERS + "labeled-data/film/img0.png,10.75,2,,\n")
    entry = TOOL.read(path, type(OPTIONS)(OPTIONS.joints, half_pixel=True)).entries[0]
    assert list_points(entry) == [{"nose": (10.25, 1.5)}]


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = TOOL.write(make_batch(tmp_path), tmp_path / "batch", WriteOptions())[0]
    monkeypatch.setattr("llpp.oracles.hdf5.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'llpp\[label\]'"):
        read(path)
    with pytest.raises(ConfigError, match=r"pip install 'llpp\[label\]'"):
        TOOL.write(make_batch(tmp_path), tmp_path / "batch", WriteOptions())
