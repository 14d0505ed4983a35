"""From a TensorFlow graph to an ONNX graph, through tf2onnx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx

from onnxviz.errors import ConversionError
from onnxviz_converters.keras_layers import one_line, quiet
from onnxviz_converters.keras_operations import PADS

# What `keras_operations.numbered_scopes` adds to a scope, and TensorFlow when it is entered again.
NUMBERED = re.compile(r"\.L(\d+)(?:_\d+)?$")


def layer_scope(name: str) -> str:
    """`block1/conv1` of a node name `model_1/block1.L3_1/conv1.L5_1/convolution`."""
    return "/".join(re.sub(r"_\d+$", "", NUMBERED.sub("", part)) for part in name.split("/")[1:-1])


def converted(definition: Any, inputs: list[str], outputs: list[str], opset: int, label: str) -> onnx.ModelProto:
    """A TensorFlow graph as an ONNX graph.

    tf2onnx' own entry points freeze the function first, and its optimiser copies the whole graph before each of its
    passes to be able to undo it. Both are left out: there is nothing to freeze, and
    `onnxviz.passes.fold_weights` does the rest.

    Args:
        definition: the `GraphDef`.
        inputs: names of the tensors that are fed.
        outputs: names of the tensors wanted.
        opset: version of ONNX' own operators.
        label: how messages call the model.

    Raises:
        ConversionError: an operation that ONNX or tf2onnx lacks; names the layer and the operation.
    """
    import tensorflow as tf
    import tf2onnx

    newest = max(tf2onnx.constants.OPSET_TO_IR_VERSION)
    if opset > newest:
        raise ConversionError(f"tf2onnx {tf2onnx.__version__} writes opsets up to {newest}, not {opset}")
    with quiet():
        try:
            definition = inlined(definition, inputs, outputs)
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(definition, name="")
            with _recurrence_as_loops():
                converted_graph = tf2onnx.tfonnx.process_tf_graph(
                    graph, opset=opset, input_names=inputs, output_names=outputs, custom_op_handlers=_HANDLERS
                )
            proto: onnx.ModelProto = converted_graph.make_model("onnxviz")
        except Exception as error:
            failed = _failed_node(error)
            kinds = {node.name: node.op for node in definition.node}
            where = f" {kinds.get(failed, failed)} in {layer_scope(failed) or failed} of" if failed else ""
            raise ConversionError(f"tf2onnx cannot convert{where} {label}: {one_line(error)}") from None
    used = {node.domain for node in proto.graph.node} | {""}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    proto.graph.doc_string = ""
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    for node in proto.graph.node:
        if not node.domain and node.op_type not in known:
            raise ConversionError(
                f"{label} uses {node.op_type} (in {layer_scope(node.name) or node.name}), "
                "which ONNX has no operator for and tf2onnx cannot express"
            )
    return proto


def inlined(definition: Any, inputs: list[str], outputs: list[str]) -> Any:
    """The `GraphDef` with the functions that it calls in their calls' place, those meant for the XLA compiler too."""
    import tensorflow as tf
    import tf2onnx

    if not any("PartitionedCall" in node.op for node in definition.node):
        return definition
    plain = tf.compat.v1.GraphDef()
    plain.CopyFrom(definition)
    for one in (*plain.node, *plain.library.function):
        for mark in ("_XlaMustCompile", "_noinline"):
            one.attr.pop(mark, None)
    with tf.Graph().as_default():  # tf2onnx is of TensorFlow 1, where there always is one
        return tf2onnx.tf_loader.tf_optimize(inputs, outputs, plain)


@contextmanager
def _recurrence_as_loops() -> Iterator[None]:
    """Keeps tf2onnx from making LSTM operators, for which it reads the weights, which are not there: a Loop it is."""
    from tf2onnx import tfonnx

    original = getattr(tfonnx, "rewriter_lstm_tf2", None)
    if original is None:
        yield
        return
    try:
        tfonnx.rewriter_lstm_tf2 = lambda graph, nodes: nodes
        yield
    finally:
        tfonnx.rewriter_lstm_tf2 = original


def _failed_node(error: BaseException) -> str:
    """The name of the node at which tf2onnx failed, "" where its traceback does not tell."""
    trace = error.__traceback__
    inside = False
    while trace is not None:
        frame = trace.tb_frame
        name = getattr(frame.f_locals.get("node"), "name", None)
        if inside and name:
            return str(name)
        inside = inside or frame.f_code.co_name == "tensorflow_onnx_mapping"
        trace = trace.tb_next
    return ""


def _differing_from_one(context: Any, node: Any, name: str, args: Any) -> Any:
    """Two operations that tf2onnx does not know.

    Erfc, of TensorFlow's exact GELU: erfc(x) = 1 − erf(x). Expm1, of Keras' CELU: expm1(x) = exp(x) − 1.
    """
    operator = {"Erfc": "Erf", "Expm1": "Exp"}[node.type]
    dtype = context.get_dtype(node.output[0])
    shapes, dtypes = node.output_shapes, node.output_dtypes
    outputs, inputs = list(node.output), list(node.input)
    context.remove_node(node.name)
    inner = context.make_node(operator, inputs, shapes=shapes, dtypes=dtypes, name=f"{name}/{operator}").output[0]
    one = context.make_const(f"{name}/one", np.array(1, onnx.helper.tensor_dtype_to_np_dtype(dtype))).output[0]
    operands = [one, inner] if operator == "Erf" else [inner, one]
    return context.make_node("Sub", operands, outputs=outputs, shapes=shapes, dtypes=dtypes, name=name)


def _transposed_convolution(context: Any, node: Any, name: str, args: Any) -> None:
    """A transposed convolution, padded as `exportable_operations` has noted, whatever the size of its input is."""
    from tf2onnx.onnx_opset import nn

    spatial = 3 if node.type == "Conv3DBackpropInputV2" else 2
    note = node.attr.pop(PADS, None)
    pads = list(note.ints) if note is not None else _pads_by_size(context, node, spatial)
    if pads is None:
        nn.ConvTranspose.version_11(context, node)
        return
    node.type = "ConvTranspose"
    nn.conv_kernel_shape(context, node, 1, spatial=spatial)
    node.set_attr("auto_pad", "NOTSET")
    node.set_attr("pads", pads[: 2 * spatial])
    if any(extra := pads[2 * spatial :]):
        node.set_attr("output_padding", extra)
    nn.conv_dims_attr(node, "strides", spatial=spatial)
    nn.conv_dims_attr(node, "dilations", spatial=spatial)
    _, kernel, data, *bias = node.input
    context.replace_inputs(node, [data, kernel, *bias])
    nn.conv_convert_inputs(context, node, with_kernel=True, spatial=spatial, quantization_axis=1)


def _bias(context: Any, node: Any, name: str, args: Any) -> None:
    """A vector added to each channel. tf2onnx puts one beside channels on axis 1 only where it is a constant."""
    layout = node.attr.get("data_format")
    rank = len(context.get_shape(node.input[0]) or ())
    if layout is not None and layout.s.startswith(b"NC") and rank > 2:
        shape = context.make_const(f"{name}/shape", np.array([-1, *[1] * (rank - 2)], np.int64)).output[0]
        column = context.make_node("Reshape", [node.input[1], shape], name=f"{name}/column").output[0]
        context.replace_input(node, node.input[1], column, 1)
    node.type = "Add"


def _pads_by_size(context: Any, node: Any, spatial: int) -> list[int] | None:
    """What a transposed convolution cuts off and adds, from the sizes of its input and output; None if one is open."""
    if node.get_attr_str("data_format") not in ("NHWC", "NDHWC"):
        return None
    before, after = (context.get_shape(name) for name in (node.input[2], node.output[0]))
    kernel = context.get_shape(node.input[1])
    if not before or not after or min(*before[1:], *after[1:]) < 0:
        return None
    steps, dilations = (list(node.get_attr(name).ints)[1:-1] for name in ("strides", "dilations"))
    growth = [
        after[axis + 1] - (before[axis + 1] - 1) * steps[axis] - (kernel[axis] - 1) * dilations[axis] - 1
        for axis in range(spatial)
    ]
    cut = [max(-one, 0) for one in growth]
    return [*(one // 2 for one in cut), *(one - one // 2 for one in cut), *(max(one, 0) for one in growth)]


_HANDLERS: dict[str, tuple[Any, list[Any]]] = {
    "Erfc": (_differing_from_one, []),
    "Expm1": (_differing_from_one, []),
    "BiasAdd": (_bias, []),
    "BiasAddV1": (_bias, []),
    "Conv2DBackpropInput": (_transposed_convolution, []),
    "Conv3DBackpropInputV2": (_transposed_convolution, []),
}
