"""Splits of a project: a share of groups is for testing, and nothing that is added later moves any of them."""

import hashlib

import numpy as np
import pytest
from helpers.project_folders import labelling_folder, make_images, open_folder, split_of

from llpp.datasets.project.project_splits import (
    choose_cut,
    choose_segment,
    compute_share,
    find_apart,
    find_test_groups,
    name_segment,
)
from llpp.datasets.project.thumbnails import choose_diverse


def names(count, start=0):
    return [f"group{number}" for number in range(start, start + count)]


def test_a_share_is_a_hash_of_salt_and_group_from_0_to_1():
    digest = hashlib.blake2b(b"salt/a/b.png", digest_size=8).hexdigest()
    assert compute_share("salt", "a/b.png") == pytest.approx(int(digest, 16) / 2**64, abs=1e-15)
    shares = [compute_share("salt", name) for name in names(4000)]
    assert min(shares) >= 0 and max(shares) < 1
    # The mean of 4,000 uniform numbers is within five standard errors, 5 × 0.2887 / √4000 = 0.023.
    assert abs(np.mean(shares) - 0.5) < 0.023


@pytest.mark.parametrize(
    ("groups", "wanted"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (7, 1), (8, 2), (10, 2), (33, 7), (1000, 200)]
)
def test_about_a_fifth_of_the_groups_is_for_testing_at_least_one_and_never_all(groups, wanted):
    for project in ("mice", "flies", "löwe"):
        salt, cut = choose_cut(project, names(groups))
        assert len(find_test_groups(names(groups), salt, cut)) == wanted
        assert 0.15 <= cut <= 0.25, "groups that come later are for testing as often"
        assert choose_cut(project, reversed(names(groups))) == (salt, cut)


def test_later_groups_are_for_testing_as_often_and_move_no_other():
    salt, cut = choose_cut("mice", names(3))
    before = find_test_groups(names(3), salt, cut)
    after = find_test_groups(names(3000), salt, cut)
    assert after & set(names(3)) == before
    # Five standard deviations of a binomial number of 3,000 with p = 0.2 are 110.
    assert abs(len(after) - 3000 * cut) < 110


def test_only_one_short_film_is_cut_into_shorter_segments():
    assert choose_segment(60, [50.0], 0) == 10.0
    assert choose_segment(60, [61.0], 0) == 60
    assert choose_segment(60, [50.0, 3.0], 0) == 60
    assert choose_segment(60, [50.0], 1) == 60
    assert choose_segment(60, [0.0], 0) == 60, "a film of one frame"
    assert choose_segment(60, [], 0) == 60


def find_salt(film, wanted):
    """A salt by which the segments of 60 s of a film are for testing or not, as wanted."""
    for number in range(1000):
        shares = [compute_share(str(number), name_segment(film, n, 60)) for n in range(len(wanted))]
        if [share < 0.5 for share in shares] == wanted:
            return str(number)
    raise AssertionError("no such salt")


def test_frames_within_two_seconds_of_a_border_between_splits_are_apart():
    salt = find_salt("a.mp4", [True, False, False])
    seconds = np.array([0.0, 57.9, 58.0, 58.1, 59.9, 60.0, 61.9, 62.0, 119.5, 120.5, 179.9])
    apart = find_apart("a.mp4", seconds, 60, salt, 0.5)
    # The border at 60 s parts two splits; the one at 120 s and the film's ends do not.
    assert apart.tolist() == [False, False, False, True, True, True, True, False, False, False, False]


def test_images_in_many_folders_are_grouped_by_folder_and_others_are_alone(tmp_path):
    for number in range(10):
        make_images(tmp_path / "many", 2, first=2 * number, folder=f"day{number}")
    project, index, _ = open_folder(tmp_path / "many")
    assert project.grouping == "folder" and set(index.group) == {f"day{number}" for number in range(10)}
    assert index.is_test.sum() == 4, "two of ten folders, with two images each"

    for number in range(9):
        make_images(tmp_path / "few", 2, first=2 * number, folder=f"day{number}")
    project, index, _ = open_folder(tmp_path / "few")
    assert project.grouping == "image" and index.group == index.ids


def test_a_pattern_groups_images(tmp_path):
    root = tmp_path / "mice"
    for mouse in range(5):
        make_images(root, 3, first=3 * mouse)
    for number in range(15):
        (root / f"im{number:04d}.png").rename(root / f"mouse{number % 5}_{number}.png")
    _, index, _ = open_folder(root, group="^(mouse[0-9])_")
    assert set(index.group) == {f"mouse{mouse}" for mouse in range(5)} and index.is_test.sum() == 3


def test_copies_of_an_image_are_in_its_split_and_move_nothing(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 12)
    make_images(root, 12, folder="copied")
    _, before, _ = open_folder(root)
    splits = split_of(before)
    assert len(set(before.group)) == 12 and any(splits.values())
    assert all(splits[f"copied/{image}"] == splits[image] for image in splits if "/" not in image)

    # Before all others in the order of names.
    make_images(root, 12, folder="again")
    _, index, _ = open_folder(root)
    after = split_of(index)
    assert all(after[image] == is_test for image, is_test in splits.items())
    assert all(after[f"again/{image}"] == splits[image] for image in splits if "/" not in image)


def test_nothing_moves_when_images_are_added_removed_or_renamed(tmp_path):
    root = tmp_path / "mice"
    make_images(root, 20)
    project, before, _ = open_folder(root)
    make_images(root, 60, first=20)
    (root / "im0005.png").unlink()
    (root / "im0006.png").rename(root / "zz.png")
    again, after, _ = open_folder(root)
    assert (again.salt, again.test_cut) == (project.salt, project.test_cut)
    assert split_of(before).items() <= split_of(after).items() and len(after.ids) == 80


def test_the_same_folder_is_split_in_the_same_way_everywhere(tmp_path):
    for place in ("one", "two"):
        make_images(tmp_path / place / "mice", 12)
    first = open_folder(tmp_path / "one" / "mice")
    second = open_folder(tmp_path / "two" / "mice")
    assert split_of(first[1]) == split_of(second[1]) and first[0].salt == second[0].salt
    assert labelling_folder(tmp_path / "one" / "mice").path.name == "mice"


def make_thumbnails(*greys):
    return np.stack([np.full((32, 32), grey, dtype=np.uint8) for grey in greys])


def test_diverse_images_are_the_farthest_from_all_that_are_chosen():
    thumbnails = make_thumbnails(0, 10, 100, 101, 255)
    nowhere = np.full(5, np.nan)
    # The mean is 93.2, so 100 is first; then 255 (155 away), 0 (100 away), 10 (10 away), 101.
    chosen = choose_diverse(thumbnails, nowhere, [""] * 5, 5, 1.0)
    assert chosen.tolist() == [2, 4, 0, 1, 3]
    # From 255, 0 is the farthest; then 101, which is 101 from 0: all others are nearer to one of these two.
    assert choose_diverse(thumbnails, nowhere, [""] * 5, 2, 1.0, first=[4]).tolist() == [0, 3]
    assert choose_diverse(thumbnails, nowhere, [""] * 5, 9, 1.0, first=[0, 1, 2, 3, 4]).tolist() == []
    assert choose_diverse(thumbnails[:0], nowhere[:0], [], 3, 1.0).tolist() == []


def test_diverse_frames_of_one_film_keep_a_gap_in_time():
    thumbnails = make_thumbnails(0, 255, 128, 130, 250)
    seconds = np.array([0.0, 0.5, 1.0, 5.0, 0.2])
    films = ["a.mp4", "a.mp4", "a.mp4", "a.mp4", "b.mp4"]
    # 130 is taken. Then 0, which is 130 away; 255 is within a second of that, and 128 a whole second from it.
    chosen = choose_diverse(thumbnails, seconds, films, 5, 1.0, first=[3])
    assert chosen.tolist() == [0, 4, 2]
