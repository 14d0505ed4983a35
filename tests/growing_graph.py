"""A graph under construction whose tensors all have known values; hypothesis draws the choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.printer
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from rewriting import IR_VERSIONS

Draw = Callable[[st.SearchStrategy], object]


@dataclass
class GrowingGraph:
    """A graph under construction; every tensor's value, by onnx.reference, is known all along.

    Attributes:
        values: the tensors by name.
        weights: trained arrays, which the model reads by name without holding them.
        feeds: what the model is fed.
    """

    draw: Draw
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    dynamic: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    seed: int = 0
    model: onnx.ModelProto = field(default_factory=onnx.ModelProto)

    def __repr__(self) -> str:
        return onnx.printer.to_text(self.model)

    # ---- choices

    def pick(self, *options: object) -> object:
        return self.draw(st.sampled_from(options))

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == 0

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def axis(self, rank: int) -> int:
        return self.number(-rank, rank - 1)

    def axes(self, rank: int) -> list[int]:
        chosen = self.draw(st.permutations(range(rank)))[: self.number(1, rank)]
        return [axis - rank if self.chance(2) else axis for axis in chosen]

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        self.seed += 1
        return np.random.default_rng(self.seed).uniform(-1, 1, shape).astype(np.float32)

    # ---- tensors

    def name(self) -> str:
        """A new name; now and then one that a rewriter might want for something of its own."""
        name = f"t{len(self.taken)}"
        if self.taken and self.chance(6):
            old = self.pick(*sorted(self.taken))
            name = f"{old}{self.pick('/base', '/turned', '/axes', '/pads', '/sizes', '/shape', '/bias', '/kernel')}"
            name += self.pick("", "_", "_2")
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def feed(self, array: np.ndarray) -> str:
        name = self.name()
        open_sizes = [f"{name}_{axis}" if self.chance(3) else size for axis, size in enumerate(array.shape)]
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        # A shape that is not declared at all
        self.inputs.append(helper.make_tensor_value_info(name, element, None if self.chance(12) else open_sizes))
        self.feeds[name] = self.values[name] = array
        self.dynamic.append(name)
        return name

    def constant(self, array: np.ndarray) -> str:
        """A constant in one of the ways in which converters write them."""
        name, way = self.name(), self.number(0, 3)
        array = np.asarray(array)
        self.values[name] = array
        if way == 0:
            self.nodes.append(
                helper.make_node("Constant", [], [name], name=f"{name}/Constant", value=numpy_helper.from_array(array))
            )
        elif way == 1 or array.dtype != np.float32:
            self.initializers.append(numpy_helper.from_array(array, name))
        else:
            self.weights[name] = array
            if way == 2:
                element = helper.np_dtype_to_tensor_dtype(array.dtype)
                self.inputs.append(helper.make_tensor_value_info(name, element, array.shape))
        if array.dtype == np.float32 and self.chance(6):
            self.dynamic.append(name)  # what is computed from constants alone
        return name

    def integers(self, values: object, dtype: type = np.int64) -> str:
        return self.constant(np.asarray(values, dtype))

    def tensor(self, rank: int | None = None, kind: str = "f", *, at_least: int = 0) -> str | None:
        """One of the tensors that depend on the input, preferably a late one."""
        fitting = [
            name
            for name in self.dynamic
            if self.values[name].dtype.kind == kind
            and rank in (None, self.values[name].ndim)
            and self.values[name].ndim >= at_least
        ]
        if not fitting:
            return None
        return fitting[-1 - min(self.number(0, 3), len(fitting) - 1)] if self.chance(2) else self.pick(*fitting)

    def add(self, op: str, inputs: list[str], outputs: int = 1, **attributes: object) -> bool:
        """Adds a node, if it is a valid one with moderate values; says whether it was."""
        names = [self.name() for _ in range(outputs)]
        made = helper.make_node(op, inputs, names, name=self.pick("", names[0], f"node/{names[0]}"), **attributes)
        try:
            with np.errstate(all="ignore"):
                evaluator = ReferenceEvaluator(made, opsets={"": self.opset})
                results = evaluator.run(None, {name: self.values[name] for name in inputs if name})
        except Exception:
            return False
        results = [np.asarray(one) for one in results]
        for one in results:
            if one.size > 2000 or one.ndim > 5 or (one.dtype.kind == "f" and not np.all(np.abs(one) < 1e4)):
                return False
        self.nodes.append(made)
        for name, one in zip(names, results, strict=True):
            self.values[name] = one
            self.dynamic.append(name)
        return True

    def operand(self, shape: tuple[int, ...]) -> str:
        """Something that can be broadcast with a tensor of this shape."""
        way = self.number(0, 5)
        fitting = [
            one
            for one in self.dynamic
            if self.values[one].dtype == np.float32 and _broadcasts(self.values[one].shape, shape)
        ]
        if way < 3 and fitting:
            return self.pick(*fitting)
        if way == 3:
            return self.constant(self.array((1,) * self.number(0, len(shape) + 1)))
        own = [1 if self.chance(3) else size for size in shape]
        return self.constant(self.array(tuple(own[self.number(0, len(own)) :])))

    # ---- the whole

    def finish(self) -> onnx.ModelProto:
        made = [self.pick(*self.dynamic) for _ in range(self.number(1, 3))]
        if not self.chance(3):  # all that nothing reads, so that every node counts
            read = {name for node in self.nodes for name in node.input}
            made += [name for name in self.dynamic if name not in read]
        if self.chance(8):
            made.append(self.pick(*self.values))  # a constant, it may be
        outputs = []
        for name in dict.fromkeys(made):
            if name in self.feeds or name in self.weights or name in {t.name for t in self.initializers}:
                given = self.name()
                self.nodes.append(helper.make_node("Identity", [name], [given], name=given))
                self.values[given] = self.values[name]
                name = given
            elif self.chance(4):
                given = self.name()
                self.nodes.append(helper.make_node("Identity", [name], [given]))
                self.values[given] = self.values[name]
                name = given
            outputs.append(name)
        infos = [
            helper.make_tensor_value_info(
                n,
                helper.np_dtype_to_tensor_dtype(self.values[n].dtype),
                [f"{n}_{k}" for k in range(self.values[n].ndim)],
            )
            for n in outputs
        ]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSIONS[self.opset])


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x in (1, y) or y == 1 for x, y in zip(a[::-1], b[::-1], strict=False))
