"""Frames of films: cut in order, the same after any interruption, and known again when the film is renamed."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.project_folders import (
    conditions,
    decode_film,
    labelling_folder,
    make_images,
    open_folder,
    scene,
    split_of,
    vary_rate,
    write_film,
)

from llpp.datasets.project.films import choose_every, count_frames, has_variable_rate
from llpp.datasets.project.project_file import read_project
from llpp.errors import ConfigError

PACKAGE = Path(__file__).parents[2]


def read_frames(root, index):
    """Pixels of all frames by their number, as OpenCV reads the files."""
    folder = labelling_folder(root).path
    return {
        number: cv2.imread(str(folder / file))
        for number, file in zip(index.frame.tolist(), index.files, strict=True)
        if number >= 0
    }


def list_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("variable", [False, True])
def test_cut_frames_are_the_frames_of_the_film_in_order(tmp_path, variable):
    root = tmp_path / "mice"
    film = write_film(root / "day 1" / "clip.MP4", [scene(n) for n in range(20)])
    if variable:
        vary_rate(film)

    _, index, remarks = open_folder(root, lossless=True, every=3)

    decoded = decode_film(film)
    cut = read_frames(root, index)
    assert len(decoded) == 20 and list(cut) == [0, 3, 6, 9, 12, 15, 18]
    assert all(np.array_equal(cut[number], decoded[number]) for number in cut)
    assert index.ids[1] == "day 1/clip.MP4#000003" and index.files[1] == "frames/day 1/clip.MP4/000003.png"
    assert set(index.found) == set(index.film) == {"day 1/clip.MP4"} and index.is_own.all()
    assert index.width.tolist() == [96] * 7 and index.height.tolist() == [64] * 7

    (facts,) = read_project(labelling_folder(root).project_file).films
    assert (facts.id, facts.frames, facts.every, facts.has_variable_rate) == ("day 1/clip.MP4", 20, 3, variable)
    assert any("variable frame rate" in remark for remark in remarks) == variable
    # Ten a second; of the variable film, ten frames of 0.05 s and ten of 0.15 s.
    expected = [0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8]
    if variable:
        expected = [0.0, 0.15, 0.3, 0.45, 0.8, 1.25, 1.7]
    assert index.seconds == pytest.approx(expected, abs=2e-3)


def test_films_that_their_files_turn_are_cut_upright(tmp_path):
    """As telephones write them: the matrix in an MP4's track header turns the picture by 90°."""
    root = tmp_path / "mice"
    film = write_film(root / "clip.mp4", [scene(n) for n in range(5)])
    stored = decode_film(film)
    data = bytearray(film.read_bytes())
    matrix = data.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", data, matrix) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, stored[0].shape[0] << 16, 0, 1 << 30)
    film.write_bytes(bytes(data))

    _, index, _ = open_folder(root, lossless=True)

    cut = read_frames(root, index)
    assert list(cut) == [0, 1, 2, 3, 4]
    for number, pixels in cut.items():
        assert np.array_equal(pixels, np.rot90(stored[number], -1)), "clockwise"
    assert (int(index.width[0]), int(index.height[0])) == (64, 96)


def test_jpegs_are_nearly_the_frames(tmp_path):
    root = tmp_path / "mice"
    film = write_film(root / "clip.avi", [scene(n) for n in range(6)], codec="FFV1")
    _, index, _ = open_folder(root)
    cut = read_frames(root, index)
    assert sorted(cut) == [0, 1, 2, 3, 4, 5] and index.files[0] == "frames/clip.avi/000000.jpg"
    for number, frame in enumerate(decode_film(film)):
        # Of colours, a JPEG keeps every second one only.
        assert np.abs(cut[number].astype(int) - frame).mean() < 6


def test_a_second_start_reads_no_film_again(tmp_path):
    root = tmp_path / "mice"
    film = write_film(root / "clip.mp4", [scene(n) for n in range(6)])
    _, before, _ = open_folder(root)
    files = {path: path.stat().st_ino for path in labelling_folder(root).frames.rglob("*")}
    os.truncate(film, 0)
    with film.open("r+b") as file:
        file.truncate(read_project(labelling_folder(root).project_file).films[0].bytes)
    _, after, remarks = open_folder(root)
    assert after.ids == before.ids and remarks == [], "a film of the same size, whose content is all zeros by now"
    assert {path: path.stat().st_ino for path in labelling_folder(root).frames.rglob("*")} == files


def test_frames_that_look_like_the_last_one_are_passed_over(tmp_path):
    root = tmp_path / "mice"
    brighter = np.clip(scene(0).astype(int) + 1, 0, 255).astype(np.uint8)  # by one grey level
    frames = [scene(0), scene(0), brighter, scene(1), scene(1), scene(0)]
    write_film(root / "clip.avi", frames, codec="FFV1")
    _, index, _ = open_folder(root)
    assert index.frame.tolist() == [0, 3, 5]


def test_a_renamed_film_keeps_its_ids_and_that_is_said_once(tmp_path):
    root = tmp_path / "mice"
    film = write_film(root / "clip.mp4", [scene(n) for n in range(8)])
    make_images(root, 3)
    _, before, _ = open_folder(root)
    (root / "day1").mkdir()
    film.rename(root / "day1" / "mouse7.mp4")

    _, index, remarks = open_folder(root)
    assert index.ids == before.ids and split_of(index) == split_of(before)
    assert set(index.found) >= {"day1/mouse7.mp4"} and "clip.mp4" not in set(index.found)
    assert len(remarks) == 1 and "clip.mp4 is called day1/mouse7.mp4 now" in remarks[0]
    _, _, remarks = open_folder(root)
    assert remarks == []
    assert [film.id for film in read_project(labelling_folder(root).project_file).films] == ["clip.mp4"]


def test_a_new_film_in_the_place_of_a_renamed_one_gets_an_id_of_its_own(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 3)
    film = write_film(root / "clip.mp4", [scene(n) for n in range(8)])
    _, before, _ = open_folder(root)
    film.rename(root / "monday.mp4")
    write_film(root / "clip.mp4", [scene(n + 50) for n in range(9)])
    for _ in range(2):
        project, index, _ = open_folder(root)
        digests = dict(zip(index.ids, index.digest.tolist(), strict=True))
        assert dict(zip(before.ids, before.digest.tolist(), strict=True)).items() <= digests.items()
        assert set(zip(index.film, index.found, strict=True)) >= {
            ("clip.mp4", "monday.mp4"),
            ("clip~2.mp4", "clip.mp4"),
        }
        assert [film.id for film in project.films] == ["clip.mp4", "clip~2.mp4"]
    assert "clip~2.mp4#000008" in set(index.ids) and set(conditions(index).values()) == {"ok"}


def test_frames_stay_when_their_film_is_gone_or_replaced(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 3)
    film = write_film(root / "clip.mp4", [scene(n) for n in range(8)])
    _, before, _ = open_folder(root)
    write_film(film, [scene(n + 50) for n in range(9)])
    _, index, remarks = open_folder(root)
    assert index.ids == before.ids and index.digest.tolist() == before.digest.tolist()
    assert len(remarks) == 1 and "has changed since its frames were cut" in remarks[0]
    film.unlink()
    _, index, remarks = open_folder(root)
    assert set(conditions(index).values()) == {"ok"}
    assert len(remarks) == 1 and "film clip.mp4 is missing" in remarks[0]


def test_removed_frames_are_cut_again(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 1)
    write_film(root / "clip.mp4", [scene(n) for n in range(8)])
    open_folder(root)
    before = list_files(labelling_folder(root).frames)
    (labelling_folder(root).frames / "clip.mp4" / "000004.jpg").unlink()
    _, index, _ = open_folder(root)
    assert list_files(labelling_folder(root).frames) == before
    assert set(conditions(index).values()) == {"ok"}


def test_a_copy_of_a_film_is_not_cut_a_second_time(tmp_path):
    root = tmp_path / "mice"
    film = write_film(root / "clip.mp4", [scene(n) for n in range(8)])
    (root / "copy.mp4").write_bytes(film.read_bytes())
    _, index, remarks = open_folder(root)
    assert set(index.film) == {"clip.mp4"} and any("copy.mp4 has the same content as clip.mp4" in r for r in remarks)


def test_films_that_end_early_or_cannot_be_opened_are_listed_and_stop_nothing(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 2)
    whole = write_film(root / "early.avi", [scene(n) for n in range(20)], codec="MJPG").read_bytes()
    (root / "early.avi").write_bytes(whole[: len(whole) // 2])
    (root / "broken.mp4").write_bytes(b"no film" * 100)
    (root / "empty.mkv").write_bytes(b"")
    (root / "list.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{root}/early.avi\n#EXT-X-ENDLIST\n"
    )

    for _ in range(2):
        _, index, remarks = open_folder(root)
        frames = [number for number in index.frame.tolist() if number >= 0]
        assert 0 < len(frames) < 20 and frames == list(range(len(frames))) and set(index.film) == {"", "early.avi"}
        said = "\n".join(remarks)
        assert f"early.avi ends after {len(frames)} of the 20 frames" in said
        for name in ("broken.mp4", "empty.mkv", "list.mp4"):
            assert f"{name} cannot be opened" in said


def test_all_films_together_are_cut_into_as_many_frames_as_wanted(tmp_path):
    root = tmp_path / "mice"
    write_film(root / "a.mp4", [scene(n) for n in range(30)])
    write_film(root / "b.mp4", [scene(n) for n in range(11)])
    _, index, _ = open_folder(root, frames=10)
    # Each fifth one: 6 and 3; with each fourth one, 8 and 3 would be eleven.
    assert index.frame.tolist() == [0, 5, 10, 15, 20, 25, 0, 5, 10]

    write_film(root / "c.mp4", [scene(n) for n in range(40)])
    _, index, remarks = open_folder(root, frames=10)
    assert [n for film, n in zip(index.film, index.frame.tolist(), strict=True) if film == "c.mp4"] == [0]
    write_film(root / "d.mp4", [scene(n + 3) for n in range(40)])
    _, index, remarks = open_folder(root, frames=10)
    assert "d.mp4" not in set(index.film) and "dataset.frames=10" in remarks[-1]


def test_each_how_many_frames_follows_from_the_limit():
    assert choose_every([100], 100, None) == 1
    assert choose_every([101], 100, None) == 2
    # 100 and 1 frames: with each second one 50 + 1.
    assert choose_every([100, 1], 50, None) == 3
    assert choose_every([7, 7, 7], 2, None) == 7, "the first frame of every film is cut"
    assert choose_every([100], 100, 5) == 5
    with pytest.raises(ConfigError, match=r"dataset\.every=2 .* 51 .*dataset\.frames"):
        choose_every([100, 1], 50, 2)


def test_an_impossible_number_of_frames_is_not_believed(tmp_path):
    film = write_film(tmp_path / "clip.avi", [scene(n) for n in range(8)], codec="MJPG")
    data = bytearray(film.read_bytes())
    for header, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        place = data.index(header) + offset
        assert struct.unpack_from("<I", data, place) == (8,)
        struct.pack_into("<I", data, place, 10**9)
    film.write_bytes(bytes(data))
    assert count_frames(film) == 8


def test_rates_are_constant_up_to_rounding():
    assert not has_variable_rate([0.0, 0.033, 0.067, 0.1, 0.133])
    assert not has_variable_rate([0.0]) and not has_variable_rate([])
    assert has_variable_rate([0.0, 0.033, 0.067, 0.133, 0.167]), "a frame was left out"
    assert not has_variable_rate([0.0, 0.004, 0.008, 0.013]), "240 a second, in whole milliseconds"


def test_segments_are_groups_and_frames_near_the_border_of_a_split_are_not_asked_for(tmp_path):
    root = tmp_path / "mice"
    # Ten frames a second for twelve seconds; segments of four.
    write_film(root / "clip.mp4", [scene(n) for n in range(120)])
    make_images(root, 5)
    _, index, _ = open_folder(root, segment=4)
    groups = {n: g for n, g in zip(index.frame.tolist(), index.group, strict=True) if n >= 0}
    assert [groups[n] for n in (0, 39, 40, 79, 80, 119)] == [
        "clip.mp4 0-4 s", "clip.mp4 0-4 s", "clip.mp4 4-8 s", "clip.mp4 4-8 s", "clip.mp4 8-12 s", "clip.mp4 8-12 s",
    ]  # fmt: skip
    tests = {g: t for g, t in zip(index.group, index.is_test.tolist(), strict=True)}
    near = set()
    for image, condition in conditions(index).items():
        if condition == "apart":
            near.add(int(image.rpartition("#")[2]))
    # In segments of four seconds a quarter, a second, is kept free: around second four, frames 31 to 49.
    expected = set()
    for border, first, second in (
        (40, "clip.mp4 0-4 s", "clip.mp4 4-8 s"),
        (80, "clip.mp4 4-8 s", "clip.mp4 8-12 s"),
    ):
        if tests[first] != tests[second]:
            expected |= set(range(border - 9, border + 10))
    assert near == expected


def test_a_single_short_film_is_split_by_shorter_segments_and_that_is_said(tmp_path):
    root = tmp_path / "mice"
    write_film(root / "clip.mp4", [scene(n) for n in range(50)])
    project, index, remarks = open_folder(root)
    assert project.segment == 60 and project.films[0].segment == pytest.approx(1.0)
    assert len(set(index.group)) == 5
    assert sum(split_of(index)[f"clip.mp4#{n:06d}"] for n in (0, 10, 20, 30, 40)) == 1
    assert any("is all there is" in remark and "1.0 s instead of 60" in remark for remark in remarks)
    _, again, remarks = open_folder(root)
    assert again.group == index.group and not any("all there is" in remark for remark in remarks)


def test_a_new_film_moves_no_frame_of_others_to_another_split(tmp_path):
    root = tmp_path / "mice"
    write_film(root / "clip.mp4", [scene(n) for n in range(50)])
    _, before, _ = open_folder(root)
    write_film(root / "a_first.mp4", [scene(n + 60) for n in range(30)])
    _, after, _ = open_folder(root)
    assert split_of(before).items() <= split_of(after).items() and "a_first.mp4#000000" in set(after.ids)


def test_half_of_a_cut_film_is_completed_to_the_same_files(tmp_path):
    root = tmp_path / "mice"
    write_film(root / "clip.mp4", [scene(n) for n in range(12)])
    open_folder(root)
    folder = labelling_folder(root)
    whole = list_files(folder.path)
    # What a kill leaves in the middle of the first start.
    folder.project_file.unlink()
    folder.index.unlink()
    (folder.frames / "clip.mp4" / "film.json").unlink()
    for number in range(6, 12):
        (folder.frames / "clip.mp4" / f"{number:06d}.jpg").unlink()
    (folder.frames / "clip.mp4" / ".000006.jpg.part").write_bytes(b"half")
    open_folder(root)
    after = list_files(folder.path)
    assert after.keys() == whole.keys()
    # The index has times of files, which are new.
    assert all(after[name] == content for name, content in whole.items() if name != "index.parquet")


@pytest.mark.slow
def test_a_project_that_is_killed_while_films_are_cut_comes_to_the_same(tmp_path):
    root = tmp_path / "mice"
    for number in range(3):
        write_film(root / f"{number}.mp4", [scene(n + 40 * number) for n in range(40)])
    _, expected, _ = open_folder(root, labelling=tmp_path / "calm" / "mice")
    code = (
        "import sys; sys.path.insert(0, sys.argv[3]); from helpers.project_folders import open_folder\n"
        "from pathlib import Path; open_folder(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    folder = tmp_path / "killed" / "mice"
    killed = 0
    for least in (1, 25, 60, 100):
        process = subprocess.Popen([sys.executable, "-c", code, root, folder, PACKAGE / "tests"], cwd=PACKAGE)
        deadline = time.monotonic() + 60
        while len(list(folder.rglob("*.jpg"))) < least and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        for path in folder.rglob("0*.jpg"):
            if not path.name.startswith("."):
                assert path.read_bytes().endswith(b"\xff\xd9"), "no file is ever half"
    assert killed == 4
    _, index, _ = open_folder(root, labelling=folder)
    assert index.ids == expected.ids and index.group == expected.group
    assert index.digest.tolist() == expected.digest.tolist() and index.is_test.tolist() == expected.is_test.tolist()
    calm = json.loads((tmp_path / "calm" / "mice" / "project.json").read_text())
    assert json.loads((folder / "project.json").read_text()) == calm
