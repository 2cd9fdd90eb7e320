"""Which image a tool's entry means."""

import pytest
from helpers.plain_labels import make_film, make_index, make_project

from llpp.labelling.names import ImageFinder
from llpp.oracles.tool import Entry


def make_finder(names, copies=None, films=(), frames=None):
    index = make_index(dict.fromkeys(names, "ok"), frames=frames)
    return ImageFinder(make_project(films), index, copies or {})


def find(finder, *names, image=""):
    return finder.find(Entry(names, "labelled", image=image))


MICE = ("a.jpg", "day1/a.jpg", "day1/b.JPG", "day2/c.jpg", "day2/deep/mäuse 1#2.png", "1a2b3c4d-e.jpg", "e.jpg")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("day1/a.jpg", "day1/a.jpg"),
        ("./day1/a.jpg", "day1/a.jpg"),
        ("/day1/a.jpg", "day1/a.jpg"),
        ("day1\\a.jpg", "day1/a.jpg"),
        ("a.jpg", "a.jpg"),  # exactly, though another has the same base name
        ("/home/ann/mice/day1/a.jpg", "day1/a.jpg"),
        ("C:\\mice\\day2\\c.jpg", "day2/c.jpg"),
        ("deep/mäuse 1#2.png", "day2/deep/mäuse 1#2.png"),
        ("m\u0061\u0308use 1#2.png", "day2/deep/mäuse 1#2.png"),  # as macOS writes umlauts
        ("m%C3%A4use%201%232.png", "day2/deep/mäuse 1#2.png"),
        ("elsewhere/c.jpg", "day2/c.jpg"),
        ("upload/3/0123abcd-c.jpg", "day2/c.jpg"),
        ("1a2b3c4d-e.jpg", "1a2b3c4d-e.jpg"),  # its name, not an upload of e.jpg
        ("c", "day2/c.jpg"),
        ("c.png", "day2/c.jpg"),
        ("b", "day1/b.JPG"),
        ("0123abcd-b.png", "day1/b.JPG"),
        ("DAY2/C.jpg", "day2/c.jpg"),
    ],
)
def test_an_image_is_found_by(name, image):
    assert find(make_finder(MICE), name).image == image


def test_the_projects_own_id_is_surer_than_any_name():
    assert find(make_finder(MICE), "day2/c.jpg", image="day1/a.jpg").image == "day1/a.jpg"
    assert find(make_finder(MICE), "day2/c.jpg", image="unknown.jpg").image == "day2/c.jpg"


def test_the_name_of_a_batchs_copy_is_found_in_any_batch():
    finder = make_finder(MICE, {"day1__a.jpg": {"day1/a.jpg"}, "c_1.png": {"day2/c.jpg"}})
    for name in (
        "day1__a.jpg",
        "round_00/images/day1__a.jpg",
        "images\\day1__a.jpg",
        "0123abcd-day1__a.jpg",
        "day1__a",
    ):
        assert find(finder, name).image == "day1/a.jpg"
    assert find(finder, "c_1").image == "day2/c.jpg"


def test_two_that_fit_are_both_named_and_neither_is_taken():
    match = find(make_finder(MICE), "other/a.jpg")
    assert match.image == ""
    assert match.reason == "other/a.jpg may be a.jpg or day1/a.jpg; use names with their folders"
    three = make_finder(("x/a.jpg", "y/a.jpg", "z/a.png"))
    assert find(three, "a").reason == "a may be x/a.jpg or y/a.jpg and 1 more; use names with their folders"


def test_the_most_parts_of_a_path_decide():
    finder = make_finder(("left/day1/a.jpg", "right/day1/a.jpg", "right/day2/a.jpg"))
    assert find(finder, "/data/right/day1/a.jpg").image == "right/day1/a.jpg"
    assert find(finder, "day2/a.jpg").image == "right/day2/a.jpg"
    assert "left/day1/a.jpg or right/day1/a.jpg" in find(finder, "day1/a.jpg").reason


def test_a_batchs_copy_that_is_called_like_another_image_is_not_mistaken_for_it():
    finder = make_finder(("a_b.jpg", "a b.jpg"), {"a_b.jpg": {"a b.jpg"}})
    assert find(finder, "a_b.jpg").reason == "a_b.jpg may be a b.jpg or a_b.jpg; use names with their folders"
    assert find(finder, "a b.jpg").image == "a b.jpg"


def test_copies_of_two_batches_with_one_name_are_not_mixed_up():
    finder = make_finder(("a.jpg", "b.jpg"), {"1.jpg": {"a.jpg", "b.jpg"}})
    assert find(finder, "1.jpg").reason.startswith("1.jpg may be a.jpg or b.jpg")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("day1/b1.JPG", "day1/b.JPG"), ("xmäuse 1#2.png", "day2/deep/mäuse 1#2.png"), ("zzzzzzzzzz.bmp", "")],
)
def test_an_unknown_name_gets_the_nearest_one_that_is_known(name, nearest):
    match = find(make_finder(MICE), name)
    assert match.image == "" and match.nearest == nearest
    assert match.reason == (
        "the project has no image of this name; use the name that the batch or the project's folder has"
    )


def test_an_unknown_id_without_names_is_named():
    match = find(make_finder(MICE), image="day1/b.jpg")
    assert match.reason == "the project has no image 'day1/b.jpg'" and match.nearest == "day1/b.JPG"


FRAMES = {f"day1/clip.mp4#{number:06d}": "day1/clip.mp4" for number in range(0, 100, 10)}


@pytest.mark.parametrize(
    "name",
    [
        "day1/clip.mp4#000030",
        "day1/clip.mp4#30",
        "/films/clip.mp4#0030",
        "clip/clip.mp4/000030.jpg",
        "000030",
        "30.jpg",
    ],
)
def test_a_frame_is_found_by_its_number_or_its_file(name):
    finder = make_finder(FRAMES, films=(make_film("day1/clip.mp4"),), frames=FRAMES)
    expected = "" if name == "30.jpg" else "day1/clip.mp4#000030"
    assert find(finder, name).image == expected


def test_a_frame_that_was_not_cut_is_refused_with_the_setting():
    finder = make_finder(FRAMES, films=(make_film("day1/clip.mp4"),), frames=FRAMES)
    match = find(finder, "clip.mp4#000031")
    assert match.image == "" and "frame 31 of day1/clip.mp4 is not an image of the project" in match.reason
    assert "dataset.every=1" in match.reason and match.nearest == "day1/clip.mp4#000030"


def test_frames_of_a_film_with_a_variable_rate_are_found_by_their_files_only():
    finder = make_finder(FRAMES, films=(make_film("day1/clip.mp4", has_variable_rate=True),), frames=FRAMES)
    match = find(finder, "clip.mp4#000030")
    assert match.image == "" and "variable rate" in match.reason
    assert find(finder, "frames/day1/clip.mp4/000030.jpg").image == "day1/clip.mp4#000030"
    assert find(finder, "clip.mp4#000030", image="day1/clip.mp4#000030").image == "day1/clip.mp4#000030"


def test_a_frame_of_another_film_is_no_image_that_is_called_like_it():
    finder = make_finder((*FRAMES, "other.jpg"), films=(make_film("day1/clip.mp4"),), frames=FRAMES)
    assert find(finder, "other.mp4#000030").image == ""


def test_films_of_one_name_need_their_folders():
    frames = {f"{film}#000000": film for film in ("day1/clip.mp4", "day2/clip.mp4")}
    finder = make_finder(frames, films=(make_film("day1/clip.mp4"), make_film("day2/clip.mp4")), frames=frames)
    assert "day1/clip.mp4 or day2/clip.mp4" in find(finder, "clip.mp4#0").reason
    assert find(finder, "/x/day2/clip.mp4#0").image == "day2/clip.mp4#000000"


def test_a_renamed_film_is_found_by_both_names():
    frames = {"clip.mp4#000000": "renamed.mp4"}
    finder = make_finder(frames, films=(make_film("clip.mp4"),), frames=frames)
    assert find(finder, "renamed.mp4#0").image == find(finder, "clip.mp4#0").image == "clip.mp4#000000"


def test_thousands_of_unknown_names_among_thousands_of_images_are_no_hours():
    """Comparing each with all 20,000 would take a second per name: this test would reach its limit."""
    images = [f"day{number % 7}/image_{number:05d}.jpg" for number in range(20_000)]
    finder = make_finder(images)
    for number in range(2000):
        assert find(finder, f"/mice/day{number % 7}/image_{number:05d}.jpg").image == images[number]
        assert find(finder, f"image_{number:05d}x.jpg").nearest.startswith("day")
