"""Mirrored images: their labels are where their joints are, or the run is refused before it begins."""

import json
import logging

import cv2
import numpy as np
import pytest
from helpers import coco_folders
from helpers.experiments import config
from helpers.run_dirs import Grey, pose_task

from llpp.config import build
from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropDataset, CropKey, CropPipeline, Mode
from llpp.data.person_crop import PersonCrop
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.pose import Skeleton
from llpp.errors import ConfigError, OccupiedError
from llpp.inspection.problems import find_problems
from llpp.rounds import loop
from llpp.tasks.pose.drawing import SIDE_COLOURS, get_joint_colours
from llpp.tasks.pose.mirroring import check_mirroring, tabulate_sides

MOUSE = ["nose", "paw1LH", "paw2LF", "paw3RF", "paw4RH"]
COLOURS = [(250, 250, 250), (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]  # RGB of each joint's disc
PLACES = [(50, 20), (66, 30), (34, 30), (66, 50), (34, 50)]  # image pixels; the animal shows us its face


def animals(path, joints, **settings):
    """Ten images of 100 × 80 pixels on which each joint is a disc of a colour of its own."""
    table = coco_folders.content(joints=joints)
    keypoints = [number for x, y in PLACES for number in (x, y, 2)]
    table["annotations"] = [coco_folders.annotation(n, n, keypoints=keypoints) for n in range(1, 11)]
    picture = np.full((80, 100, 3), 90, dtype=np.uint8)
    for (x, y), colour in zip(PLACES, COLOURS, strict=True):
        cv2.circle(picture, (x, y), 4, colour[::-1], -1)
    (path / "images").mkdir(parents=True)
    for entry in table["images"]:
        entry |= {"width": 100, "height": 80}
        cv2.imwrite(str(path / "images" / entry["file_name"]), picture)
    (path / "annotations.json").write_text(json.dumps(table))
    return CocoKeypoints(str(path), val=2, test=2, **settings)


def read_mirrored_colours(data):
    """The colour of the mirrored crop at the label of each joint."""
    pipeline = CropPipeline(PersonCrop(64, 1.25), Augmentation(flip=1.0))
    crops = CropDataset(data, pose_task(data, normaliser="box"), pipeline, seed=0, round_number=0)
    row = int(data.records.select_rows("train")[0])
    item = crops[CropKey(row, Mode.TRAIN)]
    colours = []
    for x, y in item["joints"].round().astype(int):
        colours.append(tuple(50 * round(value / 50) for value in item["image"][y, x].tolist()))
    return colours


@pytest.mark.parametrize(
    "joints",
    [
        ["snout", "LF", "RF", "LH", "RH"],
        ["nez", "epaule_gauche", "epaule_droite", "hanche_gauche", "hanche_droite"],
        ["chin", "leye", "reye", "lear", "rear"],
    ],
)
def test_a_left_label_of_a_mirrored_image_is_where_the_right_joint_is_seen(tmp_path, joints):
    white, red, green, blue, yellow = COLOURS
    assert read_mirrored_colours(animals(tmp_path, joints)) == [white, green, red, yellow, blue]


def test_given_pairs_change_places_and_nothing_else_does(tmp_path):
    white, red, green, blue, yellow = COLOURS
    given = animals(tmp_path / "given", MOUSE, flip_pairs=[["paw1LH", "paw4RH"], ["paw2LF", "paw3RF"]])
    assert read_mirrored_colours(given) == [white, yellow, blue, green, red]
    none = animals(tmp_path / "none", ["snout", "LF", "RF", "LH", "RH"], flip_pairs=[])
    assert read_mirrored_colours(none) == COLOURS
    spine = animals(tmp_path / "spine", ["C7", "T12", "L1", "L2", "L5"])
    assert read_mirrored_colours(spine) == COLOURS


def skeleton(joints, pairs=(), unpaired=()):
    return Skeleton(tuple(joints), tuple(pairs), edges=(), torso=(), unpaired=tuple(unpaired))


def test_unknown_partners_are_refused_only_where_images_are_mirrored():
    mouse = skeleton(MOUSE, unpaired=(1, 2, 3, 4))
    assert check_mirroring(mouse, 0.0, views="none") == []
    with pytest.raises(ConfigError) as refused:
        check_mirroring(mouse, 0.5, views="none")
    message = str(refused.value)
    assert message.startswith("augmentation.flip=0.5: ") and "paw1LH, paw2LF, paw3RF, paw4RH" in message
    assert "'dataset.flip_pairs=[[paw1LH,paw4RH],[paw2LF,paw3RF]]'" in message and "flip_pairs=[] if none" in message
    assert message.endswith("or set augmentation.flip=0") and "scoring" not in message
    with pytest.raises(ConfigError, match=r"^scoring.views=flip: .* or set scoring.views=none$"):
        check_mirroring(mouse, 0.0, views="flip")
    with pytest.raises(ConfigError, match=r"or set augmentation.flip=0 and scoring.views=none$"):
        check_mirroring(mouse, 0.5, views="flip")


def test_the_remedy_has_the_known_pairs_and_a_gap_for_what_nobody_can_know():
    birds = skeleton(["tip", "r_wing", "l_wing", "l_foot"], pairs=[(2, 1)], unpaired=[3])
    with pytest.raises(
        ConfigError, match=r"'dataset.flip_pairs=\[\[l_wing,r_wing\],\[l_foot,\?\]\]' \(replace \?, or leave its"
    ):
        check_mirroring(birds, 0.5, views="none")


def test_without_pairs_and_sides_there_is_a_remark_where_images_are_mirrored():
    spine = skeleton(["C7", "T12", "L1"])
    (remark,) = check_mirroring(spine, 0.5, views="none")
    assert remark.startswith("no left–right pairs are known: mirrored images keep every joint's name")
    assert check_mirroring(spine, 0.0, views="none") == []
    assert check_mirroring(Grey.skeleton, 0.5, views="flip") == []


def test_pairs_are_listed_left_first_with_what_is_in_none():
    listing = tabulate_sides(skeleton(["r_hip", "l_hip", "nose"], pairs=[(0, 1)]))
    assert listing.rows == [("l_hip", "r_hip")] and listing.remarks == []
    listing = tabulate_sides(skeleton(MOUSE, unpaired=(1, 2, 3, 4)))
    assert listing.rows == [("none", "none")]
    (remark,) = listing.remarks
    assert "paw1LH, paw2LF, paw3RF, paw4RH" in remark
    listing = tabulate_sides(skeleton(["C7", "T12", "L1"]))
    assert listing.remarks == ["no left–right pairs are known: mirrored images keep every joint's name"]
    # the list in dataset.flip_pairs leaves the hind legs out
    listing = tabulate_sides(skeleton(["LF", "RF", "LH", "RH"], pairs=[(0, 1)]))
    assert listing.remarks == ["names that look like sides, but are in no pair: LH, RH"]


def test_joints_of_given_pairs_are_drawn_in_the_colours_of_their_sides():
    named = skeleton(["r_hip", "l_hip", "L1"], pairs=[(0, 1)])
    right, left, middle = (SIDE_COLOURS[side] for side in ("right", "left", "middle"))
    assert get_joint_colours(named) == [right, left, middle]
    assert get_joint_colours(skeleton(["tip", "a", "b"], pairs=[(1, 2)])) == [middle, left, right]


def mouse_config(tmp_path, *overrides, joints=MOUSE):
    """The config of a tiny run on a folder of such images."""
    root = tmp_path / "mice"
    if not root.exists():
        animals(root, joints)
    return config(
        tmp_path / "run", f"dataset.root={root}", "pck=box", "initial=4", "budget=1", "rounds=2", "dataset.val=2",
        "dataset.test=2", *overrides, dataset=("dataset=coco",),
    )  # fmt: skip


def test_a_run_is_refused_before_anything_is_built(tmp_path):
    cached = ("crop.cache=true", f"paths.cache_dir={tmp_path / 'cache'}")
    with pytest.raises(ConfigError, match=r"^augmentation.flip=0.5: .*dataset.flip_pairs=\[\[paw1LH,paw4RH\]"):
        build.build_run(mouse_config(tmp_path, *cached))
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()
    with pytest.raises(ConfigError, match=r"^scoring.views=flip: "):
        build.build_run(mouse_config(tmp_path, "augmentation.flip=0", "scoring.views=flip"))
    for remedy in ("dataset.flip_pairs=[[paw1LH,paw4RH],[paw2LF,paw3RF]]", "dataset.flip_pairs=[]",
                   "augmentation.flip=0"):  # fmt: skip
        assert build.build_run(mouse_config(tmp_path, remedy)).data.dataset.skeleton.joints == tuple(MOUSE)


def test_a_refusal_to_come_is_a_problem_of_the_data(tmp_path):
    task = pose_task(animals(tmp_path, MOUSE), normaliser="box")
    assert find_problems(task, decode=False) == []
    (problem,) = find_problems(task, decode=False, flip=0.5)
    assert problem.startswith("augmentation.flip=0.5: ") and "dataset.flip_pairs=[[paw1LH,paw4RH]" in problem


def test_a_run_without_pairs_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        build.build_run(mouse_config(tmp_path, joints=["C7", "T12", "L1", "L2", "L5"]))
    assert "no left–right pairs are known" in caplog.text


def test_pairs_are_recorded_only_where_older_runs_would_have_had_others(tmp_path):
    """Runs of older programs have not recorded theirs: they resume with the same ones."""

    def recorded(joints, *overrides):
        root = tmp_path / joints[1]
        built = build.build_run(mouse_config(root, *overrides, joints=joints))
        return built.result_settings.get("dataset.flip_pairs", "nothing")

    usual = ["nose", "l_hip", "r_hip", "left_eye", "right_eye"]
    assert recorded(usual) == "nothing"
    assert recorded(usual, "dataset.flip_pairs=[[r_hip,l_hip],[left_eye,right_eye]]") == "nothing"
    assert recorded(usual, "dataset.flip_pairs=[]") == []
    codes = ["snout", "LF", "RF", "LH", "RH"]
    assert recorded(codes) == [["LF", "RF"], ["LH", "RH"]]
    assert recorded(codes, "dataset.flip_pairs=[]") == "nothing", "these are what older programs found"
    assert recorded(codes, "augmentation.flip=0") == "nothing", "results do not depend on them"
    assert recorded(codes, "augmentation.flip=0", "scoring.views=flip") == [["LF", "RF"], ["LH", "RH"]]


@pytest.mark.slow
def test_a_pool_does_not_grow_under_other_pairs(tmp_path):
    codes = ["snout", "LF", "RF", "LH", "RH"]
    root = tmp_path / "mice"
    animals(root, codes)
    table = json.loads((root / "annotations.json").read_text())
    splits = {"first": (1, 5), "more": (6, 6), "val": (7, 8), "test": (9, 10)}
    for name, (first, last) in splits.items():
        part = dict(table)
        for key in ("images", "annotations"):
            part[key] = [entry for entry in table[key] if first <= entry["id"] <= last]
        (root / f"{name}.json").write_text(json.dumps(part))
    fixed = ("dataset.val=null", "dataset.test=null", "trainer.max_epochs=1")
    files = "dataset.annotations={train:[%s],val:val.json,test:test.json}"
    begun = (*fixed, files % "first.json", "dataset.flip_pairs=[]", "rounds=1")
    loop.run_rounds(build.build_run(mouse_config(tmp_path, *begun)))
    grown = (*fixed, files % "first.json,more.json", "pool.grow=true")
    with pytest.raises(OccupiedError, match=r"dataset.flip_pairs: None → \[\['LF', 'RF'\], \['LH', 'RH'\]\]"):
        loop.run_rounds(build.build_run(mouse_config(tmp_path, *grown)))
    loop.run_rounds(build.build_run(mouse_config(tmp_path, *grown, "dataset.flip_pairs=[]")))
