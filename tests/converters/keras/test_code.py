"""`.keras` and `.h5` files that carry code: none runs, nothing is fetched, no file appears, and the place is named."""

import contextlib
import copy
import json

import pytest
from command_line import program
from keras_code import BASE, LAMBDA, PLACES, THAT_ACT, instance, named, written

import onnxviz
from onnxviz import CodeExecution

# Keras calls .h5 legacy, and uses what numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore")
h5py = pytest.importorskip("h5py")


def refused(path, watched):
    with pytest.raises(CodeExecution) as caught:
        onnxviz.convert(path)
    text = str(caught.value)
    assert text.startswith(f"{path} contains code, ")
    assert "allow_code_execution=True" in text
    assert text.isprintable()
    assert watched() == []
    return text


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("payload", THAT_ACT)
def test_code_of_every_kind(parts, tmp_path, watched, suffix, payload):
    """As a Lambda's function, and as a layer or an activation."""
    for place in ("a Lambda's function", "a layer", "an activation"):
        config = copy.deepcopy(BASE)
        PLACES[place](config, copy.deepcopy(THAT_ACT[payload]))
        refused(written(parts, tmp_path / f"m{suffix}", config), watched)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("place", PLACES)
def test_code_in_every_place(parts, tmp_path, watched, suffix, place):
    for payload in ("keras.datasets.mnist.load_data", "keras.ops.cond", "TFSMLayer", "a class of its own", "a lambda"):
        config = copy.deepcopy(BASE)
        PLACES[place](config, copy.deepcopy(THAT_ACT[payload]))
        refused(written(parts, tmp_path / f"m{suffix}", config), watched)


def test_the_place_is_named(parts, tmp_path, watched):
    config = copy.deepcopy(BASE)
    PLACES["a Lambda's function"](config, named("keras.layers", "TFSMLayer"))
    text = refused(written(parts, tmp_path / "m.keras", config), watched)
    assert "contains code, layer 'own' of config.json: Lambda with keras.layers.TFSMLayer: " in text
    config = copy.deepcopy(BASE)
    PLACES["an activation"](config, named("keras.datasets.mnist", "load_data"))
    text = refused(written(parts, tmp_path / "m.h5", config), watched)
    assert "layer 'c1' of model_config: activation is keras.datasets.mnist.load_data: " in text
    config["config"]["layers"][1]["config"]["name"] = config["config"]["layers"][1]["name"] = "\x1b[31m" + "n" * 9999
    assert len(refused(written(parts, tmp_path / "m.h5", config), watched)) < 1500


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_how_the_model_was_compiled(parts, tmp_path, watched, suffix):
    """It is not read, so that a loss of one's own does no harm; a symbol of Keras that is none is refused."""
    for payload in ("keras.datasets.mnist.load_data", "keras.layers.TFSMLayer", "keras.ops.cond", "TFSMLayer"):
        config = {**copy.deepcopy(BASE), "compile_config": {"loss": THAT_ACT[payload]}}
        refused(written(parts, tmp_path / f"m{suffix}", config), watched)
    for own in (LAMBDA, named("builtins", "my_loss"), instance("__main__", "MyLoss", "MyLoss")):
        config = {**copy.deepcopy(BASE), "compile_config": {"loss": own}}
        assert len(onnxviz.convert(written(parts, tmp_path / f"m{suffix}", config)).layers) == 1
    assert watched() == []


def test_what_was_compiled_in_a_legacy_file(parts, tmp_path, watched):
    path = written(parts, tmp_path / "m.h5", BASE)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps({"loss": named("keras.datasets.mnist", "load_data")})
    assert "training_config: loss is keras.datasets" in refused(path, watched)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_command_line(parts, tmp_path, watched, program_of_tensorflow, suffix):
    config = copy.deepcopy(BASE)
    own = instance("keras.layers", "Lambda", function=named("keras.layers", "TFSMLayer"))
    own["config"]["arguments"] = {"call_endpoint": "serving_default"}
    nodes = [{"args": [], "kwargs": {"inputs": str(program_of_tensorflow[0])}}]
    config["config"]["layers"].append({**own, "name": "own", "inbound_nodes": nodes})
    path = written(parts, tmp_path / f"m{suffix}", config)
    done = program("convert", path.name, "-o", "m.onnx", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "Lambda with keras.layers.TFSMLayer" in done.stderr
    assert watched() == []
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_oracle_is_awake(parts, tmp_path, watched, program_of_tensorflow):
    """With permission the same file does what it is refused for."""
    config = copy.deepcopy(BASE)
    own = instance("keras.layers", "Lambda", function=named("keras.layers", "TFSMLayer"))
    own["config"]["arguments"] = {"call_endpoint": "serving_default"}
    nodes = [{"args": [], "kwargs": {"inputs": str(program_of_tensorflow[0])}}]
    config["config"]["layers"].append({**own, "name": "own", "inbound_nodes": nodes})
    path = written(parts, tmp_path / "m.keras", config)
    with contextlib.suppress(onnxviz.OnnxvizError):
        onnxviz.convert(path, allow_code_execution=True)
    assert any("canary" in one for one in watched())
