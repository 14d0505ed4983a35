"""Keras 3 models, through tf2onnx, with the weights left outside.

The model is traced as a function of its inputs *and* its variables, so that no weight ever passes through
TensorFlow's graph or tf2onnx, and nothing can be folded into a filter. Measured on VGG16 (553 MB): 0.3 s, where
`model.export(format="onnx")`, which freezes the weights into the graph and copies it again and again, takes minutes.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.conversion.converter import InputShape, Observed, SourceInput, SourceModel, Traced, Unverifiable
from onnxviz.errors import CodeExecution, ConversionError
from onnxviz.messages import option
from onnxviz_converters import keras_archive, keras_graph, keras_leftovers, tensorflow_kernels
from onnxviz_converters.keras_applications import known_preprocessing
from onnxviz_converters.keras_config import code_in
from onnxviz_converters.keras_layers import (
    TEXT,
    array_of,
    cause,
    convolutions,
    named_variables,
    one_line,
    plain_name,
    quiet,
    walk,
)

framework = "Keras"
packages = ("keras", "tensorflow", "tf2onnx")
install = "onnxviz[keras]"

_HDF5 = b"\x89HDF"


def recognises(source: object) -> bool:
    """Whether `source` is a Keras model, a `.keras` or `.h5` file, or a SavedModel folder."""
    if isinstance(source, Path):
        return source.suffix.lower() in (".keras", ".h5", ".hdf5") or (source / "saved_model.pb").is_file()
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Model") and isinstance(source, keras.Model)


def open(
    source: object,
    *,
    weights: Path | None = None,
    input_shapes: Mapping[str, InputShape] | None = None,
    allow_code_execution: bool = False,
) -> SourceModel:
    """The model behind `source`; see `onnxviz.conversion.converter.Converter`."""
    # TensorFlow reads these when it is first imported; who has imported it has chosen.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    notes: list[str] = []
    if isinstance(source, Path):
        if "keras" not in sys.modules:
            os.environ["KERAS_BACKEND"] = "tensorflow"  # a file is of no backend; tf2onnx is TensorFlow's
        if source.is_dir():
            from onnxviz_converters.savedmodel import SavedModelSource

            return SavedModelSource(source, input_shapes, allow_code_execution)
        model, notes = _loaded(source, allow_code_execution)
    else:
        model = source
    _check_backend()
    import keras

    assert isinstance(model, keras.Model)
    if weights is not None:
        _load_weights(model, weights)
    found = KerasSource(model, input_shapes)
    found.notes += notes
    return found


def _check_backend() -> None:
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ConversionError(
            f"the model lives on Keras' {backend} backend, and the converter needs TensorFlow's: "
            "save it (model.save('model.keras')) and convert the file: onnxviz convert model.keras"
        )


def _loaded(path: Path, allow_code_execution: bool) -> tuple[Any, list[str]]:
    """The model in a `.keras` or `.h5` file, and what is to be said of it."""
    if not path.is_file():
        raise ConversionError(f"there is no file {path}")
    with path.open("rb") as file:
        lead = file.read(4)
    if lead != _HDF5 and not zipfile.is_zipfile(path):
        raise ConversionError(f"{path} is neither a .keras archive nor an HDF5 file")
    keras_archive.check(path)
    if not allow_code_execution:
        for document, config in keras_archive.configurations(path):
            if code := code_in(config, document):
                raise CodeExecution(
                    f"{path} contains code, {code}: if you trust the file, add "
                    f"{option('allow_code_execution', python='True')}, or name the code that builds the model, as "
                    f"module:factory, and give the file as {_as_weights(path)}"
                )
    import keras

    try:
        with quiet(), keras_leftovers.left_out(keras_archive.configurations(path)) as left_out:
            model = keras.models.load_model(path, compile=False, safe_mode=not allow_code_execution)
    except Exception as error:
        text = one_line(error)
        if "model config" in text.lower() or "No model config" in text:
            raise ConversionError(
                f"{path} holds weights without an architecture: name the code that builds the model, as "
                f"module:factory, and give the file as {_as_weights(path)}"
            ) from None
        raise ConversionError(
            f"{path} cannot be loaded by Keras {version('keras')}: {cause(error)}: load it with the version that wrote "
            "it and save it again, or name the code that builds the model, as module:factory, and give the file as "
            f"{_as_weights(path)}"
        ) from None
    return model, [f"{what}: Keras 3 has it no more, and it changes nothing; left out" for what in left_out]


def _load_weights(model: Any, path: Path) -> None:
    if not path.is_file():
        raise ConversionError(f"there is no file {path}")
    keras_archive.check(path)
    try:
        with quiet():
            model.load_weights(path)
    except Exception as error:
        raise ConversionError(f"the weights in {path} do not fit {model.name}: {one_line(error)}") from None


class KerasSource(SourceModel):
    """A Keras model on the TensorFlow backend."""

    framework = framework

    def __init__(self, model: Any, input_shapes: Mapping[str, InputShape] | None = None) -> None:
        self.model = model
        self.notes = []
        self.versions = {name: version(name) for name in ("keras", "tf2onnx")}
        self.versions["tensorflow"] = keras_graph.tensorflow_version()
        self._feeds_of = _as_the_model_takes_them(model)
        self.inputs = _inputs(model, input_shapes or {})
        self._build_the_rest()
        self._variables = named_variables(model)
        names = {id(variable): name for name, variable in self._variables.items()}
        self.layers, self._observable = convolutions(model, names)
        if any(getattr(layer, "compute_dtype", None) == "bfloat16" for _, layer in walk(model)):
            self.notes.append("computes in bfloat16, which tf2onnx writes as float16: values beyond 65504 overflow")
        known = known_preprocessing(model)
        self.preprocessing = known[0] if known is not None else None
        if known is not None:
            self.notes.append(known[1])

    def _build_the_rest(self) -> None:
        """Makes the weights that are only made at the first call, such as those of a layer that is an activation."""
        if all(layer.built for _, layer in walk(self.model)):
            return
        zeros = [np.zeros([size or 32 for size in one.shape], one.dtype) for one in self.inputs]
        with suppress(Exception), quiet():  # at open sizes it may fail; what is missing is said where it is needed
            tensorflow_kernels.run(lambda *flat: self.model(self._feeds_of(flat), training=False), *zeros)

    def trace(self, opset: int) -> Traced:
        """The graph, and the variables it reads; see `SourceModel.trace`."""
        values = {name: array_of(variable) for name, variable in self._variables.items()}
        layers = dict(walk(self.model))
        proto, constants = keras_graph.traced(self.model, self._feeds_of, self.inputs, self._variables, opset, layers)
        return Traced(proto, keras_graph.as_it_is_read(proto, {**values, **constants}))

    def run(self, feeds: Mapping[str, NDArray[Any]], observe: Sequence[str] = ()) -> Observed:
        """Runs the model as Keras does, in inference mode."""
        import keras

        def call(*flat: Any) -> tuple[list[Any], dict[str, list[Any]]]:
            seen: dict[str, list[Any]] = {path: [] for path in observe}
            with _observed({path: self._observable[path] for path in observe}, seen):
                result = self.model(self._feeds_of(flat), training=False)
            return keras.tree.flatten(result), seen

        # In the scope, what the model counts or draws as it runs is forgotten afterwards.
        with quiet(), keras.StatelessScope():
            try:
                (outputs, maps), notes = tensorflow_kernels.run(call, *(feeds[one.name] for one in self.inputs))
            except Unverifiable:
                raise
            except Exception as error:
                raise ConversionError(f"{self.model.name} does not run: {one_line(error)}") from error
            observed = Observed(
                [_numbers(one) for one in outputs],
                {path: [self._channels_second(path, _numbers(one)) for one in calls] for path, calls in maps.items()},
            )
        self.notes += [note for note in notes if note not in self.notes]
        return observed

    def _channels_second(self, path: str, array: NDArray[Any]) -> NDArray[Any]:
        """A layer's output as (N, C, spatial…)."""
        return array if self._observable[path].data_format == "channels_first" else np.moveaxis(array, -1, 1)


def _numbers(tensor: Any) -> NDArray[Any]:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


@contextmanager
def _observed(layers: Mapping[str, Any], seen: Mapping[str, list[Any]]) -> Iterator[None]:
    """Notes each layer's outputs as it gives them while the block runs; the layers are as before afterwards."""

    def recording(path: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            seen[path].append(result)
            return result

        return wrapper

    try:
        for path, layer in layers.items():
            # Into the instance's dictionary, past Keras' bookkeeping of attributes, so that deleting it undoes it.
            layer.__dict__["call"] = recording(path, layer.call)
        yield
    finally:
        for layer in layers.values():
            layer.__dict__.pop("call", None)


def _as_the_model_takes_them(model: Any) -> Callable[[Sequence[Any]], Any]:
    """What packs a flat list of inputs the way the model's call takes them: one tensor, a list, a dictionary."""
    import keras

    structure = _input_structure(model)
    if structure is None:
        return lambda flat: flat[0] if len(flat) == 1 else list(flat)
    return lambda flat: keras.tree.pack_sequence_as(structure, list(flat))


def _input_structure(model: Any) -> Any:
    """The model's inputs as its call takes them; None where it does not say, as a Sequential that never ran."""
    try:
        return model.input if getattr(model, "inputs", None) else None
    except (AttributeError, ValueError):
        return None


def _inputs(model: Any, given: Mapping[str, InputShape]) -> tuple[SourceInput, ...]:
    """The model's inputs, with the sizes that were asked for."""
    declared = _declared_inputs(model, given)
    names = [one.name for one in declared]
    for name in given:
        if name and name not in names:
            raise ConversionError(f"{model.name} has no input '{name}'; it has {', '.join(names)}")
    if "" in given and len(declared) > 1:
        raise ConversionError(
            f"{model.name} has {len(declared)} inputs ({', '.join(names)}): give each shape as NAME=1x224x224x3"
        )
    result = []
    for one in declared:
        if one.dtype == "string":
            raise ConversionError(TEXT.format(name=one.name, model=model.name))
        asked = given.get(one.name, given.get("") if len(declared) == 1 else None)
        if asked is None:
            result.append(one)
            continue
        if len(asked) != len(one.shape) or any(
            a is not None and b is not None and a != b for a, b in zip(asked[1:], one.shape[1:], strict=True)
        ):
            want = "x".join("?" if size is None else str(size) for size in one.shape)
            raise ConversionError(
                f"input '{one.name}' of {model.name} takes {want}, not {'x'.join(str(s or '?') for s in asked)}"
            )
        sizes = [one.shape[0], *(a if a is not None else b for a, b in zip(asked[1:], one.shape[1:], strict=True))]
        result.append(SourceInput(one.name, tuple(sizes), one.dtype))
    return tuple(result)


def _declared_inputs(model: Any, given: Mapping[str, InputShape]) -> list[SourceInput]:
    tensors = getattr(model, "inputs", None)
    if tensors:
        names = _input_names(model, tensors)
        return [
            SourceInput(name, tuple(tensor.shape), str(tensor.dtype))
            for name, tensor in zip(names, tensors, strict=True)
        ]
    # A subclassed model knows its inputs once it was built or called.
    shapes = getattr(model, "_build_shapes_dict", None)
    dtype = str(model.input_dtype) if hasattr(model, "input_dtype") else "float32"
    if model.built and shapes and all(isinstance(shape, tuple | list) for shape in shapes.values()):
        found = [(name.removesuffix("_shape"), tuple(shape)) for name, shape in shapes.items()]
        found = [("input" if name in ("input", "inputs", "x") else name, shape) for name, shape in found]
        if not any(isinstance(size, tuple | list) for _, shape in found for size in shape):
            # The sizes that it happened to be built with do not bind it: those that are asked for count.
            asked = {name: given.get(name, given.get("") if len(found) == 1 else None) for name, _ in found}
            return [SourceInput(name, (None, *(asked[name] or shape)[1:]), dtype) for name, shape in found]
    if not given:
        raise ConversionError(
            f"{model.name} is a {type(model).__name__} that does not say what it takes: "
            f"give {option('input_shape')}, as 1x224x224x3 (NAME=1x224x224x3 for each of several inputs)"
        )
    declared = [SourceInput(name or "input", (None, *shape[1:]), dtype) for name, shape in given.items()]
    if not model.built:
        zeros = [np.zeros([1, *(size or 32 for size in one.shape[1:])], one.dtype) for one in declared]
        try:
            tensorflow_kernels.run(
                lambda *flat: model(flat[0] if len(flat) == 1 else list(flat), training=False), *zeros
            )
        except Unverifiable:
            raise
        except Exception as error:
            shape = ", ".join("x".join(map(str, zero.shape)) for zero in zeros)
            raise ConversionError(f"{model.name} refuses an input of {shape}: {one_line(error)}") from None
    return declared


def _as_weights(path: Path) -> str:
    return option("weights", str(path), repr(str(path)))


_MADE_UP = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?(:0)?")


def _input_names(model: Any, tensors: Sequence[Any]) -> list[str]:
    """The names that the model's author gave, else `input`, or numbered: `input_0`, `input_1`."""
    import keras

    structure = _input_structure(model)
    if isinstance(structure, dict) and len(structure) == len(tensors):
        flat = keras.tree.flatten({key: key for key in structure})
        return [str(name) for name in flat]
    count = len(tensors)
    return [
        ("input" if count == 1 else f"input_{index}") if _MADE_UP.fullmatch(tensor.name) else plain_name(tensor.name)
        for index, tensor in enumerate(tensors)
    ]


__all__ = ["KerasSource", "framework", "install", "open", "packages", "recognises"]
