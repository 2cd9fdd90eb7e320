"""The published LSP and LSPET folders, real and made up, whole and damaged."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from helpers.lsp_folders import change, folder

from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.datasets.lsp.joints_mat import read_joints
from llpp.errors import ConfigError, DataError

pytestmark = pytest.mark.slow  # large files

DATA = Path(os.environ.get("LLPP_DATA", "data"))
LSPET, LSP = DATA / "lspet", DATA / "lsp"
needs_lspet = pytest.mark.skipif(not LSPET.is_dir(), reason="the LSPET photographs are not on this machine")
needs_lsp = pytest.mark.skipif(not LSP.is_dir(), reason="LSP's joints.mat is not on this machine")


def test_lsp_flags_mean_occluded(tmp_path):
    folder(tmp_path, extended=False)
    change(tmp_path, lambda table: table[2, 3].__setitem__(5, 1))
    data = LeedsSportsPose(str(tmp_path), val=2, test=3)
    assert data.name == "lsp" and data.records.ids[5] == "lsp/im0006"
    assert data.records.labels.visible[5, 3] == 1 and (np.delete(data.records.labels.visible[5], 3) == 2).all()
    assert np.isfinite(data.records.labels.joints).all()


def test_lspet_joints_without_the_flag_count_nowhere(tmp_path):
    raw = folder(tmp_path)

    def hide(table):
        table[0, :, 2] = [-250, 0, 0]  # meaningless coordinates, as in the published file
        table[13, :, 2] = [0, 0, 0]

    change(tmp_path, hide)
    data = LeedsSportsPose(str(tmp_path), val=1, test=1)
    assert data.name == "lspet" and data.records.ids[2] == "lspet/im00003"
    assert (
        np.isnan(data.records.labels.joints[2, [0, 13]]).all()
        and (data.records.labels.visible[2, [0, 13]] == 0).all()
    )
    kept = raw[1:13, :2, 2]
    expected = [*kept.min(axis=0), *np.ptp(kept, axis=0)]
    np.testing.assert_allclose(data.records.boxes[2], expected, rtol=1e-5)


def test_the_last_images_are_the_test_split(tmp_path):
    folder(tmp_path, extended=False)
    data = LeedsSportsPose(str(tmp_path), val=2, test=3)
    assert data.records.split.tolist() == ["train"] * 3 + ["val"] * 2 + ["test"] * 3


def test_a_random_split_is_stable_and_train_is_limited(tmp_path):
    folder(tmp_path, count=12)
    many, few = (LeedsSportsPose(str(tmp_path), 2, 3, train=n, split_seed=0).records for n in (None, 4))
    splits = {i: s for i, s in zip(many.ids, many.split, strict=True)}
    assert len(few.ids) == 9 and (few.split == "train").sum() == 4
    assert all(splits[i] == s for i, s in zip(few.ids, few.split, strict=True))
    other = LeedsSportsPose(str(tmp_path), 2, 3, split_seed=1).records
    assert splits != dict(zip(other.ids, other.split, strict=True))


def test_images_are_rgb(tmp_path):
    folder(tmp_path)
    red = np.zeros((60, 80, 3), dtype=np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "images/im00001.jpg"), red)
    pixels = LeedsSportsPose(str(tmp_path), 1, 1).load(0)
    assert pixels.shape == (60, 80, 3) and pixels[30, 40, 0] > 240 and pixels[30, 40, 2] < 15


def test_a_missing_folder_says_where_it_looked_and_what_to_do(tmp_path):
    with pytest.raises(
        DataError, match=r"no joints.mat in .*nowhere; unpack the published archive .*see docs/datasets.md$"
    ):
        LeedsSportsPose(str(tmp_path / "nowhere"), 1, 1)


def test_a_folder_without_images_says_so(tmp_path):
    folder(tmp_path)
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"LSPET has no images in .*images; unpack"):
        LeedsSportsPose(str(tmp_path), 1, 1).check()


@pytest.mark.parametrize("table", [np.zeros((13, 3, 4)), np.zeros((14, 3)), np.zeros((3, 14, 2, 2)), np.array(["a"])])
def test_joints_of_another_shape_are_refused(tmp_path, table):
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": table})
    with pytest.raises(DataError, match=r"joints of shape \(.*\); expected \(3, 14, N\) for LSP or \(14, 3, N\)"):
        read_joints(tmp_path / "joints.mat")


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file, but not really", None])
def test_a_truncated_file_is_refused(tmp_path, content):
    folder(tmp_path)
    whole = (tmp_path / "joints.mat").read_bytes()
    (tmp_path / "joints.mat").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError, match="cannot be read"):
        read_joints(tmp_path / "joints.mat")


def test_a_labelled_joint_without_coordinates_names_its_image(tmp_path):
    folder(tmp_path)
    change(tmp_path, lambda table: table[4, 0].__setitem__(6, np.nan))
    with pytest.raises(DataError, match="image 7 has a labelled joint without coordinates"):
        read_joints(tmp_path / "joints.mat")


def test_splits_that_do_not_fit_are_refused(tmp_path):
    folder(tmp_path)
    with pytest.raises(ConfigError, match=r"dataset.val=3, dataset.test=5 and .* do not split 8 images"):
        LeedsSportsPose(str(tmp_path), 3, 5)
    with pytest.raises(ConfigError, match=r"dataset.box='tight' is not known"):
        LeedsSportsPose(str(tmp_path), 1, 1, box="tight")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "is truncated"),
        (lambda path: path.write_text("not an image"), "cannot be decoded"),
    ],
)
def test_a_bad_image_is_found_and_named(tmp_path, spoil, reason):
    folder(tmp_path)
    spoil(tmp_path / "images/im00004.jpg")
    bad = LeedsSportsPose(str(tmp_path), 1, 1).find_bad_images(range(8))
    assert list(bad) == [3] and "im00004.jpg" in bad[3] and reason in bad[3]


def test_a_shift_starts_and_validates_with_upright_people_only(tmp_path):
    folder(tmp_path, count=12)
    heights = np.array([50, 40, 30, 30, 40, 50, 30, 20, 12, 12, 20, 30, 10, 5])  # y is down: ankles 50, head 5

    def pose(table):
        for n in range(12):
            table[:, 1, n] = heights if n < 8 else 59 - heights
        table[[2, 3], :, 0] = [-9, 0, 0]  # without hips nobody can tell

    change(tmp_path, pose)
    data = LeedsSportsPose(str(tmp_path), val=2, test=4, split_seed=1, start="upright")
    table = data.records
    standing = {f"lspet/im{n:05d}" for n in range(2, 9)}
    start = {table.ids[row] for row in np.flatnonzero(table.may_start)}
    assert (
        start | {table.ids[row] for row in table.select_rows("val")} <= standing
        and len(table.select_rows("val")) == 2
    )
    train, test = ({table.ids[row] for row in table.select_rows(s)} for s in ("train", "test"))
    assert start < train and len(train) == 6 and len(test) == 4
    assert (train | test) - standing == set(table.ids) - standing, "the others are in the pool or tested"
    again = LeedsSportsPose(str(tmp_path), val=2, test=4, split_seed=1, start="any").records
    assert {again.ids[row] for row in again.select_rows("test")} == test, "the test set does not depend on it"


@needs_lspet
def test_the_real_shift_is_real():
    """Counted independently: about half of the copy's people stand upright."""
    data = LeedsSportsPose(str(LSPET), val=300, test=1000, split_seed=0, start="upright")
    joints, table = data.records.labels.joints, data.records
    at = {name: joints[:, i, 1] for i, name in enumerate(data.skeleton.joints)}
    hips, ankles = (np.ma.masked_invalid([at[f"l_{n}"], at[f"r_{n}"]]).mean(axis=0) for n in ("hip", "ankle"))
    standing = ((at["head_top"] < hips) & (hips < ankles)).filled(False)
    share = {split: standing[table.select_rows(split)].mean() for split in ("train", "val", "test")}
    assert standing[table.may_start].all() and share["val"] == 1
    assert 0.4 < share["train"] < 0.6 and 0.4 < share["test"] < 0.6


def test_no_code_of_the_datasets_folder_is_run(tmp_path, monkeypatch):
    folder(tmp_path)
    (tmp_path / "scipy.py").write_text("open('planted', 'w')\n")
    monkeypatch.chdir(tmp_path)
    LeedsSportsPose(".", val=1, test=1)
    assert not (tmp_path / "planted").exists()


@needs_lspet
def test_the_real_photographs_are_read_as_formats_say():
    joints, visible, digits = read_joints(LSPET / "joints.mat")
    assert joints.shape == (8000, 14, 2) and digits == 5
    assert set(np.unique(visible)) == {0, 2} and np.isnan(joints[visible == 0]).all()
    data = LeedsSportsPose(str(LSPET), val=100, test=500, split_seed=0)
    assert not data.find_bad_images(range(0, 8000, 40))
    assert len({*data.records.images}) == 8000


@needs_lsp
def test_the_real_lsp_table_has_its_published_numbers():
    joints, visible, digits = read_joints(LSP / "joints.mat")
    assert joints.shape == (2000, 14, 2) and digits == 4
    assert (visible == 1).sum() == 2044 and (visible == 2).sum() == 28000 - 2044
