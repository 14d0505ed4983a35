"""Provenance: every manifest begins with the same head, whatever distribution brought the runtime."""

import importlib.metadata
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from protos import classifier_proto

import onnxviz
from onnxviz.cli import run

HEAD = {"version", "model", "versions", "preprocessing", "provider"}
VERSIONS = {
    "onnxviz": onnxviz.__version__,
    "onnx": onnx.__version__,
    "onnxruntime": onnxruntime.__version__,
    "numpy": np.__version__,
}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(classifier_proto(), path)
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 255, (16, 12, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def runtime_of_another_name(monkeypatch):
    """An installation with onnxruntime-gpu: the package is there, a distribution `onnxruntime` is not."""
    find = importlib.metadata.Distribution.from_name
    asked = []

    def without(name):
        asked.append(name)
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", without)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("onnxruntime")
    yield
    assert "onnxviz" in asked


COMMANDS = {
    "maps": ["maps", "MODEL", "PHOTO"],
    "top patches": ["maps", "MODEL", "PHOTO", "--top-patches", "1"],
    "explain": ["explain", "MODEL", "PHOTO", "--method", "occlusion"],
    "maximize": ["maximize", "MODEL", "block1_conv1", "--filters", "0", "--steps", "1"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.usefixtures("runtime_of_another_name")
def test_a_manifest_names_the_version_of_the_package_that_ran(command, model, photo, tmp_path):
    words = [{"MODEL": str(model), "PHOTO": str(photo)}.get(word, word) for word in command]
    assert run([*words, "-q", "-o", str(tmp_path / "out"), "--save", str(tmp_path / "kept.npz")]) == 0
    for name in ("out/manifest.json", "kept.npz.manifest.json"):
        manifest = json.loads((tmp_path / name).read_text())
        assert set(manifest) > HEAD
        assert manifest["versions"] == VERSIONS
        assert manifest["provider"] == "cpu"
        assert manifest["preprocessing"]["name"] == "unit"
        assert set(manifest["model"]) == {"path", "sha256", "opset"}


def test_filters_were_not_run(model, tmp_path):
    assert run(["filters", str(model), "-q", "--save", str(tmp_path / "kept.npz")]) == 0
    manifest = json.loads((tmp_path / "kept.npz.manifest.json").read_text())
    assert set(manifest) == {*HEAD, "layers"}
    assert manifest["versions"] == {name: text for name, text in VERSIONS.items() if name != "onnxruntime"}
    assert manifest["provider"] is None


def test_arrays_have_no_preprocessing(model):
    x = np.zeros((1, 3, 16, 12), np.float32)
    opened = onnxviz.load(model)
    found = [
        onnxviz.capture(opened, x),
        onnxviz.explain(opened, x, method="occlusion"),
        *onnxviz.top_patches(opened, x).values(),
    ]
    for one in found:
        assert one.provenance.model is opened
        assert one.provenance.images is None
        assert one.provenance.as_dict()["preprocessing"] is None
