"""The normal form of an opened model: functions inlined, nodes sorted, links to external data followed."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import onnx
from onnx import GraphProto

from onnxviz.model.functions import inline_functions
from onnxviz.model.graph.names import distinct
from onnxviz.model.graph.scopes import all_graphs, set_nodes, subgraphs, tensors
from onnxviz.model.validate import sort_nodes


class Scratch:
    """A folder that goes when nobody holds this object any more."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="onnxviz-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def follow_links(proto: onnx.ModelProto, folder: Path, file: Path) -> None:
    """Names external data as they are called beside the file that a link leads to.

    Model hubs keep `snapshot/model.onnx` and `snapshot/model.onnx_data` as links to files with other names in one
    folder. A link that leads anywhere else is left, and refused by `check`.
    """
    for tensor in tensors(proto):
        for entry in tensor.external_data:
            link = folder / str(entry.value)
            if entry.key == "location" and entry.value != file.name and link.is_symlink():
                target = link.resolve()
                if target.parent == file.parent:
                    entry.value = target.name


def normalised(original: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """Functions inlined, nodes sorted, negative dimensions (which abort onnx's shape inference) made unknown."""
    proto = onnx.ModelProto()
    proto.CopyFrom(inline_functions(original))
    for graph in all_graphs(proto.graph):
        _name_owners(graph)
        nodes = sort_nodes(graph, label)
        if any(a is not b for a, b in zip(nodes, graph.node, strict=True)):
            set_nodes(graph, nodes)
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.Clear()
    return proto


def _name_owners(graph: GraphProto) -> None:
    """Gives the nodes that carry subgraphs distinct names, since paths of subgraphs are made of them."""
    owners = [(index, node) for index, node in enumerate(graph.node) if next(subgraphs(node), None) is not None]
    names = distinct(node.name or f"{node.op_type}_{index}" for index, node in owners)
    for (_, node), name in zip(owners, names, strict=True):
        node.name = name


def annotated(proto: onnx.ModelProto, entries: dict[str, str]) -> onnx.ModelProto:
    """A copy with these notes added or replaced."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    kept = {entry.key: entry.value for entry in copy.metadata_props}
    kept.update(entries)
    del copy.metadata_props[:]
    for key, value in kept.items():
        copy.metadata_props.add(key=key, value=value)
    return copy
