"""S5: what filters and a class look for: activations and maps beside Keras' and PyTorch's own."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from gallery import originals
from gallery.beside import CLOSE, close
from gallery.runs import ROOT, complete, run

LAYERS = ("block1_conv1", "block2_conv1", "block3_conv2", "block4_conv1", "block5_conv2")
DOG = ROOT / "models/photos/dog.jpg"
SHEPHERD = 235


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    return complete() or tmp_path_factory.mktemp("gallery")


def read(folder, name):
    """The arrays of `--save`, and what the manifest says of each picture."""
    pictures = json.loads((folder / f"{name}.npz.manifest.json").read_text("utf-8"))["pictures"]
    return dict(np.load(folder / f"{name}.npz")), pictures


def test_s5_reaches_in_keras_what_it_says(gallery):
    import keras

    out = gallery / "s5"
    run("s5_looks_for.sh", out, out, *([] if complete() else [2, "48x48"]))
    said = run("s5_int8.py", out, out)
    arrays, pictures = read(out, "looks-for")
    assert [one["layer"] for one in pictures] == [layer for layer in LAYERS for _ in range(6)]
    files = {path.name for path in (out / "looks-for").glob("*.jpg")}
    assert files == {f"{one['layer']}_{one['filter']}.jpg" for one in pictures} | {"sheet.jpg"}

    model = originals.vgg16(classes=False)
    x = keras.applications.vgg16.preprocess_input(arrays["images"] * 255)
    maps = keras.Model(model.inputs, [model.get_layer(layer).output for layer in LAYERS]).predict(x, verbose=0)
    reached = [
        float(maps[LAYERS.index(one["layer"])][place, :, :, one["filter"]].mean()) for place, one in enumerate(pictures)
    ]
    close(arrays["after"], np.array(reached), within=1e-3)
    told = [one["after"] for one in pictures]
    np.testing.assert_allclose(told, arrays["after"], rtol=1e-6)
    rows = [line.split() for line in said.splitlines() if re.match(r"block\d", line)]
    assert [(row[0], int(row[1])) for row in rows] == [(one["layer"], one["filter"]) for one in pictures]
    # The pictures were rounded to 8 bits before they were scored again.
    np.testing.assert_allclose([float(row[2]) for row in rows], reached, rtol=0.05, atol=0.05)
    with Image.open(out / "looks-for" / f"{pictures[0]['layer']}_{pictures[0]['filter']}.jpg") as picture:
        error = np.abs(np.asarray(picture, float) / 255 - arrays["images"][0]).mean()
    assert error < 0.1


def test_s5_explains_as_pytorch_does(gallery):
    import torch
    from factories import importable

    out = gallery / "s5-class"
    run("s5_class.sh", out, out, *([] if complete() else [2]))
    network = importable("models.trained_models").efficientnet_lite0()
    kept = {}
    network._avg_pooling.register_forward_pre_hook(lambda module, given: kept.update(maps=given[0]))

    def scores(pixels):
        """Logits of pictures (N, H, W, 3) in 0…255, and the input that they are differentiated by."""
        fed = np.moveaxis((pixels - 127) / 128, -1, 1).astype(np.float32)
        x = torch.tensor(fed, dtype=next(network.parameters()).dtype, requires_grad=True)
        return network(x), x

    def looked():
        """The saliency and Grad-CAM of the photo, both (H, W)."""
        logits, x = scores(originals.pixels(DOG, 224))
        assert int(logits.argmax()) == SHEPHERD
        slope, weights = torch.autograd.grad(logits[0, SHEPHERD], [x, kept["maps"]])
        cam = (weights.mean(dim=(2, 3), keepdim=True) * kept["maps"]).sum(1).relu()[0]
        return slope[0].abs().amax(0).numpy(), cam.detach().numpy()

    arrays, (picture,) = read(out, "perfect")
    with torch.no_grad():
        assert float(scores(arrays["images"] * 255)[0][0, SHEPHERD]) == pytest.approx(
            picture["after"], rel=1e-3, abs=1e-3
        )

    rounded = looked()
    network.double()
    for name, exact, single in zip(("saliency", "grad-cam"), looked(), rounded, strict=True):
        # In single precision a number may fall on the other side of a kink, in PyTorch as in onnxruntime; how much that
        # moves the map follows from the processor.
        uncertain = float(np.abs(single - exact).max() / np.abs(exact).max())
        close(np.load(out / f"{name}.npz")["map"], exact, within=max(CLOSE, 2 * uncertain))


BESIDE = """
import json, sys
import painters
from trained import Target
target = Target("hed", sys.argv[1], sys.argv[2])
numbers = [int(one) for one in sys.argv[3].split(",")]
score = target.session()
for paint in (painters.onnxviz, painters.tf_keras_vis):
    maps = score(paint(target, numbers, 0))
    print(json.dumps([float(maps[place, number].mean()) for place, number in enumerate(numbers)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS[1:3])
def test_s5_beside_tf_keras_vis(gallery, layer, tmp_path):
    """Two of the filters that S5 drew, the ones that answer most; each tool with its defaults, 64x64, 256 steps."""
    if complete() is None or find_spec("tf_keras_vis") is None:
        pytest.skip("`make gallery`, then `make gallery-check`, which brings tf-keras-vis")
    arrays, pictures = read(gallery / "s5", "looks-for")
    alive = [place for place, one in enumerate(pictures) if one["layer"] == layer and not one["dead"]]
    strong = sorted(alive, key=lambda place: -arrays["after"][place])[:2]
    numbers = ",".join(str(pictures[place]["filter"]) for place in strong)
    path = os.pathsep.join([str(ROOT / "tests" / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", BESIDE, layer, str(tmp_path), numbers], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    for number, one, other in zip(numbers.split(","), ours, theirs, strict=True):
        print(f"{layer} {number}: {one:.1f}, by tf-keras-vis {other:.1f}")
        assert one > other / 2
