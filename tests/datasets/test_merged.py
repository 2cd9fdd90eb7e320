"""Datasets that are put together: joints by name, records in their places, LSP before LSPET."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.lsp_folders import folder

from llpp.config import build
from llpp.datasets.base import Records
from llpp.datasets.flip_pairs import resolve_flip_pairs
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.datasets.merged import MergedDataset
from llpp.datasets.pose import Normaliser, PoseDataset, PoseLabels, Skeleton
from llpp.errors import ConfigError, DataError

pytestmark = pytest.mark.slow  # large files

DATA = Path(os.environ.get("LLPP_DATA", "data"))


class Few(PoseDataset):
    """Three persons, one per split, whose joint k of person r lies at (k, r) and whose image is all `shade`."""

    def __init__(self, name, joints, shade, sizes=()):
        count = 3
        self.name, self.shade = name, shade
        at = {joint: k for k, joint in enumerate(joints)}
        pairs = ((at["l_hip"], at["r_hip"]),) if "l_hip" in at else ()
        self.skeleton = Skeleton(tuple(joints), pairs, ((0, 1), (1, 2)), ())
        grid = np.stack(np.broadcast_arrays(np.arange(len(joints)), np.arange(count)[:, None]), axis=-1)
        lengths = {}
        for size in sizes:
            lengths[size] = Normaliser(np.full(3, shade, np.float32), np.full(3, size == "head"), f"{size} of {name}")
        self.records = Records(
            ids=tuple(f"{name}/{r}" for r in range(count)),
            images=("one", "two", "three"),
            split=np.array(["train", "val", "test"]),
            boxes=np.full((count, 4), shade, dtype=np.float32),
            box_source="image",
            may_start=np.array([True, False, False]),
            labels=PoseLabels(
                self.skeleton, grid.astype(np.float32), np.full((count, len(joints)), 2, dtype=np.uint8), lengths
            ),
        )

    def load(self, row):
        return np.full((4, 4, 3), self.shade + row, dtype=np.uint8)


def pair():
    first = Few("a", ["neck", "l_hip", "r_hip", "tail"], 10, ("head", "mass"))
    second = Few("b", ["r_hip", "pelvis", "upper_neck", "l_hip"], 50, ("head",))
    return MergedDataset({"a": first, "b": second}, same={"upper_neck": "neck"})


def test_joints_are_matched_by_name_in_the_first_parts_order():
    data = pair()
    assert data.skeleton.joints == ("neck", "l_hip", "r_hip")
    assert data.skeleton.flip_pairs == ((1, 2),), "the second part's pair is the same one"
    assert data.skeleton.edges == ((0, 1), (1, 2)), "edges to joints that are left out go with them"
    assert data.records.labels.joints[0, :, 0].tolist() == [0, 1, 2]
    assert data.records.labels.joints[4, :, 0].tolist() == [2, 3, 0] and data.records.labels.joints[4, 0, 1] == 1


def test_every_record_keeps_its_pixels_split_and_start():
    data = pair()
    assert data.records.ids == ("a/0", "a/1", "a/2", "b/0", "b/1", "b/2")
    assert [int(data.load(row)[0, 0, 0]) for row in range(6)] == [10, 11, 12, 50, 51, 52]
    assert data.records.split.tolist() == ["train", "val", "test"] * 2
    assert data.records.images[0] != data.records.images[3], "equal names in different parts are different images"
    assert data.records.may_start.tolist() == [True, False, False] * 2


def test_lengths_that_all_parts_know_are_kept():
    data = pair()
    assert data.get_normaliser("head").values.tolist() == [10] * 3 + [50] * 3
    assert (
        data.get_normaliser("head").estimated.all() and data.get_normaliser("head").source == "head of a; head of b"
    )
    with pytest.raises(
        ConfigError, match=r"pck.normaliser='mass' is not known .* merged; it has head or torso or box"
    ):
        data.get_normaliser("mass")


def test_only_named_parts_start():
    parts = {"a": Few("a", ["x", "y", "z"], 1), "b": Few("b", ["x", "y", "z"], 5)}
    assert MergedDataset(parts, initial=["b"]).records.may_start.tolist() == [False] * 3 + [True, False, False]
    with pytest.raises(ConfigError, match=r"initial names \['c'\]; the parts are \['a', 'b'\]"):
        MergedDataset(parts, initial=["c"])


def test_parts_without_a_common_joint_are_refused():
    with pytest.raises(ConfigError, match="no joint in common"):
        MergedDataset({"a": Few("a", ["x", "y", "z"], 1), "b": Few("b", ["u", "v", "w"], 5)})


@pytest.fixture
def both(tmp_path, compose):
    """LSP and LSPET as small folders, whose published halves are of three."""
    folder(tmp_path / "lsp", count=6, extended=False)
    folder(tmp_path / "lspet", count=9)
    return compose(
        "dataset=lsp_lspet", f"paths.data_root={tmp_path}", "dataset.parts.lsp.test=3", "dataset.parts.lspet.val=2"
    )


def test_lsp_starts_and_tests_and_lspet_is_the_pool(both):
    data = build.make_dataset(both)
    table = data.records
    start = [table.ids[row] for row in np.flatnonzero(table.may_start)]
    assert start == [f"lsp/im{n:04d}" for n in (1, 2, 3)]
    assert [table.ids[row] for row in table.select_rows("test")] == [f"lsp/im{n:04d}" for n in (4, 5, 6)]
    others = {table.ids[row] for row in (*table.select_rows("train"), *table.select_rows("val"))} - set(start)
    assert others == {f"lspet/im{n:05d}" for n in range(1, 10)} and len(table.select_rows("val")) == 2
    alone = LeedsSportsPose(both.dataset.parts.lspet.root, val=2, test=1)
    row = table.ids.index("lspet/im00004")
    assert np.array_equal(data.load(row), alone.load(alone.records.ids.index("lspet/im00004")))


def test_a_split_is_empty_on_purpose_if_all_parts_say_so(both):
    assert build.make_dataset(both).empty_splits == set()
    both.dataset.parts.lspet.val = 0
    data = build.make_dataset(both)
    assert data.empty_splits == {"val"} and not len(data.records.select_rows("val"))


def test_a_part_without_images_says_which(both):
    for image in Path(both.dataset.parts.lsp.root, "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="LSP has no images in"):
        build.make_dataset(both)


@pytest.mark.skipif(not (DATA / "lsp").is_dir(), reason="LSP's and LSPET's joints.mat are not on this machine")
def test_the_real_tables_give_the_papers_protocol(compose):
    table = build.instantiate_dataset(compose("dataset=lsp_lspet").dataset).records
    assert (
        int(table.may_start.sum()) == len(table.select_rows("test")) == 1000 and len(table.select_rows("val")) == 500
    )
    assert {table.ids[row][:6] for row in table.select_rows("test")} == {"lsp/im"}
    # 7.3 % of LSP's joints are occluded and located (counted on the published file)
    lsp = np.array([i.startswith("lsp/") for i in table.ids])
    assert (table.labels.visible[lsp] == 1).mean() == pytest.approx(0.073, abs=5e-4) and (
        table.labels.visible[lsp] > 0
    ).all()


class Sided(Few):
    """`Few` with the pairs that its names say, or others."""

    def __init__(self, name, joints, flip_pairs="auto"):
        super().__init__(name, joints, 10)
        pairs, unpaired = resolve_flip_pairs(flip_pairs, joints)
        self.skeleton = replace(self.skeleton, flip_pairs=pairs, unpaired=unpaired)
        labels = replace(self.records.labels, skeleton=self.skeleton)
        self.records = replace(self.records, labels=labels)


def test_a_joint_whose_partner_is_not_common_has_none():
    parts = {"a": Sided("a", ["nose", "LF", "RF", "LH", "RH"]), "b": Sided("b", ["RF", "nose", "LF", "LH"])}
    skeleton = MergedDataset(parts).skeleton
    assert skeleton.joints == ("nose", "LF", "RF", "LH")
    assert skeleton.flip_pairs == ((1, 2),) and skeleton.unpaired == (3,)


def test_a_joint_has_a_partner_if_any_part_knows_it():
    names = ["nose", "paw1LH", "paw4RH"]
    parts = {"a": Sided("a", names), "b": Sided("b", names, [["paw1LH", "paw4RH"]])}
    skeleton = MergedDataset(parts).skeleton
    assert skeleton.flip_pairs == ((1, 2),) and skeleton.unpaired == ()


def test_pairs_of_the_whole_can_be_given():
    names = ["nose", "paw1LH", "paw4RH"]
    parts = {"a": Sided("a", names), "b": Sided("b", names)}
    assert MergedDataset(parts).skeleton.unpaired == (1, 2)
    given = MergedDataset(parts, flip_pairs=[["paw1LH", "paw4RH"]]).skeleton
    assert given.flip_pairs == ((1, 2),) and given.unpaired == ()
    with pytest.raises(
        ConfigError, match=r"flip_pairs names tail, which is no joint; the joints are nose, paw1LH, pa"
    ):
        MergedDataset(parts, flip_pairs=[["tail", "nose"]])


def test_parts_that_contradict_each_other_are_refused():
    names = ["nose", "a", "b", "c"]
    parts = {"one": Sided("one", names, [["a", "b"]]), "two": Sided("two", names, [["c", "b"]])}
    with pytest.raises(ConfigError, match=r"pair b with different joints; name all pairs in dataset.flip_pairs"):
        MergedDataset(parts)
