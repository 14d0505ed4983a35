"""Where onnx's shape inference is silent or disagrees with onnxruntime, put right before anything is built on it."""

from __future__ import annotations

from onnx import GraphProto, NodeProto, helper

from onnxviz.scopes import node_attributes, plain_domain
from onnxviz.shapes import Shapes
from onnxviz.symbols import Dim

# Operators that keep shape and type, and whose shape onnx's inference does not know.
_UNINFERRED = frozenset({"GroupNormalization", "MeanVarianceNormalization"})
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})


def correct(graph: GraphProto, shapes: Shapes) -> bool:
    """Corrects `graph` in place; says whether anything was changed, so that shapes must be inferred anew."""
    changed = False
    for node in graph.node:
        if plain_domain(node.domain) or not node.output:
            continue
        if node.op_type in _UNINFERRED:
            changed |= _declare(graph, node, shapes)
        elif node.op_type in _POOLS:
            changed |= _settle_ceil(node, shapes)
    return changed


def _declare(graph: GraphProto, node: NodeProto, shapes: Shapes) -> bool:
    """Declares the shape of what the node makes, so that inference goes on behind it."""
    dims, kind = shapes.of(node.input[0]), shapes.element_type(node.input[0])
    if dims is None or shapes.of(node.output[0]) is not None:
        return False
    value = helper.make_tensor_value_info(node.output[0], kind, dims)
    output = next((one for one in graph.output if one.name == value.name), None)
    (graph.value_info.add() if output is None else output).CopyFrom(value)
    return True


def _settle_ceil(node: NodeProto, shapes: Shapes) -> bool:
    """Replaces ceil_mode by pads where a last window would begin in the padding behind.

    ONNX ignores such a window, and so does onnxruntime, but onnx's shape inference counts it. Where another axis has
    a last window that hangs over, its end is padded that far instead.
    """
    attributes = node_attributes(node)
    if "ceil_mode" not in attributes or not attributes["ceil_mode"].i or "kernel_shape" not in attributes:
        return False
    kernel = list(attributes["kernel_shape"].ints)
    rank = len(kernel)

    def given(key: str, default: int) -> list[int]:
        return list(attributes[key].ints) if key in attributes else [default] * rank

    dims: tuple[Dim, ...] = shapes.of(node.input[0]) or ()
    sizes = [dim for dim in dims[2:] if isinstance(dim, int)]
    pads = list(attributes["pads"].ints) if "pads" in attributes else [0] * (2 * rank)
    if len(sizes) != rank or len(pads) != 2 * rank or attributes.get("auto_pad", _NOTSET).s not in (b"NOTSET", b""):
        return False
    surplus = False
    ends = []
    rows = zip(sizes, kernel, given("strides", 1), given("dilations", 1), pads[:rank], pads[rank:], strict=True)
    for size, taps, stride, dilation, begin, end in rows:
        extent = (taps - 1) * dilation + 1
        last = -(-(size + begin + end - extent) // stride) * stride  # where the last window begins
        if last >= size + begin:
            surplus = True
            ends.append(end)
        else:
            ends.append(max(end, last + extent - size - begin))
    if not surplus or ("count_include_pad" in attributes and attributes["count_include_pad"].i and ends != pads[rank:]):
        return False
    attributes["ceil_mode"].i = 0
    if ends != pads[rank:]:
        if "pads" not in attributes:
            node.attribute.append(helper.make_attribute("pads", pads))
            attributes = node_attributes(node)
        attributes["pads"].ints[rank:] = ends
    return True


_NOTSET = helper.make_attribute("auto_pad", "NOTSET")
