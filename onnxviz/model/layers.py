"""The layers of a graph: convolutions and others, in order, named; and the number of trained parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import NodeProto, TensorProto

from onnxviz.errors import ModelError
from onnxviz.messages import printable
from onnxviz.model.functions import SCOPE_KEY
from onnxviz.model.graph.constants import Constant, Constants
from onnxviz.model.graph.names import distinct
from onnxviz.model.graph.operators import Family, Form, belongs, convolution_form, running_statistics, settings_inputs
from onnxviz.model.graph.scopes import Scope, node_attributes, plain_domain, walk
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.windows import auto_pad
from onnxviz.model.layer import Layer
from onnxviz.model.naming import layer_name
from onnxviz.model.taps import ActivationTaps, FoundTaps


def find_layers(
    top: Scope,
    constants: Constants,
    shapes: Shapes,
    names: Mapping[tuple[str, str], str],
    known: FoundTaps,
    ops: Iterable[str] | None = None,
) -> tuple[Layer, ...]:
    """The layers of a graph and its subgraphs, in graph order.

    Args:
        top: the main graph.
        constants: finds weights.
        shapes: output shapes, looked up when they are asked for.
        names: what `name_nodes` gives.
        known: activation taps that are known; those that are found are added.
        ops: operators to list; None for the convolutions.

    Raises:
        ModelError: a convolution whose geometry is impossible.
    """
    wanted = None if ops is None else frozenset(ops)
    found: list[Layer] = []
    taps = ActivationTaps(constants, known)
    for scope, node in walk(top):
        form = convolution_form(node)
        if not node.output or not node.output[0]:
            continue
        if (form is None) if wanted is None else (node.op_type not in wanted):
            continue
        name = names[scope.name, node.output[0]]
        found.append(_layer(len(found), name, scope, node, constants, shapes, taps))
    return tuple(found)


def name_nodes(top: Scope, constants: Constants) -> dict[tuple[str, str], str]:
    """A distinct name for each node, by the path of its graph and its first output.

    Convolutions choose first, so that they are called the same whatever else is listed; `conv_0`, `relu_3`, … where
    the model names nothing.
    """
    nodes = [(scope, node) for scope, node in walk(top) if node.output and node.output[0]]
    nodes.sort(key=lambda item: convolution_form(item[1]) is None)  # stable: graph order otherwise
    keys, names, kinds, scopes = [], [], [], []
    for scope, node in nodes:
        form = convolution_form(node)
        place = 1 if form is None else form.weight
        weight = None
        if form is not None and place < len(node.input):
            found = constants.find(scope, node.input[place])
            weight = found.tensor if found is not None else None
        elif place < len(node.input) and (home := scope.home(node.input[place])) is not None:
            weight = node.input[place] if node.input[place] in home.initializers else None
        keys.append((scope.name, node.output[0]))
        names.append(printable(layer_name(node, weight), 200))
        kinds.append("conv" if form is not None else node.op_type.lower())
        scopes.append(_display_scope(scope, node))
    times = Counter(names)
    counts: Counter[str] = Counter()
    for position, name in enumerate(names):
        if not name:
            names[position] = f"{kinds[position]}_{counts[kinds[position]]}"
            counts[kinds[position]] += 1
        elif scopes[position] and times[name] > 1:
            names[position] = f"{scopes[position]}/{name}"
    return dict(zip(keys, distinct(names), strict=True))


def _display_scope(scope: Scope, node: NodeProto) -> str:
    """Where a node is: the path of its graph, then that of the function calls it came from."""
    call = next((entry.value for entry in node.metadata_props if entry.key == SCOPE_KEY), "")
    return "/".join(filter(None, (scope.name, call)))


def _layer(
    index: int,
    name: str,
    scope: Scope,
    node: NodeProto,
    constants: Constants,
    shapes: Shapes,
    taps: ActivationTaps,
) -> Layer:
    form = convolution_form(node)
    attributes = node_attributes(node)
    domain = plain_domain(node.domain)
    label = f"{node.op_type} '{printable(node.name or node.output[0])}'"
    weight = rank = None
    if form is not None:
        if form.weight >= len(node.input):
            raise ModelError(f"{label} has no weight input")
        weight = constants.find(scope, node.input[form.weight])
        if weight is not None and len(weight.shape) < 3:
            raise ModelError(f"{label} has a weight of shape {weight.shape}; a convolution's has 3 or more dimensions")
        if weight is not None:
            rank = len(weight.shape) - 2
        elif "kernel_shape" in attributes:
            rank = len(attributes["kernel_shape"].ints)
    group = attributes["group"].i if "group" in attributes else 1 if form is not None else None
    strides, dilations = (
        tuple(attributes[key].ints) if key in attributes else (1,) * rank if rank is not None else None
        for key in ("strides", "dilations")
    )
    if form is not None:
        _check_geometry(label, weight, form, group, strides, dilations, rank)
    tap = taps.find(scope, node)
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    return Layer(
        index=index,
        name=name,
        op=f"{domain}::{node.op_type}" if domain else node.op_type,
        node=node.name,
        scope=_display_scope(scope, node),
        strides=strides if form is not None or "strides" in attributes else None,
        dilations=dilations if form is not None else None,
        group=group,
        auto_pad=auto_pad(node),
        taps={"conv": node.output[0], "activation": tap.tensor},
        activation=tap,
        folded_batch_norm=_folded(scope, node, metadata) if form is not None else None,
        source=weight,
        _graph=scope,
        _proto=node,
        _form=form,
        _constants=constants,
        _shapes=shapes,
    )


def _check_geometry(
    label: str,
    weight: Constant | None,
    form: Form,
    group: int | None,
    strides: tuple[int, ...] | None,
    dilations: tuple[int, ...] | None,
    rank: int | None,
) -> None:
    if group is None or group < 1:
        raise ModelError(f"{label} has group {group}; it must be 1 or more")
    for key, values in (("strides", strides), ("dilations", dilations)):
        if values and min(values) < 1:
            raise ModelError(f"{label} has {key} {list(values)}; each must be 1 or more")
        if values is not None and rank is not None and len(values) != rank:
            raise ModelError(f"{label} has {len(values)} {key} for {rank} spatial axes")
    if weight is not None and weight.shape[0] % group:
        side = "input" if form.transposed else "output"
        raise ModelError(f"{label} has {weight.shape[0]} {side} channels in {group} groups")


def _folded(scope: Scope, node: NodeProto, metadata: dict[str, str]) -> bool | None:
    """True where an exporter noted the fold, False where the normalisation still follows, else None."""
    if "FuseBatchNorm" in metadata.get("pkg.onnxscript.rewriter.rule_name", ""):
        return True
    readers = scope.consumers.get(node.output[0], [])
    if any(reader.op_type == "BatchNormalization" for reader in readers):
        return False
    return None


_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_QUANTIZED = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4})


def count_parameters(top: Scope, constants: Constants) -> int:
    """Number of trained values in a graph and its subgraphs, each stored tensor counted once.

    Floating-point and quantised tensors count; scalars, quantisation scales and zero points, the running mean and
    variance of batch normalisations, and the integers that say shapes and axes do not.
    """
    settings: set[tuple[str, str]] = set()
    sizes: dict[tuple[str, str], int] = {}
    scopes: dict[str, Scope] = {"": top}
    for scope, node in walk(top):
        scopes.setdefault(scope.name, scope)
        settings.update((scope.name, name) for name in (*settings_inputs(node), *running_statistics(node)))
        if belongs(node, Family.CONSTANT) and node.output:
            found = constants.find(scope, node.output[0])
            if found is not None and found.is_trained:
                sizes[scope.name, node.output[0]] = found.size
    for scope in scopes.values():
        for name, tensor in scope.initializers.items():
            if tensor.dims and tensor.data_type in _FLOATS | _QUANTIZED:
                sizes[scope.name, name] = int(np.prod(tensor.dims, dtype=np.int64))
        for name, sparse in scope.sparse_initializers.items():
            sizes[scope.name, name] = int(np.prod(sparse.dims, dtype=np.int64))
    return sum(size for key, size in sizes.items() if key not in settings)
