"""Defects planted in a sample model, and the findings of an audit, for the tests of its checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxviz.auditing.audit import Audit, audit

MODELS = Path(__file__).resolve().parents[1] / "models"


def sample(name: str = "classifier") -> onnx.ModelProto:
    """A sample model with its weights."""
    return onnx.load(MODELS / f"{name}.onnx")


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(one for one in model.graph.initializer if one.name == name)


def changed(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], Any]) -> onnx.ModelProto:
    """The model with a stored tensor changed in place, or replaced by what `change` returns."""
    stored = tensor(model, name)
    values = numpy_helper.to_array(stored).copy()
    given = change(values)
    stored.CopyFrom(numpy_helper.from_array(values if given is None else np.asarray(given, values.dtype), name))
    return model


def node(model: onnx.ModelProto, op: str, number: int = 0) -> onnx.NodeProto:
    """The node of an operator, by its place among those."""
    return [one for one in model.graph.node if one.op_type == op][number]


def found(model: Any, select: str, **options: Any) -> list[tuple[str, str]]:
    """(code, severity) of each finding, in the order of an audit."""
    return [(one.code, one.severity.value) for one in audited(model, select, **options).findings]


def audited(model: Any, select: str, **options: Any) -> Audit:
    """An audit by the checks whose codes begin with any of these, which are separated by commas."""
    return audit(model, select=tuple(select.split(",")), **options)
