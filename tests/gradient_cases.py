"""One node at a time: its gradient by onnxviz, and by central differences on what onnxviz has no part in.

For smooth operators the differences are taken in float64 on onnx.reference. For operators that are linear, or linear
between kinks, they are taken on onnxruntime itself, where a large step is exact: that is the implementation whose
gradient is wanted, and it has none of the reference's own errors in corners such as `ceil_mode`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from oracles import relative

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient

TOLERANCE = 1e-5
Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """A node, the point at which it is differentiated, and how to know the answer.

    Attributes:
        op: the operator, `domain::op` outside ONNX's own domain.
        name: what is special about the case.
        given: inputs by name, in the node's order; None for one that is absent.
        constant: names of inputs that are initializers; the others are fed, and differentiated if they are floats.
        attributes: of the node.
        outputs: how many the node has.
        of: which output is differentiated.
        step: of the central differences on onnxruntime in float32; None for onnx.reference in float64.
        double: whether float constants become float64 for onnx.reference.
        numpy: the operator in numpy, where onnx.reference lacks it; takes the inputs in order.
        opset: of the model.
        tolerance: of the gradient, relative to its largest element.
        then: nodes that follow; the output of the last is differentiated.
    """

    op: str
    name: str
    given: dict[str, Array | None]
    constant: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    of: int = 0
    step: float | None = None
    double: bool = True
    numpy: Callable[..., Array] | None = None
    opset: int = 18
    tolerance: float = TOLERANCE
    then: tuple[onnx.NodeProto, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.op}-{self.name}" if self.name else self.op

    @property
    def ops(self) -> set[str]:
        """The operators whose rules the case tries."""
        return {self.op, *(node.op_type for node in self.then)}

    @property
    def target(self) -> str:
        """The tensor that is differentiated."""
        return self.then[-1].output[0] if self.then else f"y{self.of}"

    @property
    def fed(self) -> dict[str, Array]:
        """Inputs that are not initializers."""
        return {n: a for n, a in self.given.items() if a is not None and n not in self.constant}

    @property
    def wrt(self) -> list[str]:
        """What is differentiated with respect to."""
        return [name for name, array in self.fed.items() if array.dtype.kind == "f"]

    def model(self) -> onnx.ModelProto:
        """The node as a model; `constant` inputs are initializers."""
        domain, _, op = self.op.rpartition("::")
        names = [name if array is not None else "" for name, array in self.given.items()]
        outputs = [f"y{index}" for index in range(self.outputs)]
        shown = [self.target] if self.then else outputs
        node = helper.make_node(op, names, outputs, name="node", domain=domain, **self.attributes)
        graph = helper.make_graph(
            [node, *self.then],
            "case",
            [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for n, a in self.fed.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in shown],
            [numpy_helper.from_array(self.given[name], name) for name in self.constant],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        inferred = onnx.shape_inference.infer_shapes(proto)
        for value, found in zip(proto.graph.output, inferred.graph.output, strict=True):
            value.type.tensor_type.elem_type = found.type.tensor_type.elem_type or TensorProto.FLOAT
        return proto


def seeded(*shape: int, key: str = "", low: float = -2.0, high: float = 2.0) -> Array:
    """Uniform numbers that differ from case to case and never change."""
    rng = np.random.default_rng(zlib.crc32(f"{key}{shape}".encode()))
    return rng.uniform(low, high, shape).astype(np.float32)


def spaced(*shape: int, gap: float = 0.5) -> Array:
    """Numbers that are all at least `gap` apart, none nearer than gap/2 to zero: no step crosses a kink."""
    count = int(np.prod(shape))
    rng = np.random.default_rng(zlib.crc32(repr(shape).encode()))
    return ((rng.permutation(count) - count // 2 + 0.5) * gap).reshape(shape).astype(np.float32)


def seed_for(value: Array) -> Array:
    """Weights of the output's elements, none of them small."""
    rng = np.random.default_rng(value.size)
    return (rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1, 1], value.shape)).astype(np.float32)


def ours(case: Case, shapes: dict[str, Sequence[Any]] | None = None) -> tuple[Array, dict[str, Array]]:
    """The value and the gradients by onnxviz."""
    gradient = add_gradient(onnxviz.load(case.model()), of=case.target, wrt=case.wrt, shapes=shapes)
    external = any(tensor.external_data for tensor in gradient.proto.graph.initializer)  # the checker looks for files
    # GroupNormalization was deprecated in the version that introduced it; files have it all the same.
    if not external and (case.op, case.opset) != ("GroupNormalization", 18):
        onnx.checker.check_model(gradient.proto)
    session = gradient.session(threads=1)
    value = session.value(case.fed)
    result = session.run(case.fed, seed_for(value))
    np.testing.assert_array_equal(result.value, value)
    return result.value, result.gradients


def expected(case: Case) -> dict[str, Array]:
    """The gradients by central differences."""
    target = case.target
    if case.step is None:
        run, point = _reference(case, target), {n: _as_double(a) for n, a in case.fed.items()}
        step = 1e-6
    else:
        run, point, step = _runtime(case, target), dict(case.fed), case.step
    seed = seed_for(run(point)).astype(np.float64)
    gradients = {}
    for name in case.wrt:
        flat = np.zeros(point[name].size)
        for index in range(flat.size):
            ends = []
            for side in (step, -step):
                moved = point[name].copy()
                moved.reshape(-1)[index] += side
                ends.append(run({**point, name: moved}).astype(np.float64))
            flat[index] = (seed * (ends[0] - ends[1])).sum() / (2 * step)
        gradients[name] = flat.reshape(point[name].shape)
    return gradients


def check(case: Case) -> None:
    """Holds the gradients of a case against what they should be."""
    _, gradients = ours(case)
    wanted = expected(case)
    assert set(gradients) == set(wanted)
    for name, gradient in gradients.items():
        error = relative(gradient, wanted[name])
        assert error <= case.tolerance, f"{case.id}: gradient of '{name}' is off by {error:.2e} relative"


def _as_double(array: Array) -> Array:
    return np.asarray(array, np.float64) if array.dtype == np.float32 else array


def _reference(case: Case, target: str) -> Callable[[dict[str, Array]], Array]:
    if case.numpy is not None:
        formula, given = case.numpy, {n: _as_double(a) for n, a in case.given.items() if a is not None}
        return lambda feeds: formula(*{**given, **feeds}.values())
    proto = case.model()
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    if case.double:
        for tensor in proto.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(_as_double(numpy_helper.to_array(tensor)), tensor.name))
    evaluator = ReferenceEvaluator(proto)
    return lambda feeds: np.asarray(evaluator.run([target], feeds)[0])


def _runtime(case: Case, target: str) -> Callable[[dict[str, Array]], Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(case.model().SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run([target], feeds)[0]
