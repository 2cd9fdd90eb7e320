"""Images whose pixels change between two starts of a run, under the same names."""

import os
import shutil

import cv2
import numpy as np
import pytest
from helpers import rank_work
from helpers.coco_folders import content, folder
from helpers.experiments import rows, tiny
from helpers.rank_processes import on_ranks
from helpers.run_dirs import Grey

from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.errors import OccupiedError
from llpp.rounds import image_files, loop
from llpp.rounds.image_files import UNREAD, check_images, read_images, write_images
from llpp.rounds.run import RunData
from llpp.run_dir.state import RunState

STATE = RunState({}, ("coco/0001.png#101",), {})
COCO = (
    "dataset=coco",
    "dataset.val=2",
    "dataset.test=2",
    "initial=4",
    "budget=2",
    "rounds=2",
    "trainer.max_epochs=1",
)


def build(root, crops=None):
    return RunData(CocoKeypoints(str(root), val=1, test=1), None, crops, None)


@pytest.fixture
def begun(tmp_path):
    """A folder of eight images, and a run directory that knows them."""
    folder(tmp_path / "data", content(8))
    (tmp_path / "run").mkdir()
    write_images(tmp_path / "run", check_images(tmp_path / "run", STATE, build(tmp_path / "data"), True, False))
    return tmp_path


def check(begun, crops=None, state=STATE, root=None):
    """What a later start finds."""
    return check_images(begun / "run", state, build(root or begun / "data", crops), False, False)


def count_reads(monkeypatch):
    """The files that are read from now on."""
    read = []
    read_bytes = image_files.read_bytes

    def read_and_count(path, most):
        read.append(path.name)
        return read_bytes(path, most)

    monkeypatch.setattr(image_files, "read_bytes", read_and_count)
    return read


def test_images_that_nobody_has_touched_are_not_read_again(begun, monkeypatch):
    read = count_reads(monkeypatch)
    assert check(begun) is None and not read
    assert read_images(begun / "run").names == [f"images/{n:04d}.png" for n in range(1, 9)]


def test_other_pixels_under_the_same_name_and_size_are_refused_by_name(begun):
    path = begun / "data/images/0003.png"
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(OccupiedError) as refused:
        check(begun)
    assert str(refused.value) == (
        f"{begun}/run was started with other images: 1 of 8 have changed ('images/0003.png' among them); put back "
        "those that it began with, or choose another name=…"
    )


def test_another_size_and_a_missing_image_are_refused_too(begun):
    (begun / "data/images/0002.png").write_bytes(b"another picture")
    (begun / "data/images/0008.png").unlink()
    with pytest.raises(
        OccupiedError,
        match=r"1 of 8 have changed \('images/0002.png' .*; 1 of 8 are missing \('images/0008.png' among",
    ):
        check(begun)


def test_a_copy_with_other_dates_is_read_once_and_accepted(begun, monkeypatch):
    shutil.copytree(begun / "data", begun / "elsewhere", copy_function=shutil.copyfile)
    read = count_reads(monkeypatch)
    found = check(begun, root=begun / "elsewhere")
    assert len(read) == 8
    write_images(begun / "run", found)
    assert check(begun, root=begun / "elsewhere") is None and len(read) == 8, "its dates are known now"


def test_an_image_that_the_run_has_skipped_may_be_anything(begun):
    skipping = RunState({}, ("coco/0001.png#101",), {"coco/0004.png#104": "image 0004.png is empty"})
    (begun / "data/images/0004.png").write_bytes(b"")
    assert check(begun, state=skipping) is None
    with pytest.raises(OccupiedError):
        check(begun)


def test_new_images_join_those_that_are_known(begun, tmp_path):
    write_images(begun / "run", read_images(begun / "run").take(np.arange(5)))
    found = check(begun)
    assert len(found.names) == 8 and (found.digest != UNREAD).all()


def test_a_run_of_an_older_version_knows_no_images_and_learns_them(begun, monkeypatch):
    (begun / "run/images.parquet").unlink()
    read = count_reads(monkeypatch)
    finished = check_images(begun / "run", STATE, build(begun / "data"), False, True)
    assert finished is None and not read
    assert len(check(begun).names) == 8 and len(read) == 8


def test_a_damaged_table_is_written_anew(begun):
    path = begun / "run/images.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert read_images(begun / "run") is None
    assert len(check(begun).names) == 8


def test_with_a_crop_cache_sizes_are_compared_and_other_dates_are_said(begun, monkeypatch, caplog):
    read = count_reads(monkeypatch)
    crops = object()
    kept = check_images(begun / "run", STATE, build(begun / "data", crops), True, False)
    assert (kept.digest == UNREAD).all() and not read
    write_images(begun / "run", kept)
    os.utime(begun / "data/images/0001.png", (0, 0))
    assert not caplog.messages
    write_images(begun / "run", check(begun, crops))
    (said,) = caplog.messages
    assert "1 of 8 images have another date than before ('images/0001.png' among them)" in said
    (begun / "data/images/0001.png").write_bytes(b"another picture")
    with pytest.raises(OccupiedError, match="1 of 8 have changed"):
        check(begun, crops)
    assert not read


def test_images_in_memory_are_compared_by_their_pixels(tmp_path):
    class Stored(Grey):
        """Six grey images out of one file."""

        pixel_digest = "of all of them"
        level = 128

        def load(self, row):
            return np.full((4, 4, 3), self.level if row == 2 else 1, dtype=np.uint8)

    data = RunData(Stored(), None, None, None)
    write_images(tmp_path, check_images(tmp_path, STATE, data, True, False))
    assert check_images(tmp_path, STATE, data, False, False) is None
    data.dataset.level = 129
    with pytest.raises(OccupiedError, match=r"1 of 6 have changed \('grey/2' among them\)"):
        check_images(tmp_path, STATE, data, False, False)


def test_images_that_the_program_draws_are_not_recorded(tmp_path):
    assert check_images(tmp_path, STATE, RunData(Grey(), None, None, None), True, False) is None


def test_base_models_are_not_shared_between_images_of_one_size(begun):
    before = image_files.hash_images(begun / "run", build(begun / "data"), [1, 2])
    others = image_files.hash_images(begun / "run", build(begun / "data"), [0, 1])
    table = read_images(begun / "run")
    digest = table.digest.copy()
    digest[2] += np.uint64(1)
    write_images(begun / "run", image_files.ImageTable(table.names, table.size, table.changed_ns, digest))
    assert image_files.hash_images(begun / "run", build(begun / "data"), [1, 2]) != before
    assert image_files.hash_images(begun / "run", build(begun / "data"), [0, 1]) == others


@pytest.mark.slow
def test_ranks_read_a_share_each_and_agree(begun):
    first, second = on_ranks(2, rank_work.described_images, begun / "data", begun / "run")
    known = read_images(begun / "run")
    assert first == second == (list(known.names), known.size.tolist(), known.digest.tolist())


@pytest.mark.slow
def test_a_run_refuses_to_go_on_with_other_pixels(tmp_path):
    root = folder(tmp_path / "data", content(16))
    settings = (*COCO, f"dataset.root={root}")
    loop.run_rounds(tiny(tmp_path / "run", *settings, dataset=()))
    assert len(read_images(tmp_path / "run").names) == 16
    before = rows(tmp_path / "run")
    cv2.imwrite(str(root / "images/0007.png"), np.full((70, 90, 3), 121, dtype=np.uint8))
    with pytest.raises(OccupiedError, match=r"1 of 16 have changed \('images/0007.png' among them\)"):
        loop.run_rounds(tiny(tmp_path / "run", *settings, "rounds=3", dataset=()))
    cv2.imwrite(str(root / "images/0007.png"), np.full((70, 90, 3), 120, dtype=np.uint8))
    loop.run_rounds(tiny(tmp_path / "run", *settings, "rounds=3", dataset=()))
    assert len(rows(tmp_path / "run")) == len(before) + 1
    chosen = (tmp_path / "run/round_00/selected.csv").read_text().splitlines()
    names = CocoKeypoints(str(root)).records.images
    assert chosen[0] == "rank,id,file,predicted_loss"
    for line in chosen[1:]:
        _, name, file, _ = line.split(",")
        assert file in names and name.startswith(f"coco/{file.removeprefix('images/')}#")
