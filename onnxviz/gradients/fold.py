"""What depends on constants and known shapes only, worked out: shape arithmetic, small constants, decided branches.

Exporters leave chains such as Shape → Gather → Div → Concat → Reshape in the graph. Once the input's sizes are known
they are constants, and rules can read them. Weights are never touched: only small tensors are worked out.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxviz.errors import OnnxvizError
from onnxviz.graph import unused
from onnxviz.inline import rename
from onnxviz.operators import Family, belongs
from onnxviz.runtime import RunOptions, Session
from onnxviz.scopes import Scope, node_attributes, outer_reads, plain_domain, reads, set_nodes, subgraphs
from onnxviz.shapes import Shapes
from onnxviz.symbols import Dim
from onnxviz.weights import Array, Constants, TensorFile

# Elements of a tensor that is worked out.
SMALL = 4096
# Axes of a tensor whose shape may be listed by another.
MAX_AXES = 16


def fold(
    model: onnx.ModelProto, shapes: Shapes, file: TensorFile, folder: Path, read: dict[str, Array | None]
) -> tuple[bool, dict[str, tuple[Dim, ...]]]:
    """Replaces, in place, what is constant and small by its value, and an If whose condition is constant by its branch.

    Args:
        model: nodes in topological order; the main graph is changed.
        shapes: of `model` as it is.
        file: reads constants.
        folder: where the model's external data lie.
        read: constants read at an earlier turn, by name, None for large ones; more are put in.

    Returns:
        Whether anything was replaced; what stands behind may then be known too. And short vectors of integers by name,
        such as list a shape; open sizes in them are names or None.
    """
    folding = _Folding(model, shapes, file, read)
    folding.read()
    folding.run(folder)
    changed = folding.replace() | _decide(model.graph, folding.known)
    return changed, folding.vectors


class _Folding:
    """One pass over a graph.

    Attributes:
        known: the values of small constants, those that are stored and those found.
        stored: the names of the former.
        sizes: shapes and parts of shapes of which some sizes are open.
        waiting: nodes that have only small constants as inputs.
    """

    def __init__(self, model: onnx.ModelProto, shapes: Shapes, file: TensorFile, read: dict[str, Array | None]) -> None:
        self.model = model
        self.graph = model.graph
        self.shapes = shapes
        self.known = _small_constants(self.graph, file, read)
        self.stored = frozenset(self.known)
        self.sizes: dict[str, list[Dim]] = {}
        self.waiting: list[NodeProto] = []
        self.ready: set[str] = set()

    def read(self) -> None:
        """Finds what can be worked out, in graph order."""
        for node in self.graph.node:
            if plain_domain(node.domain) or not node.output or node.output[0] in self.known:
                continue
            kind = self.shapes.element_type(node.output[0]) or TensorProto.INT64
            picked = self.picked(node) if kind in (TensorProto.INT64, TensorProto.INT32) else None
            if picked is not None and all(isinstance(dim, int) for dim in picked):
                scalar = node.op_type == "Size" or self.shapes.of(node.output[0]) == ()
                dtype = np.int64 if kind == TensorProto.INT64 else np.int32  # TensorFlow computes sizes in int32
                self.known[node.output[0]] = np.asarray(picked, dtype).reshape(() if scalar else -1)
            elif picked is not None:
                self.sizes[node.output[0]] = picked
            elif self.can_run(node):
                self.waiting.append(node)
                self.ready.update(name for name in node.output if name)

    @property
    def vectors(self) -> dict[str, tuple[Dim, ...]]:
        """What may list a shape: known integers, and sizes some of which are open."""
        found: dict[str, tuple[Dim, ...]] = {name: tuple(sizes) for name, sizes in self.sizes.items()}
        for name, value in self.known.items():
            if value.ndim == 1 and value.size <= MAX_AXES and value.dtype == np.int64:
                found[name] = tuple(int(size) for size in value)
        return found

    def picked(self, node: NodeProto) -> list[Dim] | None:
        """The sizes that a node asks for, or picks out of such; None if it does not."""
        attributes = node_attributes(node)
        if belongs(node, Family.MEASURING):
            dims = self.shapes.of(node.input[0])
            if dims is None:
                return None
            if node.op_type == "Shape":
                start, end = (attributes[key].i if key in attributes else None for key in ("start", "end"))
                return list(dims[start:end])
            sizes = [dim for dim in dims if isinstance(dim, int)]
            return [math.prod(sizes)] if len(sizes) == len(dims) else None
        if node.op_type == "Concat":
            return self.joined(node)
        source = self.sizes.get(node.input[0]) if node.input else None
        if source is not None and belongs(node, Family.IDENTITY | Family.UNIT_AXES):
            return source
        operands = [self.known.get(name) for name in node.input[1:]]
        if source is None or any(operand is None for operand in operands):
            return None
        values = [[int(v) for v in operand.reshape(-1)] for operand in operands if operand is not None]
        if node.op_type == "Gather":
            return [source[index] for index in values[0] if -len(source) <= index < len(source)]
        if node.op_type == "Slice" and all(len(value) == 1 for value in values):
            step = values[3][0] if len(values) > 3 else 1
            return source[values[0][0] : values[1][0]] if step == 1 else None
        return None

    def joined(self, node: NodeProto) -> list[Dim] | None:
        """Sizes listed one behind the other, None if they are not sizes or all are known."""
        if not any(name in self.sizes for name in node.input):
            return None
        listed: list[Dim] = []
        for name in node.input:
            if name in self.sizes:
                listed += self.sizes[name]
            elif name in self.known and self.known[name].ndim == 1:
                listed += [int(value) for value in self.known[name]]
            else:
                return None
        return listed

    def can_run(self, node: NodeProto) -> bool:
        """Whether the node depends on small constants only and gives small ones."""
        if belongs(node, Family.RANDOM) or node.op_type == "Constant" or any(True for _ in subgraphs(node)):
            return False
        if not all(name in self.known or name in self.ready for name in node.input if name):
            return False
        for name in node.output:
            dims = self.shapes.of(name) if name else ()
            sizes = [dim for dim in dims or () if isinstance(dim, int)]
            if dims is None or len(sizes) < len(dims):
                # Worked out only where the size is known.
                if belongs(node, Family.GROWING):
                    return False
            elif math.prod(sizes) > SMALL:
                return False
        return True

    def run(self, folder: Path) -> None:
        """Works out the waiting nodes, all in one session."""
        outputs = [name for node in self.waiting for name in node.output if name]
        if not outputs:
            return
        proto = onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import)
        proto.graph.name = "constants"
        proto.graph.node.extend(self.waiting)
        used = {name for node in self.waiting for name in node.input}
        for name in used & self.known.keys():
            proto.graph.initializer.append(numpy_helper.from_array(self.known[name], name))
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        try:
            values = Session(proto, folder, "the constants", RunOptions(threads=1), optimize=False).run(outputs, {})
        except OnnxvizError:
            return  # they stay nodes; whoever runs the model hears of it
        self.known.update(zip(outputs, values, strict=True))

    def replace(self) -> bool:
        """Puts values in the place of the nodes that made them; says whether there were any."""
        found = self.known.keys() - self.stored
        kept = [n for n in self.graph.node if not any(n.output) or any(o and o not in found for o in n.output)]
        if len(kept) == len(self.graph.node):
            return False
        read = {name for node in kept for name in reads(node)} | {value.name for value in self.graph.output}
        gone = found - {name for node in kept for name in node.output}
        for name in sorted(gone & read):
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(self.known[name]), name))
        set_nodes(self.graph, kept)
        return True


def _small_constants(graph: GraphProto, file: TensorFile, read: dict[str, Array | None]) -> dict[str, Array]:
    """Values of small initializers and Constant nodes; those in `read` are not read again."""
    scope = Scope(graph)
    constants = Constants(file)
    names = [tensor.name for tensor in graph.initializer if math.prod(tensor.dims) <= SMALL]
    names += [node.output[0] for node in graph.node if node.op_type == "Constant" and node.output]
    for name in names:
        if name not in read:
            constant = constants.find(scope, name)
            small = constant is not None and math.prod(constant.shape) <= SMALL and constant.array.dtype.isbuiltin == 1
            read[name] = constant.array if constant is not None and small else None
    return {name: array for name in names if (array := read[name]) is not None}


def _decide(graph: GraphProto, known: dict[str, Array]) -> bool:
    """Replaces each If whose condition is known by the nodes of its branch."""
    nodes: list[NodeProto] = []
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    for index, node in enumerate(graph.node):
        condition = known.get(node.input[0]) if node.op_type == "If" and not plain_domain(node.domain) else None
        if condition is None or condition.size != 1:
            nodes.append(node)
            continue
        wanted = "then_branch" if bool(condition.reshape(())) else "else_branch"
        branch = next(inner for name, inner in subgraphs(node) if name == wanted)
        label = unused(f"{node.name or f'If_{index}'}/{wanted}", taken)
        names = {name: name for name in outer_reads(branch)}

        def inside(name: str, names: dict[str, str] = names, label: str = label) -> str:
            return names.setdefault(name, f"{label}/{name}")

        for tensor in branch.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = inside(tensor.name)
            graph.initializer.append(copy)
        for inner in branch.node:
            copied = NodeProto()
            copied.CopyFrom(inner)
            rename(copied, names, label, {})
            nodes.append(copied)
        for value, output in zip(branch.output, node.output, strict=False):
            if output:
                nodes.append(helper.make_node("Identity", [inside(value.name)], [output], name=f"{label}/{output}"))
    changed = len(nodes) != len(graph.node) or any(a is not b for a, b in zip(nodes, graph.node, strict=True))
    if changed:
        set_nodes(graph, nodes)
    return changed
