"""Sinking transposes: a graph written channels-last made channels-first throughout.

An exporter from a channels-last framework wraps each convolution in two transposes. Here a transpose is not carried
out where it stands but remembered: its result is *the base tensor, seen in another order*. An operator that works
element by element, or along axes that can be renumbered, is applied to the base instead, and its result is again a
base seen in that order; two opposite transposes cancel. What cannot be so treated gets the transpose after all.
One pass over the nodes, in their order; the idea is that of "transpose sinking" in graph compilers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper

from onnxviz.model.graph.names import FreshNames, rename_reads
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import attribute, named_axes, operator, outer_reads, set_nodes, subgraphs
from onnxviz.passes.values import KnownValue

Perm = tuple[int, ...]


@dataclass(frozen=True)
class _Seen:
    """A tensor that is `base` seen in another order: its axis i is axis `perm[i]` of the base."""

    base: str
    perm: Perm


class _CannotPass(Exception):
    """The operator has to be given its input in the order it was written for."""


def sink_transposes(graph: GraphProto, known: dict[str, KnownValue], ranks: dict[str, int], opset: int) -> None:
    """Rewrites `graph` so that as few transposes as possible are left in it.

    A tensor keeps its name, but holds its values in the base's order afterwards, where its operator was applied to a
    base; an output of the graph keeps its order. Declared shapes are dropped, since they may not hold any more.

    Args:
        graph: changed.
        known: values of constants; rearranged ones are added.
        ranks: number of axes of tensors that are not constant, where it is known.
        opset: version of ONNX' own operators.
    """
    _Pass(graph, known, ranks, opset).run()


class _Pass:
    def __init__(self, graph: GraphProto, known: dict[str, KnownValue], ranks: dict[str, int], opset: int) -> None:
        self.graph = graph
        self.known = known
        self.ranks = ranks
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.seen: dict[str, _Seen] = {}
        self.alias: dict[str, str] = {}
        self.carried_out: dict[tuple[str, Perm], str] = {}
        self.bases: dict[str, str] = {}
        self.outputs = {value.name for value in graph.output}
        self.names = FreshNames(graph, also=known)

    def run(self) -> None:
        for node in self.graph.node:
            self.visit(node)
        for name in sorted(self.outputs):
            # An output is made under its own name in its own order.
            if name in self.seen or self.alias.get(name, name) != name:
                made = self.plain(name)
                if made != name:
                    self.add("Identity", [made], name, f"{name}/Identity")
        set_nodes(self.graph, self._with_plain_names())
        del self.graph.value_info[:]

    def _with_plain_names(self) -> list[NodeProto]:
        """The nodes, where a base takes over the name of the tensor that it stands for, if nothing else has it."""
        made = {name for node in self.nodes for name in node.output}
        names = {base: name for base, name in self.bases.items() if name not in made and name not in self.outputs}
        for node in self.nodes:
            for field in (node.input, node.output):
                for index, name in enumerate(field):
                    field[index] = names.get(name, name)
            for _, inner in subgraphs(node):
                rename_reads(inner, names, nested=True)
        return self.nodes

    # ---- names

    def plain(self, name: str) -> str:
        """A tensor that holds what `name` held, in its order."""
        name = self.alias.get(name, name)
        if name not in self.seen:
            return name
        seen = self.seen[name]
        key = (seen.base, seen.perm)
        if key not in self.carried_out:
            self.carried_out[key] = self.transpose(seen.base, seen.perm, name)
        return self.carried_out[key]

    def transpose(self, source: str, perm: Perm, target: str) -> str:
        self.add("Transpose", [source], target, f"{target}/Transpose", perm=perm)
        return target

    def add(self, op: str, inputs: Sequence[str], output: str, stem: str, *, perm: Perm | None = None) -> None:
        """Adds a node that the graph did not have, called `stem` if no other is."""
        name = self.names.node(stem)  # onnxruntime takes no two of one name
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, perm=perm))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """The name of a constant made from the known tensor `name`."""
        own = self.names.tensor(f"{name}/rearranged")
        self.known[own] = self.known[name].rearranged(array)
        return own

    def integers(self, stem: str, values: Sequence[int] | NDArray[Any], dtype: npt.DTypeLike = np.int64) -> str:
        own = self.names.tensor(stem)
        self.known[own] = KnownValue(np.asarray(values, dtype))
        return own

    def rank(self, name: str) -> int | None:
        if name in self.known:
            return self.known[name].array.ndim
        if name in self.seen:
            return len(self.seen[name].perm)
        return self.ranks.get(name)

    # ---- one node

    def visit(self, node: NodeProto) -> None:
        inputs = [self.alias.get(name, name) for name in node.input]
        turns = operator(node) == "Transpose" and inputs[0] not in self.known
        if turns and self.remember(node, inputs[0]):
            return
        if operator(node) and any(name in self.seen for name in inputs):
            try:
                self.pass_through(node, inputs)
                return
            except _CannotPass:
                pass
        self.as_it_is(node)

    def as_it_is(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        # A subgraph reads outer tensors by name: it gets them in the order it was written for.
        outer = {name: self.plain(name) for _, inner in subgraphs(node) for name in outer_reads(inner)}
        for _, inner in subgraphs(copy):
            rename_reads(inner, outer, nested=True)
        for index, name in enumerate(node.input):
            copy.input[index] = self.plain(name) if name else ""
        self.nodes.append(copy)

    def remember(self, node: NodeProto, source: str) -> bool:
        """Notes what a Transpose does instead of carrying it out."""
        perm = attribute(node, "perm")
        if perm is None:
            rank = self.rank(source)
            if rank is None:
                return False
            perm = range(rank)[::-1]
        base, before = source, tuple(range(len(perm)))
        if source in self.seen:
            base, before = self.seen[source].base, self.seen[source].perm
        self.see(node.output[0], base, tuple(before[axis] for axis in perm))
        return True

    def see(self, name: str, base: str, perm: Perm) -> None:
        if perm == tuple(range(len(perm))):
            self.alias[name] = base
        else:
            self.seen[name] = _Seen(base, perm)

    def emit(self, node: NodeProto, inputs: Sequence[str], perm: Perm | None, **changed: object) -> None:
        """Adds the node applied to bases; its outputs are bases seen in the order `perm`, None for as they are."""
        copy = NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(inputs)
        for key, value in changed.items():
            kept = [a for a in copy.attribute if a.name != key]
            del copy.attribute[:]
            copy.attribute.extend(kept)
            if value is not None:
                copy.attribute.append(helper.make_attribute(key, value))
        if perm is not None and perm != tuple(range(len(perm))):
            for index, name in enumerate(node.output):
                if name:
                    # In this pass a name means the values it had in the source's order; a base has a name of its own.
                    base = self.names.tensor(f"{name}/base")
                    self.bases[base] = name
                    copy.output[index] = base
                    self.seen[name] = _Seen(base, perm)
        self.nodes.append(copy)

    def pass_through(self, node: NodeProto, inputs: list[str]) -> None:
        if node.op_type in _SPECIAL:
            _SPECIAL[node.op_type](self, node, inputs)
        elif belongs(node, Family.ELEMENTWISE):
            self.first_only(node, inputs)
        elif belongs(node, Family.BROADCASTING):
            self.broadcast(node, inputs)
        elif belongs(node, Family.REDUCTION):
            self.reduce(node, inputs)
        elif belongs(node, Family.ALONG_AXIS) and (self.opset >= 13 or not belongs(node, Family.SOFTMAX)):
            seen = self.data(inputs)
            axis = attribute(node, "axis")
            self.emit(node, [seen.base], seen.perm, axis=seen.perm[-1 if axis is None else axis])
        else:
            raise _CannotPass

    def data(self, inputs: Sequence[str]) -> _Seen:
        """The first input; the others must not be seen in another order."""
        if inputs[0] not in self.seen or any(name in self.seen for name in inputs[1:]):
            raise _CannotPass
        return self.seen[inputs[0]]

    def value(self, inputs: Sequence[str], index: int) -> NDArray[Any] | None:
        """The value of a constant operand; None where it is left out."""
        if index >= len(inputs) or not inputs[index]:
            return None
        if inputs[index] not in self.known:
            raise _CannotPass
        return self.known[inputs[index]].array

    # ---- families of operators

    def first_only(self, node: NodeProto, inputs: list[str]) -> None:
        seen = self.data(inputs)
        self.emit(node, [seen.base, *inputs[1:]], seen.perm)

    def aligned(self, inputs: list[str]) -> tuple[list[str], Perm]:
        """The operands in the base's order, and the one order in which they are seen."""
        perms = {self.seen[name].perm for name in inputs if name in self.seen}
        if len(perms) != 1:
            raise _CannotPass
        perm = perms.pop()
        rank = len(perm)
        inverse = tuple(int(axis) for axis in np.argsort(perm))
        ranks = [self.rank(name) for name in inputs]
        if any(
            own is None or own not in (0, rank)
            for name, own in zip(inputs, ranks, strict=True)
            if name not in self.known
        ):
            raise _CannotPass
        bases = []
        for name, own in zip(inputs, ranks, strict=True):
            if name in self.seen:
                bases.append(self.seen[name].base)
            elif name not in self.known:
                bases.append(self.turned(name, inverse) if own else name)
            else:
                array = self.known[name].array
                if array.ndim > rank:
                    raise _CannotPass
                wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
                bases.append(name if array.size == 1 else self.constant(name, wide.transpose(inverse)))
        return bases, perm

    def broadcast(self, node: NodeProto, inputs: list[str]) -> None:
        bases, perm = self.aligned(inputs)
        self.emit(node, bases, perm)

    def concat(self, node: NodeProto, inputs: list[str]) -> None:
        bases, perm = self.aligned(inputs)
        self.emit(node, bases, perm, axis=perm[attribute(node, "axis")])

    def turned(self, name: str, perm: Perm) -> str:
        """A tensor that is written in the other order, brought into the base's."""
        key = (name, perm)
        if key not in self.carried_out:
            self.carried_out[key] = self.transpose(name, perm, self.names.tensor(f"{name}/turned"))
        return self.carried_out[key]

    def identity(self, node: NodeProto, inputs: list[str]) -> None:
        self.seen[node.output[0]] = self.data(inputs)

    def reduce(self, node: NodeProto, inputs: list[str]) -> None:
        self.along_axes(node, inputs, attribute(node, "keepdims") != 0)

    def squeeze(self, node: NodeProto, inputs: list[str]) -> None:
        self.along_axes(node, inputs, False)

    def along_axes(self, node: NodeProto, inputs: list[str], kept: bool) -> None:
        """Operators whose axes are an operand or, in earlier operator sets, an attribute; they stay or go."""
        seen = self.data(inputs)
        rank = len(seen.perm)
        given = self.value(inputs, 1)
        axes = named_axes(node, given)
        if not axes:
            raise _CannotPass
        named = {axis % rank for axis in axes}
        base_axes = sorted(seen.perm[axis] for axis in named)
        perm = seen.perm if kept else _renumbered([seen.perm[axis] for axis in range(rank) if axis not in named])
        if given is None:
            self.emit(node, [seen.base], perm, axes=base_axes)
        else:
            self.emit(node, [seen.base, self.integers(f"{node.name}/axes", base_axes)], perm)

    def pad(self, node: NodeProto, inputs: list[str]) -> None:
        seen = self.data(inputs)
        rank = len(seen.perm)
        given, axes = self.value(inputs, 1), self.value(inputs, 3)
        own = range(rank) if axes is None else [int(axis) for axis in axes]
        if given is None or given.size != 2 * len(own):
            raise _CannotPass
        pads = np.zeros((2, rank), np.int64)
        pads[:, [seen.perm[axis] for axis in own]] = given.reshape(2, len(own))
        self.emit(node, [seen.base, self.integers(f"{node.name}/pads", pads.reshape(-1)), *inputs[2:3]], seen.perm)

    def slice(self, node: NodeProto, inputs: list[str]) -> None:
        seen = self.data(inputs)
        if len(inputs) < 3:
            raise _CannotPass
        starts, axes = self.value(inputs, 1), self.value(inputs, 3)
        if starts is None:
            raise _CannotPass
        own = range(starts.size) if axes is None else [int(axis) for axis in axes]
        base_axes = self.integers(f"{node.name}/axes", [seen.perm[axis] for axis in own], starts.dtype)
        self.emit(node, [seen.base, inputs[1], inputs[2], base_axes, *inputs[4:]], seen.perm)

    def split(self, node: NodeProto, inputs: list[str]) -> None:
        seen = self.data(inputs)
        self.emit(node, [seen.base, *inputs[1:]], seen.perm, axis=seen.perm[attribute(node, "axis") or 0])

    def tile(self, node: NodeProto, inputs: list[str]) -> None:
        seen = self.data(inputs)
        repeats = self.value(inputs, 1)
        assert repeats is not None
        turned = self.constant(inputs[1], repeats[np.argsort(seen.perm)])
        self.emit(node, [seen.base, turned], seen.perm)

    def resize(self, node: NodeProto, inputs: list[str]) -> None:
        """By scales, where the base has channels first: onnxruntime does not resize in every order."""
        seen = self.data(inputs)
        scales = self.value(inputs, 2)
        if len(inputs) > 3 or scales is None or scales.size != len(seen.perm) or attribute(node, "axes") is not None:
            raise _CannotPass
        scales = scales[np.argsort(seen.perm)]
        if np.any(scales[:2] != 1):
            raise _CannotPass
        # The region of interest only counts in the mode that crops.
        if attribute(node, "coordinate_transformation_mode") == b"tf_crop_and_resize":
            raise _CannotPass
        self.emit(node, [seen.base, "", self.constant(inputs[2], scales)], seen.perm)

    def normalize_layer(self, node: NodeProto, inputs: list[str]) -> None:
        """Over the last axes, where they are the last ones of the base too, in whatever order."""
        seen = self.data(inputs)
        axis = attribute(node, "axis")
        first = (-1 if axis is None else axis) % len(seen.perm)
        order = [base_axis - first for base_axis in seen.perm[first:]]
        if min(order) < 0 or len(node.output) > 1:  # the statistics would be in another order
            raise _CannotPass
        operands = [seen.base, *inputs[1:]]
        for index in range(1, len(inputs)):
            vector = self.value(inputs, index)
            if vector is not None and vector.ndim != len(order):
                raise _CannotPass
            if vector is not None and order != sorted(order):
                operands[index] = self.constant(inputs[index], vector.transpose(np.argsort(order)))
        self.emit(node, operands, seen.perm)

    def shape(self, node: NodeProto, inputs: list[str]) -> None:
        """The sizes of the base, picked in the order in which they were asked for."""
        seen = self.data(inputs)
        start, end = attribute(node, "start") or 0, attribute(node, "end")
        wanted = self.integers(f"{node.name}/axes", seen.perm[start:end])
        sizes = self.names.tensor(f"{node.output[0]}/sizes")
        self.add("Shape", [seen.base], sizes, f"{node.name}/sizes")
        gather = helper.make_node("Gather", [sizes, wanted], [node.output[0]], name=node.name, axis=0)
        gather.metadata_props.extend(node.metadata_props)
        self.nodes.append(gather)


def _renumbered(axes: Sequence[int]) -> Perm:
    """The axes that are left, counted anew: (0, 3) becomes (0, 1)."""
    order = sorted(axes)
    return tuple(order.index(axis) for axis in axes)


_SPECIAL: dict[str, Callable[[_Pass, NodeProto, list[str]], None]] = {
    "Identity": _Pass.identity,
    "LayerNormalization": _Pass.normalize_layer,
    "Concat": _Pass.concat,
    "Pad": _Pass.pad,
    "Slice": _Pass.slice,
    "Split": _Pass.split,
    "Tile": _Pass.tile,
    "Resize": _Pass.resize,
    "Squeeze": _Pass.squeeze,
    "Shape": _Pass.shape,
}
