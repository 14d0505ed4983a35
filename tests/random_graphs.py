"""Random graphs as an exporter from a channels-last framework might write them, built by hypothesis."""

from __future__ import annotations

import math

import numpy as np
from growing_graph import Draw, GrowingGraph
from hypothesis import strategies as st
from onnx import TensorProto, helper

_UNARY = (
    "Abs Neg Relu Tanh Sigmoid Erf Softplus HardSigmoid LeakyRelu Elu Identity Sin Cos Atan Softsign Selu "
    "ThresholdedRelu Shrink HardSwish Mish Gelu Celu Sqrt Dropout"
).split()
_SINCE = {"HardSwish": 14, "Mish": 18, "Gelu": 20}
_REDUCING = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp".split()


class RandomGraph(GrowingGraph):
    """A graph that grows by operators drawn at random, some as exporters' patterns."""

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
        # For each element onnx.reference goes over all rows of the input: minutes where there are many.
        if math.prod(shape) * math.prod(factors) * math.prod(shape[:-1]) > 20_000:
            return
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
