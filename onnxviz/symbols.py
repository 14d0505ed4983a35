"""Names of open sizes, carried to where onnx's shape inference loses them.

onnx's inference knows no arithmetic on names: behind the first convolution of a model of open height, the height is
unknown, even where the convolution keeps it. Here a name goes on through operators that keep a size; one that
changes it ends the name.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import GraphProto, NodeProto

from onnxviz.scopes import node_attributes

Dim = int | str | None
Dims = tuple[Dim, ...]

_KEEPS_SHAPE = frozenset(
    "Identity Relu LeakyRelu PRelu Clip Sigmoid Tanh Elu Selu Celu Gelu HardSigmoid HardSwish Softplus Softsign Mish "
    "Softmax LogSoftmax Erf Exp Log Sqrt Neg Abs Reciprocal Cast Dropout BatchNormalization InstanceNormalization "
    "LayerNormalization GroupNormalization LRN QuantizeLinear DequantizeLinear".split()
)
_BROADCASTS = frozenset("Add Sub Mul Div Pow Min Max Sum Where".split())
_WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool", "LpPool", "ConvInteger", "QLinearConv"})


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
    if node.op_type in _KEEPS_SHAPE or (node.op_type in _WINDOWS and _keeps(node, axis, of)):
        sources = [first]
    elif node.op_type in _BROADCASTS or node.op_type == "Concat":
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
    place = axis - 2
    attributes = node_attributes(node)
    if "kernel_shape" in attributes:
        kernel = list(attributes["kernel_shape"].ints)
    else:
        weight = of(node.input[3 if node.op_type == "QLinearConv" else 1]) if len(node.input) > 1 else None
        kernel = [dim for dim in (weight or ())[2:] if isinstance(dim, int)]
    if not 0 <= place < len(kernel):
        return False

    def given(key: str, default: int) -> int:
        return attributes[key].ints[place] if key in attributes else default

    if given("strides", 1) != 1:
        return False
    if "auto_pad" in attributes and attributes["auto_pad"].s.startswith(b"SAME"):
        return True
    pads = list(attributes["pads"].ints) if "pads" in attributes else [0] * (2 * len(kernel))
    total = pads[place] + pads[place + len(kernel)]
    return total == (kernel[place] - 1) * given("dilations", 1)
