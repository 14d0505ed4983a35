"""Deep pictures against the numbers that were written: nothing of 16 bits or of floats is rounded."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from pictures import RNG, luma, saved
from PIL import Image
from png import interlaced_rows, png
from tiff import SHORT, tiff

from onnxviz.errors import InputError
from onnxviz.inputs.image_files import read_image


def scaled(values, white=65535):
    """0…255, correctly rounded to float32."""
    return (np.asarray(values, np.float64) * 255 / white).astype(np.float32)


def png16(path, values, colour, key=None):
    """A 16-bit PNG of (H, W, samples) whole numbers; `key` is the colour that is transparent."""
    height, width, _ = values.shape
    made = png([row.tobytes() for row in values.astype(">u2")], width, height, depth=16, colour=colour)
    if key is not None:
        at = made.index(b"IDAT") - 4
        body = b"tRNS" + struct.pack(f">{len(key)}H", *key)
        made = made[:at] + struct.pack(">I", 2 * len(key)) + body + struct.pack(">I", zlib.crc32(body)) + made[at:]
    path.write_bytes(made)
    return path


def noise16(*shape):
    return RNG.integers(0, 65536, shape, np.uint16)


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_a_16_bit_png_keeps_every_level(tmp_path, colour, samples):
    values = noise16(5, 7, samples)
    made = read_image(png16(tmp_path / "a.png", values, colour), channels=samples)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, scaled(values))


def test_twelve_bits_in_sixteen_are_all_told_apart(tmp_path):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    made = read_image(saved(tmp_path / "a.png", values), channels=1)
    assert len(np.unique(made)) == 4096
    np.testing.assert_array_equal(made[..., 0], scaled(values))


def test_an_interlaced_16_bit_png(tmp_path):
    # Its scan lines are those of an 8-bit picture whose "pixels" are the high bytes; the low bytes are the same.
    pixels = RNG.integers(0, 256, (9, 7), np.uint8)
    lines = [bytes(byte for byte in line for _ in range(6)) for line in interlaced_rows(pixels)]
    (tmp_path / "a.png").write_bytes(png(lines, 7, 9, depth=16, colour=2, interlaced=1))
    expected = scaled(np.repeat((pixels * np.uint16(257))[..., None], 3, 2))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("form", ["grey", "colour"])
def test_a_transparent_16_bit_colour_is_compared_at_full_depth(tmp_path, form):
    first, close = (1000, 2000, 3000), (1000, 2000, 3001)
    if form == "grey":
        path = png16(tmp_path / "a.png", np.array([[[1000], [1001]]]), 0, key=(1000,))
    else:
        path = png16(tmp_path / "a.png", np.array([[first, close]]), 2, key=first)
    made = read_image(path, background="#ff0000")
    np.testing.assert_array_equal(made[0, 0], [255, 0, 0])
    np.testing.assert_array_equal(made[0, 1], scaled((1001, 1001, 1001) if form == "grey" else close))


def test_alpha_of_16_bits_is_laid_on_the_background(tmp_path):
    values = noise16(4, 6, 4)
    path = png16(tmp_path / "a.png", values, 6)
    share = values[..., 3:] / 65535
    expected = values[..., :3] / 257 * share + np.array([18, 200, 50]) * (1 - share)
    np.testing.assert_allclose(read_image(path, background="#12c832"), expected, atol=1e-3)
    np.testing.assert_allclose(read_image(path, background="#12c832", channels=1)[..., 0], luma(expected), atol=1e-3)
    grey = png16(tmp_path / "b.png", values[..., 2:], 4)
    expected = values[..., 2:3] / 257 * share + np.array([18, 200, 50]) * (1 - share)
    np.testing.assert_allclose(read_image(grey, background="#12c832"), expected, atol=1e-3)
    np.testing.assert_allclose(
        read_image(grey, channels=1), values[..., 2:3] / 257 * share + 255 * (1 - share), atol=1e-3
    )
    np.testing.assert_array_equal(read_image(grey, channels=4), scaled(values[..., [2, 2, 2, 3]]))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("samples", "extra"), [(1, []), (3, []), (4, ["unassalpha"])])
def test_a_16_bit_tiff_keeps_every_level(tmp_path, order, samples, extra, compression):
    values = noise16(20, 33, samples)
    tifffile.imwrite(
        tmp_path / "a.tif", values.squeeze(), byteorder=order, compression=compression, rowsperstrip=7,
        photometric="rgb" if samples > 1 else "minisblack", extrasamples=extra or None,
    )  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=samples), scaled(values))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["separate", "contig"])
def test_tiles_and_separate_planes_of_16_bits(tmp_path, order, planar):
    values = noise16(3, 40, 33)
    stored = values if planar == "separate" else values.transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=order, photometric="rgb", planarconfig=planar, tile=(16, 16))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), scaled(values.transpose(1, 2, 0)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_where_white_is_zero_the_picture_is_turned_over(tmp_path, dtype, order):
    values = (
        RNG.random((4, 5)).astype(dtype) if dtype == np.float32 else RNG.integers(0, np.iinfo(dtype).max, (4, 5), dtype)
    )
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite", byteorder=order)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1)[..., 0], scaled(white - values, white))


def test_a_12_bit_tiff_is_white_at_4095(tmp_path):
    packed = bytes.fromhex("fff 000 800 001".replace(" ", ""))  # two samples in three bytes
    (tmp_path / "a.tif").write_bytes(tiff([(4, 1, packed, {258: (SHORT, [12])})]))
    made = read_image(tmp_path / "a.tif", channels=1)[0, :, 0]
    np.testing.assert_array_equal(made, scaled([4095, 0, 0x800, 1], 4095))


@pytest.mark.parametrize("depth", [1000, 65535])
def test_ppm_of_more_than_8_bits(tmp_path, depth):
    values = RNG.integers(0, depth + 1, (3, 5, 3), np.uint16)
    (tmp_path / "a.ppm").write_bytes(b"P6\n5 3\n%d\n" % depth + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.ppm"), scaled(values, depth))
    grey = values[..., 0]
    (tmp_path / "a.pgm").write_bytes(b"P5\n5 3\n%d\n" % depth + grey.astype(">u2").tobytes())
    np.testing.assert_allclose(read_image(tmp_path / "a.pgm", channels=1)[..., 0], scaled(grey, depth), atol=0.5 / 257)
    (tmp_path / "dark.pgm").write_bytes(b"P5\n2 1\n65535\n" + struct.pack(">HH", 200, 0))
    np.testing.assert_array_equal(read_image(tmp_path / "dark.pgm", channels=1)[..., 0], scaled([[200, 0]]))


def test_ppm_in_text_of_more_than_8_bits_is_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P3\n1 1\n65535\n1 2 3\n")
    with pytest.raises(InputError, match=r"a\.ppm is a PPM in text of more than 8 bits: save it as PNG or TIFF"):
        read_image(tmp_path / "a.ppm")


def test_a_ppm_cut_short_is_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6\n5 3\n65535\n" + bytes(80))
    with pytest.raises(InputError, match=r"a\.ppm cannot be decoded"):
        read_image(tmp_path / "a.ppm")


def test_16_bit_inks(tmp_path):
    inks = noise16(3, 4, 4)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", planarconfig="contig")
    c, m, y, k = np.moveaxis(inks / 65535, -1, 0)
    expected = np.stack([(1 - ink) * (1 - k) for ink in (c, m, y)], -1) * 255
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int16", -656, 658), ("int16", 0, 658), ("int32", 0, 200), ("uint32", 0, 70000)]
)
def test_integers_whose_white_nobody_knows_are_refused(tmp_path, dtype, low, high):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[low, high]], dtype))
    with pytest.raises(InputError, match=rf"a\.tif holds values {low}…{high:g} \({dtype}\), not 8 or 16 bits.*\.npy"):
        read_image(tmp_path / "a.tif", channels=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_upright_as_others_are(tmp_path, orientation):
    colours = RNG.integers(0, 256, (4, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    expected = read_image(saved(tmp_path / "a.png", colours, exif=exif))
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "deep.tif", colours * np.uint16(257), photometric="rgb", extratags=tag)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.tif"), expected)
    tifffile.imwrite(tmp_path / "grey.tif", colours[..., 0] * np.uint16(257), photometric="minisblack", extratags=tag)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tif", channels=1), expected[..., :1])
    tifffile.imwrite(tmp_path / "shallow.tif", colours[..., 0], photometric="minisblack", extratags=tag)
    np.testing.assert_array_equal(read_image(tmp_path / "shallow.tif", channels=1), expected[..., :1])


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_deep_pictures_are_resized_as_others_are_but_not_rounded(tmp_path, fit):
    colours = RNG.integers(0, 256, (30, 41, 3), np.uint8)
    path = png16(tmp_path / "deep.png", colours.astype(np.uint16) * 257, 2)
    shallow = read_image(saved(tmp_path / "a.png", colours), size=(11, 17), fit=fit)
    made = read_image(path, size=(11, 17), fit=fit)
    assert made.dtype == np.float32
    # Pillow rounds 8 bits once along each axis.
    assert np.abs(made - shallow).max() <= 1.01
    assert np.abs(made - np.rint(made)).max() > 0.4
