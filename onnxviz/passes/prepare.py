"""Preparation for gradients and receptive fields: one opset, float32, known sizes, folded constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto

from onnxviz.errors import InputError
from onnxviz.messages import dims as shown
from onnxviz.messages import meant, printable
from onnxviz.model.graph.constants import Constant, Constants
from onnxviz.model.graph.scopes import Scope, plain_domain
from onnxviz.model.graph.shapes import Inference, Shapes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.model import Model
from onnxviz.passes.correct_shapes import correct
from onnxviz.passes.fold_small import fold
from onnxviz.passes.split_sequences import take_apart
from onnxviz.passes.upgrade_opset import outdated, upgrade
from onnxviz.passes.widen_half import widen

# Each turn may make known what the next one needs; most models take one or two, ShuffleNet one for each shuffle.
MAX_TURNS = 32
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)

InputShapes = Mapping[str, Sequence[int | str | None]]


class Prepared:
    """A graph that rules can be applied to.

    Attributes:
        model: opset 18 or later, functions inlined, constants folded; external data lie in `folder`. Not changed.
        file: reads the constants.
        folder: the source model's folder.
        label: how messages call the model.
        opset: of the source model.
        widened: whether half precision was replaced by float32.
    """

    def __init__(self, model: onnx.ModelProto, shapes: Shapes, source: Model, widened: bool) -> None:
        self.model = model
        self.folder = source.folder
        self.label = source.label
        self.opset = source.opset.get("", 0)
        self.widened = widened
        self.file = source.constants.file
        self._shapes = shapes
        self._constants = Constants(self.file)

    @property
    def graph(self) -> GraphProto:
        """The main graph."""
        return self.model.graph

    @cached_property
    def scope(self) -> Scope:
        """The main graph with look-ups."""
        return Scope(self.model.graph)

    @cached_property
    def _stored(self) -> dict[str, tuple[tuple[int, ...], int]]:
        return {tensor.name: (tuple(tensor.dims), tensor.data_type) for tensor in self.graph.initializer}

    def shape(self, tensor: str) -> tuple[Dim, ...] | None:
        """A size, the name of a symbolic dimension, or None, per axis; None if not even the rank is known."""
        if tensor in self._stored:
            return self._stored[tensor][0]
        return self._shapes.of(tensor)

    def element_type(self, tensor: str) -> int:
        """The tensor's `TensorProto.DataType`, UNDEFINED (0) if unknown."""
        if tensor in self._stored:
            return self._stored[tensor][1]
        return self._shapes.element_type(tensor)

    def constant(self, tensor: str) -> Constant | None:
        """The constant called `tensor`, unread; None if it depends on the input."""
        return self._constants.find(self.scope, tensor)

    @cached_property
    def newest(self) -> int:
        """The opset of `model`."""
        return max((e.version for e in self.model.opset_import if not plain_domain(e.domain)), default=0)

    def outdated(self, node: onnx.NodeProto) -> str:
        """What in `node` could not be brought to the model's opset, "" if all was."""
        return outdated(node, self.newest) if self.newest != self.opset else ""

    @property
    def pin_hint(self) -> str:
        """How to give the sizes that the inputs leave open, "" if they leave none."""
        stored = self._stored
        parts = []
        for value in self.graph.input:
            dims = self.shape(value.name) or ()
            if value.name in stored or all(isinstance(dim, int) for dim in dims):
                continue
            sizes = [d if isinstance(d, int) else 1 if axis == 0 else 224 for axis, d in enumerate(dims)]
            parts.append(f"'{printable(value.name)}': {tuple(sizes)}")
        return f"shapes={{{', '.join(parts)}}}" if parts else ""


_Key = tuple[tuple[str, tuple[int | str | None, ...]], ...]
_PREPARED: WeakKeyDictionary[Model, dict[_Key, Prepared]] = WeakKeyDictionary()


def prepare(model: Model, shapes: InputShapes | None = None) -> Prepared:
    """The model ready for differentiation; remembered for each model and each set of sizes.

    Args:
        model: not changed.
        shapes: sizes of inputs, by input name, in place of what the model says; a name or None leaves a size open.

    Raises:
        InputError: an input that the model does not have, or of another rank.
    """
    given = shapes or {}
    key: _Key = tuple(sorted((name, tuple(dims)) for name, dims in given.items()))
    found = _PREPARED.setdefault(model, {})
    if key not in found:
        found[key] = _prepared(model, dict(key))
    return found[key]


def _prepared(model: Model, shapes: Mapping[str, tuple[int | str | None, ...]]) -> Prepared:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph

    def rank(tensor: str) -> int | None:
        dims = model.shapes.of(tensor)
        found = model.constants.find(model.scope, tensor) if dims is None else None
        return len(dims) if dims is not None else len(found.shape) if found is not None else None

    upgrade(proto, rank)
    _drop_defaults(graph)
    widened = widen(proto)
    _pin(model, graph, shapes)
    _forget_sizes(graph)
    file = model.constants.file
    take_apart(graph, Constants(file))
    read: dict[str, NDArray[Any] | None] = {}
    with Inference() as inference:
        inferred = Shapes(proto, inference=inference)
        for _ in range(MAX_TURNS):
            folded, vectors = fold(proto, inferred, file, read)
            corrected = correct(graph, inferred, vectors)
            if not corrected and (not folded or _all_known(graph, inferred)):
                break
            inferred = Shapes(proto, inference=inference)
        inferred.of("")  # while there is a worker
    return Prepared(proto, inferred, model, widened)


def _all_known(graph: GraphProto, shapes: Shapes) -> bool:
    """Whether inferring shapes anew can teach nothing."""
    return all(None not in (shapes.of(name) or (None,)) or shapes.of(name) == () for name in _outputs(graph))


def _outputs(graph: GraphProto) -> Iterator[str]:
    return (name for node in graph.node for name in node.output if name)


def _drop_defaults(graph: GraphProto) -> None:
    """Initializers that are inputs too (IR < 4) could be fed; nothing here does, and constants can be optimised."""
    stored = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in stored]
    if len(kept) < len(graph.input):
        copies = [type(value).FromString(value.SerializeToString()) for value in kept]
        del graph.input[:]
        graph.input.extend(copies)


def _pin(model: Model, graph: GraphProto, shapes: Mapping[str, tuple[int | str | None, ...]]) -> None:
    """Writes the given sizes into the graph's inputs."""
    inputs = {value.name: value for value in graph.input}
    for name, dims in shapes.items():
        value = inputs.get(name)
        if value is None:
            there, hint = ", ".join(printable(known) for known in inputs), meant(name, inputs)
            raise InputError(f"{model.label} has no input '{printable(name)}'; {hint}it has {there}")
        shape = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape") and len(shape.dim) != len(dims):
            declared = next((port.shape for port in model.inputs if port.name == name), None)
            raise InputError(
                f"input '{printable(name)}' of {model.label} has {len(shape.dim)} axes ({shown(declared)}), "
                f"but {len(dims)} sizes were given: {shown(dims)}"
            )
        del shape.dim[:]
        for dim in dims:
            shape.dim.add(**({"dim_value": dim} if isinstance(dim, int) else {"dim_param": dim} if dim else {}))


def _forget_sizes(graph: GraphProto) -> None:
    """Drops declared shapes of what nodes make: inference knows better once sizes are pinned.

    What other domains' operators make stays, since inference knows nothing of those.
    """
    foreign = {name for node in graph.node if plain_domain(node.domain) for name in node.output}
    kept = [type(v).FromString(v.SerializeToString()) for v in graph.value_info if v.name in foreign]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for value in graph.output:
        if value.name not in foreign and value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
