"""Images of a project: found in any folder and format, known again under other names, and never changed silently."""

import fcntl
import os
import shutil
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.project_folders import (
    JOINTS,
    conditions,
    draw,
    labelling_folder,
    make_images,
    open_folder,
    save,
    save_snapshot,
    split_of,
)
from helpers.turned_jpegs import encode, encode_webp, exif, store

from llpp.datasets.images import read_reduced
from llpp.datasets.project.dataset import ProjectDataset
from llpp.datasets.project.folder_content import list_folder
from llpp.datasets.project.index import read_index
from llpp.datasets.project.open_project import ProjectOptions, open_project
from llpp.datasets.project.project_file import read_project
from llpp.errors import ConfigError, DataError, OccupiedError, StateError

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "field_samples"


def list_by_id(index, column):
    return dict(zip(index.ids, getattr(index, column), strict=True))


def write_cmyk(path, rgb):
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(rgb).convert("CMYK").save(path, quality=98)


def test_all_kinds_of_pictures_and_names_are_images(tmp_path):
    root = tmp_path / "mice"
    pixels = draw(1)
    grey = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    save(root / "colour.png", pixels)
    save(root / "LOUD.JPG", draw(2))
    save(root / "camera.jfif", draw(3))
    save(root / "with space.bmp", draw(4))
    save(root / "häschen äöü.tif", draw(5))
    save(root / "no#4.WEBP", draw(6))
    save(root / "day 1" / "deep" / "er.jpeg", draw(7))
    cv2.imwrite(str(root / "deep.png"), (pixels[..., ::-1].astype(np.uint16) * 257))
    cv2.imwrite(str(root / "grey.png"), grey[..., 0])
    alpha = np.full((32, 48, 1), 255, dtype=np.uint8)
    cv2.imwrite(str(root / "opaque.png"), np.concatenate([pixels[..., ::-1], alpha], axis=2))
    write_cmyk(root / "print.jpg", pixels)
    (root / "notes.txt").write_text("no image")

    _, index, remarks = open_folder(root)

    expected = [
        "LOUD.JPG", "camera.jfif", "colour.png", "day 1/deep/er.jpeg", "deep.png", "grey.png", "häschen äöü.tif",
        "no#4.WEBP", "opaque.png", "print.jpg", "with space.bmp",
    ]  # fmt: skip
    assert sorted(index.ids) == sorted(expected) and list(index.ids) == sorted(index.ids)
    assert set(conditions(index).values()) == {"ok"} and remarks == []
    assert index.width.tolist() == [48] * 11 and index.height.tolist() == [32] * 11
    assert not index.is_own.any() and index.files == index.ids == index.found

    labels = [(image, image, "labelled", {"nose": (3, 4, 2)}, None) for image in expected]
    snapshot = save_snapshot(tmp_path / "labels.parquet", labels)
    data = ProjectDataset(str(root), str(tmp_path / "labelling" / "mice"), snapshot=str(snapshot))
    loaded = {image: data.load(row) for row, image in enumerate(data.records.images)}
    assert sorted(loaded) == sorted(expected) and {image.shape for image in loaded.values()} == {(32, 48, 3)}
    for image in ("colour.png", "deep.png", "opaque.png"):
        assert np.array_equal(loaded[image], pixels), image
    assert np.array_equal(loaded["grey.png"], grey)
    assert np.abs(loaded["print.jpg"].astype(int) - pixels).mean() < 12


def insert_orientation(png, orientation):
    """The bytes of a PNG with EXIF's orientation."""
    body = b"eXIf" + exif(orientation)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_is_labelled_and_read_as_an_upright_copy(tmp_path, orientation):
    root = tmp_path / "mice"
    root.mkdir()
    upright = draw(3)
    (root / "photo 1.JPG").write_bytes(encode(store(upright, orientation), orientation))

    _, index, _ = open_folder(root)

    assert (index.width[0], index.height[0]) == (48, 32)
    assert index.is_own[0] and index.ids[0] == "photo 1.JPG"
    copy = labelling_folder(root).path / index.files[0]
    assert copy.parent.name == "upright"
    # Read with the orientation of its own, if it had one, and without: the same.
    assert np.array_equal(
        cv2.imread(str(copy)), cv2.imread(str(copy), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    )
    assert np.abs(cv2.imread(str(copy))[..., ::-1].astype(int) - upright).mean() < 4


def test_upright_copies_lose_nothing_where_the_file_had_lost_nothing(tmp_path):
    root = tmp_path / "mice"
    root.mkdir()
    upright = draw(3)
    deep = np.random.default_rng(0).integers(0, 1 << 16, (32, 48, 3), dtype=np.uint16)
    stored_deep = np.ascontiguousarray(np.rot90(deep))  # what orientation 6 turns clockwise
    (root / "a.png").write_bytes(insert_orientation(cv2.imencode(".png", stored_deep)[1].tobytes(), 6))
    (root / "b.webp").write_bytes(encode_webp(store(upright, 8), 8))

    _, index, _ = open_folder(root)

    files = list_by_id(index, "files")
    folder = labelling_folder(root).path
    assert set(index.is_own.tolist()) == {True} and index.width.tolist() == [48, 48]
    assert np.array_equal(cv2.imread(str(folder / files["a.png"]), cv2.IMREAD_UNCHANGED), deep)
    assert np.array_equal(cv2.imread(str(folder / files["b.webp"]))[..., ::-1], upright)
    assert files["b.webp"].endswith(".png")


def test_an_upright_copy_that_was_removed_is_made_again(tmp_path):
    root = tmp_path / "mice"
    root.mkdir()
    (root / "a.jpg").write_bytes(encode(store(draw(3), 6), 6))
    _, index, _ = open_folder(root)
    copy = labelling_folder(root).path / index.files[0]
    content = copy.read_bytes()
    copy.unlink()
    open_folder(root)
    assert copy.read_bytes() == content


def test_hidden_files_and_what_llpp_wrote_are_no_images(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    save(root / ".cache" / "a.png", draw(10))
    save(root / ".hidden.png", draw(11))
    save(root / "labeled-data" / "llpp_mice_round_00" / "img0001.png", draw(12))
    save(root / "labeled-data" / "film1" / "img0001.png", draw(13))
    save(root / "llpp_own" / "a.png", draw(14))
    inside = root / "labels"
    save(inside / "round_00" / "images" / "a.png", draw(15))
    _, index, _ = open_folder(root, labelling=inside)
    assert list(index.ids) == ["im0000.png", "im0001.png", "labeled-data/film1/img0001.png", "llpp_own/a.png"]


def test_links_out_of_the_folder_are_refused_by_name_and_links_within_count_once(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    secret = save(tmp_path / "elsewhere" / "secret.png", draw(20))
    (root / "way_out.png").symlink_to(secret)
    (root / "way_out_too").symlink_to(secret.parent, target_is_directory=True)
    (root / "nowhere.png").symlink_to(root / "gone.png")
    (root / "circle").symlink_to(root, target_is_directory=True)
    (root / "again.png").symlink_to(root / "im0000.png")

    _, index, remarks = open_folder(root)

    assert list(index.ids) == ["im0000.png", "im0001.png"]
    (remark,) = remarks
    assert remark.startswith(f"3 links are refused, because what they lead to is not in {root}")
    assert "put the files themselves" in remark
    for name in ("way_out.png", "way_out_too", "nowhere.png"):
        assert str(root / name) in remark
    assert "circle" not in remark and "again" not in remark


def test_links_to_hidden_files_of_the_folder_are_images(tmp_path):
    """git-annex and the like keep the content of every file there."""
    root = tmp_path / "mice"
    make_images(root, 1)
    stored = save(root / ".git" / "annex" / "5d41402a.png", draw(20))
    (root / "day1").mkdir()
    (root / "day1" / "a.png").symlink_to(stored)
    _, index, remarks = open_folder(root)
    assert conditions(index) == {"im0000.png": "ok", "day1/a.png": "ok"} and remarks == []


def test_labels_runs_and_reports_in_the_folder_are_no_images(tmp_path):
    """As after `cd mice; llpp label .`, or with one collection of labels for several folders."""
    root = tmp_path / "mice"
    make_images(root, 2)
    for folder, files in (
        ("runs/mice/seed0", ("state.json", "config.yaml")),
        ("runs/mice", ("report.html", "differences.csv")),
        ("labelling/others", ("project.json", "index.lock")),
    ):
        save(root / folder / "a.png", draw(20))
        for file in files:
            (root / folder / file).touch()
    save(root / "notes" / "b.png", draw(21))
    (root / "notes" / "project.json").touch()
    (root / "state.json").touch()
    (root / "config.yaml").touch()
    _, index, _ = open_folder(root)
    assert list(index.ids) == ["im0000.png", "im0001.png", "notes/b.png"]


def test_a_folder_of_labels_that_cannot_be_written_is_said_in_a_sentence(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\).*dataset\.labelling="):
        open_folder(root, labelling=tmp_path / "file" / "labels")


def test_a_folder_of_images_cannot_be_that_of_labels(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    before = sorted(root.iterdir())
    with pytest.raises(ConfigError, match=r"dataset\.labelling=.* another folder"):
        open_folder(root, labelling=root)
    assert sorted(root.iterdir()) == before


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_a_turned_image_may_have_the_longest_name_that_there_can_be(tmp_path, ending):
    root = tmp_path / "mice"
    name = "w" * (255 - len(ending)) + ending
    (root / "day1").mkdir(parents=True)
    make = encode if ending == ".jpg" else encode_webp
    (root / "day1" / name).write_bytes(make(store(draw(9), 6), 6))
    _, index, _ = open_folder(root)
    assert conditions(index) == {f"day1/{name}": "ok"} and index.is_own.all()
    copy = cv2.imread(str(labelling_folder(root).path / index.files[0]))
    assert copy.shape == (32, 48, 3)


def test_a_folder_that_is_reached_by_a_link_is_as_good_as_any(tmp_path):
    make_images(tmp_path / "real", 2)
    (tmp_path / "mice").symlink_to(tmp_path / "real", target_is_directory=True)
    _, index, remarks = open_folder(tmp_path / "mice")
    assert len(index.ids) == 2 and remarks == []


def test_large_images_are_decoded_one_after_the_other(tmp_path, monkeypatch):
    """An aerial picture of 20,000 × 20,000 pixels takes 1.2 GB, and threads read as many as there are processors."""
    now = []
    most = []

    def decode(*arguments, **options):
        now.append(1)
        most.append(len(now))
        time.sleep(0.02)
        result = read_reduced(*arguments, **options)
        now.pop()
        return result

    root = tmp_path / "mice"
    make_images(root, 6)
    monkeypatch.setattr("llpp.datasets.project.image_content.read_reduced", decode)
    monkeypatch.setattr("llpp.datasets.project.image_content.LARGE", 48 * 32 - 1)
    _, index, _ = open_folder(root)
    assert set(conditions(index).values()) == {"ok"} and len(most) == 6 and max(most) == 1


def test_files_with_unprintable_names_are_left_out_and_named(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 1)
    save(root / "a\nb.png", draw(20))
    shutil.copy(root / "im0000.png", os.fsencode(root) + b"/\xff\xfe.png")
    _, index, remarks = open_folder(root)
    assert list(index.ids) == ["im0000.png"]
    assert len(remarks) == 1 and "2 files are left out" in remarks[0] and "\n" not in remarks[0]


def test_files_that_have_not_changed_are_not_read_again(tmp_path):
    """A file whose content changes behind its size and time is not noticed: it has not been read."""
    root = tmp_path / "mice"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.bmp").write_bytes(cv2.imencode(".bmp", draw(number))[1].tobytes())
    _, before, _ = open_folder(root)
    status = (root / "1.bmp").stat()
    (root / "1.bmp").write_bytes(cv2.imencode(".bmp", draw(99))[1].tobytes())
    os.utime(root / "1.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    _, after, _ = open_folder(root)
    assert after.digest.tolist() == before.digest.tolist() and np.array_equal(after.thumbnail, before.thumbnail)

    os.utime(root / "1.bmp")
    _, index, _ = open_folder(root)
    assert conditions(index) == {"0.bmp": "ok", "1.bmp": "changed", "2.bmp": "ok"}


def test_a_renamed_image_keeps_its_id_and_its_split_and_that_is_said_once(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 12)
    _, before, _ = open_folder(root)
    (root / "day1").mkdir()
    (root / "im0003.png").rename(root / "day1" / "other.png")

    _, index, remarks = open_folder(root)

    assert index.ids == before.ids and split_of(index) == split_of(before)
    assert list_by_id(index, "files")["im0003.png"] == "day1/other.png"
    assert list_by_id(index, "found")["im0003.png"] == "day1/other.png"
    assert len(remarks) == 1 and "im0003.png → day1/other.png" in remarks[0]
    _, _, remarks = open_folder(root)
    assert remarks == []


def test_images_that_exchange_their_names_keep_their_ids(tmp_path):
    """As after a series has been numbered again."""
    root = tmp_path / "mice"
    make_images(root, 4)
    _, before, _ = open_folder(root)
    (root / "im0000.png").rename(root / "aside.png")
    for number in range(1, 4):
        (root / f"im{number:04d}.png").rename(root / f"im{number - 1:04d}.png")
    (root / "aside.png").rename(root / "im0003.png")
    _, index, _ = open_folder(root)
    assert set(conditions(index).values()) == {"ok"}
    assert list_by_id(index, "digest") == list_by_id(before, "digest")
    assert list(index.found) == ["im0003.png", "im0000.png", "im0001.png", "im0002.png"]


def test_a_new_image_in_the_place_of_a_renamed_one_gets_an_id_of_its_own(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    open_folder(root)
    (root / "im0000.png").rename(root / "moved.png")
    save(root / "im0000.png", draw(50))
    _, index, _ = open_folder(root)
    assert list_by_id(index, "found") == {
        "im0000.png": "moved.png",
        "im0000~2.png": "im0000.png",
        "im0001.png": "im0001.png",
    }
    _, again, remarks = open_folder(root)
    assert again.ids == index.ids and again.found == index.found and remarks == []


def test_a_copy_of_an_image_takes_nothing_from_it(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    open_folder(root)
    shutil.copy(root / "im0000.png", root / "a_copy.png")
    os.utime(root / "im0000.png")
    _, index, _ = open_folder(root)
    assert index.ids == index.found and len(index.ids) == 3


def test_a_missing_image_is_counted_and_comes_back(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 3)
    open_folder(root)
    (root / "im0001.png").rename(tmp_path / "aside.png")
    _, index, _ = open_folder(root)
    assert conditions(index)["im0001.png"] == "missing"
    assert "missing" in list_by_id(index, "problem")["im0001.png"]
    (tmp_path / "aside.png").rename(root / "im0001.png")
    _, index, _ = open_folder(root)
    assert set(conditions(index).values()) == {"ok"} and set(index.problem) == {""}


def test_a_changed_image_is_refused_until_it_is_accepted(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    _, before, _ = open_folder(root)
    original = (root / "im0001.png").read_bytes()
    save(root / "im0001.png", draw(77, 60, 40))

    _, index, _ = open_folder(root)
    assert conditions(index) == {"im0000.png": "ok", "im0001.png": "changed"}
    assert index.width.tolist() == [48, 48], "the labels are for the old size"
    problem = list_by_id(index, "problem")["im0001.png"]
    assert "60 × 40" in problem and "label.changed=accept" in problem

    _, index, _ = open_folder(root, accept_changed=True)
    assert set(conditions(index).values()) == {"ok"} and index.width.tolist() == [48, 60]
    (root / "im0001.png").write_bytes(original)
    _, index, _ = open_folder(root)
    assert conditions(index)["im0001.png"] == "changed", "by now the other content is the accepted one"
    _, index, _ = open_folder(root, accept_changed=True)
    assert index.digest.tolist() == before.digest.tolist()


def test_a_changed_image_is_fine_once_the_old_file_is_back(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    original = (root / "im0001.png").read_bytes()
    open_folder(root)
    save(root / "im0001.png", draw(77))
    open_folder(root)
    (root / "im0001.png").write_bytes(original)
    _, index, _ = open_folder(root)
    assert set(conditions(index).values()) == {"ok"}


def test_files_that_are_no_images_are_unreadable_until_they_are_repaired(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 1)
    whole = encode(draw(3))
    (root / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "text.png").write_text("no image at all")
    _, index, _ = open_folder(root)
    assert conditions(index) == {
        "empty.png": "unreadable", "half.jpg": "unreadable", "im0000.png": "ok", "text.png": "unreadable",
    }  # fmt: skip
    assert "truncated" in list_by_id(index, "problem")["half.jpg"]
    (root / "half.jpg").write_bytes(whole)
    _, index, _ = open_folder(root)
    assert conditions(index)["half.jpg"] == "ok", "nobody has labelled it before, so that nothing can be wrong"


def test_an_image_that_breaks_later_keeps_its_size_and_its_content_is_known_again(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 1)
    whole = (root / "im0000.png").read_bytes()
    open_folder(root)
    (root / "im0000.png").write_bytes(whole[:100])
    _, index, _ = open_folder(root, accept_changed=True)
    assert conditions(index) == {"im0000.png": "unreadable"} and index.width.tolist() == [48]
    (root / "im0000.png").write_bytes(whole)
    _, index, _ = open_folder(root)
    assert conditions(index) == {"im0000.png": "ok"}


def test_a_damaged_index_is_made_again(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 5)
    _, before, _ = open_folder(root)
    path = labelling_folder(root).index
    path.write_bytes(path.read_bytes()[:-20])
    _, after, (remark,) = open_folder(root)
    assert "made again" in remark and "restore it" in remark
    assert after.ids == before.ids and after.group == before.group
    for name in ("digest", "is_test", "thumbnail", "width"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name
    assert read_index(path).ids == before.ids


@pytest.mark.slow
def test_of_two_commands_at_once_the_second_waits_and_gives_up_at_last(tmp_path, monkeypatch):
    root = tmp_path / "mice"
    make_images(root, 1)
    open_folder(root)
    with (labelling_folder(root).path / "index.lock").open("a") as file, ThreadPoolExecutor() as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = pool.submit(open_folder, root)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        fcntl.flock(file, fcntl.LOCK_UN)
        _, index, _ = waiting.result(timeout=60)
        assert len(index.ids) == 1
        fcntl.flock(file, fcntl.LOCK_EX)
        monkeypatch.setattr("llpp.datasets.project.open_project.LOCK_TIMEOUT", 0.1)
        with pytest.raises(OccupiedError, match="another process"):
            open_folder(root)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"joints": ["nose", "tail"]}, ["nose', 'tail", "right_ear"]),
        ({"boxes": "people.json"}, ["people.json", "image"]),
        ({"group": "folder"}, ["folder", "image"]),
        ({"segment": 30}, ["30", "60"]),
        ({"white": 4095}, ["4095", "65535"]),
    ],
)
def test_what_labels_and_splits_depend_on_cannot_be_another_later(tmp_path, options, words):
    root = tmp_path / "mice"
    make_images(root, 3)
    open_folder(root)
    before = labelling_folder(root).project_file.read_bytes()
    with pytest.raises(ConfigError, match=f"dataset.{next(iter(options))}=") as error:
        open_folder(root, **options)
    assert all(word in str(error.value) for word in words)
    assert labelling_folder(root).project_file.read_bytes() == before
    open_folder(root, joints=None)


@pytest.mark.parametrize(
    "options",
    [
        {"segment": 0},
        {"segment": "a"},
        {"segment": float("inf")},
        {"frames": 0},
        {"every": 0},
        {"boxes": ""},
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path, options):
    root = tmp_path / "mice"
    make_images(root, 1)
    with pytest.raises(ConfigError, match=next(iter(options))):
        open_folder(root, **options)
    assert not labelling_folder(root).path.exists()


def test_labels_of_another_folder_of_the_same_name_are_not_mixed_up(tmp_path):
    make_images(tmp_path / "one" / "mice", 2)
    make_images(tmp_path / "two" / "mice", 2)
    labels = tmp_path / "labels"
    open_folder(tmp_path / "one" / "mice", labels)
    with pytest.raises(OccupiedError, match=r"dataset\.labelling="):
        open_folder(tmp_path / "two" / "mice", labels)
    shutil.rmtree(tmp_path / "one")
    _, index, remarks = open_folder(tmp_path / "two" / "mice", labels)
    assert len(index.ids) == 2 and len(remarks) == 1 and str(tmp_path / "one") in remarks[0], "it has been moved"


def test_other_images_in_the_place_of_a_project_that_is_gone_are_refused(tmp_path):
    """As those of another disk that is called the same: their project would take over the labels' folder."""
    labels = tmp_path / "labels"
    make_images(tmp_path / "one" / "mice", 12)
    make_images(tmp_path / "two" / "mice", 12, first=100)
    open_folder(tmp_path / "one" / "mice", labels)
    (tmp_path / "one").rename(tmp_path / "unmounted")
    before = {path: path.read_bytes() for path in labels.iterdir() if path.is_file()}
    with pytest.raises(OccupiedError, match="put them back"):
        open_folder(tmp_path / "two" / "mice", labels)
    assert {path: path.read_bytes() for path in labels.iterdir() if path.is_file()} == before

    # Images that were sorted into folders, and new ones, are still those of the project.
    make_images(tmp_path / "unmounted" / "mice", 5, first=200, folder="new")
    (tmp_path / "unmounted" / "mice" / "day1").mkdir()
    for number in range(12):
        name = f"im{number:04d}.png"
        (tmp_path / "unmounted" / "mice" / name).rename(tmp_path / "unmounted" / "mice" / "day1" / name)
    project, index, _ = open_folder(tmp_path / "unmounted" / "mice", labels)
    assert project.root == str(tmp_path / "unmounted" / "mice") and len(index.ids) == 17


def test_settings_that_are_not_given_are_those_of_the_start(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 3)
    open_folder(root, group=None, segment=30, background=[9, 9, 9])
    project, _, _ = open_folder(root)
    assert (project.boxes, project.grouping, project.segment) == ("image", "image", 30.0)
    with pytest.raises(ConfigError, match=r"dataset\.segment=60\.0 differs from 30\.0.*leave it out"):
        open_folder(root, segment=60)


def test_an_empty_or_absent_folder_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.root"):
        open_folder(tmp_path / "absent")
    (tmp_path / "mice").mkdir()
    with pytest.raises(DataError, match=r"\.jfif.*\.webm"):
        open_folder(tmp_path / "mice")


def test_a_damaged_project_file_is_never_replaced(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 1)
    open_folder(root)
    path = labelling_folder(root).project_file
    path.write_text(path.read_text()[:50])
    with pytest.raises(StateError, match="restore it"):
        open_folder(root)
    assert len(path.read_text()) == 50


@pytest.mark.slow
def test_a_real_lightning_pose_project_is_indexed(tmp_path):
    source = SAMPLES / "lightning_pose" / "mirror-mouse-example"
    if not source.is_dir():
        pytest.skip(f"no real files in {SAMPLES}")
    root = tmp_path / "mirror-mouse-example"
    shutil.copytree(source, root)
    folder = labelling_folder(root)
    project, index, remarks = open_project(root, folder, ProjectOptions(every=200))
    assert project.joints[:2] == ["paw1LH_top", "paw2LF_top"] and len(project.joints) == 17
    images = [image for image in index.ids if "#" not in image]
    assert len(images) == 93 and set(conditions(index).values()) == {"ok"} and remarks == []
    frames = [image for image in index.ids if "#" in image]
    assert frames == [f"videos/test_vid.mp4#{number:06d}" for number in (0, 200, 400, 600, 800)]
    # Of 93 images, three are copies of others; with one film of four seconds they are 91 groups, a fifth is 18.2.
    assert len(set(find_test(index))) == 18
    groups = list_by_id(index, "group")
    assert groups["labeled-data/img00.png"] == groups["labeled-data/img01.png"]


def find_test(index):
    return [group for group, is_test in zip(index.group, index.is_test.tolist(), strict=True) if is_test]


@pytest.mark.slow
def test_a_real_deeplabcut_project_is_indexed(tmp_path):
    source = SAMPLES / "deeplabcut" / "openfield-Pranav-2018-10-30"
    if not source.is_dir():
        pytest.skip(f"no real files in {SAMPLES}")
    root = tmp_path / source.name
    shutil.copytree(source, root)
    project, index, _ = open_project(root, labelling_folder(root), ProjectOptions(every=500, lossless=True))
    assert project.joints == ["snout", "leftear", "rightear", "tailbase"]
    assert sum(image.startswith("labeled-data/m4s1/img") for image in index.ids) == len(list(source.rglob("*.png")))
    (film,) = project.films
    assert (film.frames, film.has_variable_rate) == (2330, False) and 77 < film.seconds < 78
    frames = [image for image in index.ids if "#" in image]
    assert frames == [f"videos/m3v1mp4.mp4#{number:06d}" for number in (0, 500, 1000, 1500, 2000)]
    files = list_by_id(index, "files")
    assert all(files[image].endswith(".png") for image in frames)


def test_a_project_file_says_what_was_decided(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 3)
    open_folder(root)
    project = read_project(labelling_folder(root).project_file)
    assert (project.name, project.root, project.joints) == ("mice", str(root), JOINTS)
    assert (project.grouping, project.segment, project.boxes) == ("image", 60.0, "image")
    assert project.facts == {"white": 65535, "background": [0, 0, 0]}


@pytest.mark.parametrize(
    "files", [("project.json", "index.lock"), ("state.json", "config.yaml"), ("report.html", "differences.csv")]
)
def test_what_llpp_has_written_into_the_folder_of_images_is_none_of_them(files, tmp_path):
    save(tmp_path / "mouse.png", draw(1))
    for name in ("mine", "theirs"):
        save(tmp_path / name / "images/000.png", draw(2))
    for file in files:
        (tmp_path / "mine" / file).touch()
    (tmp_path / "theirs" / files[1]).touch()
    content = list_folder(tmp_path, tmp_path / "labelling")
    assert [file.name for file in content.images] == ["mouse.png", "theirs/images/000.png"]
