"""Keras models in files, damaged ones among them, and on other backends."""

import os
import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest
from deadlines import HANG_SECONDS
from keras_checks import (
    ROOT,
    check_filters,
    conversion,
    flat_convolutions,
    layers,
    outputs_of,
    randomised,
    relative,
    run_untouched,
    sequential,
    source_filters,
)

import onnxviz
from onnxviz import CodeExecution, ConversionError

# ---------------------------------------------------------------- files


def saved(model, path, **options):
    """The model saved; Keras warns of NumPy 2 and of the older format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save = model.save_weights if str(path).endswith(".weights.h5") else model.save
        save(path, **options)
    return path


@pytest.fixture
def small():
    return randomised(sequential(layers.Conv2D(4, 3, activation="relu", name="c"), layers.Conv2D(2, 1, name="d")))


def test_a_model_compiled_with_things_of_ones_own_loads(tmp_path, small):
    small.compile(loss=lambda y, z: y - z, optimizer="adam")
    assert len(onnxviz.convert(saved(small, tmp_path / "m.keras")).layers) == 2


def test_weights_for_code_that_makes_the_model(tmp_path, keras_models, monkeypatch):
    trained = keras_models.cats_and_dogs(seed=8)
    path = saved(trained, tmp_path / "m.weights.h5")
    monkeypatch.syspath_prepend(ROOT)
    made = onnxviz.convert("models.keras_models:cats_and_dogs(seed=1)", weights=path)
    check_filters(made, flat_convolutions(trained))
    with pytest.raises(ConversionError, match=rf"the weights in {path} do not fit sd_unet: \S"):
        onnxviz.convert("models.keras_models:sd_unet", weights=path)
    with pytest.raises(ConversionError, match=r"holds weights without an architecture: .* weights="):
        onnxviz.convert(path)


def with_lambda():
    return sequential(layers.Conv2D(4, 3, name="c"), layers.Lambda(lambda x: x * 3, name="code"))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_needs_permission(tmp_path, suffix):
    model = with_lambda()
    path = saved(model, tmp_path / f"m{suffix}")
    with pytest.raises(
        CodeExecution,
        match=r"contains code, layer 'code' of (config.json|model_config): Lambda with a Python lambda: .*allow_code",
    ):
        onnxviz.convert(path)
    check_filters(onnxviz.convert(path, allow_code_execution=True), flat_convolutions(model))
    # An object is the user's own.
    assert len(onnxviz.convert(model).layers) == 1


def test_an_archive_of_something_else(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ConversionError, match=r"m.keras holds 'readme.txt', which no .keras file"):
        onnxviz.convert(path)


def test_an_hdf5_file_of_something_else(tmp_path):
    import h5py

    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ConversionError, match=r"m.h5 (holds weights without an architecture|cannot be loaded)"):
        onnxviz.convert(path)


def test_a_layer_type_that_is_not_known(tmp_path, small):
    path = saved(small, tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"Conv2D"', b'"Conv2DOfMyOwn"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(CodeExecution, match=r"layer 'c\S*' of config.json: Conv2DOfMyOwn: .*module:factory.*weights="):
        onnxviz.convert(path)
    with pytest.raises(ConversionError, match=r"m.keras cannot be loaded by Keras 3.*Conv2DOfMyOwn"):
        onnxviz.convert(path, allow_code_execution=True)


def exported(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(folder, verbose=False)
    return folder


def test_a_savedmodel_is_a_program(tmp_path):
    model = sequential(
        layers.Conv2D(8, 3, dilation_rate=2, activation="relu", name="dilated"),
        layers.Conv2D(8, 3, groups=4, padding="same", name="grouped"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="depthwise"),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up"),
        layers.SeparableConv2D(5, 3, name="separable"),
    )
    folder = exported(randomised(model), tmp_path / "saved")
    with pytest.raises(CodeExecution, match=r"saved is a SavedModel, a program .*allow_code_execution=True"):
        onnxviz.convert(folder)
    done = conversion(folder, allow_code_execution=True, output=tmp_path / "m.onnx")
    assert done.framework == "TensorFlow"
    expected = source_filters(flat_convolutions(model))
    names = [layer.name for layer in done.model.layers]
    assert [name.partition("/")[2] for name in names] == list(expected)
    for layer, filters in zip(done.model.layers, expected.values(), strict=True):
        np.testing.assert_array_equal(layer.weight, filters, strict=True)
    x = np.random.default_rng(0).normal(size=(2, 12, 14, 3)).astype(np.float32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4
    fixed = onnxviz.convert(folder, allow_code_execution=True, input_shape="1x12x14x3")
    assert fixed.inputs[0].shape == ("batch", 12, 14, 3)
    with pytest.raises(ConversionError, match=r"has 4 axes, not 2"):
        onnxviz.convert(folder, allow_code_execution=True, input_shape="1x12")


def test_a_damaged_savedmodel(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"nothing of the kind")
    with pytest.raises(ConversionError, match=r"cannot be loaded by TensorFlow: \S") as caught:
        onnxviz.convert(tmp_path, allow_code_execution=True)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- other backends of Keras


def test_a_model_on_another_backend_is_refused_with_the_remedy(tmp_path, small):
    pytest.importorskip("torch")
    path = saved(small, tmp_path / "m.keras")
    code = f"""
        import keras, onnxviz
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        for source in (model, {str(path)!r}):
            try:
                onnxviz.convert(source)
            except onnxviz.ConversionError as error:
                print(error)
    """
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    assert all("lives on Keras' torch backend" in line and "convert the file" in line for line in lines)
    assert "tensorflow" not in ran.stderr.lower()
