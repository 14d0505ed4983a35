"""Figures written to files: formats, density, title, captions, and what the files say of themselves."""

import json
import re
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest
from figures import MAPS, flawed, image, rendered
from matplotlib.figure import Figure
from PIL import Image

from onnxviz.errors import InputError, OnnxvizError, UnheededOptionError
from onnxviz.plots import plot_maps, save_figure, save_picture

RECORD = {"verb": "maps", "options": {"layers": "größe"}, "model": "0f" * 32, "images": ["a1" * 32]}


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF"), (".jpg", b"\xff\xd8"), (".webp", b"RIFF")],
)
def test_files_are_whole_and_the_same_every_time(tmp_path, suffix, begins):
    first = save_figure(plot_maps(flawed(), title="conv"), tmp_path / f"a{suffix}")
    second = save_figure(plot_maps(flawed(), title="conv"), str(tmp_path / f"b{suffix}"))
    assert first.read_bytes().startswith(begins)
    assert first.read_bytes() == second.read_bytes()
    assert b"matplotlib" not in first.read_bytes()[-2000:].lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_resolution(tmp_path):
    figure = plot_maps(MAPS)
    sizes = []
    for dpi in (None, 200):
        with Image.open(save_figure(figure, tmp_path / "a.png", dpi=dpi)) as picture:
            sizes.append(picture.size)
    normal, double = sizes
    assert double == pytest.approx((2 * normal[0], 2 * normal[1]), abs=1)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpeg"])
def test_pixels_are_those_of_the_figure(tmp_path, suffix):
    figure = plot_maps(MAPS)
    with Image.open(save_figure(figure, tmp_path / f"a{suffix}")) as picture:
        far = np.abs(np.asarray(picture.convert("RGB"), int) - rendered(figure)[..., :3])
    assert far.max() == 0 if suffix != ".jpeg" else 0 < far.mean() < 3


def read_record(path):
    """What a file's metadata say, read without onnxviz."""
    if path.suffix == ".svg":
        return json.loads(ET.parse(path).getroot().find(".//{http://purl.org/dc/elements/1.1/}description").text)
    if path.suffix == ".pdf":
        (said,) = re.findall(rb"/Subject \((.*?)(?<!\\)\)", path.read_bytes())
        return json.loads(said.replace(b"\\\\", b"\\").decode())
    with Image.open(path) as picture:
        return json.loads(picture.text["onnxviz"] if path.suffix == ".png" else picture.getexif()[0x010E])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".svg", ".pdf"])
def test_metadata_say_how_it_was_made(tmp_path, suffix):
    path = save_figure(plot_maps(MAPS), tmp_path / f"a{suffix}", record=RECORD)
    assert read_record(path) == RECORD
    again = save_figure(plot_maps(MAPS), tmp_path / f"b{suffix}", record=dict(reversed(RECORD.items())))
    assert path.read_bytes() == again.read_bytes()
    if suffix in (".png", ".jpg", ".webp"):
        pixels = np.random.default_rng(0).random((9, 8, 3))
        assert read_record(save_picture(pixels, tmp_path / f"c{suffix}", RECORD)) == RECORD


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_words_are_words_and_a_sheet_is_one_picture(tmp_path, suffix):
    data = save_figure(plot_maps(MAPS, title="Größe 42"), tmp_path / f"a{suffix}").read_bytes()
    if suffix == ".svg":
        root = ET.fromstring(data)
        name = "{http://www.w3.org/2000/svg}"
        assert "Größe 42" in [text.text for text in root.iter(f"{name}text")]
        assert len(list(root.iter(f"{name}image"))) == 1
        assert data.count(b"font-family") == data.count(b"'DejaVu Sans', Verdana, sans-serif") > 3
        assert b"image-rendering:pixelated" in data, "maps would be blurred where they are enlarged"
    else:
        assert data.count(b"/Subtype /Image") - data.count(b"/SMask ") == 1
        assert b"/FontFile2" in data
        streams = [part.split(b"endstream")[0].strip(b"\r\n") for part in data.split(b"stream\n")[1:]]
        text = b"".join(zlib.decompressobj().decompress(one) for one in streams if one[:1] == b"x")
        assert b" Tf" in text
        assert b"Tj" in text or b"TJ" in text


# ---------------------------------------------------------------- title and captions


def size_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("options", "cut"),
    [
        ({"captions": False}, 15),
        ({"title": ""}, 20),
        ({"title": "", "captions": False}, 45),
        ({"title": "other"}, 0),
    ],
)
def test_what_is_left_out_leaves_no_room_and_the_rest_as_it_was(tmp_path, options, cut):
    figure = plot_maps(MAPS, title="conv")
    before = [(text.get_text(), text.get_position(), text.get_visible()) for text in figure.axes[0].texts]
    whole = size_of(save_figure(figure, tmp_path / "a.png"))
    left = size_of(save_figure(figure, tmp_path / "b.png", **options))
    assert left.shape == (whole.shape[0] - cut, *whole.shape[1:])
    height = image(figure).get_array().shape[0]
    np.testing.assert_array_equal(left[-height - 16 :], whole[-height - 16 :])
    assert [(text.get_text(), text.get_position(), text.get_visible()) for text in figure.axes[0].texts] == before
    ink = (left < 128).all(axis=2)[: left.shape[0] - height - 16]
    assert ink.any() == (options != {"title": "", "captions": False})


@pytest.mark.parametrize(("title", "shown"), [("Fig. 2: {}", "Fig. 2: conv"), ("{", "{"), ("a" * 300, "a…a")])
def test_a_title_of_ones_own(tmp_path, title, shown):
    text = save_figure(plot_maps(MAPS, title="conv"), tmp_path / "a.svg", title=title).read_text()
    found = [one.text for one in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert shown == re.sub("a+", "a", found[0]) if len(title) == 300 else shown in found
    assert "conv" not in found


def test_what_would_do_nothing_is_refused(tmp_path):
    for suffix in ("svg", "pdf"):
        with pytest.raises(UnheededOptionError, match=f"{suffix} has no pixels of its own: leave out dpi"):
            save_figure(plot_maps(MAPS), tmp_path / f"a.{suffix}", dpi=200)
    with pytest.raises(UnheededOptionError, match="did not make this figure: leave out title=, captions=False"):
        save_figure(Figure(), tmp_path / "a.png", title="mine", captions=False)
    assert save_figure(Figure(), tmp_path / "a.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("dpi", [0, -3.0, float("nan"), float("inf"), 0.5])
def test_there_are_no_such_dots_per_inch(tmp_path, dpi):
    with pytest.raises(InputError, match="dots per inch cannot be written; give 1 or more"):
        save_figure(plot_maps(MAPS), tmp_path / "a.png", dpi=dpi)


@pytest.mark.parametrize(("suffix", "dpi"), [("png", 1e5), ("webp", 3000), ("jpg", 1e4)])
def test_too_many_pixels_are_refused_with_what_fits(tmp_path, suffix, dpi):
    with pytest.raises(InputError, match=r"too large for .*: at (\d+) dpi or less it fits") as error:
        save_figure(plot_maps(MAPS), tmp_path / f"a.{suffix}", dpi=dpi)
    fits = int(re.search(r"at (\d+) dpi", str(error.value))[1])
    if suffix == "webp":
        figure = plot_maps(MAPS)
        assert 0.98 < fits / (16_383 / max(figure.get_size_inches())) <= 1
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png, \.jpg, \.jpeg, \.webp, \.svg, \.pdf"):
        save_figure(plot_maps(MAPS), tmp_path / "a.bmp")
    with pytest.raises(OnnxvizError, match="nowhere"):
        save_figure(plot_maps(MAPS), tmp_path / "nowhere" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail(self, file, **options):
        Path(file).write_bytes(b"half")
        raise RuntimeError("stopped")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        save_figure(Figure(), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
