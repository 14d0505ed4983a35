"""What is known of an export: its text, and for each row which tensors hold what the source's modules give."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx.printer
import onnxruntime

FOLDER = Path(__file__).resolve().parents[1] / "zoo" / "exports"
SHAPE = (2, 2, 5, 6)
"""(N, C, H, W) of what every network is fed, channels last for Keras."""
CLOSE = 1e-4


def fed() -> np.ndarray:
    """What every network is fed, channels first."""
    return np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)


@dataclass
class Traced:
    """A network as exported, and as its framework runs it.

    Attributes:
        made_by: framework, exporter and their versions.
        proto: the export.
        given: by row, what the modules behind the convolution give for `fed()`, channels first.
        bare: rows whose convolution has no activation of its own; the tap is then the operator's own output.
        left_out: rows that the exporter refuses, and why.
    """

    made_by: str
    proto: onnx.ModelProto
    given: dict[str, np.ndarray]
    bare: frozenset[str]
    left_out: dict[str, str]


def names() -> list[str]:
    """The exports that are kept."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def kept(name: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """An export from its text, and what is known of it."""
    proto = onnx.parser.parse_model((FOLDER / f"{name}.onnxtxt").read_text(encoding="utf-8"))
    return proto, json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def keep(name: str, traced: Traced) -> None:
    """Writes an export as text, and what is known of it."""
    proto, facts = known(traced)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.onnxtxt").write_text(onnx.printer.to_text(proto) + "\n", encoding="utf-8")
    lines = [f'  "made_by": {json.dumps(traced.made_by)}', f'  "left_out": {json.dumps(traced.left_out)}']
    rows = ",\n".join(f"    {json.dumps(row)}: {json.dumps(fact)}" for row, fact in facts.items())
    lines.append(f'  "rows": {{\n{rows}\n  }}')
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def table(exports: dict[str, dict[str, tuple[str, str]]]) -> str:
    """The taps of each export in words, as tests/zoo/exports/taps.txt has them."""
    parts = []
    for name, taps in exports.items():
        width = max(map(len, taps))
        parts.append("\n".join([name, *(f"  {row:{width}}  {words}" for row, (_, words) in taps.items())]))
    return "\n\n".join(parts) + "\n"


def taps(name: str) -> dict[str, tuple[str, str]]:
    """By row of an export: which tensor the activation tap is, and that in words."""
    from onnxviz.model.model import load

    proto, facts = kept(name)
    layers = {layer.taps["conv"]: layer for layer in load(proto).layers}
    found = {}
    for row, fact in facts["rows"].items():
        if fact["conv"] is not None:
            layer = layers[fact["conv"]]
            found[row] = layer.taps["activation"], layer.tapped("activation")
    return found


def known(traced: Traced) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The export with short names, and for each row: its convolution, and the tensors that hold what is given.

    `same` are tensors with the given values, `reordered` those that have them in channels-last order. `mean` and `norm`
    are of what the source gives. A row of which nothing can run, since the exporter wrote operators that do not exist,
    has neither.
    """
    proto = bare(traced.proto)
    found: dict[str, dict[str, Any]] = {}
    renamed = {value.name: "x" for value in proto.graph.input}
    values = tensors(proto)
    before = ancestors(proto)
    for row, wanted in traced.given.items():
        same = [name for name, value in values.items() if alike(value, wanted)]
        moved = np.moveaxis(wanted, 1, -1)
        reordered = [] if same else [name for name, value in values.items() if alike(value, moved)]
        facts: dict[str, Any] = {"conv": None, "same": same, "reordered": reordered}
        if same or reordered:
            facts["conv"] = convolution(proto, before, (same or reordered)[0])
            if row in traced.bare:
                facts |= {"same": [facts["conv"]], "reordered": []}
            facts |= {"mean": float(np.float32(wanted.mean())), "norm": float(np.float32(np.linalg.norm(wanted)))}
        found[row] = facts
    owners = {facts["conv"]: row for row, facts in found.items() if facts["conv"]}
    counts: dict[str, int] = {}
    for node in proto.graph.node:
        for name in filter(None, node.output):
            mine = [row for conv, row in owners.items() if conv == name or conv in before.get(name, ())]
            owner = mine[0] if len(mine) == 1 else "t"
            counts[owner] = counts.get(owner, -1) + 1
            renamed[name] = f"{owner}.{counts[owner]}"
    for number, tensor in enumerate(proto.graph.initializer):
        renamed[tensor.name] = f"k{number}"
    rename(proto.graph, renamed)
    for facts in found.values():
        facts["conv"] = renamed.get(facts["conv"])
        facts["same"], facts["reordered"] = ([renamed[one] for one in facts[key]] for key in ("same", "reordered"))
    return proto, found


def alike(value: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether a tensor holds what is wanted; an axis of size 1 may be in it too, as in convolutions along one axis."""
    if value.dtype.kind != "f" or value.size != wanted.size or value.shape[:2] != wanted.shape[:2]:
        return False
    if [size for size in value.shape if size > 1] != [size for size in wanted.shape if size > 1]:
        return False
    return np.allclose(value.reshape(wanted.shape), wanted, rtol=CLOSE, atol=CLOSE)


def bare(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without names of nodes, metadata and comments; functions inlined."""
    import onnx.inliner

    made = (
        onnx.inliner.inline_local_functions(proto)
        if proto.functions
        else onnx.ModelProto.FromString(proto.SerializeToString())
    )
    plain = onnx.ModelProto(ir_version=min(made.ir_version, 10), opset_import=made.opset_import)
    plain.graph.name = "exported"
    for graph in [made.graph]:
        _strip(graph)
    plain.graph.node.extend(made.graph.node)
    plain.graph.input.extend(made.graph.input)
    plain.graph.output.extend(made.graph.output)
    plain.graph.initializer.extend(made.graph.initializer)
    return plain


def _strip(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for node in graph.node:
        node.ClearField("name")
        node.ClearField("doc_string")
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.HasField("g"):
                _strip(attribute.g)
    for one in [*graph.input, *graph.output, *graph.initializer]:
        one.ClearField("doc_string")
        del one.metadata_props[:]


def tensors(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What every node makes of `fed()`, in onnxruntime without optimisation; without what cannot run."""
    known_ops = {schema.name for schema in onnx.defs.get_all_schemas()}
    exposed = onnx.ModelProto.FromString(proto.SerializeToString())
    lost: set[str] = set()
    kept_nodes = []
    for node in exposed.graph.node:
        if node.op_type not in known_ops or lost.intersection(node.input):
            lost.update(node.output)
        else:
            kept_nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept_nodes]
    del exposed.graph.node[:], exposed.graph.output[:]
    exposed.graph.node.extend(copies)
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for node in copies for name in node.output if name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    x = fed() if port.shape[1] == SHAPE[1] else np.moveaxis(fed(), 1, -1)
    made = [one.name for one in session.get_outputs()]
    return dict(zip(made, session.run(made, {port.name: x}), strict=True))


def ancestors(proto: onnx.ModelProto) -> dict[str, set[str]]:
    """For each tensor, all that nodes make on the way to it; nodes stand in an order in which they can run."""
    found: dict[str, set[str]] = {}
    for node in proto.graph.node:
        inner = [one.input for attribute in node.attribute if attribute.HasField("g") for one in attribute.g.node]
        before = {name for name in [*node.input, *(name for one in inner for name in one)] if name in found}
        for name in list(before):
            before |= found[name]
        for name in filter(None, node.output):
            found[name] = before
    return found


def convolution(proto: onnx.ModelProto, before: dict[str, set[str]], tensor: str) -> str:
    """The output of the last convolution on the way to a tensor, or the tensor itself where it is one's."""
    there = [
        node.output[0]
        for node in proto.graph.node
        if "Conv" in node.op_type and (node.output[0] == tensor or node.output[0] in before[tensor])
    ]
    return next(name for name in there if not any(name in before[other] for other in there))


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Gives tensors other names, those of inner graphs too."""
    for node in graph.node:
        for listed in (node.input, node.output):
            for place, name in enumerate(listed):
                listed[place] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                inner = {
                    one: f"inner{number}" for number, one in enumerate(o for n in attribute.g.node for o in n.output)
                }
                rename(attribute.g, {**names, **inner})
    for one in [*graph.input, *graph.output, *graph.initializer]:
        one.name = names.get(one.name, one.name)
