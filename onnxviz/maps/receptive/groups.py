"""Group normalisation as PyTorch's exporters write it: reshaped to groups, normalised, reshaped back."""

from __future__ import annotations

from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.passes.prepare import Prepared


def before_groups(prepared: Prepared, reshape: NodeProto) -> str | None:
    """The tensor that was normalised in groups, place by place the same as what `reshape` gives; None if none was."""
    normalise = prepared.scope.producers.get(reshape.input[0])
    if normalise is None or not belongs(normalise, Family.NORMALISATION):
        return None
    group = prepared.scope.producers.get(normalise.input[0])
    if group is None or not belongs(group, Family.RESHAPING):
        return None
    shape = prepared.shape(reshape.output[0])
    return group.input[0] if shape is not None and prepared.shape(group.input[0]) == shape else None
