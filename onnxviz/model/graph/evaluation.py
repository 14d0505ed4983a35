"""Constant folding, one node at a time: the value of a node whose inputs are known.

Operators that only rearrange or pick elements are numpy's; the others run on onnx.reference, which is ONNX's definition
of them (https://onnx.ai/onnx/api/reference.html). A node alone, not a session of many: one that the reference does not
know leaves the others alone. Sliding windows are left to onnxruntime, since the reference gives other values than it:
of Conv with `auto_pad` before onnx 1.23, of MaxPool with SAME_LOWER and of LpPool with `ceil_mode` in 1.23 as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import attribute, named_axes, plain_domain, subgraphs

Operands = Sequence[NDArray[Any] | None]
_WINDOWS = Family.CONVOLUTION | Family.POOLING


def evaluated(node: NodeProto, operands: Operands, opset: Mapping[str, int]) -> list[NDArray[Any]] | None:
    """The outputs of the node.

    None where it is not one of ONNX' own, slides a window, has subgraphs, or cannot be told.

    Args:
        node: any but a random one.
        operands: the values of its inputs, None for those that are left out.
        opset: the versions of the operators, by domain.
    """
    if plain_domain(node.domain) or belongs(node, _WINDOWS) or next(subgraphs(node), None) is not None:
        return None
    if node.op_type in BY_NUMPY:
        try:
            return [np.asarray(BY_NUMPY[node.op_type](node, operands))]
        except (KeyError, IndexError, ValueError, TypeError):
            pass  # an older form of the operator: the reference knows it
    from onnx.reference import ReferenceEvaluator

    feeds = {name: operand for name, operand in zip(node.input, operands, strict=True) if name}
    try:
        with np.errstate(all="ignore"):  # infinity and NaN are values like others
            result = ReferenceEvaluator(node, opsets=dict(opset)).run(None, feeds)
    except Exception:  # the reference lacks an operator or a type
        return None
    if not all(isinstance(one, np.ndarray | np.generic) for one in result):  # a sequence
        return None
    return [np.asarray(one) for one in result]


# ---- operators by numpy, most of them views


def _axes(node: NodeProto, operands: Operands) -> tuple[int, ...] | None:
    return named_axes(node, operands[1] if len(operands) > 1 else None)


def _first(operands: Operands) -> NDArray[Any]:
    if not operands or operands[0] is None:
        raise ValueError("no operand")
    return operands[0]


def _unsqueezed(node: NodeProto, operands: Operands) -> NDArray[Any]:
    axes = _axes(node, operands)
    if axes is None:
        raise ValueError("no axes")
    return np.expand_dims(_first(operands), axes)


def _reshaped(node: NodeProto, operands: Operands) -> NDArray[Any]:
    """The shape is an input since opset 5, an attribute before; 0 stands for the size there is, without allowzero."""
    data = _first(operands)
    given = operands[1] if len(operands) > 1 else None
    shape = attribute(node, "shape") if given is None else given.tolist()
    if shape is None:
        raise ValueError("no shape")
    if not attribute(node, "allowzero"):
        shape = [data.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return data.reshape([int(size) for size in shape])


def all_given(operands: Operands) -> list[NDArray[Any]]:
    """The operands, none of which is left out."""
    if any(one is None for one in operands):
        raise ValueError("an operand is left out")
    return [one for one in operands if one is not None]


def _concatenated(node: NodeProto, operands: Operands) -> NDArray[Any]:
    axis = attribute(node, "axis")
    if axis is None:
        raise ValueError("no axis")
    return np.concatenate(all_given(operands), axis=axis)


def _gathered(node: NodeProto, operands: Operands) -> NDArray[Any]:
    data, indices = all_given(operands)
    return np.take(data, indices.astype(np.int64), axis=attribute(node, "axis") or 0)


def _sliced(node: NodeProto, operands: Operands) -> NDArray[Any]:
    data, starts, ends = all_given(operands[:3])
    axes, steps = (*operands[3:], None, None)[:2]
    picked = [slice(None)] * data.ndim
    for index in range(len(starts)):
        axis = index if axes is None else int(axes[index])
        step = 1 if steps is None else int(steps[index])
        picked[axis] = slice(int(starts[index]), int(ends[index]), step)
    return data[tuple(picked)]


# The operator's result by numpy, which gives a view where onnx.reference would copy. Operands that are left out are
# None; an exception says that the node contradicts itself, or that an operand is not known.
REARRANGING: dict[str, Callable[[NodeProto, Operands], NDArray[Any]]] = {
    "Identity": lambda node, operands: _first(operands),
    "Transpose": lambda node, operands: _first(operands).transpose(attribute(node, "perm")),
    "Squeeze": lambda node, operands: _first(operands).squeeze(_axes(node, operands)),
    "Unsqueeze": _unsqueezed,
    "Reshape": _reshaped,
}
# Those of shape arithmetic, which may leave elements out or repeat them.
PICKING: dict[str, Callable[[NodeProto, Operands], NDArray[Any]]] = {
    "Concat": _concatenated,
    "Gather": _gathered,
    "Slice": _sliced,
}
BY_NUMPY = {**REARRANGING, **PICKING}
