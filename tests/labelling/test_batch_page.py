"""batch.html: one file for every screen that shows what people may see, and nothing else."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from helpers.batches import MOUSE, make_asked_image, make_batch
from helpers.text_tool import TextTool

from llpp.journal.answers import PersonLabel
from llpp.journal.folder import LabellingFolder
from llpp.labelling.batch_folder import BatchOptions, write_batch
from llpp.labelling.batch_page import render_page
from llpp.labelling.instructions import Instructions, Part
from llpp.oracles.tool import LabelBatch

INSTRUCTIONS = Instructions(
    tool="Notepad <2>",
    steps=["Open it.", "Label <all> joints.", "Save it."],
    answered="An image is answered once it is.",
    inbox="/data/labelling/mice/inbox",
    command="llpp label mice/",
    parts=[Part("to_label.txt", 6)],
    shared=6,
)
LEFT = (86, 180, 233)  # colours of tasks/pose/drawing.py
MIDDLE = (240, 228, 66)


def read_thumbnails(page):
    """(name, RGB pixels) of all images on the page, in its order."""
    found = []
    for name, text in re.findall(r'<img loading="lazy" alt="([^"]*)" src="data:image/jpeg;base64,([^"]+)"', page):
        encoded = np.frombuffer(base64.b64decode(text), np.uint8)
        found.append((name, cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)))
    return found


def read_captions(page):
    texts = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).strip() for text in texts]


def has_colour_at(pixels, point, colour):
    x, y = point
    return np.abs(pixels[y, x].astype(int) - colour).max() < 40


def find_drawing(pixels):
    """Pixels that are not grey, as everything of the image itself is."""
    return int((np.ptp(pixels.astype(int), axis=2) > 60).sum())


@pytest.fixture
def batch(tmp_path):
    return make_batch(tmp_path)


def test_the_page_is_one_file_that_asks_for_nothing(batch):
    page = render_page(batch, INSTRUCTIONS)
    loaded = re.findall(r"(?:src|srcset|href)\s*=\s*[\"']([^\"']*)", page)
    assert len(loaded) == 6 and all(word.startswith("data:image/jpeg;base64,") for word in loaded)
    assert "url(" not in page and "@import" not in page and "<script" not in page and "{%" not in page
    assert "default-src 'none'" in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "prefers-color-scheme: dark" in page


def test_its_elements_are_all_closed(batch):
    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open_elements = []

        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br"):
                self.open_elements.append(tag)

        def handle_endtag(self, tag):
            assert self.open_elements.pop() == tag

    checker = Checker()
    parts = {image.image: "for annotator 1" for image in batch.images}
    checker.feed(render_page(batch, INSTRUCTIONS, notes=["It took 3 min."], parts=parts))
    assert checker.open_elements == []


def test_suggested_joints_are_drawn_where_they_are_and_nothing_where_there_are_none(tmp_path):
    """60 × 40 pixels are shown as 300 × 200: pixel 20 has its centre at (20 + 0.5) · 5 - 0.5 = 102."""
    joints = {"nose": (20.0, 10.0, 2), "left_ear": (40.0, 10.0, 2)}
    images = [
        replace(make_asked_image(tmp_path, 0, "test", joints=joints), suggested=()),
        make_asked_image(tmp_path, 1, joints=joints),
    ]
    page = render_page(LabelBatch("mice", 1, MOUSE, images, tmp_path), INSTRUCTIONS)
    (first_name, first), (second_name, second) = read_thumbnails(page)
    assert first_name == "day 1/Mäuse 0.png" and second_name == "day 1/Mäuse 1.png"
    assert first.shape == second.shape == (200, 300, 3)
    assert has_colour_at(second, (102, 52), MIDDLE) and has_colour_at(second, (202, 52), LEFT)
    assert find_drawing(first) == 0 and find_drawing(second) > 100


def test_a_joint_that_is_not_suggested_is_not_drawn(tmp_path):
    images = [make_asked_image(tmp_path, 1, joints={"tail": (40.0, 30.0, 2)})]
    page = render_page(LabelBatch("mice", 1, MOUSE, images, tmp_path), INSTRUCTIONS)
    ((_, pixels),) = read_thumbnails(page)
    pixels[130:175, 180:225] = 0  # the only dot is at (202, 152)
    assert find_drawing(pixels) == 0


def test_predictions_of_test_images_and_blind_ones_are_not_shown(tmp_path, batch):
    options = BatchOptions(command="llpp label mice/", blind=[batch.images[3].image])
    *_, path = write_batch(batch, TextTool(), LabellingFolder(tmp_path / "labelling"), options)
    page = path.read_text(encoding="utf-8")
    assert [find_drawing(pixels) > 0 for _, pixels in read_thumbnails(page)] == [
        False,
        False,
        True,
        False,
        True,
        True,
    ]
    captions = read_captions(page)
    assert captions == [
        "1 · day_1__Mause_0.png random, for testing",
        "2 · day_1__Mause_1.png random, for testing",
        "3 · day_1__Mause_2.png largest predicted loss (rank 2) predicted loss 0.502",
        "4 · day_1__Mause_3.png asked without a suggestion, to see by how much suggestions lead people",
        "5 · day_1__Mause_4.png largest predicted loss (rank 4) predicted loss 0.504",
        "6 · day_1__Mause_5.png largest predicted loss (rank 5) predicted loss 0.505",
    ]
    assert "0.503" not in page and "0.501" not in page
    assert "6 images of mice: 2 for testing, 4 for training, 3 of these with a suggestion of the model." in page


def test_the_top_says_what_it_is_and_what_to_do(batch):
    notes = ["Labelling took 42 min.", "Two annotators differ by 3 %."]
    page = render_page(batch, INSTRUCTIONS, notes=notes)
    assert "<h1>6 images to label in Notepad &lt;2&gt;</h1>" in page
    for words in (
        "<li>Open it.</li>",
        "<li>Label &lt;all&gt; joints.</li>",
        "<li>Two annotators differ by 3 %.</li>",
    ):
        assert words in page
    assert "<code>/data/labelling/mice/inbox</code>" in page and "<code>llpp label mice/</code>" in page
    assert "For testing: 2 images" in page and "For training: 4 images" in page
    assert "So far" not in render_page(batch, INSTRUCTIONS)


def test_names_of_files_are_text_and_no_html(tmp_path):
    image = replace(make_asked_image(tmp_path, 1), image='<script>alert("1")</script>', name="<b>.png")
    page = render_page(LabelBatch("<i>", 1, MOUSE, [image], tmp_path), INSTRUCTIONS)
    assert "<script" not in page and "<b>.png" not in page and "<i>," not in page
    assert "&lt;script&gt;" in page


def test_an_image_that_cannot_be_read_is_said_and_the_others_are_shown(batch):
    batch.images[2].path.write_bytes(b"no image")
    batch.images[3].path.unlink()
    page = render_page(batch, INSTRUCTIONS)
    assert len(read_thumbnails(page)) == 4
    assert "cannot be decoded: not a complete image file" in page and "Mäuse 3.png is missing" in page


def test_a_large_photograph_and_a_strip_have_small_thumbnails(tmp_path):
    images = [make_asked_image(tmp_path, 1, size=(2400, 1800)), make_asked_image(tmp_path, 2, size=(1200, 1))]
    page = render_page(LabelBatch("mice", 1, MOUSE, images, tmp_path), INSTRUCTIONS)
    (_, large), (_, strip) = read_thumbnails(page)
    assert large.shape == (225, 300, 3) and strip.shape == (1, 300, 3)


def test_a_large_jpeg_has_its_joints_in_the_right_place(tmp_path):
    """It is decoded at a fraction of its size: 2400 × 1600 → 300 × 200, so that (803.5, 403.5) is at (100, 50)."""
    image = make_asked_image(tmp_path, 1, size=(2400, 1600), joints={"nose": (803.5, 403.5, 2)})
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), cv2.imread(str(image.path)))
    images = [replace(image, path=path)]
    page = render_page(LabelBatch("mice", 1, MOUSE, images, tmp_path), INSTRUCTIONS)
    ((_, pixels),) = read_thumbnails(page)
    assert pixels.shape == (200, 300, 3) and has_colour_at(pixels, (100, 50), MIDDLE)


def test_two_persons_in_an_image_are_both_drawn(tmp_path):
    image = make_asked_image(tmp_path, 1)
    persons = (
        PersonLabel("a#1", {"nose": (10.0, 10.0, 2)}),
        PersonLabel("a#2", {"nose": (50.0, 30.0, 2)}),
    )
    page = render_page(LabelBatch("mice", 1, MOUSE, [replace(image, suggested=persons)], tmp_path), INSTRUCTIONS)
    ((_, pixels),) = read_thumbnails(page)
    assert has_colour_at(pixels, (52, 52), MIDDLE) and has_colour_at(pixels, (252, 152), MIDDLE)


@pytest.mark.slow
def test_500_images_of_noise_fit_into_ten_megabytes(tmp_path):
    """Noise is what JPEG compresses worst; one file stands for all, so that the test is quick."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), noise)
    image = replace(make_asked_image(tmp_path, 1, size=(400, 300)), path=path)
    few = render_page(LabelBatch("mice", 1, MOUSE, [image] * 10, tmp_path), INSTRUCTIONS)
    assert read_thumbnails(few)[0][1].shape == (225, 300, 3)
    many = render_page(LabelBatch("mice", 1, MOUSE, [image] * 500, tmp_path), INSTRUCTIONS)
    assert len(many) < 10_000_000
    assert read_thumbnails(many)[0][1].shape[1] >= 120
