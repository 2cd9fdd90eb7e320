"""Pixels of more than 8 bits and transparent ones, as files of several kinds have them."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.coco_folders import folder
from PIL import Image

from llpp.config.load_run import _read_pixels
from llpp.data.crop_cache.cache_key import compute_row_ids
from llpp.data.person_crop import PersonCrop
from llpp.datasets.coco.dataset import CocoKeypoints
from llpp.datasets.images import read_image, read_reduced
from llpp.datasets.pixel_format import AS_BEFORE, PixelFormat, choose_pixel_format
from llpp.errors import ConfigError, DataError

TWELVE_BITS = PixelFormat(white=4095)


def write_png(path, width, colour_type, rows, depth=16, extra=b""):
    """A PNG of one line per entry of `rows`, each of them bytes; OpenCV writes no grey with alpha."""

    def make_chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = (make_chunk(b"IHDR", header), extra, make_chunk(b"IDAT", pixels), make_chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm"])
def test_16_bits_are_scaled_by_the_stated_range(tmp_path, name):
    """4095 → 255; 2048 · 255 / 4095 = 127.53 → 128; 8 · 255 / 4095 = 0.498 → 0; what is above is white, too."""
    values = np.array([[0, 8, 2048, 4095, 4096, 65535]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), values)
    pixels = read_image(tmp_path / name, pixels=TWELVE_BITS)
    assert pixels.shape == (1, 6, 3) and pixels.dtype == np.uint8
    assert pixels[0].tolist() == [[value] * 3 for value in (0, 0, 128, 255, 255, 255)]
    # The full range, unless something is stated: 2048 · 255 / 65535 = 7.97.
    assert read_image(tmp_path / name)[0, :, 0].tolist() == [0, 0, 8, 16, 16, 255]
    assert read_image(tmp_path / name, pixels=AS_BEFORE)[0, 2:, 0].tolist() == [8, 15, 16, 255]
    assert read_reduced(tmp_path / name, 8, pixels=TWELVE_BITS)[1] == 1


@pytest.mark.parametrize("name", ["colour.png", "colour.tif"])
def test_colours_of_16_bits_keep_their_order(tmp_path, name):
    red, green, blue = 4095, 2048, 0
    cv2.imwrite(str(tmp_path / name), np.array([[[blue, green, red]]], dtype=np.uint16))
    assert read_image(tmp_path / name, pixels=TWELVE_BITS).tolist() == [[[255, 128, 0]]]


def test_all_that_is_not_deep_or_transparent_is_read_as_ever(tmp_path):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png", "a.bmp", "a.tif", "a.webp", "a.ppm"):
        cv2.imwrite(str(tmp_path / name), photo)
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        expected = cv2.imread(str(tmp_path / name), flags)
        assert np.array_equal(read_image(tmp_path / name), expected), name
    cv2.imwrite(str(tmp_path / "grey.png"), photo[..., 0])
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(photo[..., :1], 3, axis=2))


# Over black: 200 · 128 / 255 = 100.39, 100 · 128 / 255 = 50.2, 50 · 128 / 255 = 25.1.
# Over (0, 100, 255): 100 · 127 / 255 = 49.8 more of green, so 100.0; 127 more of blue, so 152.1.
@pytest.mark.parametrize(
    ("background", "clear", "half"),
    [((0, 0, 0), [0, 0, 0], [100, 50, 25]), ((0, 100, 255), [0, 100, 255], [100, 100, 152])],
)
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_transparent_pixels_are_laid_over_the_background(tmp_path, name, background, clear, half):
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[..., :3] = (200, 100, 50)
    pixels[0, :, 3] = (255, 0, 128)
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(pixels).save(tmp_path / name, **options)
    found = read_image(tmp_path / name, pixels=PixelFormat(background=background))[0].astype(int)
    assert found[0].tolist() == [200, 100, 50] and found[1].tolist() == clear
    # OpenCV rounds a TIFF's colours down when it multiplies them with their opacity.
    assert np.abs(found[2] - half).max() <= (name == "a.tif")
    if name != "a.tif":
        assert read_image(tmp_path / name, pixels=AS_BEFORE)[0].tolist() == [[200, 100, 50]] * 3


def test_grey_with_alpha_and_palettes_with_transparent_colours_are_laid_over_it_too(tmp_path):
    grey = write_png(tmp_path / "la.png", 3, 4, [bytes([200, 255, 200, 0, 200, 128])], depth=8)
    assert read_image(grey)[0, :, 0].tolist() == [200, 0, 100]
    # 16 bits: 2048 of 4095 is 128; its opacity is a share of 65535 whatever white is, so half of it is 64.
    deep = write_png(tmp_path / "la16.png", 2, 4, [struct.pack(">HHHH", 2048, 65535, 2048, 32768)])
    assert read_image(deep, pixels=TWELVE_BITS)[0].tolist() == [[128] * 3, [64] * 3]
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], dtype=np.uint8)).quantize(2)
    colours.save(tmp_path / "palette.png", transparency=colours.getpixel((1, 0)))
    white = PixelFormat(background=(255, 255, 255))
    assert read_image(tmp_path / "palette.png", pixels=white)[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_numbers_that_are_no_levels_of_grey_are_refused_by_their_type(tmp_path):
    cv2.imwrite(str(tmp_path / "depth.tif"), np.full((4, 4), 0.5, dtype=np.float32))
    with pytest.raises(DataError, match=r"depth.tif has pixels of the type float32; save it with 8 or 16 bits"):
        read_image(tmp_path / "depth.tif")


def test_avif_has_red_where_red_is(tmp_path):
    blue_green_red = np.full((64, 64, 3), (0, 0, 200), dtype=np.uint8)
    if not cv2.imwrite(str(tmp_path / "a.avif"), blue_green_red):
        pytest.skip("this OpenCV writes no AVIF")
    assert np.abs(read_image(tmp_path / "a.avif")[0, 0].astype(int) - [200, 0, 0]).max() <= 3


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "clear.webp"])
def test_damaged_files_are_sentences_whatever_they_claim(tmp_path, name):
    if name == "clear.webp":
        Image.fromarray(np.full((8, 8, 4), 99, dtype=np.uint8)).save(tmp_path / name, lossless=True)
    else:
        cv2.imwrite(str(tmp_path / name), np.arange(4096, dtype=np.uint16).reshape(64, 64))
    whole = (tmp_path / name).read_bytes()
    for length in range(1, len(whole), max(1, len(whole) // 60)):
        (tmp_path / name).write_bytes(whole[:length])
        try:
            read_image(tmp_path / name)
        except DataError:
            continue
        choose_pixel_format(None, None, tmp_path, [name])


@pytest.mark.parametrize(
    ("largest", "white"), [(200, 255), (256, 1023), (1000, 1023), (4095, 4095), (4096, 16383), (65535, 65535)]
)
def test_white_is_the_most_that_the_images_bits_can_hold(tmp_path, largest, white):
    for number in range(3):
        image = np.full((4, 4), 7, dtype=np.uint16)
        image[0, 0] = largest if number == 1 else 9
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    names = ["0.png", "1.png", "2.png", "missing.png"]
    found, notes = choose_pixel_format(None, None, tmp_path, names)
    assert found == PixelFormat(white, (0, 0, 0))
    assert notes == [
        f"there are 16-bit images: 0 to {white:,} become 0 to 255, and larger values 255; dataset.white=… sets "
        "another limit"
    ]
    assert choose_pixel_format(None, None, tmp_path, reversed(names))[0] == found, "in any order"
    assert choose_pixel_format(300, [1, 2, 3], tmp_path, names)[0] == PixelFormat(300, (1, 2, 3))


def test_common_images_need_no_note(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), 7, dtype=np.uint8))
    assert choose_pixel_format(None, None, tmp_path, ["a.png"]) == (PixelFormat(), [])
    assert choose_pixel_format("high_byte", "ignore", tmp_path, ["a.png"]) == (AS_BEFORE, [])


@pytest.mark.parametrize(
    ("white", "background", "sentence"),
    [
        (254, None, "dataset.white=254 is invalid; expected null, high_byte, or a value from 255 to 65535"),
        (True, None, "dataset.white=True is invalid"),
        ("auto", None, "dataset.white='auto' is invalid"),
        (None, "black", "dataset.background='black' is invalid; expected null, ignore, or a colour such as"),
        (None, [0, 0, 256], "dataset.background="),
        (None, [0, 0], "dataset.background="),
    ],
)
def test_other_values_are_a_sentence(tmp_path, white, background, sentence):
    with pytest.raises(ConfigError, match=sentence):
        choose_pixel_format(white, background, tmp_path, [])


def test_a_dataset_reads_all_its_images_by_one_range_and_says_which(tmp_path):
    root = folder(tmp_path)
    for number, path in enumerate(sorted((root / "images").iterdir())):
        # Only one of the images uses all of the 12 bits.
        values = np.full((70, 90), 1024, dtype=np.uint16)
        values[0, 0] = 4000 if number == 4 else 1024
        cv2.imwrite(str(path), values)
    data = CocoKeypoints(str(root))
    assert [int(data.load(row)[5, 5, 0]) for row in range(10)] == [64] * 10  # 1024 · 255 / 4095 = 63.8
    assert data.load_reduced(0, 8)[0][5, 5, 0] == 64
    assert data.decided["white"] == 4095 and "0 to 4,095 become 0 to 255" in data.records.notes[0]
    # `llpp.load` predicts paths with the pixels that the network was trained on.
    assert _read_pixels(data.paths[0], data.new_reading, data.pixels)[5, 5, 0] == 64


def test_crops_of_one_format_are_not_taken_for_those_of_another(tmp_path):
    root = str(folder(tmp_path))
    crop = PersonCrop(16, 1.25, 1.5)
    keys = set()
    for settings in ({}, {"white": 4095}, {"background": [9, 9, 9]}, {"white": "high_byte", "background": "ignore"}):
        keys.add(compute_row_ids(CocoKeypoints(root, **settings), crop, "").tobytes())
    assert len(keys) == 4
