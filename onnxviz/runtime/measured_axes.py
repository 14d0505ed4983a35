"""Axes of a model's tensors on given inputs; shapes that inference does not tell are measured by running the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxviz.errors import OnnxvizError
from onnxviz.model.axes.axis_trace import AxisTrace
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.model import Model
from onnxviz.runtime.session import RunOptions, Session


def axes_on(
    model: Model,
    feeds: Mapping[str, NDArray[Any]],
    shapes: Shapes,
    samples: int,
    wanted: Collection[str],
    options: RunOptions,
) -> AxisTrace:
    """What the axes of all tensors count, as far as it can be told; of those wanted, with every size measured.

    Args:
        model: the model.
        feeds: its inputs.
        shapes: of all tensors for inputs of these sizes.
        samples: how many samples the inputs hold.
        wanted: tensors of the main graph.
        options: how the model is run, where it is.
    """
    sizes = {name: array.shape for name, array in feeds.items()}
    found = model.axes_at(sizes, shapes.of, samples)
    needed = {*wanted, *model.scope.ancestors(wanted).tensors}
    unknown = tuple(name for name in found.unknown if name in needed)
    if not unknown:
        return found
    try:
        session = Session.of(model, unknown, options)
        values = session.run(unknown, {name: feeds[name] for name in session.inputs if name in feeds})
    except OnnxvizError:  # what cannot be run has no sizes either
        return found
    measured = {name: value.shape for name, value in zip(unknown, values, strict=True) if hasattr(value, "shape")}

    def known(tensor: str) -> Sequence[Dim] | None:
        return measured.get(tensor) or shapes.of(tensor)

    return model.axes_at(sizes, known, samples)
