"""TensorFlow SavedModel folders: a program with its variables, without Keras' layers.

The signature is frozen, its variables are put outside again, and the convolutions are found by the operations that
read them. A SavedModel is a program that may read and write files, so that loading it needs permission.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.conversion.converter import InputShape, Observed, SourceInput, SourceLayer, SourceModel, Traced
from onnxviz.errors import CodeExecution, ConversionError
from onnxviz.messages import option
from onnxviz_converters import keras_graph, tensorflow_graph, tensorflow_kernels
from onnxviz_converters.keras_layers import TEXT, depthwise_order, kernel_order, one_line, quiet, transposed_order

_ORDERS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "Conv2D": kernel_order,
    "Conv3D": kernel_order,
    "DepthwiseConv2dNative": depthwise_order,
    "Conv2DBackpropInput": transposed_order,
    "Conv3DBackpropInputV2": transposed_order,
}
# Operations between a variable and the convolution that reads it; Cast is that of mixed precision.
_PASSING = ("Identity", "ReadVariableOp", "ExpandDims", "Squeeze", "Reshape", "Cast")
_SIGNATURES = ("serving_default", "serve")


class SavedModelSource(SourceModel):
    """The default signature of a SavedModel."""

    framework = "TensorFlow"

    def __init__(
        self, folder: Path, input_shapes: Mapping[str, InputShape] | None, allow_code_execution: bool = False
    ) -> None:
        if not allow_code_execution:
            raise CodeExecution(
                f"{folder} is a SavedModel, a program that loading would run: if you trust it, add "
                f"{option('allow_code_execution', python='True')}"
            )
        import tensorflow as tf

        self.folder = folder
        self.notes = []
        self.preprocessing = None
        self.versions = {"tensorflow": keras_graph.tensorflow_version(), "tf2onnx": version("tf2onnx")}
        try:
            with quiet():
                self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:
            raise ConversionError(f"{folder} cannot be loaded by TensorFlow: {one_line(error)}") from None
        signatures = self._loaded.signatures
        name = next((one for one in _SIGNATURES if one in signatures), next(iter(signatures), None))
        if name is None:
            raise ConversionError(f"{folder} has no signature: save the model with one (model.export)")
        self._function = signatures[name]
        self._argument_names = list(self._function.structured_input_signature[1])
        self.inputs = self._declared(input_shapes or {})
        self._freeze()
        self.layers = self._convolutions()

    def _declared(self, given: Mapping[str, InputShape]) -> tuple[SourceInput, ...]:
        specs = self._function.structured_input_signature[1]
        inputs = []
        for name, spec in specs.items():
            if spec.shape.rank is None:
                raise ConversionError(f"input '{name}' of {self.folder} has no declared rank")
            plain = (
                "input" if re.fullmatch(r"(args|keras_tensor|input|inputs)(_\d+)?", name) and len(specs) == 1 else name
            )
            shape = list(spec.shape)
            asked = given.get(plain, given.get("") if len(specs) == 1 else None)
            if asked is not None:
                if len(asked) != len(shape):
                    raise ConversionError(f"input '{plain}' of {self.folder} has {len(shape)} axes, not {len(asked)}")
                shape[1:] = [a if a is not None else b for a, b in zip(asked[1:], shape[1:], strict=True)]
            if spec.dtype.name == "string":
                raise ConversionError(TEXT.format(name=plain, model=self.folder))
            inputs.append(SourceInput(plain, tuple(shape), spec.dtype.name))
        return tuple(inputs)

    def _freeze(self) -> None:
        """Makes the signature one flat graph, and notes which of its constants are variables."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        try:
            with quiet():
                self._frozen = convert_variables_to_constants_v2(self._function, lower_control_flow=False)
        except Exception as error:
            raise ConversionError(f"{self.folder} cannot be frozen: {one_line(error)}") from None
        handles = {id(variable.handle): variable for variable in self._function.variables}
        self._variables: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        for tensor, placeholder in self._function.graph.captures:
            variable = handles.get(id(tensor))
            if variable is None:
                continue
            name = re.sub(r":\d+$", "", variable.name)
            while name in self._variables:
                name += "_"
            self._variables[name] = variable
            self._names[placeholder.name.rpartition(":")[0]] = name
        self._definition = self._with_variables_outside()
        self._nodes = {node.name: node for node in self._definition.node}

    def _with_variables_outside(self) -> Any:
        """The frozen graph with placeholders for its variables again."""
        import tensorflow as tf

        definition = self._frozen.graph.as_graph_def()
        for node in definition.node:
            if node.name in self._names and node.op == "Const":
                shape = tf.TensorShape(node.attr["value"].tensor.tensor_shape).as_proto()
                dtype = node.attr["dtype"].type
                node.op = "Placeholder"
                node.attr.clear()
                node.attr["dtype"].type = dtype
                node.attr["shape"].shape.CopyFrom(shape)
        ends = ([one.name for one in tensors] for tensors in (self._frozen.inputs, self._frozen.outputs))
        with quiet():
            return tensorflow_graph.inlined(definition, *ends)

    def _kernel_of(self, node: Any) -> str | None:
        """The variable behind the kernel of a convolution."""
        name = node.input[1]
        for _ in range(8):
            name = name.split(":")[0].lstrip("^")
            if name in self._names:
                return self._names[name]
            maker = self._nodes.get(name)
            if maker is None or maker.op not in _PASSING:
                return None
            name = maker.input[0]
        return None

    def _convolutions(self) -> tuple[SourceLayer, ...]:
        readers: dict[str, list[Any]] = {}
        for node in self._definition.node:
            for name in node.input:
                readers.setdefault(name.split(":")[0], []).append(node)
        layers: dict[str, SourceLayer] = {}
        self._fetches: dict[str, list[str]] = {}
        self._channels_first: set[str] = set()
        for node in self._definition.node:
            order = _ORDERS.get(node.op)
            kernel = self._kernel_of(node) if order is not None else None
            if order is None or kernel is None:
                continue
            path = kernel.rpartition("/")[0] or kernel
            if kernel.endswith(("depthwise_kernel", "pointwise_kernel")):
                path = f"{path}/{kernel.rpartition('/')[2].removesuffix('_kernel')}"
            # A subclassed model may call every kernel alike.
            stem, count = path, 2
            while path in layers and layers[path].weight != kernel:
                path, count = f"{stem}_{count}", count + 1
            # What Keras calls the convolution's output has its bias in it, and a dilated one's space in its place.
            last = node
            for then in ("BatchToSpaceND", "BiasAdd"):
                following = readers.get(last.name, [])
                if len(following) == 1 and following[0].op == then:
                    last = following[0]
            self._fetches.setdefault(path, []).append(f"{last.name}:0")
            if node.attr["data_format"].s.startswith(b"NC"):
                self._channels_first.add(f"{last.name}:0")
            observed = self._is_observable(last.name, node.op)
            layers.setdefault(
                path, SourceLayer(path, kernel, _reader(self._variables[kernel], order), observed=observed)
            )
        return tuple(layers.values())

    def _is_observable(self, name: str, operation: str) -> bool:
        """Whether the tensor is what the ONNX convolution gives.

        One that was inlined is not in the graph that is run, and a transposed convolution of an open size is cut
        to its size afterwards.
        """
        graph = self._frozen.graph
        if name not in {one.name for one in graph.get_operations()}:
            return False
        shape = graph.get_tensor_by_name(f"{name}:0").shape
        return "Backprop" not in operation or (shape.rank is not None and None not in tuple(shape)[1:])

    def trace(self, opset: int) -> Traced:
        """The frozen graph with its variables outside again; see `SourceModel.trace`."""
        present = {node.name for node in self._definition.node if node.op == "Placeholder"}
        arguments = [tensor.name for tensor in self._frozen.inputs]
        renamed = {tensor.rpartition(":")[0]: one.name for tensor, one in zip(arguments, self.inputs, strict=True)}
        weights = {placeholder: name for placeholder, name in self._names.items() if placeholder in present}
        outputs = [tensor.name for tensor in self._frozen.outputs]
        label = str(self.folder)
        proto = tensorflow_graph.converted(
            self._definition, [*arguments, *(f"{one}:0" for one in weights)], outputs, opset, label
        )
        renamed.update(weights)
        names = list(self._function.structured_outputs)
        names = ["output"] if names == ["output_0"] else names
        paths = [one.rpartition("/")[0] for one in self._variables]
        proto = keras_graph.tidied(proto, renamed, names, self.inputs, paths, self.folder.name)
        values = {name: _value(self._variables[name]) for name in weights.values()}
        return Traced(proto, keras_graph.as_it_is_read(proto, values))

    def run(self, feeds: Mapping[str, NDArray[Any]], observe: Sequence[str] = ()) -> Observed:
        """Runs the signature; observed tensors are fetched from its frozen graph."""
        import tensorflow as tf

        tensors = [tf.constant(feeds[one.name], one.dtype) for one in self.inputs]
        fetches = [name for path in observe for name in self._fetches[path]]
        outputs = [tensor.name for tensor in self._frozen.outputs]
        graph = self._frozen.graph
        pruned = self._frozen.prune(
            [graph.get_tensor_by_name(tensor.name) for tensor in self._frozen.inputs],
            [graph.get_tensor_by_name(name) for name in [*outputs, *fetches]],
        )
        fetched, notes = tensorflow_kernels.run(pruned, *tensors)
        self.notes += [note for note in notes if note not in self.notes]
        values = [np.asarray(value) for value in fetched]
        seen = dict(zip(fetches, values[len(outputs) :], strict=True))
        maps = {path: [self._channels_second(name, seen[name]) for name in self._fetches[path]] for path in observe}
        return Observed(values[: len(outputs)], maps)

    def _channels_second(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """A convolution's output as (N, C, spatial…)."""
        return array if name in self._channels_first else np.moveaxis(array, -1, 1)


def _reader(variable: Any, order: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[], NDArray[Any]]:
    return lambda: order(_value(variable))


def _value(variable: Any) -> NDArray[Any]:
    return np.asarray(variable.numpy())
