"""Constant folding of what is small: shape arithmetic, small constants, decided branches.

Exporters leave chains such as Shape → Gather → Div → Concat → Reshape in the graph. Once the input's sizes are known
they are constants, and rules can read them. Weights are never touched: only small tensors are worked out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.functions import rename
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.evaluation import evaluated
from onnxviz.model.graph.names import FreshNames, made_in
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, outer_reads, plain_domain, reads, set_nodes, subgraphs
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.graph.tensors import TensorFile
from onnxviz.passes.shape_arithmetic import as_sizes, made_of_sizes, measured

# Elements of a tensor that is worked out.
SMALL = 4096
# Axes of a tensor whose shape may be listed by another.
MAX_AXES = 16


def fold(
    model: onnx.ModelProto, shapes: Shapes, file: TensorFile, read: dict[str, NDArray[Any] | None]
) -> tuple[bool, dict[str, tuple[Dim, ...]]]:
    """Replaces, in place, what is constant and small by its value, and an If whose condition is constant by its branch.

    Args:
        model: nodes in topological order; the main graph is changed.
        shapes: of `model` as it is.
        file: reads constants.
        read: constants read at an earlier turn, by name, None for large ones; more are put in.

    Returns:
        Whether anything was replaced; what stands behind may then be known too. And short vectors of integers by name,
        such as list a shape; open sizes in them are names or None.
    """
    folding = _Folding(model, shapes, file, read)
    folding.read()
    folding.run()
    changed = folding.replace() | _decide(model.graph, folding.known)
    return changed, folding.vectors


class _Folding:
    """One pass over a graph.

    Attributes:
        known: the values of small constants, those that are stored and those found.
        stored: the names of the former.
        sizes: shapes and parts of shapes of which some sizes are open, as objects: ints, names and None.
        waiting: nodes that have only small constants as inputs.
    """

    def __init__(
        self, model: onnx.ModelProto, shapes: Shapes, file: TensorFile, read: dict[str, NDArray[Any] | None]
    ) -> None:
        self.model = model
        self.graph = model.graph
        self.shapes = shapes
        self.known = _small_constants(self.graph, file, read)
        self.stored = frozenset(self.known)
        self.sizes: dict[str, NDArray[Any]] = {}
        self.waiting: list[NodeProto] = []
        self.ready: set[str] = set()

    def read(self) -> None:
        """Finds what can be worked out, in graph order."""
        for node in self.graph.node:
            if plain_domain(node.domain) or not node.output or node.output[0] in self.known:
                continue
            kind = self.shapes.element_type(node.output[0]) or TensorProto.INT64
            sizes = self.arranged(node) if kind in (TensorProto.INT64, TensorProto.INT32) else None
            if sizes is not None and all(isinstance(size, int) for size in sizes.flat):
                # TensorFlow computes sizes in int32.
                self.known[node.output[0]] = sizes.astype(np.int64 if kind == TensorProto.INT64 else np.int32)
            elif sizes is not None:
                self.sizes[node.output[0]] = sizes
            elif self.can_run(node):
                self.waiting.append(node)
                self.ready.update(name for name in node.output if name)

    @property
    def vectors(self) -> dict[str, tuple[Dim, ...]]:
        """What may list a shape: known integers, and sizes some of which are open."""
        found = {name: tuple(sizes) for name, sizes in self.sizes.items() if sizes.ndim == 1}
        for name, value in self.known.items():
            if value.ndim == 1 and value.size <= MAX_AXES and value.dtype == np.int64:
                found[name] = tuple(int(size) for size in value)
        return found

    def arranged(self, node: NodeProto) -> NDArray[Any] | None:
        """The sizes that a node asks for, or what it makes of such; None if it does neither."""
        if belongs(node, Family.MEASURING):
            return measured(node, self.shapes.of(node.input[0]))
        if not any(name in self.sizes for name in node.input):
            return None
        known = {name: self.known[name] for name in node.input if name in self.known}
        operands = [self.sizes[name] if name in self.sizes else as_sizes(known[name]) if name in known else None
                    for name in node.input]  # fmt: skip
        return made_of_sizes(node, operands)

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

    def run(self) -> None:
        """Works out the waiting nodes; one that cannot be, and what depends on it, stays a node."""
        opset = {entry.domain: entry.version for entry in self.model.opset_import}
        for node in self.waiting:
            if any(name and name not in self.known for name in node.input):
                continue
            values = evaluated(node, [self.known[name] if name else None for name in node.input], opset)
            made = {name: value for name, value in zip(node.output, values or (), strict=False) if name}
            if all(self.fits(name, value) for name, value in made.items()):
                self.known.update(made)

    def fits(self, name: str, value: NDArray[Any]) -> bool:
        """Whether the value is a small one of the type that inference tells, and of one that numpy itself has."""
        kind = self.shapes.element_type(name)
        if value.size > SMALL or value.dtype.isbuiltin != 1 or value.dtype.kind not in "biufc":
            return False
        return kind in (TensorProto.UNDEFINED, helper.np_dtype_to_tensor_dtype(value.dtype))

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


def _small_constants(
    graph: GraphProto, file: TensorFile, read: dict[str, NDArray[Any] | None]
) -> dict[str, NDArray[Any]]:
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


def _decide(graph: GraphProto, known: dict[str, NDArray[Any]]) -> bool:
    """Replaces each If whose condition is known by the nodes of its branch."""
    nodes: list[NodeProto] = []
    fresh: FreshNames | None = None  # which takes a walk through the graph
    for index, node in enumerate(graph.node):
        condition = known.get(node.input[0]) if node.op_type == "If" and not plain_domain(node.domain) else None
        if condition is None or condition.size != 1:
            nodes.append(node)
            continue
        wanted = "then_branch" if bool(condition.reshape(())) else "else_branch"
        branch = next(inner for name, inner in subgraphs(node) if name == wanted)
        fresh = fresh or FreshNames(graph)
        label = fresh.node(f"{node.name or f'If_{index}'}/{wanted}")
        names = {name: fresh.tensor(f"{label}/{name}") for name in sorted(made_in(branch)) if name}
        names.update((name, name) for name in outer_reads(branch))
        for tensor in branch.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = names[tensor.name]
            graph.initializer.append(copy)
        for inner in branch.node:
            copied = NodeProto()
            copied.CopyFrom(inner)
            rename(copied, names, label, {})
            copied.name = fresh.node(copied.name) if copied.name else ""
            nodes.append(copied)
        for value, output in zip(branch.output, node.output, strict=False):
            if output:
                name = fresh.node(f"{label}/{output}")
                nodes.append(helper.make_node("Identity", [names[value.name]], [output], name=name))
    changed = len(nodes) != len(graph.node) or any(a is not b for a, b in zip(nodes, graph.node, strict=True))
    if changed:
        set_nodes(graph, nodes)
    return changed
