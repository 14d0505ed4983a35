"""Axes of activations: where they are in another order, a tensor that has them as the convolution does is put in.

tf2onnx leaves what follows a convolution in channels-last order where a mean over the positions comes next, as in most
classifiers. Behind such an activation stand, in the opened graph alone, two Transposes that undo one another; between
them is the tensor that is tapped. Values move and do not change; the file is as it was, and is saved as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import GraphProto, helper

from onnxviz.errors import ModelError
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.operators import convolution_form
from onnxviz.model.graph.scopes import Scope, all_graphs, set_nodes, walk
from onnxviz.model.taps import ActivationTaps, FoundTaps


def lay_axes(proto: onnx.ModelProto, constants: Constants) -> FoundTaps:
    """Puts in, for each activation whose axes are in another order, a tensor that is (N, C, spatial…).

    Args:
        proto: functions inlined, nodes in topological order; changed in place.
        constants: finds weights, shapes and axes.

    Returns:
        The activation taps that were found on the way; none where something was put in, as the graph is another then.
    """
    if not any(node.op_type == "Transpose" for graph in all_graphs(proto.graph) for node in graph.node):
        return {}
    taps = ActivationTaps(constants)
    found: dict[str, tuple[GraphProto, dict[str, tuple[int, ...]]]] = {}
    try:
        for scope, node in walk(Scope(proto.graph)):
            if convolution_form(node) is not None and node.output and node.output[0]:
                reordered = taps.find(scope, node).reordered
                if reordered is not None:
                    found.setdefault(scope.name, (scope.graph, {}))[1][reordered[0]] = reordered[1]
    except ModelError:
        return {}  # the layers say what is wrong, when they are asked for
    if not found:
        return taps.found
    fresh = FreshNames(proto)
    for graph, orders in reversed(found.values()):  # inner graphs before those that hold them, which are copied
        _lay(graph, orders, fresh)
    return {}


def _lay(graph: GraphProto, orders: Mapping[str, Sequence[int]], fresh: FreshNames) -> None:
    """The nodes that make the tensors make others; two Transposes lead from each of those to the tensor.

    Args:
        graph: changed in place.
        orders: tensors, which keep their names, their values and their readers; and which axis of its convolution's
            output each axis of a tensor is, negative for a new one.
        fresh: gives names.
    """
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for number, tensor in enumerate(node.output):
            if tensor in orders:
                between = fresh.tensor(f"{tensor}_channels_first")
                node.output[number] = fresh.tensor(f"{tensor}_as_made")
                there = [axis if axis >= 0 else len(orders[tensor]) for axis in orders[tensor]]
                laid = sorted(range(len(there)), key=there.__getitem__)
                back = sorted(range(len(there)), key=laid.__getitem__)
                for source, made, moves in ((node.output[number], between, laid), (between, tensor, back)):
                    nodes.append(helper.make_node("Transpose", [source], [made], fresh.node(made), perm=moves))
    set_nodes(graph, nodes)
