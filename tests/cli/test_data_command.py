"""`llpp data`: what it says about a dataset, what it draws, and how it takes bad ones."""

import io
import json

import cv2
import numpy as np
import pytest
from helpers import coco_folders, lsp_folders
from helpers.cli import llpp
from helpers.run_dirs import GreyClasses, class_task, pose_task
from rich.console import Console

from llpp.cli.data import run_data_command as command
from llpp.config.compose import compose_config
from llpp.data.person_crop import PersonCrop
from llpp.datasets.classes import UNKNOWN, ClassLabels
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.errors import ConfigError, StateError
from llpp.inspection import facts, show_dataset
from llpp.inspection.problems import find_problems
from llpp.inspection.sheet import choose_enlargement, count_columns, draw_contact_sheet, locate_tile
from llpp.tasks.pose.drawing import CASING_COLOUR, SIDE_COLOURS

pytestmark = pytest.mark.slow

CROP = PersonCrop(64, 1.25)


@pytest.fixture
def persons(tmp_path):
    """Ten persons with a visible nose and left side, an occluded right shoulder and no right hip."""
    return pose_task(CocoKeypoints(str(coco_folders.folder(tmp_path / "coco")), val=2, test=3))


def cells(listing, first):
    return next(row[1:] for row in listing.rows if row[0] == first)


def joints_and_normalisers(task):
    """The tables of a pose task."""
    joints, _, normalisers = task.tabulate_labels()
    return joints, normalisers


def printed(task, output, **settings):
    """What is shown, and the number of problems."""
    console = Console(file=io.StringIO(), width=100)
    wanted = {"samples": 2, "seed": 0, "decode": False, **settings}
    count = show_dataset(task, CROP, output, console=console, **wanted)
    return console.file.getvalue(), count


def test_tables_count_persons_joints_and_normalisers(persons):
    assert facts.format_headline(persons) == "coco: 10 persons in 10 images; 5 joints, 2 left–right pairs, 4 limbs"
    assert cells(facts.tabulate_splits(persons), "train") == ("5", "5", "0", "5", "0")
    assert cells(facts.tabulate_splits(persons), "test") == ("3", "3", "0", "0", "0")
    joints, normalisers = joints_and_normalisers(persons)
    assert cells(joints, "nose") == ("10 (100 %)", "0 (0 %)", "0 (0 %)")
    assert cells(joints, "right_shoulder") == ("0 (0 %)", "10 (100 %)", "0 (0 %)")
    assert cells(joints, "all") == ("30 (60.0 %)", "10 (20.0 %)", "10 (20.0 %)")
    assert cells(normalisers, "torso (pck.normaliser)") == ("10 (100 %)", "3 (100 %)", "0 (0 %)")


def test_an_unknown_normaliser_is_none_and_a_problem(tmp_path):
    joints = ["tip", "l_wing", "r_wing", "tail", "foot"]
    birds = CocoKeypoints(str(coco_folders.folder(tmp_path, coco_folders.content(joints=joints))))
    _, normalisers = joints_and_normalisers(pose_task(birds))
    assert cells(normalisers, "torso (pck.normaliser)") == ("none", "none", "–")
    (problem,) = find_problems(pose_task(birds), decode=False)
    assert problem.startswith("pck.normaliser=torso: dataset coco has none for any person")
    assert find_problems(pose_task(birds, normaliser="box"), decode=False) == []


def test_boxes_are_measured_and_joints_beyond_the_crop_counted(persons):
    # boxes of 30, 5, 40 × 60.5 are 60.5 px long; crops of 1 × that reach from 19.75 to 80.25 and from 5 to 65.5
    assert facts.describe_boxes(persons, 1.0) == [
        "boxes from: annotation",
        "longer side of the box: median 60 px, 5 % below 60, 5 % above 60",
        "labelled joints outside their crop: 0 (0 %)",
    ]
    # half as large, they reach from 34.9 to 65.1 and from 20.1 to 50.4: the nose and both shoulders are higher
    assert facts.describe_boxes(persons, 0.5)[2] == "labelled joints outside their crop: 30 (75.0 %)"


def test_images_shared_by_persons_and_training_records_without_joints_are_told(tmp_path):
    table = coco_folders.content(12)
    table["annotations"][11].update(image_id=11, bbox=[5, 5, 40, 60.5])  # a second person there, nobody in 12
    task = pose_task(CocoKeypoints(str(coco_folders.folder(tmp_path, table)), unlabelled=True, val=2, test=2))
    listed = facts.tabulate_splits(task)
    shared = [cells(listed, split)[2] for split in ("train", "val", "test")]
    assert sorted(shared) == ["0", "0", "1"] and cells(listed, "train")[-1] == "1"
    (problem,) = find_problems(task, decode=False)
    assert problem.startswith("1 training records have no labelled joint, for example coco/0012")


def test_missing_files_are_named_up_to_ten_with_similar_names_in_their_folder(tmp_path):
    lsp_folders.folder(tmp_path, count=20)
    task = pose_task(LeedsSportsPose(str(tmp_path), val=2, test=2))
    assert find_problems(task, decode=False) == []
    files = sorted((tmp_path / "images").iterdir())
    for path in files[3:15]:
        path.unlink()
    files[2].rename(files[2].with_suffix(".JPG"))
    (problem,) = find_problems(task, decode=False)
    assert problem.startswith(f"13 of 20 image files are missing: {files[2]} (but im00003.JPG exists); {files[3]}; ")
    assert problem.endswith(f"{files[11]}; and 3 more")


def test_a_missing_name_with_accents_is_found_in_the_form_that_macos_writes(tmp_path):
    table = coco_folders.content(12)
    table["images"][0]["file_name"] = "caf\u00e9.png"
    root = coco_folders.folder(tmp_path, table)
    (root / "images/caf\u00e9.png").rename(root / "images/cafe\u0301.png")
    task = pose_task(CocoKeypoints(str(root), val=2, test=2))
    (problem,) = find_problems(task, decode=False)
    assert problem.endswith("caf\u00e9.png (but cafe\u0301.png exists)")


def test_decoding_finds_what_looking_for_files_does_not(tmp_path, persons):
    path = persons.dataset.paths[4]
    path.write_bytes(path.read_bytes()[:60])
    assert find_problems(persons, decode=False) == []
    (problem,) = find_problems(persons, decode=True)
    assert problem.startswith(f"1 of 10 images cannot be read: image {path} cannot be decoded")


def test_without_images_there_are_tables_and_a_problem_but_no_sheets(tmp_path):
    data = CocoKeypoints(coco_folders.written(tmp_path, coco_folders.content()), val=2, test=3)
    text, count = printed(pose_task(data), tmp_path / "out")
    assert "right_shoulder" in text and "5" in text and count == 1
    assert "problem: none of the train images is there" in text
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_read_is_replaced_on_the_sheets_and_told(tmp_path, persons):
    paths = persons.dataset.paths
    bad = persons.dataset.records.select_rows("test")[:2].tolist()
    for row in bad:
        paths[row].write_bytes(b"")
    text, count = printed(persons, tmp_path / "out", samples=3)
    assert "3 train persons are drawn in" in text and "1 test persons are drawn in" in text
    assert count == 1 and "problem: 2 image files cannot be used: " in text
    assert all(f"image {paths[row]} is empty" in text for row in bad)


def test_a_split_that_is_empty_is_a_problem_not_an_end(tmp_path):
    table = coco_folders.content(5)
    del table["annotations"]
    pool = CocoKeypoints(str(coco_folders.folder(tmp_path / "coco", table)), unlabelled=True)
    text, count = printed(pose_task(pool), tmp_path / "out")
    assert "problem: there are no val records; a run needs at least one" in text
    assert count == 4, "val, test, no joints, normaliser"
    assert "every crop shows the whole image" in text and (tmp_path / "out/train.png").is_file()


def test_sheets_show_the_crops_of_evaluation_with_their_joints(persons):
    sheet = draw_contact_sheet(persons, "train", CROP, samples=4, seed=0)
    picture = cv2.imdecode(np.frombuffer(sheet.png, np.uint8), cv2.IMREAD_COLOR_RGB)
    # the box 30, 5, 40 × 60.5 has its centre at 50, 35.25; the crop is 75.625 px wide and 64 px of the result,
    # each of which is 3 px of the sheet
    assert choose_enlargement(CROP) == 3 and set(sheet.shown) <= set(
        persons.dataset.records.select_rows("train").tolist()
    )
    for place in range(4):
        x0, y0 = locate_tile(place, 192, count_columns(4))

        def at(x, y, x0=x0, y0=y0):
            crop = ((np.array([x, y]) - [50, 35.25]) * 64 / 75.625 + 31.5 + 0.5) * 3 - 0.5
            column, row = (crop + np.array([x0, y0])).round().astype(int)
            return picture[row, column].astype(int)

        for (x, y), colour in (((50, 10), "middle"), ((60, 20), "left"), ((58, 50), "left")):
            assert np.abs(at(x, y) - SIDE_COLOURS[colour]).max() < 12, (x, y)
        assert np.abs(at(40, 20) - CASING_COLOUR).max() < 12, "an occluded joint is hollow"
        ring = 4 * 75.625 / 192  # pixels of the image in four of the sheet
        assert np.abs(at(40 - ring, 20) - SIDE_COLOURS["right"]).max() < 60, "in the colour of its side"
        assert np.abs(at(70, 60) - 120).max() < 6, "the image is grey"


def test_sheets_are_the_same_for_a_seed_and_hold_everybody_once(persons):
    first, again, other = (draw_contact_sheet(persons, "train", CROP, samples=3, seed=s).shown for s in (0, 0, 1))
    assert first == again and first != other and len(set(first)) == 3
    every_row = draw_contact_sheet(persons, "train", CROP, samples=24, seed=0).shown
    assert sorted(every_row) == persons.dataset.records.select_rows("train").tolist()


def test_any_id_can_be_written_below_a_crop(tmp_path, recwarn):
    table = coco_folders.content()
    for entry in table["images"]:
        entry["file_name"] = f"$x^2$ 人物 {'long ' * 20}{entry['file_name']}"
    data = CocoKeypoints(str(coco_folders.folder(tmp_path, table)))
    assert draw_contact_sheet(pose_task(data), "train", CROP, samples=2, seed=0).png.startswith(b"\x89PNG")
    assert not list(recwarn)


def test_classes_are_counted_by_split_and_their_names_are_drawn(tmp_path):
    task = class_task()
    assert facts.format_headline(task) == "grey: 6 images in 6 images; 2 classes"
    assert facts.tabulate_splits(task).columns[-1] == "without class"
    (table,) = task.tabulate_labels()
    assert table.columns == ("class", "train", "val", "test")
    # of four to train with two are cats; the one to validate is a cat, the one to test has no class
    assert cells(table, "cat") == ("2 (50.0 %)", "1 (100 %)", "0 (0 %)")
    assert cells(table, "dog") == ("2 (50.0 %)", "0 (0 %)", "0 (0 %)")
    text, count = printed(task, tmp_path / "out")
    assert count == 1 and "Classes" in text and "every crop shows the whole image" in text
    assert "problem: test accuracy is undefined: none of the 1 images has a label; label some of them" in text
    assert "2 train images are drawn in" in text and "joint" not in text and "person" not in text
    picture = cv2.imread(str(tmp_path / "out/train.png"))
    x, y = locate_tile(0, 192, count_columns(2))
    tile = picture[y : y + 192, x : x + 192].astype(int)
    assert np.ptp(tile[:48], axis=(0, 1)).max() > 100, "its class is written in a corner"
    assert (np.abs(tile[96:144, 64:128] - 128) < 6).all(), "the rest is the image"


def test_training_images_without_a_class_are_a_problem():
    unknown = GreyClasses(ClassLabels(("cat", "dog"), np.array([0, UNKNOWN, 0, 1, 0, 1])))
    (problem,) = find_problems(class_task(unknown), decode=False)
    assert problem.startswith("1 training records have no class, for example grey/1")


def test_the_command_draws_the_chosen_dataset_where_it_is_told(tmp_path, capsys):
    root = coco_folders.folder(tmp_path / "coco")
    chosen = [
        "dataset=coco",
        "--samples",
        "2",
        f"dataset.root={root}",
        "--output",
        str(tmp_path / "out"),
        "crop.size=32",
    ]
    assert command(chosen) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test.png", "train.png", "val.png"]
    shown = capsys.readouterr().out
    assert f"2 train persons are drawn in {tmp_path / 'out' / 'train.png'}" in shown
    for image in (root / "images").iterdir():
        image.unlink()
    assert command([*chosen, "--samples=0"]) == 1
    assert "problem: none of the train images is there" in capsys.readouterr().out


def test_without_arguments_it_shows_the_default_dataset(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(["--samples=1"]) == 0
    assert "synthetic: 1,664 persons" in capsys.readouterr().out
    assert (tmp_path / "data_synthetic/val.png").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["dataset=nope"],
            r"Could not find 'dataset/nope'. Available options in 'dataset': cifar10, coco, .*synthetic$",
        ),
        (["bugdet=3"], "bugdet is not known; did you mean budget?"),
        (["dataset=coco", "dataset.rot=here"], "dataset.rot is not known; did you mean dataset.root?"),
        (["+dataset.rot=here"], "unexpected keyword argument 'rot'"),
        (["lspet"], "'lspet' is invalid; expected OPTION=VALUE"),
        (["dataset.size=${nowhere}"], "Interpolation key 'nowhere' not found"),
        (["crop.size=big"], "crop.size='big' is invalid; expected 8 to 1024 pixels"),
        (["crop.padding=much"], "crop.padding='much' is invalid"),
        (["--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
    ],
)
def test_wrong_options_are_one_sentence(options, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        command(options)
    assert "\n" not in str(refused.value)


def test_own_groups_are_found_in_their_folder(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/mine.yaml").write_text("_target_: mine.Mine\n")
    assert compose_config(["dataset=mine"], tmp_path).dataset._target_ == "mine.Mine"


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path, persons):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot write the contact sheets to .*; give another --output"):
        printed(persons, tmp_path / "file")


@pytest.mark.slow
def test_a_hostile_file_ends_the_process_with_one_sentence(tmp_path):
    table = coco_folders.content()
    table["images"][0]["file_name"] = "../../../etc/passwd"
    (tmp_path / "annotations.json").write_text(json.dumps(table))
    done = llpp("data", "dataset=coco", f"dataset.root={tmp_path}", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.startswith("llpp: ") and done.stderr.count("\n") == 1 and "etc/passwd" in done.stderr
