"""From a Keras model to an ONNX graph: TensorFlow's trace, tf2onnx, and names that the model's author knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto

from onnxviz.conversion.converter import SourceInput
from onnxviz.errors import ConversionError
from onnxviz.messages import option
from onnxviz.model.graph.names import distinct
from onnxviz.model.naming import INDEX_KEY, LAYER_KEY, source_path
from onnxviz_converters.keras_layers import one_line
from onnxviz_converters.keras_operations import exportable_operations, numbered_scopes
from onnxviz_converters.tensorflow_graph import NUMBERED, converted, layer_scope

# TensorFlow's names of the traced function's arguments; renamed once the graph is ONNX.
_INPUT, _WEIGHT = "onnxviz_input_", "onnxviz_weight_"


def tensorflow_version() -> str:
    """The version of the TensorFlow that is imported, whatever its package is called."""
    import tensorflow as tf

    return str(tf.__version__)


def traced(
    model: Any,
    packed: Callable[[Sequence[Any]], Any],
    inputs: Sequence[SourceInput],
    variables: Mapping[str, Any],
    opset: int,
    layers: Mapping[str, Any],
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """The model as an ONNX graph that reads its variables by name, and the constant tensors it reads beside them.

    Args:
        model: a Keras model on the TensorFlow backend.
        packed: packs a flat list of inputs the way the model takes them.
        inputs: what it is fed.
        variables: its variables by the names they shall have.
        opset: version of ONNX' own operators.
        layers: the model's layers by path.

    Raises:
        ConversionError: the model cannot be traced, or uses an operation that ONNX or tf2onnx lacks.
    """
    import keras
    import tensorflow as tf

    def body(*arguments: Any) -> Any:
        given = list(zip(variables.values(), arguments[len(inputs) :], strict=True))
        with keras.StatelessScope(state_mapping=given):
            result = model(packed(arguments[: len(inputs)]), training=False)
        return [tf.identity(one) for one in keras.tree.flatten(result)]

    signature = [
        *(tf.TensorSpec(one.shape, one.dtype, name=f"{_INPUT}{k}") for k, one in enumerate(inputs)),
        *(tf.TensorSpec(v.shape, v.dtype, name=f"{_WEIGHT}{k}") for k, v in enumerate(variables.values())),
    ]
    try:
        with exportable_operations(), numbered_scopes(list(layers.values())):
            function = tf.function(body, input_signature=signature, autograph=False).get_concrete_function()
    except Exception as error:
        hint = ""
        if any(size is None for one in inputs for size in one.shape[1:]):
            hint = f" (the input's open sizes may be the reason: give them with {option('input_shape')})"
        raise ConversionError(f"{model.name} cannot be traced: {one_line(error)}{hint}") from None
    renamed = {f"{_INPUT}{k}": one.name for k, one in enumerate(inputs)}
    renamed.update({f"{_WEIGHT}{k}": name for k, name in enumerate(variables)})
    strange = [placeholder for tensor, placeholder in function.graph.captures if tensor.dtype == tf.resource]
    if strange:
        where = next((layer_scope(reader.name) for one in strange for reader in one.consumers()), "")
        raise ConversionError(
            f"{model.name} reads a TensorFlow variable or table{f' in {where}' if where else ''} that is no weight of "
            "the model (random numbers drawn without a seed, a vocabulary, a tf.Variable): make it one (add_weight)"
        )
    # Tensors that a layer holds beside its variables, such as the mean of Normalization, are inputs of the trace too.
    constants: dict[str, NDArray[Any]] = {}
    for tensor, placeholder in function.graph.captures:
        name = placeholder.name.rpartition(":")[0]
        renamed[name] = f"{layer_scope(name) or 'constant'}/{name.rpartition('/')[2]}_{len(constants)}"
        constants[renamed[name]] = np.asarray(tensor)
    definition = function.graph.as_graph_def()
    fed = [one.name for one in function.inputs if one.dtype != tf.resource]
    proto = converted(definition, fed, [one.name for one in function.outputs], opset, model.name)
    names = _output_names(model, len(proto.graph.output))
    proto = tidied(proto, renamed, names, inputs, list(layers), model.name)
    _number(proto.graph, model, layers)
    return proto, constants


def _number(graph: onnx.GraphProto, model: Any, layers: Mapping[str, Any]) -> None:
    """Writes its place in `model.layers` into the nodes of each layer that is there; layers inside those have none."""
    places = {id(layer): place for place, layer in enumerate(model.layers)}
    for node in graph.node:
        place = places.get(id(layers.get(source_path(node))))
        if place is not None:
            node.metadata_props.add(key=INDEX_KEY, value=str(place))


def _output_names(model: Any, count: int) -> list[str]:
    """The names of the model's output layers, else `output`, or numbered: `output_0`, `output_1`."""
    names = getattr(model, "output_names", None)
    try:
        structure = model.output
    except (AttributeError, ValueError):  # a Sequential that never ran, a subclassed model
        structure = None
    if isinstance(structure, dict) and len(structure) == count:
        names = sorted(structure)  # the order in which keras.tree flattens a dictionary
    if names and len(names) == count:
        return distinct(str(name) for name in names)
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _sign(node: onnx.NodeProto, owner: str, owners: _Owners) -> None:
    """Writes the owner into the node, and theirs into the nodes of its subgraphs."""
    if owner:
        node.metadata_props.add(key=LAYER_KEY, value=owner)
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for one in inner.node:
                _sign(one, owners.of(one.name), owners)


class _Owners:
    """Which layer a node comes from, by the scopes in its name: `vgg16_1/block1_conv1.L1_1/Relu`."""

    def __init__(self, layers: Sequence[str], model: str) -> None:
        self.paths = list(layers)
        self.layers = set(layers)
        self.model = model

    def of(self, name: str) -> str:
        """The path of the innermost layer, "" where none is named."""
        parts = name.split("/")[:-1]
        for part in reversed(parts):
            if number := NUMBERED.search(part):
                return self.paths[int(number[1])]
        path = ""
        for part in parts:
            # TensorFlow numbers a scope that is entered again: conv, conv_1, conv_2.
            for candidate in (part, re.sub(r"_\d+$", "", part)):
                longer = f"{path}/{candidate}" if path else candidate
                if longer in self.layers:
                    path = longer
                    break
        return path


def tidied(
    proto: onnx.ModelProto,
    renamed: Mapping[str, str],
    output_names: Sequence[str],
    inputs: Sequence[SourceInput],
    layers: Sequence[str],
    model: str,
) -> onnx.ModelProto:
    """The graph with the author's names: inputs, outputs, variables, and on each node the layer it comes from."""
    graph = proto.graph
    graph.name = model
    taken = {one.name for one in inputs}
    names: dict[str, str] = {}
    for value in graph.input:
        plain = value.name.rpartition(":")[0]
        names[value.name] = renamed[plain]
    outputs = [f"{name}_output" if name in taken or name in renamed.values() else name for name in output_names]
    for value, name in zip(graph.output, outputs, strict=True):
        names.setdefault(value.name, name)
    owners = _Owners(layers, model)
    order = {path: place for place, path in enumerate(layers)}
    _sort(graph, [order.get(owners.of(node.name), -1) for node in graph.node])
    labels = []
    for node in graph.node:
        owner = owners.of(node.name)
        _sign(node, owner, owners)
        labels.append(f"{owner}/{node.op_type}" if owner else node.op_type)
    for node, name in zip(graph.node, distinct(labels, reserved=names.values()), strict=True):
        node.name = name
        node.doc_string = ""
        for index, output in enumerate(node.output):
            if output:
                names.setdefault(output, name if index == 0 else f"{name}:{index}")
    _rename(graph, names)
    _declare(graph, inputs)
    return proto


def _sort(graph: onnx.GraphProto, places: Sequence[int]) -> None:
    """Puts the nodes into the order of `places`, each after those whose results it reads.

    Keras runs parallel branches in an order of its own; a reader of the list of layers expects the author's.
    """
    nodes = list(graph.node)
    producers = {name: index for index, node in enumerate(nodes) for name in node.output}
    needed = [{producers[name] for name in _reads(node) if name in producers} for node in nodes]
    readers: dict[int, list[int]] = {}
    for index, makers in enumerate(needed):
        for maker in makers:
            readers.setdefault(maker, []).append(index)
    waiting = [(places[index], index) for index, makers in enumerate(needed) if not makers]
    heapify(waiting)
    order = []
    while waiting:
        _, index = heappop(waiting)
        order.append(index)
        for reader in readers.get(index, []):
            needed[reader].discard(index)
            if not needed[reader]:
                heappush(waiting, (places[reader], reader))
    del graph.node[:]
    graph.node.extend(nodes[index] for index in order)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names of the tensors that the node or its subgraphs read."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for one in inner.node:
                yield from _reads(one)
            yield from (value.name for value in inner.output)


def as_it_is_read(proto: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The weights, in the narrower type in which alone the graph computes with them, whose casts are taken out.

    So it is under a policy of mixed precision: the weights are kept in float32 and read in float16.
    """
    graph = proto.graph
    readers: dict[str, list[onnx.NodeProto]] = {name: [] for name in weights}
    for node in graph.node:
        for name in node.input:
            readers.get(name, []).append(node)
    values = dict(weights)
    renamed: dict[str, str] = {}
    for value in graph.input:
        casts = readers.get(value.name, [])
        types = {attribute.i for node in casts if node.op_type == "Cast" for attribute in node.attribute}
        if len(types) != 1 or any(node.op_type != "Cast" for node in casts):
            continue
        narrow = types.pop()
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(narrow))
        if narrow in (TensorProto.FLOAT16, TensorProto.BFLOAT16) and values[value.name].dtype == np.float32:
            values[value.name] = values[value.name].astype(dtype)
            value.type.tensor_type.elem_type = narrow
            renamed.update({node.output[0]: value.name for node in casts})
    left = [node for node in graph.node if not renamed.keys() & set(node.output)]
    if renamed:
        del graph.node[:]
        graph.node.extend(left)
        _rename(graph, renamed)
    return values


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames tensors everywhere: nodes, subgraphs, inputs, outputs and value infos."""
    for node in graph.node:
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = names.get(name, name)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _rename(inner, names)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


# What open sizes of channels-last inputs are called, by number of axes and axis.
_OPEN = {3: {1: "length"}, 4: {1: "height", 2: "width"}, 5: {1: "depth", 2: "height", 3: "width"}}


def _declare(graph: onnx.GraphProto, inputs: Sequence[SourceInput]) -> None:
    """Gives the inputs' open sizes names that say what they are, and leaves the rest to shape inference."""
    by_name = {one.name: one for one in inputs}
    for value in graph.input:
        if value.name not in by_name:
            continue
        one = by_name[value.name]
        first = one is inputs[0]
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        for axis, size in enumerate(one.shape):
            dim = shape.dim.add()
            if size is not None:
                dim.dim_value = size
            elif axis == 0:
                dim.dim_param = "batch"
            else:
                word = _OPEN.get(len(one.shape), {}).get(axis, f"size_{axis}")
                dim.dim_param = word if first else f"{one.name}_{word}"
    for value in graph.output:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param or not dim.HasField("dim_value") or dim.dim_value < 1:
                dim.Clear()
                if axis == 0 and inputs and inputs[0].shape[:1] == (None,):
                    dim.dim_param = "batch"
    known = [value for value in graph.value_info if _is_certain(value)]
    del graph.value_info[:]
    graph.value_info.extend(known)


def _is_certain(value: ValueInfoProto) -> bool:
    """Whether shape inference would not say it better: tf2onnx calls every open size by another made-up name."""
    tensor = value.type.tensor_type
    return tensor.elem_type != TensorProto.UNDEFINED and all(
        dim.HasField("dim_value") and dim.dim_value > 0 for dim in tensor.shape.dim
    )
