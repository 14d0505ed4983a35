"""A node on the way of axes: what a rule sees of it, and what is known of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.axes.factors import Axes
from onnxviz.model.graph.operators import settings_inputs
from onnxviz.model.graph.scopes import attribute


@dataclass(frozen=True)
class TracedTensor:
    """What is known of a tensor.

    Attributes:
        axes: what each of its axes is made of.
        inputs: the model's inputs that it depends on; none for a constant.
        picks: (kind, index) of each part that was picked out of an axis on the way.
    """

    axes: Axes
    inputs: frozenset[str] = frozenset()
    picks: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class AxisStep:
    """One node, with what is known of its inputs.

    Attributes:
        node: the node.
        given: its inputs, None for those that are left out, are settings, or of unknown shape.
        sizes: the shape of each output, None if it is not known.
        value: the values of a small constant, None if there is none of that name.
        picked: (kind, index) of what each output picks; a rule adds to it.
    """

    node: NodeProto
    given: Sequence[TracedTensor | None]
    sizes: Sequence[tuple[int, ...] | None]
    value: Callable[[str], NDArray[Any] | None]
    picked: dict[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def x(self) -> Axes:
        """The axes of the first input."""
        first = self.given[0]
        if first is None:
            raise ValueError("the first input is not known")
        return first.axes

    @property
    def size(self) -> tuple[int, ...]:
        """The shape of the first output."""
        first = self.sizes[0]
        if first is None:
            raise ValueError("the output's shape is not known")
        return first

    @property
    def operands(self) -> list[TracedTensor]:
        """What is known of the inputs that are no settings."""
        settings = set(settings_inputs(self.node))
        pairs = zip(self.node.input, self.given, strict=True)
        return [one for name, one in pairs if one is not None and name not in settings]

    def along(self, otherwise: int) -> int:
        """The attribute `axis`, from the front."""
        given = attribute(self.node, "axis")
        return int(otherwise if given is None else given) % len(self.x)

    def numbers(self, place: int, name: str = "") -> list[int] | None:
        """A list of integers that is an input, or was an attribute before."""
        given = self.node.input[place] if place < len(self.node.input) else ""
        found = self.value(given) if given else attribute(self.node, name) if name else None
        return None if found is None else [int(one) for one in np.asarray(found).reshape(-1)]
