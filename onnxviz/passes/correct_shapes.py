"""Corrections of inferred shapes, where onnx is silent or disagrees with onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping

from onnx import GraphProto, NodeProto, helper

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import node_attributes, plain_domain
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.graph.windows import Window, auto_pad


def correct(graph: GraphProto, shapes: Shapes, vectors: Mapping[str, tuple[Dim, ...]]) -> bool:
    """Corrects `graph` in place; says whether anything was changed, so that shapes must be inferred anew.

    Args:
        graph: nodes in topological order.
        shapes: as inferred.
        vectors: short vectors of integers; sizes that are open are names or None.
    """
    changed = False
    for node in graph.node:
        if plain_domain(node.domain) or not node.output:
            continue
        if belongs(node, Family.NORMALISATION):
            changed |= _declare(graph, node, shapes, shapes.of(node.input[0]))
        elif node.op_type == "Resize" and len(node.input) > 3 and "axes" not in node_attributes(node):
            changed |= _declare(graph, node, shapes, vectors.get(node.input[3]))
        elif node.op_type == "Reshape" and len(node.input) > 1:
            changed |= _declare(graph, node, shapes, _reshaped(node, shapes, vectors.get(node.input[1])))
        elif belongs(node, Family.POOLING):
            changed |= _settle_ceil(node, shapes)
        elif node.op_type == "CastLike":
            changed |= _settle_type(node, shapes)
    return changed


def _settle_type(node: NodeProto, shapes: Shapes) -> bool:
    """CastLike reads a type only, no values: where the type is known, it is a Cast, which depends on its data alone."""
    kind = shapes.element_type(node.input[1])
    if not kind:
        return False
    del node.input[1:]
    del node.attribute[:]
    node.op_type = "Cast"
    node.attribute.append(helper.make_attribute("to", kind))
    return True


def _declare(graph: GraphProto, node: NodeProto, shapes: Shapes, dims: tuple[Dim, ...] | None) -> bool:
    """Declares the shape of what the node makes, in the type of its first input, so that inference goes on behind."""
    kind, known = shapes.element_type(node.input[0]), shapes.of(node.output[0])
    if dims is None or not kind or (known is not None and known.count(None) <= dims.count(None)):
        return False
    value = helper.make_tensor_value_info(node.output[0], kind, dims)
    output = next((one for one in graph.output if one.name == value.name), None)
    (graph.value_info.add() if output is None else output).CopyFrom(value)
    return True


def _reshaped(node: NodeProto, shapes: Shapes, wanted: tuple[Dim, ...] | None) -> tuple[Dim, ...] | None:
    """The shape that a Reshape makes where a size is open: what is left for −1 is found by cancelling names."""
    dims = shapes.of(node.input[0])
    attributes = node_attributes(node)
    if dims is None or wanted is None or None in dims or ("allowzero" in attributes and attributes["allowzero"].i):
        return None
    if any(size == 0 and axis >= len(dims) for axis, size in enumerate(wanted)):
        return None
    made = [dims[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if made.count(-1) != 1 or None in made:
        return None
    names = [dim for dim in dims if isinstance(dim, str)]
    for dim in made:
        if isinstance(dim, str):
            if dim not in names:
                return None
            names.remove(dim)
    all_, taken = (math.prod(d for d in side if isinstance(d, int) and d != -1) for side in (dims, made))
    if not taken or all_ % taken:
        return None
    rest: Dim = all_ // taken
    if names:
        rest = names[0] if len(names) == 1 and rest == 1 else None
    made[made.index(-1)] = rest
    return tuple(made)


def _settle_ceil(node: NodeProto, shapes: Shapes) -> bool:
    """Replaces ceil_mode by pads where a last window would begin in the padding behind.

    ONNX ignores such a window, and so does onnxruntime, but onnx's shape inference counts it. Where another axis has
    a last window that hangs over, its end is padded that far instead; `has_surplus` tells where that cannot be done.
    """
    dims: tuple[Dim, ...] = shapes.of(node.input[0]) or ()
    found = _last_windows(node, dims)
    if found is None or not found[0]:
        return False
    _, pads, ends = found
    rank = len(ends)
    attributes = node_attributes(node)
    counted = "count_include_pad" in attributes and attributes["count_include_pad"].i
    kernel = attributes["kernel_shape"].ints
    # A longer pad would be counted; and onnxruntime takes none as long as the kernel.
    if ends != pads[rank:] and (counted or any(end >= k for end, k in zip(ends, kernel, strict=True))):
        return False
    attributes["ceil_mode"].i = 0
    if "pads" not in attributes:
        node.attribute.append(helper.make_attribute("pads", pads))
        attributes = node_attributes(node)
    attributes["pads"].ints[rank:] = ends
    return True


def has_surplus(node: NodeProto, dims: tuple[Dim, ...]) -> bool:
    """Whether shape inference counts a window of a pooling, whose input has the shape `dims`, that is ignored."""
    found = _last_windows(node, dims)
    return found is not None and found[0]


def _last_windows(node: NodeProto, dims: tuple[Dim, ...]) -> tuple[bool, list[int], list[int]] | None:
    """For a pooling with ceil_mode: whether any axis has a window too many, the pads, and end pads that hold the rest.

    None where there is no ceil_mode or sizes are open.
    """
    attributes = node_attributes(node)
    if "ceil_mode" not in attributes or not attributes["ceil_mode"].i or "kernel_shape" not in attributes:
        return None
    rank = len(attributes["kernel_shape"].ints)
    sizes = [dim for dim in dims[2:] if isinstance(dim, int)]
    window = Window.of(node, attributes["kernel_shape"].ints) if auto_pad(node) == "NOTSET" else None
    if len(sizes) != rank or window is None:
        return None
    surplus, ends = False, []
    rows = zip(sizes, window.extents, window.strides, window.begin, window.end, strict=True)
    for size, extent, stride, begin, end in rows:
        last = -(-(size + begin + end - extent) // stride) * stride  # where the last window begins
        beyond = last >= size + begin
        surplus |= beyond
        ends.append(end if beyond else max(end, last + extent - size - begin))
    return surplus, window.pads, ends
