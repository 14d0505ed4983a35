"""Upgrade to opset 18: old forms of operators rewritten, so that rules know one form only.

What changed between versions is taken from ONNX's operator changelog (https://onnx.ai/onnx/operators/): attributes
that became inputs, broadcasting that was asked for by attributes, and three operators that changed their meaning or
name (Softmax and its kin, Upsample, Resize). Operators that are not listed here only learnt new types.
onnx's own version converter is native code, which a stranger's model can abort, and it renames tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper

from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.operators import Family, names
from onnxviz.model.graph.scopes import all_graphs, node_attributes, plain_domain, set_nodes

OPSET = 18
# Ranks of tensors, None where unknown.
Ranks = Callable[[str], int | None]


def upgrade(model: onnx.ModelProto, ranks: Ranks) -> None:
    """Rewrites the nodes of `model`, in place, to opset 18 where they are of an older one.

    A node that cannot be brought there keeps its old form; `outdated` finds it.

    Args:
        model: functions inlined.
        ranks: ranks of tensors; asked only where broadcasting was defined by attributes (opset < 7).
    """
    entry = next((e for e in model.opset_import if not plain_domain(e.domain)), None)
    if entry is None or entry.version >= OPSET:
        return
    fresh = FreshNames(model)
    for graph in all_graphs(model.graph):
        _Upgrade(graph, entry.version, ranks, fresh).run()
    entry.version = OPSET
    model.ir_version = max(model.ir_version, 8)


def outdated(node: NodeProto, opset: int) -> str:
    """What in `node` is not of that opset, "" if it fits."""
    if plain_domain(node.domain) or not onnx.defs.has(node.op_type):
        return ""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return f"it does not exist in opset {opset}"
    if schema.deprecated:
        return f"it does not exist in opset {opset}"
    unknown = [attribute.name for attribute in node.attribute if attribute.name not in schema.attributes]
    if unknown:
        return f"its old attribute '{unknown[0]}' does not exist in opset {opset}"
    if not schema.min_input <= len(node.input) <= schema.max_input:
        return f"its old form has {len(node.input)} inputs"
    if not schema.min_output <= len(node.output) <= schema.max_output:
        return f"its old form has {len(node.output)} outputs"
    return ""


class _Upgrade:
    """Brings one graph from `version` to opset 18."""

    def __init__(self, graph: GraphProto, version: int, ranks: Ranks, names: FreshNames) -> None:
        self.graph = graph
        self.version = version
        self.ranks = ranks
        self.names = names
        self.nodes: list[NodeProto] = []
        self.behind: list[NodeProto] = []  # what follows the node at hand

    def run(self) -> None:
        for node in self.graph.node:
            self.behind = []
            if not plain_domain(node.domain):
                self.one(node)
            self.nodes.append(node)
            self.nodes.extend(self.behind)
        set_nodes(self.graph, self.nodes)

    def one(self, node: NodeProto) -> None:
        self.drop(node, "consumed_inputs")
        change = _CHANGES.get(node.op_type)
        if change is not None:
            change(self, node)

    # What the changes are made of.

    def drop(self, node: NodeProto, *names: str) -> dict[str, Any]:
        """Takes attributes away; gives their values."""
        found = node_attributes(node)
        values = {name: helper.get_attribute_value(found[name]) for name in names if name in found}
        kept = [a for a in node.attribute if a.name not in values]
        if values:
            copies = [type(a).FromString(a.SerializeToString()) for a in kept]
            del node.attribute[:]
            node.attribute.extend(copies)
        return values

    def set(self, node: NodeProto, **attributes: Any) -> None:
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())

    def stored(self, values: Any, dtype: type = np.int64) -> str:
        name = self.names.tensor("onnxviz/opset18")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def before(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = self.names.tensor(f"onnxviz/opset18/{op_type}")
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def as_input(self, node: NodeProto, attribute: str, index: int) -> None:
        """An attribute that lists integers becomes the input at `index`."""
        for values in self.drop(node, attribute).values():
            while len(node.input) <= index:
                node.input.append("")
            node.input[index] = self.stored(np.atleast_1d(values))

    # The changes, each named for what it concerns.

    def axes(self, node: NodeProto) -> None:
        self.as_input(node, "axes", 1)

    def reshape(self, node: NodeProto) -> None:
        self.as_input(node, "shape", 1)

    def slice(self, node: NodeProto) -> None:
        if self.version < 10:
            for index, name in enumerate(("starts", "ends", "axes"), 1):
                self.as_input(node, name, index)

    def top_k(self, node: NodeProto) -> None:
        self.as_input(node, "k", 1)

    def split(self, node: NodeProto) -> None:
        self.as_input(node, "split", 1)
        if len(node.input) < 2 or not node.input[1]:
            self.set(node, num_outputs=len(node.output))

    def pad(self, node: NodeProto) -> None:
        given = self.drop(node, "paddings", "pads", "value")
        pads = given.get("pads", given.get("paddings"))
        if pads is not None:
            del node.input[1:]
            node.input.extend([self.stored(pads), self.stored(given.get("value", 0.0), np.float32)])

    def clip(self, node: NodeProto) -> None:
        if self.version < 11:
            given = self.drop(node, "min", "max")
            names = [self.stored(given[key], np.float32) if key in given else "" for key in ("min", "max")]
            node.input.extend(names)

    def dropout(self, node: NodeProto) -> None:
        if self.version < 12:
            self.drop(node, "ratio")
            if node_attributes(node).get("is_test") is not None and node_attributes(node)["is_test"].i:
                self.drop(node, "is_test")

    def batch_normalization(self, node: NodeProto) -> None:
        found = node_attributes(node)
        for name in ("is_test", "spatial"):  # with 0 it is another operator: left, and found out as outdated
            if name in found and found[name].i:
                self.drop(node, name)

    def concat(self, node: NodeProto) -> None:
        if "axis" not in node_attributes(node):
            self.set(node, axis=1)

    def cast(self, node: NodeProto) -> None:
        for to in self.drop(node, "to").values():
            self.set(node, to=onnx.TensorProto.DataType.Value(to.decode()) if isinstance(to, bytes) else to)

    def softmax(self, node: NodeProto) -> None:
        """Before opset 13: over everything from `axis` on at once."""
        if self.version >= 13:
            return
        axis = int(self.drop(node, "axis").get("axis", 1))
        source, result = node.input[0], node.output[0]
        node.input[0] = self.before("Flatten", source, axis=axis)
        node.output[0] = self.names.tensor(f"{result}/flat")
        self.set(node, axis=-1)
        shape = self.before("Shape", source)
        self.behind = [helper.make_node("Reshape", [node.output[0], shape], [result])]

    def upsample(self, node: NodeProto) -> None:
        given = self.drop(node, "scales", "height_scale", "width_scale", "mode")
        if "height_scale" in given:
            given["scales"] = [1.0, 1.0, given["height_scale"], given.get("width_scale", 1.0)]
        scales = self.stored(given["scales"], np.float32) if "scales" in given else node.input[1]
        mode = given.get("mode", b"nearest").decode()
        self._resize(node, scales, {"bilinear": "linear"}.get(mode, mode))

    def resize(self, node: NodeProto) -> None:
        if self.version < 11:
            mode = self.drop(node, "mode").get("mode", b"nearest").decode()
            self._resize(node, node.input[1], mode)

    def _resize(self, node: NodeProto, scales: str, mode: str) -> None:
        """Until opset 10: x_original = x_resized / scale; the nearest is the one before, or behind when shrinking.

        That is what onnxruntime does; the specification of the time was silent. A node that grows along one axis and
        shrinks along another stays as it is.
        """
        stored = next((tensor for tensor in self.graph.initializer if tensor.name == scales), None)
        factors = numpy_helper.to_array(stored) if stored is not None and not stored.external_data else np.ones(1)
        shrinks = bool((factors < 1).any())
        if shrinks and (factors > 1).any() and mode == "nearest":
            self.set(node, mode=mode)
            return
        node.op_type = "Resize"
        node.input[:] = [node.input[0], "", scales]
        rounding = "ceil" if shrinks else "floor"
        self.set(node, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode=rounding)

    def scatter(self, node: NodeProto) -> None:
        node.op_type = "ScatterElements"

    def broadcast(self, node: NodeProto) -> None:
        """Before opset 7 the second operand's first axis was aligned with `axis` of the first, else its last."""
        if self.version >= 7:
            return
        axis = node_attributes(node).get("axis")
        if axis is not None:
            mine, other = self.ranks(node.input[0]), self.ranks(node.input[1])
            if mine is None or other is None:
                return
            behind = mine - axis.i % mine - other
            if behind > 0:
                node.input[1] = self.before("Unsqueeze", node.input[1], self.stored(range(other, other + behind)))
        self.drop(node, "axis", "broadcast")

    def prelu(self, node: NodeProto) -> None:
        """Before opset 7 a slope for each channel."""
        rank, slope = self.ranks(node.input[0]), self.ranks(node.input[1])
        if self.version < 7 and rank is not None and slope == 1 and rank > 2:
            node.input[1] = self.before("Unsqueeze", node.input[1], self.stored(range(1, rank - 1)))

    def gemm(self, node: NodeProto) -> None:
        self.drop(node, "broadcast")


_CHANGES: dict[str, Callable[[_Upgrade, NodeProto], None]] = {
    **dict.fromkeys(names(Family.UNIT_AXES | Family.REDUCTION), _Upgrade.axes),
    **dict.fromkeys(names(Family.AXIS_BROADCAST), _Upgrade.broadcast),
    **dict.fromkeys(names(Family.SOFTMAX), _Upgrade.softmax),
    "BatchNormalization": _Upgrade.batch_normalization,
    "Cast": _Upgrade.cast,
    "Clip": _Upgrade.clip,
    "Concat": _Upgrade.concat,
    "Dropout": _Upgrade.dropout,
    "Gemm": _Upgrade.gemm,
    "PRelu": _Upgrade.prelu,
    "Pad": _Upgrade.pad,
    "Reshape": _Upgrade.reshape,
    "Resize": _Upgrade.resize,
    "Scatter": _Upgrade.scatter,
    "Slice": _Upgrade.slice,
    "Split": _Upgrade.split,
    "TopK": _Upgrade.top_k,
    "Upsample": _Upgrade.upsample,
}
