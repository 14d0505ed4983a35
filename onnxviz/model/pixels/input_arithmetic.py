"""Arithmetic on an input: what a graph's first operators do to each channel, composed to slope · input + offset.

Followed are operators that scale, shift, cast, clip, move or repeat channels by constants, and those that sample other
positions (Resize, Pad, Slice); a picture is seen shrunk to one pixel, so nothing is computed but a few numbers for
each channel. The first operator of another kind, such as a convolution, ends the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.errors import ModelError
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.evaluation import evaluated
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.pixels.pixel import MOST_VALUES, Pixel, PixelReading, PixelStep
from onnxviz.model.pixels.pixel_rules import rule_of
from onnxviz.model.ports import Port

# Elements of a constant that is read, such as a mean image, and of one that is computed from others.
_LARGEST, _COMPUTED = 2**22, 512
_DEEPEST = 12
_MOST_CHANNELS = 4096


class InputArithmetic:
    """The arithmetic that a graph begins with.

    Args:
        scope: the main graph, nodes in topological order.
        constants: finds the values behind tensor names.
        shapes: inferred shapes; asked only where a Reshape stands in the way.
        opset: versions of the operators, by domain.
        ports: the inputs for pictures; each has a layout.

    Attributes:
        readings: in graph order.
        channels: the numbers of each input's channels, by its name.
    """

    def __init__(
        self, scope: Scope, constants: Constants, shapes: Callable[[], Shapes], opset: Mapping[str, int],
        ports: Sequence[Port],
    ) -> None:  # fmt: skip
        self._scope = scope
        self._constants = constants
        self._shapes = shapes
        self._opset = opset
        self.readings: list[PixelReading] = []
        self.channels: dict[str, range] = {}
        self._pixels: dict[str, Pixel] = {}
        start = 0
        for port in ports:
            assert port.shape is not None
            axis = port.layout.index("C")
            size = port.shape[axis]
            count = size if isinstance(size, int) else 3
            if not 0 < count <= _MOST_CHANNELS:
                count = 0
            self.channels[port.name] = range(start, start + count)
            source = np.arange(start, start + count).reshape(
                [count if a == axis else 1 for a in range(len(port.shape))]
            )
            self._pixels[port.name] = Pixel(source, np.ones(source.shape), np.zeros(source.shape), axis)
            start += count
        for node in scope.graph.node:
            if any(name in self._pixels for name in node.input):
                self._follow(node)

    def _follow(self, node: NodeProto) -> None:
        rule = rule_of(node)
        if rule is None:
            return
        channels = [*self.channels.values()]
        step = PixelStep(node, self._pixels, channels, self._constant, lambda n: self._shapes().of(n), self.readings)
        try:
            with np.errstate(all="ignore"):  # what is not finite is left out
                found = rule(step)
        except (ModelError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError):
            return  # a node that contradicts itself tells nothing
        for name, pixel in zip(node.output, found, strict=False):
            if name and pixel is not None and pixel.source.size <= MOST_VALUES:
                self._pixels[name] = pixel
                if not belongs(node, Family.QUANTISING):
                    self.readings.append(PixelReading(pixel))

    def _constant(self, name: str, depth: int = 0) -> NDArray[Any] | None:
        """The values of a constant; also where a few elements are computed from others, as a root of variances is."""
        found = self._constants.find(self._scope, name)
        if found is not None:
            return found.array if int(np.prod(found.shape, dtype=np.float64)) <= _LARGEST else None
        node = self._scope.producers.get(name)
        computed = Family.ELEMENTWISE | Family.BROADCASTING | Family.MOVING | Family.MEASURING
        if node is None or depth > _DEEPEST or not belongs(node, computed) or name != node.output[0]:
            return None
        operands = [self._constant(one, depth + 1) if one else None for one in node.input]
        if any(one and (o is None or o.size > _COMPUTED) for one, o in zip(node.input, operands, strict=True)):
            return None
        if belongs(node, Family.GROWING) and _grown(operands) > _COMPUTED:
            return None
        values = evaluated(node, operands, self._opset)
        return values[0] if values else None


def _grown(operands: Sequence[NDArray[Any] | None]) -> float:
    """The most elements that Expand or Tile makes of its first operand."""
    data, sizes = (np.empty(0) if one is None else one for one in operands[:2])
    return float(data.size * abs(np.prod(sizes, dtype=np.float64)))
