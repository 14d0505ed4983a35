"""The sample models and photos in models/: what the README says of them holds."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from oracles import neighbour_correlation
from PIL import Image

MODELS = Path(__file__).resolve().parents[2] / "models"
ROW = re.compile(r"^\| `(?P<file>[^`]+)` \|.*`(?P<digest>[0-9a-f]{64})`", re.MULTILINE)
MEGABYTE = 1_000_000


def listed() -> dict[str, str]:
    return {row["file"]: row["digest"] for row in ROW.finditer((MODELS / "README.md").read_text(encoding="utf-8"))}


def weights(name: str) -> dict[str, np.ndarray]:
    model = onnx.load(MODELS / name)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def metadata(name: str) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(MODELS / name).metadata_props}


def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(MODELS / name, providers=["CPUExecutionProvider"])


def model_input(model: str, photo: str, width: int, height: int) -> np.ndarray:
    """The photo as the model's metadata says it wants it, (1, 3, height, width)."""
    say = json.loads(metadata(model)["onnxviz.preprocessing"])
    assert say["order"] == "RGB"
    with Image.open(MODELS / "photos" / photo) as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32)
    values = (pixels * say["scale"] - np.array(say["mean"])) / np.array(say["std"])
    return values.transpose(2, 0, 1)[None].astype(np.float32)


def test_readme_lists_every_model_and_photo():
    here = {str(p.relative_to(MODELS).as_posix()) for p in MODELS.rglob("*") if p.suffix in {".onnx", ".jpg"}}
    assert set(listed()) == here
    assert {"classifier.onnx", "unet.onnx"} <= here


@pytest.mark.parametrize("file", sorted(listed()))
def test_sha256_is_the_one_in_the_readme(file):
    assert hashlib.sha256((MODELS / file).read_bytes()).hexdigest() == listed()[file]


def test_files_are_small():
    assert sum(path.stat().st_size for path in MODELS.glob("*.onnx")) < 3 * MEGABYTE
    for photo in (MODELS / "photos").glob("*.jpg"):
        assert photo.stat().st_size < 150_000
        with Image.open(photo) as image:
            assert max(image.size) <= 640


def low_frequency_share(filters: np.ndarray) -> np.ndarray:
    """Share of a filter's spectral energy below half the Nyquist frequency, constant part left out, (O,)."""
    centred = filters - filters.mean((2, 3), keepdims=True)
    energy = (np.abs(np.fft.fft2(centred, s=(32, 32))) ** 2).sum(1)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None])
    return energy[:, frequency < 0.25].sum(1) / energy.sum((1, 2))


def orientation_strength(filters: np.ndarray) -> np.ndarray:
    """How much a filter's gradients keep to one direction, 0 (none) to 1 (all), (O,).

    Coherence of the structure tensor (Bigün and Granlund 1987), (largest - smallest eigenvalue) / their sum.
    """
    dy, dx = np.gradient(filters, axis=(2, 3))
    xx, yy, xy = (dx * dx).sum((1, 2, 3)), (dy * dy).sum((1, 2, 3)), (dx * dy).sum((1, 2, 3))
    return np.hypot(xx - yy, 2 * xy) / (xx + yy)


def test_first_layer_filters_have_structure_that_shuffled_ones_lack():
    filters = weights("classifier.onnx")["conv1.weight"]
    assert filters.shape == (32, 3, 7, 7)
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(filters.reshape(32, 3, 49), axis=2).reshape(filters.shape)

    assert np.median(neighbour_correlation(filters)) > 0.5 > np.median(neighbour_correlation(shuffled)) + 0.2
    assert np.median(low_frequency_share(filters)) > 0.6 > np.median(low_frequency_share(shuffled)) + 0.2
    assert (orientation_strength(filters) > 0.5).sum() >= 8
    assert (orientation_strength(shuffled) > 0.5).sum() <= 2
    # No dead filter: each is as strong as a tenth of the strongest.
    strength = np.linalg.norm(filters.reshape(32, -1), axis=1)
    assert strength.min() > 0.1 * strength.max()


@pytest.mark.parametrize("photo", ["cat", "dog", "macaw"])
def test_classifier_names_the_animal(photo):
    classes = json.loads(metadata("classifier.onnx")["classes"])
    (logits,) = session("classifier.onnx").run(
        ["logits"], {"image": model_input("classifier.onnx", f"{photo}.jpg", 96, 96)}
    )
    assert logits.shape == (1, len(classes))
    assert classes[int(logits[0].argmax())] == photo


@pytest.mark.parametrize("photo", ["cat", "dog", "macaw"])
def test_classifier_names_the_mirrored_animal(photo):
    classes = json.loads(metadata("classifier.onnx")["classes"])
    x = np.ascontiguousarray(model_input("classifier.onnx", f"{photo}.jpg", 96, 96)[..., ::-1])
    (logits,) = session("classifier.onnx").run(["logits"], {"image": np.repeat(x, 2, 0)})
    assert [classes[i] for i in logits.argmax(1)] == [photo, photo]


def test_unet_mask_covers_the_dog_and_not_the_ground():
    (mask,) = session("unet.onnx").run(["mask"], {"image": model_input("unet.onnx", "dog.jpg", 160, 120)})
    assert mask.shape == (1, 1, 120, 160)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert mask[0, 0, 40:60, 65:110].mean() > 0.8  # its back and flank
    assert mask[0, 0, 112:, :].mean() < 0.2  # the ground under it
    assert mask[0, 0, :25, 10:100].mean() < 0.2  # the reeds behind it


def test_unet_takes_any_multiple_of_eight_and_any_batch():
    x = np.zeros((3, 3, 48, 72), np.float32)
    (mask,) = session("unet.onnx").run(None, {"image": x})
    assert mask.shape == (3, 1, 48, 72)


@pytest.mark.parametrize("name", ["classifier.onnx", "unet.onnx"])
def test_graph_is_plain(name):
    model = onnx.load(MODELS / name)
    assert model.ir_version <= 10  # what onnxruntime 1.20 reads
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert [i.name for i in model.graph.input] == ["image"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    stored = {tensor.name for tensor in model.graph.initializer}
    norms = 0
    for node in model.graph.node:
        norms += node.op_type == "BatchNormalization"
        if node.op_type in {"Conv", "ConvTranspose"}:
            assert node.input[1] == f"{node.name}.weight"
            assert node.input[1] in stored
            assert {"kernel_shape", "strides", "pads"} <= {attribute.name for attribute in node.attribute}
    assert norms >= 5
