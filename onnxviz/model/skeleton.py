"""The skeleton of a model file: a small `ModelProto` whose weights stay in the file.

A `.onnx` file is protobuf wire format: a sequence of (field number, wire type, payload), where a payload may be
a message of the same form. Only the tags have to be read to find every large `TensorProto.raw_data`; each of them
is replaced by an *external data* reference into the model file itself, and everything else is copied as it is.
The result is an ordinary model of some kilobytes: every graph edit is cheap, onnx's own tools accept it, and
onnxruntime maps the weights from the file. The cost is that of the graph, not of the weights.

Field numbers are those of onnx.proto3 (ONNX 1.23); wire format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnxviz.errors import ModelError
from onnxviz.model.graph.tensors import open_regular

# Below this size a tensor stays inline: shape inference and constant folding need the values of shapes and axes.
INLINE_BYTES = 1024
# A file with more nodes, inputs, tensors … than this in all its graphs is refused before anything native sees it.
MAX_PARTS = 200_000
MAX_DEPTH = 100
# What stays after the weights are taken out goes through a protobuf parser, whose messages end at 2 GiB.
MAX_MESSAGE_BYTES = 2**31 - 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message -> {field number: (what the payload is)}; only the fields on the way to a TensorProto's raw_data.
_PATHS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14

GIT_LFS = b"version https://git-lfs"
"""How a file begins that Git LFS leaves in the place of one that was not fetched."""
_NOT_ONNX = (
    (GIT_LFS, "is a Git-LFS pointer, not the model: fetch it with 'git lfs pull'"),
    (b"<!doctype", "is an HTML page, not a model: download the file itself"),
    (b"<html", "is an HTML page, not a model: download the file itself"),
    (b"<?xml", "is an XML file, not a model"),
    (b"pk\x03\x04", "is a zip archive (.keras, .pt, .pt2 or .npz?), not an ONNX model: convert it first"),
    (b"\x89hdf", "is an HDF5 file (Keras .h5?), not an ONNX model: convert it first"),
    (b"{", "is a JSON file, not a model"),
)


class _Malformed(Exception):
    """The bytes at `offset` are not protobuf."""

    def __init__(self, offset: int, why: str) -> None:
        self.offset, self.why = offset, why


def read_skeleton(path: Path, label: str) -> onnx.ModelProto:
    """The model in `path` without its large weights.

    Args:
        path: a `.onnx` file; symbolic links must be resolved already, since references hold the file's own name.
        label: how messages call the file.

    Returns:
        The model; tensors of `INLINE_BYTES` or more of raw data are external references into `path.name`.

    Raises:
        ModelError: not an ONNX file, or damaged; the message says what it looks like and where it breaks.
    """
    with open_regular(path, label) as data:
        if hasattr(data, "madvise"):  # only the tags between the weights are read: no reading ahead
            data.madvise(mmap.MADV_RANDOM)
        lead = bytes(data[:64]).lower().lstrip(b"\xef\xbb\xbf \t\r\n")
        for magic, what in _NOT_ONNX:
            if lead.startswith(magic):
                raise ModelError(f"{label} {what}")
        try:
            skeleton = _Walker(data, path.name).model()
            proto = onnx.ModelProto.FromString(skeleton)
        except _Malformed as broken:
            raise ModelError(
                f"{label} is not an ONNX model or is truncated: {broken.why} at byte {broken.offset:,} of {len(data):,}"
            ) from None
        except DecodeError as broken:
            raise ModelError(f"{label} is not an ONNX model: protobuf says '{broken}'") from None
    return proto


class _Walker:
    """Copies one file's wire format, with each large tensor replaced by a reference to where it lies."""

    # A message shorter than this cannot hold a tensor to be replaced: it is copied with its surroundings.
    shortest = INLINE_BYTES

    def __init__(self, data: mmap.mmap | bytes, location: str) -> None:
        self.data = data
        self.location = location
        self.parts = 0

    def model(self) -> bytes:
        """The rewritten `ModelProto`."""
        chunks = self.message("Model", 0, len(self.data), 0) or [self.data[:]]
        if sum(map(len, chunks)) > MAX_MESSAGE_BYTES:
            raise _Malformed(0, "more than 2 GiB that are not raw tensor data")
        return b"".join(chunks)

    def message(self, kind: str, start: int, end: int, depth: int) -> list[bytes | memoryview] | None:
        """The message in `data[start:end]`, rewritten, as chunks of bytes; None if nothing in it changes."""
        if depth > MAX_DEPTH:
            raise _Malformed(start, f"messages nested deeper than {MAX_DEPTH}")
        if kind == "Tensor":
            return self.tensor(start, end)
        inner = _PATHS[kind]
        chunks: list[bytes | memoryview] = []
        copied = start  # everything before this offset is in chunks already
        for field, wire, tag, payload, after in self.fields(start, end):
            if kind != "Node":
                self.parts += 1
                if self.parts > MAX_PARTS:
                    raise _Malformed(tag, f"more than {MAX_PARTS:,} nodes, inputs and tensors")
            target = inner.get(field) if wire == _BYTES else None
            if target is None:
                continue
            if after - payload < self.shortest:
                continue
            rewritten = self.message(target, payload, after, depth + 1)
            if rewritten is None:
                continue
            chunks.append(self.data[copied:tag])
            chunks.append(_tag(field, _BYTES) + _varint(sum(map(len, rewritten))))
            chunks.extend(rewritten)
            copied = after
        if copied == start:
            return None
        chunks.append(self.data[copied:end])
        return chunks

    def tensor(self, start: int, end: int) -> list[bytes | memoryview] | None:
        """A `TensorProto`, its large raw data replaced by a reference; None if it has none."""
        raw: tuple[int, int] | None = None
        parts: list[bytes | memoryview] = []
        for field, wire, tag, payload, after in self.fields(start, end):
            if field == _RAW_DATA and wire == _BYTES:
                raw = (payload, after)  # protobuf: the last one counts
                continue
            if field in (_EXTERNAL_DATA, _DATA_LOCATION):
                return None
            parts.append(self.data[tag:after])  # its other large fields (float_data, …) stay inline
        if raw is None or raw[1] - raw[0] < INLINE_BYTES:
            return None
        return [*parts, _reference(self.location, raw[0], raw[1] - raw[0])]

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yields (field, wire type, offset of the tag, offset of the payload, offset after it)."""
        data = self.data
        position = start
        while position < end:
            tag = position
            key, position = self.varint(position, end)
            field, wire = key >> 3, key & 7
            if field == 0:
                raise _Malformed(tag, "field number 0")
            if wire == _BYTES:
                # The one-byte length is by far the most common: spare it the call.
                if position < end and data[position] < 0x80:
                    length = data[position]
                    position += 1
                else:
                    length, position = self.varint(position, end)
                after = position + length
            elif wire == _VARINT:
                _, after = self.varint(position, end)
            elif wire == _FIXED32:
                after = position + 4
            elif wire == _FIXED64:
                after = position + 8
            else:
                raise _Malformed(tag, f"wire type {wire}")
            if after > end:
                raise _Malformed(tag, f"a field of {after - position:,} bytes where {end - position:,} are left")
            yield field, wire, tag, position, after
            position = after

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """The base-128 number at `position`, and the offset after it."""
        value = shift = 0
        start = position
        while True:
            if position >= end:
                raise _Malformed(start, "the file ends inside a number")
            byte = self.data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                raise _Malformed(start, "a number longer than 64 bits")


class _Embedder(_Walker):
    """The other way: copies a skeleton's wire format, with each reference replaced by the bytes it refers to.

    Args:
        data: the serialised skeleton.
        fetch: the bytes of a tensor with external data.
        location: the file that shall hold the weights instead, "" to put them into the model.
    """

    shortest = 0

    def __init__(self, data: bytes, fetch: Callable[[onnx.TensorProto], memoryview], location: str) -> None:
        super().__init__(data, location)
        self.fetch = fetch
        self.moved: list[memoryview] = []
        self.offset = 0

    def tensor(self, start: int, end: int) -> list[bytes | memoryview] | None:
        parts: list[bytes | memoryview] = []
        external = False
        for field, _, tag, _, after in self.fields(start, end):
            if field in (_EXTERNAL_DATA, _DATA_LOCATION):
                external = True
            else:
                parts.append(self.data[tag:after])
        if not external:
            return None
        tensor = onnx.TensorProto.FromString(self.data[start:end])
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return None
        raw = self.fetch(tensor)
        if not self.location:
            return [*parts, _tag(_RAW_DATA, _BYTES) + _varint(len(raw)), raw]
        padding = -self.offset % 64  # aligned for any element type
        self.moved.extend((memoryview(bytes(padding)), raw))
        self.offset += padding + len(raw)
        return [*parts, _reference(self.location, self.offset - len(raw), len(raw))]


def embed_weights(
    skeleton: onnx.ModelProto, fetch: Callable[[onnx.TensorProto], memoryview], data_name: str
) -> tuple[list[bytes | memoryview], list[memoryview]]:
    """A skeleton made whole again.

    Args:
        skeleton: the model, with references.
        fetch: gives the bytes of a tensor with external data; no copy is made of them.
        data_name: name of the file for weights that do not fit into the model.

    Returns:
        The chunks of the model file, and those of the data file: none, unless the model would be 2 GiB or more,
        more than a protobuf message can hold.
    """
    data = skeleton.SerializeToString()
    for location in ("", data_name):
        embedder = _Embedder(data, fetch, location)
        chunks = embedder.message("Model", 0, len(data), 0) or [data]
        if sum(map(len, chunks)) <= MAX_MESSAGE_BYTES:
            break
    return chunks, embedder.moved


def _reference(location: str, offset: int, length: int) -> bytes:
    """The fields of a TensorProto that say its bytes are in another file."""
    out = b""
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        out += _field(_EXTERNAL_DATA, _field(1, key.encode()) + _field(2, value.encode()))
    return out + _tag(_DATA_LOCATION, _VARINT) + _varint(onnx.TensorProto.EXTERNAL)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _field(field: int, payload: bytes) -> bytes:
    return _tag(field, _BYTES) + _varint(len(payload)) + payload
