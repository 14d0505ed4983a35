"""Random graphs as an exporter from a channels-last framework might write them, built by hypothesis."""

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

_UNARY = (
    "Abs Neg Relu Tanh Sigmoid Erf Softplus HardSigmoid LeakyRelu Elu Identity Sin Cos Atan Softsign Selu "
    "ThresholdedRelu Shrink HardSwish Mish Gelu Celu Sqrt Dropout"
).split()
_SINCE = {"HardSwish": 14, "Mish": 18, "Gelu": 20}
_REDUCING = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp".split()


@dataclass
class RandomGraph:
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

    # ---- steps

    def step(self) -> None:
        self.pick(*self.STEPS)(self)

    def transpose(self) -> None:
        name = self.tensor(kind=self.pick("f", "f", "f", "b"), at_least=2)
        if name is None:
            return
        rank = self.values[name].ndim
        perm = self.draw(st.permutations(range(rank)))
        if self.chance(2):  # a typical one
            perm = [0, *range(2, rank), 1] if self.chance(2) else [0, rank - 1, *range(1, rank - 1)]
        if self.chance(12):
            self.add("Transpose", [name])
        else:
            self.add("Transpose", [name], perm=perm)

    def unary(self) -> None:
        op, name = self.pick(*_UNARY), self.tensor()
        if name is None or self.opset < _SINCE.get(op, 0):
            return
        if op == "Sqrt":
            if self.add("Abs", [name]):
                self.add("Sqrt", [self.dynamic[-1]])
        elif op == "Dropout":
            self.add("Dropout", [name], outputs=self.number(1, 2))
        else:
            self.add(op, [name])

    def clip(self) -> None:
        name = self.tensor()
        if name is not None:
            low = self.constant(np.float32(-0.5)) if self.chance(2) else ""
            self.add("Clip", [name, low, *([self.constant(np.float32(0.5))] if self.chance(2) else [])])

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

    def binary(self) -> None:
        name = self.tensor()
        if name is None:
            return
        op = self.pick("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean", "PRelu", "Add", "Mul", "Div")
        inputs = [name, self.operand(self.values[name].shape)]
        if op in ("Max", "Min", "Sum", "Mean") and self.chance(2):
            inputs.append(self.operand(self.values[name].shape))
        if op == "PRelu":
            inputs[1:] = [self.operand(self.values[name].shape)]
            slope, data = self.values[inputs[1]].shape, self.values[name].shape
            if len(slope) > len(data) or np.broadcast_shapes(slope, data) != data:
                return
        elif op != "Div" and self.chance(2):
            inputs.reverse()
        if op == "Div" and np.abs(self.values[inputs[1]]).min(initial=1) < 0.05:
            return
        self.add(op, inputs)

    def logic(self) -> None:
        flag = self.tensor(kind="b")
        if flag is None or self.chance(3):
            name = self.tensor()
            if name is not None:
                self.add(self.pick("Greater", "Less"), [name, self.constant(np.float32(0.123457))])
            return
        if self.chance(4):
            self.add("Not", [flag])
            return
        shape = self.values[flag].shape
        self.add("Where", [flag, self.operand(shape), self.operand(shape)])

    def concat(self) -> None:
        name = self.tensor(at_least=1)
        if name is None:
            return
        shape = self.values[name].shape
        axis = self.axis(len(shape))
        wanted = list(shape)
        wanted[axis] = self.number(0, 3)
        others = [
            one
            for one in self.dynamic
            if self.values[one].dtype == np.float32
            and self.values[one].ndim == len(shape)
            and np.delete(self.values[one].shape, axis).tolist() == np.delete(shape, axis).tolist()
        ]
        parts = [name, self.pick(*others)]
        if self.chance(3):
            parts.insert(self.number(0, 2), self.constant(self.array(tuple(wanted))))
        self.add("Concat", parts, axis=axis)

    def reduce(self) -> None:
        op, name = self.pick(*_REDUCING), self.tensor(at_least=1)
        if name is None:
            return
        axes = self.axes(self.values[name].ndim)
        options = {} if self.chance(3) else {"keepdims": self.number(0, 1)}
        if self.chance(8):
            axes = []
            if self.opset >= 18 and self.chance(2):
                options["noop_with_empty_axes"] = 1
        if op == "ReduceSum" or self.opset >= 18:
            self.add(op, [name, *([self.integers(axes)] if axes or self.chance(2) else [])], **options)
        elif axes:
            self.add(op, [name], axes=axes, **options)
        else:
            self.add(op, [name], **options)

    def arg(self) -> None:
        name = self.tensor(at_least=1)
        if name is not None:
            op = self.pick("ArgMax", "ArgMin")
            self.add(op, [name], axis=self.axis(self.values[name].ndim), keepdims=self.number(0, 1))

    def pad(self) -> None:
        name = self.tensor(at_least=1)
        if name is None:
            return
        rank = self.values[name].ndim
        mode = self.pick("constant", "reflect", "edge")
        if mode == "reflect" and min(self.values[name].shape) < 3:
            return
        axes = sorted({axis % rank for axis in self.axes(rank)}) if self.opset >= 18 and self.chance(3) else None
        pads = [self.number(0, 2) for _ in range(2 * len(axes if axes is not None else range(rank)))]
        inputs = [name, self.integers(pads)]
        if axes is not None:
            inputs += ["", self.integers([a - rank if self.chance(2) else a for a in axes])]
        elif mode == "constant" and self.chance(2):
            inputs.append(self.constant(np.float32(0.25)))
        self.add("Pad", inputs, mode=mode)

    def slice(self) -> None:
        name = self.tensor(at_least=1)
        if name is None:
            return
        rank = self.values[name].ndim
        axes = self.axes(rank)
        dtype = self.pick(np.int64, np.int32)
        if self.chance(4):
            axes = list(range(len(axes)))
            inputs = [name, self.integers([0] * len(axes), dtype), self.integers([2] * len(axes), dtype)]
            if self.chance(2):
                inputs += ["", self.integers([1] * len(axes), dtype)]
            self.add("Slice", inputs)
            return
        steps = [self.pick(1, 1, 2, -1) for _ in axes]
        starts = [0 if step > 0 else -1 for step in steps]
        ends = [self.pick(2, -1, 2**31 - 1) if step > 0 else -(2**31) for step in steps]
        inputs = [name, *(self.integers(one, dtype) for one in (starts, ends, axes, steps))]
        self.add("Slice", inputs)

    def split(self) -> None:
        name = self.tensor(at_least=1)
        if name is None:
            return
        axis = self.axis(self.values[name].ndim)
        size = self.values[name].shape[axis]
        if size < 2:
            return
        options = {} if axis == 0 and self.chance(2) else {"axis": axis}
        if self.opset >= 18 and size % 2 == 0 and self.chance(2):
            self.add("Split", [name], outputs=2, num_outputs=2, **options)
        elif self.opset < 18 and size % 2 == 0 and self.chance(2):
            self.add("Split", [name], outputs=2, **options)
        else:
            self.add("Split", [name, self.integers([1, size - 1])], outputs=2, **options)

    def softmax(self) -> None:
        name = self.tensor(at_least=1)
        if name is not None:
            op = self.pick("Softmax", "LogSoftmax", "LpNormalization")
            rank = self.values[name].ndim
            self.add(op, [name], **({} if self.chance(3) else {"axis": self.axis(rank)}))

    def squeeze(self) -> None:
        name = self.tensor(at_least=1)
        if name is None:
            return
        shape = self.values[name].shape
        ones = [axis for axis, size in enumerate(shape) if size == 1]
        if self.chance(6):
            self.add("Squeeze", [name])
        elif ones:
            chosen = self.draw(st.permutations(ones))[: self.number(1, len(ones))]
            axes = [axis - len(shape) if self.chance(2) else axis for axis in chosen]
            self.add("Squeeze", [name, self.integers(axes)])

    def unsqueeze(self) -> None:
        name = self.tensor()
        if name is not None:
            rank = self.values[name].ndim
            count = self.number(1, 2)
            axes = self.draw(st.permutations(range(rank + count)))[:count]
            axes = [axis - rank - count if self.chance(2) else axis for axis in axes]
            self.add("Unsqueeze", [name, self.integers(axes)])

    def tile(self) -> None:
        name = self.tensor(at_least=1)
        if name is not None:
            self.add("Tile", [name, self.integers([self.pick(1, 1, 2) for _ in self.values[name].shape])])

    def resize(self) -> None:
        name = self.tensor(rank=4)
        if name is None:
            return
        shape = self.values[name].shape
        factors = [1, 1, self.number(1, 2), self.number(1, 2)]
        if self.chance(2):
            factors = [factors[axis] for axis in (0, 2, 3, 1)]
        # onnxruntime interpolates linearly along the last two axes, or along the middle ones of channels-last images.
        mode = self.pick("nearest", "linear")
        if self.chance(2):
            inputs = [name, "", self.constant(np.asarray(factors, np.float32))]
        else:
            inputs = [name, "", "", self.integers([s * f for s, f in zip(shape, factors, strict=True)])]
        self.add("Resize", inputs, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def shape(self) -> None:
        """Shape → Gather → Concat → Reshape, as a framework's `reshape(x, (x.shape[0], -1))` is written."""
        name = self.tensor(at_least=1)
        if name is None:
            return
        rank = self.values[name].ndim
        options = {}
        if self.opset >= 15 and self.chance(3):
            options = {"start": self.number(-rank, 0), "end": self.number(1, rank + 1)}
        if not self.add("Shape", [name], **options):
            return
        sizes = self.dynamic[-1]
        count = self.values[sizes].size
        if count == 0:
            return
        scalar = self.chance(2)
        index = self.axis(count)
        if not self.add("Gather", [sizes, self.integers(index if scalar else [index])]):
            return
        one = self.dynamic[-1]
        if scalar:
            self.add("Unsqueeze", [one, self.integers([0])])
            one = self.dynamic[-1]
        size = int(self.values[one][0])
        total = self.values[name].size
        if self.chance(3) and size and total % size == 0:
            rest = self.integers([total // size])
        else:
            rest = self.integers([-1])
        if size == 0 or not self.add("Concat", [one, rest] if self.chance(2) else [rest, one], axis=0):
            return
        target, source = self.dynamic[-1], self.pick(name, self.tensor())
        self.add("Reshape", [source, target])

    def reshape(self) -> None:
        name = self.tensor()
        if name is None:
            return
        shape = list(self.values[name].shape)
        target = self.pick([-1], [*shape, 1], [1, *shape], [0] * len(shape), [*shape[:1], -1], shape[::-1])
        self.add("Reshape", [name, self.integers(target)])

    def flatten(self) -> None:
        name = self.tensor(at_least=1)
        if name is not None:
            self.add("Flatten", [name], axis=self.axis(self.values[name].ndim))

    def expand(self) -> None:
        name = self.tensor()
        if name is not None:
            shape = [2 if size == 1 else 1 for size in self.values[name].shape]
            self.add("Expand", [name, self.integers(shape)])

    def gather(self) -> None:
        name = self.tensor(at_least=1)
        if name is not None:
            axis = self.axis(self.values[name].ndim)
            if self.values[name].shape[axis]:
                self.add("Gather", [name, self.integers(self.pick(0, [0], [0, -1]))], axis=axis)

    def convolution(self) -> None:
        """A convolution, a batch normalisation or a pooling, with or without transposes around it."""
        name = self.tensor(rank=self.pick(3, 4, 4, 4))
        if name is None:
            return
        rank = self.values[name].ndim
        around = self.chance(2)
        if around:
            self.add("Transpose", [name], perm=[0, rank - 1, *range(1, rank - 1)])
            name = self.dynamic[-1]
        channels = self.values[name].shape[1]
        if min(self.values[name].shape) == 0:
            return
        op = self.pick("Conv", "Conv", "Conv", "BatchNormalization", "GlobalAveragePool", "ConvTranspose")
        filters = self.number(1, 3)
        if op == "Conv":
            kernel = self.array((*([1] * (rank - 2)), channels, filters))  # as channels-last frameworks store it
            self.turned_kernel(name, "Conv", kernel, (rank - 1, rank - 2, *range(rank - 2)), filters)
        elif op == "ConvTranspose":
            kernel = self.array((*([2] * (rank - 2)), filters, channels))
            self.turned_kernel(name, "ConvTranspose", kernel, (rank - 1, rank - 2, *range(rank - 2)), filters)
        elif op == "BatchNormalization":
            vectors = [self.constant(np.abs(self.array((channels,))) + 0.1) for _ in range(4)]
            self.add("BatchNormalization", [name, *vectors])
        else:
            self.add("GlobalAveragePool", [name])
        if around and self.values[self.dynamic[-1]].ndim == rank:
            self.add("Transpose", [self.dynamic[-1]], perm=[0, *range(2, rank), 1])

    def turned_kernel(self, name: str, op: str, kernel: np.ndarray, perm: tuple[int, ...], filters: int) -> None:
        stored = self.constant(kernel)
        turned = self.name()
        self.nodes.append(helper.make_node("Transpose", [stored], [turned], name=turned, perm=perm))
        self.values[turned] = kernel.transpose(perm)
        if not self.add(op, [name, turned]):
            return
        rank = kernel.ndim
        way = self.number(0, 3)
        if way == 1:
            self.add("Add", [self.dynamic[-1], self.constant(self.array((1, filters, *(1,) * (rank - 2))))])
        elif way == 2:
            self.add("Transpose", [self.dynamic[-1]], perm=[0, *range(2, rank), 1])
            self.add("Add", [self.constant(self.array((filters,))), self.dynamic[-1]])

    def branch(self) -> None:
        """An If whose branches read tensors from outside."""
        name = self.tensor()
        if name is None:
            return
        other = self.constant(self.array(self.values[name].shape))
        flag = self.feed(np.asarray(self.chance(2)))
        result = self.name()
        branches = []
        for op in ("Add", "Mul"):
            made = self.name()
            inner = helper.make_node(op, [name, other], [made])
            value = helper.make_tensor_value_info(made, TensorProto.FLOAT, None)
            branches.append(helper.make_graph([inner], made, [], [value]))
        self.nodes.append(helper.make_node("If", [flag], [result], then_branch=branches[0], else_branch=branches[1]))
        a, b = self.values[name], self.values[other]
        self.values[result] = a + b if self.values[flag] else a * b
        self.dynamic.append(result)

    STEPS = (
        *[transpose] * 14,
        *[unary] * 5,
        *[binary] * 9,
        *[concat] * 3,
        *[reduce] * 4,
        *[convolution] * 4,
        *[slice, pad, squeeze, unsqueeze] * 2,
        *[split, softmax, tile, resize, shape, reshape, flatten, expand, gather, logic, clip, arg, branch],
    )

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


@st.composite
def random_graphs(draw: Draw) -> RandomGraph:
    """A finished graph of some twenty nodes, its `model` beside it."""
    graph = RandomGraph(draw, draw(st.integers(13, 23)))
    for _ in range(graph.number(1, 2)):
        rank = graph.number(2, 5)
        graph.feed(graph.array(tuple(graph.pick(1, 2, 3, 4) for _ in range(rank))))
    for _ in range(graph.number(6, 24)):
        graph.step()
    graph.model = graph.finish()
    return graph
