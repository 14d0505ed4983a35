"""A second execution provider gives what the CPU gives: maps, gradients, answers, and what commands say of it.

Of OpenVINO, the maps of the sample models were measured to be within 1e-6 of their layer's largest value, the gradient
too. CUDA was not measured; TF32, of 10 bits, is off.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.model.model import load
from onnxviz.runtime.place import split_place
from onnxviz.runtime.session import Session

MODELS = Path(__file__).resolve().parents[2] / "models"
CAT = MODELS / "photos" / "cat.jpg"
PROVIDERS = pytest.mark.parametrize(
    ("provider", "tolerance"),
    [
        pytest.param("openvino:device_type=CPU", 1e-5, marks=pytest.mark.openvino, id="openvino"),
        pytest.param("cuda:use_tf32=0", 1e-4, marks=pytest.mark.cuda, id="cuda"),
    ],
)


def drift(found: NDArray, expected: NDArray) -> float:
    """The largest difference, relative to the largest value."""
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@PROVIDERS
@pytest.mark.parametrize(("name", "size"), [("classifier.onnx", None), ("unet.onnx", (96, 128))])
def test_maps(name: str, size: tuple[int, int] | None, provider: str, tolerance: float) -> None:
    expected = onnxviz.capture(MODELS / name, CAT, layers="all", size=size)
    found = onnxviz.capture(MODELS / name, CAT, layers="all", size=size, provider=provider)
    drifts = {layer: drift(found[layer], expected[layer]) for layer in expected}
    assert max(drifts.values()) < tolerance, drifts
    told = found.origin.provenance.placement
    assert told["provider"] == provider
    assert told["node_assignment"][provider.partition(":")[0]]["Conv"] == len(expected) - (name == "unet.onnx") * 3
    assert "node_assignment" not in expected.origin.provenance.placement


@PROVIDERS
@pytest.mark.parametrize("mode", ["plain", "guided"])
def test_gradients(mode: str, provider: str, tolerance: float) -> None:
    """Relu's mask at zero among them: OpenVINO takes a beta of 0 in HardSigmoid for its default, 0.5."""
    gradient = add_gradient(load(MODELS / "classifier.onnx"), "logits", "image", mode=mode)
    feeds = {"image": np.random.default_rng(0).random((2, 3, 96, 96), np.float32)}
    seed = np.eye(11, dtype=np.float32)[[3, 7]]
    expected = gradient.session().run(feeds, seed)
    found = gradient.session(provider=provider).run(feeds, seed)
    assert drift(found.gradients["image"], expected.gradients["image"]) < tolerance
    assert drift(found.value, expected.value) < tolerance


@PROVIDERS
def test_an_explanation_passes_its_self_check(provider: str, tolerance: float) -> None:
    expected = onnxviz.explain(MODELS / "classifier.onnx", CAT, method="saliency")
    found = onnxviz.explain(MODELS / "classifier.onnx", CAT, method="saliency", provider=provider)
    assert found.warnings == ()
    assert drift(found.map, expected.map) < tolerance


@PROVIDERS
def test_places(provider: str, tolerance: float) -> None:
    x = np.random.default_rng(0).random((2, 3, 96, 96), np.float32)
    found = {}
    for where in ("cpu", "noopt", provider):
        path, place = split_place(f"{MODELS / 'classifier.onnx'}@{where}")
        session = Session.of(load(path), options=place.options())
        assert session.provider == place.provider
        found[where] = session.run(["logits"], {"image": x})[0]
    assert drift(found[provider], found["cpu"]) < tolerance
    assert drift(found["noopt"], found["cpu"]) < 1e-5


COMMANDS = {
    "maps": ["maps", "MODEL", "PHOTO"],
    "patches": ["maps", "MODEL", "PHOTO", "--top-patches", "1"],
    "predict": ["predict", "MODEL", "PHOTO"],
    "stats": ["stats", "MODEL", "PHOTO"],
    "explain": ["explain", "MODEL", "PHOTO"],
    "maximize": ["maximize", "MODEL", "conv5", "--filters", "0", "--steps", "2"],
}


@PROVIDERS
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_runs_there_and_says_so(command: list[str], provider: str, tolerance: float, run_command) -> None:
    words = [{"MODEL": MODELS / "classifier.onnx", "PHOTO": CAT}.get(word, word) for word in command]
    ran = run_command(*words, "--provider", provider, "--json")
    manifests = [json.loads(Path(name).read_text()) for name in ran.document.get("files", []) if "manifest" in name]
    for told in (ran.document, *manifests):
        assert told["provider"] == provider
        assert told["node_assignment"][provider.partition(":")[0]]["Conv"] >= 5
