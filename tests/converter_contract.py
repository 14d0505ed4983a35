"""The contract of converters: what each gives for a model of its framework, and how each refuses.

A test class of a framework derives from `ConverterContract` and makes that framework's models: the same network
everywhere, `body` with the convolutions `first` (3 filters to 4) and `second` (4 to 5) of 3x3 without padding, a ReLU
behind each, and the mean of each map. The answers that count are the framework's own, never a converter's.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracles
import pytest
from deadlines import HANG_SECONDS
from search_path import PACKAGES, search_path
from toy_framework import STAGES, files_below

import onnxviz
from onnxviz import CodeExecution, ConversionError, Preprocessing
from onnxviz.conversion import sources
from onnxviz.conversion.convert import Conversion, conversion
from onnxviz.conversion.converter import Converter
from onnxviz.conversion.verification_record import VerificationRecord
from onnxviz.model.naming import source_path
from onnxviz.model.scores import NAMES_KEY

TESTS = Path(__file__).resolve().parent
Array = np.ndarray
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "garbage": lambda whole: np.random.default_rng(0).bytes(5000),
    "truncated": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"I am no model, whatever my name says.\n",
}


class ConverterContract(ABC):
    """Tests that hold for every converter.

    Attributes:
        module: of the converter, as its entry point names it.
        converter: within the module; "" where the module itself is one.
        framework: as messages call it.
        separator: between the parts of a layer's path.
        axes: where the axes (N, C, H, W) of an image are in the network's input.
        suffixes: of the files of models, and `weights_suffix` of those of weights.
        stranger: an operator set that the exporter does not write; None where it writes all.
        odd: what a message says of an operation of the layer `odd`.
    """

    module: str
    converter = ""
    framework: str
    separator = "/"
    axes = (0, 1, 2, 3)
    suffixes: tuple[str, ...]
    weights_suffix: str
    stranger: int | None = None
    odd = r"\bodd\b"

    # ---- models of the framework

    @abstractmethod
    def network(self, seed: int = 0, size: int | None = 9) -> Any:
        """The network, for images of `size` x `size` pixels; None for open sizes."""

    @abstractmethod
    def scaled(self) -> Any:
        """The network, whose photos have values of 0 to 255, as the source says or computes."""

    @abstractmethod
    def shared(self) -> Any:
        """A model whose convolution `again`, 3 filters to 3, is called twice, one call behind the other."""

    @abstractmethod
    def unsteady(self) -> Any:
        """A model that gives something else at each call."""

    @abstractmethod
    def untraceable(self) -> Any:
        """A model with an operation `odd` that ONNX lacks."""

    @abstractmethod
    def saved(self, model: Any, path: Path) -> Path:
        """The model in a file."""

    @abstractmethod
    def saved_weights(self, model: Any, path: Path) -> Path:
        """The model's weights in a file."""

    @abstractmethod
    def saved_code(self, path: Path) -> Path:
        """A file of a model that brings code along."""

    # ---- their own answers

    @abstractmethod
    def kernels(self, model: Any) -> dict[str, Array]:
        """The weights of the convolutions of `network` by their place in the body, (O, I, h, w)."""

    @abstractmethod
    def biases(self, model: Any) -> dict[str, Array]:
        """The biases likewise, (O,)."""

    @abstractmethod
    def answers(self, model: Any, x: Array) -> tuple[Array, dict[str, Array]]:
        """The output for an input in the model's layout; and the convolutions' maps by place, (N, C, H, W)."""

    @abstractmethod
    def state(self, model: Any) -> Any:
        """What of the model and its framework a conversion must not change, comparable by ==."""

    # ---- what the tests share

    def shape(self, batch: int | None = None, size: int | None = 9, channels: int = 3) -> tuple[int | None, ...]:
        """The shape of a batch of images in the model's layout."""
        image = (batch, channels, size, size)
        return tuple(image[self.axes.index(axis)] for axis in range(4))

    def images(self, batch: int, size: int = 9, seed: int = 0) -> Array:
        x = np.random.default_rng(seed).normal(size=(batch, 3, size, size)).astype(np.float32)
        return np.ascontiguousarray(x.transpose(np.argsort(self.axes)))

    def told(self, model: Any) -> dict[str, Any]:
        """Options that say what the model takes, where it does not say so itself."""
        return {}

    def path(self, place: str) -> str:
        return f"body{self.separator}{place}"

    def convert(self, source: Any, **options: Any) -> Conversion:
        return conversion(source, **{**self.told(source), **options})

    def found(self) -> Converter:
        module = importlib.import_module(self.module)
        return getattr(module, self.converter)() if self.converter else module

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def registered(cls) -> Iterator[None]:
        """The converter is the one that is found, be it by its entry point or not."""
        with pytest.MonkeyPatch.context() as patch:
            if not any(one.framework == cls.framework for one in sources.converters()):
                patch.setattr(sources, "converters", lambda: [cls().found()])
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls) -> Any:
        return cls().network()

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, source: Any, registered: None, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
        """The network, converted."""
        return cls().convert(source, output=tmp_path_factory.mktemp("contract") / "m.onnx")

    def check_refused(self, folder: Path, source: Any, message: str, **options: Any) -> str:
        """One line says why; what was written before stays, and nothing else is there."""
        output = folder / "written.onnx"
        output.write_bytes(b"what was there before")
        before = files_below(folder)
        kind = options.pop("error", ConversionError)
        with pytest.raises(kind, match=message) as caught:
            self.convert(source, output=output, **options)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == (3 if kind is CodeExecution else 2)
        assert files_below(folder) == before
        assert output.read_bytes() == b"what was there before"
        return str(caught.value)

    # ---- what a conversion gives

    def test_filters_and_biases_are_the_sources_own_bit_for_bit(self, source, done):
        kernels, biases = self.kernels(source), self.biases(source)
        assert list(kernels) == ["first", "second"]
        for place, kernel in kernels.items():
            layer = done.model.layer(self.path(place))
            np.testing.assert_array_equal(layer.weight, kernel, strict=True)
            np.testing.assert_array_equal(layer.bias, biases[place], strict=True)
            assert layer.weight_source == "initializer"

    def test_layers_are_called_as_the_source_calls_them(self, done):
        names = [self.path(place) for place in ("first", "second")]
        assert [layer.name for layer in done.model.layers] == names
        assert [source_path(node) for node in done.model.proto.graph.node if node.op_type == "Conv"] == names

    @pytest.mark.parametrize("batch", [1, 3])
    def test_outputs_move_no_more_than_the_sources_own(self, source, done, batch):
        """When its input moves by one unit in the last place; a few times that, since each layer rounds."""
        x = self.images(batch)
        expected, _ = self.answers(source, x)
        moved, _ = self.answers(source, np.nextafter(x, np.float32(np.inf)))
        scale = np.abs(expected).max()
        allowed = 8 * max(np.abs(moved - expected).max(), np.spacing(np.float32(scale)))
        proto = onnx.load(done.files[0])
        (port,) = done.model.outputs
        for run in (oracles.untouched, oracles.referenced):
            ours = run(proto, [port.name], {done.model.inputs[0].name: x})[port.name]
            assert ours.shape == expected.shape == (batch, 5)
            assert ours.dtype == expected.dtype
            assert np.abs(ours - expected).max() <= allowed

    def test_maps_are_the_sources_own(self, source, done):
        x = self.images(2, seed=1)
        _, expected = self.answers(source, x)
        for at, applied in (("conv", lambda array: array), ("activation", lambda array: np.maximum(array, 0))):
            maps = onnxviz.capture(done.model, x, at=at)
            for place, array in expected.items():
                assert oracles.relative(maps[self.path(place)], applied(array)) < 1e-5

    def test_the_batch_is_open_and_the_sizes_are_the_sources(self, done):
        (port,) = done.model.inputs
        assert port.shape == ("batch", *self.shape()[1:])
        assert done.model.outputs[0].shape == ("batch", 5)

    def test_a_file_alone_says_what_it_comes_from(self, done):
        onnx.checker.check_model(done.files[0], full_check=True)
        made = onnxviz.load(done.files[0])
        assert (made.proto.producer_name, made.proto.producer_version) == ("onnxviz", onnxviz.__version__)
        assert made.opset[""] == 18
        assert made.metadata["onnxviz.source"].startswith(f"{self.framework}, ")
        record = VerificationRecord.of(made)
        assert record.framework == self.framework
        assert record.versions.items() >= done.versions.items()
        assert record.verification["max_rel_diff"] == done.verification.max_rel_diff
        assert {*record.versions} >= {"onnxviz", "onnx", "onnxruntime"}
        assert made.preprocessing is None

    def test_what_was_compared_is_told(self, done):
        checked = done.verification
        assert (checked.layers, checked.maps, checked.unused) == (2, 2, ())
        assert checked.filters_identical
        assert 0 <= checked.max_rel_diff < 1e-5
        first, second = ("x".join(map(str, self.shape(batch))) for batch in (1, 2))
        assert checked.inputs == f"normal noise, seed 0: {first} and {second}"

    def test_the_document_has_the_keys_that_scripts_rely_on(self, done):
        found = json.loads(json.dumps(done.as_dict(), allow_nan=False))
        assert (found["framework"], found["opset"], found["layers"], found["parameters"]) == (
            self.framework,
            18,
            2,
            297,
        )
        assert set(found["verification"]) >= {"inputs", "max_abs_diff", "max_rel_diff", "filters_identical", "seconds"}
        assert list(found["seconds"]) == STAGES
        assert found["versions"] == dict(done.versions)
        assert found["preprocessing"] is None

    def test_a_layer_called_twice_is_two(self):
        done = self.convert(self.shared())
        assert [layer.name for layer in done.model.layers] == ["again", "again_2"]
        assert (done.verification.layers, done.verification.maps) == (1, 2)

    def test_open_sizes_are_tried_at_two(self):
        model = self.network(size=None)
        done = self.convert(model)
        assert [size for size in done.model.inputs[0].shape if isinstance(size, int)] == [3]
        small, large = done.verification.inputs.partition(": ")[2].split(" and ")
        assert small != large
        assert done.verification.maps == 2

    # ---- what is kept beside

    def test_images_are_prepared_as_the_source_says(self):
        done = self.convert(self.scaled())
        assert (done.preprocessing.words, done.model.preprocessing["name"]) == ("raw", "raw")
        assert done.verification.inputs.startswith("noise images")

    def test_what_is_asked_for_is_kept(self, source, tmp_path):
        labels = ["ant", "bee", "cat", "dog", "eel"]
        self.convert(source, output=tmp_path / "m.onnx", preprocess="caffe", labels=labels, verify=False)
        made = onnxviz.load(tmp_path / "m.onnx")
        assert Preprocessing.parse("caffe").as_dict() == made.preprocessing
        assert json.loads(made.metadata[NAMES_KEY]) == labels
        assert VerificationRecord.of(made) is None

    # ---- the source

    def test_the_source_is_as_it_was(self, source):
        before = self.state(source)
        self.convert(source)
        assert self.state(source) == before

    def test_nothing_is_printed_or_warned(self, source, capfd, recwarn):
        self.convert(source)
        assert capfd.readouterr() == ("", "")
        assert [str(one.message) for one in recwarn] == []

    def test_the_framework_is_imported_when_it_is_needed(self):
        code = f"""
            import importlib, json, pathlib, sys
            found = importlib.import_module({self.module!r})
            found = getattr(found, {self.converter!r})() if {self.converter!r} else found
            asked = [found.recognises(one) for one in (object(), pathlib.Path("a.onnx"), "a{self.suffixes[0]}")]
            known = found.recognises(pathlib.Path("a{self.suffixes[0]}"))
            print(json.dumps([asked, known, [one for one in found.packages if one in sys.modules]]))
        """
        ran = subprocess.run(
            [sys.executable, "-c", "\n".join(line[12:] for line in code.splitlines())],
            env={**os.environ, "PYTHONPATH": search_path(TESTS, *PACKAGES)},
            capture_output=True,
            text=True,
            check=True,
            timeout=HANG_SECONDS,
        )
        assert json.loads(ran.stdout) == [[False] * 3, True, []]

    def test_it_is_a_converter(self, source):
        found = self.found()
        assert isinstance(found, Converter)
        assert found.framework == self.framework
        assert found.recognises(source)
        assert not found.recognises(type(source))

    # ---- files

    def test_a_file_of_a_model(self, source, tmp_path):
        for suffix in self.suffixes:
            path = self.saved(source, tmp_path / f"m{suffix}")
            done = conversion(path, allow_code_execution=True, **self.told(source))
            assert done.source == str(path)
            assert [layer.name for layer in done.model.layers] == [self.path(place) for place in ("first", "second")]
            for place, kernel in self.kernels(source).items():
                np.testing.assert_array_equal(done.model.layer(self.path(place)).weight, kernel, strict=True)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_file_is_one_line(self, source, tmp_path, damage):
        for suffix in self.suffixes:
            path = self.saved(source, tmp_path / f"m{suffix}")
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
            self.check_refused(tmp_path, path, rf"m\{suffix}")

    def test_a_file_that_is_not_there(self, tmp_path):
        for suffix in self.suffixes:
            self.check_refused(tmp_path, tmp_path / f"gone{suffix}", rf"there is no file .*gone\{suffix}")

    def test_code_needs_permission(self, tmp_path):
        path = self.saved_code(tmp_path / f"code{self.suffixes[0]}")
        self.check_refused(tmp_path, path, "allow_code_execution=True", error=CodeExecution)
        # Whatever comes of it, it is not refused for that.
        assert self.convert(path, allow_code_execution=True, **self.told(self.network())).model.layers

    def test_weights_are_loaded_into_code(self, source, tmp_path):
        trained = self.network(seed=1)
        path = self.saved_weights(trained, tmp_path / f"w{self.weights_suffix}")
        made = self.convert(self.network(seed=2), weights=path).model
        for place, kernel in self.kernels(trained).items():
            np.testing.assert_array_equal(made.layer(self.path(place)).weight, kernel, strict=True)
        self.check_refused(tmp_path, self.shared(), rf"w\{self.weights_suffix}", weights=path)
        self.check_refused(tmp_path, source, "there is no file", weights=tmp_path / f"gone{self.weights_suffix}")

    # ---- refusals

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_shape_that_the_model_refuses(self, source, tmp_path, channels):
        """One of other channels, and one of an axis less."""
        shape = self.shape(1, channels=channels)
        asked = shape if channels == 1 else shape[1:]
        self.check_refused(tmp_path, source, "x".join(map(str, asked)), input_shape=asked)

    def test_an_input_that_it_does_not_have(self, source, tmp_path):
        self.check_refused(tmp_path, source, "no input 'photo'", input_shape={"photo": self.shape(1)})

    def test_an_operator_set_that_the_exporter_lacks(self, source, tmp_path):
        if self.stranger is None:
            pytest.skip("it writes all")
        self.check_refused(tmp_path, source, rf"\b18\b.*, not {self.stranger}", opset=self.stranger)

    def test_an_operation_that_onnx_lacks_is_named_with_its_layer(self, tmp_path):
        model = self.untraceable()
        before = self.state(model)
        self.check_refused(tmp_path, model, self.odd)
        assert self.state(model) == before

    def test_a_model_that_draws_numbers_cannot_be_compared(self, tmp_path):
        self.check_refused(tmp_path, self.unsteady(), "different outputs for the same input .*verify=False")
        assert self.convert(self.unsteady(), verify=False).verification is None
