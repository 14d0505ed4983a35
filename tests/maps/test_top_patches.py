"""Top patches against an exhaustive search of all maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from PIL import Image
from protos import normal
from samples import CLASSIFIER, MODELS

from onnxviz import ReceptiveField, capture, load, top_patches
from onnxviz.cli import run
from onnxviz.errors import InputError, SelectionError
from onnxviz.plots import plot_patches

PHOTOS = MODELS / "photos"


def proto(batch="n", opset=18):
    found = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[{batch},3,20,24] x) => (float[a] y)'
        "{ c = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w) r = Relu (c) y = Conv <pads=[1,1,1,1]> (r, v) }"
    )
    for name, array in (("w", normal(5, 3, 3, 3)), ("v", normal(4, 5, 3, 3, seed=2))):
        found.graph.initializer.append(numpy_helper.from_array(array, name))
    return found


@pytest.fixture
def folder(tmp_path):
    """Twelve small pictures of noise."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(tmp_path / "in" / f"{number:02d}.png")
    return tmp_path / "in"


@pytest.mark.parametrize("batch", ["n", "1", "3"])
@pytest.mark.parametrize("opset", [11, 18])
def test_the_best_of_all(folder, batch, opset):
    model = load(proto(batch, opset))
    found = top_patches(model, folder, layers="all", count=4)
    maps = capture(model, folder)
    assert list(found) == ["conv_0", "conv_1"]
    for name, patches in found.items():
        peaks = maps[name].reshape(12, maps[name].shape[1], -1)
        order = np.argsort(-peaks.max(2), axis=0, kind="stable")[:4].T
        assert np.array_equal(patches.samples, order)
        assert np.allclose(patches.values, np.take_along_axis(peaks.max(2).T, order, 1), rtol=1e-5)
        for channel, rank in np.ndindex(patches.values.shape):
            place = np.unravel_index(peaks[order[channel, rank], channel].argmax(), maps[name].shape[2:])
            assert tuple(patches.positions[channel, rank]) == place


def test_crops_are_what_the_unit_sees(folder):
    model = load(proto())
    patches = top_patches(model, folder, layers=1, count=3)["conv_1"]
    assert patches.size == (7, 7)
    crops = patches.crops([2, 0])
    assert crops.shape == (2, 3, 7, 7, 3)
    field = ReceptiveField(model, patches.tensor, {"x": (1, 3, 20, 24)})
    for row, channel in enumerate((2, 0)):
        for rank in range(3):
            picture = np.asarray(Image.open(folder / patches.labels[patches.samples[channel, rank]]))
            (top, bottom), (left, right) = field.at(patches.positions[channel, rank], beyond=True)
            assert ((top, bottom), (left, right)) == patches.box(channel, rank)
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    inside = 0 <= y < 20 and 0 <= x < 24
                    expected = picture[y, x] if inside else np.full(3, 214)
                    assert np.array_equal(crops[row, rank, y - top, x - left], expected)


def test_photos_and_what_is_framed_in_them(folder):
    patches = top_patches(load(proto()), folder, layers=1, count=3)["conv_1"]
    whole, small = patches.pictures([2, 0]), patches.pictures([2, 0], longest=12)
    assert set(whole.photos) == set(patches.samples[[2, 0]].ravel().tolist())
    np.testing.assert_array_equal(whole.crops, small.crops)
    for sample, photo in whole.photos.items():
        np.testing.assert_array_equal(photo, np.asarray(Image.open(folder / patches.labels[sample])))
        assert small.photos[sample].shape == (10, 12, 3)
    for channel, rank in ((2, 0), (0, 2)):
        (top, bottom), (left, right) = patches.box(channel, rank)
        shares = (left / 24, top / 20, (right + 1) / 24, (bottom + 1) / 20)
        assert patches.framed(channel, rank) == pytest.approx(shares)


def test_fewer_images_than_patches_and_filters_that_nothing_excites(folder):
    silent = proto()
    for tensor in silent.graph.initializer:
        if tensor.name == "w":
            weight = numpy_helper.to_array(tensor).copy()
            weight[1] = -np.abs(weight[1])
            tensor.CopyFrom(numpy_helper.from_array(weight, "w"))
    found = top_patches(silent, [folder / "00.png", folder / "01.png"], layers=0, count=4)["conv_0"]
    assert (found.samples[:, 2:] == -1).all()
    assert np.isneginf(found.values[:, 2:]).all()
    assert not found.excited(1, 0)
    assert (found.crops([1]) == 214).all()
    assert repr(found) == "TopPatches('conv_0', 5 filters, 4 of 2 images each)"
    figure = plot_patches(found)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("none") == 2, "a column for each image, and none of them excites filter 1"


def test_a_field_larger_than_the_picture_shows_the_picture():
    found = top_patches(CLASSIFIER, PHOTOS, layers="conv5", count=2)["conv5"]
    assert found.size == (69, 69)
    assert found.crops([0]).shape == (1, 2, 69, 69, 3)
    large = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[n,3,20,24] x) => (float[a] y)'
        "{ y = Conv <pads=[20,20,20,20], dilations=[20,20]> (x, w) }"
    )
    large.graph.initializer.append(numpy_helper.from_array(normal(2, 3, 3, 3), "w"))
    x = normal(1, 3, 20, 24)
    patches = top_patches(large, x, count=1)["conv_0"]
    assert patches.canvas == (20, 24)
    span = x[0] - x.min()
    assert np.array_equal(patches.crops()[0, 0], np.rint(span / span.max() * 255).astype(np.uint8).transpose(1, 2, 0))


def test_what_is_refused(folder):
    model = load(proto())
    with pytest.raises(InputError, match="0 patches"):
        top_patches(model, folder, count=0)
    with pytest.raises(SelectionError, match="no layer is called 'conv9'"):
        top_patches(model, folder, layers="conv9")
    with pytest.raises(SelectionError, match="'conv_0' has no filter 5; there are 5, 0 to 4"):
        top_patches(model, folder, layers=0)["conv_0"].crops([5])
    (folder / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png is not an image"):
        top_patches(model, folder)
    assert top_patches(model, folder, errors="skip", count=1)["conv_1"].samples.max() < 12


def test_command(tmp_path: Path, capsys):
    arguments = ["maps", str(CLASSIFIER), str(PHOTOS), "--top-patches", "2", "--layers", "conv1,conv3", "--json", "-q"]
    assert run([*arguments, "-o", str(tmp_path / "out"), "--save", str(tmp_path / "p.npz"), "--channels", "0,3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [sheet["layer"] for sheet in document["patches"]] == ["conv1", "conv3"]
    assert list(document["patches"][0]["filters"]) == ["0", "3"]
    names = ["000-conv1-patches.png", "002-conv3-patches.png", "manifest.json"]
    assert [Path(path).name for path in document["files"]] == [*names, "p.npz", "p.npz.manifest.json"]
    with np.load(tmp_path / "p.npz") as saved:
        assert saved["conv1/crops"].shape == (2, 2, 7, 7, 3)
    assert run([*arguments, "-o", str(tmp_path / "out.png")]) == 2
    assert run([*arguments, "-o", str(tmp_path / "out"), "--channels", "99"]) == 2
    assert "no filter 99" in capsys.readouterr().err


def test_signals_have_no_patches():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]> m (float[1, 1, 8] x) => (float[1, 1, 6] y)
        <float[1, 1, 3] w = {1, 2, 3}> { y = Conv(x, w) }"""
    )
    with pytest.raises(InputError, match="takes no pictures, of which patches are parts; capture gives its maps"):
        top_patches(model, np.zeros((1, 1, 8), np.float32))
