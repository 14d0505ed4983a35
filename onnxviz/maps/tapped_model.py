"""A model whose layers are tapped: which, at which tensors, and for which samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from onnxviz.errors import InputError, OnnxvizError, SelectionError
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, samples
from onnxviz.messages import one_of, option
from onnxviz.model.layer import Layer, TapKind
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.model.selection import parts_of, select
from onnxviz.model.taps import quantization
from onnxviz.passes.expose import Tap, expose
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import RunOptions


@dataclass(frozen=True)
class TapPlan:
    """What one layer's tensor goes through after the run.

    Attributes:
        axis: which axis counts the samples; see `Layer.sample_axis`.
        scale, zero_point: how quantised values are read; None where they are not quantised.
    """

    layer: Layer
    tap: Tap
    output: str
    axis: int
    scale: NDArray[Any] | None
    zero_point: NDArray[Any] | None


@dataclass(frozen=True)
class LayerChoice:
    """Which layers are looked at, and at which of their tensors.

    Attributes:
        layers: a selection; see `onnxviz.model.selection.select`.
        ops: operators to choose among; None for the convolutions.
        at: "activation" for the layer's output as its source framework has it, "conv" for the operator's own.
    """

    layers: str | int | Sequence[str | int] = "all"
    ops: Sequence[str] | None = None
    at: TapKind = "activation"


class TappedModel:
    """A model whose layers are tapped, and the samples that it is for.

    Args:
        model: the model.
        x: as for `capture`.
        choice: which layers, and where they are tapped.
        images: how image files are read.
        options: how the model is run.
        keep_outputs: whether the model's own outputs stay as well.

    Attributes:
        samples: what is fed.
        layers: the layers, in graph order.
        plans: what each layer's tensor goes through.
        proto: the model that gives the taps.
        outputs: the names of its outputs that are taps.
        conditional: the taps in a branch that need not run.
        batching: the batches that it takes.
    """

    def __init__(
        self,
        model: Model,
        x: InputLike,
        choice: LayerChoice,
        images: ImageOptions,
        options: RunOptions,
        *,
        keep_outputs: bool = False,
    ) -> None:
        one_of("tap", choice.at, ("activation", "conv"))
        if options.memory < 2**20:
            raise InputError(f"a memory budget of {options.memory:,} bytes is too small; give 1 MiB or more")
        self.model = model
        self.images = images
        self.at: TapKind = choice.at
        self.options = options
        self.samples = samples(model, x, images)
        images.check_heeded(model, self.samples)
        self.layers = self._select(choice.layers, choice.ops)
        taps = [Tap(layer.taps[choice.at], layer.graph_scope.name) for layer in self.layers]
        exposed = expose(model, taps, keep_outputs=keep_outputs)
        self.proto = exposed.proto
        self.plans = [
            _plan(layer, tap, output) for layer, tap, output in zip(self.layers, taps, exposed.outputs, strict=True)
        ]
        self.conditional = exposed.conditional
        self.outputs = list(dict.fromkeys(exposed.outputs))
        self.batching = Batching.of(model, options.memory, needed={port.name for port in self.needed})

    @property
    def reads_images(self) -> bool:
        """Whether any sample is an image file, to which preprocessing applies."""
        return any(sample.photo for sample in self.samples)

    def _select(self, selection: str | int | Sequence[str | int], ops: Sequence[str] | None) -> tuple[Layer, ...]:
        model = self.model
        there = model.layers if ops is None else model.layers_of(ops)
        asked = [selection] if isinstance(selection, str | int) else list(selection)
        parts = [part for item in asked for part in parts_of(item, there)]
        if "block-ends" in parts:
            # Sizes that the model leaves open are those of the first sample that can be read.
            there = model.layers_of(ops, model.shapes_at(self._first_sizes()))
        try:
            return select(selection, there, model.label)
        except SelectionError:
            named = {layer.name: layer for layer in model.all_layers}
            other = named.get(next((str(part) for part in parts if not _is_among(part, there)), ""))
            if other is None:
                raise
            raise SelectionError(
                f"'{other.name}' of {model.label} is a {other.op}, not among the operators chosen: "
                f"give {option('ops', other.op, repr([other.op]))} (several: Conv,{other.op})"
            ) from None

    def _first_sizes(self) -> dict[str, tuple[int, ...]]:
        failure: OnnxvizError | None = None
        for sample in self.samples:
            try:
                return {name: array.shape for name, array in sample.read().items()}
            except OnnxvizError as error:
                failure = failure or error
        raise failure or InputError("no input was given")

    def check_inputs(self, feeds: Feeds) -> None:
        """Refuses a sample that lacks an input.

        Raises:
            InputError: one that the taps depend on is missing.
        """
        missing = [port.name for port in self.needed if port.name not in feeds]
        if missing:
            raise InputError(
                f"{self.model.label} also needs {', '.join(missing)} for these layers: give each as NAME=PATH"
            )

    @cached_property
    def needed(self) -> list[Port]:
        """The inputs that what is run reads."""
        stored = {tensor.name for tensor in self.proto.graph.initializer}
        read = {value.name for value in self.proto.graph.input} - stored
        return [port for port in self.model.inputs if port.name in read]


def _plan(layer: Layer, tap: Tap, output: str) -> TapPlan:
    found = quantization(layer.graph_scope, tap.tensor)
    scale = zero = None
    if found is not None:
        scale = layer.constant(found.scale)
        zero = layer.constant(found.zero_point)
    return TapPlan(layer, tap, output, layer.sample_axis, scale, zero)


def _is_among(part: str | int, layers: Sequence[Layer]) -> bool:
    """Whether a part of a selection means any of the layers."""
    try:
        return bool(select(part, layers, ""))
    except SelectionError:
        return False
