"""Pictures that are incomplete or too large."""

from pathlib import Path

import numpy as np
import pytest
from pictures import PIXELS, saved
from png import interlaced_rows, png

from onnxviz.errors import InputError
from onnxviz.inputs import image_files as images
from onnxviz.inputs.image_files import MAX_OWN_PIXELS, MAX_PIXELS, read_image

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
    with pytest.raises(InputError, match=rf"the limit is {MAX_OWN_PIXELS:,}: give size="):
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
