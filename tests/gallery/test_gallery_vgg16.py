"""S1 and S2: VGG16 beside what the two programs do in Keras."""

from functools import cache

import numpy as np
import pytest
from command_line import mosaic_of, shows

import onnxviz
from gallery import originals
from gallery.beside import check_grey, check_maps
from gallery.runs import complete, run

pytestmark = pytest.mark.framework

CAT = originals.PHOTOS / "cat.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return complete() or tmp_path_factory.mktemp("gallery")


@cache
def keras_vgg16():
    return originals.vgg16()


def test_s1_is_what_the_program_in_keras_gives(folder):
    said = run("s1_vgg16.sh", folder / "s1", folder / "s1").splitlines()
    out, model = folder / "s1", keras_vgg16()

    table = originals.convolutions(model)
    assert [row[0] for row in table] == [1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17]
    for index, name, filters, output in table:
        (line,) = (line for line in said if f" {name} " in line)
        words = line.split()
        assert words[1:3] == [str(index), name]
        assert "×".join(map(str, filters)) in words
        assert "×".join(["batch", *map(str, output[1:])]) in words
    assert any(f"{model.count_params():,} parameters" in line for line in said)
    assert model.count_params() == 138_357_544
    (cut,) = (line for line in said if line.startswith("1,792 parameters"))
    kernel, bias = model.layers[1].get_weights()
    assert kernel.size + bias.size == 1_792 == onnxviz.load(out / "block1_conv1.onnx").parameters
    assert "batch×64×224×224" in cut

    filters = np.load(out / "filters.npz")["block1_conv1"]
    np.testing.assert_array_equal(filters, kernel.transpose(3, 2, 0, 1))
    layer = onnxviz.load(out / "vgg16.onnx").layer("block1_conv1")
    mosaic = mosaic_of(onnxviz.plot_filters(layer, first=6, style="rows", scale="layer", cmap="gray"))
    shown = originals.normalised(kernel)
    assert all(shows(mosaic, shown[:, :, channel, index]) for index in range(6) for channel in range(3))

    maps = np.load(out / "maps.npz")["block1_conv1"]
    check_maps(maps, originals.maps_of(model, [1], originals.prepared(CAT))[0])
    check_grey(maps)
    assert {path.name for path in (out / "maps").glob("*.png")} == {"000-block1_conv1.png"}


def test_s2_is_what_the_program_in_keras_gives(folder):
    run("s2_blocks.sh", folder / "s2", folder / "s2")
    out, model = folder / "s2", keras_vgg16()
    ends = [2, 5, 9, 13, 17]
    names = [model.layers[index].name for index in ends]
    sheets = np.load(out / "sheets.npz")
    assert sheets.files == names
    for name, theirs in zip(names, originals.maps_of(model, ends, originals.prepared(CAT)), strict=True):
        check_maps(sheets[name], theirs)
        check_grey(sheets[name])
    drawn = sorted(path.name for path in (out / "sheets").glob("*.png"))
    assert [name.partition("-")[2] for name in drawn] == [f"{name}.png" for name in names]


def test_s2_chooses_among_4096_pictures(folder):
    """The filter whose inputs are shown is the one with the largest norm, of HED's own numbers."""
    out = folder / "s2"
    if complete() is None:  # the layers that it looks at are enough
        model = onnxviz.convert(originals.vgg16(classes=False), verify=False)
        out.mkdir(parents=True, exist_ok=True)
        onnxviz.extract(model, "block1_conv2").save(out / "vgg16.onnx")
    run("s2_choose.sh", out, out)
    kernel = onnxviz.load(out / "vgg16.onnx").layer("block1_conv2").weight
    assert int(np.linalg.norm(kernel.reshape(64, -1), axis=1).argmax()) == 19
    for picture in ("norm.png", "clustered.png", "feeds.png"):
        assert (out / picture).stat().st_size > 10_000
