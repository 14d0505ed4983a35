"""TIFF files of many bands, against the arrays that tifffile wrote."""

import re
import sys
import zlib

import numpy as np
import pytest
import tifffile
from pictures import RNG, luma, saved
from PIL import Image
from tiff import LONG, SHORT, tiff

from onnxviz.errors import InputError
from onnxviz.inputs import image_files
from onnxviz.inputs.image_files import read_image

BANDS = RNG.integers(0, 256, (6, 9, 5), np.uint8)


def written(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("photometric", "bands"), [("rgb", 4), ("rgb", 5), ("minisblack", 2), ("minisblack", 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_that_are_not_alpha_are_bands(tmp_path, dtype, photometric, bands, compression, planar):
    """What GDAL, QGIS and rasterio write for red, green, blue and infrared."""
    values = BANDS[..., :bands].astype(dtype)
    white = {"u1": 255, "u2": 65535, "f4": 1}[values.dtype.str[1:]]
    values = values / np.float32(255) if white == 1 else (values * (white // 255)).astype(dtype)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    path = written(
        tmp_path / "a.tif", stored, photometric=photometric, planarconfig=planar, compression=compression,
        extrasamples=["unspecified"] * (bands - (3 if photometric == "rgb" else 1)),
    )  # fmt: skip
    made = read_image(path, channels=bands)
    assert made.dtype == (np.uint8 if white == 255 else np.float32)
    np.testing.assert_allclose(made, values.astype(np.float64) * 255 / white, rtol=1e-7)
    kind = f"{bands} channels" + (rf" \(RGB and {bands - 3} more\)" if photometric == "rgb" else "")
    with pytest.raises(InputError, match=rf"a\.tif has {kind}, and the input takes 3 channels: give a \.npy"):
        read_image(path, channels=3)
    assert read_image(path, channels=None).shape == (6, 9, bands)


def test_bands_are_resized_as_pictures_are(tmp_path):
    path = written(tmp_path / "a.tif", BANDS[..., :4], photometric="rgb", extrasamples=["unspecified"])
    expected = read_image(saved(tmp_path / "a.png", BANDS[..., :3]), size=(4, 5))
    np.testing.assert_array_equal(read_image(path, channels=4, size=(4, 5))[..., :3], expected)


def test_four_samples_of_which_none_is_called_alpha_are_bands(tmp_path):
    data = RNG.integers(0, 256, (2, 3, 4), np.uint8)
    tags = {258: (SHORT, [8] * 4), 262: (SHORT, [2]), 277: (SHORT, [4])}
    (tmp_path / "a.tif").write_bytes(tiff([(3, 2, data.tobytes(), tags)]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=4), data)
    with pytest.raises(InputError, match=r"4 channels \(RGB and 1 more\)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha_is_alpha_where_the_file_says_so(tmp_path, dtype, extra, planar):
    white = np.iinfo(dtype).max
    share = np.array([[0, 51, 102, 255]]) / 255
    colour = np.array([200, 100, 40]) / 255
    shown = np.broadcast_to(colour, (1, 4, 3)) * (share[..., None] if extra == "assocalpha" else 1)
    values = np.rint(np.dstack([shown, share]) * white).astype(dtype)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    path = written(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=[extra], planarconfig=planar)
    expected = 255 * (colour * share[..., None] + np.array([18, 200, 50]) / 255 * (1 - share[..., None]))
    step = 2 if dtype == np.uint8 else 0.02
    np.testing.assert_allclose(read_image(path, background="#12c832").astype(float), expected, atol=step)
    np.testing.assert_allclose(
        read_image(path, background="#12c832", channels=1)[..., 0].astype(float), luma(expected), atol=step
    )
    whole = read_image(path, channels=4).astype(float)
    np.testing.assert_allclose(whole[..., 3], share * 255, atol=step)
    np.testing.assert_allclose(whole[:, 1:, :3], np.broadcast_to(colour * 255, (1, 3, 3)), atol=4 * step)


def test_signed_bytes_are_refused(tmp_path):
    path = written(tmp_path / "a.tif", np.array([[-3, 5]], np.int8))
    with pytest.raises(InputError, match=r"a\.tif holds values -3…5 \(int8\), not 8 or 16 bits or 0…1"):
        read_image(path, channels=1)


@pytest.mark.parametrize("values", [[0, 1.5], [-0.5, 1], [0, np.nan]])
def test_float_bands_of_another_range_are_refused(tmp_path, values):
    bands = np.array([[values]] * 2, np.float32).transpose(1, 0, 2)
    with pytest.raises(InputError, match=r"a\.tif holds values .*\(float32\).*\.npy"):
        read_image(written(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig"), channels=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_bands_are_turned_upright_as_pictures_are(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    expected = read_image(saved(tmp_path / "a.png", BANDS[..., :3], exif=exif))
    path = written(
        tmp_path / "a.tif", BANDS, photometric="rgb", extrasamples=["unspecified"] * 2,
        extratags=[(274, "H", 1, orientation, True)],
    )  # fmt: skip
    np.testing.assert_array_equal(read_image(path, channels=5)[..., :3], expected)


def test_each_page_of_bands_is_read_in_its_place(tmp_path):
    stack = RNG.integers(0, 256, (3, 4, 6, 5), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in stack:
            writer.write(page, photometric="minisblack", planarconfig="contig")
    for number in (2, 0, 1):
        np.testing.assert_array_equal(read_image(f"{tmp_path}/a.tif[{number}]", channels=5), stack[number])


def test_without_tifffile_the_extra_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "a.tif", BANDS[..., :4], photometric="rgb", extrasamples=["unspecified"])
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=re.escape("pip install 'onnxviz[tiff]', or give a .npy")):
        read_image(path, channels=4)
    # What Pillow reads without loss needs no other package.
    deep = RNG.integers(0, 65536, (4, 5, 3), np.uint16)
    monkeypatch.undo()
    path = written(tmp_path / "deep.tif", deep, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    np.testing.assert_array_equal(read_image(path), deep.astype(np.float32) * 255 / np.float32(65535))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_bands_that_are_cut_short_are_refused(tmp_path, cut, caplog):
    # The directory of a file of one go comes first, the bands behind it.
    bands = RNG.integers(0, 256, (40, 50, 5), np.uint8)
    path = written(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(InputError, match=r"a\.tif is damaged: parts of the TIFF are missing"):
        read_image(path, channels=5)
    assert not caplog.records  # tifffile's own words would come between


def test_a_tiff_that_declares_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    tags = {258: (SHORT, [8] * 5), 277: (SHORT, [5]), 338: (SHORT, [0] * 4)}
    (tmp_path / "a.tif").write_bytes(tiff([(60_000, 60_000, bytes(8), tags)]))
    with pytest.raises(InputError, match=r"60000x60000 pixels"):
        read_image(tmp_path / "a.tif", channels=5, size=(8, 8))
    # Many bands count like many pixels.
    monkeypatch.setattr(image_files, "MAX_OWN_PIXELS", 40)
    path = written(tmp_path / "b.tif", BANDS[:5, :8], photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputError, match=r"8x5 pixels of 5 bands; the limit is 40 of 4"):
        read_image(path, channels=5)


@pytest.mark.parametrize("seed", range(4))
def test_mutants_are_read_or_refused_in_one_line(tmp_path, seed):
    chance = np.random.default_rng(seed)
    whole = written(tmp_path / "a.tif", BANDS, photometric="minisblack", planarconfig="contig").read_bytes()
    for _ in range(60):
        made = bytearray(whole)
        for _ in range(chance.integers(1, 4)):
            made[chance.integers(min(len(made), 330))] = chance.integers(256)
        (tmp_path / "a.tif").write_bytes(made)
        try:
            assert read_image(tmp_path / "a.tif", channels=5).shape[2] == 5
        except InputError as error:
            message = str(error)
        else:
            message = "a.tif"
        assert "a.tif" in message
        assert "\n" not in message


def deflated(data, tags=None):
    """A page of five bands of 3x2 pixels in one part that is compressed."""
    standard = {258: (SHORT, [8] * 5), 259: (SHORT, [8]), 277: (SHORT, [5]), 338: (SHORT, [0] * 4)}
    return tiff([(3, 2, data, {**standard, **(tags or {})})])


def test_a_part_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    bands = BANDS[:2, :3].tobytes()
    (tmp_path / "a.tif").write_bytes(deflated(zlib.compress(bands)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=5), BANDS[:2, :3])
    (tmp_path / "a.tif").write_bytes(deflated(zlib.compress(bytes(2**31 // 64))))
    with pytest.raises(InputError, match=r"a\.tif is damaged: a part unpacks to more than its 30 bytes"):
        read_image(tmp_path / "a.tif", channels=5)


def test_tiles_that_declare_too_much_are_refused(tmp_path):
    data = zlib.compress(BANDS[:2, :3].tobytes())
    tiles = {322: (LONG, [2**20]), 323: (LONG, [2**20]), 324: (LONG, [8]), 325: (LONG, [len(data)])}
    (tmp_path / "a.tif").write_bytes(deflated(data, tiles))
    with pytest.raises(InputError, match=r"a\.tif has tiles of 1048576x1048576 pixels; the limit is"):
        read_image(tmp_path / "a.tif", channels=5)


def test_other_compressions_are_refused_by_name(tmp_path):
    (tmp_path / "a.tif").write_bytes(deflated(bytes(30), {259: (SHORT, [34712])}))
    match = r"a\.tif is compressed in a way that is not read \(JPEG2000\): save it with LZW"
    with pytest.raises(InputError, match=match):
        read_image(tmp_path / "a.tif", channels=5)
