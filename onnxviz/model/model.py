"""`load` and the opened model: checked, cheap, and never changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import NodeProto, TensorProto

from onnxviz.arguments import typed
from onnxviz.errors import ModelError, SelectionError
from onnxviz.files import file_sha256
from onnxviz.model.activation_layout import lay_axes
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.operators import LAYERS, names_anywhere
from onnxviz.model.graph.scopes import Scope, plain_domain, walk
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.tensors import Stamp, TensorFile, file_stamp
from onnxviz.model.layer import Layer
from onnxviz.model.layers import count_parameters, find_layers, name_nodes
from onnxviz.model.normal_form import Scratch, annotated, follow_links, normalised
from onnxviz.model.pixels.input_range import InputRange, common_range, input_ranges, picture_inputs
from onnxviz.model.ports import Port, port_of, read_layout
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY, conflict, read_note
from onnxviz.model.selection import chosen_operators, select
from onnxviz.model.skeleton import read_skeleton
from onnxviz.model.validate import check
from onnxviz.model.writing import write_model

if TYPE_CHECKING:  # what follows axes is imported where it is asked for: most inputs tell theirs
    from onnxviz.model.axes.axis_trace import AxisTrace, ShapeOf
    from onnxviz.model.axes.factors import Axes
    from onnxviz.model.axes.said_axes import SaidAxes


@typed
def load(source: Source) -> Model:
    """Opens a model: its graph is read, its weights stay where they are.

    Args:
        source: a path to a `.onnx` file, the bytes of one, an `onnx.ModelProto`, or a `Model`, which is returned.

    Raises:
        ModelError: it is not an ONNX model, or it contradicts itself.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, onnx.ModelProto):
        try:
            source = source.SerializeToString()
        except Exception as error:  # protobuf raises several kinds past 2 GiB
            raise ModelError(f"the ModelProto cannot be serialised ({error}): save it with external data") from None
    if isinstance(source, bytes):
        # Through a file of its own, so that every model is opened, run and freed in one way.
        temporary = Scratch()
        path = temporary.folder / "model.onnx"
        path.write_bytes(source)
        return load_file(path, "the model", temporary)
    if isinstance(source, str | PathLike):
        return load_file(Path(source), str(Path(source)))
    raise ModelError(f"a model is a path, bytes or an onnx.ModelProto, not {type(source).__name__}")


def load_file(path: Path, label: str, temporary: object = None) -> Model:
    """Opens a file under another name; `temporary`, where it is not None, owns its folder and is kept."""
    # A symbolic link (model hubs use them) is followed, to the folder where references into the file hold.
    file = path.resolve() if os.path.exists(path) else path  # noqa: PTH110 - Path.exists raises on long names
    stamp = file_stamp(file)
    original = read_skeleton(file, label)
    if path.is_symlink():
        follow_links(original, path.parent, file)
    check(original, label, file.parent, file.name)
    return Model(original, file, label, stamp, temporary)


class Model:
    """A `.onnx` model, opened without its weights; made by `load`.

    Attributes:
        file: the `.onnx` file, symbolic links resolved.
        folder: the folder it lies in, where references into it hold.
        label: how messages call it: the path as it was given.
        proto: the model with functions inlined, nodes in topological order, and activations in another order of axes
            laid as their convolution has them (`onnxviz.model.activation_layout`); large weights are external
            references into `folder`. To be read, not changed.
        stored: the model as its file has it, functions and all, large weights left there; to be read, not changed.
        metadata: the model's own key–value notes.
    """

    def __init__(
        self,
        original: onnx.ModelProto,
        file: Path,
        label: str,
        stamp: Stamp,
        temporary: object = None,
    ) -> None:
        self.file, self.folder = file, file.parent
        self.label = label
        self.stored = original
        self._stamp = stamp
        self._temporary = temporary
        self.proto = normalised(original, label)
        self._taps = lay_axes(self.proto, self.constants)
        self.metadata = {str(entry.key): str(entry.value) for entry in self.proto.metadata_props}
        self._said: dict[str, SaidAxes] = {}

    def __repr__(self) -> str:
        return f"Model({self.label!r}, {len(self.proto.graph.node)} nodes)"

    @cached_property
    def opset(self) -> dict[str, int]:
        """Opset version by domain; "" is ONNX's own."""
        return {plain_domain(e.domain): e.version for e in self.proto.opset_import}

    @cached_property
    def scope(self) -> Scope:
        """The main graph with look-ups."""
        return Scope(self.proto.graph)

    @cached_property
    def constants(self) -> Constants:
        """Finds the values behind tensor names."""
        file = TensorFile(self.folder, keep=self._temporary)
        file.watch(self.file.name, self._stamp)
        return Constants(file)

    def check_unchanged(self) -> None:
        """Refuses to go on if the files were replaced or rewritten since the model was opened.

        Raises:
            ModelError: they were.
        """
        self.constants.file.check_unchanged()

    @cached_property
    def shapes(self) -> Shapes:
        """Inferred shapes of all tensors."""
        return Shapes(self.proto)

    def shapes_at(self, sizes: Mapping[str, Sequence[int]]) -> Shapes:
        """Inferred shapes of all tensors for inputs of these sizes, by input name."""
        return Shapes(self.proto, sizes)

    @cached_property
    def example_shapes(self) -> Shapes:
        """As `shapes`, with a number for every size of an input that the model leaves open: 1 sample, sides of 256.

        For what does not depend on these sizes: which axis is which, whether one tensor is finer than another. 256 is
        a multiple of every usual stride.
        """
        if all(isinstance(size, int) for port in self.inputs for size in port.shape or ()):
            return self.shapes
        sizes = {
            port.name: [size if isinstance(size, int) else 256 if axis else 1 for axis, size in enumerate(port.shape)]
            for port in self.inputs
            if port.shape
        }
        return self.shapes_at(sizes)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The convolutions, in graph order."""
        return self._find(None)

    @cached_property
    def all_layers(self) -> tuple[Layer, ...]:
        """Every layer a person would name: convolutions, poolings, activations, normalisations, dense layers."""
        convolutions = {layer.op.rpartition(":")[2] for layer in self.layers}
        return self._find(names_anywhere(LAYERS) | convolutions)

    @cached_property
    def _names(self) -> dict[tuple[str, str], str]:
        return name_nodes(self.scope, self.constants)

    def _find(self, ops: Iterable[str] | None, shapes: Shapes | None = None) -> tuple[Layer, ...]:
        try:
            return find_layers(self.scope, self.constants, shapes or self.shapes, self._names, self._taps, ops)
        except ModelError as error:
            raise ModelError(f"{self.label}: {error}") from None

    def layers_of(self, ops: Iterable[str] | None, shapes: Shapes | None = None) -> tuple[Layer, ...]:
        """The layers made by the given operators, in graph order; the convolutions where `ops` is None.

        Args:
            ops: operators.
            shapes: where output shapes come from, if not from the model alone.

        Raises:
            SelectionError: an operator that the model does not use; the message lists those it does.
        """
        if ops is None:
            return self._find(None, shapes)
        return self._find(chosen_operators(ops, self.operators, self.label), shapes)

    @cached_property
    def operators(self) -> tuple[str, ...]:
        """The operators the model uses, sorted."""
        return tuple(sorted({node.op_type for _, node in walk(self.scope)}))

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """How images are prepared, as JSON types: what the metadata say, else what the graph's first operators tell.

        None if neither says anything that can be read.
        """
        if PREPROCESSING_KEY in self.metadata:
            return read_note(self.metadata[PREPROCESSING_KEY])
        return self.expected_range.as_dict() if self.expected_range is not None else None

    @property
    def first_layer_order(self) -> str:
        """The order, "RGB" or "BGR", in which the first layer sees a picture's channels."""
        order = (self.preprocessing or {}).get("order", "RGB")
        if self.expected_range is not None and self.expected_range.reverses:
            return "RGB" if order == "BGR" else "BGR"
        return str(order)

    @property
    def preprocessing_source(self) -> str | None:
        """Who tells it: the "metadata" or the "graph"; None where neither does."""
        if self.preprocessing is None:
            return None
        return "metadata" if PREPROCESSING_KEY in self.metadata else "graph"

    @cached_property
    def preprocessing_conflict(self) -> str:
        """That metadata and graph say different things of how images are prepared; "" where they do not."""
        note = self.metadata.get(PREPROCESSING_KEY)
        return conflict(note, self.expected_range) if note is not None and self.expected_range is not None else ""

    @cached_property
    def expected_range(self) -> InputRange | None:
        """Which pixels the inputs for pictures expect, where the graph tells it of every one, and the same of all."""
        return common_range(self.input_ranges, self.picture_inputs)

    @cached_property
    def input_ranges(self) -> dict[str, InputRange]:
        """Which pixels the inputs for pictures and volumes expect, by name, where the first operators tell."""
        return input_ranges(self.scope, self.constants, lambda: self.shapes, self.opset, self.picture_inputs)

    @property
    def picture_inputs(self) -> tuple[Port, ...]:
        """The inputs for pictures and volumes that are read at all."""
        return picture_inputs(self.scope, self.inputs)

    def layer(self, which: str | int, *, any: bool = False) -> Layer:
        """The convolution with that name or 0-based position.

        Args:
            which: its name or position.
            any: whether a name may also be that of any other layer that `onnxviz layers --all` lists.

        Raises:
            SelectionError: there is none; the message lists those there are.
        """
        try:
            return self.select(which, exactly_one=True)[0]
        except SelectionError:
            named = [layer for layer in self.all_layers if layer.name == which] if any else []
            if not named:
                raise
            return named[0]

    def select(self, selection: str | int | Sequence[str | int], *, exactly_one: bool = False) -> tuple[Layer, ...]:
        """The convolutions that a selection means, in graph order; see `onnxviz.model.selection`."""
        return select(selection, self.layers, self.label, exactly_one=exactly_one)

    @cached_property
    def inputs(self) -> tuple[Port, ...]:
        """What must be fed; initializers that are listed as inputs too (IR < 4) are not among them."""
        stored = {*self.scope.initializers, *self.scope.sparse_initializers}
        fed = [value for value in self.proto.graph.input if value.name not in stored]
        ports = [port_of(value, self.scope, value.name) for value in fed]
        return tuple(replace(port, layout=self._layout(port, ports)) for port in ports)

    def _layout(self, port: Port, ports: Sequence[Port]) -> str:
        """The letters of an input's axes: as the caller said, as its readers tell, or as the graph goes on."""
        if port.name in self._said:
            return self._said[port.name].layout(port.name, port.shape)
        if not port.is_unclear or read_layout(len(port.shape or ()), self.scope, port.name):
            return port.layout
        from onnxviz.model.axes.axis_trace import AxisTrace
        from onnxviz.model.axes.input_layout import followed_layout

        def trace(starts: Mapping[str, Axes], sizes: Mapping[str, Sequence[int]]) -> AxisTrace:
            return AxisTrace(self.scope, self.constants, self.opset, self.shapes_at(sizes).of, starts)

        return followed_layout(port, ports, self.scope, trace)

    @cached_property
    def outputs(self) -> tuple[Port, ...]:
        """What the model gives."""
        return tuple(port_of(value, self.scope, None) for value in self.proto.graph.output)

    @cached_property
    def parameters(self) -> int:
        """Number of trained values; see `onnxviz.model.parameters.count_parameters`."""
        return count_parameters(self.scope, self.constants)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the `.onnx` file, in hex; reads the whole file."""
        self.check_unchanged()
        return file_sha256(self.file)

    def with_metadata(self, entries: dict[str, str]) -> Model:
        """A model like this one with these notes added or replaced; this one is unchanged."""
        return self.with_graph(annotated(self.stored, entries))

    def with_nodes(self, nodes: Iterable[NodeProto], weights: Iterable[TensorProto]) -> Model:
        """A model like this one, functions inlined, with further nodes and stored tensors; this one is unchanged."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        proto.graph.node.extend(nodes)
        proto.graph.initializer.extend(weights)
        return self.with_graph(proto)

    def with_graph(self, proto: onnx.ModelProto) -> Model:
        """A model of another graph whose stored tensors are this one's; this one is unchanged."""
        found = Model(proto, self.file, self.label, self._stamp, self._temporary)
        found._said = self._said
        return found

    def with_axes(self, axes: Mapping[str, str] | None) -> Model:
        """A model like this one of whose tensors it is said what their axes count; this one is unchanged.

        Args:
            axes: by the name of an input, a layer or a tensor, such as `{"views": "N,V,C,H,W"}`: N samples, V views, T
                frames, C channels, D, H, W positions; `N*V` where several are one axis, `1+H*W` (or `1+H14*W10`) where
                a class token stands before a picture's.

        Raises:
            OnnxvizError: it cannot be read so, the input has other axes, or there is no such tensor.
        """
        if not axes:
            return self
        from onnxviz.model.axes.said_axes import read_said

        taps = {layer.name: tuple(layer.taps.values()) for layer in self.all_layers}
        said = read_said(axes, self.scope, taps, {port.name: port.layout for port in self.inputs})
        found = copy(self)
        found._said = self._said | said
        for name in ("inputs", "input_ranges", "expected_range", "preprocessing_conflict"):
            vars(found).pop(name, None)  # what is worked out of the axes, and kept
        _ = found.inputs  # refused now where it does not fit
        return found

    @property
    def said_axes(self) -> dict[str, str]:
        """What `with_axes` was told, by tensor."""
        return {tensor: said.text for tensor, said in self._said.items()}

    def axes_at(self, sizes: Mapping[str, Sequence[int]], shape_of: ShapeOf, samples: int) -> AxisTrace:
        """What the axes of all tensors count for inputs of these sizes.

        Args:
            sizes: of every input, by name.
            shape_of: the shape of a tensor for such inputs.
            samples: how many samples they hold.
        """
        from onnxviz.model.axes.axis_trace import AxisTrace, input_axes

        batched, fed = batch_inputs(self.inputs), [port for port in self.inputs if port.name in sizes]
        starts = {port.name: input_axes(port.layout, sizes[port.name], batched=port.name in batched) for port in fed}

        def said(tensor: str, size: Sequence[int]) -> Axes | None:
            return self._said[tensor].of(tensor, size, samples) if tensor in self._said else None

        return AxisTrace(self.scope, self.constants, self.opset, shape_of, starts, said)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the model, weights included, to one `.onnx` file; written whole or not at all.

        A model of 2 GiB or more, which one protobuf file cannot hold, gets its weights in `NAME.data` beside it. Where
        `path` is a symbolic link, what it leads to is replaced.

        Raises:
            ModelError: the file cannot be written.
        """
        write_model(self.stored, self.constants.file.bytes_of, Path(path))
        return Path(path)


Source = Model | str | PathLike[str] | bytes | onnx.ModelProto
"""What `load` opens."""
