"""Shapes of intermediate tensors, inferred by onnx in a process of its own.

onnx's shape inference is native code that some models abort or hang (a negative Pad before a Slice is enough). The
model comes from a stranger, so it runs in a worker that may die; the table is then shown without shapes.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import IO

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, TensorProto, ValueInfoProto

from onnxviz.model.graph.scopes import all_graphs, subgraph_path, subgraphs
from onnxviz.model.graph.symbolic_sizes import Dim, carry_names

TIMEOUT_SECONDS = 30.0
# Models and what is inferred of them pass the pipes behind their length in eight bytes. The worker loads onnx's native
# module alone, a quarter of the time that the package takes, which brings numpy and protobuf along; where that module
# is not what it was, the package does it.
_WORKER = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
try:
    found = spec_from_file_location("onnx_cpp2py_export", {native!r})
    native = module_from_spec(found)
    found.loader.exec_module(native)
    native_inference = native.shape_inference.infer_shapes
    def infer(data):
        return native_inference(data, False, False, True)
    infer({empty!r})
except Exception:
    sys.path[:] = {path!r}
    import onnx.shape_inference
    def infer(data):
        return onnx.shape_inference.infer_shapes(data, data_prop=True).SerializeToString()
while length := int.from_bytes(sys.stdin.buffer.read(8), "little"):
    data = infer(sys.stdin.buffer.read(length))
    sys.stdout.buffer.write(len(data).to_bytes(8, "little") + data)
    sys.stdout.buffer.flush()
"""


class Inference:
    """onnx's shape inference in a worker process, started at the first model; to be used as a context."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Inference:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
        self._ended()

    def infer(self, model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
        """The model with shapes, and ""; or the model itself, and why nothing could be inferred."""
        try:
            process = self._started()
        except OSError as error:
            return model, f"shape inference could not be started: {error}"
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(TIMEOUT_SECONDS, stop)
        timer.start()
        try:
            data = _exchanged(process, model.SerializeToString())
        except OSError:
            data = None
        finally:
            timer.cancel()
        if late.is_set():
            self._ended()
            return model, f"shape inference took more than {TIMEOUT_SECONDS:.0f} s"
        if data is None:
            return model, f"shape inference failed: {self._ended()}"
        try:
            return onnx.ModelProto.FromString(data), ""
        except DecodeError:
            return model, "shape inference gave an unreadable model"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])).SerializeToString()
            code = _WORKER.format(native=onnx.onnx_cpp2py_export.__file__, empty=empty, path=sys.path)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker has ended
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        return self._process

    def _ended(self) -> str:
        """Why the worker ended: the last line that it wrote, or its exit code; waits for it."""
        process, self._process = self._process, None
        if process is None or self._errors is None:
            return ""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        code = process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._errors.close()
        return lines[-1] if lines else f"exit {code}"


_shared: ContextVar[Inference | None] = ContextVar("_shared", default=None)


@contextlib.contextmanager
def shared_inference() -> Iterator[None]:
    """One worker for all shapes that are worked out meanwhile: its start takes longer than most models do."""
    with Inference() as inference:
        before = _shared.set(inference)
        try:
            yield
        finally:
            _shared.reset(before)


def _exchanged(process: subprocess.Popen[bytes], data: bytes) -> bytes | None:
    """What the worker answers, None if it dies over it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(data).to_bytes(8, "little") + data)
    process.stdin.flush()
    length = int.from_bytes(process.stdout.read(8), "little")
    answer = process.stdout.read(length)
    return answer if length and len(answer) == length else None


class Shapes:
    """Shapes and element types of a model's tensors, worked out when one is first asked for.

    Args:
        model: a skeleton with functions inlined; not changed.
        inputs: sizes of inputs that the model leaves open, by input name.
        inference: a worker that runs already; by default that of `shared_inference`, or one is started for it alone.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        inputs: Mapping[str, Sequence[int]] | None = None,
        inference: Inference | None = None,
    ) -> None:
        self._model = model
        self._inference = inference
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
        if (running := self._inference or _shared.get()) is not None:
            return running.infer(self._model)
        with Inference() as inference:
            return inference.infer(self._model)

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
