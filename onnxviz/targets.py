"""Where a model can be asked what it looks for: its layers' filters, its classes and their names."""

from __future__ import annotations

import json

from onnxviz.errors import SelectionError
from onnxviz.layer import Layer
from onnxviz.model import Model
from onnxviz.operators import Family, belongs
from onnxviz.scopes import node_attributes
from onnxviz.text import printable

# What may stand between a classifier's scores and its output without mixing classes.
_SEE_THROUGH = Family.IDENTITY | Family.DROPOUT | Family.RESHAPING


def find_layer(model: Model, which: str | int) -> Layer:
    """The layer of that name or position: a convolution, or by name any that `onnxviz layers --all` lists.

    Raises:
        SelectionError: there is none; the message lists those there are.
    """
    try:
        return model.layer(which)
    except SelectionError:
        named = [layer for layer in model.all_layers if layer.name == which]
        if not named:
            raise
        return named[0]


def filter_count(layer: Layer) -> int | None:
    """How many filters the layer has, None if that shows only when it runs."""
    shape = layer.output_shape
    if shape is not None and len(shape) > 1 and isinstance(shape[1], int):
        return shape[1]
    return layer.weight_shape[0] if layer.is_convolution and layer.weight_shape else None


def scores(model: Model, output: str | None = None) -> tuple[str, int]:
    """The tensor that scores classes before Softmax or Sigmoid turn that into probabilities, and its class axis.

    Args:
        model: the model.
        output: the output to start from; None for the first.

    Raises:
        SelectionError: there is no such output.
    """
    names = [port.name for port in model.outputs]
    if not names or (output is not None and output not in names):
        there = ", ".join(map(printable, names)) or "none"
        raise SelectionError(f"{model.label} has no output '{printable(output or '')}'; it has {there}")
    start = tensor = output if output is not None else names[0]
    while (node := model.scope.producers.get(tensor)) is not None:
        if belongs(node, Family.PROBABILITY):
            given = node_attributes(node).get("axis")
            usual = -1 if model.opset.get("", 13) >= 13 else 1
            return node.input[0], 1 if node.op_type == "Sigmoid" else given.i if given is not None else usual
        if not belongs(node, _SEE_THROUGH):
            break
        tensor = node.input[0]
    return start, 1


def class_names(model: Model, count: int | None = None) -> tuple[str, ...]:
    """The names of the classes that the model keeps under the metadata key `classes`, a JSON list; () if none."""
    try:
        found = json.loads(model.metadata.get("classes", "[]"))
    except (ValueError, RecursionError):
        return ()
    fits = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return tuple(found) if fits and (count is None or len(found) == count) else ()
