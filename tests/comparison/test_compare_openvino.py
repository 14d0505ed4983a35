"""A model on the CPU and on OpenVINO: a second execution provider, which drifts on int8 and hardly on float32."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from lite import export_lite, lite_crops
from quantised import quantise
from samples import CLASSIFIER, UNET, photo_crops

from onnxviz import compare

ROOT = Path(__file__).resolve().parents[2]
OTHER = ROOT / ".venv" / "openvino" / "bin" / "python"


def answers(path: Path, feeds: np.ndarray) -> list[np.ndarray]:
    """What the whole model gives, untouched, on the CPU and on OpenVINO."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return [
        ort.InferenceSession(path, options, providers=[f"{name}ExecutionProvider"]).run(None, {"image": feeds})[0]
        for name in ("CPU", "OpenVINO")
    ]


@pytest.mark.openvino
@pytest.mark.parametrize("path", [CLASSIFIER, UNET], ids=["classifier", "unet"])
def test_float_models_drift_by_rounding(path: Path) -> None:
    x = (photo_crops(4, 96, 3).transpose(0, 3, 1, 2) / 255).astype(np.float32)
    found = compare(f"{path}@cpu", f"{path}@openvino", x)
    assert found.labels == (f"{path}@cpu", f"{path}@openvino")
    assert found.first_divergent is None
    assert found.agreement.share == 1
    assert found.b.provider == "openvino"
    cpu, other = answers(path, x)
    drift = np.abs(cpu - other).max() / np.abs(cpu).max()
    assert found.outputs[0].max_abs_diff / np.abs(cpu).max() < max(10 * drift, 1e-5)


@pytest.mark.framework
@pytest.mark.skipif(not OTHER.exists(), reason="`make test-openvino` makes the environment that this needs")
def test_efficientnet_lite_drifts_as_int8_and_not_as_float(tmp_path: Path) -> None:
    """Exported and quantised here, compared in the other environment, by its command line."""
    path, photos = export_lite(tmp_path / "lite0.onnx"), lite_crops(14)
    lower = quantise(path, tmp_path / "int8.onnx", [one[None] for one in photos[:10]])
    np.save(tmp_path / "x.npy", photos[10:])
    names = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}

    def compared(model: Path) -> dict:
        command = [OTHER, "-m", "onnxviz", "compare", f"{model}@cpu", f"{model}@openvino", "--json", "--data", "x.npy"]
        done = subprocess.run(command, cwd=tmp_path, env=names, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    whole, int8 = compared(path), compared(lower)
    assert whole["first_divergent"] is None
    assert min(layer["sqnr"] for layer in whole["layers"]) > 100
    assert int8["below"] == 40
    assert int8["first_divergent"] is not None
    places = [layer["a"] for layer in int8["layers"]]
    below = [layer["a"] for layer in int8["layers"] if layer["sqnr"] is not None and layer["sqnr"] < 40]
    assert places.index(int8["first_divergent"]) == places.index(below[0])
    assert int8["outputs"][0]["sqnr"] < whole["outputs"][0]["sqnr"] - 40
