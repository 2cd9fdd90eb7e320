"""The joints of a project, from any file that names joints."""

import json
from pathlib import Path

import pytest
from helpers.project_folders import make_images, open_folder

from llpp.datasets.project.skeleton_file import build_skeleton, read_joint_file, read_joints
from llpp.errors import ConfigError, DataError

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "field_samples"
NAMES = ("nose", "left_ear", "right_ear")


def sample(*parts):
    path = SAMPLES.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real files in {SAMPLES}")
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


COCO = {"images": [], "annotations": [], "categories": [
    {"id": 1, "name": "mouse", "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3]]},
]}  # fmt: skip
FILES = {
    "list.yaml": "- nose\n- left_ear\n- right_ear\n",
    "edges.yml": "joints: [nose, left_ear, right_ear]\nedges: [[nose, left_ear], [nose, right_ear], [nose, gone]]\n",
    "coco.json": json.dumps(COCO),
    "config.yaml": "Task: mice\nbodyparts:\n- nose\n- left_ear\n- right_ear\nskeleton:\n- - nose\n  - left_ear\n",
    "project.yaml": "view_names: [top]\nkeypoint_names: [nose, left_ear, right_ear]\n",
    "CollectedData_me.csv": (
        "scorer,me,me,me,me,me,me\nbodyparts,nose,nose,left_ear,left_ear,right_ear,right_ear\n"
        "coords,x,y,x,y,x,y\nlabeled-data/a/img0.png,1,2,3,4,5,6\n"
    ),
}
EDGES = {"edges.yml": ((0, 1), (0, 2)), "coco.json": ((0, 1), (0, 2)), "config.yaml": ((0, 1),)}


@pytest.mark.parametrize("name", FILES)
def test_any_file_with_joint_names_gives_them_in_its_order(tmp_path, name):
    path = write(tmp_path / "mice" / name, FILES[name])
    for found in (
        read_joints(str(path), tmp_path, tmp_path),
        read_joints(name, tmp_path / "mice", tmp_path / "inbox"),
        read_joints(None, tmp_path / "mice", tmp_path / "inbox"),
        read_joints(None, tmp_path / "other", tmp_path / "mice"),
    ):
        assert found.names == NAMES and found.edges == EDGES.get(name, ()) and found.source == str(path)


@pytest.mark.parametrize("setting", [7, {"nose": 1}, True])
def test_what_is_neither_a_file_nor_a_list_of_joints_is_refused(tmp_path, setting):
    with pytest.raises(ConfigError, match=r"dataset\.joints=.*expected a YAML list of names"):
        read_joints(setting, tmp_path, tmp_path)


def test_joints_may_be_listed_in_the_setting(tmp_path):
    assert read_joints(["nose", "tail"], tmp_path, tmp_path).names == ("nose", "tail")
    with pytest.raises(DataError, match="'nose' twice"):
        read_joints(["nose", "nose"], tmp_path, tmp_path)


@pytest.mark.parametrize(("name", "count"), [("coco17", 17), ("mpii16", 16), ("lsp14", 14)])
def test_published_skeletons_have_names(tmp_path, name, count):
    found = read_joints(name, tmp_path, tmp_path)
    skeleton = build_skeleton(found.names, found.edges)
    assert len(found.names) == count and not skeleton.unpaired and len(skeleton.torso) == 2
    assert all(0 <= a < count and 0 <= b < count and a != b for a, b in found.edges)
    assert {joint for edge in found.edges for joint in edge} == set(range(count)), "every joint is on a line"
    assert len(skeleton.flip_pairs) == {17: 8, 16: 6, 14: 6}[count]


def test_flip_pairs_are_read_from_names_or_given():
    skeleton = build_skeleton(NAMES, [[0, 1]])
    assert skeleton.flip_pairs == ((1, 2),) and skeleton.edges == ((0, 1),) and skeleton.unpaired == ()
    assert build_skeleton(NAMES, [], []).flip_pairs == ()


def test_real_deeplabcut_projects_of_one_and_of_several_animals(tmp_path):
    folder = sample("deeplabcut", "tiny_multi_animal")
    found = read_joint_file(folder / "madlc_230_config.yaml")
    # Body parts of every animal, then those that only one has.
    assert found.names == ("A", "B", "C", "D", "E") and found.edges == ((0, 1), (1, 2), (0, 2))
    for name, expected in (
        ("CollectedData_LM.csv", "ABCDE"), ("maudlc_testdata.csv", "ABCDE"), ("madlc_testdata_v2.csv", "ABC"),
        ("dlc_testdata.csv", "ABC"), ("dlc_testdata_v2.csv", "ABC"),
    ):  # fmt: skip
        assert read_joint_file(folder / "labeled-data" / "video" / name).names == tuple(expected)
    real = sample("deeplabcut", "openfield-Pranav-2018-10-30")
    assert read_joints(None, real, tmp_path).names == ("snout", "leftear", "rightear", "tailbase")


def test_real_projects_of_sleap():
    pytest.importorskip("h5py")
    folder = sample("sleap", "slp")
    found = read_joint_file(folder / "centered_pair_predictions.slp")
    # As the project's own view lists its nodes: not in the order of the file's table of names.
    assert found.names[:4] == ("head", "neck", "thorax", "abdomen") and len(found.names) == 24
    assert found.names[found.edges[0][0]] == "neck" and found.names[found.edges[0][1]] == "head"
    assert len(found.edges) == 23
    assert (
        read_joint_file(folder / "labels.v002.slp").names
        == read_joint_file(folder / "labels.v002.rel_paths.slp").names
    )
    with pytest.raises(DataError, match="names 0 joints"):
        read_joint_file(folder / "imgvideo.slp")


def test_a_damaged_sleap_project_is_refused(tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(DataError, match="cannot be read"):
        read_joint_file(write(tmp_path / "a.slp", "no HDF5"))


def test_without_any_file_the_choices_are_listed(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 1)
    write(root / "notes.yaml", "weather: fine\n")
    write(root / "other.json", "[1, 2]")
    with pytest.raises(ConfigError) as error:
        open_folder(root, joints=None)
    for choice in ("coco17", "config.yaml", "CollectedData.csv", ".slp", "dataset.joints=[nose,tail]", str(root)):
        assert choice in str(error.value)


def test_several_files_have_to_agree(tmp_path):
    write(tmp_path / "a.csv", FILES["CollectedData_me.csv"])
    write(tmp_path / "b.json", FILES["coco.json"])
    assert read_joints(None, tmp_path, tmp_path / "inbox").edges == ((0, 1), (0, 2)), "the one with lines to draw"
    write(tmp_path / "inbox" / "c.yaml", "[nose, tail]")
    with pytest.raises(ConfigError, match="name different joints") as error:
        read_joints(None, tmp_path, tmp_path / "inbox")
    assert all(name in str(error.value) for name in ("a.csv", "b.json", "c.yaml"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "[nose, nose]", "twice"),
        ("a.yaml", "[]", "0 joints"),
        ("a.yaml", "[nose, [tail]]", "printable text"),
        ("a.yaml", '["no\\nse"]', "printable text"),
        ("a.yaml", "joints: !!python/object/apply:os.getcwd []", "no YAML"),
        ("a.yaml", "{a: [", "no YAML"),
        ("a.json", '{"categories": 3}', "no COCO file"),
        ("a.json", '{"categories": [{"id": 1, "name": "x", "keypoints": []}]}', "keypoints"),
        ("a.csv", "file,x,y\na.png,1,2\n", "bodyparts"),
        ("a.csv", "", "bodyparts"),
        ("a.txt", "nose", "names no joints"),
    ],
)
def test_files_without_usable_names_are_refused(tmp_path, name, text, words):
    with pytest.raises(DataError, match=words):
        read_joint_file(write(tmp_path / name, text))


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.joints=gone\.yaml"):
        read_joints("gone.yaml", tmp_path, tmp_path)


def test_several_categories_need_a_choice(tmp_path):
    other = {"id": 2, "name": "cat", "keypoints": ["paw"], "skeleton": []}
    path = write(tmp_path / "a.json", json.dumps({**COCO, "categories": [*COCO["categories"], other]}))
    with pytest.raises(ConfigError, match="YAML list"):
        read_joint_file(path)
