"""Tiny models as ONNX text, with seeded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

FOLDER = Path(__file__).parent / "zoo"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnxtxt"))


def model(name: str) -> onnx.ModelProto:
    """The model in `zoo/NAME.onnxtxt`.

    Each graph input whose name has a `.` or `/` becomes an initializer with seeded values, so that the text need not
    hold them. With IR 3 it stays an input as well, as files of that time have it.
    """
    proto = onnx.parser.parse_model((FOLDER / f"{name}.onnxtxt").read_text())
    weights = [value for value in proto.graph.input if "." in value.name or "/" in value.name]
    for value in weights:
        rng = np.random.default_rng(sum(value.name.encode()))
        proto.graph.initializer.append(_weight(value, rng))
    if proto.ir_version > 3:
        inputs = [value for value in proto.graph.input if value not in weights]
        del proto.graph.input[:]
        proto.graph.input.extend(inputs)
    onnx.checker.check_model(proto)
    return proto


def feeds(
    proto: onnx.ModelProto, seed: int = 0, batch: int = 2, batches: dict[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Seeded inputs: symbolic dimensions get size `batch`, or the size given for their name."""
    rng = np.random.default_rng(seed)
    stored = {tensor.name for tensor in proto.graph.initializer}
    found = {}
    for value in proto.graph.input:
        if value.name in stored:
            continue
        kind = value.type.tensor_type
        dims = [d.dim_value or (batches or {}).get(d.dim_param, batch) for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        found[value.name] = np.asarray(rng.standard_normal(dims)).astype(dtype)
    return found


def _weight(value: onnx.ValueInfoProto, rng: np.random.Generator) -> onnx.TensorProto:
    kind = value.type.tensor_type
    dims = [dim.dim_value for dim in kind.shape.dim]
    if kind.elem_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        values = rng.integers(-8, 8, int(np.prod(dims)))
        return onnx.helper.make_tensor(value.name, kind.elem_type, dims, values)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype) if dtype.itemsize == 1 else np.iinfo(np.int8)
        return numpy_helper.from_array(rng.integers(limits.min, limits.max, dims).astype(dtype), value.name)
    values = (
        rng.standard_normal(dims) * (1 / np.sqrt(max(1, np.prod(dims[1:]))))
        if len(dims) > 1
        else rng.uniform(0.5, 1.5, dims)
    )
    return numpy_helper.from_array(values.astype(dtype), value.name)
