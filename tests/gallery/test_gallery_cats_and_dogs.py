"""S3: cats and dogs beside what the program does in Keras, and the wrong answer that it was written for."""

import numpy as np
import pytest

import onnxviz
from gallery import originals
from gallery.beside import check_maps, check_strip, close
from gallery.runs import ROOT, complete, run

PHOTOS = {name: ROOT / f"models/{name}.jpg" for name in ("photos/dog", "photos/cat", "pets/ginger", "pets/kitten")}
RIGHT = {"photos/dog": True, "photos/cat": False, "pets/kitten": False}
UNTRAINED = "models.keras_models:cats_and_dogs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the scripts' files, what they said, and the model in Keras; untrained in the short form."""
    gallery = complete() or tmp_path_factory.mktemp("gallery")
    trained = gallery / "cats_and_dogs.keras"
    out = gallery / "s3"
    source = trained if complete() else UNTRAINED
    said = run("s3_cats_and_dogs.sh", out, out, source), run("s3_wrong.py", out, out)
    return out, said, originals.loaded(trained) if complete() else originals.cats_and_dogs()


def photo(path):
    """As the program reads one: 150x150, pixels / 255, (1, 150, 150, 3)."""
    return originals.pixels(path, 150) / 255


def test_s3_is_what_the_program_in_keras_gives(made):
    out, (said, _), model = made
    filters = np.load(out / "filters.npz")
    strips = np.load(out / "strips.npz")
    four_d = [index for index, layer in enumerate(model.layers) if layer.name.startswith(("conv", "pool"))]
    assert strips.files == [model.layers[index].name for index in four_d]
    assert filters.files == [name for name in strips.files if "conv" in name]
    for name in filters.files:
        kernel = model.get_layer(name).get_weights()[0]
        np.testing.assert_array_equal(filters[name], kernel.transpose(3, 2, 0, 1))
        assert len(list((out / "filters").glob(f"*-{name}.png"))) == 1
    x = np.concatenate([photo(PHOTOS[name]) for name in ("photos/dog", "photos/cat")])
    for name, theirs in zip(strips.files, originals.maps_of(model, four_d, x), strict=True):
        check_maps(strips[name], theirs)
        for sample in range(2):
            check_strip(strips[name][sample])
    assert len(list((out / "strips").rglob("*.png"))) == 2 * len(four_d)
    logits = model.predict(np.concatenate([photo(path) for path in PHOTOS.values()]), verbose=0)[:, 0]
    for path, logit in zip(PHOTOS.values(), logits, strict=True):
        (row,) = (line.split() for line in said.splitlines() if line.startswith(path.name))
        assert float(row[1]) == pytest.approx(float(logit), abs=1e-3)


def test_s3_says_why_as_keras_would(made):
    out, (_, said), model = made
    lines = said.splitlines()
    ginger = photo(PHOTOS["pets/ginger"])
    slope, maps = originals.gradient_of_maps(model, "conv3", ginger)
    weighted = (maps * slope.mean(axis=(1, 2), keepdims=True)).sum(-1)[0]
    found = [
        onnxviz.explain(out / "cats_and_dogs.onnx", PHOTOS["pets/ginger"], class_=number, method="grad-cam").map
        for number in (0, 1)  # the cat's score is the number's negative
    ]
    close(found[1] - found[0], weighted)
    assert min(found[0].min(), found[1].min()) == 0
    names = ("pets/ginger", "photos/cat", "pets/kitten", "photos/dog")
    conv3 = originals.maps_of(model, [model.layers.index(model.get_layer("conv3"))],
                              np.concatenate([photo(PHOTOS[name]) for name in names]))[0]  # fmt: skip
    means = conv3.mean(axis=(1, 2))
    apart = np.abs(means[0] - means[1:3].mean(axis=0)) / np.maximum(means.std(axis=0), 1e-6)
    told = [int(number) for number in lines[-2].partition(": ")[2].split(", ")]
    np.testing.assert_allclose(apart[told], np.sort(apart)[::-1][:8], rtol=1e-3)
    face = originals.pixels(out / "ginger-face.png", 150) / 255
    assert float(lines[-1].split()[-1]) == pytest.approx(float(model.predict(face, verbose=0)[0, 0]), abs=1e-2)
    for name in names:
        assert (out / f"odd-maps-{name.partition('/')[2]}.png").exists()


@pytest.mark.slow
def test_s3_has_learnt_its_photos(made):
    """Held-out crops at least 0.9 right, and the photos it learnt from; the ginger kitten is anyone's guess."""
    out, _, model = made
    if complete() is None:
        pytest.skip("`make gallery` trains it: then `make gallery-check`")
    (line,) = (one for one in (out / "train_cats_and_dogs.txt").read_text("utf-8").splitlines() if "held-out" in one)
    assert float(line.split()[3]) >= 0.9
    for name, dog in RIGHT.items():
        assert (model.predict(photo(PHOTOS[name]), verbose=0)[0, 0] > 0) == dog, name
