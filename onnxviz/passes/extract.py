"""`extract`: the part of a model up to chosen layers, or between two of them, as a model of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, ValueInfoProto, helper

from onnxviz.arguments import typed
from onnxviz.errors import SelectionError
from onnxviz.messages import printable
from onnxviz.model.graph.scopes import Scope, plain_domain, walk
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.layer import Layer, TapKind
from onnxviz.model.layers import name_nodes
from onnxviz.model.model import Model, Source, load
from onnxviz.model.naming import LAYER_KEY
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY
from onnxviz.model.scores import NAME_KEYS
from onnxviz.passes.excerpt import excerpt
from onnxviz.passes.expose import Tap, expose

_OWN_NOTES = "onnxviz."
_LISTED = 8


@typed
def extract(
    model: Source,
    layers: str | int | Sequence[str | int],
    *,
    at: TapKind = "activation",
    from_: str | int | None = None,
) -> Model:
    """The part of a model that ends with chosen layers, weights included, as a model of its own.

    What the layers do not need is left out. Names of tensors, nodes and layers stay; so do the notes in the metadata
    but for those on what is gone: the names of classes, the record of a conversion, and of a part that begins later
    how images are prepared.

    Args:
        model: an opened model, or what `load` opens. It is not changed, and its weights stay in its file until the
            part is saved.
        layers: a selection of convolutions (see `onnxviz.model.selection`), or the name of any layer; each gives an
            output, (N, C, spatial…) as the graph has it, in graph order.
        at: "activation" for the layer's output as its source framework has it, "conv" for the operator's own.
        from_: the name or position of the layer with which the part begins: what this layer's operator reads is the
            part's only input; None for the beginning of the model.

    Raises:
        SelectionError: there is no such layer, one is inside an If, or the part would need more than what `from_`
            reads: the message names the layers with which it can begin.
    """
    opened = load(model)
    chosen = chosen_layers(opened, layers)
    taps = [Tap(layer.taps[at], layer.scope) for layer in chosen]
    if from_ is None:
        exposed = expose(opened, list(dict.fromkeys(taps)))
        if exposed.conditional:
            name = next(layer.name for layer, tap in zip(chosen, taps, strict=True) if tap in exposed.conditional)
            raise SelectionError(f"layer '{printable(name)}' is inside an If, whose other branch does not compute it")
        part, tensor = exposed.proto, None
    else:
        part, tensor = _between(opened, opened.layer(from_, any=True), chosen, taps)
    turns = {tap: layer.sample_axis for layer, tap in zip(chosen, taps, strict=True)}
    for value, tap in zip(part.graph.output, turns, strict=True):
        _declare(value, opened, tap, turns[tap])
    for value in part.graph.input:
        if value.name == tensor:
            _declare(value, opened, Tap(value.name))
    _describe(part, opened, begins=tensor is None)
    _keep_names(part, opened)
    return opened.with_graph(part)


def chosen_layers(model: Model, layers: str | int | Sequence[str | int]) -> tuple[Layer, ...]:
    """Convolutions by a selection, or any layer by its name."""
    names = [layers] if isinstance(layers, str | int) else list(layers)
    others = {layer.name: layer for layer in model.all_layers if not layer.is_convolution}
    if names and all(name in others for name in names):
        return tuple(others[str(name)] for name in names)
    return model.select(layers)


def _between(
    model: Model, first: Layer, last: Sequence[Layer], taps: Sequence[Tap]
) -> tuple[onnx.ModelProto, str | None]:
    """The part from one layer to others, and the tensor that is its input; None where it is the model's own."""
    inside = next((layer for layer in (first, *last) if layer.scope), None)
    if inside is not None:
        raise SelectionError(
            f"layer '{printable(inside.name)}' is inside '{printable(inside.scope)}': a part that begins with a layer "
            "is one of the main graph"
        )
    tensor, ends = first.producer.input[0], [tap.tensor for tap in taps]
    follow = model.scope.descendants([tensor]) - {tensor}
    before = [layer.name for layer, end in zip(last, ends, strict=True) if end not in follow]
    if before:
        raise SelectionError(f"{_listed(before)} does not follow '{printable(first.name)}', with which the part begins")
    part = excerpt(model, tensor, ends)
    stored = {*model.scope.initializers, *model.scope.sparse_initializers}
    needed = [value.name for value in part.graph.input if value.name not in stored]
    if needed == [tensor]:
        return part, tensor if tensor in model.scope.producers else None
    possible = [layer.name for layer in model.layers if not layer.scope and _begins(model, layer, ends, stored)]
    there = f"a part can begin with {_listed(possible)}" if possible else "no convolution lies on all of them"
    goals = _listed([layer.name for layer in last])
    raise SelectionError(
        f"other ways than through '{printable(first.name)}' lead from the model's input to {goals}; {there}"
    )


def _listed(names: Sequence[str]) -> str:
    """Layers in words: the last of many."""
    return ("…, " if len(names) > _LISTED else "") + ", ".join(f"'{printable(name)}'" for name in names[-_LISTED:])


def _begins(model: Model, layer: Layer, ends: Sequence[str], stored: set[str]) -> bool:
    """Whether all that the ends need of the input passes through what a layer reads."""
    part = excerpt(model, layer.producer.input[0], ends)
    needed = [value.name for value in part.graph.input if value.name not in stored]
    return needed == [layer.producer.input[0]]


def _declare(value: ValueInfoProto, model: Model, tap: Tap, turns: int = 0) -> None:
    """Gives an input or output its type, and its sizes where they are known; `turns` of loops count its first axes."""
    if value.type.WhichOneof("value") and value.type.tensor_type.HasField("shape"):
        return
    kind = model.shapes.element_type(tap.tensor, tap.scope)
    shape = model.shapes.of(tap.tensor, tap.scope)
    if kind == TensorProto.UNDEFINED:
        return
    if shape is not None:
        shape = (*[None] * turns, *shape)
    value.CopyFrom(helper.make_tensor_value_info(value.name, kind, None if shape is None else _sizes(shape)))


def _sizes(shape: Sequence[Dim]) -> list[int | str | None]:
    """Numbers and names of sizes; one that is an expression is left open."""
    return [size if isinstance(size, int) or str(size).isidentifier() else None for size in shape]


def _describe(part: onnx.ModelProto, model: Model, *, begins: bool) -> None:
    """Gives the part what the model says of itself, as far as it holds for the part."""
    source, graph = model.stored, part.graph
    part.producer_name, part.producer_version = source.producer_name, source.producer_version
    graph.name = source.graph.name or "graph"
    made = {name for node in graph.node for name in node.output}
    graph.value_info.extend(value for value in model.proto.graph.value_info if value.name in made)
    answers = {value.name for value in model.proto.graph.output}
    whole = any(value.name in answers for value in graph.output)
    for entry in source.metadata_props:
        if entry.key == PREPROCESSING_KEY:
            keeps = begins
        elif entry.key in NAME_KEYS:
            keeps = whole
        else:
            keeps = not entry.key.startswith(_OWN_NOTES)
        if keeps:
            part.metadata_props.add(key=entry.key, value=entry.value)
    domains = {plain_domain(node.domain) for _, node in walk(Scope(graph))} | {""}
    kept = [entry for entry in part.opset_import if plain_domain(entry.domain) in domains]
    del part.opset_import[:]
    part.opset_import.extend(kept)


def _keep_names(part: onnx.ModelProto, model: Model) -> None:
    """Notes the layers' names where the part alone would give them others: those that count layers."""
    top = Scope(part.graph)
    names = {(layer.graph_scope.name, layer.producer.output[0]): layer.name for layer in model.all_layers}
    for (scope, tensor), name in name_nodes(top, model.constants).items():
        kept = names.get((scope, tensor), name)
        if kept != name:
            node = next(node for where, node in walk(top) if where.name == scope and tensor in node.output)
            node.metadata_props.add(key=LAYER_KEY, value=kept)
