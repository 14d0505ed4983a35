"""Symbolic sizes: names of open axes, carried to where onnx's shape inference loses them.

onnx's inference knows no arithmetic on names: behind the first convolution of a model of open height, the height is
unknown, even where the convolution keeps it. Here a name goes on through operators that keep a size; one that
changes it ends the name.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import GraphProto, NodeProto

from onnxviz.model.graph.operators import KEEPS_SHAPE, Family, belongs
from onnxviz.model.graph.scopes import node_attributes
from onnxviz.model.graph.windows import Window, kernel_of

Dim = int | str | None
Dims = tuple[Dim, ...]
_WINDOWS = Family.CONVOLUTION | Family.POOLING


def carry_names(graph: GraphProto, known: Callable[[str], Dims | None]) -> dict[str, Dims]:
    """Shapes that are better known than `known` says.

    Args:
        graph: nodes in topological order.
        known: the shape of a tensor, None if not even its rank is known.

    Returns:
        By tensor, shapes in which a None became a name.
    """
    better: dict[str, Dims] = {}

    def of(tensor: str) -> Dims | None:
        return better.get(tensor) or known(tensor)

    for node in graph.node:
        if not node.output or not node.output[0]:
            continue
        shape = known(node.output[0])
        if shape is None or None not in shape:
            continue
        inputs = [of(name) for name in node.input if name]
        named = tuple(
            _name(node, axis, len(shape), inputs, of) if dim is None else dim for axis, dim in enumerate(shape)
        )
        if named != shape:
            better[node.output[0]] = named
    return better


def _name(
    node: NodeProto, axis: int, rank: int, inputs: list[Dims | None], of: Callable[[str], Dims | None]
) -> str | None:
    """The name of the node's output size along `axis`, None if it cannot be told."""
    first = inputs[0] if inputs else None
    if belongs(node, KEEPS_SHAPE) or (belongs(node, _WINDOWS) and _keeps(node, axis, of)):
        sources = [first]
    elif belongs(node, Family.BROADCASTING) or node.op_type == "Concat":
        attributes = node_attributes(node)
        if node.op_type == "Concat" and attributes["axis"].i % rank == axis:
            return None
        sources = inputs
    else:
        return None
    # Where sizes must agree, one name tells them all; two names would be a contradiction, and tell nothing.
    names = {shape[axis] for shape in sources if shape is not None and len(shape) == rank}
    found = {name for name in names if isinstance(name, str)}
    return found.pop() if len(found) == 1 else None


def _keeps(node: NodeProto, axis: int, of: Callable[[str], Dims | None]) -> bool:
    """Whether a convolution or pooling keeps the size along `axis` whatever it is."""
    kernel = kernel_of(node, of) or ()
    # Where the stride is 1, SAME pads by the kernel alone; any size tells whether the padding keeps it.
    window = Window.of(node, kernel, [1] * len(kernel))
    return window is not None and 0 <= axis - 2 < len(kernel) and window.keeps_size(axis - 2)
