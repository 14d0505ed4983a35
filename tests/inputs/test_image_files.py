"""Decoding of pictures, against definitions written out by hand, Pillow's writer and naive numpy."""

import io
import os

import numpy as np
import pytest
from pictures import LOSSLESS, PIXELS, RNG, luma, saved
from PIL import Image

from onnxviz.errors import InputError
from onnxviz.inputs.image_files import read_image

# ---------------------------------------------------------------- decoding


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


@pytest.mark.parametrize("value", [0, 128, 129, 257, 40000, 65407, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_neither_rounded_nor_clipped(tmp_path, kind, value):
    # 65535 / 257 is 255.
    path = saved(tmp_path / "a", np.full((3, 2), value, np.uint16), format=kind)
    assert read_image(path).tolist() == [[[np.float32(value / 257)] * 3] * 2] * 3
    assert read_image(path, channels=1).tolist() == [[[np.float32(value / 257)]] * 2] * 3


def test_one_bit_is_black_and_white(tmp_path):
    bits = np.array([[True, False, True], [False, False, True]])
    made = read_image(saved(tmp_path / "a.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(made, np.repeat(bits[..., None] * 255, 3, 2))


def test_float_tiff(tmp_path):
    values = np.array([[0, 0.25, 1], [0.5, 0.1, 0.999]], np.float32)
    made = read_image(saved(tmp_path / "a.tif", values), channels=1)
    np.testing.assert_array_equal(made[..., 0], values * np.float32(255))


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


@pytest.mark.parametrize("channels", [1, 3])
def test_number_of_channels(tmp_path, channels):
    path = saved(tmp_path / "a.png", PIXELS)
    made = read_image(path, channels=channels)
    assert made.shape == (5, 7, channels)
    if channels == 1:
        assert np.abs(made[..., 0] - luma(PIXELS)).max() <= 1
    else:
        np.testing.assert_array_equal(made, PIXELS)


@pytest.mark.parametrize(
    ("bands", "wanted", "match"),
    [
        (1, 2, r"1 channel \(grey\), and the input takes 2 channels"),
        (1, 4, r"1 channel \(grey\), and the input takes 4 channels"),
        (2, 5, r"2 channels \(grey and alpha\), and the input takes 5 channels"),
        (3, 2, r"3 channels \(RGB\), and the input takes 2 channels"),
        (3, 4, r"3 channels \(RGB\), and the input takes 4 channels"),
        (4, 2, r"4 channels \(RGB and alpha\), and the input takes 2 channels"),
        (4, 7, r"4 channels \(RGB and alpha\), and the input takes 7 channels"),
    ],
)
def test_channels_that_a_file_has_not_are_never_made_up(tmp_path, bands, wanted, match):
    path = saved(tmp_path / "a.png", np.zeros((2, 3, bands), np.uint8).squeeze())
    with pytest.raises(InputError, match=rf"a\.png has {match}: give a \.npy array"):
        read_image(path, channels=wanted)


def test_alpha_that_is_asked_for_is_a_channel(tmp_path):
    pixels = RNG.integers(0, 256, (4, 5, 4), np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", pixels), channels=4), pixels)
    grey = saved(tmp_path / "b.png", pixels[..., 2:])
    np.testing.assert_array_equal(read_image(grey, channels=2), pixels[..., 2:])
    np.testing.assert_array_equal(read_image(grey, channels=4), pixels[..., [2, 2, 2, 3]])
    assert read_image(grey, channels=None).shape == (4, 5, 3)


def test_grey_becomes_three_equal_channels(tmp_path):
    made = read_image(saved(tmp_path / "a.png", PIXELS[..., 0]))
    for channel in range(3):
        np.testing.assert_array_equal(made[..., channel], PIXELS[..., 0])


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
