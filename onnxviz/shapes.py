"""Shapes of intermediate tensors, inferred by onnx in a process of its own.

onnx's shape inference is native code that some models abort or hang (a negative Pad before a Slice is enough). The
model comes from a stranger, so it runs in a worker that may die; the table is then shown without shapes.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, TensorProto, ValueInfoProto

from onnxviz.scopes import all_graphs, subgraph_path, subgraphs
from onnxviz.symbols import Dim, carry_names

TIMEOUT_SECONDS = 30.0
_WORKER = """
import sys
sys.path[:] = {path!r}
import onnx.shape_inference
data = onnx.shape_inference.infer_shapes(sys.stdin.buffer.read(), data_prop=True)
sys.stdout.buffer.write(data if isinstance(data, bytes) else data.SerializeToString())
"""


class Shapes:
    """Shapes and element types of a model's tensors, worked out when one is first asked for.

    Args:
        model: a skeleton with functions inlined; not changed.
        inputs: sizes of inputs that the model leaves open, by input name.
    """

    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]] | None = None) -> None:
        self._model = model
        if inputs:
            self._model = onnx.ModelProto()
            self._model.CopyFrom(model)
            for value in self._model.graph.input:
                for dim, size in zip(value.type.tensor_type.shape.dim, inputs.get(value.name, ()), strict=False):
                    dim.dim_value = size

    def of(self, tensor: str, scope: str = "") -> tuple[Dim, ...] | None:
        """The shape of `tensor` in the graph at path `scope`; None if not even the rank is known."""
        return (
            self._carried.get(tensor) if not scope and tensor in self._carried else self._inferred_shape(tensor, scope)
        )

    @cached_property
    def _carried(self) -> dict[str, tuple[Dim, ...]]:
        stored = {tensor.name: tuple(tensor.dims) for tensor in self._model.graph.initializer}
        return carry_names(self._model.graph, lambda tensor: self._inferred_shape(tensor, "") or stored.get(tensor))

    def _inferred_shape(self, tensor: str, scope: str) -> tuple[Dim, ...] | None:
        value = self._values.get((scope, tensor))
        shape = None if value is None else value_shape(value)
        if shape is None:
            return None
        # Inference invents names such as unk__3 for what it does not know.
        return tuple(None if isinstance(dim, str) and dim not in self._declared else dim for dim in shape)

    def element_type(self, tensor: str, scope: str = "") -> int:
        """The tensor's `TensorProto.DataType`, UNDEFINED (0) if unknown."""
        value = self._values.get((scope, tensor))
        return value.type.tensor_type.elem_type if value is not None else TensorProto.UNDEFINED

    @property
    def largest(self) -> int:
        """Number of elements of the largest tensor whose size is known, 0 if none is."""
        largest = 0
        for value in self._values.values():
            shape = value_shape(value) or (None,)
            sizes = [dim for dim in shape if isinstance(dim, int)]
            if len(sizes) == len(shape):
                largest = max(largest, math.prod(sizes))
        return largest

    @property
    def failure(self) -> str:
        """Why inference gave nothing, "" if it worked."""
        return self._inferred[1]

    @cached_property
    def _declared(self) -> frozenset[str]:
        """The names of dimensions that the model itself uses."""
        values = [v for g in all_graphs(self._model.graph) for v in (*g.input, *g.output, *g.value_info)]
        return frozenset(dim.dim_param for v in values for dim in v.type.tensor_type.shape.dim if dim.dim_param)

    @cached_property
    def _inferred(self) -> tuple[onnx.ModelProto, str]:
        code = _WORKER.format(path=sys.path)
        try:
            worker = subprocess.run(
                [sys.executable, "-P", "-c", code],
                input=self._model.SerializeToString(),
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return self._model, f"shape inference took more than {TIMEOUT_SECONDS:.0f} s"
        except OSError as error:
            return self._model, f"shape inference could not be started: {error}"
        if worker.returncode != 0:
            lines = worker.stderr.decode("utf-8", "replace").strip().splitlines()
            return self._model, "shape inference failed: " + (lines[-1] if lines else f"exit {worker.returncode}")
        try:
            return onnx.ModelProto.FromString(worker.stdout), ""
        except DecodeError:
            return self._model, "shape inference gave an unreadable model"

    @cached_property
    def _values(self) -> dict[tuple[str, str], ValueInfoProto]:
        found: dict[tuple[str, str], ValueInfoProto] = {}

        def collect(graph: GraphProto, path: str) -> None:
            for value in (*graph.input, *graph.value_info, *graph.output):
                if value.type.HasField("tensor_type"):
                    found[path, value.name] = value
            for index, node in enumerate(graph.node):
                for attribute, inner in subgraphs(node):
                    collect(inner, subgraph_path(path, node, index, attribute))

        collect(self._inferred[0].graph, "")
        return found


def value_shape(value: ValueInfoProto) -> tuple[Dim, ...] | None:
    """The shape of a declared tensor: sizes, names of symbolic dimensions, None for unknown ones."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims: list[Dim] = []
    for dim in value.type.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            dims.append(dim.dim_value)
        else:
            dims.append(dim.dim_param or None)
    return tuple(dims)
