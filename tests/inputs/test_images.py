"""Decoding and preprocessing, against definitions written out by hand, Pillow's writer and naive numpy."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnxviz.errors import InputError
from onnxviz.inputs import images
from onnxviz.inputs.images import MAX_OWN_PIXELS, MAX_PIXELS, read_image
from onnxviz.inputs.preprocessing import NAMED, Preprocessing

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (5, 7, 3), np.uint8)


def saved(path, picture, **options):
    """Writes an array or a picture with Pillow; gives the path."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(path, **options)
    return path


def luma(rgb):
    """ITU-R BT.601, as Pillow documents for its mode L."""
    return rgb[..., 0] * 0.299 + rgb[..., 1] * 0.587 + rgb[..., 2] * 0.114


# ---------------------------------------------------------------- preprocessing

# The pixel red 10, green 100, blue 250, by the contract's definitions; channels in the order of the result.
BY_HAND = {
    "raw": [10.0, 100.0, 250.0],
    "unit": [10 / 255, 100 / 255, 250 / 255],
    "signed": [10 / 127.5 - 1, 100 / 127.5 - 1, 250 / 127.5 - 1],
    "torch": [(10 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (250 / 255 - 0.406) / 0.225],
    "caffe": [250 - 103.939, 100 - 116.779, 10 - 123.68],
    "scale=0.5": [5.0, 50.0, 125.0],
    "mean=10": [0.0, 90.0, 240.0],
    "std=2": [5.0, 50.0, 125.0],
    "order=BGR": [250.0, 100.0, 10.0],
    "order=bgr,scale=2": [500.0, 200.0, 20.0],
    "scale=0.5,mean=1:2:3,std=2:4:8": [(5 - 1) / 2, (50 - 2) / 4, (125 - 3) / 8],
    "scale=0.5,mean=1:2:3,std=2:4:8,order=BGR": [(125 - 1) / 2, (50 - 2) / 4, (5 - 3) / 8],
    "std=2:4:8,scale=0.5,order=RGB,mean=-1": [(5 + 1) / 2, (50 + 1) / 4, (125 + 1) / 8],
    "scale=1e-2": [0.1, 1.0, 2.5],
    "scale=-1": [-10.0, -100.0, -250.0],
}


@pytest.mark.parametrize("text", BY_HAND)
def test_preprocessing_is_what_the_contract_says(text):
    pixel = np.array([[[10, 100, 250]]], np.uint8)
    made = Preprocessing.parse(text).apply(pixel)
    assert made.dtype == np.float32
    assert made.shape == (1, 1, 3)
    np.testing.assert_allclose(made[0, 0], BY_HAND[text], rtol=1e-5, atol=1e-6)


def test_the_names_are_those_of_the_contract():
    assert set(NAMED) == {"raw", "unit", "signed", "torch", "caffe"}
    assert all(Preprocessing.parse(name).name == name for name in NAMED)
    assert Preprocessing.parse("scale=1").name == "custom"


def test_ends_of_the_named_ranges_are_exact():
    ends = np.array([[[0, 255, 255]]], np.uint8)
    assert NAMED["raw"].apply(ends).tolist() == [[[0, 255, 255]]]
    assert NAMED["unit"].apply(ends).tolist() == [[[0, 1, 1]]]
    assert NAMED["signed"].apply(ends).tolist() == [[[-1, 1, 1]]]


@pytest.mark.parametrize("text", BY_HAND)
def test_preprocessing_treats_every_pixel_alike(text):
    chosen = Preprocessing.parse(text)
    scale, mean, std = chosen.scale, np.broadcast_to(chosen.mean, 3), np.broadcast_to(chosen.std, 3)
    made = chosen.apply(PIXELS)
    for y in range(5):
        for x in range(7):
            for c in range(3):
                value = float(PIXELS[y, x, 2 - c if chosen.order == "BGR" else c])
                assert made[y, x, c] == pytest.approx((value * scale - mean[c]) / std[c], rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("text", ["raw", "unit", "signed", "scale=0.5,mean=3,std=2"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_value_serves_any_number_of_channels(text, channels):
    pixels = np.full((2, 2, channels), 100, np.uint8)
    expected = {"raw": 100, "unit": 100 / 255, "signed": 100 / 127.5 - 1, "scale=0.5,mean=3,std=2": 23.5}[text]
    np.testing.assert_allclose(Preprocessing.parse(text).apply(pixels), expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("text", "key"), [("torch", "mean"), ("caffe", "mean"), ("std=1:2:3", "std")])
def test_another_number_of_channels_is_said(text, key, channels):
    with pytest.raises(InputError, match=rf"3 {key} values for {channels} channels"):
        Preprocessing.parse(text).apply(np.zeros((2, 2, channels), np.uint8))


def test_order_bgr_is_not_dropped_for_four_channels():
    pixel = np.array([[[10, 100, 250, 77]]], np.uint8)
    try:
        made = Preprocessing.parse("order=BGR").apply(pixel)
    except InputError as error:
        assert "BGR" in str(error)  # noqa: PT017 - refusing is as good
    else:
        assert made[0, 0].tolist() == [250, 100, 10, 77]


def test_apply_leaves_the_picture_alone():
    pixels = PIXELS.copy()
    for preprocessing in NAMED.values():
        made = preprocessing.apply(pixels)
        assert not np.shares_memory(made, pixels)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("imagenet", "'imagenet' is not a preprocessing; there are raw, unit, signed, torch, caffe or scale="),
        ("", "'' is not a preprocessing"),
        ("auto", "'auto'"),
        ("scale", "'scale'"),
        ("scale=1,scale=2", "scale=1,scale=2"),
        ("scale=1,gamma=2", "gamma"),
        ("scale=one", "scale=one"),
        ("mean=1:x:3", "not a number"),
        ("mean=", "not a number"),
        ("scale=0", "not 0"),
        ("std=1:0:1", "not 0"),
        ("scale=nan", "nan"),
        ("mean=inf", "inf"),
        ("scale=1e999", "inf"),
        ("order=GRB", "RGB or BGR, not 'GRB'"),
    ],
)
def test_what_is_no_preprocessing_is_refused(text, match):
    with pytest.raises(InputError, match=match):
        Preprocessing.parse(text)


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
NONZERO = NUMBERS.filter(lambda value: value != 0)


@settings(deadline=None)
@given(
    NONZERO,
    st.lists(NUMBERS, min_size=1, max_size=4),
    st.lists(NONZERO, min_size=1, max_size=4),
    st.sampled_from(["RGB", "BGR"]),
)
def test_formulas_and_notes_are_read_as_they_were_written(scale, mean, std, order):
    text = f"scale={scale!r},mean={':'.join(map(repr, mean))},std={':'.join(map(repr, std))},order={order}"
    parsed = Preprocessing.parse(text)
    assert (parsed.scale, parsed.mean, parsed.std, parsed.order) == (scale, tuple(mean), tuple(std), order)
    assert Preprocessing.from_json(parsed.to_json()) == parsed


@pytest.mark.parametrize("name", NAMED)
def test_named_notes_are_read_as_they_were_written(name):
    note = json.loads(NAMED[name].to_json())
    assert note["name"] == name
    assert Preprocessing.from_json(json.dumps(note)) == NAMED[name]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "null",
        "[]",
        "3",
        "{}",
        '{"name": "x", "scale": 1, "mean": [0]}',
        '{"name": "x", "scale": "a", "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": 0, "std": [1]}',
        '{"name": "x", "scale": 0, "mean": [0], "std": [1]}',
        '{"name": "x", "scale": NaN, "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1e999, "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1' + "0" * 400 + ', "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": [], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": [0], "std": [0]}',
        '{"name": "x", "scale": 1, "mean": [[0]], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": [0], "std": [1], "order": "YUV"}',
        "[" * 100_000,
    ],
)
def test_an_unreadable_note_is_an_error_not_a_crash(text):
    with pytest.raises(InputError):
        Preprocessing.from_json(text)


# ---------------------------------------------------------------- decoding

LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_their_pixels(tmp_path, kind):
    path = saved(tmp_path / "a", PIXELS, format=kind, **LOSSLESS[kind])
    made = read_image(path)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, PIXELS)


def test_jpeg_and_gif_are_read(tmp_path):
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    made = read_image(saved(tmp_path / "a.jpg", flat, quality=95)).astype(int)
    assert np.abs(made - flat).max() <= 3
    grey = np.full((4, 4), 77, np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.gif", grey)), np.full((4, 4, 3), 77))


def test_the_content_decides_not_the_name(tmp_path):
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.jpg", PIXELS, format="PNG")), PIXELS)


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.jpg"])
def test_eps_is_refused_whatever_its_name(tmp_path, name):
    path = saved(tmp_path / name, PIXELS, format="EPS")
    with pytest.raises(InputError, match=r"not an image that onnxviz reads \(JPEG, PNG"):
        read_image(path)


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "PDF", "ICNS", "JPEG2000", "DDS"])
def test_formats_off_the_list_are_refused(tmp_path, kind):
    try:
        path = saved(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint8), format=kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {kind}")
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg/>", b"P6\n", b"GIF89a"]
)
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, kind, share):
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(whole, format=kind)
    path = tmp_path / "cut"
    path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
    with pytest.raises(InputError, match="cut"):
        read_image(path)


def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*nope\.png"):
        read_image(tmp_path / "nope.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"folder\.png is not a file"):
        read_image(tmp_path / "folder.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(InputError, match=r"pipe\.png is not a file"):
            read_image(tmp_path / "pipe.png")


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize(
    ("value", "eight"), [(0, 0), (128, 0), (129, 1), (257, 1), (40000, 156), (65407, 255), (65535, 255)]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_rounded_not_clipped(tmp_path, kind, value, eight):
    # Rounding value / 257: 65535 / 257 is 255.
    path = saved(tmp_path / "a", np.full((3, 2), value, np.uint16), format=kind)
    assert read_image(path).tolist() == [[[eight] * 3] * 2] * 3
    assert read_image(path, channels=1).tolist() == [[[eight]] * 2] * 3


def test_sixteen_bit_pgm(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n2 1\n65535\n" + struct.pack(">HH", 40000, 257))
    assert read_image(path, channels=1).tolist() == [[[156], [1]]]


def test_sixteen_bit_colour_png(tmp_path):
    values = RNG.integers(0, 65536, (4, 3, 3), np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png([row.tobytes() for row in values.astype(">u2")], 3, 4, depth=16, colour=2))
    made = read_image(path).astype(float)
    assert np.abs(made - values / 257).max() <= 1  # Pillow drops the low byte


def test_one_bit_is_black_and_white(tmp_path):
    bits = np.array([[True, False, True], [False, False, True]])
    made = read_image(saved(tmp_path / "a.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(made, np.repeat(bits[..., None] * 255, 3, 2))


def test_float_tiff(tmp_path):
    values = np.array([[0, 0.25, 1], [0.5, 0.1, 0.999]], np.float32)
    made = read_image(saved(tmp_path / "a.tif", values), channels=1)
    assert made[..., 0].tolist() == [[0, 64, 255], [128, 26, 255]]


@pytest.mark.parametrize("values", [[0, 1.5], [-0.5, 1], [0, 200], [0, np.nan]])
def test_a_float_tiff_of_another_range_is_refused(tmp_path, values):
    path = saved(tmp_path / "a.tif", np.array([values], np.float32))
    with pytest.raises(InputError, match=rf"{values[-1]:g}.*\.npy"):
        read_image(path)


@pytest.mark.parametrize("values", [[0, 70000], [-1, 5]])
def test_a_32_bit_tiff_of_another_range_is_refused(tmp_path, values):
    path = saved(tmp_path / "a.tif", np.array([values], np.int32))
    with pytest.raises(InputError, match=rf"{values[0]}…{values[1]}.*\.npy"):
        read_image(path)


@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((255, 255, 255, 255), (0, 0, 0)),
    ],
)
def test_cmyk_tiff(tmp_path, inks, colour):
    picture = Image.new("CMYK", (3, 2), inks)
    assert read_image(saved(tmp_path / "a.tif", picture)).tolist() == [[list(colour)] * 3] * 2


def test_cmyk_jpeg(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=95)
    np.testing.assert_allclose(read_image(path).astype(int), np.full((16, 16, 3), (255, 0, 0)), atol=6)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_number_of_channels(tmp_path, channels):
    path = saved(tmp_path / "a.png", PIXELS)
    made = read_image(path, channels=channels)
    assert made.shape == (5, 7, channels)
    if channels == 1:
        assert np.abs(made[..., 0] - luma(PIXELS)).max() <= 1
    else:
        np.testing.assert_array_equal(made[..., :3], PIXELS)
    if channels == 4:
        assert (made[..., 3] == 255).all()


def test_grey_becomes_three_equal_channels(tmp_path):
    made = read_image(saved(tmp_path / "a.png", PIXELS[..., 0]))
    for channel in range(3):
        np.testing.assert_array_equal(made[..., channel], PIXELS[..., 0])


# ---------------------------------------------------------------- transparency


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("background", "ground"),
    [("white", (255, 255, 255)), ("#0000ff", (0, 0, 255)), ("black", (0, 0, 0)), ("#12c832", (18, 200, 50))],
)
def test_alpha_is_laid_on_the_declared_background(tmp_path, kind, background, ground):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:] = (200, 100, 0, 51)  # alpha 0.2
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 255
    path = saved(tmp_path / "a", pixels, format=kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    made = read_image(path, background=background).astype(float)
    alpha = pixels[..., 3:] / 255
    assert np.abs(made - (pixels[..., :3] * alpha + np.array(ground) * (1 - alpha))).max() <= 1
    grey = read_image(path, background=background, channels=1)[..., 0].astype(float)
    assert np.abs(grey - luma(made)).max() <= 1
    np.testing.assert_array_equal(read_image(path, background=background, channels=4), pixels)


def test_the_background_is_white_unless_told(tmp_path):
    path = saved(tmp_path / "a.png", np.zeros((2, 2, 4), np.uint8))
    assert (read_image(path) == 255).all()


def test_grey_with_alpha(tmp_path):
    pixels = np.array([[[100, 51], [100, 0]]], np.uint8)
    made = read_image(saved(tmp_path / "a.png", pixels))
    assert np.abs(made.astype(float) - [[[224] * 3, [255] * 3]]).max() <= 1  # 0.2 · 100 + 0.8 · 255


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_background(tmp_path, kind):
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    path = saved(tmp_path / "a", picture, format=kind, transparency=1)
    assert read_image(path, background="#010203").tolist() == [[[255, 0, 0], [1, 2, 3], [0, 0, 255]]]


@pytest.mark.parametrize(
    ("mode", "pixels", "transparent"), [("L", [50, 60], 60), ("RGB", [(9, 8, 7), (60, 60, 60)], (60, 60, 60))]
)
def test_a_transparent_colour_is_background(tmp_path, mode, pixels, transparent):
    picture = Image.new(mode, (2, 1))
    picture.putdata(pixels)
    made = read_image(saved(tmp_path / "a.png", picture, transparency=transparent), background="#ff0000")
    first = [pixels[0]] * 3 if mode == "L" else list(pixels[0])
    assert made.tolist() == [[first, [255, 0, 0]]]


def test_a_background_that_is_no_colour_is_named(tmp_path):
    path = saved(tmp_path / "a.png", np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(InputError, match="'octarine' is not a colour"):
        read_image(path, background="octarine")


# ---------------------------------------------------------------- orientation, size

# Where the file's row 0 and column 0 are in the upright picture: EXIF 2.32, tag 274.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def as_stored(upright, orientation):
    """The pixels as a camera with this orientation stores them."""
    row_zero, column_zero = SIDES[orientation]
    height, width = upright.shape[:2]
    across = row_zero in ("left", "right")
    stored = np.empty(((width, height) if across else (height, width)) + upright.shape[2:], upright.dtype)
    for row in range(stored.shape[0]):
        for column in range(stored.shape[1]):
            distance = {row_zero: row, column_zero: column}  # from that side of the upright picture
            y = distance["top"] if "top" in distance else height - 1 - distance["bottom"]
            x = distance["left"] if "left" in distance else width - 1 - distance["right"]
            stored[row, column] = upright[y, x]
    return stored


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path / "a", as_stored(PIXELS, orientation), format=kind, exif=exif, **LOSSLESS[kind])
    np.testing.assert_array_equal(read_image(path), PIXELS)
    np.testing.assert_array_equal(read_image(path, size=(5, 7)), PIXELS)  # the size is that of the upright picture


@pytest.mark.parametrize("orientation", SIDES)
def test_exif_orientation_of_a_jpeg(tmp_path, orientation):
    blocks = np.repeat(np.repeat(np.array([[20, 90, 160], [230, 60, 130]], np.uint8), 16, 0), 16, 1)
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path / "a.jpg", as_stored(blocks, orientation), exif=exif, quality=95)
    assert np.abs(read_image(path, channels=1)[..., 0].astype(int) - blocks).max() <= 4


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", PIXELS, exif=exif)), PIXELS)


def thirds(height):
    """Red, green and blue squares side by side."""
    row = [[255, 0, 0]] * height + [[0, 255, 0]] * height + [[0, 0, 255]] * height
    return np.array([row] * height, np.uint8)


def test_size_is_height_then_width(tmp_path):
    path = saved(tmp_path / "a.png", PIXELS)
    assert read_image(path, size=(3, 11)).shape == (3, 11, 3)
    assert read_image(path, size=(3, 11), fit="crop").shape == (3, 11, 3)
    assert read_image(path, size=(3, 11), channels=1).shape == (3, 11, 1)
    np.testing.assert_array_equal(read_image(path, size=(5, 7)), PIXELS)


@pytest.mark.parametrize("turned", [False, True])
def test_crop_keeps_the_middle_and_stretch_keeps_all(tmp_path, turned):
    picture = thirds(12)
    path = saved(tmp_path / "a.png", picture.transpose(1, 0, 2) if turned else picture)
    cropped = read_image(path, size=(12, 12), fit="crop")
    np.testing.assert_array_equal(cropped, np.full((12, 12, 3), (0, 255, 0)))
    small = read_image(path, size=(4, 4), fit="crop")
    assert (small[..., 1] > 150).all()
    stretched = read_image(path, size=(12, 12))
    if turned:
        stretched = stretched.transpose(1, 0, 2)
    assert stretched[6, [1, 6, 10]].argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_resizing_keeps_a_flat_picture_flat_and_a_ramp_a_ramp(tmp_path, fit):
    flat = saved(tmp_path / "flat.png", np.full((9, 13, 3), (1, 128, 254), np.uint8))
    assert (read_image(flat, size=(4, 30), fit=fit) == (1, 128, 254)).all()
    columns = np.arange(64, dtype=np.uint8) * 2
    ramp = saved(tmp_path / "ramp.png", np.repeat(columns[None], 64, 0))
    small = read_image(ramp, size=(16, 16), fit=fit, channels=1)[..., 0].astype(float)
    # Pixel j of 16 covers columns 4j … 4j + 3, whose mean is 8j + 3; the outermost see the border.
    np.testing.assert_allclose(small[:, 1:-1], np.broadcast_to(np.arange(1, 15) * 8.0 + 3, (16, 14)), atol=1)


# ---------------------------------------------------------------- limits


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(lines, width, height, *, depth=8, colour=0, interlaced=0, palette=b"", pieces=1):
    """A PNG of unfiltered scan lines, its pixel data in so many chunks."""
    rows = b"".join(b"\0" + line for line in lines)
    packed = zlib.compress(rows)
    cut = -(-len(packed) // pieces)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if palette else b"")
        + b"".join(chunk(b"IDAT", packed[start : start + cut]) for start in range(0, len(packed), cut))
        + chunk(b"IEND", b"")
    )


# PNG specification, section 8.2: pass of each pixel of an 8x8 block.
ADAM7 = """
1 6 4 6 2 6 4 6
7 7 7 7 7 7 7 7
5 6 5 6 5 6 5 6
7 7 7 7 7 7 7 7
3 6 4 6 3 6 4 6
7 7 7 7 7 7 7 7
5 6 5 6 5 6 5 6
7 7 7 7 7 7 7 7
"""
PASS = [[int(number) for number in line.split()] for line in ADAM7.strip().splitlines()]


def interlaced_rows(pixels):
    """The scan lines of a grey 8-bit picture in Adam7 order."""
    lines = []
    for wanted in range(1, 8):
        for y in range(pixels.shape[0]):
            line = [int(pixels[y, x]) for x in range(pixels.shape[1]) if PASS[y % 8][x % 8] == wanted]
            if line:
                lines.append(bytes(line))
    return lines


SIZES = [(1, 1), (1, 5), (3, 1), (5, 7), (8, 8), (9, 3), (17, 13)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_complete_interlaced_png_is_read(tmp_path, height, width):
    pixels = np.random.default_rng(2).integers(0, 256, (height, width), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(interlaced_rows(pixels), width, height, interlaced=1))
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], pixels)


@pytest.mark.parametrize(("height", "width"), SIZES[1:])
def test_an_interlaced_png_without_its_last_row_is_refused(tmp_path, height, width):
    pixels = np.random.default_rng(2).integers(0, 256, (height, width), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(interlaced_rows(pixels)[:-1], width, height, interlaced=1))
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize("pieces", [1, 3, 50])
@pytest.mark.parametrize("given_rows", [0, 1, 9, 15])
def test_a_png_with_missing_rows_is_refused(tmp_path, given_rows, pieces):
    rows = np.random.default_rng(2).integers(0, 256, (16, 16), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png([row.tobytes() for row in rows], 16, 16, pieces=pieces))
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], rows)
    path.write_bytes(png([row.tobytes() for row in rows[:given_rows]], 16, 16, pieces=pieces))
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize("pieces", [1, 3, 50])
@pytest.mark.parametrize("width", [1, 7, 8, 9])
@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (1, 3), (4, 3), (8, 3)])
def test_a_complete_png_of_any_depth_is_read(tmp_path, depth, colour, width, pieces):
    stride = -(-width * depth // 8)
    rows = [bytes(stride)] * 5
    path = tmp_path / "a.png"
    path.write_bytes(png(rows, width, 5, depth=depth, colour=colour, palette=b"\0\0\0" * (colour == 3), pieces=pieces))
    assert read_image(path, channels=1).tolist() == [[[0]] * width] * 5


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_complete_png_of_any_colour_type_is_read(tmp_path, colour, samples, depth):
    path = tmp_path / "a.png"
    path.write_bytes(png([b"\xff" * (3 * samples * depth // 8)] * 5, 3, 5, depth=depth, colour=colour))
    assert (read_image(path) == 255).all()


def test_the_pixel_cap_is_checked_before_decoding(tmp_path):
    # No pixel data at all: what is decoded first fails with another message.
    path = tmp_path / "a.png"
    path.write_bytes(png([], 9000, 8000))
    assert MAX_PIXELS < 9000 * 8000
    with pytest.raises(InputError, match=rf"9000x8000 pixels; the limit is {MAX_PIXELS:,}"):
        read_image(path, size=(8, 8))
    with pytest.raises(InputError, match=rf"the limit is {MAX_OWN_PIXELS:,}: give --size"):
        read_image(path)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (10**9, 1)])
def test_a_bomb_is_refused(tmp_path, width, height):
    path = tmp_path / "a.png"
    path.write_bytes(png([], width, height))
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(path)


def test_the_cap_itself_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_OWN_PIXELS", 12)
    assert read_image(saved(tmp_path / "a.png", np.zeros((3, 4), np.uint8))).shape == (3, 4, 3)
    with pytest.raises(InputError, match="13x1 pixels"):
        read_image(saved(tmp_path / "b.png", np.zeros((1, 13), np.uint8)))


def test_reading_leaves_no_file_open(tmp_path):
    path = saved(tmp_path / "a.png", PIXELS)
    open_before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        read_image(path)
    open_after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert open_after <= open_before
