"""An `.onnx` graph run by PyTorch, operator by operator, so that its autograd can be asked: an oracle for any file.

Written from the ONNX operator specification; only what classic convolutional networks use. It shares nothing with
onnxviz' rules: the way back is PyTorch's. Rounding to integers is passed straight through, where it does not saturate.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx
from onnx import numpy_helper

# Operators whose result is needed as numbers, not as a tensor that is differentiated.
_NUMBERS = ("Shape", "Constant", "ConstantOfShape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Cast")


def run(proto: onnx.ModelProto, feeds, output, *, replace=None, held=None):
    """The value of `output`; `feeds` are float64 tensors.

    Args:
        proto: the model, weights inside.
        feeds: by input name.
        output: a tensor of the main graph.
        replace: other values for constants, by name.
        held: what QuantizeLinear rounds to, by the name of its output, in place of rounding.
    """
    import torch

    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    values = {name: torch.tensor(_double(array)) for name, array in stored.items()}
    values.update(feeds)
    for node in proto.graph.node:
        name = node.output[0]
        if node.op_type == "QuantizeLinear":
            limits = np.iinfo(stored[node.input[2]].dtype)
            known = torch.tensor(_double(held[name])).double() if held else None
            values[name] = _rounding().apply(values[node.input[0]], *_grid(node, values), limits.min, limits.max, known)
            continue
        if replace and name in replace:
            values[name] = torch.tensor(_double(replace[name]))
            continue
        if node.op_type == "DequantizeLinear":
            scale, zero = _grid(node, values)
            values[name] = (values[node.input[0]].double() - zero) * scale
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = [values[i] if i else None for i in node.input]
        found = _run_node(torch, node.op_type, attributes, inputs, len(node.output))
        for key, value in zip(node.output, found if isinstance(found, tuple) else (found,), strict=False):
            values[key] = value
    return values[output]


def _grid(node, values):
    """Scale and zero point, as they are, or one for each index of the axis."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    rank = values[node.input[0]].ndim
    scale, zero = (values[name].double() for name in node.input[1:3])
    if scale.numel() == 1:
        return scale.reshape(()), zero.reshape(())
    along = [-1 if i == axis % rank else 1 for i in range(rank)]
    return scale.reshape(along), zero.reshape(along)


@functools.cache
def _rounding():
    """The straight-through estimator (Bengio et al. 2013), zero where the integers' range cuts off."""
    import torch

    class Rounding(torch.autograd.Function):
        @staticmethod
        def forward(context, x, scale, zero, low, high, known):
            steps = torch.round(x / scale) + zero
            context.save_for_backward((steps >= low) & (steps <= high), scale)
            return torch.clamp(steps, low, high) if known is None else known

        @staticmethod
        def backward(context, g):
            inside, scale = context.saved_tensors
            return g * inside / scale, None, None, None, None, None

    return Rounding


def _double(array):
    return np.asarray(array, np.float64) if np.asarray(array).dtype.kind == "f" else np.asarray(array)


def _padding(attributes, rank, sizes, extents, strides):
    pads = list(attributes.get("pads", [0] * 2 * rank))
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise NotImplementedError(attributes["auto_pad"])
    if attributes.get("ceil_mode"):
        for axis in range(rank):
            reach = sizes[axis] + pads[axis] + pads[axis + rank] - extents[axis]
            pads[axis + rank] += -reach % strides[axis]
    return [pad for axis in reversed(range(rank)) for pad in (pads[axis], pads[axis + rank])]


def _run_node(torch, op, a, x, outputs):
    f = torch.nn.functional
    rank = x[0].ndim - 2 if x and x[0] is not None else 0
    if op in ("Conv", "MaxPool", "AveragePool", "ConvTranspose"):
        kernel = list(a.get("kernel_shape", x[1].shape[2:] if len(x) > 1 else []))
        strides, dilations = list(a.get("strides", [1] * rank)), list(a.get("dilations", [1] * rank))
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        padding = _padding(a, rank, x[0].shape[2:], extents, strides)
    if op == "Conv":
        conv = (f.conv1d, f.conv2d, f.conv3d)[rank - 1]
        bias = x[2] if len(x) > 2 else None
        return conv(f.pad(x[0], padding), x[1], bias, strides, 0, dilations, a.get("group", 1))
    if op == "ConvTranspose":
        conv = (f.conv_transpose1d, f.conv_transpose2d, f.conv_transpose3d)[rank - 1]
        y = conv(x[0], x[1], x[2] if len(x) > 2 else None, strides, 0, 0, a.get("group", 1), dilations)
        return f.pad(y, [-pad for pad in padding])
    if op == "MaxPool":
        pool = (f.max_pool1d, f.max_pool2d, f.max_pool3d)[rank - 1]
        return pool(f.pad(x[0], padding, value=-math.inf), kernel, strides, dilation=dilations)
    if op == "AveragePool":
        inside = f.pad(torch.ones_like(x[0]), padding, value=float(a.get("count_include_pad", 0)))
        pool = (f.avg_pool1d, f.avg_pool2d, f.avg_pool3d)[rank - 1]
        return pool(f.pad(x[0], padding), kernel, strides) / pool(inside, kernel, strides)
    if op == "BatchNormalization":
        return f.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, a.get("epsilon", 1e-5))
    if op == "LRN":
        return f.local_response_norm(x[0], a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0))
    if op == "Gemm":
        left, right = (m.T if a.get(key) else m for m, key in ((x[0], "transA"), (x[1], "transB")))
        y = a.get("alpha", 1.0) * left @ right
        return y + a.get("beta", 1.0) * x[2] if len(x) > 2 else y
    if op == "Softmax":  # before opset 13: over everything from the axis on
        axis = a.get("axis", 1)
        return x[0].flatten(axis).softmax(-1).reshape(x[0].shape)
    if op == "Dropout":
        return (x[0], torch.ones_like(x[0]))
    if op == "ConstantOfShape":
        value = numpy_helper.to_array(a["value"]) if "value" in a else np.zeros(1)
        return torch.full(tuple(x[0].tolist()), float(value.reshape(())), dtype=torch.float64)
    if op == "Constant":
        return torch.tensor(_double(numpy_helper.to_array(a["value"])))
    simple = {
        "Relu": lambda: torch.relu(x[0]),
        "Clip": lambda: torch.clamp(x[0], *x[1:3]),
        "Sigmoid": lambda: torch.sigmoid(x[0]),
        "Add": lambda: x[0] + x[1],
        "Mul": lambda: x[0] * x[1],
        "MatMul": lambda: x[0] @ x[1],
        "Sum": lambda: sum(x[1:], x[0]),
        "Concat": lambda: torch.cat(x, a["axis"]),
        "Transpose": lambda: x[0].permute(a["perm"]),
        "Flatten": lambda: x[0].flatten(a.get("axis", 1)),
        "Identity": lambda: x[0],
        "GlobalAveragePool": lambda: x[0].mean(tuple(range(2, x[0].ndim)), keepdim=True),
        "Reshape": lambda: x[0].reshape([x[0].shape[i] if size == 0 else size for i, size in enumerate(x[1].tolist())]),
        "Unsqueeze": lambda: x[0].reshape(_unsqueezed(list(x[0].shape), a["axes"])),
    }
    return simple[op]()


def _unsqueezed(shape, axes):
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return shape
