"""The interface of a converter: a model of another framework, ready to be traced, run and compared.

A converter is an object (a module will do) registered under the entry-point group `onnxviz.converters` that has the
attributes of `Converter`. onnxviz finds it there and never by name, so that others can add theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import onnx
from numpy.typing import NDArray

from onnxviz.errors import ConversionError
from onnxviz.inputs.preprocessing import Preprocessing

# A size, or None where it is open. The first axis is the batch.
InputShape = tuple[int | None, ...]


@dataclass(frozen=True)
class SourceInput:
    """An input of the source model.

    Attributes:
        name: what it is called in the ONNX model.
        shape: its sizes; None is open.
        dtype: numpy's name of the element type.
    """

    name: str
    shape: InputShape
    dtype: str = "float32"


@dataclass(frozen=True)
class SourceLayer:
    """A convolution of the source model, or one of several convolutions that a source layer consists of.

    Attributes:
        path: how the source calls it: `block1_conv1`, `layers.0.conv`; what `onnxviz layers` shows.
        weight: name of its weight among `Traced.weights`.
        bias: name of its bias, None where it has none.
        kernel: reads the weight from the source, in ONNX order (O, I/group, spatial…), as `Layer.weight` has it.
        offset: reads the bias from the source, shape (O,); None where it has none.
        observed: whether `SourceModel.run` can give its output.
        activation: what the source layer applies to the convolution's output before it gives it out; None: nothing.
    """

    path: str
    weight: str
    kernel: Callable[[], NDArray[Any]]
    bias: str | None = None
    offset: Callable[[], NDArray[Any]] | None = None
    observed: bool = True
    activation: Callable[[NDArray[Any]], NDArray[Any]] | None = None


class Unverifiable(ConversionError):
    """The source model cannot be run here, for a reason that lies in this machine and not in the model."""


@dataclass(frozen=True)
class Traced:
    """The source model as an ONNX graph whose weights lie outside.

    Attributes:
        proto: the graph. It reads weights by name without declaring them (or declares them as inputs). Each node's
            metadata entry `onnxviz.layer` holds the path of the source layer it comes from.
        weights: the values by name, of the source itself, not copied: shape and element type as the graph reads them.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Observed:
    """What the source model computes.

    Attributes:
        outputs: its outputs, in the order of the ONNX model's outputs.
        maps: by path of an observed layer, its output at each call, in order; axes (N, C, spatial…).
    """

    outputs: Sequence[NDArray[Any]]
    maps: Mapping[str, Sequence[NDArray[Any]]] = field(default_factory=dict)


class SourceModel(ABC):
    """A model of another framework. Nothing about it is changed when these methods have returned.

    Attributes:
        framework: its framework's name, "Keras".
        versions: versions of what converts it, by package name.
        inputs: what it is fed.
        layers: its convolutions.
        preprocessing: how its images are prepared, where the model is a known one; else None.
        notes: what a user should be told: what was assumed, what is left out.
    """

    framework: str
    versions: Mapping[str, str]
    inputs: tuple[SourceInput, ...]
    layers: tuple[SourceLayer, ...]
    preprocessing: Preprocessing | None
    notes: list[str]

    @abstractmethod
    def trace(self, opset: int) -> Traced:
        """The graph, and the weights it reads.

        Raises:
            ConversionError: an operation that ONNX or the exporter lacks; the message names layer and operation.
        """

    @abstractmethod
    def run(self, feeds: Mapping[str, NDArray[Any]], observe: Sequence[str] = ()) -> Observed:
        """The source's own outputs, and those of the layers in `observe`.

        Args:
            feeds: arrays by input name.
            observe: paths of observed layers.

        Raises:
            Unverifiable: this machine cannot run it, whatever it is fed.
        """


@runtime_checkable
class Converter(Protocol):
    """Turns models of one framework into `SourceModel`s. Importing it must not import the framework.

    Attributes:
        framework: the framework's name for messages.
        packages: packages it imports when it opens a model.
        install: what to install where one of them is missing: `onnxviz[keras]`.
    """

    framework: str
    packages: tuple[str, ...]
    install: str

    def recognises(self, source: object) -> bool:
        """Whether it converts `source`, a model object or a `pathlib.Path`; imports nothing and reads little."""

    def open(
        self,
        source: object,
        *,
        weights: Path | None = None,
        input_shapes: Mapping[str, InputShape] | None = None,
        allow_code_execution: bool = False,
    ) -> SourceModel:
        """The model behind `source`.

        Args:
            source: a model object, or a `pathlib.Path`.
            weights: a file of weights to load into it.
            input_shapes: shapes by input name; the key "" means the only input.
            allow_code_execution: whether code that a file brings along may run.

        Raises:
            ConversionError: it cannot be opened or lacks something; the message says what.
            CodeExecution: opening it would run code from the file.
        """
