"""S4: the SD-UNet beside Keras, and its maps beside the mask."""

import numpy as np
import pytest

import onnxviz
from gallery import originals
from gallery.beside import check_maps
from gallery.runs import complete, run
from gallery.s4_masks import LAYERS, best_map

UNTRAINED = "models.keras_models:sd_unet"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the scripts' files, what they said, and the model in Keras; untrained in the short form."""
    gallery = complete() or tmp_path_factory.mktemp("gallery")
    trained, scenes, out = gallery / "sd_unet.keras", gallery / "scenes.npz", gallery / "s4"
    if complete() is None:
        run("models/scenes.py", out, "--count", 3, "-o", scenes)
    source = trained if complete() else UNTRAINED
    said = run("s4_sd_unet.sh", out, out, source, gallery / "sample.npy"), run("s4_masks.py", out, out, scenes)
    return gallery, said, originals.loaded(trained) if complete() else originals.sd_unet()


def test_s4_is_what_the_program_in_keras_gives(made):
    gallery, (said, _), model = made
    lines = said.splitlines()
    out, sample = gallery / "s4", np.load(gallery / "sample.npy")
    table = originals.kernels(model)
    assert len(table) == 51
    rows = onnxviz.layers(out / "sd_unet.onnx", layout="keras")["layers"]
    for row, (index, name, kernel, bias) in zip(rows, table, strict=True):
        assert (row["keras_index"], row["name"].partition("/")[0]) == (index, name)
        assert tuple(row["weight"]["shape"]) == kernel
        assert (tuple(row["bias_shape"]) if row["bias_shape"] else None) == bias
        (words,) = (line.split() for line in lines if line.split()[:3] == [str(row["index"]), str(index), row["name"]])
        assert "×".join(map(str, kernel)) in words
    maps = np.load(out / "maps.npz")
    names = [one.name for one in model.layers]
    assert maps.files == [rows[position]["name"] for position in LAYERS]
    ours = onnxviz.capture(out / "sd_unet.onnx", sample, layers=LAYERS, at="conv")
    for position, name in zip(LAYERS, maps.files, strict=True):
        index, layer, _, bias = table[position]
        # What the program takes is the convolution's layer; what is drawn by default, the Relu that ends its block.
        if bias is None:
            theirs = last = originals.depthwise_maps(model, index, sample)
        else:
            ends = [one.name for one in model.layers if one.name in (layer, f"{layer}_relu")]
            theirs, last = (originals.maps_of(model, [names.index(one)], sample)[0] for one in (layer, ends[-1]))
        check_maps(maps[name], last)
        if layer != "head_mask":  # its softmax is part of the layer
            check_maps(ours[name], theirs)


def test_the_best_map_is_found():
    """Against every cut of every map, by hand."""
    rng = np.random.default_rng(0)
    coarse = rng.random((2, 4, 4)) > 0.6
    masks = np.kron(coarse, np.ones((1, 2, 2))) > 0
    masks[0, 0] = ~masks[0, 0]
    maps = rng.random((2, 3, 4, 4), dtype=np.float32)
    maps[:, 1] *= np.where(coarse, 0.4, 1) + np.float32(0.5)  # mostly less where the mask is
    scores = []
    for channel in range(3):
        low, high = maps[:, channel].min(), maps[:, channel].max()
        for step in range(32):
            cut = low + (high - low) * (step + 0.5) / 32
            for part, above in ((maps[:, channel] > cut, True), (maps[:, channel] <= cut, False)):
                large = np.kron(part, np.ones((1, 2, 2))) > 0
                scores.append(((large & masks).sum() / (large | masks).sum(), channel, above))
    assert best_map(maps, masks) == max(scores)
    assert max(scores)[1:] == (1, False)


@pytest.mark.slow
def test_s4_turns_maps_into_masks(made):
    """Mean IoU at least 0.7 on held-out scenes; the best map is more of the mask in the last layers than at first."""
    gallery, (_, said), _ = made
    if complete() is None:
        pytest.skip("`make gallery` trains it: then `make gallery-check`")
    (line,) = (
        one for one in (gallery / "s4/train_sd_unet.txt").read_text("utf-8").splitlines() if "held-out mean IoU" in one
    )
    assert float(line.split()[3]) >= 0.7
    found = [float(one.split()[-1]) for one in said.splitlines() if "IoU" in one]
    assert len(found) == len(LAYERS)
    assert min(found[-2:]) > max(found[:-2])
