"""Models with planted defects, the photos that they are shown, and what an audit says of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import planted
from onnx import helper, numpy_helper
from PIL import Image
from samples import CLASSIFIER, photo_crops

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding

SIDE = 96


def audited(model: Any, data: Any, select: str, **options: Any) -> Audit:
    """The audit of a model on data by the checks whose codes begin with any of these."""
    return planted.audited(model, select, data=data, **options)


def findings(model: Any, data: Any, code: str, **options: Any) -> tuple[Finding, ...]:
    """What a check finds; it must have run."""
    found = audited(model, data, code, **options)
    assert not found.not_run, found.not_run
    return found.findings


def why_not_run(model: Any, data: Any, code: str, **options: Any) -> str:
    """Why a check did not run."""
    found = audited(model, data, code, **options)
    assert not found.findings
    (one,) = found.not_run
    return one.why


@cache
def _classifier() -> bytes:
    return CLASSIFIER.read_bytes()


def classifier() -> onnx.ModelProto:
    """The sample classifier: image (N, 3, 96, 96) of −1…1 to logits (N, 11)."""
    return onnx.load_from_string(_classifier())


def changed(proto: onnx.ModelProto, **arrays: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    """The model with stored tensors made anew; `.` of their names is written `_`."""
    names = {tensor.name.replace(".", "_"): tensor.name for tensor in proto.graph.initializer}
    for name, change in arrays.items():
        planted.changed(proto, names[name], change)
    return proto


def ending(proto: onnx.ModelProto, text: str, **constants: np.ndarray) -> onnx.ModelProto:
    """The model with more nodes behind: `text` reads its output as `end` and makes the new output."""
    old = proto.graph.output[0].name
    nodes = onnx.parser.parse_graph(f"g (float[n,k] end) => (float[n,k] out) {{ {text} }}").node
    for node in nodes:
        node.input[:] = [old if name == "end" else name for name in node.input]
        node.output[:] = ["new/" + name if name == "out" else name for name in node.output]
        node.name = node.name or f"planted_{node.op_type}"
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    proto.graph.output[0].name = "new/out"
    return proto


def beginning(proto: onnx.ModelProto, scale: Any, offset: Any, *, keep_note: bool = False) -> onnx.ModelProto:
    """The model with `image · scale + offset` before it, of each channel, and without its note on preprocessing."""
    for node in proto.graph.node:
        node.input[:] = ["prepared" if name == "image" else name for name in node.input]
    for name, values in (("prepare.scale", scale), ("prepare.offset", offset)):
        array = np.broadcast_to(np.asarray(values, np.float32).reshape(-1, 1, 1), (3, 1, 1)).copy()
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    proto.graph.node.insert(0, helper.make_node("Add", ["scaled", "prepare.offset"], ["prepared"], "offset"))
    proto.graph.node.insert(0, helper.make_node("Mul", ["image", "prepare.scale"], ["scaled"], "scale"))
    if not keep_note:
        kept = [entry for entry in proto.metadata_props if "preprocessing" not in entry.key]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)
    return proto


def crops(folder: Path, count: int, side: int = SIDE, seed: int = 0, *, more: bool = False) -> list[str]:
    """Files with crops of the three photos, of that side; with `more` of eight."""
    paths = []
    for number, pixels in enumerate(photo_crops(count, side, seed, more=more)):
        path = folder / f"crop{number:02}.png"
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return paths


def crop_inputs(count: int, seed: int = 0) -> np.ndarray:
    """The same as the classifier's input, (count, 3, 96, 96)."""
    pixels = photo_crops(count, SIDE, seed).astype(np.float32).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels / 127.5 - 1)


def run(proto: onnx.ModelProto, x: np.ndarray, *tensors: str) -> list[np.ndarray]:
    """Tensors of a model by onnxruntime alone; its outputs where none is named."""
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(tensors) or None, {made.graph.input[0].name: x})
