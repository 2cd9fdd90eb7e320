import copy

import numpy as np
import pytest

from llpp.datasets.pose import compute_torso_lengths
from llpp.datasets.synthetic import body
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.errors import ConfigError

NONE = {"initial": 0, "pool": 0, "val": 0, "test": 0}
LEFT_RIGHT = [("r_shoulder", "l_shoulder"), ("r_hip", "l_hip")]


def figures(**settings):
    return SyntheticFigures(**{**NONE, **settings})


def joint(data, row, name):
    return data.records.labels.joints[row, data.skeleton.joints.index(name)].astype(float)


def silhouette(data, row, monkeypatch):
    """Where drawing the body changes the image, found without asking where its joints are."""
    fresh = copy.deepcopy(data)  # a dataset keeps what it has drawn
    full = data.load(row).astype(int)
    with monkeypatch.context() as patch:
        patch.setattr(body, "draw_body", lambda *_: None)
        empty = copy.deepcopy(fresh).load(row).astype(int)
    return np.abs(full - empty).max(axis=-1) > 12


def test_one_seed_gives_one_dataset():
    first, second, other = figures(pool=6), figures(pool=6), figures(pool=6, seed=1)
    for row in range(6):
        assert np.array_equal(first.load(row), second.load(row))
        assert np.array_equal(first.load(row), first.load(row))
        assert not np.array_equal(first.load(row), other.load(row))
    assert np.array_equal(first.records.labels.joints, second.records.labels.joints)
    assert not np.allclose(first.records.labels.joints, other.records.labels.joints)


def test_figures_stay_when_groups_grow():
    small = figures(initial=4, pool=5, val=3, test=2)
    large = figures(initial=9, pool=30, val=8, test=5)
    where = {id_: row for row, id_ in enumerate(large.records.ids)}
    for row, id_ in enumerate(small.records.ids):
        assert np.array_equal(small.records.labels.joints[row], large.records.labels.joints[where[id_]])
        assert np.array_equal(small.load(row), large.load(where[id_]))


def test_groups_and_splits():
    records = figures(initial=4, pool=5, val=3, test=2).records
    assert [len(records.select_rows(split)) for split in ("train", "val", "test")] == [9, 3, 2]
    assert records.may_start.tolist() == [True] * 4 + [False] * 10
    assert len(set(records.ids)) == 14 and records.images == records.ids
    flat = records.labels.joints.reshape(14, -1)
    assert len(np.unique(flat, axis=0)) == 14, "no figure stands in two groups"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_hard_share_and_its_gap(share):
    difficulty = figures(pool=200, hard_pool=share).records.difficulty
    assert abs((difficulty > 0.5).sum() - 200 * share) <= 2
    assert not ((difficulty > 0.4) & (difficulty < 0.6)).any()
    assert (difficulty >= 0).all() and (difficulty <= 1).all()


def test_each_group_has_its_own_share():
    settings = {"hard_initial": 0.0, "hard_pool": 0.5, "hard_val": 0.25, "hard_test": 1.0}
    data = figures(initial=40, pool=40, val=40, test=40, **settings)
    shares = (data.records.difficulty.reshape(4, 40) > 0.5).mean(axis=1)
    assert np.allclose(shares, list(settings.values()), atol=0.05)


def test_the_average_pose_fits_easy_figures_and_fails_on_hard_ones():
    data = figures(initial=150, val=150, test=150, hard_val=0.0, hard_test=1.0)
    records = data.records
    placed = (records.labels.joints - records.boxes[:, None, :2]) / records.boxes[:, None, 2:].max(
        axis=-1, keepdims=True
    )
    error = np.linalg.norm(placed - placed[records.may_start].mean(axis=0), axis=-1)
    error *= records.boxes[:, 2:].max(axis=1, keepdims=True)
    near = (
        error
        < 0.2 * compute_torso_lengths(records.labels.joints, records.labels.visible, data.skeleton.torso)[:, None]
    )
    assert near[records.select_rows("val")].mean() > 0.4
    assert near[records.select_rows("test")].mean() < 0.15


def test_difficulty_ranks_how_far_bodies_turn():
    data = figures(test=300, hard_test=1.0)
    turned = []
    for row in range(300):
        hips = (joint(data, row, "r_hip") + joint(data, row, "l_hip")) / 2
        up = joint(data, row, "neck") - hips
        turned.append(abs(np.degrees(np.arctan2(up[0], -up[1]))))
    turned = np.array(turned)
    assert (turned > 50).mean() > 0.8
    middle = np.median(data.records.difficulty)
    assert turned[data.records.difficulty > middle].mean() > turned[data.records.difficulty < middle].mean() + 10


def test_easy_figures_face_the_viewer_upright():
    data = figures(initial=100)
    for row in range(100):
        for right, left in LEFT_RIGHT:
            assert joint(data, row, right)[0] < joint(data, row, left)[0], "its right is at the image's left"
        heights = [joint(data, row, name)[1] for name in ("head_top", "neck", "r_hip", "r_knee", "r_ankle")]
        assert heights == sorted(heights)


@pytest.mark.parametrize("size", [48, 96, 256])
def test_images_and_joints_fit_the_size(size):
    data = figures(pool=20, hard_pool=0.5, size=size)
    assert all((image := data.load(row)).shape == (size, size, 3) and image.dtype == np.uint8 for row in range(20))
    assert data.records.labels.joints.dtype == np.float32
    assert (data.records.labels.joints > 0).all() and (data.records.labels.joints < size - 1).all()
    large = figures(pool=20, hard_pool=0.5, size=size * 2 if size < 128 else 128)
    ratio = large.size / size
    assert np.allclose((data.records.labels.joints + 0.5) * ratio, large.records.labels.joints + 0.5, atol=1e-3)


@pytest.mark.parametrize("size", [64, 128])
def test_limbs_are_painted_around_their_bones(size, monkeypatch):
    """Across the middle of a free forearm the silhouette is centred on the line from elbow to wrist."""
    data = figures(initial=25, size=size)
    offsets = []
    for row in range(25):
        inside = silhouette(data, row, monkeypatch)
        for side in "rl":
            elbow, wrist = joint(data, row, f"{side}_elbow"), joint(data, row, f"{side}_wrist")
            along = (wrist - elbow) / np.linalg.norm(wrist - elbow)
            across = np.array([-along[1], along[0]])
            steps = np.arange(-0.1 * size, 0.1 * size, 0.1)
            path = np.rint((elbow + wrist) / 2 + steps[:, None] * across).astype(int)
            hit = inside[path[:, 1], path[:, 0]]
            edges = np.flatnonzero(np.diff(hit.astype(int)))
            if len(edges) == 2 and not hit[0]:  # a free arm: background, limb, background
                offsets.append(steps[edges].mean())
    assert len(offsets) > 10
    assert abs(np.mean(offsets)) < 0.25 and np.abs(offsets).max() < 1.5, "pixels"


def test_joints_and_box_lie_on_the_painted_body(monkeypatch):
    data = figures(pool=30, hard_pool=0.0)
    for row in range(30):
        inside = silhouette(data, row, monkeypatch)
        ys, xs = np.nonzero(inside)
        x, y, width, height = data.records.boxes[row]
        painted = [xs.min(), ys.min(), xs.max(), ys.max()]
        assert np.allclose(painted, [x, y, x + width, y + height], atol=1.6)
        for place in data.records.labels.joints[row]:
            column, line = np.rint(place).astype(int)
            assert inside[line - 1 : line + 2, column - 1 : column + 2].any()
        assert abs(joint(data, row, "head_top")[1] - ys.min()) < 2.5, "the top of the head is the top of the body"


def test_covered_joints_are_coded_occluded(monkeypatch):
    """Hidden joints look the same whether or not the body is painted; most visible ones do not."""
    data = figures(pool=40, hard_pool=1.0)
    records = data.records
    assert (figures(initial=40).records.labels.visible == 2).all(), "nothing stands before easy figures"
    assert set(np.unique(records.labels.visible)) == {1, 2}
    assert 0.05 < (records.labels.visible == 1).mean() < 0.35
    assert (records.labels.visible == 1).any(axis=1).mean() > 0.8
    changed = {1: [], 2: []}
    for row in range(40):
        inside = silhouette(data, row, monkeypatch)
        for (x, y), visible in zip(
            np.rint(records.labels.joints[row]).astype(int), records.labels.visible[row], strict=True
        ):
            changed[int(visible)].append(inside[y, x])
    assert np.mean(changed[1]) < 0.1
    assert np.mean(changed[2]) > 0.85


def test_boxes():
    annotation, joints, image = (figures(pool=10, box=box).records for box in ("annotation", "joints", "image"))
    assert (annotation.box_source, joints.box_source, image.box_source) == ("annotation", "joints", "image")
    assert annotation.ground_truth_boxes and joints.ground_truth_boxes and not image.ground_truth_boxes
    assert np.isnan(image.boxes).all()
    assert np.allclose(joints.boxes[:, :2], joints.labels.joints.min(axis=1))
    assert (annotation.boxes[:, :2] < joints.boxes[:, :2] + 1e-3).all()
    assert (annotation.boxes[:, 2:] > joints.boxes[:, 2:] - 1e-3).all()
    assert (annotation.boxes[:, :2] >= 0).all()
    assert (annotation.boxes[:, :2] + annotation.boxes[:, 2:] <= 95).all()
    assert annotation.boxes[:, 2:].max(axis=1).mean() > 0.65 * 96


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pool": -1}, "dataset.pool=-1 is invalid; expected a whole number, 0 or more"),
        ({"val": 2.5}, "dataset.val=2.5 is invalid; expected a whole number, 0 or more"),
        ({"seed": -3}, "dataset.seed=-3 is invalid; expected a whole number, 0 or more"),
        ({"hard_pool": 1.2}, "dataset.hard_pool=1.2 is invalid; expected a share from 0 to 1"),
        ({"hard_test": -0.1}, "dataset.hard_test=-0.1 is invalid; expected a share from 0 to 1"),
        ({"hard_val": float("nan")}, "dataset.hard_val=nan is invalid; expected a share from 0 to 1"),
        ({"size": 32}, "dataset.size=32 is invalid; expected an image side of 48 to 256 pixels"),
        ({"box": "hull"}, "dataset.box='hull' is not known; use annotation, joints, image"),
    ],
)
def test_bad_settings_are_one_sentence(settings, sentence):
    with pytest.raises(ConfigError) as caught:
        figures(**settings)
    assert str(caught.value) == sentence


def test_no_figures_at_all_is_an_empty_table():
    records = figures().records
    assert records.ids == () and records.labels.joints.shape == (0, 14, 2) and records.boxes.shape == (0, 4)


def test_jobs_of_one_process_share_what_is_drawn():
    first, second, other = figures(pool=3), figures(pool=3, box="image"), figures(pool=4)
    assert first.load(1) is second.load(1)
    assert np.array_equal(first.load(1), other.load(1)), "whatever the number of figures"
