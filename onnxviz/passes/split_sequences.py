"""Sequences of tensors that only take one apart, replaced by operators that pick the parts.

PyTorch's exporter writes `split`, `chunk` and `unbind` as SplitToSequence and a SequenceAt for each part, unless it is
let to optimise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.scopes import Scope, node_attributes, plain_domain
from onnxviz.passes.fold_small import SMALL

_END = np.iinfo(np.int64).max


def take_apart(graph: GraphProto, constants: Constants) -> None:
    """Makes each SequenceAt of a SplitToSequence, in place, a Slice, or a Gather where the axis goes.

    Those whose sizes or places are not constant stay, and so does every other use of a sequence.
    """
    scope = Scope(graph)
    names = FreshNames(graph)

    def stored(values: int | list[int]) -> str:
        name = names.tensor("part")
        graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def small(name: str) -> NDArray[Any] | None:
        found = constants.find(scope, name)
        return found.array if found is not None and math.prod(found.shape) <= SMALL else None

    lists = {n.output[0]: n for n in graph.node if n.op_type == "SplitToSequence" and not plain_domain(n.domain)}
    for node in graph.node:
        source = lists.get(node.input[0]) if node.op_type == "SequenceAt" else None
        place = small(node.input[1]) if source is not None else None
        if source is None or place is None or place.size != 1:
            continue
        sizes = small(source.input[1]) if len(source.input) > 1 else None
        if sizes is None and len(source.input) > 1:
            continue
        attributes = node_attributes(source)
        axis = attributes["axis"].i if "axis" in attributes else 0
        begin, end = _bounds(int(place.reshape(())), sizes)
        if begin is None:
            continue
        if sizes is None and "keepdims" in attributes and not attributes["keepdims"].i:
            _become(node, "Gather", [source.input[0], stored(begin)], axis)
        else:
            _become(node, "Slice", [source.input[0], stored([begin]), stored([end]), stored([axis])])


def _bounds(place: int, sizes: NDArray[Any] | None) -> tuple[int | None, int]:
    """Where the part at `place` begins and ends; None where that depends on how many there are."""
    if sizes is not None and sizes.ndim == 1:
        ends = [0, *np.cumsum(sizes).tolist()]
        place = place + len(sizes) if place < 0 else place
        return (ends[place], ends[place + 1]) if 0 <= place < len(sizes) else (None, 0)
    if sizes is not None and sizes.size != 1:
        return None, 0
    size = 1 if sizes is None else int(sizes.reshape(()))
    if place < 0:  # parts of equal size, the last may be smaller: only without sizes are they counted from the end
        return (place, place + 1 or _END) if sizes is None else (None, 0)
    return place * size, (place + 1) * size


def _become(node: NodeProto, op_type: str, inputs: list[str], axis: int | None = None) -> None:
    node.op_type = op_type
    node.input[:] = inputs
    del node.attribute[:]
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
