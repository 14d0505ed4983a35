"""Steps of scores: how scores that a model holds as integers are read as real numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxviz.model.graph.constants import dequantize
from onnxviz.model.model import Model
from onnxviz.model.taps import quantization

REAL_SCORES = "onnxviz/scores"
"""The tensor that `with_real_scores` adds."""


@dataclass(frozen=True, eq=False)
class ScoreSteps:
    """The quantisation steps of a tensor: real number = (integer − zero point) · scale (ONNX, DequantizeLinear).

    Attributes:
        scale: of one step; a floating-point number, ().
        zero_point: which integer is zero; (), of the tensor's own type, None where the model leaves it out.
    """

    scale: NDArray[Any]
    zero_point: NDArray[Any] | None

    @classmethod
    def of(cls, model: Model, tensor: str) -> ScoreSteps | None:
        """Of a tensor of the main graph; None where it is not quantised, or its one scale is not constant."""
        found = quantization(model.scope, tensor)
        if found is None:
            return None
        scale, zero = (
            model.constants.value(model.scope, name) if name else None for name in (found.scale, found.zero_point)
        )
        if scale is None or scale.size != 1 or (zero is None and found.zero_point):
            return None
        return cls(scale.reshape(()), None if zero is None else zero.reshape(()))

    def real(self, values: NDArray[Any]) -> NDArray[Any]:
        """The tensor's values as real numbers, in the same shape and the type of `scale`."""
        return dequantize(values, self.scale, self.zero_point)


def with_real_scores(model: Model, tensor: str, steps: ScoreSteps) -> Model:
    """The model with `REAL_SCORES`, the real numbers that the tensor stands for, which nothing reads."""
    constants = {"scale": steps.scale, "zero_point": steps.zero_point}
    given = {f"{REAL_SCORES}/{name}": np.asarray(value) for name, value in constants.items() if value is not None}
    node = helper.make_node("DequantizeLinear", [tensor, *given], [REAL_SCORES], name=REAL_SCORES)
    return model.with_nodes([node], [numpy_helper.from_array(value, name) for name, value in given.items()])
