"""Pages of image files: counted as Pillow counts them, addressed, refused where it is not clear what they are."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from pictures import PIXELS, RNG, saved
from PIL import Image
from tiff import LONG, SHORT, tiff

from onnxviz.errors import InputError
from onnxviz.inputs import image_pages
from onnxviz.inputs.image_files import read_image
from onnxviz.inputs.image_pages import Pages, find_pages, one_page, parse_address

STACKS = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
SHADES = [40, 90, 200, 10, 160]


def stack(path, kind, count=5, **options):
    frames = [Image.new("RGB", (7, 5), (SHADES[number % 5], 0, number)) for number in range(count)]
    return saved(path, frames[0], format=kind, save_all=True, append_images=frames[1:], **STACKS[kind], **options)


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_pages_are_as_many_as_pillow_finds(tmp_path, kind, count):
    path = stack(tmp_path / "a", kind, count)
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == count
    assert find_pages(path) == Pages(tuple(range(count)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM", "WEBP", "TIFF", "GIF"])
def test_a_photo_has_one_page(tmp_path, kind):
    assert find_pages(saved(tmp_path / "a", PIXELS, format=kind)) == Pages()


def test_a_photo_with_a_preview_is_the_photo(tmp_path):
    photo, preview = Image.fromarray(PIXELS), Image.new("RGB", (3, 3))
    photo.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview], quality=95)
    assert find_pages(tmp_path / "a.jpg") == Pages()
    assert read_image(tmp_path / "a.jpg").shape == PIXELS.shape


def test_a_picture_that_is_no_frame_of_its_animation_is_left_out(tmp_path):
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (1, 50, 90)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], default_image=True)
    assert find_pages(tmp_path / "a.png") == Pages((1, 2))
    assert [read_image(f"{tmp_path}/a.png[{page}]")[0, 0, 0] for page in (0, 1)] == [50, 90]


@pytest.mark.parametrize("kind", STACKS)
def test_each_page_can_be_named(tmp_path, kind):
    path = stack(tmp_path / "a.b", kind)
    for number in (3, 0, 4, 1):
        assert (read_image(f"{path}[{number}]") == [SHADES[number], 0, number]).all()
    with pytest.raises(InputError, match=r"a\.b has 5 pages, 0 to 4: there is no page 5"):
        read_image(f"{path}[5]")
    with pytest.raises(InputError, match=r"a\.b has 5 pages: name one, such as 'a\.b\[0\]'"):
        read_image(path)


def test_the_only_page_can_be_named(tmp_path):
    path = saved(tmp_path / "a.png", PIXELS)
    np.testing.assert_array_equal(read_image(f"{path}[0]"), PIXELS)
    with pytest.raises(InputError, match=r"a\.png has one page, 0: there is no page 1"):
        read_image(f"{path}[1]")


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, path, page in [("a.tif[3]", "a.tif", 3), ("a.tif[:]", "a.tif", "all"), ("a.tif", "a.tif", None)]:
        assert parse_address(text) == (Path(path), page)
    for text in ("a.tif[-1]", "a.tif[]", "a.tif[1:2]", "[1]", "a[1].tif", "a.tif[9999999999]"):
        assert parse_address(text) == (Path(text), None)
    saved(tmp_path / "a.png[3]", PIXELS, format="PNG")  # a file that is really called so
    np.testing.assert_array_equal(read_image("a.png[3]"), PIXELS)


def test_smaller_copies_and_masks_of_a_page_are_none(tmp_path):
    grey = (4, 2, bytes(range(8)))
    pages = [(*grey, {254: (LONG, [kind])}) for kind in (1, 0, 4, 2, 5, 3, 0)]
    (tmp_path / "a.tif").write_bytes(tiff(pages))
    assert find_pages(tmp_path / "a.tif") == Pages((1, 3, 6), grey=True)
    (tmp_path / "a.tif").write_bytes(tiff([(2, 2, bytes(4), {254: (LONG, [1])}), (*grey, {})]))
    assert read_image(tmp_path / "a.tif", channels=1)[..., 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_stacks_of_grey_pages_are_known(tmp_path, order):
    colour = (2, 1, bytes(6), {258: (SHORT, [8, 8, 8]), 262: (SHORT, [2]), 277: (SHORT, [3])})
    for pages, grey in [([(2, 1, bytes(2), {})] * 3, True), ([(2, 1, bytes(2), {}), colour], False)]:
        (tmp_path / "a.tif").write_bytes(tiff(pages, order=order))
        assert find_pages(tmp_path / "a.tif") == Pages(tuple(range(len(pages))), grey)
    with pytest.raises(
        InputError, match=r"3 grey pages and the input takes 3 channels: write 'a\.tif\[:\]' to take each"
    ):
        Pages((0, 1, 2), grey=True).chosen(None, tmp_path / "a.tif", 3)
    for page, channels, grey in [("all", 3, True), (None, 4, True), (None, None, True), (None, 3, False)]:
        assert list(Pages((0, 1, 2), grey).chosen(page, tmp_path, channels)) == [0, 1, 2]
    assert list(Pages((0,), grey=True).chosen(None, tmp_path, 1)) == [0]


@pytest.mark.parametrize("following", [-1, -2, -3])
def test_directories_in_a_circle_end(tmp_path, following):
    (tmp_path / "a.tif").write_bytes(tiff([(2, 1, bytes(2), {})] * 3, following=following))
    assert len(find_pages(tmp_path / "a.tif").places) == 3


def test_a_page_that_is_not_there_is_reported_when_it_is_read(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff([(2, 1, b"\1\2", {})], following=10**6))
    assert find_pages(tmp_path / "a.tif").places == (0, 1)
    assert read_image(f"{tmp_path}/a.tif[0]", channels=1).ravel().tolist() == [1, 2]
    with pytest.raises(InputError, match=r"a\.tif (cannot be decoded|is damaged)"):
        read_image(f"{tmp_path}/a.tif[1]", channels=1)


def test_directories_that_overlap_are_not_all_read(tmp_path):
    # Each directory claims 65,535 entries; together they are many times the file.
    made = b"II*\0\x08\0\0\0" + b"".join(b"\xff\xff" + (8 + 6 * n).to_bytes(4, "little") for n in range(1, 2000))
    (tmp_path / "a.tif").write_bytes(made)
    assert len(find_pages(tmp_path / "a.tif").places) <= 2


def test_more_pages_than_can_be_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(image_pages, "MAX_PAGES", 3)
    path = stack(tmp_path / "a.gif", "GIF")
    assert len(find_pages(path).places) == 4
    with pytest.raises(InputError, match=r"a\.gif has more than 3 pages: name one, such as 'a\.gif\[0\]'"):
        find_pages(path).chosen(None, path, 3)


@pytest.mark.parametrize("kind", STACKS)
def test_any_file_has_pages_however_damaged(tmp_path, kind):
    whole = stack(tmp_path / "a", kind).read_bytes()
    for cut in range(0, len(whole), 7):
        (tmp_path / "a").write_bytes(whole[:cut])
        assert 1 <= len(find_pages(tmp_path / "a").places) <= 5
    for _ in range(200):
        made = bytearray(whole)
        made[RNG.integers(len(made))] = RNG.integers(256)
        (tmp_path / "a").write_bytes(made)
        assert len(find_pages(tmp_path / "a").places) >= 1


def test_what_is_no_file_has_one_page(tmp_path):
    assert find_pages(tmp_path) == find_pages(tmp_path / "nope.tif") == Pages()
    assert one_page(str(tmp_path / "nope.tif")) == (tmp_path / "nope.tif", 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_of_a_big_tiff(tmp_path, order):
    pages = RNG.integers(0, 65536, (3, 4, 5), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, bigtiff=True, byteorder=order, photometric="minisblack")
    assert find_pages(tmp_path / "a.tif") == Pages((0, 1, 2), grey=True)
    for number, page in enumerate(pages):
        made = read_image(f"{tmp_path}/a.tif[{number}]", channels=1)[..., 0]
        np.testing.assert_array_equal(made, page.astype(np.float32) * 255 / np.float32(65535))
