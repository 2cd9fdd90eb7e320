"""Which way up images are read, and what their first bytes say about them."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.turned_jpegs import encode, encode_webp, exif, store

from llpp.datasets.image_header import ImageHeader, parse_header
from llpp.datasets.images import Measurement, Reading, measure_image, read_image, read_reduced
from llpp.errors import DataError

ORIENTATIONS = range(1, 9)
WIDTH, HEIGHT = 48, 32


def picture(width=WIDTH, height=HEIGHT):
    """A red quarter at the upper left, a green one beside it, a blue one below it."""
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (250, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 250, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 250)
    return pixels


def corner_colours(image):
    """Which of red, green and blue is strongest at the upper left, upper right and lower left."""
    inset = min(image.shape[:2]) // 8
    corners = image[inset, inset], image[inset, -inset], image[-inset, inset]
    return [int(corner.argmax()) for corner in corners]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_upright_as_viewers_show_it(tmp_path, orientation, order):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(store(picture(), orientation), orientation, order))
    image = read_image(path, Reading("upright"))
    assert image.shape == (HEIGHT, WIDTH, 3) and corner_colours(image) == [0, 1, 2]
    # OpenCV has its own reader of EXIF.
    np.testing.assert_array_equal(image, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    np.testing.assert_array_equal(read_image(path), read_image(path, Reading("file")))
    assert read_image(path).shape[:2] == store(picture(), orientation).shape[:2]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_annotations_size_decides_which_way_up_an_image_is_read(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    stored = store(picture(), orientation)
    path.write_bytes(encode(stored, orientation))
    upright = read_image(path, Reading("auto", (WIDTH, HEIGHT)))
    assert corner_colours(upright) == [0, 1, 2]
    as_stored = read_image(path, Reading("auto", stored.shape[1::-1]))
    # Where both sizes are the same, what viewers show counts.
    expected = stored if orientation >= 5 else picture()
    assert corner_colours(as_stored) == corner_colours(expected)
    # Without a size nothing speaks for turning it.
    np.testing.assert_array_equal(read_image(path, Reading("auto")), read_image(path))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_reduced_images_lie_where_the_whole_ones_do(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    # 45 and 33 have whole blocks of 3 × 3, but none of 2 × 2.
    for width, height, expected in ((48, 32, 4), (50, 32, 2), (49, 32, 1), (45, 33, 1)):
        path.write_bytes(encode(store(picture(width, height), orientation), orientation))
        reading = Reading("auto", (width, height))
        image, factor = read_reduced(path, 4, reading)
        # An upright image needs no whole blocks, as ever.
        assert factor == (4 if orientation == 1 else expected)
        assert image.shape[:2] == (-(-height // factor), -(-width // factor))
        assert corner_colours(image) == [0, 1, 2]


def test_another_size_is_refused_with_both_sizes_unless_it_is_the_orientation(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(picture(), None))
    with pytest.raises(DataError, match=r"a.jpg has 48 × 32 pixels and its annotation says 96 × 64, .* put back"):
        read_image(path, Reading("auto", (96, 64)))
    with pytest.raises(DataError, match=r"48 × 32 .* says 32 × 48, .* set dataset.orientation=file$"):
        read_image(path, Reading("auto", (32, 48)))
    assert read_image(path, Reading("file", (32, 48))).shape == (32, 48, 3)
    with pytest.raises(DataError, match="says 96 × 64"):
        read_image(path, Reading("file", (96, 64)))
    cv2.imwrite(str(tmp_path / "a.bmp"), picture())  # its header is not read here
    assert read_image(tmp_path / "a.bmp", Reading("auto", (48, 32))).shape == (32, 48, 3)
    with pytest.raises(DataError, match=r"a.bmp has 48 × 32 pixels and its annotation says 9 × 9"):
        read_image(tmp_path / "a.bmp", Reading("auto", (9, 9)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_sizes_are_measured_from_the_first_bytes(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    stored = store(picture(), orientation)
    path.write_bytes(encode(stored, orientation)[:-100])  # damaged at its end, which is not read
    turned = orientation > 1
    assert measure_image(path, Reading("upright")) == Measurement(WIDTH, HEIGHT, turned, turned)
    assert measure_image(path) == Measurement(stored.shape[1], stored.shape[0], turned, False)
    with pytest.raises(DataError, match="truncated"):
        read_image(path)


def test_a_size_behind_a_long_comment_is_found(tmp_path):
    comment = (b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000)) * 3
    data = encode(picture(), 6, before=comment)
    assert parse_header(data) == ImageHeader(WIDTH, HEIGHT, 6)
    (tmp_path / "a.jpg").write_bytes(data)
    assert measure_image(tmp_path / "a.jpg", Reading("upright")) == Measurement(HEIGHT, WIDTH, True, True)


def test_pngs_have_orientations_too(tmp_path):
    ok, encoded = cv2.imencode(".png", store(picture(), 6)[..., ::-1])
    data = encoded.tobytes()
    content = b"eXIf" + exif(6)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])  # behind IHDR
    assert ok and corner_colours(read_image(tmp_path / "a.png", Reading("auto", (WIDTH, HEIGHT)))) == [0, 1, 2]


@pytest.mark.parametrize(("width", "height", "orientation"), [(48, 32, 6), (32, 32, 6), (48, 32, 3)])
def test_files_whose_header_is_not_read_are_upright_as_well_if_both_sizes_fit(tmp_path, width, height, orientation):
    stored = store(picture(width, height), orientation)
    (tmp_path / "a.webp").write_bytes(encode_webp(stored, orientation))
    upright = read_image(tmp_path / "a.webp", Reading("auto", (width, height)))
    np.testing.assert_array_equal(upright, picture(width, height))
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp"), stored)


def test_no_header_makes_the_parser_fail():
    whole = encode(picture(), 6)
    for end in range(len(whole)):
        assert parse_header(whole[:end]) in (None, ImageHeader(WIDTH, HEIGHT, 6))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole[:400])
        for place in rng.integers(0, 120, 3):
            damaged[place] = rng.integers(256)
        found = parse_header(bytes(damaged))
        assert found is None or found.orientation in ORIENTATIONS
