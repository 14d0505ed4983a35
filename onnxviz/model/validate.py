"""Validation: models that contradict themselves are refused before any native code sees them.

Crafted files make onnx's and onnxruntime's native code abort, hang or allocate gigabytes. This pass is pure Python
over the skeleton: names, tensor sizes, external locations, cycles and the expansion of functions.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto

from onnxviz.errors import ModelError
from onnxviz.messages import printable
from onnxviz.model.graph.scopes import all_graphs, plain_domain, reads, sparse_tensors, subgraphs, tensors
from onnxviz.model.graph.tensors import external_entry
from onnxviz.model.skeleton import GIT_LFS

MAX_ELEMENTS = 2**40
MAX_RANK = 64  # numpy's
# What calls of functions may grow to when the functions are put in their place.
MAX_EXPANDED_NODES = 50_000
MAX_EXPANDED_BYTES = 2**28
_NUMBER = re.compile(r"[0-9]{1,18}")
# A sparse initializer of some bytes can declare any dense size; onnxruntime expands it when it opens the model.
MAX_DENSE_BYTES = 2**30

_BITS = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    # Newer than the oldest onnx that onnxviz supports, hence numbers: FLOAT4E2M1, FLOAT8E8M0, UINT2, INT2.
    23: 4,
    24: 8,
    25: 2,
    26: 2,
}
# Where a TensorProto of each type keeps its values when not in raw_data, and how many entries one element takes.
_TYPED_FIELDS: dict[int, tuple[str, float]] = {
    TensorProto.FLOAT: ("float_data", 1),
    TensorProto.COMPLEX64: ("float_data", 2),
    TensorProto.DOUBLE: ("double_data", 1),
    TensorProto.COMPLEX128: ("double_data", 2),
    TensorProto.INT64: ("int64_data", 1),
    TensorProto.UINT64: ("uint64_data", 1),
    TensorProto.UINT32: ("uint64_data", 1),
    TensorProto.STRING: ("string_data", 1),
}


def check(model: onnx.ModelProto, path: str, folder: Path | None, own_name: str | None = None) -> None:
    """Refuses `model` where it contradicts itself.

    Args:
        model: a skeleton.
        path: how the user calls the model, for messages.
        folder: where external data lie; None if the model is in memory only.
        own_name: the model file's own name in `folder`, which is exempt from the rule of one hard link.

    Raises:
        ModelError: naming the node or tensor and what is wrong with it.
    """
    if not model.HasField("graph"):
        raise ModelError(f"{path} has no graph: it is empty or not an ONNX model")
    _check_names(model, path)
    for graph in all_graphs(model.graph):
        _check_unique_outputs(graph, path)
    _check_expansion(model, path)
    sizes: dict[str, int] = {}
    for tensor in tensors(model):
        problem = _tensor_problem(tensor) or _external_problem(tensor, folder, own_name, sizes)
        if problem:
            raise ModelError(f"{path}: tensor '{printable(tensor.name)}' {problem}")
    for sparse in sparse_tensors(model):
        problem = _shape_problem(sparse.dims)
        if not problem and math.prod(sparse.dims) * _BITS.get(sparse.values.data_type, 128) > MAX_DENSE_BYTES * 8:
            problem = f"declares {_shape(sparse.dims)}, more than {MAX_DENSE_BYTES >> 30} GiB when expanded"
        if problem:
            raise ModelError(f"{path}: sparse tensor '{printable(sparse.values.name)}' {problem}")


def sort_nodes(graph: GraphProto, path: str) -> list[NodeProto]:
    """The nodes of `graph`, each after those whose outputs it reads; the given order where it is one.

    Raises:
        ModelError: the nodes form a cycle (some of them are named).
    """
    nodes = list(graph.node)
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [{producer[name] for name in reads(node) if name in producer} for node in nodes]
    if all(not need or max(need) < index for index, need in enumerate(needs)):
        return nodes
    users: list[list[int]] = [[] for _ in nodes]
    for index, need in enumerate(needs):
        for other in need:
            users[other].append(index)
    waiting = [len(need) for need in needs]
    ready = [index for index, count in enumerate(waiting) if count == 0][::-1]
    order: list[int] = []
    while ready:
        index = ready.pop()
        order.append(index)
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    if len(order) < len(nodes):
        stuck = [nodes[i] for i, count in enumerate(waiting) if count]
        names = ", ".join(f"{n.op_type} '{printable(n.name or n.output[0])}'" for n in stuck[:3])
        raise ModelError(f"{path}: the graph has a cycle through {len(stuck)} nodes: {names}")
    return [nodes[index] for index in order]


def _check_names(model: onnx.ModelProto, path: str) -> None:
    """protobuf hands out a string that is not UTF-8 as bytes; nothing downstream expects that."""

    def refuse(what: str, name: object) -> None:
        if not isinstance(name, str):
            raise ModelError(f"{path}: the name of {what} is not UTF-8 text: {name!r:.60}")

    for text in (model.producer_name, model.producer_version, *(e.domain for e in model.opset_import)):
        refuse("the producer or of an opset", text)
    for graph in all_graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                refuse("a dimension", dim.dim_param)
    bodies: list[tuple[Iterable[NodeProto], Iterable[str]]] = []
    for graph in all_graphs(model.graph):
        bodies.append((graph.node, [value.name for value in (*graph.input, *graph.output, *graph.value_info)]))
    for function in model.functions:
        bodies.append((function.node, (*function.input, *function.output, function.name, function.domain)))
    for nodes, values in bodies:
        for name in values:
            refuse("a tensor", name)
        for node in nodes:
            for name in (node.name, node.op_type, node.domain):
                refuse("a node", name)
            for name in (*node.input, *node.output):
                refuse("a tensor", name)
            for attribute in node.attribute:
                refuse("an attribute", attribute.name)
            for entry in node.metadata_props:
                refuse("a metadata entry", entry.key)
                refuse("a metadata entry", entry.value)
    for tensor in tensors(model):
        refuse("a tensor", tensor.name)
    for entry in model.metadata_props:
        refuse("a metadata entry", entry.key)
        refuse("a metadata entry", entry.value)


def _check_unique_outputs(graph: GraphProto, path: str) -> None:
    made: set[str] = set()
    for node in graph.node:
        for name in node.output:
            if name and name in made:
                raise ModelError(f"{path}: tensor '{printable(name)}' is made by two nodes")
            made.add(name)


def _check_expansion(model: onnx.ModelProto, path: str) -> None:
    """Refuses functions that call themselves or grow beyond the limits when expanded, counted with a memo."""
    functions = {function_key(f): f for f in model.functions}
    if not functions:
        return
    sizes: dict[tuple[str, str, str], tuple[int, int]] = {}
    busy: set[tuple[str, str, str]] = set()

    def size(nodes: Iterable[NodeProto]) -> tuple[int, int]:
        count = room = 0
        for node in nodes:
            count += 1
            room += node.ByteSize()
            inner = [size(graph.node) for _, graph in subgraphs(node)]
            called = functions.get(call_key(node))
            if called is not None:
                inner.append(expanded(called))
            count += sum(part[0] for part in inner)
            room += sum(part[1] for part in inner)
        return count, room

    def expanded(function: FunctionProto) -> tuple[int, int]:
        key = function_key(function)
        if key in busy:
            raise ModelError(f"{path}: function '{printable(function.name)}' calls itself")
        if key not in sizes:
            busy.add(key)
            sizes[key] = size(function.node)
            busy.discard(key)
        return sizes[key]

    try:
        count, room = size(model.graph.node)
    except RecursionError:
        raise ModelError(f"{path}: functions or subgraphs are nested too deeply") from None
    if count > MAX_EXPANDED_NODES:
        raise ModelError(f"{path}: functions expand to {count:,} nodes; the limit is {MAX_EXPANDED_NODES:,}")
    if room > MAX_EXPANDED_BYTES:
        raise ModelError(f"{path}: functions expand to {room:,} bytes; the limit is {MAX_EXPANDED_BYTES:,}")


def function_key(function: FunctionProto) -> tuple[str, str, str]:
    """What a call must name to mean `function`: domain, name, overload."""
    return plain_domain(function.domain), function.name, getattr(function, "overload", "")


def call_key(node: NodeProto) -> tuple[str, str, str]:
    """What `node` calls: domain, operator, overload."""
    return plain_domain(node.domain), node.op_type, getattr(node, "overload", "")


def _shape(dims: Iterable[int]) -> str:
    shown = list(dims)
    return "x".join(map(str, shown[:8])) + ("x…" if len(shown) > 8 else "") if shown else "scalar"


def _shape_problem(dims: Sequence[int]) -> str | None:
    if len(dims) > MAX_RANK:
        return f"declares {len(dims):,} dimensions; the limit is {MAX_RANK}"
    if min(dims, default=0) < 0:
        return f"has a negative dimension: {_shape(dims)}"
    # Without the zeros: numpy refuses 0x2**62x4 too.
    if math.prod(dim for dim in dims if dim) > MAX_ELEMENTS:
        return f"declares the shape {_shape(dims)}; the limit is {MAX_ELEMENTS:,} elements"
    return None


def _tensor_problem(tensor: TensorProto) -> str | None:
    """Whether the declared shape and type fit the bytes that are there."""
    problem = _shape_problem(tensor.dims)
    if problem:
        return problem
    if tensor.data_type == TensorProto.UNDEFINED or tensor.data_type not in TensorProto.DataType.values():
        return f"has the element type {tensor.data_type}, which onnx {onnx.__version__} does not know"
    elements = math.prod(tensor.dims)
    bits = _BITS.get(tensor.data_type)
    if bits is None:  # strings, and types newer than this table
        return None
    wanted = (elements * bits + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        length = external_entry(tensor, "length")
        there = int(length) if _NUMBER.fullmatch(length) else wanted if not length else -1
    elif tensor.HasField("raw_data"):
        there = len(tensor.raw_data)
    else:
        field, entries = _TYPED_FIELDS.get(tensor.data_type, ("int32_data", bits / 8 if bits < 8 else 1))
        count = len(getattr(tensor, field))
        if count == math.ceil(elements * entries):
            return None
        return f"declares the shape {_shape(tensor.dims)} = {elements:,} elements but holds {count:,}"
    if there != wanted:
        return f"declares the shape {_shape(tensor.dims)} = {wanted:,} bytes but holds {max(there, 0):,}"
    return None


def _external_problem(
    tensor: TensorProto, folder: Path | None, own_name: str | None, sizes: dict[str, int]
) -> str | None:
    """Whether the bytes of a tensor with external data are inside the folder, in a plain file, and all there."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    location = external_entry(tensor, "location")
    if tensor.data_type == TensorProto.STRING:
        return "is of type string, which cannot be external"
    if folder is None:
        return f"refers to external data '{printable(location)}', which a model in memory cannot have: load the file"
    if location not in sizes:
        problem = None if location == own_name else _location_problem(folder, location)
        if problem:
            return f"refers to external data '{printable(location)}', which {problem}"
        sizes[location] = (folder / location).stat().st_size
    keys = [entry.key for entry in tensor.external_data]
    if len(set(keys)) < len(keys):
        return "has contradictory external data: a key occurs twice"
    offset, length = external_entry(tensor, "offset") or "0", external_entry(tensor, "length")
    if not _NUMBER.fullmatch(offset):
        return f"has the external offset '{printable(offset)}', which is not a number"
    bits = _BITS.get(tensor.data_type, 0)
    end = int(offset) + (int(length) if length else (math.prod(tensor.dims) * bits + 7) // 8)
    if end > sizes[location] and _is_pointer(folder / location):
        return f"refers to external data '{printable(location)}', which is a Git-LFS pointer: run 'git lfs pull'"
    if end > sizes[location]:
        return (
            f"needs bytes up to {end:,} of external data '{printable(location)}', "
            f"which has {sizes[location]:,}: the file is incomplete"
        )
    return None


def _is_pointer(file: Path) -> bool:
    """Whether a file holds what Git LFS leaves in the place of one that was not fetched."""
    with file.open("rb") as data:
        return data.read(len(GIT_LFS)) == GIT_LFS


def _location_problem(folder: Path, location: str) -> str | None:
    target = Path(location)
    if not location or "\0" in location or target.is_absolute() or ".." in target.parts or "\\" in location:
        return "is not a plain relative path"
    file = folder / target
    try:
        info = file.lstat()
        if stat.S_ISLNK(info.st_mode) or not file.resolve().is_relative_to(folder.resolve()):
            return "leads outside the model's folder or is a symbolic link"
    except FileNotFoundError:
        return f"is missing from {folder}: it must lie beside the model"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(info.st_mode):
        return "is not a regular file"
    if info.st_nlink != 1:
        return "has several hard links, so it may be another program's file: copy it"
    return None
