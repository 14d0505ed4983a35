"""Parity with sources of Keras and PyTorch: files, factories with weights, and what was changed on either side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxviz import convert
from onnxviz.auditing.audit import audit

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")
# Keras saves by what NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__")
FACTORIES = """
import keras
import torch
from torch import nn


def in_keras():
    x = keras.Input((20, 20, 3))
    y = keras.layers.Conv2D(6, 3, activation="relu", name="first")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, name="second")(y))
    return keras.Model(x, keras.layers.Dense(5, name="scores")(y))


def in_torch():
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 5)).eval()
"""
SHAPE = (1, 3, 20, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of a user: a module of factories, and trained weights of both."""
    made = tmp_path_factory.mktemp("project")
    (made / "factories_of_the_audit.py").write_text(FACTORIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(made)
        patch.chdir(made)
        import factories_of_the_audit as factories

        keras.utils.set_random_seed(3)
        model = factories.in_keras()
        model.save(made / "keras.keras")
        model.save_weights(made / "keras.weights.h5")
        torch.manual_seed(3)
        module = factories.in_torch()
        torch.save(module.state_dict(), made / "torch.pt")
        torch.export.save(torch.export.export(module, (torch.zeros(SHAPE),)), made / "torch.pt2")
        yield made
        sys.modules.pop("factories_of_the_audit")


SOURCES = {
    "a Keras file": ("keras.keras", None),
    "a Keras factory": ("factories_of_the_audit:in_keras", "keras.weights.h5"),
    "a PyTorch factory": ("factories_of_the_audit:in_torch", "torch.pt"),
}


@pytest.fixture(scope="module", params=sorted(SOURCES))
def converted(request, folder: Path) -> tuple[str, str | None, Path]:
    """A source, its weights, and the model that it became."""
    source, weights = SOURCES[request.param]
    target = folder / f"{sorted(SOURCES).index(request.param)}.onnx"
    shape = {} if "keras" in source else {"input_shape": SHAPE}
    convert(source, output=target, weights=weights, **shape)
    return source, weights, target


def planted(path: Path, rank: int, change) -> Path:
    """A copy of which the last stored tensor of that rank went through a function."""
    proto = onnx.load(path)
    stored = [one for one in proto.graph.initializer if len(one.dims) == rank][-1]
    stored.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(stored).copy()), stored.name))
    onnx.save(proto, path.with_suffix(".planted.onnx"))
    return path.with_suffix(".planted.onnx")


def one_bit(values: np.ndarray) -> np.ndarray:
    values.view(np.uint32).reshape(-1)[7] ^= 1
    return values


def found(path: Path, source: str, weights: str | None) -> list[tuple[str, str]]:
    result = audit(path, source=source, weights=weights, select=["P01"])
    assert not result.not_run, result.not_run
    return [(one.severity.value, one.message) for one in result.findings]


def test_the_source_itself_is_clean(converted):
    source, weights, path = converted
    assert found(path, source, weights) == []


def test_filters_and_scores_that_are_not_the_source_s(converted):
    source, weights, path = converted
    ((severity, message),) = found(planted(path, 4, one_bit), source, weights)
    assert severity == "error"
    assert "the filters of" in message
    ((severity, message),) = found(planted(path, 2, lambda values: values * np.float32(1.01)), source, weights)
    assert severity == "error"
    assert "output" in message


def test_other_weights_of_the_source(converted, folder):
    """The model is of the weights before the last epoch."""
    source, weights, path = converted
    import factories_of_the_audit as factories

    if "keras" in source:
        model = factories.in_keras()
        model.load_weights(folder / "keras.weights.h5")
        layer = model.get_layer("second")
        layer.kernel.assign(np.asarray(layer.kernel) * np.float32(1.001))
        model.save(folder / "later.keras")
        model.save_weights(folder / "later.weights.h5")
        later = "later.weights.h5"
    else:
        state = torch.load(folder / weights, weights_only=True)
        torch.save({name: value * 1.001 if name == "3.weight" else value for name, value in state.items()},
                   folder / "later.pt")  # fmt: skip
        later = "later.pt"
    ((severity, message),) = found(path, *(("later.keras", None) if weights is None else (source, later)))
    assert severity == "error"
    assert "the filters of" in message


def test_a_file_that_brings_code_is_not_run(folder):
    """A program of torch.export; converted with leave, its record says what was compared."""
    path = folder / "program.onnx"
    convert("torch.pt2", output=path, allow_code_execution=True)
    result = audit(path, source="torch.pt2", select=["P01"])
    (told,) = result.not_run
    assert "runs no code that a file brings along" in told.why
    assert "torch.pt2 is a program of torch.export" in told.why
    assert "onnxviz convert" in told.why
    assert audit(path, select=["P01"]).passed == ("P01",)


def test_the_command_in_the_user_s_folder(folder):
    """It audits in a process of its own, which finds the module as `convert` does."""
    convert("factories_of_the_audit:in_torch", output=folder / "told.onnx", weights="torch.pt", input_shape=SHAPE)
    command = [sys.executable, "-m", "onnxviz", "audit", "told.onnx", "--select", "P01", "--format", "json",
               "--source", "factories_of_the_audit:in_torch", "--weights"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ran = subprocess.run([*command, "torch.pt"], cwd=folder, env=environment, capture_output=True, text=True)
    (model,) = json.loads(ran.stdout)["models"]
    assert (ran.returncode, model["findings"], model["passed"]) == (0, [], ["P01"]), ran


def test_weights_that_are_none_of_the_source_s(converted):
    source, _, path = converted
    (told,) = audit(path, source=source, weights="factories_of_the_audit.py", select=["P01"]).not_run
    assert "factories_of_the_audit.py" in told.why
