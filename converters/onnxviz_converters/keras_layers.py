"""The layers of a Keras model: their paths, their variables, which of them are convolutions."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.conversion.converter import SourceLayer
from onnxviz.messages import printable

TEXT = (
    "input '{name}' of {model} is text, which ONNX' own operators hardly treat: convert the part of the model that "
    "comes after its TextVectorization or StringLookup"
)


def walk(layer: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path, layer) for every layer of the model, each once; paths are `backbone/block1_conv1`."""
    seen: set[int] = set()
    stack = [(path, layer)]
    while stack:
        where, current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if where or current is not layer:
            yield where, current
        inner = list(current._flatten_layers(include_self=False, recursive=False))
        stack.extend((f"{where}/{one.name}" if where else one.name, one) for one in reversed(inner))


def named_variables(model: Any) -> dict[str, Any]:
    """The model's variables by the path of their layer and their own name, `block1_conv1/kernel`."""
    homes: dict[int, str] = {}
    for path, layer in [("", model), *walk(model)]:
        for variable in layer.variables:
            homes[id(variable)] = path  # the innermost layer comes last
    named: dict[str, Any] = {}
    for variable in model.variables:
        path = homes.get(id(variable), "")
        name = f"{path}/{variable.name}" if path else plain_name(variable.path)
        count = 1
        while (unique := name if count == 1 else f"{name}_{count}") in named:
            count += 1
        named[unique] = variable
    return named


def convolutions(model: Any, names: Mapping[int, str]) -> tuple[tuple[SourceLayer, ...], dict[str, Any]]:
    """The model's convolutions, and by path the layers whose output can be observed."""
    import keras

    kinds = keras.layers
    ordinary = (kinds.Conv1D, kinds.Conv2D, kinds.Conv3D)
    transposed = (kinds.Conv1DTranspose, kinds.Conv2DTranspose, kinds.Conv3DTranspose)
    depthwise = (kinds.DepthwiseConv1D, kinds.DepthwiseConv2D)
    separable = (kinds.SeparableConv1D, kinds.SeparableConv2D)
    found: list[SourceLayer] = []
    observable: dict[str, Any] = {}

    def add(
        path: str, layer: Any, kernel: Any, order: Callable[[NDArray[Any]], NDArray[Any]], bias: Any, whole: bool = True
    ) -> None:
        linear = layer.activation is None or layer.activation is keras.activations.linear
        found.append(
            SourceLayer(
                path,
                weight=names[id(kernel)],
                kernel=lambda: order(array_of(kernel)),
                bias=names[id(bias)] if bias is not None else None,
                offset=(lambda: array_of(bias)) if bias is not None else None,
                observed=whole,
                activation=_on_channels_last(layer) if whole and not linear else None,
            )
        )
        if whole:
            observable[path] = layer

    for path, layer in walk(model):
        if not layer.built or not isinstance(layer, ordinary + transposed + depthwise + separable):
            continue
        bias = layer.bias if layer.use_bias else None
        if isinstance(layer, separable):
            add(f"{path}/depthwise", layer, layer.depthwise_kernel, depthwise_order, None, whole=False)
            add(f"{path}/pointwise", layer, layer.pointwise_kernel, kernel_order, bias)
        elif isinstance(layer, depthwise):
            add(path, layer, layer.kernel, depthwise_order, bias)
        elif isinstance(layer, transposed):
            add(path, layer, layer.kernel, transposed_order, bias)
        elif hasattr(layer, "_kernel"):
            add(path, layer, layer._kernel, kernel_order, bias)
    return tuple(found), observable


def _on_channels_last(layer: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The layer's own activation, for an array with channels on axis 1 (softmax acts along the last axis)."""
    import keras

    first = layer.data_format == "channels_first"

    def activate(array: NDArray[Any]) -> NDArray[Any]:
        seen = array if first else np.moveaxis(array, 1, -1)
        result = np.asarray(keras.ops.convert_to_numpy(layer.activation(keras.ops.convert_to_tensor(seen))))
        return result if first else np.moveaxis(result, -1, 1)

    return activate


def plain_name(name: str) -> str:
    """`name` without the index of a TensorFlow output."""
    return re.sub(r":\d+$", "", name)


def array_of(variable: Any) -> NDArray[Any]:
    """The value of a variable; shares its memory where TensorFlow lets it."""
    tensor = variable.value
    if hasattr(tensor, "read_value"):
        tensor = tensor.read_value()
    try:
        array = np.asarray(memoryview(tensor))
    except (TypeError, ValueError, BufferError, RuntimeError):  # bfloat16, or a device without host memory
        array = tensor.numpy()
    return array.reshape(tuple(variable.shape))


def kernel_order(kernel: NDArray[Any]) -> NDArray[Any]:
    """Keras' (spatial…, I/group, O) as ONNX' (O, I/group, spatial…)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def transposed_order(kernel: NDArray[Any]) -> NDArray[Any]:
    """Keras' (spatial…, O, I) of a transposed convolution as (O, I, spatial…)."""
    return np.moveaxis(kernel, (-2, -1), (0, 1))


def depthwise_order(kernel: NDArray[Any]) -> NDArray[Any]:
    """Keras' (spatial…, C, multiplier) as ONNX' (C·multiplier, 1, spatial…)."""
    spatial = kernel.shape[:-2]
    return np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *spatial)


_LOADING = re.compile(
    r"[Ee]rror when deserializing class '(\w+)' using\s+config=(.*?)\.?\n\nException encountered: ", re.DOTALL
)
_NAMED = re.compile(r"'name': '([^']+)'")


def cause(error: BaseException) -> str:
    """Why Keras could not make a model of a configuration, which it prints for each level; the reason comes last."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    levels = list(_LOADING.finditer(text))
    if not levels:
        return one_line(error)
    inner = levels[-1]
    name = _NAMED.search(inner[2])
    where = f"layer '{name[1]}', a {inner[1]}" if name else f"a {inner[1]}"
    reason = " ".join(text[inner.end() :].split())
    return printable(f"{where}: {reason}", 400).rstrip(".")


def one_line(error: BaseException) -> str:
    """The telling line of a framework's message: Keras puts it below "Exception encountered when calling …"."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    count = 2 if lines[0].startswith("Exception encountered") or len(lines[0]) < 40 or lines[0].endswith(":") else 1
    text = " ".join(lines[:count])
    return text if len(text) <= 400 else text[:399] + "…"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the frameworks' own warnings, which nobody here can act on, to themselves."""
    names = ("tensorflow", "tf2onnx", "absl", "keras")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
