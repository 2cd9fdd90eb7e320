"""Viewers as HTML: joints in their places, sizes, and words that stay words."""

import base64
import json
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from llpp.pages.picture_encoding import LARGEST_SIDE, cut_out, encode_image, share_budget
from llpp.pages.rendering import Page, render_page, render_viewer
from llpp.pages.skeleton_svg import draw_layer
from llpp.pages.viewer import LayerStyle, Number, Picture, Skeleton, Viewer, Word

RED, BLUE, YELLOW, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255)
SKELETON = Skeleton(("hip", "knee", "foot"), ((0, 1), (1, 2)), (RED, BLUE, BLUE), YELLOW)
PREDICTION = LayerStyle("prediction", "prediction", "p")
NOWHERE = np.full(4, np.nan)


def make_picture(name="a", layers=None, **more):
    grey = np.full((40, 60, 3), 128, dtype=np.uint8)
    return Picture(name, encode_image(grey, 10_000), layers or {}, **more)


def read_data(html):
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    return json.loads(text)


def decode(image):
    return cv2.imdecode(np.frombuffer(base64.b64decode(image.data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_joints_stay_on_what_they_mark_when_a_person_is_cut_out():
    image = np.zeros((900, 1200, 3), dtype=np.uint8)
    image[300:310, 700:710] = RED  # its centre is at (704.5, 304.5)
    joints = np.array([[704.5, 304.5], [np.nan, np.nan]])
    box = np.array([400, 100, 560, 600])
    pixels, layers = cut_out(image, box, {"truth": joints})
    # A square of 1.25 × 600 = 750 pixels around (680, 400): all of it is within the image but for the shrinking.
    assert pixels.shape == (LARGEST_SIDE, LARGEST_SIDE, 3)
    x, y = layers["truth"][0].round().astype(int)
    assert pixels[y, x].tolist() == [255, 0, 0]
    # 305 → 750 / 640 is 1.172 pixels of the image for one of the picture.
    assert layers["truth"][0] == pytest.approx(
        [(704.5 - 305 + 0.5) / 1.171875 - 0.5, (304.5 - 25 + 0.5) / 1.171875 - 0.5]
    )
    assert np.isnan(layers["truth"][1]).all()


def test_a_picture_ends_where_its_image_does():
    image = np.zeros((80, 100, 3), dtype=np.uint8)
    joints = np.array([[2.0, 3.0]])
    pixels, layers = cut_out(image, np.array([0, 0, 16, 32]), {"truth": joints})
    # A square of 40 around (8, 16) has its corner at (-12, -4), and is cut at 0.
    assert pixels.shape == (36, 28, 3) and layers["truth"].tolist() == [[2, 3]]
    whole, _ = cut_out(image, NOWHERE, {})
    assert whole.shape == image.shape
    beyond, _ = cut_out(image, np.array([500, 500, 20, 20]), {})
    assert beyond.shape == image.shape


def test_limbs_and_joints_are_drawn_where_both_ends_are_known():
    points = np.array([[10, 20], [30.4, 40], [np.nan, 5]])
    drawn = ElementTree.fromstring(draw_layer(points, PREDICTION, SKELETON, side=400))
    paths = {(path.get("class"), path.get("stroke")): path.get("d") for path in drawn}
    # Hip and knee have two colours, so that their limb has the middle's; the foot is not known.
    assert paths == {
        ("limb casing", None): "M10 20L30 40",
        ("limb", "#ffff00"): "M10 20L30 40",
        ("dot casing", None): "M10 20h0M30 40h0",
        ("dot", "#ff0000"): "M10 20h0",
        ("dot", "#0000ff"): "M30 40h0",
    }
    nothing = draw_layer(np.full((3, 2), np.nan), PREDICTION, SKELETON, side=400)
    assert len(ElementTree.fromstring(nothing)) == 0


@pytest.mark.parametrize("count", [17, pytest.param(68, marks=pytest.mark.slow)])
def test_few_pictures_are_as_they_were_and_many_fit_into_ten_megabytes(count):
    rng = np.random.default_rng(0)
    # Nothing is larger as a JPEG than noise.
    noise = rng.integers(0, 256, (LARGEST_SIDE, LARGEST_SIDE, 3), dtype=np.uint8)
    photo = cv2.resize(noise[:40, :40], (LARGEST_SIDE, LARGEST_SIDE), interpolation=cv2.INTER_CUBIC)
    assert decode(encode_image(photo, share_budget(10))).shape == photo.shape
    joints = rng.random((count, 2)) * LARGEST_SIDE
    layers = {"truth": joints, "prediction": joints + 5}
    names = tuple(f"joint {number}" for number in range(count))
    limbs = tuple((number, number + 1) for number in range(count - 1))
    skeleton = Skeleton(names, limbs, tuple((RED, BLUE)[number % 2] for number in range(count)))
    picture = Picture(
        "a folder/with a name of some length.jpg",
        encode_image(noise, share_budget(500), layers),
        layers,
        np.linspace(0, 1.2345, count),
        {"predicted_loss": 0.12345, "true_loss": 1.2345, "quality": 0.5},
        {"method": "predicted_loss", "round": "1"},
    )
    page = Viewer(
        "v",
        [picture] * 500,
        (Number("predicted_loss", "predicted loss"), Number("true_loss", "true loss"), Number("quality", "PCK")),
        (Word("method", "method"), Word("round", "round")),
        (LayerStyle("truth", "truth", "t", WHITE), PREDICTION),
        skeleton,
        Number("error", "error / torso"),
    )
    assert 5_000_000 < len(render_page(Page("t", "h", "o", "l", [page]))) < 10_000_000


def test_names_cannot_become_markup_anywhere():
    name = "</script><img src=x onerror='alert(1)'>\"&\u2028é"
    viewer = Viewer(
        "v",
        [
            make_picture(name, {"prediction": np.zeros((1, 2))}, words={"method": name}, caption=name),
            make_picture("b"),
        ],
        words=(Word("method", name, {name: name}),),
        layers=(LayerStyle("prediction", name, "p"),),
        skeleton=Skeleton((name,), (), (RED,)),
        joint_value=Number("error", name),
        note=name,
        legend=[(RED, name)],
    )
    html = render_page(Page(name, name, name, name, [viewer], [name], [name]))
    assert "<img src=x" not in html
    data = read_data(html)
    assert data["pictures"][0]["id"] == data["joints"][0] == name
    assert data["words"][0]["notes"] == {name: name}


def test_numbers_that_are_unknown_are_no_choice_and_unknown_values_are_no_number():
    pictures = [
        make_picture("a", numbers={"loss": float("nan"), "pck": 0.25}, words={"round": "1"}),
        make_picture("b", numbers={"loss": None, "pck": float("inf")}, words={"round": "1"}),
    ]
    numbers = (Number("loss", "true loss"), Number("pck", "PCK", worse="low", decimals=2))
    html = str(render_viewer(Viewer("v", pictures, numbers, (Word("round", "round"),), sort="loss")))
    assert 'value="loss"' not in html and 'value="pck"' in html
    assert [picture["numbers"] for picture in read_data(html)["pictures"]] == [[0.25], [None]]
    assert "<dd>0.25</dd>" in html and "<dd>–</dd>" in html
    # All pictures are of one round, which is no choice either; but it is said next to the large picture.
    assert 'name="word.round"' not in html and "<dt>round</dt><dd>1</dd>" in html


def test_a_viewer_without_pictures_is_a_sentence():
    html = str(render_viewer(Viewer("v", [], (Number("loss", "loss"),), sort="loss")))
    assert "There is no picture to show." in html and "<form" not in html


def test_a_page_allows_no_script_but_its_own():
    html = render_page(Page("t", "h", "o", "l", [Viewer("v", [make_picture()])]))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;") and "script-src &#39;sha256-" in policy
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", html)
