"""The folder of a batch: the same bytes whatever came before, and nothing that people should not see."""

import csv
from dataclasses import replace

import pytest
from helpers.batches import make_batch
from helpers.text_tool import TextTool

from llpp.errors import DataError
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import list_batches, read_asked, read_suggested
from llpp.labelling.batch_folder import BatchOptions, make_file_name, name_copies, write_batch

OPTIONS = BatchOptions(command="llpp label mice/", salt="pepper")


@pytest.fixture
def folder(tmp_path):
    return LabellingFolder(tmp_path / "labelling" / "mice")


@pytest.fixture
def batch(tmp_path):
    return make_batch(tmp_path / "mice")


def read_all(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_batch_has_all_that_people_need_to_label_it(folder, batch):
    files = write_batch(batch, TextTool(), folder, OPTIONS)
    here = folder.get_round_dir(1)
    assert files == [here / "to_label.txt", here / "README.txt", here / "batch.html"]
    assert {path.name for path in here.iterdir()} == {
        "to_label.txt", "images", "README.txt", "batch.html", "asked.csv", "suggested.json"
    }  # fmt: skip
    for image in batch.images:
        assert (here / "images" / image.name).read_bytes() == image.path.read_bytes()
    assert len(list((here / "images").iterdir())) == 6
    assert list_batches(folder) == [1]


def test_test_images_and_blind_ones_are_asked_for_without_prediction(folder, batch):
    blind = batch.images[3].image
    write_batch(batch, TextTool(), folder, replace(OPTIONS, blind=[blind]))
    lines = [line.split() for line in (folder.get_round_dir(1) / "to_label.txt").read_text().splitlines()]
    assert [line[1:] for line in lines] == [
        ["test", "0", "None"],
        ["test", "0", "None"],
        ["train", "2", "0.502"],
        ["train", "0", "None"],
        ["train", "2", "0.504"],
        ["train", "2", "0.505"],
    ]
    rows = read_asked(folder, 1)
    assert [row.is_suggested for row in rows] == [False, False, True, False, True, True]
    assert rows[3].predicted_loss == 0.503 and rows[0].predicted_loss == 0.5, "llpp's own table has what it predicted"
    suggested = read_suggested(folder, 1)
    assert set(suggested) == {batch.images[number].image for number in (2, 4, 5)}
    assert suggested[batch.images[2].image] == [*batch.images[2].suggested]


def test_without_suggestions_nobody_is_blind_and_predicted_losses_are_shown(folder, batch):
    images = [replace(image, suggested=()) for image in batch.images]
    options = replace(OPTIONS, blind=[images[3].image])
    write_batch(replace(batch, images=images), TextTool(), folder, options)
    lines = (folder.get_round_dir(1) / "to_label.txt").read_text().splitlines()
    assert [line.split()[1:] for line in lines][1:4] == [
        ["test", "0", "None"],
        ["train", "0", "0.502"],
        ["train", "0", "0.503"],
    ]
    page = (folder.get_round_dir(1) / "batch.html").read_text(encoding="utf-8")
    assert "4 for training, without suggestions." in page and "asked without a suggestion" not in page


def test_a_batch_without_images_is_complete_and_has_nothing_to_open(folder, batch):
    assert write_batch(replace(batch, images=[]), TextTool(), folder, OPTIONS) == []
    assert read_asked(folder, 1) == [] and list_batches(folder) == [1]


def test_nobody_gets_an_empty_part(folder, batch):
    files = write_batch(replace(batch, images=batch.images[:2]), TextTool(), folder, replace(OPTIONS, annotators=3))
    assert [path.name for path in files] == ["to_label_1.txt", "to_label_2.txt", "README.txt", "batch.html"]


def test_the_table_says_what_was_asked_for_and_why(folder, batch):
    write_batch(batch, TextTool(), folder, OPTIONS)
    lines = list(csv.reader((folder.get_round_dir(1) / "asked.csv").read_text(encoding="utf-8").splitlines()))
    assert lines[1] == ["1", "day 1/Mäuse 0.png", "day_1__Mause_0.png", "test", "0", "0.5", "random, for testing"]
    assert lines[3][-1] == "largest predicted loss (rank 2)"


def test_writing_over_half_a_batch_gives_the_bytes_of_writing_once(folder, batch):
    write_batch(batch, TextTool(), folder, OPTIONS)
    here = folder.get_round_dir(1)
    whole = read_all(here)
    write_batch(batch, TextTool(), folder, OPTIONS)
    assert read_all(here) == whole
    (here / "asked.csv").unlink()
    (here / "README.txt").unlink()
    (here / "to_label.txt").write_text("hal")
    (here / "images" / batch.images[1].name).write_bytes(b"half a copy")
    (here / "images" / f".{batch.images[2].name}.part").write_bytes(b"half a copy")
    write_batch(batch, TextTool(), folder, OPTIONS)
    assert read_all(here) == whole


def test_the_table_comes_last_so_that_half_a_batch_is_none(folder, batch):
    class Failing(TextTool):
        def describe_steps(self, batch, files):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_batch(batch, Failing(), folder, OPTIONS)
    assert (folder.get_round_dir(1) / "to_label.txt").exists()
    assert list_batches(folder) == [] and read_asked(folder, 1) is None


def test_folders_of_earlier_batches_stay_as_they_are(tmp_path, folder, batch):
    write_batch(batch, TextTool(), folder, OPTIONS)
    earlier = read_all(folder.get_round_dir(1))
    write_batch(make_batch(tmp_path / "mice", test=1, train=1, round=2), TextTool(), folder, OPTIONS)
    assert read_all(folder.get_round_dir(1)) == earlier and list_batches(folder) == [1, 2]


def test_images_are_copied_only_for_tools_that_need_copies(folder, batch):
    class InPlace(TextTool):
        copies_images = False

    write_batch(batch, InPlace(), folder, OPTIONS)
    assert not (folder.get_round_dir(1) / "images").exists()


def test_an_image_that_is_gone_is_one_sentence(folder, batch):
    batch.images[2].path.unlink()
    with pytest.raises(
        DataError, match=r"image .*Mäuse 2\.png is missing; put it back, or remove it from the project"
    ):
        write_batch(batch, TextTool(), folder, OPTIONS)


def test_the_readme_has_the_steps_what_counts_where_to_and_what_then(folder, batch):
    write_batch(batch, TextTool(), folder, OPTIONS)
    text = (folder.get_round_dir(1) / "README.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "Round 1 of mice: label 6 images in Notepad <2>"
    assert lines[3] == "6 images of mice: 2 for testing, 4 for training, 4 of these with a suggestion of the model."
    assert [line for line in lines if line[:2] in ("1.", "2.", "3.")] == [
        "1. Open to_label.txt.",
        "2. Write joints & all.",
        "3. Save it.",
    ]
    assert "A line with a number is an answer." in lines
    assert f"  {folder.inbox}" in lines and "  llpp label mice/" in lines
    assert "Annotator" not in text


def test_two_annotators_have_a_file_each_and_share_a_part(tmp_path, folder):
    batch = make_batch(tmp_path / "mice", test=2, train=8)
    files = write_batch(batch, TextTool(), folder, replace(OPTIONS, annotators=2, overlap=0.2))
    assert [path.name for path in files] == ["to_label_1.txt", "to_label_2.txt", "README.txt", "batch.html"]
    names = [[line.split()[0] for line in path.read_text().splitlines()] for path in files[:2]]
    assert set(names[0]) & set(names[1]) == {image.name for image in batch.images[:2]}, "the test images are shared"
    assert set(names[0]) | set(names[1]) == {image.name for image in batch.images}
    readme = files[2].read_text()
    assert "Annotator 1 opens to_label_1.txt: 6 images.\nAnnotator 2 opens to_label_2.txt: 6 images.\n" in readme
    assert "2 images are in every part" in readme.replace("\n", " ")
    assert [row.image for row in read_asked(folder, 1)] == [image.image for image in batch.images]


@pytest.mark.parametrize(
    ("image", "ending", "name"),
    [
        ("img001.jpg", ".jpg", "img001.jpg"),
        ("day 1/Mäuse #3.JPG", ".JPG", "day_1__Mause_3.JPG"),
        ("day1/clip.mp4#001234", ".jpg", "day1__clip_mp4_001234.jpg"),
        ("-rf *.png", ".png", "rf.png"),
        ("a.b.jpg", ".jpg", "a_b.jpg"),
        ("q?x=1&y.png", ".png", "q_x_1_y.png"),
        ("..hidden.png", ".png", "hidden.png"),
    ],
)
def test_names_of_copies_are_plain_and_keep_their_ending(image, ending, name):
    assert make_file_name(image, ending, set()) == name


def test_a_name_without_a_plain_character_and_a_very_long_one_have_names_too():
    name = make_file_name("図.png", ".png", set())
    assert name.startswith("image_") and name.endswith(".png") and name.isascii()
    long = make_file_name("folder/" * 40 + "frame 7.png", ".png", set())
    assert long.endswith("__frame_7.png") and len(long) <= 104


def test_names_are_unique_without_endings_and_cases_and_the_same_each_time():
    images = [("a b.png", ".png"), ("a_b.png", ".png"), ("A_B.jpg", ".jpg"), ("a/b.png", ".png"), ("ä b.png", ".png")]
    names = name_copies(images, [])
    stems = [name.rsplit(".", 1)[0].lower() for name in names]
    assert names[0] == "a_b.png" and names[3] == "a__b.png" and len(set(stems)) == 5
    assert name_copies(images, []) == names
    assert name_copies(images[:1], ["A_b.JPG"]) != ["a_b.png"], "a batch before this one has that name"


def test_a_copy_is_never_called_like_another_image_of_the_project():
    others = ["a b.jpg", "a_b.jpg"]
    first, second = name_copies([("a b.jpg", ".jpg"), ("a_b.jpg", ".jpg")], [], others)
    assert first != "a_b.jpg" and second == "a_b.jpg"
